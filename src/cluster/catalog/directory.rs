//! Attribution of changes of the data directory's `global.xml` to the GeoServers of the cluster.
//!
//! The main writes its own update sequence there. Some stock GeoServers write the file when they
//! reload, so a replica's update sequence may stand there as well. Any other value was written by
//! git, rsync or another administrator. It does not move the main's update sequence, and it is a
//! change.
//!
//! No conclusion is drawn before the main and every replica that is up were queried for their
//! update sequences after the change of the file. Nor is one drawn while a replica reloads, because
//! the value that it will write is not known before its reload ends.

use std::time::{Duration, Instant};

use super::main_reload::MainReload;
use super::{CatalogMachine, Hint, Sighting};
use crate::cluster::upstream_state::UpstreamState;
use crate::cluster::upstreams::Upstreams;
use crate::cluster::{Cause, TransitionKind, UpstreamId};
use crate::config::Role;
use crate::health::PollTimer;

/// Attempts to reload the main; afterwards its replicas are reloaded in any case.
const MAIN_RELOAD_TRIES: u32 = 3;
const MAIN_RELOAD_PAUSE: Duration = Duration::from_secs(10);

/// A change found in `global.xml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// The update sequence in the file now.
    pub update_sequence: u64,
    /// The update sequence in the file before.
    pub before: u64,
}

/// A change of the file that is not explained yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::cluster) struct Doubt {
    file: FileChange,
    noticed: Instant,
    /// The epoch at the time of the change.
    epoch: u64,
}

impl FileChange {
    /// True if the update sequence came from a node that reports `reported` now.
    fn is_of(self, reported: Option<u64>) -> bool {
        self.update_sequence != self.before && reported == Some(self.update_sequence)
    }

    /// True if the main wrote it on its way to the update sequence that it reports now.
    fn is_on_the_way_to(self, main: Option<u64>) -> bool {
        self.before < self.update_sequence && main.is_some_and(|main| self.update_sequence < main)
    }
}

impl CatalogMachine {
    pub(super) fn directory_changed(
        &mut self,
        upstreams: &mut Upstreams,
        file: FileChange,
        now: Instant,
    ) {
        let first = self.directory.map_or(file, |pending| pending.file);
        let epoch = self
            .directory
            .map_or_else(|| self.changes.epoch(), |pending| pending.epoch);
        let file = FileChange {
            update_sequence: file.update_sequence,
            before: first.before,
        };
        self.directory = Some(Doubt {
            file,
            noticed: now,
            epoch,
        });
        let (_, change) = self.changes.hint(&Sighting::of(Hint::File, now), now);
        self.note_change(upstreams, change);
        upstreams
            .iter_mut()
            .for_each(|state| state.catalog.reads.hasten(now));
    }

    /// Judges the change of the file, once every update sequence that could explain it is known.
    pub(super) fn judge_directory(&mut self, upstreams: &mut Upstreams, now: Instant) {
        let Some(Doubt {
            file,
            noticed,
            epoch,
        }) = self.directory
        else {
            return;
        };
        let has_answered = |state: &UpstreamState| {
            let catalog = &state.catalog;
            catalog.is_serving() && (!state.is_up() || catalog.own.sent_at() >= Some(noticed))
        };
        let replicas = || {
            upstreams
                .iter()
                .filter(|state| state.upstream.role == Role::Replica)
        };
        if self.changes.sent_at() < Some(noticed) || !replicas().all(has_answered) {
            return;
        }
        let main = self
            .changes
            .update_sequence()
            .filter(|_| self.changes.silent_since().is_none());
        let is_ours = file.is_of(main)
            || replicas().any(|replica| file.is_of(replica.catalog.own.update_sequence()));
        self.directory = None;
        if is_ours || file.is_on_the_way_to(main) || self.changes.epoch() > epoch {
            return;
        }
        let change = self.changes.directory_changed(now);
        self.note_change(upstreams, change);
        if upstreams.config.catalog.reload_main && upstreams.can_reload() {
            upstreams.want_main_reload(MainReload::Wanted { tries: 0, at: now });
        }
    }

    /// Returns true if the main at `at` must receive a reload request now.
    pub(super) fn begin_main_reload(
        &self,
        upstreams: &mut Upstreams,
        at: usize,
        now: Instant,
    ) -> bool {
        let MainReload::Wanted { tries, at: due } = upstreams[at].catalog.main_reload else {
            return false;
        };
        if !upstreams[at].upstream.is_main() || !upstreams[at].is_up() || !upstreams.can_reload() {
            // The main reads the directory when it starts.
            upstreams[at].catalog.main_reload = MainReload::No;
            return false;
        }
        if due > now || !self.changes.is_settled() || self.rolls.hold().is_some() {
            return false;
        }
        let mut call = PollTimer::At(now);
        call.begin(now, upstreams.config.catalog.reload_timeout);
        upstreams[at].catalog.main_reload = MainReload::Running {
            tries,
            began: now,
            call,
        };
        let epoch = self.changes.settled();
        upstreams.report(
            at,
            Some(TransitionKind::ReloadBegan {
                epoch,
                still_running: 0,
            }),
        );
        true
    }

    pub(super) fn main_reloaded(
        &mut self,
        upstreams: &mut Upstreams,
        id: UpstreamId,
        sent_at: Instant,
        outcome: Result<(), Cause>,
        now: Instant,
    ) {
        let Some(at) = upstreams.position(id) else {
            return;
        };
        let MainReload::Running { tries, began, call } = upstreams[at].catalog.main_reload else {
            return;
        };
        if !call.is_answered(sent_at) {
            return;
        }
        let (next, what) = match outcome {
            Ok(()) => (
                MainReload::No,
                TransitionKind::Reloaded {
                    epoch: self.changes.settled(),
                    took: now - began,
                },
            ),
            Err(cause) => {
                let is_last = tries + 1 >= MAIN_RELOAD_TRIES;
                let wanted = MainReload::Wanted {
                    tries: tries + 1,
                    at: now + MAIN_RELOAD_PAUSE,
                };
                let next = if is_last { MainReload::No } else { wanted };
                (
                    next,
                    TransitionKind::ReloadFailed {
                        cause,
                        retry_in: MAIN_RELOAD_PAUSE,
                    },
                )
            }
        };
        upstreams.want_main_reload(next);
        upstreams.report(at, Some(what));
        // A reload moves the update sequence of stock GeoServer. That move belongs to this change.
        self.changes.note_main_reload();
        self.inflation.forget();
        upstreams.main_reads_soon(now);
    }

    /// Gives up a reload of the main that never reported.
    pub(super) fn pass_main_reload_time(
        &mut self,
        upstreams: &mut Upstreams,
        at: usize,
        now: Instant,
    ) {
        if let MainReload::Running { call, .. } = &mut upstreams[at].catalog.main_reload
            && let Some(began) = call.give_up(now)
        {
            let outcome = Err(Cause::Timeout("the catalog reload did not end"));
            let id = upstreams[at].upstream.id;
            self.main_reloaded(upstreams, id, began, outcome, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_explained_by_the_number_that_it_was_changed_to() {
        let moved = FileChange {
            update_sequence: 12,
            before: 10,
        };
        assert!(moved.is_of(Some(12)) && !moved.is_of(Some(13)) && !moved.is_of(None));
        assert!(
            moved.is_on_the_way_to(Some(13))
                && !moved.is_on_the_way_to(Some(11))
                && !moved.is_on_the_way_to(None)
        );
        let edited = FileChange {
            update_sequence: 10,
            before: 10,
        };
        assert!(
            !edited.is_of(Some(10)),
            "no GeoServer changes the file and not its number"
        );
        let restored = FileChange {
            update_sequence: 3,
            before: 10,
        };
        assert!(!restored.is_on_the_way_to(Some(10)));
    }
}
