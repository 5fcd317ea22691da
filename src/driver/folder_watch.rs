//! The kernel's events for a changing set of folders, for all watches of files.
//!
//! An event only triggers a check by the caller. Where no events come (NFS, a file mounted into a
//! container, too many watches), callers must check regularly as well.

use std::collections::BTreeSet;
use std::path::PathBuf;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Watches folders, without the folders inside them.
pub(super) struct FolderWatch {
    events: mpsc::Sender<()>,
    folders: BTreeSet<PathBuf>,
    /// `None` while no folder is watched, and where the kernel offers no events.
    watcher: Option<RecommendedWatcher>,
}

impl FolderWatch {
    /// Watches nothing yet. The receiver yields one item for any number of events since the last.
    pub(super) fn new() -> (Self, mpsc::Receiver<()>) {
        let (events, received) = mpsc::channel(1);
        let watch = Self {
            events,
            folders: BTreeSet::new(),
            watcher: None,
        };
        (watch, received)
    }

    /// Watches exactly `folders` from now on. Returns those from which no events will come.
    pub(super) fn follow(&mut self, folders: BTreeSet<PathBuf>) -> Vec<(PathBuf, notify::Error)> {
        if folders == self.folders {
            return Vec::new();
        }
        self.folders = folders;
        self.watcher = None;
        if self.folders.is_empty() {
            return Vec::new();
        }
        let events = self.events.clone();
        let notify_receiver = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_only_a_read(event.kind)) {
                return;
            }
            if events.try_send(()).is_err() {
                // The channel is full, so the receiver will check anyway.
            }
        };
        let mut watcher = match notify::recommended_watcher(notify_receiver) {
            Ok(watcher) => watcher,
            Err(error) => {
                return self
                    .folders
                    .first()
                    .cloned()
                    .map(|folder| (folder, error))
                    .into_iter()
                    .collect();
            }
        };
        let unwatched = self
            .folders
            .iter()
            .filter_map(|folder| {
                let error = watcher.watch(folder, RecursiveMode::NonRecursive).err()?;
                Some((folder.clone(), error))
            })
            .collect();
        self.watcher = Some(watcher);
        unwatched
    }
}

/// True if `event` cannot have changed anything. A read of a file is an event, too: if it counted,
/// each check would cause the next.
fn is_only_a_read(event: EventKind) -> bool {
    match event {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => false,
    }
}
