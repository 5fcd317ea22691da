//! Rescues of requests that find no upstream.

use std::time::Instant;

use super::Control;
use crate::cluster::Tried;
use crate::ogc::RequestClass;

impl Control {
    /// Tries to make an upstream available to a request that finds none beside those it has tried.
    /// True if another selection may find one.
    pub fn rescue(&self, class: RequestClass, tried: &Tried, now: Instant) -> bool {
        if self.could_rescue(class, tried) {
            self.change(|cluster| cluster.rescue(class, tried, now))
        } else {
            // Another request may have been helped just now, which helps this one.
            self.snapshot().has_place(class, tried)
        }
    }

    /// Whether [`Self::rescue`] would help.
    pub fn could_rescue(&self, class: RequestClass, tried: &Tried) -> bool {
        self.cluster.lock().could_rescue(class, tried)
    }
}
