//! `max_in_flight = "auto"`: how many requests at a time an upstream works best with, learned from
//! how long they take.
//!
//! Below the capacity of an upstream, one more request at a time changes nothing about how long the
//! others take. Above it there are two kinds of upstreams, and a limit for each:
//!
//! * One that works on a few at a time and lets the rest wait inside, such as GeoServer with its
//!   control-flow extension. There tiles cannot pass maps, so a tile takes many times as long as
//!   soon as it waits for one map to end. The limit is the number of slots, as soon as tiles show
//!   it ([`Curve::slots`]), and the waiting is done here, by class.
//! * One whose requests share its cores. All take the same number of times as long, and a tile that
//!   is sent on takes a small part of the cores for a moment. The limit goes up while requests near
//!   it take no longer than quiet ones do, to speak of ([`BUSY`]), and down when they do: it settles
//!   at about twice the cores. The quickest have some places more.
//!
//! ```text
//!   every 16 answers -- more in flight than there are slots ----------> down to the slots
//!                    -- slower near the limit than quiet ones --------> down by an eighth
//!                    -- GeoServer says that they wait inside ---------> down by a sixth, and a pause
//!                    -- the limit is reached, and all is well --------> up by a tenth
//!                    -- the limit is reached, no quiet ones known ----> a dip: half of the limit for a moment
//! ```
//!
//! A decision needs evidence beyond chance, however few answers show it: where tiles wait for maps,
//! a dozen do. Evidence fades with the answers that come after it. So a limit that was too high is
//! tried again when little speaks against it any more, which takes a few requests in some thousand,
//! and an upstream that has become stronger gets more.
//!
//! What can be wrong in a way that hurts is a limit below what the upstream works on at a time.
//! Without anything to compare with, the limit therefore returns to where it began.
//!
//! Envoy's adaptive concurrency (its dips) and Netflix's Gradient2 (up only while the limit is
//! reached) differ: both take all requests for equal, and both compare with a time without load that
//! was measured at another time, which makes a cluster whose caches were just emptied look
//! overloaded. Here new answers replace the old ones of the same class and concurrency.
//!
//! `tests` compares it with the best fixed limit on simulated servers of both kinds, whose speed and
//! load change. `docs/benchmarks.md` has the figures for drawn mixes.

mod curve;
mod heavy;

use std::time::{Duration, Instant};

use crate::ogc::RequestClass;
use curve::Curve;
use heavy::Heavy;

/// How much longer requests may take near the limit than quiet ones, as a logarithm: by four fifths.
/// Far above the capacity it is two and a half times as long, so that is seen there, too.
const BUSY: f64 = 0.6;
/// Part of the time that requests may wait inside.
const WAITING: f64 = 0.1;

/// The limit never leaves these. Even one core is best used by several requests that wait for disks
/// and databases.
const MIN: u32 = 2;
const MAX: u32 = 256;

/// Answers between two decisions.
const DECIDE_EVERY: u32 = 16;
/// Weight of a comparison that allows a step up.
const COMPARABLE: f64 = 12.0;
/// Weight of requests near the limit without which quiet ones are of no use.
const WORTH_A_DIP: f64 = 48.0;
/// Part of the requests that take the last place where it is the limit that holds requests back,
/// and the requests over which that is averaged.
const BINDING: f64 = 0.1;
const RECENT: f64 = 32.0;
/// Decisions without a step up after GeoServer said that requests wait inside. Each doubles the
/// next pause, up to the longest.
const PAUSE: u32 = 16;
const LONGEST_PAUSE: u32 = 512;

/// Quiet requests that end a dip, and how long it may take in any case.
const DIP: u32 = 64;
const LONGEST_DIP: Duration = Duration::from_secs(2);
/// After a dip that saw too few, until the next: it costs what the upstream could have done
/// meanwhile.
const BETWEEN_DIPS: Duration = Duration::from_secs(30);

/// Beside so many in flight, requests count as quiet.
const fn quiet(cap: u32) -> u32 {
    let part = cap * 2 / 5;
    if part > 1 { part } else { 1 }
}

/// From so many in flight on, requests are near the limit.
const fn near(cap: u32) -> u32 {
    cap - cap / 8
}

/// One request that an upstream answered well.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub class: RequestClass,
    /// Of the first priority.
    pub is_quick: bool,
    /// Those in flight that were in its way when it was sent, itself included: all, for one of the
    /// quickest; else the slower, because the quickest beside them are soon done. Not later: long
    /// requests see the most others, and would make it seem the other way round.
    pub company: u32,
    /// Heavy requests in flight at the upstream when it ended.
    pub heavy: u32,
    pub took: Duration,
    /// Of that, waiting inside GeoServer, where control-flow tells it.
    pub waited: Option<Duration>,
}

/// See the module's documentation. There is one for each upstream.
#[derive(Clone, Debug)]
pub struct AdaptiveLimit {
    cap: u32,
    /// The limit that it began with.
    start: u32,
    curve: Curve,
    heavy: Heavy,
    /// The upstream was not seen to work on a few at a time, or that was long ago.
    has_extra: bool,
    /// Answers until the next decision.
    undecided: u32,
    /// Part of the latest requests that took the last place.
    at_cap: f64,
    inside: Inside,
    dip: Option<Dip>,
    /// The next dip may not begin before.
    no_dip_before: Option<Instant>,
}

/// What GeoServer said about requests that waited inside, near the limit, since that last changed.
#[derive(Clone, Copy, Debug)]
struct Inside {
    took: Duration,
    waited: Duration,
    /// Decisions until the next step up.
    pause: u32,
    next_pause: u32,
}

/// A moment of a lower limit, to see quiet requests.
#[derive(Clone, Copy, Debug)]
struct Dip {
    seen: u32,
    ends: Instant,
}

impl AdaptiveLimit {
    /// Begins at `cap`.
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

    /// Goes on from a limit that something else has set.
    pub fn follow(&mut self, cap: u32) {
        if cap != self.cap() {
            self.dip = None;
            self.set(cap);
        }
    }

    /// The limit in force.
    pub fn cap(&self) -> u32 {
        if self.dip.is_some() {
            quiet(self.cap)
        } else {
            self.cap
        }
    }

    /// Whether the quickest may have places above the limit, because they do not wait there for
    /// others to end.
    pub fn has_extra(&self) -> bool {
        self.dip.is_none() && self.has_extra
    }

    /// How many heavy requests it should have at a time, at least, so that they do not queue up for
    /// ever.
    pub fn heavy(&self) -> u32 {
        self.heavy.needed()
    }

    /// Learns from one request. The limit may be another afterwards.
    pub fn learn(&mut self, answered: &Answered, now: Instant) {
        self.heavy.see(answered.heavy, now);
        self.curve.add(answered);
        let is_at_cap = f64::from(u8::from(answered.company >= self.cap));
        self.at_cap += (is_at_cap - self.at_cap) / RECENT;
        if answered.company >= near(self.cap) {
            self.inside.took += answered.took;
            self.inside.waited += answered.waited.unwrap_or_default().min(answered.took);
        }
        if let Some(dip) = &mut self.dip {
            dip.seen += u32::from(answered.company <= quiet(self.cap));
            if dip.seen >= DIP {
                self.dip = None;
            } else if now >= dip.ends {
                // Requests take too long for that: another dip would cost as much and show as
                // little.
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
        // Above the limit are some of the quickest.
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
            // More would change nothing, or was too many a moment ago.
        } else if found.weight >= COMPARABLE {
            if found.longer < BUSY {
                self.step_up(most);
            }
        } else if self.curve.weight_from(near(self.cap)) >= WORTH_A_DIP {
            self.look_into_the_dark(slots, now);
        }
    }

    /// There are no quiet requests to compare with.
    fn look_into_the_dark(&mut self, slots: Option<u32>, now: Instant) {
        if slots.is_none() && self.may_dip(now) {
            self.dip = Some(Dip {
                seen: 0,
                ends: now + LONGEST_DIP,
            });
        } else if self.cap < self.start {
            // Nothing speaks against where it began.
            self.step_up(slots.unwrap_or(MAX).min(self.start));
        }
    }

    /// Heavy requests in flight would hold the few places of a dip, and nothing would be seen in it
    /// for as long as they run. One long request must not hold the only place.
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
