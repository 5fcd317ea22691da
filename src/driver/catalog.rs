//! Reads catalog numbers, reloads catalogs, and looks whether they are there.

use std::sync::Arc;
use std::time::Instant;

use super::chosen_layer;
use super::errand::{Answer, Deadline, Errand, Messenger};
use super::probe::Prober;
use super::question::{Question, bad_status};
use crate::cluster::{Cause, Event, Outcome, ProbeReport, Upstream};
use crate::config::{Config, Credentials};

/// The number stands in the root element, within the first few hundred bytes.
const MAX_NUMBER_HEAD: usize = 8 << 10;
/// Settings are a page of JSON.
const MAX_SETTINGS: usize = 64 << 10;
/// What GeoServer says to a reload is not worth reading.
const MAX_RELOAD_ANSWER: usize = 4 << 10;
/// GeoServer reads its data directory anew.
const CATALOG_RELOAD: &str = "/rest/reload";

impl Prober {
    /// Its `updateSequence`.
    pub async fn catalog_number(&self, upstream: &Upstream, config: &Config) -> Option<u64> {
        version(self.messenger(), upstream, config).await
    }

    /// Whether GeoServer takes the credentials of `[geoserver]`; `None` where there are none. Asks
    /// for what REST tells only to those it knows, and what takes no lock.
    pub async fn try_credentials(
        &self,
        upstream: &Upstream,
        config: &Config,
    ) -> Option<Result<(), Cause>> {
        if config.geoserver.credentials == Credentials::None {
            return None;
        }
        let errand = Errand::get(format!(
            "{}/rest/about/version.xml",
            config.geoserver.context
        ))
        .authenticated(true);
        let deadline = Deadline::after(config.health.timeout);
        let is_enough = |answer: &Answer| answer.body.len() > MAX_RELOAD_ANSWER;
        let answer = self
            .messenger()
            .run(&errand, (upstream, config), deadline, is_enough)
            .await;
        Some(answer.and_then(|answer| {
            if answer.status == 200 {
                Ok(())
            } else {
                Err(bad_status(answer.status))
            }
        }))
    }
}

/// Asks an upstream for its `updateSequence`.
pub(super) async fn read_version(
    prober: &Prober,
    upstream: Arc<Upstream>,
    config: &Config,
) -> Event {
    let asked = Instant::now();
    let number = version(prober.messenger(), &upstream, config).await;
    if number.is_none() {
        tracing::debug!(upstream = %upstream.name, "its updateSequence cannot be read");
    }
    Event::VersionRead {
        upstream: upstream.id,
        asked,
        number,
    }
}

/// Has a replica read the data directory; takes as long as that takes.
pub(super) async fn reload(
    prober: &Prober,
    upstream: Arc<Upstream>,
    config: &Config,
    with_security: bool,
) -> Event {
    let asked = Instant::now();
    let outcome = reload_all(prober.messenger(), &upstream, config, with_security).await;
    Event::CatalogReloaded {
        upstream: upstream.id,
        asked,
        outcome,
    }
}

/// The main reads the data directory.
pub(super) async fn reload_main(
    prober: &Prober,
    upstream: Arc<Upstream>,
    config: &Config,
) -> Event {
    let asked = Instant::now();
    let outcome = reload_all(
        prober.messenger(),
        &upstream,
        config,
        config.catalog.reload_security,
    )
    .await;
    Event::MainReloaded {
        upstream: upstream.id,
        asked,
        outcome,
    }
}

/// Whether a reloaded replica draws a map, and its number now.
pub(super) async fn test_canary(
    prober: &Prober,
    upstream: Arc<Upstream>,
    config: &Config,
    chosen: Option<String>,
) -> Event {
    let asked = Instant::now();
    let report = canary(prober, &upstream, config, chosen).await;
    let number = match report.outcome {
        // Where the canary itself is in doubt, the number still shows whether it read old files.
        Outcome::Success
        | Outcome::Failure(Cause::Unexpected(_) | Cause::Status(_) | Cause::NodeFault(_)) => {
            version(prober.messenger(), &upstream, config).await
        }
        Outcome::Busy | Outcome::Failure(_) => None,
    };
    Event::CanaryTested {
        upstream: upstream.id,
        asked,
        outcome: report.outcome,
        number,
    }
}

/// The same canary, of an upstream that serves.
pub(super) async fn try_canary(
    prober: &Prober,
    upstream: &Upstream,
    config: &Config,
    chosen: Option<String>,
) -> Event {
    let asked = Instant::now();
    let outcome = canary(prober, upstream, config, chosen).await.outcome;
    Event::CanaryTried { asked, outcome }
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

/// As anybody would; a canary that is not public, with our credentials.
async fn draw_canary(prober: &Prober, upstream: &Upstream, config: &Config) -> ProbeReport {
    let (question, authenticates) = (Question::of_canary(config), config.health.authenticate);
    let report = prober
        .ask(question, authenticates, (upstream, config))
        .await;
    let is_answered_wrongly = matches!(
        report.outcome,
        Outcome::Failure(Cause::Unexpected(_) | Cause::Credentials(_))
    );
    if is_answered_wrongly && !authenticates && config.geoserver.credentials != Credentials::None {
        return prober.ask(question, true, (upstream, config)).await;
    }
    report
}

async fn reload_all(
    messenger: &Messenger,
    upstream: &Upstream,
    config: &Config,
    with_security: bool,
) -> Result<(), Cause> {
    let (context, catalog) = (&config.geoserver.context, &config.catalog);
    let deadline = Deadline::after(catalog.reload_timeout);
    let calls = [
        // Users and filter chains first: the catalog is then read with the rules that belong to it.
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
        let errand = Errand::post(format!("{context}{path}"), body);
        let is_enough = |answer: &Answer| answer.body.len() > MAX_RELOAD_ANSWER;
        let answer = messenger
            .run(&errand, (upstream, config), deadline, is_enough)
            .await;
        answer
            .and_then(|answer| {
                if answer.status == 200 {
                    Ok(())
                } else {
                    Err(bad_status(answer.status))
                }
            })
            .map_err(|cause| match has_begun {
                // Not a cause by which GeoServer was never reached.
                true => {
                    Cause::Unexpected(format!("after the catalog was reloaded, {path}: {cause}"))
                }
                false => cause,
            })?;
        has_begun |= path == CATALOG_RELOAD;
    }
    Ok(())
}

/// From capabilities, which need no credentials; where those have no number (global services may be
/// off), from the settings.
async fn version(messenger: &Messenger, upstream: &Upstream, config: &Config) -> Option<u64> {
    let context = &config.geoserver.context;
    let capabilities = Errand::get(Question::Capabilities.target(context));
    let deadline = Deadline::after(config.health.timeout);
    let is_enough = |answer: &Answer| {
        answer.body.len() > MAX_NUMBER_HEAD
            || number_in_root(&String::from_utf8_lossy(&answer.body)).is_some()
    };
    let answer = messenger
        .run(&capabilities, (upstream, config), deadline, is_enough)
        .await
        .ok()?;
    let number = number_in_root(&String::from_utf8_lossy(&answer.body));
    if number.is_some() || config.geoserver.credentials == Credentials::None {
        return number;
    }
    let settings = Errand::get(format!("{context}/rest/settings.json")).authenticated(true);
    let is_enough = |answer: &Answer| answer.body.len() > MAX_SETTINGS;
    let answer = messenger
        .run(&settings, (upstream, config), deadline, is_enough)
        .await
        .ok()?;
    let settings: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    settings.get("global")?.get("updateSequence")?.as_u64()
}

/// `7` of `<WMS_Capabilities version="1.3.0" updateSequence="7" ...>`, once the whole start tag is
/// there.
fn number_in_root(text: &str) -> Option<u64> {
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
    fn the_number_is_read_from_the_root_element_only() {
        let document = "<?xml version=\"1.0\"?>\n<WMS_Capabilities version=\"1.3.0\" updateSequence=\"4711\" xmlns=\"x\"><Service>";
        assert_eq!(number_in_root(document), Some(4711));
        assert_eq!(
            number_in_root("<WMT_MS_Capabilities updateSequence='12'>"),
            Some(12)
        );
        assert_eq!(
            number_in_root("<ServiceExceptionReport>updateSequence=\"3\"</ServiceExceptionReport>"),
            None
        );
        assert_eq!(
            number_in_root("<WMS_Capabilities version=\"1.3.0\"><Layer updateSequence=\"3\">"),
            None
        );
        assert_eq!(
            number_in_root("<WMS_Capabilities updateSequence=\"47"),
            None,
            "half a number is none"
        );
        assert_eq!(
            number_in_root("<WMS_Capabilities updateSequence=\"many\">"),
            None
        );
    }
}
