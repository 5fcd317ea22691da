//! The faults of a replica during a measurement.

use std::ops::Range;
use std::time::Duration;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// Works this many times as fast.
    Slow(f64),
    /// Takes requests and answers none.
    Freeze,
    /// Is gone: connections are refused, open ones are reset.
    Crash,
    /// Answers at once, with status 200 and `OutOfMemoryError`.
    OutOfMemory,
}

impl Trouble {
    /// True if only the speed changes, which the model can compute.
    pub(crate) const fn is_of_speed(self) -> bool {
        match self {
            Self::Slow(_) | Self::Freeze => true,
            Self::Crash | Self::OutOfMemory => false,
        }
    }
}

/// Trouble of one replica, for some time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Episode {
    pub(crate) during: Range<Duration>,
    pub(crate) replica: usize,
    pub(crate) trouble: Trouble,
}
