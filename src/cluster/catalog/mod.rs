//! Catalog epochs and the rolling catalog reload.
//!
//! A GeoServer reads the shared data directory when it starts and when it is told to, so a change
//! made on the main reaches no replica by itself. And while it reads, it answers from an empty
//! catalog: with status 200, and wrongly. Hence:
//!
//! ```text
//!   hint (a write passed by), the main's number moved, an order          changes.rs
//!     -> epoch + 1: every replica is stale from now on
//!     -> quiet for `settle`: the epoch is settled
//!   for each replica behind the settled epoch, one at a time:            roll.rs, reload.rs
//!     door closed -> nothing in flight -> reload -> canary passed -> door open
//!   the next roll begins after a pause                                   rolls.rs
//!   a request that only this replica can answer puts its reload off      postponed.rs
//! ```
//!
//! Numbers (`updateSequence`) are only ever compared with what the same node said before: a reload
//! moves a node's own number on stock GeoServer, and may write it into the shared file, so that
//! numbers of two nodes say nothing about each other. There are two exceptions. At our own start a
//! replica behind the main's number is stale as far as anybody can know. And a replica that reports
//! a number below the main's right after its reload read files that were older than the main's
//! change.
//!
//! What is not proven does not count: a replica that refused connections and has another number now
//! may have been started again after a change, or reloaded before it. It is reloaded.

mod access;
mod canary_doubt;
mod changes;
mod concern;
mod directory;
mod due;
mod evidence;
mod freshness;
mod hints;
mod inflation;
mod own;
mod postponed;
mod reload;
mod reports;
mod roll;
mod rolls;
mod status;

pub use concern::{About, Concern};
pub use directory::FileChange;
pub use hints::{Hint, Sighting, Source, Ticket, Tickets};
pub use reports::SyncError;
pub use rolls::{ReplicaRoll, RollReason, RollReport};
pub use status::{CatalogStatus, Freshening, LastReload, UpstreamCatalog};

pub(super) use canary_doubt::CanaryDoubt;
pub(super) use changes::Changes;
pub(super) use directory::Doubt;
pub(super) use due::Due;
pub(super) use freshness::Freshness;
pub(super) use inflation::Inflation;
pub(super) use reload::Target;
pub(super) use rolls::Rolls;
