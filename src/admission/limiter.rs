//! How many requests of each rule and of each user are at work now.
//!
//! A request passes all the counters of its [`Claim`] or none, so nobody holds a place under one
//! rule while waiting for another. Counters are there while they count somebody: their number is
//! bounded by the requests at work. They are found by the rule's key, so a config reload that
//! changes a limit, or leaves a rule as it is, forgets nobody.

use std::collections::HashMap;

use super::claim::{Claim, Counter, Hold};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Limiter {
    at_work: HashMap<Counter, u32>,
}

/// Whether a request may pass all its counters now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    Free,
    /// A rule for everybody has all it may have.
    Full,
    /// This user has all it may have; others may pass.
    UserFull,
}

impl Limiter {
    pub fn passage(&self, claim: &Claim) -> Passage {
        let full = |personal| {
            claim
                .holds
                .iter()
                .any(|hold| hold.is_personal == personal && !self.has_room(hold))
        };
        match (full(true), full(false)) {
            (true, _) => Passage::UserFull,
            (false, true) => Passage::Full,
            (false, false) => Passage::Free,
        }
    }

    /// Whether the claim's user may have more.
    pub fn user_may(&self, claim: &Claim) -> bool {
        claim
            .holds
            .iter()
            .filter(|hold| hold.is_personal)
            .all(|hold| self.has_room(hold))
    }

    /// To be undone by one [`Self::leave`] of the same claim.
    pub fn enter(&mut self, claim: &Claim) {
        for hold in &claim.holds {
            *self.at_work.entry(hold.counter).or_default() += 1;
        }
    }

    pub fn leave(&mut self, claim: &Claim) {
        for hold in &claim.holds {
            let count = self
                .at_work
                .get_mut(&hold.counter)
                .expect("who leaves was counted");
            *count -= 1;
            if *count == 0 {
                self.at_work.remove(&hold.counter);
            }
        }
    }

    /// How many are counted anywhere.
    pub fn counters(&self) -> usize {
        self.at_work.len()
    }

    fn has_room(&self, hold: &Hold) -> bool {
        self.at_work.get(&hold.counter).copied().unwrap_or(0) < hold.most
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::claim::tests::{MAP, claim, client, limits};
    use super::*;

    #[test]
    fn a_rule_for_everybody_and_a_limit_of_one_user_are_told_apart() {
        let limits = limits("control_flow = ['ows.wms.getmap=3']\nper_user = 2");
        let (ann, bob) = (
            claim(&limits, MAP, &client(1, "10.0.0.1")),
            claim(&limits, MAP, &client(2, "10.0.0.2")),
        );
        let mut limiter = Limiter::default();
        limiter.enter(&ann);
        limiter.enter(&ann);
        assert_eq!(
            (limiter.passage(&ann), limiter.passage(&bob)),
            (Passage::UserFull, Passage::Free)
        );
        limiter.enter(&bob);
        assert_eq!(
            (limiter.passage(&ann), limiter.passage(&bob)),
            (Passage::UserFull, Passage::Full)
        );
        assert!(!limiter.user_may(&ann) && limiter.user_may(&bob));
        limiter.leave(&ann);
        assert_eq!(
            (limiter.passage(&ann), limiter.passage(&bob)),
            (Passage::Free, Passage::Free)
        );
    }

    #[test]
    fn a_limit_that_a_config_reload_lowers_counts_who_is_at_work_already() {
        let claim_under = |lines| claim(&limits(lines), MAP, &client(1, "10.0.0.1"));
        let (before, after) = (
            claim_under("control_flow = ['ows.wms=9']"),
            claim_under("control_flow = ['ows.global=5', 'ows.wms=2']"),
        );
        let mut limiter = Limiter::default();
        (0..2).for_each(|_| limiter.enter(&before));
        assert_eq!(limiter.passage(&after), Passage::Full);
        limiter.leave(&before);
        assert_eq!(limiter.passage(&after), Passage::Free);
    }

    proptest! {
        #[test]
        fn no_limit_is_exceeded_and_nothing_stays_behind(steps in proptest::collection::vec((0..3_u64, 0..2_u8, any::<bool>()), 0..200)) {
            let limits = limits("control_flow = ['ows.wms=4', 'ip=3']\nper_user = 2");
            let mut limiter = Limiter::default();
            let mut at_work: Vec<(u64, u8, Claim)> = Vec::new();
            for (user, address, comes) in steps {
                if comes {
                    let claim = claim(&limits, MAP, &client(user, &format!("10.0.0.{address}")));
                    let of_user = at_work.iter().filter(|(other, ..)| *other == user).count();
                    let of_address = at_work.iter().filter(|(_, other, _)| *other == address).count();
                    let may = of_user < 2 && of_address < 3 && at_work.len() < 4;
                    prop_assert_eq!(limiter.passage(&claim) == Passage::Free, may);
                    if may {
                        limiter.enter(&claim);
                        at_work.push((user, address, claim));
                    }
                } else if let Some((.., claim)) = at_work.pop() {
                    limiter.leave(&claim);
                }
            }
            at_work.iter().for_each(|(.., claim)| limiter.leave(claim));
            prop_assert_eq!(limiter.counters(), 0);
        }
    }
}
