//! Active checks that know GeoServer.
//!
//! Every probe makes its own connection: that a new client is accepted is part of what is asked.
//! Time and body are bounded as a whole, whatever trickles in. A TCP connection alone proves
//! nothing: Tomcat's port accepts for a minute before its webapps answer.

use std::time::{Duration, Instant};

use super::errand::{Deadline, Errand, Messenger, NO_CONNECTION};
use super::question::Question;
use crate::cluster::{Cause, Outcome, ProbeReport, Upstream};
use crate::config::Config;

/// For the light question after a probe that timed out. Below the second that the cluster waits for
/// a late report.
const LIGHT_TIMEOUT: Duration = Duration::from_millis(700);

/// Sends probes.
pub struct Prober {
    messenger: Messenger,
}

impl Prober {
    pub fn new() -> Self {
        Self {
            messenger: Messenger::new(),
        }
    }

    /// Asks `upstream` as `config` says, and takes no longer than `config.health.timeout`.
    pub async fn probe(&self, upstream: &Upstream, config: &Config) -> ProbeReport {
        let mut report = self
            .ask(
                Question::of_health(config),
                config.health.authenticate,
                (upstream, config),
            )
            .await;
        if let Outcome::Failure(Cause::Timeout(awaited)) = report.outcome
            && awaited != NO_CONNECTION
            && self.answers(upstream, config).await
        {
            report.outcome = Outcome::Failure(Cause::Slow(awaited));
        }
        report
    }

    /// Whether something answers what costs nothing and waits in no queue of GeoServer's.
    async fn answers(&self, upstream: &Upstream, config: &Config) -> bool {
        let errand = Errand::get(format!("{}/index.html", config.geoserver.context));
        let deadline = Deadline::after(LIGHT_TIMEOUT);
        self.messenger
            .run(&errand, (upstream, config), deadline, |_| true)
            .await
            .is_ok()
    }

    /// Asks with the credentials of `[geoserver]` if `authenticates`, otherwise as anybody could.
    pub(super) async fn ask(
        &self,
        question: Question<'_>,
        authenticates: bool,
        (upstream, config): (&Upstream, &Config),
    ) -> ProbeReport {
        let began = Instant::now();
        let errand =
            Errand::get(question.target(&config.geoserver.context)).authenticated(authenticates);
        let deadline = Deadline::after(config.health.timeout);
        let answer = self
            .messenger
            .run(&errand, (upstream, config), deadline, |answer| {
                question.is_answered(answer)
            })
            .await;
        let outcome = answer.map_or_else(Outcome::Failure, |answer| question.judge(&answer));
        ProbeReport {
            outcome,
            took: began.elapsed(),
        }
    }

    pub(super) fn messenger(&self) -> &Messenger {
        &self.messenger
    }
}

impl Default for Prober {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
