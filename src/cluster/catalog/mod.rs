//! Catalog epochs and the rolling catalog reload.
//!
//! A GeoServer reads the shared data directory when it starts and on request. A change made on the
//! main therefore reaches no replica by itself. While a GeoServer reads the directory, it answers
//! from an empty catalog: wrongly, and with status 200. Replicas are therefore reloaded out of
//! service:
//!
//! ```text
//!   a write through geofront, a new update sequence, an order            changes.rs
//!     -> epoch + 1: every replica is stale from now on
//!     -> quiet for `settle`: the epoch is settled
//!   for each replica behind the settled epoch, one at a time:            rolling_reload.rs
//!     door closed -> nothing in flight -> reload -> canary passed -> door open
//!   the next roll begins after a pause                                   rolls.rs
//!   a request that only this replica can answer puts its reload off      postponed.rs
//!   the tiles that a change makes old, in caches that are not shared     tile_caches.rs
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
mod tile_cache;
mod tile_caches;
mod truncation;

use std::time::Instant;

use super::Condition;
use super::upstreams::Upstreams;

pub use concern::{About, Concern};
pub use directory::FileChange;
pub use events::SyncError;
pub use hints::{ChangeSource, Hint, Sighting, Ticket, Tickets};
pub use rolls::{Hold, ReplicaRoll, RollReason, RollReport};
pub use status::{CatalogStatus, LastCatalogReload, ReloadPhase, UpstreamCatalog};
pub use tile_cache::TileCacheStatus;
pub use truncation::{TRUNCATION_LIMIT, Truncation, TruncationCall};

pub(super) use main_reload::MainReload;
pub(super) use replica_catalog::{ReloadTarget, RememberedCatalog, ReplicaCatalog};

use canary_doubt::CanaryDoubt;
use changes::Changes;
use directory::Doubt;
use inflation::Inflation;
use rolls::Rolls;

/// The machine of catalogs: it takes in events, and requests the actions that bring every replica
/// to the main's last change. The catalog of each replica is in its `UpstreamState`.
#[derive(Debug)]
pub(super) struct CatalogMachine {
    changes: Changes,
    /// A change of the data directory that is not explained yet.
    directory: Option<Doubt>,
    /// Doubt about the canary that a replica fails, checked against an upstream in service.
    canary_doubt: CanaryDoubt,
    /// The surplus that a load adds to the update sequence found in the data directory.
    inflation: Inflation,
    tickets: Tickets,
    /// The difference of the stale replicas in service. [`Self::resolve_tickets`] writes it.
    concern: Concern,
    rolls: Rolls,
    /// Time when a replica that had to wait may get its turn.
    rolls_deadline: Option<Instant>,
}

impl CatalogMachine {
    pub(super) fn new() -> Self {
        Self {
            changes: Changes::new(),
            directory: None,
            canary_doubt: CanaryDoubt::default(),
            inflation: Inflation::default(),
            tickets: Tickets::default(),
            concern: Concern::default(),
            rolls: Rolls::default(),
            rolls_deadline: None,
        }
    }

    /// Returns the state of a catalog that was not followed so far. `may_be_old`: it counts as
    /// older than every known epoch, and not as the one that is settled.
    pub(super) fn of_a_newcomer(&self, may_be_old: bool, now: Instant) -> ReplicaCatalog {
        if may_be_old {
            ReplicaCatalog::newcomer(&self.changes, now)
        } else {
            ReplicaCatalog::new(&self.changes, now)
        }
    }

    /// Returns the number of changes noticed. A replica with a lower epoch is stale.
    pub(super) fn epoch(&self) -> u64 {
        self.changes.epoch()
    }

    /// Returns the epoch that was settled when a query was sent at `sent_at`, if that is known.
    pub(super) fn settled_at(&self, sent_at: Instant) -> Option<u64> {
        self.changes.settled_at(sent_at)
    }

    /// Returns the progress in following up hints, and the part of the catalog in which stale
    /// replicas differ.
    pub(super) fn news(&self) -> (Tickets, Concern) {
        (self.tickets, self.concern.clone())
    }

    /// Returns the catalog to be remembered for a replica; `None` if nothing is known of it.
    pub(super) fn remembered(&self, replica: &ReplicaCatalog) -> Option<RememberedCatalog> {
        let is_at_rest = self.changes.is_at_rest();
        let update_sequence = self.changes.update_sequence().filter(|_| is_at_rest);
        replica.remembered(self.changes.epoch(), update_sequence)
    }

    /// Takes in a new configuration, which may name another canary layer.
    pub(super) fn reconfigured(&mut self) {
        self.canary_doubt.forget();
    }

    /// Returns the conditions of catalogs that an operator should act on.
    pub(super) fn conditions(
        &self,
        upstreams: &Upstreams,
        now: Instant,
    ) -> impl Iterator<Item = Condition> {
        let canary = self.canary_condition(upstreams);
        let is_held = self.rolls.hold() == Some(Hold::OtherProcess);
        canary
            .into_iter()
            .chain(is_held.then_some(Condition::OtherProcess))
            .chain(self.main_is_silent(upstreams, now))
            .chain(Self::tile_conditions(upstreams))
    }

    pub(super) fn check_invariants(&self) {
        self.changes.check_invariants();
    }
}
