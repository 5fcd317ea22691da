//! The current load of an upstream, and the lease that one attempt holds on it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::slot_limits::Occupancy;
use super::{CapacityNotifier, KeyInFlight, LearnedCap, SlotLimits, Slowness, Watched};
use crate::ogc::RequestClass;

/// Live leases on one upstream. The load outlives snapshots and config reloads, and is the only
/// state that readers and writers share.
///
/// It has cache lines of its own (two, for the adjacent-line prefetcher), because every request on
/// every core writes here. The orderings of the marks are relaxed: each mark is a fact by itself,
/// and nothing else is published through it. The counts and the closed door share one word. A
/// thread that closes the door and then reads a count of zero therefore knows that no request can
/// enter any more, even one with an old snapshot.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Load {
    /// See [`Occupancy`].
    word: AtomicU64,
    /// True while the single slot of a half-open upstream is taken. Leases write it.
    on_trial: AtomicBool,
    /// True if a success would be evidence that the cluster needs. The cluster writes it, and
    /// requests that succeed read it.
    in_doubt: AtomicBool,
    /// The learned cap, in [`LearnedCap::packed`]; 0 for none. The learning code writes it, and
    /// `select` reads it.
    learned_cap: AtomicU32,
    /// Slowness compared with the upstream's peers. Written at the beginning and end of requests,
    /// and read by `select` from the same cache line as `word`.
    slowness: Slowness,
    /// Microseconds that requests lately waited inside, plus one; 0 while it is unknown. Written at
    /// the end of requests.
    waited_inside: AtomicU32,
    /// The notifier for the end of a lease. The waiting room attaches it.
    notifier: OnceLock<Arc<CapacityNotifier>>,
}

/// The weight of the latest request in the mean is one divided by this.
const ONE_OF: i64 = 16;

impl Load {
    /// Returns the number of live leases.
    pub fn in_flight(&self) -> u32 {
        self.occupancy().all()
    }

    /// Returns the number of live leases that are neither of priority 0 nor of administration.
    pub fn slower_in_flight(&self) -> u32 {
        self.occupancy().slower()
    }

    /// Returns the number of live leases of heavy requests.
    pub fn heavy_in_flight(&self) -> u32 {
        self.occupancy().heavy()
    }

    /// Takes a slot if one is free; exact under concurrency. The lease counts as heavy if `limits`
    /// has a bound on heavy requests.
    pub fn try_lease(self: &Arc<Self>, limits: SlotLimits) -> Option<Lease> {
        self.enter(limits).then(|| Lease {
            load: Arc::clone(self),
            is_trial: false,
            one: limits.one(),
            _key: None,
        })
    }

    /// Takes the only slot of an upstream on trial, even if earlier leases are still running.
    pub fn try_trial(self: &Arc<Self>, limits: SlotLimits) -> Option<Lease> {
        if self.on_trial.swap(true, Ordering::Relaxed) {
            return None;
        }
        if !self.enter(limits) {
            self.on_trial.store(false, Ordering::Relaxed);
            return None;
        }
        Some(Lease {
            load: Arc::clone(self),
            is_trial: true,
            one: limits.one(),
            _key: None,
        })
    }

    /// True if [`Self::try_lease`] would succeed now.
    pub fn has_room(&self, limits: SlotLimits) -> bool {
        limits.has_slot(self.occupancy())
    }

    /// Returns the number of requests in flight; `None` if the door is closed. Both are read at
    /// once.
    #[inline]
    pub fn in_flight_if_open(&self) -> Option<u32> {
        let now = self.occupancy();
        (!now.is_closed()).then(|| now.all())
    }

    /// Returns the record of its latencies, compared with those of other upstreams.
    pub fn slowness(&self) -> &Slowness {
        &self.slowness
    }

    /// Watches a request until its answer begins or the result is dropped. The request was sent in
    /// full, so only the upstream keeps it waiting.
    pub fn watch(self: &Arc<Self>, class: RequestClass, now: Instant) -> Watch {
        Watch {
            watched: self.slowness.begin(class, now),
            load: Arc::clone(self),
        }
    }

    /// True if the trial request is in flight.
    pub fn is_on_trial(&self) -> bool {
        self.on_trial.load(Ordering::Relaxed)
    }

    /// True if a success would be evidence that the cluster needs.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Relaxed)
    }

    /// Sets whether a success would be evidence that the cluster needs.
    pub fn set_in_doubt(&self, in_doubt: bool) {
        self.in_doubt.store(in_doubt, Ordering::Relaxed);
    }

    /// Closes the door: no request gets a slot from now on, not even through an older snapshot.
    /// Once nothing is in flight, nothing will be.
    pub fn close(&self) {
        self.word.fetch_or(Occupancy::CLOSED, Ordering::Relaxed);
    }

    /// Opens the door: new requests may enter.
    pub fn open(&self) {
        self.word.fetch_and(!Occupancy::CLOSED, Ordering::Relaxed);
    }

    /// True if no new request may enter.
    pub fn is_closed(&self) -> bool {
        self.occupancy().is_closed()
    }

    /// Returns the learned cap, which is in force if no cap is configured.
    pub fn learned_cap(&self) -> Option<LearnedCap> {
        LearnedCap::unpacked(self.learned_cap.load(Ordering::Relaxed))
    }

    /// Sets the learned cap.
    pub fn set_learned_cap(&self, learned: LearnedCap) {
        self.learned_cap.store(learned.packed(), Ordering::Relaxed);
    }

    /// Lowers the learned cap by an eighth at once, because other evidence than answers shows an
    /// overload. Learning goes on from there. Returns `None` if nothing was learned yet.
    pub fn lower_learned_cap(&self) -> Option<LearnedCap> {
        let lower = |word| Some(LearnedCap::unpacked(word)?.lowered().packed());
        let before = self
            .learned_cap
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower)
            .ok()?;
        LearnedCap::unpacked(before).map(LearnedCap::lowered)
    }

    /// Returns the time that requests lately waited inside the upstream, where it reports that
    /// (`X-Control-flow-delay-ms`).
    pub fn waited_inside(&self) -> Option<Duration> {
        let known = self.waited_inside.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_micros(known.into()))
    }

    /// Records the time for which a request waited inside the upstream.
    pub fn note_waiting_inside(&self, waited: Duration) {
        let waited = i64::try_from(waited.as_micros())
            .unwrap_or(i64::MAX)
            .min(i64::from(u32::MAX - 1));
        let mean = |known: u32| match i64::from(known) {
            0 => waited + 1,
            known => known + (waited + 1 - known) / ONE_OF,
        };
        let noted = |known| Some(u32::try_from(mean(known)).unwrap_or(u32::MAX));
        self.waited_inside
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, noted)
            .expect("the closure always notes");
    }

    /// Attaches the notifier for the end of a lease. The first one stays.
    pub fn attach(&self, notifier: &Arc<CapacityNotifier>) {
        self.notifier.get_or_init(|| Arc::clone(notifier));
    }

    fn occupancy(&self) -> Occupancy {
        Occupancy(self.word.load(Ordering::Relaxed))
    }

    fn enter(&self, limits: SlotLimits) -> bool {
        let one = limits.one();
        let entered = |word| limits.has_slot(Occupancy(word)).then_some(word + one);
        self.word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, entered)
            .is_ok()
    }
}

/// A request without an answer, counted until dropped.
#[derive(Debug)]
#[must_use = "dropping a watch records that the answer began"]
pub struct Watch {
    watched: Watched,
    load: Arc<Load>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.load.slowness.end(self.watched);
    }
}

/// The slot of one attempt on an upstream. It is released on drop, also after aborts, panics and
/// shutdown.
#[derive(Debug)]
#[must_use = "dropping a lease gives the slot back"]
pub struct Lease {
    load: Arc<Load>,
    is_trial: bool,
    /// The amount that it added to the counts.
    one: u64,
    /// The note of its key; as long as it exists, requests of the same key may join this one.
    _key: Option<KeyInFlight>,
}

impl Lease {
    /// True if this is the request that decides about a half-open upstream.
    pub fn is_trial(&self) -> bool {
        self.is_trial
    }

    /// Ends the trial, because its result is known. The request continues like any other, and
    /// another trial may begin. Returns true if it was a trial.
    pub fn end_trial(&mut self) -> bool {
        let was_trial = std::mem::take(&mut self.is_trial);
        if was_trial {
            self.load.on_trial.store(false, Ordering::Relaxed);
        }
        was_trial
    }

    /// Keeps the note of its key until it ends.
    pub fn keep(&mut self, key: Option<KeyInFlight>) {
        self._key = key;
    }

    /// Returns the number of requests in flight that delay this one, itself included. For priority
    /// 0 and administration these are all requests, otherwise only the slower ones, because those
    /// of priority 0 are soon done.
    pub fn concurrency(&self) -> u32 {
        if self.is_quick() {
            self.load.in_flight()
        } else {
            self.load.slower_in_flight()
        }
    }

    /// True if the request is of priority 0 or administration.
    pub fn is_quick(&self) -> bool {
        self.one == Occupancy::ONE
    }

    /// True if the request counts against the share of heavy requests.
    pub fn is_heavy(&self) -> bool {
        self.one == Occupancy::ONE_HEAVY
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let before = Occupancy(self.load.word.fetch_sub(self.one, Ordering::Relaxed));
        debug_assert!(
            before.all() > 0 && (!self.is_heavy() || before.heavy() > 0),
            "a lease was given back twice"
        );
        if self.is_trial {
            self.load.on_trial.store(false, Ordering::Relaxed);
        }
        if let Some(notifier) = self.load.notifier.get() {
            notifier.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_while_it_lives() {
        let load = Arc::new(Load::default());
        let lease = load.try_lease(SlotLimits::UNLIMITED);
        assert_eq!(load.in_flight(), 1);
        drop(lease);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_lease_is_given_back_when_its_holder_panics() {
        let load = Arc::new(Load::default());
        let holder = Arc::clone(&load);
        let panicked = std::thread::spawn(move || {
            let _lease = holder.try_lease(SlotLimits::UNLIMITED);
            panic!("the holder fails, as this test wants");
        });
        assert!(panicked.join().is_err());
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn the_cap_is_exact_when_threads_race() {
        let load = Arc::new(Load::default());
        let leases: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..100)
                            .map(|_| load.try_lease(SlotLimits::quick(50)))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            racers
                .into_iter()
                .flat_map(|racer| racer.join().unwrap())
                .flatten()
                .collect()
        });
        assert_eq!(leases.len(), 50);
        assert_eq!(load.in_flight(), 50);
    }

    #[test]
    fn one_trial_at_a_time_beside_whatever_still_runs() {
        let load = Arc::new(Load::default());
        let _from_before = load.try_lease(SlotLimits::UNLIMITED);
        let trial = load.try_trial(SlotLimits::UNLIMITED).unwrap();
        assert!(trial.is_trial() && load.is_on_trial());
        assert!(load.try_trial(SlotLimits::UNLIMITED).is_none());
        drop(trial);
        assert_eq!((load.in_flight(), load.is_on_trial()), (1, false));
    }

    #[test]
    fn a_trial_that_is_decided_runs_on_and_makes_room_for_another() {
        let load = Arc::new(Load::default());
        let mut trial = load.try_trial(SlotLimits::UNLIMITED).unwrap();
        assert!(trial.end_trial() && !trial.end_trial() && !trial.is_trial());
        let next = load.try_trial(SlotLimits::UNLIMITED).unwrap();
        drop(trial);
        assert_eq!(
            (load.in_flight(), load.is_on_trial()),
            (1, true),
            "the first took nothing of the second's"
        );
        drop(next);
        assert!(!load.is_on_trial());
    }

    #[test]
    fn a_trial_that_finds_the_upstream_full_is_not_taken() {
        let load = Arc::new(Load::default());
        let _full = load.try_lease(SlotLimits::quick(1));
        assert!(load.try_trial(SlotLimits::quick(1)).is_none());
        assert!(!load.is_on_trial());
    }

    #[test]
    fn heavy_requests_have_a_share_and_light_ones_the_rest() {
        let load = Arc::new(Load::default());
        let heavy = SlotLimits {
            all: 4,
            slower: Some(4),
            heavy: Some(1),
        };
        let first = load.try_lease(heavy).unwrap();
        assert!(load.try_lease(heavy).is_none(), "the share is taken");
        let _light: Vec<_> = (0..3)
            .map(|_| load.try_lease(SlotLimits::quick(4)).unwrap())
            .collect();
        assert!(
            load.try_lease(SlotLimits::quick(4)).is_none(),
            "everything is taken"
        );
        assert_eq!((load.in_flight(), load.heavy_in_flight()), (4, 1));
        drop(first);
        assert_eq!((load.in_flight(), load.heavy_in_flight()), (3, 0));
        assert!(load.has_room(heavy));
    }

    #[test]
    fn the_notifier_is_called_when_a_lease_ends_while_requests_wait() {
        let (load, runs) = (Arc::new(Load::default()), Arc::new(AtomicU32::new(0)));
        let counter = Arc::clone(&runs);
        let notifier = Arc::new(CapacityNotifier::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        load.attach(&notifier);
        drop(load.try_lease(SlotLimits::UNLIMITED));
        notifier.set_waiting(1);
        let lease = load.try_lease(SlotLimits::UNLIMITED);
        assert_eq!(runs.load(Ordering::Relaxed), 0);
        drop(lease);
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_learned_cap_is_lowered_by_an_eighth_and_not_below_four() {
        let load = Load::default();
        assert_eq!(load.lower_learned_cap(), None);
        let lowered = |cap| {
            load.set_learned_cap(LearnedCap {
                cap,
                has_extra: true,
                heavy: 3,
            });
            assert_eq!(load.lower_learned_cap(), load.learned_cap());
            let LearnedCap {
                cap,
                has_extra,
                heavy,
            } = load.learned_cap().unwrap();
            assert_eq!((has_extra, heavy), (true, 3));
            cap
        };
        assert_eq!([256, 16, 5, 4, 2].map(lowered), [224, 14, 4, 4, 2]);
    }

    #[test]
    fn waiting_inside_is_a_mean_that_follows() {
        let load = Load::default();
        assert_eq!(load.waited_inside(), None);
        load.note_waiting_inside(Duration::ZERO);
        assert_eq!(load.waited_inside(), Some(Duration::ZERO));
        (0..200).for_each(|_| load.note_waiting_inside(Duration::from_millis(100)));
        assert!(load.waited_inside().unwrap() > Duration::from_millis(95));
        (0..300).for_each(|_| load.note_waiting_inside(Duration::ZERO));
        assert!(load.waited_inside().unwrap() < Duration::from_millis(5));
        load.note_waiting_inside(Duration::MAX);
    }

    #[test]
    fn a_closed_upstream_grants_no_lease_and_running_leases_end_normally() {
        let load = Arc::new(Load::default());
        let inside = load.try_lease(SlotLimits {
            all: 9,
            slower: Some(9),
            heavy: Some(9),
        });
        load.close();
        assert!(
            load.try_lease(SlotLimits::UNLIMITED).is_none()
                && load.try_trial(SlotLimits::UNLIMITED).is_none()
        );
        assert_eq!(
            (load.in_flight(), load.heavy_in_flight(), load.is_closed()),
            (1, 1, true)
        );
        drop(inside);
        assert_eq!(load.in_flight(), 0);
        load.open();
        assert!(load.try_lease(SlotLimits::UNLIMITED).is_some());
    }

    #[test]
    fn slots_reserved_for_quick_requests_stay_free_and_the_packed_counts_do_not_overlap() {
        let load = Arc::new(Load::default());
        let slower = SlotLimits {
            all: 8,
            slower: Some(4),
            heavy: None,
        };
        let maps: Vec<_> = std::iter::from_fn(|| load.try_lease(slower))
            .take(100)
            .collect();
        let tiles: Vec<_> = std::iter::from_fn(|| load.try_lease(SlotLimits::quick(8)))
            .take(100)
            .collect();
        assert_eq!((maps.len(), tiles.len()), (4, 4));
        drop(tiles);
        assert!(
            load.try_lease(slower).is_none()
                && load
                    .try_lease(SlotLimits {
                        heavy: Some(1),
                        ..slower
                    })
                    .is_none()
        );
        drop(maps);
        assert_eq!((load.in_flight(), load.heavy_in_flight()), (0, 0));
    }
}
