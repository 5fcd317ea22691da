//! Selection for requests that belong together: the tiles of one metatile, which a GeoServer
//! renders at once.
//!
//! A key is any number that they share. Among those who may serve it goes to the first in its own
//! order that is within the bound of its class (`balance/affinity`), and those in flight stay
//! together. A retry goes to the next in the order; the backup, a trial and a class that one place
//! serves are chosen as for everybody.
//!
//! While nobody waits, those of a key may join their companions above the cap of an upstream, at
//! most [`COMPANIONS`] of them. A map of forty tiles finds no replica with forty places, and each
//! that went to another one would have a whole metatile rendered again, where it could have waited
//! for the one that is being made. When somebody waits, nobody passes by on such grounds.

use std::time::Instant;

use super::{Place, Selection, Snapshot, Tried};
use crate::balance::{COMPANIONS, Demand, Neighbour, Wish, pick_near};
use crate::ogc::RequestClass;

/// The wish to be near others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near {
    wish: Wish,
    /// Where they are, even if there is no place left.
    may_join: bool,
}

impl Snapshot {
    /// `None` without a key, and in a class that has no use for it.
    pub(super) fn wish_of(
        &self,
        class: RequestClass,
        key: Option<u64>,
        may_join: bool,
    ) -> Option<Near> {
        let affinity = self.config.classes[class].affinity?;
        Some(Near {
            wish: Wish {
                key: key?,
                load_percent: affinity.load_percent,
            },
            may_join,
        })
    }

    /// As for everybody: `None` if nobody has a place; nothing inside if the chosen one has none
    /// any more.
    pub(super) fn nearest(
        &self,
        places: &[Place],
        demand: Demand,
        near: Near,
        (tried, allowed): (&Tried, &dyn Fn(&Place) -> bool),
        now: Instant,
    ) -> Option<Option<Selection>> {
        let Near { wish, may_join } = near;
        let room = |place: &Place, is_companion| {
            let room = place.room(demand, now);
            if is_companion && may_join {
                room.and(COMPANIONS)
            } else {
                room
            }
        };
        let neighbour = |at: usize| {
            let place = &places[at];
            // The load is read before the note of the key and written after it: whoever sees a
            // companion in the load sees it in the note, too. The other way round, of two that come
            // at once the second would be passed on by the load of the first.
            let candidate = place.candidate(now);
            let is_companion = self.keys.whereabouts(wish.key).is(place.seed);
            let has_room = place.has_room(room(place, is_companion), tried) && allowed(place);
            has_room.then_some(Neighbour {
                candidate,
                seed: place.seed,
                is_companion,
            })
        };
        let chosen = &places[pick_near(places.len(), neighbour, wish, self.rotation.next())?];
        let room = room(chosen, self.keys.whereabouts(wish.key).is(chosen.seed));
        let key = self.keys.note(wish.key, chosen.seed);
        let mut selection = chosen.lease_in(room, demand);
        if let Some(selection) = &mut selection {
            selection.lease.keep(key);
        }
        Some(selection)
    }
}
