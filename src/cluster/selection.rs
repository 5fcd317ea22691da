//! The selection for one request: which of a snapshot's upstreams take it, in which order.

use std::time::Instant;

use super::snapshot::Need;
use super::{About, NoUpstream, Selection, Snapshot, Tried, UpstreamId};
use crate::config::Effort;
use crate::ogc::RequestClass;

/// The upstreams that a request may go to.
#[derive(Clone, Debug)]
pub struct SelectionRequest {
    pub class: RequestClass,
    pub effort: Effort,
    /// Shared by the requests that one upstream should answer: the tiles of a metatile.
    pub key: Option<u64>,
    pub tried: Tried,
    pub main: MainPreference,
    pub about: About,
}

/// The preference for the main.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MainPreference {
    No,
    /// The reader has just changed the catalog. If the main has no free slot, a replica serves the
    /// read. The main gives a second opinion where that replica does not know the layer.
    ToSeeAChange,
    /// This replica did not know the layer, so the main or another upstream with the last change is
    /// queried. If none of them has a free slot, the replica's answer counts, unless the replica is
    /// known to lack a change that the request is about: then the request waits.
    ForAnOpinion {
        replica: UpstreamId,
        lacks_a_change: bool,
    },
}

impl SelectionRequest {
    /// A request of this class with nothing particular about it.
    pub fn of(class: RequestClass) -> Self {
        Self {
            class,
            effort: Effort::OfClass,
            key: None,
            tried: Tried::default(),
            main: MainPreference::No,
            about: About::Anything,
        }
    }

    /// Selects an upstream and takes a slot on it. `may_join`: no request waits, so this one may go
    /// beyond a cap to join others of its key.
    pub fn select(
        &self,
        snapshot: &Snapshot,
        may_join: bool,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let need = Need {
            class: self.class,
            effort: self.effort,
            key: self.key,
            about: self.about,
        };
        let select_once = |tried: &Tried| snapshot.select_about(need, may_join, tried, now);
        // A request waits for a slot of its group, and goes beyond the group only where none of it
        // serves.
        let select_any = |tried: &Tried| match (select_once(tried), tried.beyond_group()) {
            (Err(why), Some(beyond)) if why != NoUpstream::Full => select_once(&beyond),
            (selected, _) => selected,
        };
        let beyond = self.tried.beyond_group();
        let for_main = beyond.as_ref().unwrap_or(&self.tried);
        match self.main {
            MainPreference::No => select_any(&self.tried),
            MainPreference::ToSeeAChange => {
                match snapshot.select_main(need, for_main, now) {
                    Ok(selection) => Ok(selection),
                    // Waiting for the main is better than a refusal.
                    Err(NoUpstream::Full) => select_any(&self.tried).map_err(|_| NoUpstream::Full),
                    Err(_) => select_any(&self.tried),
                }
            }
            MainPreference::ForAnOpinion {
                replica,
                lacks_a_change,
            } => match snapshot.select_fresh(need, for_main, now) {
                Ok(selection) => Ok(selection),
                Err(NoUpstream::Full) if lacks_a_change => Err(NoUpstream::Full),
                Err(_) => {
                    let mut tried = self.tried.clone();
                    tried.remove(replica);
                    select_any(&tried)
                }
            },
        }
    }
}
