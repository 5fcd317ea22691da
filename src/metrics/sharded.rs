//! Counters that many cores write concurrently and that are read only by scrapes.
//!
//! One shared counter would be the hottest cache line of the process. Every request on every core
//! would fetch it from the core that wrote last. That takes some 50 to 100 ns, against 2 to 5 ns
//! for a line that stays local, and grows with the number of cores. So every thread writes its own
//! copy, its *shard*, and a scrape sums the shards. A shard starts on a 128-byte boundary (two
//! lines, for the adjacent-line prefetcher), so no two shards share a line.
//!
//! A sum taken during writes is not the exact value of any moment. But each cell only grows, so no
//! counter ever appears to fall.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// Maximum number of shards. Further threads share them, which is exact but slower.
const MAX_SHARDS: usize = 32;

/// The number of shards of each counter, a power of two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shards(usize);

impl Shards {
    /// One shard per core, because so many threads can write at the same time.
    pub(super) fn for_this_machine() -> Self {
        Self::at_least(thread::available_parallelism().map_or(1, usize::from))
    }

    fn at_least(shards: usize) -> Self {
        Self(shards.clamp(1, MAX_SHARDS).next_power_of_two())
    }
}

/// Cells of one shard, aligned to a boundary of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; Self::CELLS]);

impl Line {
    const CELLS: usize = 16;
}

/// A row of counters with one copy per shard.
#[derive(Debug)]
pub(super) struct Sharded {
    /// The shards in order, each `lines_per_shard` long.
    lines: Box<[Line]>,
    lines_per_shard: usize,
    shards: Shards,
}

impl Sharded {
    pub(super) fn new(cells: usize, shards: Shards) -> Self {
        let lines_per_shard = cells.div_ceil(Line::CELLS);
        let lines = (0..lines_per_shard * shards.0)
            .map(|_| Line::default())
            .collect();
        Self {
            lines,
            lines_per_shard,
            shards,
        }
    }

    /// Adds `amount` to this thread's copy of `cell`.
    pub(super) fn add(&self, cell: usize, amount: u64) {
        self.cell(thread_number() & (self.shards.0 - 1), cell)
            .fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum over all threads for `cell`.
    pub(super) fn sum(&self, cell: usize) -> u64 {
        (0..self.shards.0)
            .map(|shard| self.cell(shard, cell).load(Ordering::Relaxed))
            .sum()
    }

    fn cell(&self, shard: usize, cell: usize) -> &AtomicU64 {
        debug_assert!(
            cell / Line::CELLS < self.lines_per_shard,
            "cell {cell} belongs to another shard"
        );
        &self.lines[shard * self.lines_per_shard + cell / Line::CELLS].0[cell % Line::CELLS]
    }
}

/// The number of this thread; threads are numbered in the order of their first count. This is the
/// only state outside the parts of the process. It is a fact about the thread, the same for every
/// set of counters, and changes no result.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_add_up() {
        let counters = Sharded::new(40, Shards::at_least(4));
        thread::scope(|scope| {
            for _ in 0..7 {
                scope.spawn(|| (0..1000).for_each(|n| counters.add(n % 40, 2)));
            }
        });
        assert!((0..40).all(|cell| counters.sum(cell) == 7 * 25 * 2));
    }

    #[test]
    fn cells_do_not_overlap() {
        let counters = Sharded::new(33, Shards::at_least(3));
        (0..33).for_each(|cell| counters.add(cell, cell as u64 + 1));
        assert!((0..33).all(|cell| counters.sum(cell) == cell as u64 + 1));
    }

    #[test]
    fn shards_are_a_bounded_power_of_two() {
        assert_eq!(
            [0, 1, 3, 32, 500].map(|cores| Shards::at_least(cores).0),
            [1, 1, 4, 32, 32]
        );
    }

    #[test]
    fn every_shard_starts_on_a_boundary_of_its_own() {
        let counters = Sharded::new(17, Shards::at_least(2));
        let address = |shard| std::ptr::from_ref(counters.cell(shard, 0)).addr();
        assert_eq!((address(0) % 128, address(1) - address(0)), (0, 256));
    }
}
