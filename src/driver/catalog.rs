//! Reads update sequences, reloads catalogs, and tests canaries.

use std::sync::Arc;
use std::time::Instant;

use super::chosen_layer;
use super::internal_request::{Answer, Deadline, InternalClient, InternalRequest};
use super::probe::Prober;
use super::probe_request::ProbeRequest;
use crate::cluster::{Cause, Event, Outcome, ProbeReport, Upstream};
use crate::config::{Config, Credentials};

/// Bytes that are searched for the root element, which holds the update sequence.
const MAX_ROOT_ELEMENT: usize = 8 << 10;
/// Maximum size of the global settings, a page of JSON.
const MAX_SETTINGS: usize = 64 << 10;
/// Maximum size of the answer to a reload, whose content does not matter.
const MAX_RELOAD_ANSWER: usize = 4 << 10;
/// The request on which GeoServer reads its data directory again.
const CATALOG_RELOAD: &str = "/rest/reload";

impl Prober {
    /// Reads the upstream's `updateSequence`.
    pub async fn update_sequence(&self, upstream: &Upstream, config: &Config) -> Option<u64> {
        update_sequence(self.client(), upstream, config).await
    }

    /// Checks whether GeoServer accepts the credentials of `[geoserver]`; `None` if there are none.
    /// The request reads a resource that needs credentials and takes no lock.
    pub async fn try_credentials(
        &self,
        upstream: &Upstream,
        config: &Config,
    ) -> Option<Result<(), Cause>> {
        if config.geoserver.credentials == Credentials::None {
            return None;
        }
        let request = InternalRequest::get(format!(
            "{}/rest/about/version.xml",
            config.geoserver.context
        ))
        .authenticated(true);
        let deadline = Deadline::after(config.health.timeout);
        let is_enough = |answer: &Answer| answer.body.len() > MAX_RELOAD_ANSWER;
        let answer = self
            .client()
            .run(&request, upstream, config, deadline, is_enough)
            .await;
        Some(answer.and_then(|answer| answer.succeeded()))
    }
}

/// Reads an upstream's `updateSequence`.
pub(super) async fn read_update_sequence(
    prober: &Prober,
    upstream: Arc<Upstream>,
    config: &Config,
) -> Event {
    let sent_at = Instant::now();
    let update_sequence = update_sequence(prober.client(), &upstream, config).await;
    if update_sequence.is_none() {
        tracing::debug!(upstream = %upstream.name, "its updateSequence cannot be read");
    }
    Event::UpdateSequenceRead {
        upstream: upstream.id,
        sent_at,
        update_sequence,
    }
}

/// Reloads the catalog of a replica; returns when GeoServer has read the data directory.
pub(super) async fn reload(
    prober: &Prober,
    upstream: Arc<Upstream>,
    config: &Config,
    with_security: bool,
) -> Event {
    let sent_at = Instant::now();
    let outcome = reload_all(prober.client(), &upstream, config, with_security).await;
    Event::CatalogReloaded {
        upstream: upstream.id,
        sent_at,
        outcome,
    }
}

/// Reloads the catalog of the main.
pub(super) async fn reload_main(
    prober: &Prober,
    upstream: Arc<Upstream>,
    config: &Config,
) -> Event {
    let sent_at = Instant::now();
    let outcome = reload_all(
        prober.client(),
        &upstream,
        config,
        config.catalog.reload_security,
    )
    .await;
    Event::MainReloaded {
        upstream: upstream.id,
        sent_at,
        outcome,
    }
}

/// Tests whether a reloaded replica draws the canary, and reads its update sequence.
pub(super) async fn test_canary(
    prober: &Prober,
    upstream: Arc<Upstream>,
    config: &Config,
    chosen: Option<String>,
) -> Event {
    let sent_at = Instant::now();
    let report = canary(prober, &upstream, config, chosen).await;
    let update_sequence = match report.outcome {
        // If the canary itself is in doubt, the update sequence still shows whether the replica
        // read old files.
        Outcome::Success
        | Outcome::Failure(Cause::Unexpected(_) | Cause::Status(_) | Cause::NodeFault(_)) => {
            update_sequence(prober.client(), &upstream, config).await
        }
        Outcome::Busy | Outcome::Failure(_) => None,
    };
    Event::CanaryTested {
        upstream: upstream.id,
        sent_at,
        outcome: report.outcome,
        update_sequence,
    }
}

/// Draws the same canary on an upstream that serves.
pub(super) async fn try_canary(
    prober: &Prober,
    upstream: &Upstream,
    config: &Config,
    chosen: Option<String>,
) -> Event {
    let sent_at = Instant::now();
    let outcome = canary(prober, upstream, config, chosen).await.outcome;
    Event::CanaryTried { sent_at, outcome }
}

async fn canary(
    prober: &Prober,
    upstream: &Upstream,
    config: &Config,
    chosen: Option<String>,
) -> ProbeReport {
    match chosen {
        Some(layer) => {
            chosen_layer::probe(prober, &layer, upstream, config)
                .await
                .report
        }
        None => draw_canary(prober, upstream, config).await,
    }
}

/// Draws the canary without credentials; if it is not public, with those of `[geoserver]`.
async fn draw_canary(prober: &Prober, upstream: &Upstream, config: &Config) -> ProbeReport {
    let (probe, authenticates) = (ProbeRequest::of_canary(config), config.health.authenticate);
    let report = prober.send(probe, authenticates, upstream, config).await;
    let is_answered_wrongly = matches!(
        report.outcome,
        Outcome::Failure(Cause::Unexpected(_) | Cause::Credentials(_))
    );
    if is_answered_wrongly && !authenticates && config.geoserver.credentials != Credentials::None {
        return prober.send(probe, true, upstream, config).await;
    }
    report
}

async fn reload_all(
    client: &InternalClient,
    upstream: &Upstream,
    config: &Config,
    with_security: bool,
) -> Result<(), Cause> {
    let (context, catalog) = (&config.geoserver.context, &config.catalog);
    let deadline = Deadline::after(catalog.reload_timeout);
    let calls = [
        // Users and filter chains come first, so that the catalog is read with the matching rules.
        (with_security, "/rest/security/acl/catalog/reload", ""),
        (true, CATALOG_RELOAD, ""),
        (
            catalog.reload_gwc,
            "/gwc/rest/reload",
            "reload_configuration=1",
        ),
    ];
    let mut has_begun = false;
    for (_, path, body) in calls.into_iter().filter(|(is_wanted, ..)| *is_wanted) {
        let request = InternalRequest::post(format!("{context}{path}"), body);
        let is_enough = |answer: &Answer| answer.body.len() > MAX_RELOAD_ANSWER;
        let answer = client
            .run(&request, upstream, config, deadline, is_enough)
            .await;
        answer
            .and_then(|answer| answer.succeeded())
            .map_err(|cause| match has_begun {
                // GeoServer was reached, so the cause must not be a connection failure.
                true => {
                    Cause::Unexpected(format!("after the catalog was reloaded, {path}: {cause}"))
                }
                false => cause,
            })?;
        has_begun |= path == CATALOG_RELOAD;
    }
    Ok(())
}

/// The update sequence from the capabilities, which need no credentials. If they lack it (global
/// services may be off), from the settings.
async fn update_sequence(
    client: &InternalClient,
    upstream: &Upstream,
    config: &Config,
) -> Option<u64> {
    let context = &config.geoserver.context;
    let capabilities = InternalRequest::get(ProbeRequest::Capabilities.target(context));
    let deadline = Deadline::after(config.health.timeout);
    let is_enough = |answer: &Answer| {
        answer.body.len() > MAX_ROOT_ELEMENT
            || update_sequence_in_root(&String::from_utf8_lossy(&answer.body)).is_some()
    };
    let answer = client
        .run(&capabilities, upstream, config, deadline, is_enough)
        .await
        .ok()?;
    let update_sequence = update_sequence_in_root(&String::from_utf8_lossy(&answer.body));
    if update_sequence.is_some() || config.geoserver.credentials == Credentials::None {
        return update_sequence;
    }
    let settings =
        InternalRequest::get(format!("{context}/rest/settings.json")).authenticated(true);
    let is_enough = |answer: &Answer| answer.body.len() > MAX_SETTINGS;
    let answer = client
        .run(&settings, upstream, config, deadline, is_enough)
        .await
        .ok()?;
    let settings: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    settings.get("global")?.get("updateSequence")?.as_u64()
}

/// `7` for `<WMS_Capabilities version="1.3.0" updateSequence="7" ...>`, once the whole start tag
/// has arrived.
fn update_sequence_in_root(text: &str) -> Option<u64> {
    let root = text
        .find("<WMS_Capabilities")
        .or_else(|| text.find("<WMT_MS_Capabilities"))?;
    let tag = &text[root..root + text[root..].find('>')?];
    let value = tag.split_once("updateSequence=")?.1;
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split(quote).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_update_sequence_is_read_from_the_root_element_only() {
        let document = "<?xml version=\"1.0\"?>\n<WMS_Capabilities version=\"1.3.0\" updateSequence=\"4711\" xmlns=\"x\"><Service>";
        assert_eq!(update_sequence_in_root(document), Some(4711));
        assert_eq!(
            update_sequence_in_root("<WMT_MS_Capabilities updateSequence='12'>"),
            Some(12)
        );
        assert_eq!(
            update_sequence_in_root(
                "<ServiceExceptionReport>updateSequence=\"3\"</ServiceExceptionReport>"
            ),
            None
        );
        assert_eq!(
            update_sequence_in_root(
                "<WMS_Capabilities version=\"1.3.0\"><Layer updateSequence=\"3\">"
            ),
            None
        );
        assert_eq!(
            update_sequence_in_root("<WMS_Capabilities updateSequence=\"47"),
            None,
            "a number without an end is none"
        );
        assert_eq!(
            update_sequence_in_root("<WMS_Capabilities updateSequence=\"many\">"),
            None
        );
    }
}
