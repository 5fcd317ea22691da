//! People who have just changed the catalog. Their reads prefer the main until all replicas have
//! the change.
//!
//! A key must identify a person, see `client/identity.rs`: behind one gateway all users have the
//! gateway's address. A write that the main's update sequence refutes (a login, a form that changed
//! nothing) marks its author until the update sequence is read, which takes milliseconds. All other
//! requests read one counter that is zero almost always. Bounded in number and in time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cluster::{Hint, Ticket, Tickets};
use crate::proxy::client::identity::IdentityHash;

/// Administrators at work at a time; there are a handful.
const MAX_WRITERS: usize = 4096;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::proxy) struct RecentWriters {
    /// Of `by_key`; written with its lock held.
    count: AtomicUsize,
    by_key: Mutex<HashMap<IdentityHash, Written>>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    /// The tickets of their hints, and of others' in between.
    first: Ticket,
    last: Ticket,
    until: Instant,
}

/// A write as it passed by.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct CatalogWrite {
    pub(in crate::proxy) hint: Hint,
    pub(in crate::proxy) ticket: Ticket,
    pub(in crate::proxy) now: Instant,
    /// Maximum time for which its author is remembered.
    pub(in crate::proxy) limit: Duration,
}

impl Written {
    fn is_pending(&self, tickets: Tickets, now: Instant) -> bool {
        now < self.until && tickets.is_pending(self.first, self.last)
    }
}

impl RecentWriters {
    /// Remembers the author of a write. `tickets`: as far as hints are followed up now.
    pub(in crate::proxy) fn note(
        &self,
        keys: impl IntoIterator<Item = IdentityHash>,
        noted: CatalogWrite,
        tickets: Tickets,
    ) {
        let CatalogWrite {
            hint,
            ticket,
            now,
            limit,
        } = noted;
        if limit.is_zero() {
            return;
        }
        let mut by_key = self.by_key.lock();
        if by_key.len() >= MAX_WRITERS {
            by_key.retain(|_, written| written.is_pending(tickets, now));
        }
        let new = Written {
            first: ticket,
            last: ticket,
            until: now + limit,
        };
        for key in keys {
            let before = by_key
                .get(&key)
                .filter(|before| before.is_pending(tickets, now))
                .copied();
            let written = match before {
                // A click may turn out to be nothing, so it does not make the time longer.
                Some(before) if hint == Hint::Ui => Written {
                    last: ticket,
                    ..before
                },
                Some(before) => Written {
                    first: before.first,
                    ..new
                },
                None => new,
            };
            if by_key.len() < MAX_WRITERS || by_key.contains_key(&key) {
                by_key.insert(key, written);
            }
        }
        self.count.store(by_key.len(), Ordering::Relaxed);
    }

    /// Whether no author is remembered, so that no request needs to be identified.
    pub(in crate::proxy) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// True if some replica lacks a write of one of these identities. Forgets the identities whose
    /// writes have reached all replicas.
    pub(in crate::proxy) fn is_pending(
        &self,
        keys: impl IntoIterator<Item = IdentityHash>,
        tickets: Tickets,
        now: Instant,
    ) -> bool {
        let mut by_key = self.by_key.lock();
        let mut awaits = false;
        for key in keys {
            let Some(written) = by_key.get(&key) else {
                continue;
            };
            if written.is_pending(tickets, now) {
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
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn key(last: u8) -> IdentityHash {
        IdentityHash::of_test(0, last)
    }

    fn noted(hint: Hint, ticket: u64, now: Instant) -> CatalogWrite {
        CatalogWrite {
            hint,
            ticket: Ticket(ticket),
            now,
            limit: LIMIT,
        }
    }

    /// Replicas have everything up to `resolved`; the number was read after `answered`; `changed`
    /// was about a change.
    fn tickets(resolved: u64, answered: u64, changed: u64) -> Tickets {
        Tickets {
            resolved: Ticket(resolved),
            answered: Ticket(answered),
            changed: Ticket(changed),
        }
    }

    #[test]
    fn a_writer_awaits_the_change_until_it_is_everywhere_and_others_do_not() {
        let (now, writers) = (Instant::now(), RecentWriters::default());
        assert!(writers.is_empty());
        writers.note([key(1)], noted(Hint::Write, 5, now), tickets(4, 4, 0));
        assert!(writers.is_pending([key(1)], tickets(4, 5, 5), now));
        assert!(!writers.is_pending([key(2)], tickets(4, 5, 5), now));
        assert!(!writers.is_pending([key(1)], tickets(5, 5, 5), now));
        assert!(
            writers.is_empty(),
            "whose change is everywhere is forgotten"
        );
    }

    #[test]
    fn a_write_that_changed_nothing_marks_no_user_while_other_changes_are_rolled_out() {
        let (now, writers) = (Instant::now(), RecentWriters::default());
        writers.note([key(1)], noted(Hint::Ui, 9, now), tickets(4, 8, 5));
        assert!(
            writers.is_pending([key(1)], tickets(4, 8, 5), now),
            "it may be a change until the number is read"
        );
        assert!(!writers.is_pending([key(1)], tickets(4, 9, 5), now));
    }

    #[test]
    fn a_click_after_a_write_neither_hides_the_write_nor_makes_its_time_longer() {
        let (now, writers) = (Instant::now(), RecentWriters::default());
        writers.note([key(1)], noted(Hint::Write, 5, now), tickets(4, 4, 0));
        let later = now + LIMIT / 2;
        writers.note([key(1)], noted(Hint::Ui, 9, later), tickets(4, 8, 5));
        assert!(
            writers.is_pending([key(1)], tickets(4, 9, 5), later),
            "the write is still on its way"
        );
        assert!(!writers.is_pending([key(1)], tickets(4, 9, 5), now + LIMIT));
    }

    #[test]
    fn clicks_without_a_pause_that_change_nothing_mark_no_user_for_long() {
        let (start, writers) = (Instant::now(), RecentWriters::default());
        let marked = (1..=1000).filter(|click| {
            let now = start + Duration::from_millis(50) * *click;
            let ticket = u64::from(*click) + 100;
            writers.note(
                [key(1)],
                noted(Hint::Ui, ticket, now),
                tickets(4, ticket - 1, 5),
            );
            writers.is_pending([key(1)], tickets(4, ticket, 5), now)
        });
        assert_eq!(marked.count(), 0);
    }

    #[test]
    fn no_user_waits_for_a_change_for_ever() {
        let (now, writers) = (Instant::now(), RecentWriters::default());
        writers.note([key(1)], noted(Hint::Write, 5, now), tickets(4, 4, 0));
        assert!(!writers.is_pending([key(1)], tickets(0, 5, 5), now + LIMIT));
        writers.note(
            [key(1)],
            CatalogWrite {
                limit: Duration::ZERO,
                ..noted(Hint::Write, 6, now)
            },
            tickets(4, 4, 0),
        );
        assert!(writers.is_empty(), "switched off");
    }

    #[test]
    fn the_number_of_writers_is_bounded_and_those_whose_time_is_over_make_room() {
        let (now, writers) = (Instant::now(), RecentWriters::default());
        let keys = (0..=255).flat_map(|a| (0..=255).map(move |b| IdentityHash::of_test(a, b)));
        writers.note(keys, noted(Hint::Write, 1, now), Tickets::default());
        assert_eq!(writers.count.load(Ordering::Relaxed), MAX_WRITERS);
        writers.note(
            [key(7)],
            noted(Hint::Write, 2, now + LIMIT),
            Tickets::default(),
        );
        assert!(writers.is_pending([key(7)], Tickets::default(), now + LIMIT));
    }
}
