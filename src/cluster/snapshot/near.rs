//! Selection for requests that belong together: the tiles of one metatile, which a GeoServer renders at once.
//!
//! A key is any number that they share. Among those who may serve it goes to the first in its own order that is within the bound of its
//! class (`balance/affinity`), and those in flight stay together. A retry goes to the next in the order; the backup, a trial and
//! a class that one place serves are chosen as for everybody.

use std::time::Instant;

use super::{Place, Selection, Snapshot, Tried};
use crate::balance::{Neighbour, Wish, pick_near};
use crate::ogc::RequestClass;

impl Snapshot {
    /// `None` without a key, and in a class that has no use for it.
    pub(super) fn wish(&self, class: RequestClass, key: Option<u64>) -> Option<Wish> {
        let affinity = self.config.classes[class].affinity?;
        Some(Wish { key: key?, load_percent: affinity.load_percent })
    }

    pub(super) fn nearest(&self, places: &[Place], wish: Wish, tried: &Tried, now: Instant) -> Option<Selection> {
        let whereabouts = self.keys.whereabouts(wish.key);
        let neighbour = |at: usize| {
            let place = &places[at];
            let neighbour =
                || Neighbour { candidate: place.candidate(now), seed: place.seed, is_companion: whereabouts.is(place.seed) };
            (!place.is_out(tried)).then(neighbour)
        };
        let chosen = &places[pick_near(places.len(), neighbour, wish, self.rotation.next())?];
        let mut selection = chosen.lease()?;
        selection.lease.keep(self.keys.note(wish.key, chosen.seed));
        Some(selection)
    }
}
