//! Notices edits of the configuration, however they are written.
//!
//! Events of the file system only say when to look; what decides is the content of all files the configuration was made of. So
//! a rename, a write in place, vim's backup dance, Ansible's move and Kubernetes' swapped link are all the same, and where events
//! do not come (NFS, a single file mounted into a container, too many watches) a look every [`POLL`] finds the edit too. A file is
//! read once its content is the same on two looks: one that is still being written is not taken for a short one.
//!
//! A look is itself an event of the file system. What only reads does not wake us, or each look would call for the next.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};

use crate::config_reload::ConfigReload;

/// Between looks without an event. An edit is in force within a second even where events do not come.
const POLL: Duration = Duration::from_millis(500);

/// Between looks, however many events come: the folder may hold a busy log too.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two looks that must agree.
const SETTLE: Duration = Duration::from_millis(60);

/// A file that keeps changing is read after so many looks all the same.
const MOST_LOOKS: usize = 8;

/// Watches until `shutdown` turns true.
pub async fn watch(reload: Arc<ConfigReload>, mut shutdown: watch::Receiver<bool>) {
    let (changed, mut changes) = mpsc::channel(1);
    let mut events = Events::new(changed);
    loop {
        events.follow(reload.folders());
        tokio::select! {
            _ = shutdown.changed() => return,
            Some(()) = changes.recv() => tokio::time::sleep(PAUSE).await,
            () = tokio::time::sleep(POLL) => {}
        }
        if is_edited(&reload).await {
            let reload = Arc::clone(&reload);
            // The outcome is told by the reload itself.
            drop(tokio::task::spawn_blocking(move || reload.reload(Instant::now())).await);
        }
    }
}

/// Whether the files hold something else than when they were last read, and have come to rest.
async fn is_edited(reload: &Arc<ConfigReload>) -> bool {
    let mut before = fingerprint(reload).await;
    if before == Some(reload.known_fingerprint()) {
        return false;
    }
    for _ in 0..MOST_LOOKS {
        tokio::time::sleep(SETTLE).await;
        let after = fingerprint(reload).await;
        if after == before {
            break;
        }
        before = after;
    }
    before != Some(reload.known_fingerprint())
}

async fn fingerprint(reload: &Arc<ConfigReload>) -> Option<u64> {
    let reload = Arc::clone(reload);
    tokio::task::spawn_blocking(move || reload.fingerprint()).await.ok()
}

/// The kernel's events for a changing set of folders.
struct Events {
    changed: mpsc::Sender<()>,
    folders: BTreeSet<PathBuf>,
    /// `None` where there are no events to be had: the poll finds edits.
    watcher: Option<RecommendedWatcher>,
}

impl Events {
    fn new(changed: mpsc::Sender<()>) -> Self {
        Self { changed, folders: BTreeSet::new(), watcher: None }
    }

    fn follow(&mut self, folders: BTreeSet<PathBuf>) {
        if folders == self.folders {
            return;
        }
        let changed = self.changed.clone();
        let tell = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| only_reads(event.kind)) {
                return;
            }
            if changed.try_send(()).is_err() {
                // The channel is full: a look is due anyway.
            }
        };
        self.watcher = notify::recommended_watcher(tell).ok();
        if let Some(watcher) = &mut self.watcher {
            for folder in &folders {
                if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    tracing::debug!(folder = %folder.display(), %error, "no events from this folder: it is polled");
                }
            }
        }
        self.folders = folders;
    }
}

/// Whether nothing can have changed by it.
fn only_reads(event: EventKind) -> bool {
    match event {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => false,
    }
}
