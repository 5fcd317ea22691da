//! The lock beside the state file: of all processes that run, one reloads catalogs and writes the
//! file.
//!
//! While geofront restarts, the old process may finish requests when the new one serves already.
//! The old one holds the lock to its end, because a replica with one of its requests must not be
//! reloaded. The kernel releases the lock of a process that was killed.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::cluster::Hold;
use crate::control::Control;

/// Interval between attempts, and between checks whether another file is configured.
const INTERVAL: Duration = Duration::from_millis(200);

/// The lock of the configured state file.
#[derive(Debug)]
pub(super) struct StateLock {
    /// The state file that the rest is about.
    path: Option<PathBuf>,
    state: FileLock,
    next: Instant,
}

/// The lock beside a file.
#[derive(Debug)]
pub(super) enum FileLock {
    /// There is no file, or its lock cannot be used.
    Without,
    /// This process has it until this value is dropped.
    Held { _until_dropped: Flock<File> },
    /// Another process has it.
    OtherProcess,
}

impl StateLock {
    /// Takes the lock if it is free.
    pub(super) fn new(control: &Control, now: Instant) -> Self {
        let mut lock = Self {
            path: None,
            state: FileLock::Without,
            next: now,
        };
        lock.poll(control, now);
        lock
    }

    /// False while another process has the lock.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self.state, FileLock::OtherProcess)
    }

    /// Returns the time of the next [`Self::poll`].
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// Takes the lock if it is wanted and free, and holds or releases catalog reloads accordingly.
    pub(super) fn poll(&mut self, control: &Control, now: Instant) {
        self.next = now + INTERVAL;
        let path = control.snapshot().config.catalog.state_file.clone();
        if path == self.path && self.is_ours() {
            return;
        }
        let was_ours = self.is_ours();
        // The lock of another file is released before this one is requested.
        self.state = FileLock::Without;
        self.state = path.as_deref().map_or(FileLock::Without, FileLock::take);
        self.path = path;
        if self.is_ours() != was_ours {
            let hold = (!self.is_ours()).then_some(Hold::OtherProcess);
            control.hold_reloads(hold, now);
        }
    }
}

impl FileLock {
    /// Takes the lock beside `file` if it is free.
    pub(super) fn take(file: &Path) -> Self {
        let open = open(file);
        match open.map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock)) {
            Ok(Ok(lock)) => Self::Held {
                _until_dropped: lock,
            },
            Ok(Err((_, Errno::EWOULDBLOCK))) => Self::OtherProcess,
            Ok(Err((_, error))) => without(file, &error.into()),
            Err(error) => without(file, &error),
        }
    }
}

/// A file system without locks costs this protection and has no other effect.
fn without(file: &Path, error: &io::Error) -> FileLock {
    tracing::warn!(file = %file.display(), %error, "cannot lock a file: another geofront with the same file would not be noticed");
    FileLock::Without
}

fn open(file: &Path) -> io::Result<File> {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    // It is never removed: another process may have opened it already.
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(name)
}
