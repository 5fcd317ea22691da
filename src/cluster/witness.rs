//! Comparison of one upstream's probe results with those of the others.
//!
//! A fault that all upstreams share is never one upstream's fault. Failing content takes an
//! upstream down only when a witness shows that the probe is sound. The witness is another upstream
//! that passes the same probe, sent after the failure, and the first upstream must fail again after
//! that. (When a shared fault ends, one upstream is the first to pass, while all the others have
//! failed before.)
//!
//! Without a witness, the upstream serves on whatever it answers, because the probe itself may be
//! wrong (a withdrawn layer, a lost database). An upstream that is down comes back when it passes,
//! or when no other upstream passes any more.
//!
//! When no upstream is left that passes and may serve reads, reads go to all reachable ones: the
//! cluster *fails open*. Reachability needs no witness, because an upstream that does not answer
//! cannot serve.

use std::time::Instant;

use super::upstream_state::{Content, UpstreamState};
use super::upstreams::Upstreams;
use super::{Cause, Condition};
use crate::config::Weight;
use crate::health::HealthState;

impl Upstreams {
    /// Decides which upstreams are up for reads, and reports the changes.
    pub(super) fn judge_health(&mut self, now: Instant) {
        for at in 0..self.len() {
            let to = self.health_of(at);
            let change = self.states[at].measured(to, now, &self.config.health);
            self.report(at, change);
        }
    }

    fn health_of(&self, at: usize) -> HealthState {
        let state = &self.states[at];
        let mut others = self
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, other)| other);
        match (state.facts.reach(), state.facts.content()) {
            (HealthState::Unknown, _) => HealthState::Unknown,
            (HealthState::Down, _) => HealthState::Down,
            (HealthState::Up, HealthState::Up) => HealthState::Up,
            (HealthState::Up, HealthState::Down | HealthState::Unknown) if state.is_up() => {
                let is_convicted = others
                    .any(|other| !other.is_in_maintenance() && other.facts.convicts(&state.facts));
                if is_convicted {
                    HealthState::Down
                } else {
                    HealthState::Up
                }
            }
            (HealthState::Up, content) => {
                let may_pass = |other: &UpstreamState| {
                    !other.is_in_maintenance() && (other.facts.is_passing() || other.is_awaited())
                };
                if others.any(may_pass) {
                    content
                } else {
                    HealthState::Up
                }
            }
        }
    }

    /// True if reads go to upstreams that do not pass: no other is left, and none is still waited
    /// for.
    pub(super) fn must_fail_open(&self) -> bool {
        let serves = |state: &UpstreamState| {
            state.is_of_the_pool() || state.is_awaited() && state.may_read()
        };
        !self.iter().any(serves) && self.iter().any(UpstreamState::is_there)
    }

    /// Ends ramps that most upstreams share. Slow start is relative to the others and has no effect
    /// while most of those in service ramp up together.
    pub(super) fn end_common_ramps(&mut self, now: Instant) {
        let serving = |state: &&UpstreamState| state.is_ejectable() && !state.is_set_aside();
        let weight = |weights: &mut dyn Iterator<Item = Weight>| {
            weights.map(|weight| u32::from(weight.get())).sum::<u32>()
        };
        let all = weight(&mut self.iter().filter(serving).map(UpstreamState::weight));
        let steady = weight(
            &mut self
                .iter()
                .filter(serving)
                .filter(|t| !t.is_ramping(now))
                .map(UpstreamState::weight),
        );
        if steady * 2 < all {
            let ramping = self.iter_mut().filter(|state| serving(&&**state));
            ramping.for_each(UpstreamState::end_ramp);
        }
    }

    /// Returns a condition if probes fail on every upstream that answers. The fault is then in the
    /// probe or in something that all share.
    pub(super) fn shared_condition(&self) -> Option<Condition> {
        let contents: Vec<_> = self
            .iter()
            .map(UpstreamState::content)
            .filter(|content| *content != Content::Unknown)
            .collect();
        let first = contents.first().copied()?;
        let is_alike = |content: &Content<'_>| match (first, content) {
            (Content::Failing(first), Content::Failing(other)) => first.is_like(other),
            (Content::Refused(_), Content::Refused(_)) => true,
            (_, _) => false,
        };
        let cause = match first {
            Content::Unknown | Content::Passing => None,
            Content::Failing(cause) => Some(cause.clone()),
            Content::Refused(status) => Some(Cause::Credentials(status)),
        };
        let is_shared = contents.len() > 1 && contents.iter().all(is_alike);
        let layer = self.config.health.probe_layer.clone();
        let doubt = cause
            .filter(|_| is_shared)
            .map(|cause| Condition::ProbeInDoubt { layer, cause });
        let is_none_right = contents
            .iter()
            .all(|content| matches!(content, Content::Failing(_)));
        let is_decided = !self.iter().any(UpstreamState::is_awaited);
        doubt.or_else(|| {
            (self.fails_open || is_none_right && is_decided).then(|| self.fail_open_condition())
        })
    }

    fn fail_open_condition(&self) -> Condition {
        let failing = self.iter().filter_map(|state| match state.content() {
            Content::Failing(cause) => Some(format!("{}: {cause}", state.upstream.name)),
            Content::Unknown | Content::Passing | Content::Refused(_) => None,
        });
        Condition::FailOpen {
            causes: failing.take(MAX_CAUSES).collect(),
        }
    }
}

/// Causes named in one sentence.
const MAX_CAUSES: usize = 3;
