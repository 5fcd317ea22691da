//! Answers that show a replica behind the main, and how much is made of them.
//!
//! A replica that does not know a layer which the main knows reloads behind our back, or missed a change: it is reloaded. But if
//! it still does not know it afterwards (its database is another one, a driver is missing), the next reload will not help
//! either, and each costs the cluster a replica for a while: the pauses grow.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    last: Option<(Instant, Duration)>,
}

impl Evidence {
    /// Whether to act on it.
    pub(super) fn seen(&mut self, now: Instant) -> bool {
        let pause = match self.last {
            Some((last, pause)) if now < last + pause => return false,
            // Right after the pause: the last reload did not help.
            Some((last, pause)) if now < last + pause * 4 => (pause * 2).min(LONGEST_PAUSE),
            Some(_) | None => FIRST_PAUSE,
        };
        self.last = Some((now, pause));
        true
    }

    /// An operator wants it now.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_reloading_does_not_help_is_reloaded_less_and_less_often() {
        let start = Instant::now();
        let mut evidence = Evidence::default();
        let acted: Vec<_> = (0..7200).filter(|s| evidence.seen(start + Duration::from_secs(*s))).collect();
        assert_eq!(acted, [0, 30, 90, 210, 450, 930, 1890, 3690, 5490]);
    }

    #[test]
    fn evidence_after_a_long_quiet_is_acted_on_at_once() {
        let start = Instant::now();
        let mut evidence = Evidence::default();
        assert!(evidence.seen(start) && evidence.seen(start + FIRST_PAUSE));
        let later = start + Duration::from_secs(3600);
        assert!(evidence.seen(later) && !evidence.seen(later + FIRST_PAUSE - Duration::from_millis(1)));
        assert!(evidence.seen(later + FIRST_PAUSE));
    }
}
