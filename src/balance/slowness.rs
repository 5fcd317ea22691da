//! Detection of upstreams that are slower than their peers for the same classes, and the reduction
//! of their share.
//!
//! An upstream may be slowed down ten times by its disk, a neighbour or a garbage collector. It is
//! still up, answers correctly, and has as many requests in flight as its peers, because
//! least-in-flight balancing counts requests and not time. Times to the first byte are therefore
//! compared:
//!
//! ```text
//!   answers, requests without one --> per class: mean logarithm, weight, concurrency  one word each, in `Load`
//!   every REVIEW: each upstream against each peer, class by class --> how much slower --> its part of its weight
//! ```
//!
//! * Logarithms are compared, because the times of one class differ tenfold. They are compared
//!   class by class, because classes differ a thousandfold.
//! * An upstream with more in flight than a peer may be slower by the same factor: more work is not
//!   slowness.
//! * A request without an answer counts as several answers as soon as it has waited longer than
//!   answers took. A standstill shows within a moment.
//! * An upstream is slow if it is slower than the middle of its peers, with confidence. At most
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

/// Maximum weight of the evidence about one class, in answers.
const MEMORY: f64 = 12.0;
/// Time in which the weight of evidence halves.
const HALF_LIFE: Duration = Duration::from_secs(5);
/// Weight of one request without an answer, in answers.
const UNANSWERED: f64 = 8.0;
/// Weight of a request that left without an answer, in answers. With a much larger weight, the late
/// requests of a moderately slow upstream would outweigh its quick answers.
const TAKEN_AWAY: f64 = 3.0;
/// Spread of the logarithms of one class's times. That of exponential times is 1.28.
const SPREAD: f64 = 1.3;
/// Standard errors by which a difference must exceed the tolerance.
const CONFIDENCE: f64 = 1.2;
/// Weight below which a comparison has no result.
const COMPARABLE: f64 = 4.0;
/// Maximum number of upstreams that are compared with each other. Of more, only the first are
/// compared.
const MAX_COMPARED: usize = 64;

/// The evidence about one class at one upstream, in one word.
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
    evidence: PerClass<AtomicU64>,
    unanswered: PerClass<Unanswered>,
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
            evidence: PerClass::from_fn(|_| AtomicU64::new(0)),
            unanswered: PerClass::from_fn(|_| Unanswered::default()),
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
        let one = Evidence {
            log,
            concurrency: f64::from(concurrency.max(1)).ln(),
            weight: 1.0,
        };
        let update = |word| Some(Evidence::unpacked(word).with(one).at_most(MEMORY).packed());
        let before =
            self.evidence[class].fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        let before = Evidence::unpacked(before.unwrap_or(0));
        let slower = self.slower();
        // The answer was as quick as its peers' rather than as its own before, so another trial
        // follows at once.
        if slower > 0.0 && log < before.log - slower / 2.0 {
            self.next_trial.store(0, Ordering::Relaxed);
        }
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
        let concurrency = f64::from(concurrency.max(1)).ln();
        let update = |word| {
            let known = Evidence::unpacked(word);
            let usual = if known.weight > 0.0 {
                known.log.exp()
            } else {
                0.0
            };
            let one = Evidence {
                log: log_seconds(micros(waited + Duration::from_secs_f64(usual.min(60.0)))),
                concurrency,
                weight: TAKEN_AWAY,
            };
            Some(known.with(one).at_most(MEMORY).packed())
        };
        self.evidence[class]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .ok();
    }

    /// Returns the usual time to the first byte of a class; `None` if there is too little evidence.
    fn usual(&self, class: RequestClass) -> Option<Duration> {
        let known = Evidence::unpacked(self.evidence[class].load(Ordering::Relaxed));
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

    fn age(&self, kept: f64) {
        for class in RequestClass::ALL {
            let age = |word: u64| {
                let evidence = Evidence::unpacked(word);
                (word != 0).then(|| {
                    Evidence {
                        weight: evidence.weight * kept,
                        ..evidence
                    }
                    .packed()
                })
            };
            self.evidence[class]
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, age)
                .ok();
        }
    }

    /// Returns the evidence that includes the requests without an answer.
    fn now_known(&self, class: RequestClass, now: Instant) -> Evidence {
        let known = Evidence::unpacked(self.evidence[class].load(Ordering::Relaxed));
        let (count, age) = self.unanswered[class].waiting(self.micros(now));
        let log = log_seconds(age);
        if count == 0 || (known.weight > 0.0 && log <= known.log) {
            return known;
        }
        let concurrency = if known.weight > 0.0 {
            known.concurrency
        } else {
            (count as f64).ln()
        };
        known.with(Evidence {
            log,
            concurrency,
            weight: UNANSWERED * count as f64,
        })
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
    peers.iter().for_each(|peer| peer.age(kept));
    for (at, one) in peers.iter().enumerate() {
        let mut found = [0.0_f64; MAX_COMPARED];
        let mut count = 0;
        for (_, other) in peers.iter().enumerate().filter(|(other, _)| *other != at) {
            if let Some(slower) = slower_than(one, other, now) {
                found[count] = slower;
                count += 1;
            }
        }
        let found = &mut found[..count];
        found.sort_unstable_by(f64::total_cmp);
        // The comparison is with the middle of its peers; of two, with the slower one.
        one.conclude(
            found
                .get(count.saturating_sub(1) / 2)
                .copied()
                .unwrap_or(0.0),
            now,
        );
    }
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

/// Returns the least slowness of `one`, as a logarithm; `None` if there is too little to compare.
fn slower_than(one: &Slowness, other: &Slowness, now: Instant) -> Option<f64> {
    let (mut weight, mut longer, mut concurrency) = (0.0, 0.0, 0.0);
    for class in RequestClass::ALL {
        let (here, there) = (one.now_known(class, now), other.now_known(class, now));
        if here.weight > 0.0 && there.weight > 0.0 {
            let both = here.weight * there.weight / (here.weight + there.weight);
            weight += both;
            longer += both * (here.log - there.log);
            concurrency += both * (here.concurrency - there.concurrency);
        }
    }
    if weight < COMPARABLE {
        return None;
    }
    let (longer, concurrency) = (longer / weight, concurrency / weight);
    Some(longer - concurrency.max(0.0) - CONFIDENCE * SPREAD / weight.sqrt())
}

#[cfg(test)]
mod tests;
