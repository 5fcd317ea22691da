//! Counters by a label with few values: the reason of a refusal, the outcome of a probe.
//!
//! Values take slots in the order of their first use. Finding one is a walk over a handful of
//! strings without a lock; a map would be slower for so few. The number of slots is bounded, and
//! further values count under [`OTHER`].

use std::sync::OnceLock;

use super::sharded::{Sharded, Shards};

/// Maximum number of values of one label: above the number that geofront uses, and small enough for
/// Prometheus.
const MAX_VALUES: usize = 64;

/// The value that replaces all values after the first [`MAX_VALUES`].
pub(super) const OTHER: &str = "other";

/// A row of counters for each value of a label.
#[derive(Debug)]
pub(super) struct Labelled {
    slots: [OnceLock<(&'static str, Sharded)>; MAX_VALUES],
    overflow: Sharded,
    cells: usize,
    shards: Shards,
}

impl Labelled {
    pub(super) fn new(cells: usize, shards: Shards) -> Self {
        let slots = [const { OnceLock::new() }; MAX_VALUES];
        Self {
            slots,
            overflow: Sharded::new(cells, shards),
            cells,
            shards,
        }
    }

    pub(super) fn count(&self, value: &'static str, cell: usize) {
        self.row(value).add(cell, 1);
    }

    /// The counters of `value`. If two threads race for a free slot, the loser finds the winner's
    /// value there and continues.
    fn row(&self, value: &'static str) -> &Sharded {
        self.slots
            .iter()
            .map(|slot| slot.get_or_init(|| (value, Sharded::new(self.cells, self.shards))))
            .find(|(taken, _)| *taken == value)
            .map_or(&self.overflow, |(_, row)| row)
    }

    /// Every (value, cell, count) that is not zero.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, usize, u64)> {
        let rows = self
            .slots
            .iter()
            .filter_map(OnceLock::get)
            .map(|(value, row)| (*value, row));
        rows.chain([(OTHER, &self.overflow)])
            .flat_map(|(value, row)| (0..self.cells).map(move |cell| (value, cell, row.sum(cell))))
            .filter(|(_, _, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_counters_of_its_own() {
        let counters = Labelled::new(3, Shards::for_this_machine());
        [("timeout", 0), ("connect", 2), ("timeout", 0)]
            .into_iter()
            .for_each(|(value, cell)| counters.count(value, cell));
        assert_eq!(
            counters.counts().collect::<Vec<_>>(),
            [("timeout", 0, 2), ("connect", 2, 1)]
        );
    }

    #[test]
    fn values_beyond_the_bound_count_together() {
        let counters = Labelled::new(1, Shards::for_this_machine());
        let values: Vec<&'static str> = (0..MAX_VALUES + 3)
            .map(|n| &*format!("value{n}").leak())
            .collect();
        values.iter().for_each(|value| counters.count(value, 0));
        assert_eq!(counters.counts().count(), MAX_VALUES + 1);
        assert_eq!(counters.counts().last(), Some((OTHER, 0, 3)));
    }

    #[test]
    fn threads_that_meet_a_new_value_at_once_agree_on_its_slot() {
        let counters = Labelled::new(1, Shards::for_this_machine());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    ["a", "b", "c"]
                        .into_iter()
                        .for_each(|value| counters.count(value, 0))
                });
            }
        });
        let mut counts: Vec<_> = counters.counts().collect();
        counts.sort_unstable();
        assert_eq!(counts, [("a", 0, 8), ("b", 0, 8), ("c", 0, 8)]);
    }
}
