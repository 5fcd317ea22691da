//! The immutable view that requests read.

use std::sync::Arc;
use std::time::Instant;

use super::{Upstream, UpstreamId};
use crate::balance::Lease;
use crate::config::Config;
use crate::ogc::RequestClass;

/// Configuration and upstreams of one revision: one swap, so a reader never sees new upstreams with old health.
#[derive(Debug)]
pub struct Snapshot {
    pub revision: u64,
    pub config: Arc<Config>,
}

/// One attempt's upstream and its place on it.
#[derive(Debug)]
pub struct Selection {
    pub upstream: Arc<Upstream>,
    pub lease: Lease,
}

/// Why nobody takes the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUpstream {
    /// Nobody of the right role is up and ready.
    NoneEligible,
    /// All who could were tried already.
    AllTried,
}

/// The upstreams one request has tried. Bounded: attempts are.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    ids: [Option<UpstreamId>; Self::MAX],
}

impl Tried {
    /// No request tries more often.
    pub const MAX: usize = 8;

    pub fn add(&mut self, id: UpstreamId) {
        if let Some(free) = self.ids.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(id);
        }
    }

    pub fn contains(&self, id: UpstreamId) -> bool {
        self.ids.contains(&Some(id))
    }
}

impl Snapshot {
    pub(super) fn new(revision: u64, config: Arc<Config>) -> Self {
        Self { revision, config }
    }

    /// The eligible upstream with the least in flight for its weight, and a place on it.
    pub fn select(&self, class: RequestClass, tried: &Tried, now: Instant) -> Result<Selection, NoUpstream> {
        let _ = (class, tried, now);
        Err(NoUpstream::NoneEligible)
    }

    /// Whether any request would be served: what `/readyz` says.
    pub fn would_serve(&self) -> bool {
        false
    }
}
