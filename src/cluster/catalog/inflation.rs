//! The surplus that a load adds to the update sequence found in the data directory.
//!
//! Stock GeoServer counts up while it loads, once for the global settings and once for each of its
//! services. geOrchestra's does not. A replica's update sequence after its reload is therefore that
//! of the directory plus a surplus, which the cluster's own reloads show.
//!
//! A replica whose update sequence is below the main's plus the least surplus seen has read
//! outdated files, because an NFS client may serve them for a minute.

use std::time::Instant;

/// The least surplus seen.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Inflation {
    least: Option<u64>,
    /// A surplus that counts if the main's update sequence turns out not to have moved meanwhile.
    pending: Option<Pending>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    main: u64,
    surplus: u64,
    /// Time of the query to the replica.
    sent_at: Instant,
}

impl Inflation {
    /// Returns the least update sequence of a replica that has read the directory of the main's
    /// `update_sequence`.
    pub(super) fn expected(&self, update_sequence: u64) -> u64 {
        update_sequence.saturating_add(self.least.unwrap_or(0))
    }

    /// Notes a reload of a replica while the main's update sequence was `main`. The replica
    /// reported `own` to a query sent at `sent_at`.
    pub(super) fn reloaded(&mut self, own: u64, main: u64, sent_at: Instant) {
        let surplus = own.saturating_sub(main);
        self.pending = Some(Pending {
            main,
            surplus,
            sent_at,
        });
    }

    /// Notes that the main reported `update_sequence` to a query sent at `sent_at`.
    pub(super) fn main_read(&mut self, update_sequence: u64, sent_at: Instant) {
        let Some(pending) = self.pending.take_if(|pending| pending.sent_at <= sent_at) else {
            return;
        };
        if pending.main == update_sequence {
            self.least = Some(
                self.least
                    .map_or(pending.surplus, |least| least.min(pending.surplus)),
            );
        }
    }

    /// Forgets the surplus, because the main loads the directory anew or another upstream is the
    /// main. The main's own update sequence may then be inflated too, or no longer.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_least_surplus_counts_once_the_main_has_confirmed_its_number() {
        let (start, mut inflation) = (Instant::now(), Inflation::default());
        inflation.reloaded(18, 10, start);
        assert_eq!(
            inflation.expected(10),
            10,
            "the main may have been edited meanwhile"
        );
        inflation.main_read(10, start + SECOND);
        assert_eq!(inflation.expected(10), 18);
        inflation.reloaded(26, 10, start + SECOND);
        inflation.main_read(10, start + SECOND);
        assert_eq!(
            inflation.expected(20),
            28,
            "a reload that found another's number in the file adds more"
        );
        inflation.forget();
        assert_eq!(inflation.expected(20), 20);
    }

    #[test]
    fn a_surplus_measured_while_the_main_was_edited_does_not_count() {
        let (start, mut inflation) = (Instant::now(), Inflation::default());
        inflation.reloaded(21, 10, start);
        inflation.main_read(13, start + SECOND);
        assert_eq!(inflation.expected(13), 13);
        inflation.reloaded(21, 13, start + SECOND * 3);
        inflation.main_read(13, start + SECOND * 2);
        assert_eq!(
            inflation.expected(13),
            13,
            "an answer to an earlier question confirms nothing"
        );
    }
}
