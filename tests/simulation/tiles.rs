//! Requests that belong together: bursts of tiles of one metatile, and a second opinion about where
//! they may go.

use geofront::balance::AFFINITY_OVERFLOW;
use geofront::cluster::UpstreamStatus;
use geofront::ogc::RequestClass;

use crate::ledger::Key;
use crate::oracle::Oracle;
use crate::world::World;

/// Few enough that bursts of one meet.
const METATILES: u64 = 5;
const LONGEST_BURST: u64 = 16;

/// Spread over both halves of the number, as a hash is.
fn number(metatile: u64) -> u64 {
    (metatile + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl World {
    /// Requests neighbouring tiles at once.
    pub(crate) fn pan(&mut self) {
        let metatile = number(self.chance.below(METATILES));
        let user = self.chance.below(3);
        for _ in 0..self.chance.between(1, LONGEST_BURST) {
            self.request_of(user, RequestClass::Tile, Some(metatile));
        }
    }

    /// Returns whether `chosen` of `keys` may take a request of this metatile, and the notable
    /// events that it shows. `full` are candidates too, because the request may join others of its
    /// metatile there.
    pub(crate) fn judge_tile(
        &self,
        oracle: &Oracle<'_>,
        metatile: u64,
        chosen: &Key,
        (keys, full): (&[Key], &[Key]),
    ) -> Option<&'static str> {
        let affinity = self.config.classes[RequestClass::Tile].affinity?;
        let place = oracle.of(chosen);
        let these: Vec<_> = keys.iter().map(|key| oracle.of(key)).collect();
        let all: Vec<_> = these
            .iter()
            .copied()
            .chain(full.iter().map(|key| oracle.of(key)))
            .collect();
        let is_within = |beyond| {
            [&these, &all]
                .into_iter()
                .any(|all| is_within(place, all, affinity.load_percent, beyond))
        };
        if is_within(0) {
            return (keys.len() > 1).then_some("a tile where it belongs");
        }
        assert!(
            self.has_companions(chosen, metatile),
            "{place:?} is beyond its bound of {all:?}, and no tile of {metatile} is there"
        );
        assert!(
            is_within(AFFINITY_OVERFLOW),
            "{place:?} is far beyond its bound of {all:?}"
        );
        Some("a tile beyond the bound with its companions")
    }

    /// True if requests of this metatile are in flight there.
    pub(crate) fn has_companions(&self, key: &Key, metatile: u64) -> bool {
        self.attempts
            .values()
            .filter(|attempt| attempt.is_with_upstream())
            .any(|attempt| attempt.key == *key && attempt.request.metatile == Some(metatile))
    }
}

/// Requests in flight that any upstream of mean weight may have, the new one included.
const ALWAYS: u64 = 2;

/// Returns whether one more at `place`, without counting `beyond`, is allowed: an idle upstream,
/// one with the least load, one with at most `percent` of the mean, or one with at most [`ALWAYS`].
/// During a slow start, the uncertainty of the status counts in favour of the choice, as in
/// `costs_at_most`.
fn is_within(place: &UpstreamStatus, all: &[&UpstreamStatus], percent: u32, beyond: u32) -> bool {
    // The smallest weight shows no ramp.
    let ramps_up =
        |status: &UpstreamStatus| status.effective_weight != status.weight || status.weight == 1;
    let least = |status: &&UpstreamStatus| match u64::from(status.effective_weight) {
        1 if ramps_up(status) => 0,
        weight => weight,
    };
    let most = u64::from(place.effective_weight) + u64::from(ramps_up(place));
    let weight: u64 = all.iter().map(least).sum();
    let in_flight: u64 = 1 + all
        .iter()
        .map(|status| u64::from(status.in_flight))
        .sum::<u64>();
    let here = u64::from(place.in_flight.saturating_sub(beyond)) + 1;
    let has_least = all
        .iter()
        .all(|other| here * least(other) <= (u64::from(other.in_flight) + 1) * most);
    let bound = (u64::from(percent) * in_flight).max(100 * ALWAYS * all.len() as u64);
    here == 1 || has_least || here * weight * 100 <= bound * most
}
