//! Weighted least in flight, over all candidates, in exact integers.
//!
//! A request takes the upstream with the least cost: `(in_flight + 1) / weight`, the load per
//! capacity *with* the request on it. All candidates are scanned instead of two random ones,
//! because a cluster has two to twenty upstreams, and two random choices would be wrong up to half
//! of the time. Latency is not part of the cost: it gains nothing at this size, and favours the
//! upstream that fails fastest. An upstream that is much slower than its peers has a lower weight
//! instead (`slowness.rs`).
//!
//! Equals share evenly. Of `k` equals the `start % k`-th is taken, so any `k` consecutive starts
//! take each once. (A scan that began at `start` and took the first would also give the turns of a
//! busy upstream to its successor.)
//!
//! The scan reads loads while other requests change them. Two requests that race may choose the
//! same upstream; the next one sees both.

use std::cmp::Ordering;

/// The values on which the choice depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadSample {
    pub in_flight: u32,
    /// Weight relative to the others, in any unit, at least 1.
    pub weight: u32,
}

impl LoadSample {
    /// Compares `(in_flight + 1) / weight` without dividing. The products are at most 2^32 * 2^32,
    /// so they cannot overflow.
    #[inline]
    pub(super) fn compare_cost(self, other: Self) -> Ordering {
        let here = (u64::from(self.in_flight) + 1) * u64::from(other.weight);
        let there = (u64::from(other.in_flight) + 1) * u64::from(self.weight);
        here.cmp(&there)
    }
}

/// Returns the index of the cheapest candidate; among equals, `start` decides.
pub fn pick(candidates: &[LoadSample], start: usize) -> Option<usize> {
    pick_by(candidates.len(), |at| Some(candidates[at]), start)
}

/// Picks as [`pick`] does, without a slice. `sample` returns the load at each index, or
/// `None` to leave it out. It is called twice per index only when there are more equals than
/// [`Equals`] notes.
#[inline]
pub fn pick_by(
    count: usize,
    sample: impl Fn(usize) -> Option<LoadSample>,
    start: usize,
) -> Option<usize> {
    let mut best: Option<LoadSample> = None;
    let mut equals = Equals::default();
    for at in 0..count {
        let Some(this) = sample(at) else { continue };
        match best.map_or(Ordering::Less, |best| this.compare_cost(best)) {
            Ordering::Less => {
                best = Some(this);
                equals.begin_with(at);
            }
            Ordering::Equal => equals.add(at),
            Ordering::Greater => {}
        }
    }
    let cheapest = best?;
    if let Some(at) = equals.next_in_turn(start) {
        return Some(at);
    }
    let is_equal = |at: &usize| sample(*at).is_some_and(|this| this.compare_cost(cheapest).is_eq());
    // If the loads moved meanwhile and fewer equals are left than were counted, the first is still
    // as good as any.
    (equals.first()..count)
        .filter(is_equal)
        .nth(start % equals.count)
        .or_else(|| Some(equals.first()))
}

/// The candidates of the lowest cost, kept so that the choice among them needs no second scan.
#[derive(Default)]
struct Equals {
    noted: [u32; Self::MAX_NOTED],
    count: usize,
}

impl Equals {
    /// Equals that are noted; more than most clusters have upstreams.
    const MAX_NOTED: usize = 32;

    #[inline]
    fn begin_with(&mut self, at: usize) {
        self.noted[0] = at as u32;
        self.count = 1;
    }

    #[inline]
    fn add(&mut self, at: usize) {
        if let Some(free) = self.noted.get_mut(self.count) {
            *free = at as u32;
        }
        self.count += 1;
    }

    fn first(&self) -> usize {
        self.noted[0] as usize
    }

    /// Returns the equal that `start` selects; `None` when not all of them are noted.
    #[inline]
    fn next_in_turn(&self, start: usize) -> Option<usize> {
        match self.count {
            1 => Some(self.first()),
            count if count <= Self::MAX_NOTED => Some(self.noted[start % count] as usize),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(in_flight: u32, weight: u32) -> LoadSample {
        LoadSample { in_flight, weight }
    }

    /// The definition, written the slow way.
    fn cheapest(candidates: &[LoadSample]) -> Vec<usize> {
        let costs_at_most = |a: &LoadSample, b: &LoadSample| {
            u128::from(a.in_flight + 1) * u128::from(b.weight)
                <= u128::from(b.in_flight + 1) * u128::from(a.weight)
        };
        (0..candidates.len())
            .filter(|&a| candidates.iter().all(|b| costs_at_most(&candidates[a], b)))
            .collect()
    }

    /// Returns every world of `len` candidates with up to three in flight and one of three weights.
    fn small_worlds(len: u32) -> impl Iterator<Item = Vec<LoadSample>> {
        (0..12_usize.pow(len)).map(move |mut code| {
            let mut digit = |base: usize| {
                let digit = code % base;
                code /= base;
                digit
            };
            (0..len)
                .map(|_| candidate(digit(4) as u32, [1, 2, 3][digit(3)]))
                .collect()
        })
    }

    /// Sends `requests` that never end, and returns the number at each candidate.
    fn fill(weights: &[u32], requests: usize) -> Vec<u32> {
        let mut world: Vec<_> = weights.iter().map(|&weight| candidate(0, weight)).collect();
        for start in 0..requests {
            let at = pick(&world, start).expect("the world is not empty");
            world[at].in_flight += 1;
        }
        world.iter().map(|c| c.in_flight).collect()
    }

    #[test]
    fn an_empty_set_of_candidates_yields_no_pick() {
        assert_eq!(pick(&[], 0), None);
        assert_eq!(pick_by(3, |_| None, 7), None);
    }

    #[test]
    fn in_every_small_world_the_cheapest_is_picked() {
        for world in (1..=4).flat_map(small_worlds) {
            let expected = cheapest(&world);
            for start in 0..5 {
                assert_eq!(
                    pick(&world, start),
                    Some(expected[start % expected.len()]),
                    "{world:?} from {start}"
                );
            }
        }
    }

    #[test]
    fn in_every_small_world_an_excluded_candidate_is_not_picked() {
        for world in small_worlds(3) {
            for out in 0..3 {
                let rest: Vec<_> = (0..3).filter(|&at| at != out).collect();
                let remaining: Vec<_> = rest.iter().map(|&at| world[at]).collect();
                let expected = pick(&remaining, 1).map(|at| rest[at]);
                assert_eq!(
                    pick_by(3, |at| (at != out).then_some(world[at]), 1),
                    expected,
                    "{world:?} without {out}"
                );
            }
        }
    }

    #[test]
    fn equals_share_evenly_even_next_to_a_busy_neighbour() {
        let world = [candidate(9, 100), candidate(0, 100), candidate(0, 100)];
        let picks: Vec<_> = (0..6).filter_map(|start| pick(&world, start)).collect();
        assert_eq!(picks, [1, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn numbers_at_the_limit_do_not_overflow() {
        let world = [candidate(u32::MAX, 1), candidate(u32::MAX, u32::MAX)];
        assert_eq!(pick(&world, 0), Some(1));
    }

    #[test]
    fn loads_that_move_during_the_scan_still_yield_a_pick() {
        for count in [3, 100] {
            let asked = std::cell::Cell::new(0);
            let moving = |_| {
                asked.set(asked.get() + 1);
                Some(candidate(asked.get() / (count + 1), 1))
            };
            assert!(pick_by(count as usize, moving, 2).is_some());
        }
    }

    #[test]
    fn more_equals_than_are_noted_share_evenly_too() {
        let world = vec![candidate(0, 100); 3 * Equals::MAX_NOTED];
        let mut picks: Vec<_> = (0..world.len())
            .filter_map(|start| pick(&world, start))
            .collect();
        picks.sort_unstable();
        assert_eq!(picks, (0..world.len()).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn the_pick_is_one_of_the_cheapest(
            world in prop::collection::vec((0..5000_u32, 1..=1_024_000_u32), 1..40),
            start in any::<usize>(),
        ) {
            let sample = |(in_flight, weight)| candidate(in_flight, weight);
            let world: Vec<_> = world.into_iter().map(sample).collect();
            let at = pick(&world, start).expect("the world is not empty");
            prop_assert!(cheapest(&world).contains(&at));
        }

        /// No candidate holds a request that would have cost less elsewhere. Summed over all
        /// candidates, one with the share `s` of all weights holds at most `s * (requests +
        /// candidates)`.
        #[test]
        fn requests_in_flight_are_shared_by_weight(
            weights in prop::collection::vec(1..=1000_u32, 1..12),
            requests in 0..2000_usize,
        ) {
            let loads = fill(&weights, requests);
            for (&load, &weight) in loads.iter().zip(&weights) {
                for (&other_load, &other_weight) in loads.iter().zip(&weights) {
                    prop_assert!(load * other_weight <= (other_load + 1) * weight);
                }
            }
        }

        #[test]
        fn equal_weights_never_differ_by_more_than_one(
            count in 1..20_usize,
            requests in 0..500_usize,
        ) {
            let loads = fill(&vec![100; count], requests);
            let (least, most) = (loads.iter().min().copied(), loads.iter().max().copied());
            prop_assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1);
        }
    }
}
