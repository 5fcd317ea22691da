//! The adaptive limit (`max_in_flight = "auto"`): the number of concurrent requests at which an
//! upstream works best, learned from the latencies of its requests.
//!
//! Below the capacity of an upstream, another concurrent request does not slow down the others.
//! Above it there are two kinds of upstreams, and a limit for each:
//!
//! * Some work on a few requests at a time and let the others wait inside, such as a GeoServer with
//!   its control-flow extension. Tiles cannot pass maps there, so a tile takes many times as long
//!   once it waits for a map. The limit is then the number of slots inside ([`Curve::slots`]), and
//!   requests wait here, by class.
//! * The requests of others share the cores. All slow down by the same factor, and another tile
//!   takes a small part of the cores for a moment. The limit rises while latencies near it are
//!   close to those at low concurrency ([`BUSY`]), and falls when they are not. It settles at about
//!   twice the cores. Requests of priority 0 get some slots more.
//!
//! ```text
//!   every 16 answers -- limit above the slots inside -------> down to the slots
//!                    -- slower near the limit --------------> down by an eighth
//!                    -- GeoServer reports waits inside -----> down by a sixth, and a pause
//!                    -- limit reached, latencies unchanged -> up by a tenth
//!                    -- limit reached, nothing to compare --> a dip: half of the limit for a moment
//! ```
//!
//! A decision needs evidence beyond chance, which may be a dozen answers where tiles wait for maps.
//! Evidence fades with later answers. A limit that was too high is therefore tried again once
//! little speaks against it, which costs a few requests in some thousand, and a stronger upstream
//! gets more.
//!
//! The harmful error is a limit below the number of requests that the upstream works on at a time.
//! Without anything to compare with, the limit therefore returns to its start.
//!
//! Envoy's adaptive concurrency (its dips) and Netflix's Gradient2 (up only while the limit is
//! reached) differ. Both treat all requests alike, and both compare with a time without load that
//! was measured earlier, so a cluster with emptied caches looks overloaded to them. Here new
//! answers replace the old ones of the same class and concurrency.
//!
//! `tests` compares it with the best fixed limit on simulated servers of both kinds, with changing
//! speed and load. `docs/benchmarks.md` has the figures for drawn mixes.

mod curve;
mod heavy;

use std::time::{Duration, Instant};

use crate::ogc::RequestClass;
use curve::Curve;
use heavy::Heavy;

/// Accepted ratio of the latencies near the limit to those at low concurrency, as a logarithm: 1.8.
/// Far above the capacity the ratio is 2.5, so it is seen there, too.
const BUSY: f64 = 0.6;
/// Accepted part of the latency that requests wait inside GeoServer.
const WAITING: f64 = 0.1;

/// Bounds of the limit. Even one core is best used by several requests, which wait for disks and
/// databases.
const MIN: u32 = 2;
const MAX: u32 = 256;

/// Answers between two decisions.
const DECIDE_EVERY: u32 = 16;
/// Weight of a comparison that allows a step up.
const COMPARABLE: f64 = 12.0;
/// Weight of the requests near the limit from which on a dip is worth its cost.
const WORTH_A_DIP: f64 = 48.0;
/// Part of the requests that take the last slot if the limit holds requests back, and the number of
/// requests over which it is averaged.
const BINDING: f64 = 0.1;
const RECENT: f64 = 32.0;
/// Decisions without a step up after GeoServer reported waits inside. Each pause doubles the next,
/// up to the longest.
const PAUSE: u32 = 16;
const LONGEST_PAUSE: u32 = 512;

/// Requests at low concurrency that end a dip, and its longest duration.
const DIP: u32 = 64;
const LONGEST_DIP: Duration = Duration::from_secs(2);
/// Pause between two dips, if the first saw too few requests. A dip costs throughput.
const BETWEEN_DIPS: Duration = Duration::from_secs(30);

/// Returns the concurrency up to which latencies are those of a quiet upstream.
const fn quiet(cap: u32) -> u32 {
    let part = cap * 2 / 5;
    if part > 1 { part } else { 1 }
}

/// Returns the concurrency from which on requests are near the limit.
const fn near(cap: u32) -> u32 {
    cap - cap / 8
}

/// One request that an upstream answered well.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub class: RequestClass,
    /// True for priority 0.
    pub is_quick: bool,
    /// The requests in flight that delayed it when it was sent, including itself: all of them for
    /// priority 0, else those of lower priority. Later moments do not count, because long requests
    /// meet the most others and would invert the result.
    pub concurrency: u32,
    /// Heavy requests in flight at the upstream when it ended.
    pub heavy: u32,
    pub took: Duration,
    /// The part of `took` that it waited inside GeoServer, where control-flow reports it.
    pub waited: Option<Duration>,
}

/// See the module's documentation. There is one for each upstream.
#[derive(Clone, Debug)]
pub struct AdaptiveLimit {
    cap: u32,
    /// The limit at the start.
    start: u32,
    curve: Curve,
    heavy: Heavy,
    /// True if there is no recent evidence that the upstream works on a few requests at a time.
    has_extra: bool,
    /// Answers until the next decision.
    undecided: u32,
    /// Part of the latest requests that took the last slot.
    at_cap: f64,
    inside: Inside,
    dip: Option<Dip>,
    /// Earliest start of the next dip.
    no_dip_before: Option<Instant>,
}

/// Waits inside GeoServer near the limit, as reported since the limit last changed.
#[derive(Clone, Copy, Debug)]
struct Inside {
    took: Duration,
    waited: Duration,
    /// Decisions until the next step up.
    pause: u32,
    next_pause: u32,
}

/// A moment of a lower limit, in which latencies at low concurrency are measured.
#[derive(Clone, Copy, Debug)]
struct Dip {
    seen: u32,
    ends: Instant,
}

impl AdaptiveLimit {
    /// Returns a limit that starts at `cap`.
    pub fn new(cap: u32) -> Self {
        let cap = cap.clamp(MIN, MAX);
        Self {
            cap,
            start: cap,
            curve: Curve::default(),
            heavy: Heavy::default(),
            has_extra: true,
            undecided: DECIDE_EVERY,
            at_cap: 0.0,
            inside: Inside {
                took: Duration::ZERO,
                waited: Duration::ZERO,
                pause: 0,
                next_pause: PAUSE,
            },
            dip: None,
            no_dip_before: None,
        }
    }

    /// Takes over a limit that was set elsewhere, and learns on from there.
    pub fn follow(&mut self, cap: u32) {
        if cap != self.cap() {
            self.dip = None;
            self.set(cap);
        }
    }

    /// Returns the limit in force.
    pub fn cap(&self) -> u32 {
        if self.dip.is_some() {
            quiet(self.cap)
        } else {
            self.cap
        }
    }

    /// True if requests of priority 0 may exceed the limit, because they do not queue inside
    /// GeoServer.
    pub fn has_extra(&self) -> bool {
        self.dip.is_none() && self.has_extra
    }

    /// Returns the minimum of concurrent heavy requests that keeps up with their arrivals.
    pub fn heavy(&self) -> u32 {
        self.heavy.needed()
    }

    /// Learns from one request. This may change the limit.
    pub fn learn(&mut self, answered: &Answered, now: Instant) {
        self.heavy.see(answered.heavy, now);
        self.curve.add(answered);
        let is_at_cap = f64::from(u8::from(answered.concurrency >= self.cap));
        self.at_cap += (is_at_cap - self.at_cap) / RECENT;
        if answered.concurrency >= near(self.cap) {
            self.inside.took += answered.took;
            self.inside.waited += answered.waited.unwrap_or_default().min(answered.took);
        }
        if let Some(dip) = &mut self.dip {
            dip.seen += u32::from(answered.concurrency <= quiet(self.cap));
            if dip.seen >= DIP {
                self.dip = None;
            } else if now >= dip.ends {
                // Requests take too long: another dip would cost as much and show as little.
                (self.dip, self.no_dip_before) = (None, Some(now + BETWEEN_DIPS));
            }
            return;
        }
        self.undecided -= 1;
        if self.undecided == 0 {
            self.undecided = DECIDE_EVERY;
            self.decide(now);
        }
    }

    fn decide(&mut self, now: Instant) {
        let slots = self.curve.slots();
        self.has_extra = slots.is_none();
        let most = slots.unwrap_or(MAX);
        // Some requests of priority 0 are above the limit.
        let most_seen = self.cap + self.cap / 4;
        let found = self
            .curve
            .compare(quiet(self.cap), (near(self.cap), most_seen));
        self.inside.pause = self.inside.pause.saturating_sub(1);
        if most < self.cap {
            self.set(most);
        } else if found.exceeds(BUSY) {
            self.set(self.cap - (self.cap / 8).max(1));
        } else if self.inside.waits() {
            self.inside.pause();
            self.set(self.cap - (self.cap / 6).max(1));
        } else if self.at_cap < BINDING || self.inside.pause > 0 {
            // A higher limit would change nothing, or was too high a moment ago.
        } else if found.weight >= COMPARABLE {
            if found.longer < BUSY {
                self.step_up(most);
            }
        } else if self.curve.weight_from(near(self.cap)) >= WORTH_A_DIP {
            self.act_without_comparison(slots, now);
        }
    }

    /// Acts without latencies at low concurrency to compare with.
    fn act_without_comparison(&mut self, slots: Option<u32>, now: Instant) {
        if slots.is_none() && self.may_dip(now) {
            self.dip = Some(Dip {
                seen: 0,
                ends: now + LONGEST_DIP,
            });
        } else if self.cap < self.start {
            // No evidence speaks against the start.
            self.step_up(slots.unwrap_or(MAX).min(self.start));
        }
    }

    /// True if a dip can begin. Heavy requests in flight would occupy the few slots of a dip, and
    /// nothing would be measured while they run. One long request must not hold the only slot.
    fn may_dip(&self, now: Instant) -> bool {
        self.heavy.in_flight().max(1) < quiet(self.cap)
            && self.no_dip_before.is_none_or(|first| first <= now)
    }

    fn step_up(&mut self, most: u32) {
        self.set((self.cap + (self.cap / 10).max(1)).min(most));
    }

    fn set(&mut self, cap: u32) {
        let cap = cap.clamp(MIN, MAX);
        if cap != self.cap {
            (self.cap, self.at_cap) = (cap, 0.0);
            (self.inside.took, self.inside.waited) = (Duration::ZERO, Duration::ZERO);
        }
    }
}

impl Inside {
    fn waits(&self) -> bool {
        self.waited.as_secs_f64() > self.took.as_secs_f64() * WAITING
    }

    fn pause(&mut self) {
        self.pause = self.next_pause;
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests;
