//! `[limits]`: how much at a time, who waits, who is limited.

use std::time::Duration;

use super::control_flow::ControlFlow;
use super::defaults;

/// How many requests an upstream works on at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxInFlight {
    /// Learned from how long requests take.
    Auto,
    /// No cap.
    Off,
    Fixed(u32),
}

impl MaxInFlight {
    /// Where learning begins. Few, because whoever waits here is served by class until more has
    /// been learned, within moments if more is asked for; and what waits inside an upstream is not.
    pub const AUTO_START: u32 = 8;
}

/// How many places one user may hold in the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerUser {
    /// A few for whom a trusted proxy vouches for, by name or by address. No limit for a mere peer:
    /// a whole office may be behind it, or a proxy that nobody has listed.
    Auto,
    Off,
    /// For everybody, told apart by address where nobody vouches for a name.
    Fixed(u32),
}

impl PerUser {
    /// `None` for no limit.
    pub const fn most(self, is_vouched_for: bool) -> Option<u32> {
        match self {
            Self::Auto if is_vouched_for => Some(defaults::AUTO_PER_USER),
            Self::Auto | Self::Off => None,
            Self::Fixed(most) => Some(most),
        }
    }
}

/// How much a class matters when places are scarce: 0 goes first, 3 last. The lower two are heavy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    pub const FIRST: Self = Self(0);
    pub const LAST: Self = Self(3);
    /// The best first.
    pub const ALL: [Self; 4] = [Self(0), Self(1), Self(2), Self(3)];

    pub const fn new(priority: u8) -> Option<Self> {
        if priority <= Self::LAST.0 {
            Some(Self(priority))
        } else {
            None
        }
    }

    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether it is confined to the heavy share of an upstream's cap.
    pub const fn is_heavy(self) -> bool {
        self.0 >= 2
    }

    /// So many steps better, as far as there are any; worse if negative.
    #[must_use]
    pub fn better_by(self, steps: i64) -> Self {
        let moved = i64::from(self.0)
            .saturating_sub(steps)
            .clamp(0, i64::from(Self::LAST.0));
        Self(u8::try_from(moved).unwrap_or(self.0))
    }
}

/// The table.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// For each upstream that does not say otherwise.
    pub max_in_flight: MaxInFlight,
    /// Requests that may wait at a time, in all.
    pub queue: u32,
    /// How long one may.
    pub queue_timeout: Duration,
    pub per_user: PerUser,
    /// Of an upstream's cap, kept for requests of the first priority, in percent. Not of one that
    /// is learned.
    pub quick_reserve: u32,
    /// Of an upstream's cap, for heavy classes together, in percent.
    pub heavy_share: u32,
    /// Bytes that the head of a request may have.
    pub head_size: usize,
    /// Header fields that a request may have.
    pub head_fields: usize,
    /// Rules in the syntax of GeoServer's `controlflow.properties`.
    pub control_flow: ControlFlow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_moved_as_far_as_there_are_steps() {
        let moved =
            [-9, -1, 0, 1, 9, i64::MIN, i64::MAX].map(|steps| Priority(2).better_by(steps).get());
        assert_eq!(moved, [3, 3, 2, 1, 0, 3, 0]);
    }
}
