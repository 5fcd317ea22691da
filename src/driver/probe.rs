//! Active health checks for GeoServer.
//!
//! Every probe opens its own connection, because accepting a new client is part of the check. Time
//! and body are bounded as a whole, even if the answer trickles in. A TCP connection alone proves
//! nothing: Tomcat's port accepts for a minute before its webapps answer.

use std::time::{Duration, Instant};

use super::internal_request::{
    Deadline, InternalClient, InternalRequest, NO_CONNECTION, NO_TLS_CONNECTION,
};
use super::probe_request::ProbeRequest;
use crate::cluster::{Cause, Outcome, ProbeReport, Upstream};
use crate::config::Config;

/// Timeout of the cheap check after a probe that timed out. It is below the second for which the
/// cluster waits for a late report.
const LIGHT_TIMEOUT: Duration = Duration::from_millis(700);

/// Sends probes.
pub struct Prober {
    client: InternalClient,
}

impl Prober {
    /// Returns a prober with connections of its own.
    pub fn new() -> Self {
        Self {
            client: InternalClient::new(),
        }
    }

    /// Probes `upstream` according to `config`, within `config.health.timeout`.
    pub async fn probe(&self, upstream: &Upstream, config: &Config) -> ProbeReport {
        let mut report = self
            .send(
                ProbeRequest::of_health(config),
                config.health.authenticate,
                upstream,
                config,
            )
            .await;
        if let Outcome::Failure(Cause::Timeout(awaited)) = report.outcome
            && ![NO_CONNECTION, NO_TLS_CONNECTION].contains(&awaited)
            && self.answers(upstream, config).await
        {
            report.outcome = Outcome::Failure(Cause::Slow(awaited));
        }
        report
    }

    /// True if the upstream answers a cheap request that does not wait in GeoServer's queue.
    async fn answers(&self, upstream: &Upstream, config: &Config) -> bool {
        let request = InternalRequest::get(format!("{}/index.html", config.geoserver.context));
        let deadline = Deadline::after(LIGHT_TIMEOUT);
        self.client
            .run(&request, upstream, config, deadline, |_| true)
            .await
            .is_ok()
    }

    /// Sends the probe request, with the credentials of `[geoserver]` if `authenticates`, otherwise
    /// anonymously.
    pub(super) async fn send(
        &self,
        probe: ProbeRequest<'_>,
        authenticates: bool,
        upstream: &Upstream,
        config: &Config,
    ) -> ProbeReport {
        let began = Instant::now();
        let request = InternalRequest::get(probe.target(&config.geoserver.context))
            .authenticated(authenticates);
        let deadline = Deadline::after(config.health.timeout);
        let answer = self
            .client
            .run(&request, upstream, config, deadline, |answer| {
                probe.is_answered(answer)
            })
            .await;
        let outcome = answer.map_or_else(Outcome::Failure, |answer| probe.judge(&answer));
        ProbeReport {
            outcome,
            took: began.elapsed(),
        }
    }

    pub(super) fn client(&self) -> &InternalClient {
        &self.client
    }
}

impl Default for Prober {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
