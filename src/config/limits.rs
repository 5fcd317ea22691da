//! `[limits]`: concurrency, queueing and per-user limits.

use std::time::Duration;

use super::control_flow::ControlFlow;
use crate::ogc::Classified;

/// The limit on an upstream's concurrent requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxInFlight {
    /// Learned from latencies.
    Auto,
    /// Unlimited.
    Off,
    Fixed(u32),
}

impl MaxInFlight {
    /// The learned limit at the start. It is low, because requests that wait in geofront's queue
    /// are served by class, and requests that wait inside an upstream are not. Under load it grows
    /// within moments.
    pub const AUTO_START: u32 = 8;
}

/// A browser loads a map over six connections, which leaves some for a second window. geOrchestra's
/// data directory uses the same number.
const AUTO_PER_USER: u32 = 10;

/// The number of slots that one user may hold in the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerUser {
    /// A few for each name or address that a trusted proxy states. No limit for a direct peer,
    /// which may be a whole office, or a proxy that is not listed.
    Auto,
    Off,
    /// The same for all users; users without a vouched name are distinguished by address.
    Fixed(u32),
}

impl PerUser {
    /// The maximum number of slots; `None` for no limit.
    pub const fn most(self, is_vouched_for: bool) -> Option<u32> {
        match self {
            Self::Auto if is_vouched_for => Some(AUTO_PER_USER),
            Self::Auto | Self::Off => None,
            Self::Fixed(most) => Some(most),
        }
    }
}

/// The priority of a class while slots are scarce: 0 goes first, 3 last. 2 and 3 are heavy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The priority that is served first.
    pub const FIRST: Self = Self(0);
    /// The last priority of requests that are not heavy.
    pub const LAST_LIGHT: Self = Self(1);
    /// The best priority of heavy requests.
    pub const HEAVY: Self = Self(2);
    /// The priority that is served last.
    pub const LAST: Self = Self(3);
    /// All priorities, the best first.
    pub const ALL: [Self; 4] = [Self(0), Self(1), Self(2), Self(3)];

    /// Returns this priority; `None` if there is none of this number.
    pub const fn new(priority: u8) -> Option<Self> {
        if priority <= Self::LAST.0 {
            Some(Self(priority))
        } else {
            None
        }
    }

    /// Returns the number of the priority; 0 is served first.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// True if the class is confined to the heavy share of an upstream's limit.
    pub const fn is_heavy(self) -> bool {
        self.0 >= Self::HEAVY.0
    }

    /// The priority that is `steps` better, or worse if negative, within the range.
    #[must_use]
    pub fn better_by(self, steps: i64) -> Self {
        let moved = i64::from(self.0)
            .saturating_sub(steps)
            .clamp(0, i64::from(Self::LAST.0));
        Self(u8::try_from(moved).unwrap_or(self.0))
    }
}

/// The work of a request, compared with that of others of its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effort {
    #[default]
    OfClass,
    /// Counts as heavy although its class may not: a map of many pixels.
    Heavy,
    /// Does not count as heavy although its class may: a question about earlier work.
    Light,
}

impl Effort {
    /// Returns the priority of a request whose class has `of_class`.
    #[must_use]
    pub fn of(self, of_class: Priority) -> Priority {
        match self {
            Self::OfClass => of_class,
            Self::Heavy => of_class.max(Priority::HEAVY),
            Self::Light => of_class.min(Priority::LAST_LIGHT),
        }
    }
}

/// The table `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The limit of each upstream that does not set its own.
    pub max_in_flight: MaxInFlight,
    /// Maximum number of waiting requests.
    pub queue: u32,
    /// Maximum time that a request waits.
    pub queue_timeout: Duration,
    pub per_user: PerUser,
    /// Share of an upstream's configured limit that is kept for priority 0, in percent. Learned
    /// limits ignore it.
    pub quick_reserve: u32,
    /// Share of an upstream's limit that all heavy classes together may use, in percent.
    pub heavy_share: u32,
    /// Pixels from which on a map counts as heavy; 0 for none.
    pub heavy_map_pixels: u32,
    /// Maximum size of a request head in bytes.
    pub head_size: usize,
    /// Maximum number of header fields in a request.
    pub head_fields: usize,
    /// Rules in the syntax of GeoServer's `controlflow.properties`.
    pub control_flow: ControlFlow,
}

impl Limits {
    /// Returns how the work of this request compares with that of others of its class.
    pub fn effort(&self, classified: &Classified) -> Effort {
        if classified.is_light {
            Effort::Light
        } else if self.heavy_map_pixels > 0 && classified.pixels >= self.heavy_map_pixels {
            Effort::Heavy
        } else {
            Effort::OfClass
        }
    }
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
