//! How much an upstream is doing now, and the claim that one attempt holds on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Live leases on one upstream. Outlives snapshots and config reloads: the only state that readers and writers share.
///
/// Alone on its cache lines (two, for the adjacent-line prefetcher): every request on every core writes here. All orderings
/// are relaxed: each field is a fact by itself, and nothing else is published through it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    in_flight: AtomicU32,
    /// The one place of an upstream that is half-open is taken. Written by leases.
    on_trial: AtomicBool,
    /// A success would tell the cluster something. Written by the cluster, read by whoever has a success to report.
    in_doubt: AtomicBool,
}

impl Load {
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a place unless `cap` are taken; exact under concurrency.
    pub fn try_lease(self: &Arc<Self>, cap: u32) -> Option<Lease> {
        self.enter(cap).then(|| Lease { load: Arc::clone(self), is_trial: false })
    }

    /// Takes the only place of an upstream on trial, whatever leases from before are still running.
    pub fn try_trial(self: &Arc<Self>, cap: u32) -> Option<Lease> {
        if self.on_trial.swap(true, Ordering::Relaxed) {
            return None;
        }
        if !self.enter(cap) {
            self.on_trial.store(false, Ordering::Relaxed);
            return None;
        }
        Some(Lease { load: Arc::clone(self), is_trial: true })
    }

    pub fn is_on_trial(&self) -> bool {
        self.on_trial.load(Ordering::Relaxed)
    }

    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Relaxed)
    }

    pub fn set_in_doubt(&self, in_doubt: bool) {
        self.in_doubt.store(in_doubt, Ordering::Relaxed);
    }

    fn enter(&self, cap: u32) -> bool {
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < cap).then_some(n + 1)).is_ok()
    }
}

/// One attempt's place on an upstream, given back on drop: aborts, panics and shutdown included.
#[derive(Debug)]
#[must_use = "dropping a lease gives the place back"]
pub struct Lease {
    load: Arc<Load>,
    is_trial: bool,
}

impl Lease {
    /// Whether it is the one request that decides about an upstream that is half-open.
    pub fn is_trial(&self) -> bool {
        self.is_trial
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let before = self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a lease was given back twice");
        if self.is_trial {
            self.load.on_trial.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_while_it_lives() {
        let load = Arc::new(Load::default());
        let lease = load.try_lease(u32::MAX);
        assert_eq!(load.in_flight(), 1);
        drop(lease);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_lease_is_given_back_when_its_holder_panics() {
        let load = Arc::new(Load::default());
        let holder = Arc::clone(&load);
        let panicked = std::thread::spawn(move || {
            let _lease = holder.try_lease(u32::MAX);
            panic!("the holder fails, as this test wants");
        });
        assert!(panicked.join().is_err());
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn the_cap_is_exact_when_threads_race() {
        let load = Arc::new(Load::default());
        let leases: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| (0..100).map(|_| load.try_lease(50)).collect::<Vec<_>>())).collect();
            racers.into_iter().flat_map(|racer| racer.join().unwrap()).flatten().collect()
        });
        assert_eq!(leases.len(), 50);
        assert_eq!(load.in_flight(), 50);
    }

    #[test]
    fn one_trial_at_a_time_beside_whatever_still_runs() {
        let load = Arc::new(Load::default());
        let _from_before = load.try_lease(u32::MAX);
        let trial = load.try_trial(u32::MAX).unwrap();
        assert!(trial.is_trial() && load.is_on_trial());
        assert!(load.try_trial(u32::MAX).is_none());
        drop(trial);
        assert_eq!((load.in_flight(), load.is_on_trial()), (1, false));
    }

    #[test]
    fn a_trial_that_finds_the_upstream_full_is_not_taken() {
        let load = Arc::new(Load::default());
        let _full = load.try_lease(1);
        assert!(load.try_trial(1).is_none());
        assert!(!load.is_on_trial());
    }
}
