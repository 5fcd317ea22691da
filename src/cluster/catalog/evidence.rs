//! Answers that show a replica behind the main, and the reloads that they justify.
//!
//! A replica may lack a layer that the main has, because it reloaded by itself or missed a change.
//! It is reloaded once. If it still lacks that layer afterwards (another database, a missing
//! driver), no reload will help. The missing layer is then a fact, which is shown for as long as
//! requests meet it. Each reload costs the cluster a replica for a while, so the pauses between
//! reloads for different layers grow.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);
/// A layer is forgotten when no request has missed it for this long.
const FORGOTTEN: Duration = Duration::from_secs(10 * 60);
/// Layers remembered; beyond them the one that was missed longest ago is forgotten.
const MAX_LAYERS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Evidence {
    last: Option<(Instant, Duration)>,
    missing: Vec<Missing>,
}

/// A layer or workspace that caused a reload of the replica.
#[derive(Debug)]
struct Missing {
    layer: Box<str>,
    /// The epoch of the replica at that time.
    epoch: u64,
    seen: Instant,
    /// True if it was missed again after the reload.
    is_fact: bool,
}

impl Evidence {
    /// Notes that a replica known to have `epoch` lacks `layer`. Returns true if it should be
    /// reloaded.
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
        if !self.begin_pause(now) {
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

    /// Returns the layers that no reload brings, in the order in which they were first missed.
    pub(super) fn facts(&self, now: Instant) -> impl Iterator<Item = &str> {
        let holds = move |missing: &&Missing| missing.is_fact && now < missing.seen + FORGOTTEN;
        self.missing
            .iter()
            .filter(holds)
            .map(|missing| &*missing.layer)
    }

    /// Forgets everything, because an operator wants a reload now.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Begins the pause between two reloads for evidence. Returns false if one runs.
    fn begin_pause(&mut self, now: Instant) -> bool {
        let pause = match self.last {
            Some((last, pause)) if now < last + pause => return false,
            // The evidence came right after the pause, so the last reload did not help.
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
    fn the_memory_of_missing_layers_is_bounded() {
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
