//! Selection for requests that belong together: the tiles of one metatile, which a GeoServer renders at once.
//!
//! A key is any number that they share. Among those who may serve it goes to the first in its own order that is within the bound of its
//! class (`balance/affinity`), and those in flight stay together. A retry goes to the next in the order; the backup, a trial and
//! a class that one place serves are chosen as for everybody.

use std::time::Instant;

use super::{Place, Selection, Snapshot, Tried};
use crate::balance::{Demand, Neighbour, Wish, pick_near};
use crate::ogc::RequestClass;

impl Snapshot {
    /// `None` without a key, and in a class that has no use for it.
    pub(super) fn wish(&self, class: RequestClass, key: Option<u64>) -> Option<Wish> {
        let affinity = self.config.classes[class].affinity?;
        Some(Wish { key: key?, load_percent: affinity.load_percent })
    }

    /// As for everybody: `None` if nobody has a place; nothing inside if the chosen one has none any more.
    pub(super) fn nearest(
        &self,
        places: &[Place],
        demand: Demand,
        wish: Wish,
        tried: &Tried,
        now: Instant,
    ) -> Option<Option<Selection>> {
        let neighbour = |at: usize| {
            let place = &places[at];
            if !place.has_place(demand, tried, now) {
                return None;
            }
            // The load is read before the note of the key and written after it: whoever sees a companion in the load sees it in
            // the note, too. The other way round, of two that come at once the second would be passed on by the load of the first.
            let candidate = place.candidate(now);
            Some(Neighbour { candidate, seed: place.seed, is_companion: self.keys.whereabouts(wish.key).is(place.seed) })
        };
        let chosen = &places[pick_near(places.len(), neighbour, wish, self.rotation.next())?];
        let key = self.keys.note(wish.key, chosen.seed);
        let mut selection = chosen.lease(demand, now);
        if let Some(selection) = &mut selection {
            selection.lease.keep(key);
        }
        Some(selection)
    }
}
