//! Detection of upstreams that are slower than their peers for the same classes, and the reduction
//! of their share.
//!
//! An upstream may be slowed down ten times by its disk, a neighbour or a garbage collector. It is
//! still up, answers correctly, and has as many requests in flight as its peers, because
//! least-in-flight balancing counts requests and not time. Times to the first byte are therefore
//! compared:
//!
//! ```text
//!   answers of the last REVIEW --> per class: mean logarithm, concurrency, number  one word each, in `Load`
//!   every REVIEW: each upstream against the usual times of its peers --> suspicion --> its part of its weight
//! ```
//!
//! * Logarithms are compared, because the times of one class differ tenfold. They are compared
//!   class by class, because classes differ a thousandfold.
//! * An upstream with more in flight than a peer may be slower by the same factor: more work is not
//!   slowness.
//! * The suspicion is the statistic of Page's cumulative sum test (E. S. Page, "Continuous
//!   inspection schemes", 1954): each answer adds the logarithm of how much more likely it is from
//!   an upstream that is [`SLOWER`] than from one like its peers, and the sum is never below zero.
//!   Answers of usual length take away what a late one added.
//! * A request without an answer counts once it has waited ten times as long as answers take.
//! * An upstream is slow if its suspicion is higher than that of the middle of its peers. At most
//!   half of a cluster can therefore be slow, and a slowdown of all upstreams is attributed to
//!   none.
//! * The share is never less than [`MIN_SHARE`], and old evidence loses weight. About once in
//!   [`TRIAL_PAUSE`], an upstream with a reduced share is next for a light request, or half as
//!   often for another if no light ones come. While such a trial goes well, the next follows at
//!   once, so a recovery is noticed in seconds.
//!
//! A light request that has waited at a very slow upstream for twice the usual time of its peers
//! should move to one of them ([`patience`]). This includes trials, so that the client of a trial
//! does not wait long. A request that left is evidence of slowness, too: without it, the upstream
//! would look quick again as soon as its requests are gone.
//!
//! A wrong verdict ends by itself, because an upstream with less load than its peers is quicker
//! than they are.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::ogc::{PerClass, RequestClass};

/// Pause between two comparisons.
pub const REVIEW: Duration = Duration::from_millis(100);
/// Pause between two trials of an upstream with a reduced share, while they go badly.
const TRIAL_PAUSE: Duration = Duration::from_secs(1);

/// The whole weight, in the unit of shares.
pub const WHOLE: u32 = 1024;
/// Minimum part of its weight that an upstream keeps.
const MIN_SHARE: f64 = 1.0 / 16.0;
/// Slowness that is tolerated, as a logarithm: nearly twice.
const TOLERATED: f64 = 0.6;
/// Share at which light requests begin to leave an upstream: that of one nearly three times slower.
const LEFT_SHARE: u64 = WHOLE as u64 / 4;
/// Average pause between two requests that leave a slow upstream, and the number that may leave at
/// once. This suffices for one trial per second and for the requests that wait when the upstream
/// becomes slow.
const LEAVE_PAUSE: Duration = Duration::from_millis(500);
const MAX_LEAVING: u32 = 16;
/// Steepness with which the share falls above [`TOLERATED`].
const STEEPNESS: f64 = 3.0;

/// Maximum weight of the known times of one class, and of the slowness while suspected, in answers.
const MEMORY: f64 = 12.0;
/// Maximum weight of the answers between two reviews.
const MOST_FRESH: f64 = 200.0;
/// Time in which the weight of old answers and the suspicion halve.
const HALF_LIFE: Duration = Duration::from_secs(8);
/// Weight below which a class has no usual time.
const COMPARABLE: f64 = 4.0;
/// Slowness that the test looks for, as a logarithm: about seven times. Answers that are more than
/// half of it slower than usual add to the suspicion, and all others take away.
const SLOWER: f64 = 2.0;
/// Slowness as a logarithm (twenty times) beyond which an answer adds no more, because the times
/// of a class have long tails.
const MAX_SLOWER: f64 = 3.0;
/// Logarithm of the multiple of the usual time (ten) after which a request without an answer
/// counts. Among those that wait, long ones are more often than among answers.
const OVERDUE: f64 = 2.3;
/// Weight of such a request, in answers: those that wait at one upstream wait for the same reason.
/// With a larger weight, a burst at one upstream of several that share their cores looks like
/// slowness.
const UNANSWERED: f64 = 0.5;
/// Spread of the logarithms of one class's times. That of exponential times is 1.28.
const SPREAD: f64 = 1.3;
/// What a unit of slowness of one answer adds to the suspicion: the slope of the logarithm of the
/// likelihood ratio of two normal distributions.
const LEVERAGE: f64 = SLOWER / (SPREAD * SPREAD);
/// Suspicion above that of the peers from which the share falls, and with which it has fallen as
/// far as the slowness requires. Chance reaches the first about once in e^8 (three thousand)
/// answers.
const SUSPECTED: f64 = 8.0;
const CERTAIN: f64 = 10.0;
/// Maximum suspicion, so that a recovery shows after a few answers.
const MAX_SUSPICION: f64 = 11.0;
/// Maximum number of upstreams that are compared with each other. Of more, only the first are
/// compared.
const MAX_COMPARED: usize = 64;

/// Answers of one class at one upstream, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Evidence {
    /// Mean logarithm of seconds to the first byte.
    log: f64,
    /// Mean logarithm of the requests in flight when it was sent.
    concurrency: f64,
    weight: f64,
}

impl Evidence {
    const BITS: u32 = 22;
    const MASK: u64 = (1 << Self::BITS) - 1;
    /// Steps of a unit for the means, and the offset that keeps them from being negative.
    const UNIT: f64 = 65_536.0;
    const OFFSET: f64 = 32.0;
    const WEIGHT_UNIT: f64 = 4096.0;

    fn packed(self) -> u64 {
        let mean = |mean: f64| {
            ((mean + Self::OFFSET) * Self::UNIT)
                .round()
                .clamp(0.0, Self::MASK as f64) as u64
        };
        let weight = (self.weight * Self::WEIGHT_UNIT)
            .round()
            .clamp(0.0, (1 << 20) as f64 - 1.0) as u64;
        mean(self.log) | mean(self.concurrency) << Self::BITS | weight << (2 * Self::BITS)
    }

    fn unpacked(word: u64) -> Self {
        let mean = |bits: u64| (bits & Self::MASK) as f64 / Self::UNIT - Self::OFFSET;
        let weight = (word >> (2 * Self::BITS)) as f64 / Self::WEIGHT_UNIT;
        if weight == 0.0 {
            return Self::default();
        }
        Self {
            log: mean(word),
            concurrency: mean(word >> Self::BITS),
            weight,
        }
    }

    fn with(self, other: Self) -> Self {
        let weight = self.weight + other.weight;
        if weight <= 0.0 {
            return self;
        }
        let mean = |one: f64, two: f64| (one * self.weight + two * other.weight) / weight;
        Self {
            log: mean(self.log, other.log),
            concurrency: mean(self.concurrency, other.concurrency),
            weight,
        }
    }

    fn at_most(self, weight: f64) -> Self {
        Self {
            weight: self.weight.min(weight),
            ..self
        }
    }
}

/// How likely it is that an upstream is slow.
#[derive(Clone, Copy, Debug, Default)]
struct Suspicion {
    /// The cumulative sum.
    sum: f64,
    /// Mean slowness of the answers since the sum was last zero.
    slowness: Evidence,
}

impl Suspicion {
    /// Adds answers that are `slower` than usual, which is `beyond` the slowness that neither adds
    /// nor takes away.
    fn add(&mut self, slower: f64, beyond: f64, weight: f64) {
        self.sum = (self.sum + weight * LEVERAGE * beyond).clamp(0.0, MAX_SUSPICION);
        let answers = Evidence {
            log: slower,
            concurrency: 0.0,
            weight,
        };
        self.slowness = if self.sum > 0.0 {
            self.slowness.with(answers).at_most(MEMORY)
        } else {
            Evidence::default()
        };
    }
}

/// The requests of a class without an answer: their count in the low bits, and above it the sum of
/// their start times in microseconds. The sum overflows at the top, and so does the difference that
/// is taken from it.
#[derive(Debug, Default)]
struct Unanswered(AtomicU64);

impl Unanswered {
    const BITS: u32 = 20;

    fn one(sent: u64) -> u64 {
        (sent << Self::BITS) | 1
    }

    fn begin(&self, sent: u64) {
        self.0.fetch_add(Self::one(sent), Ordering::Relaxed);
    }

    fn end(&self, sent: u64) {
        self.0.fetch_sub(Self::one(sent), Ordering::Relaxed);
    }

    /// Returns the number of waiting requests and their mean wait in microseconds.
    fn waiting(&self, now: u64) -> (u64, u64) {
        let word = self.0.load(Ordering::Relaxed);
        let count = word & ((1 << Self::BITS) - 1);
        let sum = (now.wrapping_mul(count) << Self::BITS)
            .wrapping_sub(word & !((1 << Self::BITS) - 1))
            >> Self::BITS;
        // A request sent by a clock a little ahead makes the sum negative, which is a very large
        // number.
        if count == 0 || sum >> (63 - Self::BITS) == 1 {
            (count, 0)
        } else {
            (count, sum / count)
        }
    }
}

/// One request without an answer; it must be ended with [`Slowness::end`].
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    class: RequestClass,
    sent: u64,
}

/// The slowness of one upstream, see the module's documentation.
///
/// The verdict is first in memory, because every selection reads it of every candidate.
#[derive(Debug)]
#[repr(C)]
pub struct Slowness {
    /// The share of its weight in the low half, and its slowness as the bits of an `f32` in the
    /// high one.
    verdict: AtomicU64,
    /// The answers since the last review.
    fresh: PerClass<AtomicU64>,
    /// The answers before it.
    known: PerClass<AtomicU64>,
    unanswered: PerClass<Unanswered>,
    /// The sum of its [`Suspicion`], as the bits of an `f64`. Like the next field, only reviews use
    /// it.
    suspicion: AtomicU64,
    /// The slowness of its [`Suspicion`].
    suspected: AtomicU64,
    /// True from the moment its share was at most [`LEFT_SHARE`] until it has its whole share
    /// again.
    is_left: AtomicBool,
    /// Theoretical arrival time of the rate limit on requests that leave (GCRA).
    leaving_until: AtomicU64,
    /// Time when it may have its next trial.
    next_trial: AtomicU64,
    /// Time when it was last the first of those compared.
    reviewed: AtomicU64,
    /// Time of its first request, from which all times are counted.
    origin: OnceLock<Instant>,
}

impl Default for Slowness {
    fn default() -> Self {
        Self {
            verdict: AtomicU64::new(WHOLE.into()),
            fresh: PerClass::from_fn(|_| AtomicU64::new(0)),
            known: PerClass::from_fn(|_| AtomicU64::new(0)),
            unanswered: PerClass::from_fn(|_| Unanswered::default()),
            suspicion: AtomicU64::new(0),
            suspected: AtomicU64::new(0),
            is_left: AtomicBool::new(false),
            leaving_until: AtomicU64::new(0),
            next_trial: AtomicU64::new(0),
            reviewed: AtomicU64::new(0),
            origin: OnceLock::new(),
        }
    }
}

impl Slowness {
    /// Returns its share of its weight, out of [`WHOLE`].
    #[inline]
    pub fn share(&self) -> u32 {
        self.verdict.load(Ordering::Relaxed) as u32
    }

    /// Notes that a request was sent in full, so that only the upstream keeps it waiting.
    pub fn begin(&self, class: RequestClass, now: Instant) -> Watched {
        let sent = self.micros(now);
        self.unanswered[class].begin(sent);
        Watched { class, sent }
    }

    /// Notes that the answer to a request began, or that none will come.
    pub fn end(&self, watched: Watched) {
        self.unanswered[watched.class].end(watched.sent);
    }

    /// Learns the time to the first byte of a good answer, with its number of concurrent requests,
    /// itself included.
    pub fn learn(&self, class: RequestClass, concurrency: u32, took: Duration) {
        let log = log_seconds(micros(took));
        self.note(class, concurrency, log);
        let slower = self.slower();
        // The answer was as quick as its peers' rather than as its own before, so another trial
        // follows at once.
        if slower > 0.0 && log < self.known(class).log - slower / 2.0 {
            self.next_trial.store(0, Ordering::Relaxed);
        }
    }

    fn note(&self, class: RequestClass, concurrency: u32, log: f64) {
        let one = Evidence {
            log,
            concurrency: f64::from(concurrency.max(1)).ln(),
            weight: 1.0,
        };
        let update = |word| {
            let fresh = Evidence::unpacked(word).with(one).at_most(MOST_FRESH);
            Some(fresh.packed())
        };
        self.fresh[class]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .ok();
    }

    /// Takes the permission for a request to leave for a peer, if there is one now.
    pub fn take_leave(&self, now: Instant) -> bool {
        let (now, pause) = (self.micros(now), micros(LEAVE_PAUSE));
        let update = |until: u64| {
            let next = until.max(now) + pause;
            (next <= now + pause * u64::from(MAX_LEAVING)).then_some(next)
        };
        self.leaving_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .is_ok()
    }

    /// Learns that a request left after it had waited for `waited`. The estimate of its latency is
    /// that wait plus the usual latency of an answer.
    pub fn learn_unanswered(&self, class: RequestClass, concurrency: u32, waited: Duration) {
        let known = self.known(class);
        let usual = if known.weight > 0.0 {
            known.log.exp().min(60.0)
        } else {
            0.0
        };
        let latency = waited + Duration::from_secs_f64(usual);
        self.note(class, concurrency, log_seconds(micros(latency)));
    }

    fn known(&self, class: RequestClass) -> Evidence {
        Evidence::unpacked(self.known[class].load(Ordering::Relaxed))
    }

    /// Returns the usual time to the first byte of a class; `None` if there is too little evidence.
    fn usual(&self, class: RequestClass) -> Option<Duration> {
        let known = self.known(class);
        (known.weight >= COMPARABLE).then(|| Duration::from_secs_f64(known.log.exp().min(60.0)))
    }

    /// Takes a trial if the share is reduced and a trial is due. A request that is not light takes
    /// one only after a further pause, in which light requests come first.
    pub fn take_trial(&self, is_light: bool, now: Instant) -> bool {
        if self.share() >= WHOLE {
            return false;
        }
        let (due, now) = (self.next_trial.load(Ordering::Relaxed), self.micros(now));
        let next = now + micros(TRIAL_PAUSE);
        let wait = if is_light { 0 } else { micros(TRIAL_PAUSE) };
        due + wait <= now
            && self
                .next_trial
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn slower(&self) -> f64 {
        f64::from(f32::from_bits(
            (self.verdict.load(Ordering::Relaxed) >> 32) as u32,
        ))
    }

    fn micros(&self, now: Instant) -> u64 {
        micros(now.saturating_duration_since(*self.origin.get_or_init(|| now)))
    }

    /// Begins a review if it is time for another. Returns the time since the last one; the caller
    /// then has to do it.
    fn begin_review(&self, now: Instant) -> Option<Duration> {
        let (last, now) = (self.reviewed.load(Ordering::Relaxed), self.micros(now));
        let passed = Duration::from_micros(now.saturating_sub(last));
        let is_ours = || {
            self.reviewed
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        (passed >= REVIEW && is_ours()).then_some(passed)
    }

    /// Makes the fresh answers known, and returns them. Old ones keep the part `kept` of their
    /// weight.
    fn take_fresh(&self, kept: f64) -> PerClass<Evidence> {
        PerClass::from_fn(|class| {
            let fresh = Evidence::unpacked(self.fresh[class].swap(0, Ordering::Relaxed));
            let known = self.known(class);
            let known = Evidence {
                weight: known.weight * kept,
                ..known
            };
            let known = known.with(fresh).at_most(MEMORY);
            self.known[class].store(known.packed(), Ordering::Relaxed);
            fresh
        })
    }

    /// Adds the fresh answers to the suspicion, and returns it. Of the old one, the part `kept`
    /// remains.
    fn suspect(&self, fresh: &PerClass<Evidence>, peers: &[&Self], kept: f64) -> Suspicion {
        let mut suspicion = Suspicion {
            sum: f64::from_bits(self.suspicion.load(Ordering::Relaxed)) * kept,
            slowness: Evidence::unpacked(self.suspected.load(Ordering::Relaxed)),
        };
        suspicion.slowness.weight *= kept;
        for class in RequestClass::ALL {
            let fresh = fresh[class];
            if fresh.weight > 0.0
                && let Some(slower) = self.slower_than_peers(class, fresh, peers)
            {
                let slower = slower.min(MAX_SLOWER);
                suspicion.add(slower, slower - SLOWER / 2.0, fresh.weight);
            }
        }
        self.suspicion
            .store(suspicion.sum.to_bits(), Ordering::Relaxed);
        self.suspected
            .store(suspicion.slowness.packed(), Ordering::Relaxed);
        suspicion
    }

    /// Returns the suspicion with the requests that are overdue now. The sum does not keep them,
    /// because they count once they are answered.
    fn with_overdue(&self, mut suspicion: Suspicion, peers: &[&Self], now: Instant) -> Suspicion {
        for class in RequestClass::ALL {
            let (count, age) = self.unanswered[class].waiting(self.micros(now));
            let waiting = Evidence {
                log: log_seconds(age),
                concurrency: self.known(class).concurrency,
                weight: UNANSWERED * count as f64,
            };
            if count > 0
                && let Some(slower) = self.slower_than_peers(class, waiting, peers)
                && slower > OVERDUE
            {
                suspicion.add(slower, slower - OVERDUE, waiting.weight);
            }
        }
        suspicion
    }

    /// Returns by how much `times` are longer than those of the middle of the peers, as a
    /// logarithm; of two peers, the slower one. `None` if the peers have no usual time.
    fn slower_than_peers(
        &self,
        class: RequestClass,
        times: Evidence,
        peers: &[&Self],
    ) -> Option<f64> {
        let mut found = [0.0_f64; MAX_COMPARED];
        let mut count = 0;
        for peer in peers.iter().filter(|peer| !std::ptr::eq(**peer, self)) {
            let usual = peer.known(class);
            if usual.weight >= COMPARABLE {
                let more_work = (times.concurrency - usual.concurrency).max(0.0);
                found[count] = times.log - usual.log - more_work;
                count += 1;
            }
        }
        let found = &mut found[..count];
        found.sort_unstable_by(f64::total_cmp);
        found.get(count.saturating_sub(1) / 2).copied()
    }

    fn conclude(&self, slower: f64, now: Instant) {
        let share = (-STEEPNESS * (slower - TOLERATED))
            .exp()
            .clamp(MIN_SHARE, 1.0);
        let share = (share * f64::from(WHOLE)).round() as u64;
        if share < u64::from(WHOLE) && self.share() == WHOLE {
            self.next_trial
                .store(self.micros(now) + micros(TRIAL_PAUSE), Ordering::Relaxed);
        }
        if share <= LEFT_SHARE {
            self.is_left.store(true, Ordering::Relaxed);
        } else if share >= u64::from(WHOLE) {
            self.is_left.store(false, Ordering::Relaxed);
        }
        self.verdict.store(
            share | u64::from((slower.max(0.0) as f32).to_bits()) << 32,
            Ordering::Relaxed,
        );
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn log_seconds(micros: u64) -> f64 {
    (micros.max(100) as f64 / 1e6).ln()
}

/// Compares `peers` with each other, if this was not done a moment ago. They must come in the same
/// order every time. Returns true if it was done now, so that shares may have changed.
pub fn review<'a>(peers: impl Iterator<Item = &'a Slowness>, now: Instant) -> bool {
    let mut peers = peers.take(MAX_COMPARED);
    let Some(first) = peers.next() else {
        return false;
    };
    let Some(passed) = first.begin_review(now) else {
        return false;
    };
    let mut compared = [first; MAX_COMPARED];
    let mut count = 1;
    for peer in peers {
        compared[count] = peer;
        count += 1;
    }
    compare(&compared[..count], passed, now);
    true
}

fn compare(peers: &[&Slowness], passed: Duration, now: Instant) {
    let kept = 0.5_f64.powf(passed.as_secs_f64() / HALF_LIFE.as_secs_f64());
    let mut fresh = [const { None }; MAX_COMPARED];
    for (fresh, peer) in fresh.iter_mut().zip(peers) {
        *fresh = Some(peer.take_fresh(kept));
    }
    let mut suspicions = [Suspicion::default(); MAX_COMPARED];
    for ((suspicion, fresh), peer) in suspicions.iter_mut().zip(fresh.iter().flatten()).zip(peers) {
        *suspicion = peer.with_overdue(peer.suspect(fresh, peers, kept), peers, now);
    }
    for (at, peer) in peers.iter().enumerate() {
        let above = suspicions[at].sum - middle_of_others(&suspicions[..peers.len()], at);
        let certainty = ((above - SUSPECTED) / (CERTAIN - SUSPECTED)).clamp(0.0, 1.0);
        peer.conclude(suspicions[at].slowness.log * certainty, now);
    }
}

/// Returns the sum of the middle of all but the one at `at`; of two, the higher one. It is infinite
/// if there are no others.
fn middle_of_others(suspicions: &[Suspicion], at: usize) -> f64 {
    let mut others = [f64::INFINITY; MAX_COMPARED];
    let mut count = 0;
    for other in (0..suspicions.len()).filter(|other| *other != at) {
        others[count] = suspicions[other].sum;
        count += 1;
    }
    others[..count].sort_unstable_by(f64::total_cmp);
    others[count / 2]
}

/// Returns how long a request of `class` may wait for the first byte at `slow` before it is better
/// off at one of its peers: twice their usual time. `None` unless the share of `slow` has fallen to
/// [`LEFT_SHARE`] since it was last whole, and a peer with its whole share has a known latency.
pub fn patience<'a>(
    slow: &Slowness,
    peers: impl Iterator<Item = &'a Slowness>,
    class: RequestClass,
) -> Option<Duration> {
    if !slow.is_left.load(Ordering::Relaxed) {
        return None;
    }
    let quick = peers.filter(|peer| peer.share() >= WHOLE);
    quick
        .filter_map(|peer| peer.usual(class))
        .max()
        .map(|usual| usual * 2)
}

#[cfg(test)]
mod tests;
