//! Second opinions: a replica does not know a layer, and the main is tried.
//!
//! "Layer not defined" results from a client's mistake, from a replica that reloads without our
//! order, or from one that missed a change. One more attempt, on the main, decides: if the main
//! answers properly, the client got its map and the replica is found stale. A client that requests
//! unknown layers all day must not send its load to the main, so these attempts have a budget. They
//! need none where the replica is known to lack a change that the request is about: there the
//! answer is expected to be wrong, and any that has the change is tried.

use std::time::Instant;

use parking_lot::Mutex;

use crate::cluster::UpstreamId;

/// Attempts a second, in the long run.
const PER_SECOND: f64 = 20.0;
/// Attempts at once after a quiet time.
const BURST: f64 = 100.0;

/// A token bucket.
#[derive(Debug)]
pub(in crate::proxy) struct OpinionBudget {
    state: Mutex<(f64, Instant)>,
}

impl OpinionBudget {
    pub(in crate::proxy) fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new((BURST, now)),
        }
    }

    pub(in crate::proxy) fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let (tokens, at) = *state;
        let earned = now.saturating_duration_since(at).as_secs_f64() * PER_SECOND;
        let tokens = (tokens + earned).min(BURST);
        let is_granted = tokens >= 1.0;
        *state = (if is_granted { tokens - 1.0 } else { tokens }, now.max(at));
        is_granted
    }
}

/// The state of a request's second opinion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) enum SecondOpinion {
    #[default]
    None,
    /// This replica did not know, to a request sent at this time; another that has the last change
    /// is tried next.
    About {
        replica: UpstreamId,
        sent: Instant,
        /// It is known to lack a change that the request is about.
        lacks_a_change: bool,
    },
    /// It was tried, whatever its answer.
    Settled,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_client_that_requests_unknown_layers_all_day_gets_a_bounded_share_of_the_main() {
        let start = Instant::now();
        let budget = OpinionBudget::new(start);
        let times = (0..60_000).map(|ms| start + Duration::from_millis(ms));
        let granted = times.filter(|now| budget.take(*now)).count();
        assert!((1280..=1320).contains(&granted), "{granted} in a minute");
    }

    #[test]
    fn a_quiet_time_earns_a_burst_and_no_more() {
        let start = Instant::now();
        let budget = OpinionBudget::new(start);
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..1000).filter(|_| budget.take(later)).count(), 100);
    }
}
