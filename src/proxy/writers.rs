//! Who changed the catalog just now, and so reads from the main until all replicas have the change.
//!
//! Costs everybody else one look at a counter that is zero almost always. Bounded in number and in time: whoever finds no place
//! reads as everybody does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::who::Key;
use crate::cluster::Ticket;

/// Administrators at work at a time; there are a handful.
const MOST_WRITERS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Writers {
    /// Of `by_key`; written with its lock held.
    count: AtomicUsize,
    by_key: Mutex<HashMap<Key, Written>>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    ticket: Ticket,
    until: Instant,
}

impl Writers {
    /// Remembers a write whose hint has this ticket.
    pub(super) fn note(&self, keys: impl IntoIterator<Item = Key>, ticket: Ticket, now: Instant, limit: Duration) {
        if limit.is_zero() {
            return;
        }
        let mut by_key = self.by_key.lock();
        if by_key.len() >= MOST_WRITERS {
            by_key.retain(|_, written| now < written.until);
        }
        for key in keys {
            if by_key.len() < MOST_WRITERS || by_key.contains_key(&key) {
                by_key.insert(key, Written { ticket, until: now + limit });
            }
        }
        self.count.store(by_key.len(), Ordering::Relaxed);
    }

    /// Nobody needs to be asked who they are.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Whether one of these wrote something that not everybody has yet; forgets those whose time is over.
    pub(super) fn await_their_change(&self, keys: impl IntoIterator<Item = Key>, resolved: Ticket, now: Instant) -> bool {
        let mut by_key = self.by_key.lock();
        let mut awaits = false;
        for key in keys {
            let Some(written) = by_key.get(&key) else { continue };
            if written.ticket > resolved && now < written.until {
                awaits = true;
            } else {
                by_key.remove(&key);
            }
        }
        self.count.store(by_key.len(), Ordering::Relaxed);
        awaits
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderMap;

    use super::super::who::Asker;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn key(last: u8) -> Key {
        let peer = IpAddr::from([192, 0, 2, last]);
        Asker { headers: &HeaderMap::new(), peer, is_trusted: false }.address(|_| false)
    }

    #[test]
    fn a_writer_awaits_the_change_until_it_is_everywhere_and_others_do_not() {
        let (now, writers) = (Instant::now(), Writers::default());
        assert!(writers.is_empty());
        writers.note([key(1)], Ticket(5), now, LIMIT);
        assert!(writers.await_their_change([key(1)], Ticket(4), now));
        assert!(!writers.await_their_change([key(2)], Ticket(4), now));
        assert!(!writers.await_their_change([key(1)], Ticket(5), now));
        assert!(writers.is_empty(), "whose change is everywhere is forgotten");
    }

    #[test]
    fn nobody_awaits_for_ever() {
        let (now, writers) = (Instant::now(), Writers::default());
        writers.note([key(1)], Ticket(5), now, LIMIT);
        assert!(!writers.await_their_change([key(1)], Ticket(0), now + LIMIT));
        writers.note([key(1)], Ticket(6), now, Duration::ZERO);
        assert!(writers.is_empty(), "switched off");
    }

    #[test]
    fn the_number_of_writers_is_bounded_and_those_whose_time_is_over_make_room() {
        let (now, writers) = (Instant::now(), Writers::default());
        let keys = (0..=255).flat_map(|a| (0..=255).map(move |b| Key::of_test(a, b)));
        writers.note(keys, Ticket(1), now, LIMIT);
        assert_eq!(writers.count.load(Ordering::Relaxed), MOST_WRITERS);
        writers.note([key(7)], Ticket(2), now + LIMIT, LIMIT);
        assert!(writers.await_their_change([key(7)], Ticket(1), now + LIMIT));
    }
}
