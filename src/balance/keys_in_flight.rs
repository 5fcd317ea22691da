//! The upstreams at which requests of a key are in flight now, so that others of the same key can
//! join them.
//!
//! This is a hint, not a record. The table has a fixed size, and a key whose entry is taken by
//! another is not noted. Its requests then go where they would have gone without the table. One
//! word holds a whole entry, so nothing is locked. The orderings are relaxed because nothing else
//! is published through it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Entries of the table, of eight bytes each. There are several times as many as different keys in
/// flight at once.
const PLACES: usize = 1024;

/// A table of the keys in flight, see the module's documentation.
#[derive(Debug, Default)]
pub struct KeysInFlight {
    /// The entries, made with the first key. Most snapshots of a cluster without tiles never see
    /// one.
    places: OnceLock<Box<[AtomicU64]>>,
}

/// A key, its upstream, and a count: 32 bits of the key (its index has ten more), 16 bits of the
/// upstream's seed, and the number of requests.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Note(u64);

impl Note {
    const NONE: Self = Self(0);
    const MAX: u64 = 0xffff;

    fn first(key: u64, seed: u64) -> Self {
        Self((key & !0xffff_ffff) | (short(seed) << 16) | 1)
    }

    fn is_of(self, key: u64) -> bool {
        self != Self::NONE && (self.0 ^ key) >> 32 == 0
    }

    fn seed(self) -> u64 {
        (self.0 >> 16) & 0xffff
    }

    fn count(self) -> u64 {
        self.0 & Self::MAX
    }

    /// Counts one request more. Returns `None` when the count is full, or when the entry belongs to
    /// something else.
    fn plus_one(self, key: u64, seed: u64) -> Option<Self> {
        match self {
            Self::NONE => Some(Self::first(key, seed)),
            note => {
                let fits =
                    note.is_of(key) && note.seed() == short(seed) && note.count() < Self::MAX;
                fits.then(|| Self(note.0 + 1))
            }
        }
    }

    fn minus_one(self) -> Self {
        if self.count() <= 1 {
            Self::NONE
        } else {
            Self(self.0 - 1)
        }
    }
}

fn short(seed: u64) -> u64 {
    (seed ^ (seed >> 32)) & 0xffff
}

impl KeysInFlight {
    /// Returns the upstream at which requests of `key` are in flight, as far as it is known.
    pub fn whereabouts(&self, key: u64) -> Whereabouts {
        let note = Note(self.place(key).load(Ordering::Relaxed));
        Whereabouts(note.is_of(key).then(|| note.seed()))
    }

    /// Notes one request of `key` at the upstream of this seed until the result is dropped; `None`
    /// if it cannot be noted.
    pub fn note(self: &Arc<Self>, key: u64, seed: u64) -> Option<KeyInFlight> {
        let noted = |word| Note(word).plus_one(key, seed).map(|note| note.0);
        self.place(key)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, noted)
            .ok()?;
        Some(KeyInFlight {
            keys: Arc::clone(self),
            key,
        })
    }

    fn place(&self, key: u64) -> &AtomicU64 {
        let places = self
            .places
            .get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        &places[key as usize % PLACES]
    }
}

/// The upstream at which a key is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts(Option<u64>);

impl Whereabouts {
    /// True if it is the upstream of this seed. One of 65,536 others is taken for it.
    pub fn is(self, seed: u64) -> bool {
        self.0 == Some(short(seed))
    }
}

/// One request that is noted.
#[derive(Debug)]
pub struct KeyInFlight {
    keys: Arc<KeysInFlight>,
    key: u64,
}

impl Drop for KeyInFlight {
    fn drop(&mut self) {
        let without = |word| Some(Note(word).minus_one().0);
        let before =
            self.keys
                .place(self.key)
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, without);
        debug_assert!(
            before.is_ok_and(|word| Note(word).is_of(self.key)),
            "a place is its key's as long as the key is in flight"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u64 = 0x1234_5678_9abc_def0;

    fn is_empty(keys: &KeysInFlight) -> bool {
        keys.places.get().is_some_and(|places| {
            places
                .iter()
                .all(|place| place.load(Ordering::Relaxed) == 0)
        })
    }

    #[test]
    fn a_key_is_where_it_is_in_flight_and_nowhere_afterwards() {
        let keys = Arc::new(KeysInFlight::default());
        assert!(!keys.whereabouts(KEY).is(7));
        let (first, second) = (keys.note(KEY, 7), keys.note(KEY, 7));
        assert!(keys.whereabouts(KEY).is(7) && !keys.whereabouts(KEY).is(8));
        drop(first);
        assert!(keys.whereabouts(KEY).is(7));
        drop(second);
        assert!(!keys.whereabouts(KEY).is(7));
    }

    #[test]
    fn a_key_is_at_one_upstream_and_its_place_is_not_another_keys() {
        let keys = Arc::new(KeysInFlight::default());
        let _here = keys.note(KEY, 7).unwrap();
        assert!(keys.note(KEY, 8).is_none());
        let of_the_same_place = KEY ^ (1 << 40);
        assert!(keys.note(of_the_same_place, 7).is_none());
        assert!(!keys.whereabouts(of_the_same_place).is(7));
    }

    #[test]
    fn a_place_counts_to_its_end_and_no_further() {
        let keys = Arc::new(KeysInFlight::default());
        let noted: Vec<_> = (0..70_000).filter_map(|_| keys.note(KEY, 7)).collect();
        assert_eq!(noted.len() as u64, Note::MAX);
        drop(noted);
        assert!(is_empty(&keys));
    }

    #[test]
    fn threads_that_come_and_go_leave_nothing_behind() {
        let keys = Arc::new(KeysInFlight::default());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let keys = &keys;
                scope.spawn(move || {
                    (0..5_000_u64).for_each(|n| drop(keys.note((n % 7) << 40, n % 2 + thread)))
                });
            }
        });
        assert!(is_empty(&keys));
    }
}
