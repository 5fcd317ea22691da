//! The upstreams that a request has tried.

use crate::cluster::UpstreamId;

/// The upstreams that one request has tried. Their number is bounded because attempts are.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    ids: [UpstreamId; Self::MAX],
    len: usize,
}

impl Tried {
    /// Most attempts of one request.
    pub const MAX: usize = 8;

    /// Records an upstream. Attempts beyond [`Self::MAX`] are not recorded.
    pub fn add(&mut self, id: UpstreamId) {
        if let Some(free) = self.ids.get_mut(self.len) {
            *free = id;
            self.len += 1;
        }
    }

    /// Removes an upstream after an attempt that is no evidence about it, so that it may be tried
    /// again.
    pub fn remove(&mut self, id: UpstreamId) {
        if let Some(at) = self.ids[..self.len].iter().position(|tried| *tried == id) {
            self.ids.copy_within(at + 1..self.len, at);
            self.len -= 1;
        }
    }

    /// True if the request has tried this upstream.
    pub fn contains(&self, id: UpstreamId) -> bool {
        self.ids[..self.len].contains(&id)
    }

    /// True if the request has tried no upstream.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
