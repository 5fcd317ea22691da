//! Truncations of tile caches, where each GeoServer has one of its own
//! (`catalog.tile_caches = "own"`).
//!
//! GeoServer drops the tiles that a change has made old where the change was made, and nowhere
//! else. The caches of all other upstreams owe the same truncation:
//!
//! ```text
//!   a truncation or changed features, answered with success by one upstream
//!     -> every other upstream owes it at once
//!   a replica has reloaded its catalog
//!     -> it owes the tiles of the workspaces that changed, or all
//!     -> its canary waits for the first attempt, at most `TRUNCATION_LIMIT`
//! ```
//!
//! A truncation is idempotent, so a failed one is tried again until it succeeds, after pauses that
//! double. It never takes an upstream out of service: an old tile is better than none. No
//! truncation begins while a catalog is read, because GeoServer then takes every layer for unknown.
//! A replica that was restarted after a change is reloaded too, and its cache on disk is truncated
//! then. What is owed belongs to the memory of the next process.

use std::sync::Arc;
use std::time::Instant;

use super::tile_cache::{TileCache, TruncationResult};
use super::truncation::{TRUNCATION_LIMIT, Truncation};
use super::{CatalogMachine, Concern, ReplicaCatalog};
use crate::cluster::upstream_state::UpstreamState;
use crate::cluster::upstreams::Upstreams;
use crate::cluster::{Action, Cause, Condition, TransitionKind, UpstreamId};
use crate::config::TileCaches;

/// True if GeoServer can truncate tiles now: it is there, and its catalog is in memory.
fn may_begin(state: &UpstreamState) -> bool {
    let catalog = &state.catalog;
    let is_loaded = catalog.is_serving() && state.is_up() && !catalog.main_reload.is_running();
    !state.is_in_maintenance() && (is_loaded || catalog.has_ended_well())
}

impl CatalogMachine {
    /// Makes every upstream owe a truncation, except the one that has carried it out.
    pub(in crate::cluster) fn owe_truncation(
        &self,
        upstreams: &mut Upstreams,
        carried_out_by: UpstreamId,
        truncation: &Truncation,
    ) {
        if upstreams.config.catalog.tile_caches == TileCaches::Shared {
            return;
        }
        upstreams
            .iter_mut()
            .filter(|state| state.upstream.id != carried_out_by)
            .for_each(|state| state.catalog.tiles.owe(truncation.clone()));
    }

    /// Returns the tiles of a replica that its next catalog makes old; `None` if it has no cache of
    /// its own, or another geofront reloads the replicas and truncates their tiles.
    fn truncation_for(
        &self,
        upstreams: &Upstreams,
        catalog: &ReplicaCatalog,
    ) -> Option<Truncation> {
        let config = &upstreams.config.catalog;
        if config.tile_caches == TileCaches::Shared || !config.roll {
            return None;
        }
        let concern = if catalog.is_fresh(self.changes.concern_since()) {
            self.changes.concern()
        } else {
            // The changes before that epoch have no record.
            Concern::Everything
        };
        (concern != Concern::default()).then(|| concern.into())
    }

    /// Notes the tiles that the reload which begins makes old.
    pub(super) fn note_tiles_of_reload(&self, upstreams: &mut Upstreams, at: usize) {
        let truncation = self.truncation_for(upstreams, &upstreams[at].catalog);
        upstreams[at].catalog.tiles.note_reload(truncation);
    }

    /// Lets the canary of a reloaded replica wait until its old tiles are dropped.
    pub(super) fn truncate_after_reload(&self, upstreams: &mut Upstreams, at: usize, now: Instant) {
        let catalog = &mut upstreams[at].catalog;
        if catalog.has_ended_well() && catalog.tiles.owe_for_reload(now) {
            catalog.delay_test(TRUNCATION_LIMIT, now);
        }
    }

    /// Begins the next truncation of the upstream at `at`, if one is due.
    pub(super) fn begin_truncation(
        &self,
        upstreams: &mut Upstreams,
        at: usize,
        now: Instant,
    ) -> Option<Action> {
        if !may_begin(&upstreams[at]) || !upstreams[at].catalog.tiles.is_due(now) {
            return None;
        }
        let truncation = upstreams[at].catalog.tiles.begin(now)?;
        Some(Action::TruncateTiles {
            upstream: Arc::clone(&upstreams[at].upstream),
            truncation,
        })
    }

    /// Takes in the result of a truncation that began at `sent_at`.
    pub(super) fn tiles_truncated(
        &self,
        upstreams: &mut Upstreams,
        id: UpstreamId,
        sent_at: Instant,
        outcome: Result<(), Cause>,
        now: Instant,
    ) {
        let Some(at) = upstreams.position(id) else {
            return;
        };
        let Some(attempt) = upstreams[at].catalog.tiles.ended(sent_at, outcome, now) else {
            return;
        };
        let catalog = &mut upstreams[at].catalog;
        if matches!(attempt, TruncationResult::Failed { .. }) || !catalog.tiles.owes_more() {
            catalog.hasten_test(now);
        }
        let what = match attempt {
            TruncationResult::Done {
                truncation,
                is_recovery: false,
                ..
            } if truncation.is_of_an_edit() => None,
            TruncationResult::Done {
                truncation, took, ..
            } => Some(TransitionKind::TilesTruncated { truncation, took }),
            TruncationResult::Failed {
                truncation,
                cause,
                retry_in,
            } => Some(TransitionKind::TruncationFailed {
                truncation,
                cause,
                retry_in,
            }),
        };
        upstreams.report(at, what);
    }

    /// Gives up a truncation whose report does not come.
    pub(super) fn pass_truncation_time(&self, upstreams: &mut Upstreams, at: usize, now: Instant) {
        if let Some(began) = upstreams[at].catalog.tiles.give_up(now) {
            let id = upstreams[at].upstream.id;
            let cause = Cause::Timeout("the truncation of tiles did not end");
            self.tiles_truncated(upstreams, id, began, Err(cause), now);
        }
    }

    /// Returns the time of the next step of its tile cache.
    pub(super) fn truncation_deadline(state: &UpstreamState) -> Option<Instant> {
        state.catalog.tiles.deadline(may_begin(state))
    }

    /// Forgets the owed truncations if a change of the configuration makes the tile cache a shared
    /// one.
    pub(in crate::cluster) fn forget_shared_tiles(&self, upstreams: &mut Upstreams, now: Instant) {
        if upstreams.config.catalog.tile_caches == TileCaches::Own {
            return;
        }
        for state in upstreams.iter_mut() {
            state.catalog.tiles = TileCache::new(now);
        }
    }

    /// Returns a condition for each tile cache that could not be truncated for long.
    pub(super) fn tile_conditions(upstreams: &Upstreams) -> impl Iterator<Item = Condition> {
        upstreams.iter().filter_map(|state| {
            let cause = state.catalog.tiles.lasting_failure()?;
            Some(Condition::TilesOld {
                upstream: state.upstream.name.clone(),
                cause: cause.clone(),
            })
        })
    }
}
