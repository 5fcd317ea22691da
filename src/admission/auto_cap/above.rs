//! Whether the quickest requests are served above the cap: tried, and tried again.
//!
//! On cores that all share, a tile that finds the cap full of maps is best sent on: it takes a
//! small part of the cores for a moment. Before a GeoServer that works on a few at a time it would
//! wait inside for one map to end; here it waits for the first of all upstreams.

use super::look::{QuietTimes, Times};
use super::{LONGEST_PAUSE, PAUSE, quiet};
use crate::admission::Answered;

/// So many show it: what is looked for is very clear.
const ENOUGH: u32 = 48;

/// So much longer than quiet ones, as a logarithm: five times. On shared cores, half as many again
/// as there should be are slower by less; whoever waits for a map takes longer by more.
const TOO_LONG: f64 = 1.6;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Above {
    times: Times,
    seen: u32,
    /// Looks at the cap until the next try; 0 while they are let in.
    pause: u32,
    next_pause: u32,
}

impl Default for Above {
    fn default() -> Self {
        Self {
            times: Times::default(),
            seen: 0,
            pause: 0,
            next_pause: PAUSE,
        }
    }
}

impl Above {
    pub(super) fn is_open(&self) -> bool {
        self.pause == 0
    }

    /// One that had more company than `cap`. True if that was one too many, and they are let in no
    /// more.
    pub(super) fn add(&mut self, answered: &Answered, cap: u32, quiet_times: &QuietTimes) -> bool {
        self.times.add(answered);
        self.seen += 1;
        if self.seen < ENOUGH {
            return false;
        }
        let longer = self.times.longer_than(quiet_times, quiet(cap));
        (self.times, self.seen) = (Times::default(), 0);
        let is_too_many = longer.is_some_and(|longer| longer > TOO_LONG);
        if is_too_many {
            self.close();
        } else if longer.is_some() {
            self.next_pause = PAUSE;
        }
        is_too_many
    }

    /// They are let in no more, for a while.
    pub(super) fn close(&mut self) {
        (self.times, self.seen) = (Times::default(), 0);
        self.pause = self.next_pause;
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
    }

    /// The cap was looked at.
    pub(super) fn count_look(&mut self) {
        self.pause = self.pause.saturating_sub(1);
    }
}
