//! Hints that the catalog may have changed: the event seen, the source of a change, and the
//! progress in following hints up.

use std::time::Instant;

/// An event that may have changed the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A write to the main's REST API succeeded.
    Write,
    /// A page of the main's web interface performed an action.
    Ui,
    /// The update sequence in the data directory changed. This is never more than a reason to query
    /// the main, because a reload of stock GeoServer writes that file too.
    File,
    /// An event that moves no update sequence and yet is news to the replicas: a reload of the
    /// main, a store's reset, GeoWebCache's configuration.
    Certain,
    /// The main's users, roles, rules or filter chains changed. This is certain, and a catalog
    /// reload alone does not bring it.
    Security,
}

/// The evidence by which a change was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeSource {
    /// The main's update sequence moved.
    Number,
    /// A write passed through, and no update sequence could confirm it.
    Write,
    /// An operator ordered it with `geofront sync`.
    Order,
    /// Another instance is the main now.
    Main,
    /// The data directory changed, and neither the main nor a replica changed it.
    Directory,
}

impl ChangeSource {
    /// Returns the word for it in logs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "update-sequence",
            Self::Write => "write",
            Self::Order => "sync",
            Self::Main => "main",
            Self::Directory => "directory",
        }
    }
}

/// Identifies one hint. Tickets count up by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One administrative request that passed through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub hint: Hint,
    /// Time when the request was sent to the main. An earlier change is not the request's.
    pub began: Instant,
    /// The user, if the request names one.
    pub by: Option<String>,
    /// The single workspace concerned, as a hash of its name; `None` if it is not known.
    pub workspace: Option<u64>,
}

impl Sighting {
    /// Returns a hint about an event at `now`.
    pub fn of(hint: Hint, now: Instant) -> Self {
        Self {
            hint,
            began: now,
            by: None,
            workspace: None,
        }
    }
}

/// The progress in following up hints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tickets {
    /// The last hint up to which all replicas in service have the changes.
    pub resolved: Ticket,
    /// The last hint up to which the main's update sequence was read afterwards.
    pub answered: Ticket,
    /// The last answered hint that may be about a change of the catalog.
    pub changed: Ticket,
}

impl Tickets {
    /// True if one of the hints from `first` to `last` is, or may be, about a change that some
    /// replica lacks. A hint that the main's update sequence refuted does not count.
    pub fn is_pending(&self, first: Ticket, last: Ticket) -> bool {
        let is_confirmed = self.changed >= first && self.changed > self.resolved;
        last > self.resolved && (last > self.answered || is_confirmed)
    }
}
