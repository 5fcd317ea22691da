//! Counts the requests at work under each rule and of each user.
//!
//! A request passes all counters of its [`ConcurrencyKeys`] or none, so it holds no slot under one
//! rule while it waits for another. A counter exists while it counts a request, so the number of
//! counters is bounded by the requests at work. Counters are found by the rule's key: a config
//! reload that changes a limit, or leaves a rule as it is, forgets none of them.

use std::collections::HashMap;

use super::concurrency_keys::{ConcurrencyKey, ConcurrencyKeys, Counter};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Limiter {
    at_work: HashMap<Counter, u32>,
}

/// The answer to a request that must pass all of its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitCheck {
    Free,
    /// A rule for all users is at its limit.
    Full,
    /// This user is at its limit; others may pass.
    UserFull,
}

impl Limiter {
    /// Returns whether a request with these keys may be admitted now.
    pub fn check(&self, keys: &ConcurrencyKeys) -> LimitCheck {
        let full = |personal| {
            keys.keys
                .iter()
                .any(|key| key.is_personal == personal && !self.has_room(key))
        };
        match (full(true), full(false)) {
            (true, _) => LimitCheck::UserFull,
            (false, true) => LimitCheck::Full,
            (false, false) => LimitCheck::Free,
        }
    }

    /// Returns whether the personal limits leave room.
    pub fn user_may(&self, keys: &ConcurrencyKeys) -> bool {
        keys.keys
            .iter()
            .filter(|key| key.is_personal)
            .all(|key| self.has_room(key))
    }

    /// Counts a request. One [`Self::leave`] with the same keys undoes it.
    pub fn enter(&mut self, keys: &ConcurrencyKeys) {
        for key in &keys.keys {
            *self.at_work.entry(key.counter).or_default() += 1;
        }
    }

    /// Ends the count of an admitted request with these keys.
    pub fn leave(&mut self, keys: &ConcurrencyKeys) {
        for key in &keys.keys {
            let count = self
                .at_work
                .get_mut(&key.counter)
                .expect("a request that leaves was counted");
            *count -= 1;
            if *count == 0 {
                self.at_work.remove(&key.counter);
            }
        }
    }

    /// Returns the number of counters that count a request.
    pub fn counters(&self) -> usize {
        self.at_work.len()
    }

    fn has_room(&self, key: &ConcurrencyKey) -> bool {
        self.at_work.get(&key.counter).copied().unwrap_or(0) < key.most
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::concurrency_keys::tests::{MAP, client, keys, limits};
    use super::*;

    #[test]
    fn a_rule_for_all_users_and_the_limit_of_one_user_are_distinguished() {
        let limits = limits("control_flow = ['ows.wms.getmap=3']\nper_user = 2");
        let (ann, bob) = (
            keys(&limits, MAP, &client(1, "10.0.0.1")),
            keys(&limits, MAP, &client(2, "10.0.0.2")),
        );
        let mut limiter = Limiter::default();
        limiter.enter(&ann);
        limiter.enter(&ann);
        assert_eq!(
            (limiter.check(&ann), limiter.check(&bob)),
            (LimitCheck::UserFull, LimitCheck::Free)
        );
        limiter.enter(&bob);
        assert_eq!(
            (limiter.check(&ann), limiter.check(&bob)),
            (LimitCheck::UserFull, LimitCheck::Full)
        );
        assert!(!limiter.user_may(&ann) && limiter.user_may(&bob));
        limiter.leave(&ann);
        assert_eq!(
            (limiter.check(&ann), limiter.check(&bob)),
            (LimitCheck::Free, LimitCheck::Free)
        );
    }

    #[test]
    fn a_limit_that_a_config_reload_lowers_counts_the_requests_at_work() {
        let claim_under = |lines| keys(&limits(lines), MAP, &client(1, "10.0.0.1"));
        let (before, after) = (
            claim_under("control_flow = ['ows.wms=9']"),
            claim_under("control_flow = ['ows.global=5', 'ows.wms=2']"),
        );
        let mut limiter = Limiter::default();
        (0..2).for_each(|_| limiter.enter(&before));
        assert_eq!(limiter.check(&after), LimitCheck::Full);
        limiter.leave(&before);
        assert_eq!(limiter.check(&after), LimitCheck::Free);
    }

    proptest! {
        #[test]
        fn no_limit_is_exceeded_and_nothing_stays_behind(
            steps in proptest::collection::vec((0..3_u64, 0..2_u8, any::<bool>()), 0..200),
        ) {
            let limits = limits("control_flow = ['ows.wms=4', 'ip=3']\nper_user = 2");
            let mut limiter = Limiter::default();
            let mut at_work: Vec<(u64, u8, ConcurrencyKeys)> = Vec::new();
            for (user, address, comes) in steps {
                if comes {
                    let keys = keys(&limits, MAP, &client(user, &format!("10.0.0.{address}")));
                    let of_user = at_work.iter().filter(|(other, ..)| *other == user).count();
                    let is_of_it = |(_, other, _): &&_| *other == address;
                    let of_address = at_work.iter().filter(is_of_it).count();
                    let may = of_user < 2 && of_address < 3 && at_work.len() < 4;
                    prop_assert_eq!(limiter.check(&keys) == LimitCheck::Free, may);
                    if may {
                        limiter.enter(&keys);
                        at_work.push((user, address, keys));
                    }
                } else if let Some((.., keys)) = at_work.pop() {
                    limiter.leave(&keys);
                }
            }
            at_work.iter().for_each(|(.., keys)| limiter.leave(keys));
            prop_assert_eq!(limiter.counters(), 0);
        }
    }
}
