//! The upstreams that a request has tried.

use crate::cluster::UpstreamId;

/// The upstreams one request has tried. Bounded: attempts are.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    ids: [UpstreamId; Self::MAX],
    len: usize,
}

impl Tried {
    /// No request tries more often.
    pub const MAX: usize = 8;

    /// What comes after [`Self::MAX`] is not remembered.
    pub fn add(&mut self, id: UpstreamId) {
        if let Some(free) = self.ids.get_mut(self.len) {
            *free = id;
            self.len += 1;
        }
    }

    /// For an attempt that says nothing about its upstream: it may be asked again.
    pub fn remove(&mut self, id: UpstreamId) {
        if let Some(at) = self.ids[..self.len].iter().position(|tried| *tried == id) {
            self.ids.copy_within(at + 1..self.len, at);
            self.len -= 1;
        }
    }

    pub fn contains(&self, id: UpstreamId) -> bool {
        self.ids[..self.len].contains(&id)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
