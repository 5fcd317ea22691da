//! `max_in_flight = "auto"`: how many requests at a time an upstream works best with, learned from
//! how long they take.
//!
//! Below its capacity, one more request at a time changes nothing about how long the others take;
//! far above, twice as many take twice as long. So requests near the cap are compared with quiet
//! ones, which had two fifths of it or fewer beside them: each class by itself, because classes
//! differ a thousandfold, and by logarithms, because the times of one class differ tenfold. The cap
//! goes up while that makes no difference to speak of ([`BUSY`]) and the cap is what holds requests
//! back, and down when it does. On processors that all requests share, it settles at twice the
//! cores. Before a GeoServer that works on a few at a time and lets the rest wait inside, where the
//! light ones cannot go ahead, it settles at those few: there a tile takes many times as long as
//! soon as it has to wait for one map.
//!
//! ```text
//!   looks at 192 requests near the cap -- as quick as quiet ones --> up by a tenth, then in doubt of it:
//!                                      |                               no good? back, and a longer pause before the next try
//!                                      -- slower, twice in a row ----> down
//!                                      -- no quiet ones known -------> a dip: two fifths of the cap until there are some,
//!                                                                      now and then; else up, as if all was well
//! ```
//!
//! Whether the quickest may have more than the cap is learned beside it ([`above`]), and how many
//! heavy ones have to be in flight so that they keep up with what comes ([`heavy`]). What was seen
//! can be wrong in one way only that hurts: a cap below what the upstream works on at a time. So
//! without anything to compare with it rises, and what was good goes down by small steps.
//!
//! What control-flow tells about waiting inside (`X-Control-flow-delay-ms`) needs no statistics: it
//! is waiting that would be better done here, so it takes the cap down like slowness.
//!
//! After Envoy's adaptive concurrency (its dips) and Netflix's Gradient2 (its bounded steps, up
//! only while the cap is reached). Deviations: both take all requests for equal; and both compare
//! with a "time without load" measured at some other time, which drifts away under a load that does
//! not end, and makes a cluster whose caches were just emptied look overloaded. Here what the
//! comparison is made with is measured again when the cap goes down twice.
//!
//! `tests` holds it to the best fixed cap on simulated servers of both kinds, whose speed and load
//! change.

mod above;
mod heavy;
mod look;

use std::time::{Duration, Instant};

use crate::ogc::RequestClass;
use above::Above;
use heavy::Heavy;
use look::{Comparison, Look, QuietTimes};

/// How much longer requests may take near the cap than quiet ones, as a logarithm: nearly twice.
/// Far above the capacity it is two and a half times as long, so that is seen there, too.
const BUSY: f64 = 0.65;
/// So much longer that a quarter of the requests is enough to see it: nearly four times as long.
/// That is above [`BUSY`] by more than three times the error of their mean.
const CLEAR: f64 = 1.3;
/// Part of the time that requests may wait inside.
const WAITING: f64 = 0.1;

/// The cap never leaves these, whatever the measurements say. Even one core is best used by several
/// requests that wait for disks and databases, and one long request must not stop everything.
const LEAST: u32 = 4;
const MOST: u32 = 256;

/// Down, by as much as the comparison says, but no further at once.
const MOST_DOWN: f64 = 0.7;
/// A cap that was good goes down by this part of it at once, at most.
const SMALL_STEP: u32 = 6;
/// By so much more, as a logarithm, the quickest take longer than the others do where they wait
/// inside for these. On shared cores all take the same number of times as long.
const WAITS_INSIDE: f64 = 0.9;
/// Looks until the next try upwards after one that did no good; each doubles the next, up to the
/// most.
const PAUSE: u32 = 4;
const LONGEST_PAUSE: u32 = 32;

/// Quiet requests that end a dip, and how long it may take in any case.
const DIP: u32 = 64;
const LONGEST_DIP: Duration = Duration::from_secs(2);
/// After one that saw too few, until the next: it costs what the upstream could have done
/// meanwhile.
const BETWEEN_DIPS: Duration = Duration::from_secs(30);

/// Of so many in flight, so few are in nobody's way.
const fn quiet(cap: u32) -> u32 {
    let part = cap * 2 / 5;
    if part < 2 { 2 } else { part }
}

/// So many are near the cap.
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

/// See the module's documentation. One for each upstream.
#[derive(Clone, Debug)]
pub struct AutoCap {
    cap: u32,
    /// Where it began.
    start: u32,
    /// The highest cap known to be good, since it last had to go down.
    good: u32,
    quiet_times: QuietTimes,
    look: Look,
    above: Above,
    heavy: Heavy,
    /// Looks until the next try upwards.
    pause: u32,
    next_pause: u32,
    /// Looks in a row that were bad although the cap was good before.
    doubts: u32,
    dip: Option<Dip>,
    /// The next dip may not begin before.
    no_dip_before: Option<Instant>,
}

/// A moment of a lower cap, to see quiet requests.
#[derive(Clone, Copy, Debug)]
struct Dip {
    seen: u32,
    ends: Instant,
}

impl AutoCap {
    /// Somebody else has set another cap in force: learning goes on from there.
    pub fn follow(&mut self, cap: u32) {
        if cap != self.cap() {
            let cap = cap.clamp(LEAST, MOST);
            (self.cap, self.good, self.dip) = (cap, self.good.min(cap), None);
            (self.pause, self.doubts, self.look) = (PAUSE, 0, Look::from(near(cap)));
        }
    }

    /// Begins at `cap`.
    pub fn new(cap: u32) -> Self {
        let cap = cap.clamp(LEAST, MOST);
        let (quiet_times, look) = (QuietTimes::default(), Look::from(near(cap)));
        Self {
            cap,
            start: cap,
            good: LEAST,
            quiet_times,
            look,
            above: Above::default(),
            heavy: Heavy::default(),
            pause: 0,
            next_pause: PAUSE,
            doubts: 0,
            dip: None,
            no_dip_before: None,
        }
    }

    /// What is in force now.
    pub fn cap(&self) -> u32 {
        if self.dip.is_some() {
            quiet(self.cap)
        } else {
            self.cap
        }
    }

    /// Whether the quickest may have places above the cap, because they do not wait there for
    /// others to end. Not after the cap has gone down, until it is good, so that what is seen is of
    /// the cap.
    pub fn has_extra(&self) -> bool {
        self.dip.is_none() && self.doubts <= 1 && self.above.is_open()
    }

    /// How many heavy requests it should have at a time, at least, so that they do not queue up for
    /// ever.
    pub fn heavy(&self) -> u32 {
        self.heavy.needed()
    }

    /// Learns from one request; the cap may be another afterwards.
    pub fn learn(&mut self, answered: &Answered, now: Instant) {
        self.heavy.see(answered.heavy, now);
        if answered.company > self.cap && self.above.add(answered, self.cap, &self.quiet_times) {
            // What it saw was more than the cap.
            self.look = Look::from(self.look.near);
            return;
        }
        self.quiet_times.add(answered);
        self.look.add(answered, self.cap);
        let Some(dip) = &mut self.dip else {
            if self.look.is_complete() || self.is_far_too_much() || self.is_in_the_dark() {
                self.decide(now);
            }
            return;
        };
        dip.seen += u32::from(answered.company <= quiet(self.cap));
        if dip.seen >= DIP {
            self.dip = None;
        } else if now >= dip.ends {
            // Requests take too long for that: another dip would cost as much, and tell as little.
            (self.dip, self.no_dip_before) = (None, Some(now + BETWEEN_DIPS));
        }
    }

    /// A cap that was never good yet needs no more requests to be seen through, if it is that
    /// clear.
    fn is_far_too_much(&self) -> bool {
        if !self.look.may_be_clear() {
            return false;
        }
        let reached = self.look.reached(LEAST, self.cap);
        let found = self.look.compare(&self.quiet_times, quiet(reached));
        reached > self.good && found.is_some_and(|found| found.longer > CLEAR)
    }

    /// More requests near the cap would tell no more: there is nothing to compare them with.
    fn is_in_the_dark(&self) -> bool {
        self.no_dip_before.is_some()
            && self.look.may_be_clear()
            && self.look.is_binding()
            && self
                .look
                .compare(&self.quiet_times, quiet(self.cap))
                .is_none()
    }

    /// Heavy requests in flight would hold the few places of a dip, and nothing would be seen in it
    /// for as long as they run.
    fn may_dip(&self, now: Instant) -> bool {
        self.heavy.in_flight() < quiet(self.cap)
            && self.no_dip_before.is_none_or(|first| first <= now)
    }

    fn decide(&mut self, now: Instant) {
        self.above.count_look();
        let look = std::mem::replace(&mut self.look, Look::from(0));
        let is_binding = look.is_binding();
        let reached = look.reached(LEAST, self.cap);
        let waits_inside = look
            .quick_excess(&self.quiet_times, quiet(reached))
            .is_some_and(|excess| excess > WAITS_INSIDE);
        if waits_inside && self.above.is_open() {
            // What was slow may have been slow because of them, and not of the cap.
            self.above.close();
            self.look.near = near(if is_binding {
                self.cap
            } else {
                self.cap.min(reached)
            });
            return;
        }
        match look.compare(&self.quiet_times, quiet(reached)) {
            None if is_binding && self.may_dip(now) => {
                self.dip = Some(Dip {
                    seen: 0,
                    ends: now + LONGEST_DIP,
                });
            }
            // Nothing speaks against where it began.
            None if is_binding && self.cap < self.start => self.step_up(),
            None => {}
            Some(found) if is_bad(&found) => self.go_down(&found, reached),
            Some(_) => {
                self.doubts = 0;
                if is_binding {
                    self.go_up();
                }
            }
        }
        self.look.near = near(if is_binding {
            self.cap
        } else {
            self.cap.min(reached)
        });
    }

    /// All is well at the cap, and it holds requests back.
    fn go_up(&mut self) {
        if self.cap > self.good {
            (self.good, self.next_pause) = (self.cap, PAUSE);
        }
        self.pause = self.pause.saturating_sub(1);
        if self.pause == 0 {
            self.step_up();
        }
    }

    fn step_up(&mut self) {
        self.cap = (self.cap + (self.cap / 10).max(1)).min(MOST);
    }

    fn go_down(&mut self, found: &Comparison, reached: u32) {
        let lower = ((f64::from(reached) * factor(found)) as u32)
            .min(reached - 1)
            .max(LEAST);
        if reached > self.good {
            // The try did no good.
            self.cap = lower.max(self.good);
            self.pause = self.next_pause;
            self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
            self.doubts = 0;
            return;
        }
        // Once is chance.
        self.doubts += 1;
        if self.doubts > 1 {
            // It was good before, so what is too much of it is little: below what the upstream
            // works on lies a loss for all.
            let lower = lower
                .max(reached - (reached / SMALL_STEP).max(1))
                .max(LEAST);
            (self.cap, self.good, self.pause) = (lower, lower, PAUSE);
        }
        // That often, it is not the number of requests that makes them slow, or what they are
        // compared with is of another time.
        if self.doubts > 2 {
            self.quiet_times.forget();
        }
    }
}

fn is_bad(found: &Comparison) -> bool {
    found.longer > BUSY || found.waiting > WAITING
}

/// By what the cap should be multiplied.
fn factor(found: &Comparison) -> f64 {
    (BUSY - found.longer)
        .exp()
        .min(1.0 - found.waiting)
        .clamp(MOST_DOWN, 1.0)
}

#[cfg(test)]
mod tests;
