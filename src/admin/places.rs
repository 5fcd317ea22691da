//! The connections to the admin endpoint, and the choice of one to close when there are too many.
//!
//! A silent connection is never a reason to refuse another. When all places, or all places of one
//! address, are taken, the connection that has been silent longest is closed in favour of the new
//! one. When all of them are being answered, the new one gets a place in the reserve, where only
//! health and readiness are answered. Every client gets such a place at once: the oldest connection
//! there is closed for it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The limits on admin connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections for all purposes.
    pub all: usize,
    /// Share of one address.
    pub per_address: usize,
    /// Additional connections for health and readiness.
    pub reserve: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            all: 256,
            per_address: 128,
            reserve: 32,
        }
    }
}

/// The admin connections; see the module's documentation.
#[derive(Debug)]
pub(super) struct Places {
    capacity: Capacity,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Counts admissions and silences: a smaller number is earlier.
    clock: u64,
    taken: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    address: IpAddr,
    is_reserve: bool,
    /// Time at which it became silent; `None` while it is being answered.
    silent_since: Option<u64>,
    closed: Arc<Notify>,
}

/// The place of a connection; released when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    /// Only health and readiness are answered.
    pub(super) is_reserve: bool,
    closed: Arc<Notify>,
}

impl Places {
    pub(super) fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            table: Mutex::default(),
        })
    }

    /// Takes a place for a new connection, and closes another one for it if necessary.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut table = self.table.lock();
        let is_reserve = !table.makes_room(address, self.capacity);
        if is_reserve && table.count(|taken| taken.is_reserve) >= self.capacity.reserve {
            table.close_first(|taken| taken.is_reserve);
        }
        let id = table.tick();
        let closed = Arc::new(Notify::new());
        let taken = Taken {
            address,
            is_reserve,
            silent_since: Some(id),
            closed: Arc::clone(&closed),
        };
        table.taken.insert(id, taken);
        Place {
            places: Arc::clone(self),
            id,
            is_reserve,
            closed,
        }
    }
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn count(&self, of: impl Fn(&Taken) -> bool) -> usize {
        self.taken.values().filter(|taken| of(taken)).count()
    }

    /// True if an ordinary place is free, or becomes free by closing a silent connection.
    fn makes_room(&mut self, address: IpAddr, capacity: Capacity) -> bool {
        let is_its_own = |taken: &Taken| !taken.is_reserve && taken.address == address;
        if self.count(is_its_own) >= capacity.per_address {
            return self.close_silent(is_its_own);
        }
        self.count(|taken| !taken.is_reserve) < capacity.all
            || self.close_silent(|taken| !taken.is_reserve)
    }

    /// Closes the connection that has been silent longest; false if none is silent.
    fn close_silent(&mut self, of: impl Fn(&Taken) -> bool) -> bool {
        let silent = self
            .taken
            .iter()
            .filter(|(_, taken)| of(taken))
            .filter_map(|(id, taken)| Some((taken.silent_since?, *id)));
        let longest = silent.min();
        longest.is_some_and(|(_, id)| self.close(id))
    }

    fn close_first(&mut self, of: impl Fn(&Taken) -> bool) -> bool {
        let first = self
            .taken
            .iter()
            .find(|(_, taken)| of(taken))
            .map(|(id, _)| *id);
        first.is_some_and(|id| self.close(id))
    }

    fn close(&mut self, id: u64) -> bool {
        let taken = self.taken.remove(&id);
        taken.inspect(|taken| taken.closed.notify_one()).is_some()
    }
}

impl Place {
    /// Resolves when the connection must end in favour of another.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Marks the connection as being answered until the returned value is dropped.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        if let Some(taken) = self.places.table.lock().taken.get_mut(&self.id) {
            taken.silent_since = None;
        }
        Answering(Arc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table.lock().taken.remove(&self.id);
    }
}

/// See [`Place::answering`].
#[derive(Debug)]
pub(super) struct Answering(Arc<Place>);

impl Drop for Answering {
    fn drop(&mut self) {
        let mut table = self.0.places.table.lock();
        let now = table.tick();
        if let Some(taken) = table.taken.get_mut(&self.0.id) {
            taken.silent_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const CAPACITY: Capacity = Capacity {
        all: 4,
        per_address: 3,
        reserve: 2,
    };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn take(places: &Arc<Places>, last: u8, count: usize) -> Vec<Arc<Place>> {
        (0..count)
            .map(|_| Arc::new(places.take(address(last))))
            .collect()
    }

    fn closed(places: &[Arc<Place>]) -> Vec<bool> {
        places
            .iter()
            .map(|place| place.closed().now_or_never().is_some())
            .collect()
    }

    #[test]
    fn an_address_that_has_all_its_places_loses_its_longest_silent_one_to_its_next() {
        let places = Places::new(CAPACITY);
        let (other, mine) = (take(&places, 1, 1), take(&places, 2, 3));
        drop(mine[0].answering());
        let next = places.take(address(2));
        assert!(!next.is_reserve);
        assert_eq!(
            (closed(&mine), closed(&other)),
            (vec![false, true, false], vec![false])
        );
    }

    #[test]
    fn a_new_address_gets_the_place_of_the_longest_silent_one_when_all_are_taken() {
        let places = Places::new(CAPACITY);
        let (first, second) = (take(&places, 1, 2), take(&places, 2, 2));
        let _answering = first[0].answering();
        assert!(!places.take(address(3)).is_reserve);
        assert_eq!(
            (closed(&first), closed(&second)),
            (vec![false, true], vec![false, false])
        );
    }

    #[test]
    fn while_all_connections_are_busy_only_those_of_the_reserve_are_closed() {
        let places = Places::new(CAPACITY);
        let (first, second) = (take(&places, 1, 2), take(&places, 2, 2));
        let answering: Vec<_> = first.iter().chain(&second).map(Place::answering).collect();
        let late = take(&places, 3, 4);
        assert!(late.iter().all(|place| place.is_reserve));
        assert_eq!(closed(&late), [true, true, false, false]);
        assert_eq!(closed(&first), [false, false]);
        drop((answering, late));
        assert!(!places.take(address(3)).is_reserve, "they are silent again");
    }

    #[test]
    fn a_place_is_given_back() {
        let places = Places::new(CAPACITY);
        drop(take(&places, 1, 3));
        let again = take(&places, 1, 3);
        assert!(closed(&again).iter().all(|is_closed| !is_closed));
    }
}
