//! Answers that show a replica behind the main, and how much is made of them.
//!
//! A replica that does not know a layer which the main knows reloads behind our back, or missed a
//! change: it is reloaded, once. If it still does not know that layer afterwards (its database is
//! another one, a driver is missing), no reload will help: then it is a fact, which is shown for as
//! long as requests meet it. Between reloads for different layers the pauses grow, since each costs
//! the cluster a replica for a while.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);
/// A layer that no request has missed for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10 * 60);
/// Layers remembered; beyond them the one that was missed longest ago is forgotten.
const MAX_LAYERS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Evidence {
    last: Option<(Instant, Duration)>,
    missing: Vec<Missing>,
}

/// A layer or workspace for which the replica was reloaded.
#[derive(Debug)]
struct Missing {
    layer: Box<str>,
    /// The epoch that the replica had then.
    epoch: u64,
    seen: Instant,
    /// It was missed again after the reload.
    is_fact: bool,
}

impl Evidence {
    /// A replica that is known to have `epoch` did not know `layer`. Whether to reload it.
    pub(super) fn seen(&mut self, layer: &str, epoch: u64, now: Instant) -> bool {
        self.missing
            .retain(|missing| now < missing.seen + FORGOTTEN);
        if let Some(missing) = self
            .missing
            .iter_mut()
            .find(|missing| *missing.layer == *layer)
        {
            missing.seen = now;
            if missing.epoch == epoch || missing.is_fact {
                (missing.epoch, missing.is_fact) = (epoch, true);
                return false;
            }
        }
        if !self.is_time(now) {
            return false;
        }
        self.missing.retain(|missing| *missing.layer != *layer);
        if self.missing.len() >= MAX_LAYERS {
            let oldest = (0..self.missing.len()).min_by_key(|at| self.missing[*at].seen);
            oldest.map(|at| self.missing.swap_remove(at));
        }
        self.missing.push(Missing {
            layer: layer.into(),
            epoch,
            seen: now,
            is_fact: false,
        });
        true
    }

    /// The layers that no reload brings, those first that were missed first.
    pub(super) fn facts(&self, now: Instant) -> impl Iterator<Item = &str> {
        let holds = move |missing: &&Missing| missing.is_fact && now < missing.seen + FORGOTTEN;
        self.missing
            .iter()
            .filter(holds)
            .map(|missing| &*missing.layer)
    }

    /// An operator wants it now.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn is_time(&mut self, now: Instant) -> bool {
        let pause = match self.last {
            Some((last, pause)) if now < last + pause => return false,
            // Right after the pause: the last reload did not help.
            Some((last, pause)) if now < last + pause * 4 => (pause * 2).min(LONGEST_PAUSE),
            Some(_) | None => FIRST_PAUSE,
        };
        self.last = Some((now, pause));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_layer_that_only_the_main_has_leads_to_one_reload_and_is_a_fact_then() {
        let (start, mut evidence) = (Instant::now(), Evidence::default());
        let acted: Vec<_> = (0..7200)
            .filter(|s| evidence.seen("a:b", 1, start + SECOND * *s))
            .collect();
        assert_eq!(acted, [0]);
        assert_eq!(
            evidence.facts(start + SECOND * 7200).collect::<Vec<_>>(),
            ["a:b"]
        );
        assert!(
            !evidence.seen("a:b", 2, start + SECOND * 7201),
            "the roll of the next change did not bring it either"
        );
        assert_eq!(
            evidence.facts(start + SECOND * 9000).count(),
            0,
            "no request has missed it for long"
        );
    }

    #[test]
    fn a_layer_missed_once_leads_to_a_reload_again_in_another_epoch() {
        let (start, mut evidence) = (Instant::now(), Evidence::default());
        assert!(evidence.seen("a:b", 1, start));
        assert!(evidence.seen("a:b", 2, start + SECOND * 60));
        assert_eq!(evidence.facts(start).count(), 0);
    }

    #[test]
    fn a_replica_of_which_many_layers_are_missed_is_reloaded_less_and_less_often() {
        let (start, mut evidence) = (Instant::now(), Evidence::default());
        let seen = |s: &u32| evidence.seen(&format!("a:{s}"), 1, start + SECOND * *s);
        let acted: Vec<_> = (0..7200).filter(seen).collect();
        assert_eq!(acted, [0, 30, 90, 210, 450, 930, 1890, 3690, 5490]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (start, mut evidence) = (Instant::now(), Evidence::default());
        for number in 0..1000 {
            evidence.last = None;
            assert!(evidence.seen(&format!("a:{number}"), 1, start));
        }
        assert_eq!(evidence.missing.len(), MAX_LAYERS);
    }

    #[test]
    fn evidence_after_a_long_quiet_is_acted_on_at_once() {
        let (start, mut evidence) = (Instant::now(), Evidence::default());
        assert!(evidence.seen("a", 1, start) && evidence.seen("b", 1, start + FIRST_PAUSE));
        let later = start + SECOND * 3600;
        assert!(
            evidence.seen("c", 1, later) && !evidence.seen("d", 1, later + FIRST_PAUSE - SECOND)
        );
        assert!(evidence.seen("d", 1, later + FIRST_PAUSE));
    }
}
