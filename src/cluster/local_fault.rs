//! Faults of this machine or of geofront itself, which are no evidence about an upstream.
//!
//! Without a free file descriptor or local port, every upstream looks unreachable at once. If the
//! upstreams were blamed for it, the cluster would be empty, and trying another upstream would only
//! need one more descriptor.

use std::error::Error;
use std::{fmt, io};

/// The resource that is exhausted, or the limit of ours that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalFault {
    /// No file descriptor is free (`EMFILE` or `ENFILE`).
    Descriptors,
    /// No local port is free (`EADDRNOTAVAIL`).
    Ports,
    /// No memory is free (`ENOMEM` or `ENOBUFS`).
    Memory,
    /// The head of an answer has more fields, or is longer, than geofront reads.
    AnswerHead,
    /// A probe was sent and never reported, although each has a time limit, or its limit ended
    /// while geofront hardly ran. Either geofront had no time to run, or it has a defect.
    Unreported,
}

/// Nested errors that are examined.
const MAX_DEPTH: usize = 16;

impl LocalFault {
    /// Returns the local fault behind an operating system's error in `error` or its sources.
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let chain = std::iter::successors(Some(error), |error| behind(*error)).take(MAX_DEPTH);
        let mut codes = chain.filter_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error());
        codes.find_map(Self::of_os_error)
    }

    /// Returns one word that distinguishes conditions.
    pub const fn subject(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Ports => "ports",
            Self::Memory => "memory",
            Self::AnswerHead => "answer-head",
            Self::Unreported => "unreported",
        }
    }

    /// Returns the remedy, in one sentence.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Descriptors => {
                "raise the limit of open files (`LimitNOFILE=` in the systemd unit), or find the process that holds so many"
            }
            Self::Ports => {
                "widen `net.ipv4.ip_local_port_range`, or find out what opens so many connections"
            }
            Self::Memory => "give this machine more memory, or find out what uses it",
            Self::AnswerHead => {
                "have GeoServer, or what stands before it, send fewer header fields than 256"
            }
            Self::Unreported => {
                "give geofront more CPU time; if it has enough, report the defect with the log"
            }
        }
    }

    /// Maps the error numbers of Linux.
    const fn of_os_error(code: i32) -> Option<Self> {
        match code {
            23 | 24 => Some(Self::Descriptors),
            99 => Some(Self::Ports),
            12 | 105 => Some(Self::Memory),
            _ => None,
        }
    }
}

/// Returns the error that `error` wraps. An error of `io` that wraps another passes over it as its
/// source.
fn behind<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    wrapped
        .map(|wrapped| wrapped as &(dyn Error + 'static))
        .or_else(|| error.source())
}

impl fmt::Display for LocalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "geofront has no file descriptor left",
            Self::Ports => "this machine has no local port left",
            Self::Memory => "this machine has no memory left for connections",
            Self::AnswerHead => "the head of the answer is longer than geofront reads",
            Self::Unreported => "a probe of geofront's own did not report in time",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_this_machine_are_found_however_deep_and_others_are_not() {
        let of = |code| LocalFault::behind(&io::Error::other(io::Error::from_raw_os_error(code)));
        assert_eq!([of(24), of(23)], [Some(LocalFault::Descriptors); 2]);
        assert_eq!(of(99), Some(LocalFault::Ports));
        assert_eq!([of(12), of(105)], [Some(LocalFault::Memory); 2]);
        // The numbers stand for refused, timed out, no route and reset.
        assert_eq!([of(111), of(110), of(113), of(104)], [None; 4]);
        assert_eq!(
            LocalFault::behind(&io::Error::other("Too many open files")),
            None,
            "a text proves nothing"
        );
    }
}
