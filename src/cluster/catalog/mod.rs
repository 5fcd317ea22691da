//! Catalog epochs and the rolling catalog reload.
//!
//! A GeoServer reads the shared data directory when it starts and on request. A change made on the
//! main therefore reaches no replica by itself. While a GeoServer reads the directory, it answers
//! from an empty catalog: wrongly, and with status 200. Replicas are therefore reloaded out of
//! service:
//!
//! ```text
//!   hint (a write passed by), the main's number moved, an order          changes.rs
//!     -> epoch + 1: every replica is stale from now on
//!     -> quiet for `settle`: the epoch is settled
//!   for each replica behind the settled epoch, one at a time:            rolling_reload.rs
//!     door closed -> nothing in flight -> reload -> canary passed -> door open
//!   the next roll begins after a pause                                   rolls.rs
//!   a request that only this replica can answer puts its reload off      postponed.rs
//! ```
//!
//! An update sequence is only ever compared with earlier values of the same node. On stock
//! GeoServer, a reload moves a node's own update sequence and may write it into the shared file, so
//! the values of two nodes are unrelated. There are two exceptions:
//!
//! - At our own start, a replica behind the main's update sequence counts as stale, because there
//!   is no better evidence.
//! - A replica that reports an update sequence below the main's right after its reload has read
//!   files older than the main's change.
//!
//! Unproven freshness does not count. A replica that refused connections and now has another update
//! sequence may have been started after a change, or reloaded before it. It is reloaded.

mod canary_doubt;
mod changes;
mod concern;
mod credential_check;
mod directory;
mod events;
mod evidence;
mod hints;
mod inflation;
mod main_reload;
mod own_update_sequence;
mod postponed;
mod replica_catalog;
mod rolling_reload;
mod rolls;
mod status;

pub use concern::{About, Concern};
pub use directory::FileChange;
pub use events::SyncError;
pub use hints::{ChangeSource, Hint, Sighting, Ticket, Tickets};
pub use rolls::{ReplicaRoll, RollReason, RollReport};
pub use status::{CatalogStatus, LastCatalogReload, ReloadPhase, UpstreamCatalog};

pub(super) use canary_doubt::CanaryDoubt;
pub(super) use changes::Changes;
pub(super) use directory::Doubt;
pub(super) use inflation::Inflation;
pub(super) use replica_catalog::{ReloadTarget, ReplicaCatalog};
pub(super) use rolls::Rolls;
