//! The number of requests of each user and address in the current window of each rate.
//!
//! Windows are fixed and aligned to the epoch, as in GeoServer's control-flow, so all counts of a
//! rule end at the same time and are forgotten together. The table of a rule is bounded; a
//! client that finds no room in it is not limited in this window. (A refusal would let one flood of
//! addresses shut out all other clients.)

use std::collections::HashMap;
use std::time::Duration;

use super::concurrency_keys::Metered;

/// Users or addresses counted for one rule in one window.
pub const MAX_COUNTED: usize = 65_536;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Rates {
    /// One for each rule, by its identifier.
    tables: HashMap<u64, Table>,
}

#[derive(Debug)]
struct Table {
    /// Windows since the epoch.
    window: u64,
    counts: HashMap<u64, u32>,
}

/// The state of a rate after one request, which the `X-Rate-Limit-*` headers report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateState {
    pub is_exceeded: bool,
    /// Further requests allowed in this window.
    pub remaining: u32,
    /// Start of the next window, since the epoch.
    pub reset: Duration,
}

impl Rates {
    /// Counts one request. `now` is since the epoch.
    pub fn count(&mut self, metered: &Metered<'_>, now: Duration) -> RateState {
        let seconds = metered.rate.window.as_secs().max(1);
        let window = now.as_secs() / seconds;
        let table = self.tables.entry(metered.rule.id).or_insert_with(|| Table {
            window,
            counts: HashMap::new(),
        });
        // A clock that was set back does not bring an old window back.
        if table.window < window {
            table.window = window;
            table.counts.clear();
        }
        let count = table.count(metered.key);
        let most = metered.rate.most;
        let reset = Duration::from_secs((window + 1) * seconds);
        RateState {
            is_exceeded: count > most,
            remaining: most.saturating_sub(count),
            reset,
        }
    }

    /// Forgets rules that are not there any more.
    pub fn keep(&mut self, is_there: impl Fn(u64) -> bool) {
        self.tables.retain(|id, _| is_there(*id));
    }
}

impl Table {
    /// The count with this one; 0 for requests that are not counted.
    fn count(&mut self, key: u64) -> u32 {
        if self.counts.len() >= MAX_COUNTED && !self.counts.contains_key(&key) {
            return 0;
        }
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::super::concurrency_keys::tests::{MAP, client, limits};
    use super::*;
    use crate::config::Limits;
    use crate::ogc::{self, RequestHead};

    /// A map of `user` at `millis`: whether each rate is exceeded, and how many remain.
    fn arrive(rates: &mut Rates, limits: &Limits, user: u64, millis: u64) -> Vec<(bool, u32)> {
        let head = RequestHead {
            method: "GET",
            target: MAP.as_bytes(),
            content_type: None,
        };
        let (classified, client) = (
            ogc::classify(&head, "/geoserver", None),
            client(user, "10.0.0.1"),
        );
        let metered: Vec<_> = Metered::of(limits, &classified, &head, &client).collect();
        let now = Duration::from_millis(millis);
        metered
            .iter()
            .map(|metered| rates.count(metered, now))
            .map(|reading| (reading.is_exceeded, reading.remaining))
            .collect()
    }

    #[test]
    fn each_user_has_a_count_of_its_own_that_ends_with_the_window() {
        let limits = limits("control_flow = 'user.ows.wms.getmap=2/s'");
        let mut rates = Rates::default();
        let told: Vec<_> = [(1, 900), (1, 950), (1, 999), (2, 999), (1, 1000)]
            .into_iter()
            .flat_map(|(user, millis)| arrive(&mut rates, &limits, user, millis))
            .collect();
        assert_eq!(
            told,
            [(false, 1), (false, 0), (true, 0), (false, 1), (false, 1)]
        );
    }

    #[test]
    fn an_address_counts_for_all_its_users_and_rules_count_apart() {
        let limits = limits("control_flow = ['ip.ows=3/m', 'user.ows.wms=1/h']");
        let mut rates = Rates::default();
        assert_eq!(arrive(&mut rates, &limits, 1, 0), [(false, 2), (false, 0)]);
        assert_eq!(
            arrive(&mut rates, &limits, 2, 59_999),
            [(false, 1), (false, 0)]
        );
        assert_eq!(
            arrive(&mut rates, &limits, 2, 60_000),
            [(false, 2), (true, 0)]
        );
    }

    #[test]
    fn a_clock_set_back_does_not_give_a_new_window() {
        let limits = limits("control_flow = 'user.ows=1/s'");
        let mut rates = Rates::default();
        assert_eq!(arrive(&mut rates, &limits, 1, 5000), [(false, 0)]);
        assert_eq!(arrive(&mut rates, &limits, 1, 4000), [(true, 0)]);
    }

    #[test]
    fn a_flood_of_users_fills_the_table_and_no_more() {
        let limits = limits("control_flow = 'user.ows=1/d'");
        let mut rates = Rates::default();
        (0..MAX_COUNTED as u64 + 10)
            .for_each(|user| assert!(!arrive(&mut rates, &limits, user, 0)[0].0));
        assert!(
            arrive(&mut rates, &limits, 3, 0)[0].0,
            "a counted client stays limited"
        );
        assert!(
            !arrive(&mut rates, &limits, u64::MAX, 0)[0].0,
            "a client that found no room is not limited"
        );
        assert_eq!(
            rates.tables.values().next().unwrap().counts.len(),
            MAX_COUNTED
        );
        rates.keep(|_| false);
        assert!(rates.tables.is_empty());
    }
}
