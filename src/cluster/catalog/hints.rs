//! Hints that the catalog may have changed: what was seen, where a change came from, and how far
//! hints were followed up.

use std::time::Instant;

/// Something that may have changed the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A write to the main's REST succeeded.
    Write,
    /// A page of the main's web interface did something.
    Ui,
    /// The number in the data directory is another one. Never more than a reason to ask the main: a
    /// reload of stock GeoServer writes that file too.
    File,
    /// What moves no number and yet is news to the replicas: a reload of the main, a store's reset,
    /// GeoWebCache's configuration.
    Certain,
    /// The main's users, roles, rules or filter chains changed: certain, and a catalog reload alone
    /// does not bring it.
    Security,
}

/// What made us notice a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The main's number moved.
    Number,
    /// A write that passed by, without a number to confirm it.
    Write,
    /// `geofront sync`.
    Order,
    /// Another instance is the main now.
    Main,
    /// The data directory changed, and not by the main or a replica.
    Directory,
}

impl Source {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Write => "write",
            Self::Order => "order",
            Self::Main => "main",
            Self::Directory => "directory",
        }
    }
}

/// Identifies one hint. Tickets count up by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One administrative request as it passed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub hint: Hint,
    /// When the request was sent to the main. A change noticed before that is not the request's.
    pub began: Instant,
    /// The user, as far as the request names one.
    pub by: Option<String>,
    /// The one workspace that it is about, by a hash of its name; `None` if that is not known.
    pub workspace: Option<u64>,
}

impl Sighting {
    /// A hint about something that happened at `now`.
    pub fn of(hint: Hint, now: Instant) -> Self {
        Self {
            hint,
            began: now,
            by: None,
            workspace: None,
        }
    }
}

/// How far hints have been followed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tickets {
    /// All replicas that serve have what the hints up to this one were about.
    pub resolved: Ticket,
    /// The main's number was read after the hints up to this one.
    pub answered: Ticket,
    /// The last answered hint that may be about a change of the catalog.
    pub changed: Ticket,
}

impl Tickets {
    /// Whether one of the hints from `first` to `last` is, or may be, about a change that some
    /// replica lacks. A hint that the main's number refuted is not.
    pub fn is_pending(&self, first: Ticket, last: Ticket) -> bool {
        let is_confirmed = self.changed >= first && self.changed > self.resolved;
        last > self.resolved && (last > self.answered || is_confirmed)
    }
}
