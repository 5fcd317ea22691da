//! Notices edits of the configuration, however they are written.
//!
//! File system events only trigger a check; the content of all files decides. So a rename, a write
//! in place, vim's backups, Ansible's move and Kubernetes' swapped link are treated alike. Where no
//! events come (NFS, a single file mounted into a container, too many watches), the check every
//! [`POLL`] finds the edit. A file is read once two successive checks find the same content, so a
//! half-written file is not taken for a complete one.
//!
//! A check reads the files, which causes events too. Events of mere reads are ignored, or each
//! check would cause the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::folder_watch::FolderWatch;
use crate::config_reload::ConfigReload;

/// Interval between checks without an event. Even there an edit is in force within a second.
const POLL: Duration = Duration::from_millis(500);

/// Pause between checks, however many events come: the folder may also hold a busy log.
const PAUSE: Duration = Duration::from_millis(50);

/// Time between two checks that must agree.
const SETTLE: Duration = Duration::from_millis(60);

/// After this many checks a file that keeps changing is read all the same.
const MAX_CHECKS: usize = 8;

/// Watches until `shutdown` turns true.
pub async fn watch(reload: Arc<ConfigReload>, mut shutdown: watch::Receiver<bool>) {
    let (mut folders, mut events) = FolderWatch::new();
    loop {
        let sources = Arc::clone(&reload);
        if let Ok(wanted) = tokio::task::spawn_blocking(move || sources.folders()).await {
            for (folder, error) in folders.follow(wanted) {
                tracing::debug!(folder = %folder.display(), %error, "no events from this folder: it is polled");
            }
        }
        tokio::select! {
            _ = shutdown.changed() => return,
            Some(()) = events.recv() => tokio::time::sleep(PAUSE).await,
            () = tokio::time::sleep(POLL) => {}
        }
        if is_edited(&reload).await {
            let reload = Arc::clone(&reload);
            let reloaded = tokio::task::spawn_blocking(move || reload.reload(Instant::now())).await;
            if let Err(error) = reloaded {
                tracing::error!(%error, "the config reload ended without an outcome");
            }
        }
    }
}

/// True if the files differ from their last reading and no longer change.
async fn is_edited(reload: &Arc<ConfigReload>) -> bool {
    let mut before = fingerprint(reload).await;
    if before == Some(reload.known_fingerprint()) {
        return false;
    }
    for _ in 0..MAX_CHECKS {
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
    tokio::task::spawn_blocking(move || reload.fingerprint())
        .await
        .ok()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::num::NonZeroUsize;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::Environment;
    use crate::config_reload::{self, RealEnvironment, SharedEnvironment};
    use crate::control::Control;
    use crate::metrics::Metrics;

    /// Counts the reads of a file.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Environment for Counting {
        fn read(&self, path: &Path) -> io::Result<String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            RealEnvironment.read(path)
        }

        fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
            RealEnvironment.list(folder)
        }

        fn variable(&self, _name: &str) -> Option<String> {
            None
        }

        fn resolve(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
            RealEnvironment.resolve(host, port)
        }

        fn cores(&self) -> NonZeroUsize {
            NonZeroUsize::MIN
        }
    }

    /// The number of reads of the configuration during `time`, while `meanwhile` runs in its
    /// folder.
    async fn reads_in(time: Duration, meanwhile: impl AsyncFn(&Path)) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("geofront.toml");
        let text = "[upstreams.main]\nurl = \"http://127.0.0.1:1\"\nrole = \"main\"\n[upstreams.a]\nurl = \"http://127.0.0.1:2\"\n";
        std::fs::write(&path, text).unwrap();
        let environment = Arc::new(Counting::default());
        let shared: SharedEnvironment = Arc::<Counting>::clone(&environment);
        let first = config_reload::load(&path, &shared).unwrap();
        let control = Control::new(Arc::new(first.loaded.config.clone()), Instant::now());
        let reload = ConfigReload::new(first, control, Metrics::new());
        let (_stop, stopped) = watch::channel(false);
        let before = environment.0.load(Ordering::Relaxed);
        let watching = watch(Arc::new(reload), stopped);
        tokio::time::timeout(time, async {
            tokio::join!(watching, meanwhile(folder.path()))
        })
        .await
        .ok();
        environment.0.load(Ordering::Relaxed) - before
    }

    const WHILE: Duration = Duration::from_millis(1300);

    /// A check opens the file, which is an event too.
    #[tokio::test]
    async fn a_check_does_not_cause_the_next() {
        let reads = reads_in(WHILE, async |_| {}).await;
        assert!(
            (1..=4).contains(&reads),
            "{reads} reads in {WHILE:?}, with {POLL:?} between two"
        );
    }

    #[tokio::test]
    async fn a_busy_folder_does_not_keep_us_busy() {
        let writes = async |folder: &Path| {
            for line in 0.. {
                std::fs::write(folder.join("access.log"), line.to_string()).unwrap();
                tokio::task::yield_now().await;
            }
        };
        let reads = reads_in(WHILE, writes).await;
        assert!(
            (2..=30).contains(&reads),
            "{reads} reads in {WHILE:?}, with {PAUSE:?} between two"
        );
    }
}
