//! The conditions that hold, and the reports of those that begin and end.

use std::time::Instant;

use super::upstreams::Upstreams;
use super::{Condition, ConditionStatus, TransitionKind};

/// Conditions held at a time; more would help no operator.
const MAX_CONDITIONS: usize = 100;

/// The conditions that held after the last event, in the order in which they are shown.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    held: Vec<(Condition, Instant)>,
}

impl Conditions {
    /// Takes over the conditions that hold now. Returns those that ended, then those that began.
    fn update(&mut self, mut holding: Vec<Condition>, now: Instant) -> Vec<TransitionKind> {
        holding.truncate(MAX_CONDITIONS);
        let before = std::mem::take(&mut self.held);
        let mut changes: Vec<TransitionKind> = before
            .iter()
            .filter(|(condition, _)| !holding.iter().any(|other| other.is(condition)))
            .map(|(condition, _)| TransitionKind::ConditionEnded {
                condition: condition.clone(),
            })
            .collect();
        for condition in holding {
            let since = before
                .iter()
                .find(|(other, _)| other.is(&condition))
                .map(|(_, since)| *since);
            if since.is_none() {
                changes.push(TransitionKind::ConditionBegan {
                    condition: condition.clone(),
                });
            }
            self.held.push((condition, since.unwrap_or(now)));
        }
        changes
    }

    /// Takes over the conditions that hold now, and reports each one that began or ended.
    pub(super) fn note(
        &mut self,
        upstreams: &mut Upstreams,
        holding: Vec<Condition>,
        now: Instant,
    ) {
        for what in self.update(holding, now) {
            let about = match &what {
                TransitionKind::ConditionBegan { condition }
                | TransitionKind::ConditionEnded { condition } => condition.upstream().cloned(),
                _ => None,
            };
            upstreams.emit(about, what);
        }
    }

    pub(super) fn status(&self, now: Instant) -> Vec<ConditionStatus> {
        let status = |(condition, since): &(Condition, Instant)| ConditionStatus {
            condition: condition.clone(),
            held_for: now.saturating_duration_since(*since),
        };
        self.held.iter().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::UpstreamName;

    fn refused(upstream: &str, status: u16) -> Condition {
        Condition::CredentialsRefused {
            upstream: UpstreamName::new(upstream).unwrap(),
            status,
        }
    }

    #[test]
    fn a_condition_is_reported_when_it_begins_and_when_it_ends_and_not_in_between() {
        let (mut conditions, start) = (Conditions::default(), Instant::now());
        let began = |condition| vec![TransitionKind::ConditionBegan { condition }];
        let ended = |condition| vec![TransitionKind::ConditionEnded { condition }];
        assert_eq!(
            conditions.update(vec![refused("a", 401)], start),
            began(refused("a", 401))
        );
        let later = start + Duration::from_secs(60);
        assert_eq!(conditions.update(vec![refused("a", 403)], later), []);
        let status = ConditionStatus {
            condition: refused("a", 403),
            held_for: Duration::from_secs(60),
        };
        assert_eq!(conditions.status(later), [status]);
        let both = conditions.update(vec![refused("b", 401)], later);
        assert_eq!(
            both,
            [ended(refused("a", 403)), began(refused("b", 401))].concat()
        );
        assert_eq!(
            conditions.update(Vec::new(), later),
            ended(refused("b", 401))
        );
    }
}
