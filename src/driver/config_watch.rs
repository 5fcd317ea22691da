//! Notices edits of the configuration, however they are written.
//!
//! Events of the file system only say when to look; what decides is the content of all files the
//! configuration was made of. So a rename, a write in place, vim's backup dance, Ansible's move and
//! Kubernetes' swapped link are all the same, and where events do not come (NFS, a single file
//! mounted into a container, too many watches) a look every [`POLL`] finds the edit too. A file is
//! read once its content is the same on two looks: one that is still being written is not taken for
//! a short one.
//!
//! A look is itself an event of the file system. What only reads does not wake us, or each look
//! would call for the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::folder_watch::FolderWatch;
use crate::config_reload::ConfigReload;

/// Between looks without an event. An edit is in force within a second even where events do not
/// come.
const POLL: Duration = Duration::from_millis(500);

/// Between looks, however many events come: the folder may hold a busy log too.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two looks that must agree.
const SETTLE: Duration = Duration::from_millis(60);

/// A file that keeps changing is read after so many looks all the same.
const MAX_LOOKS: usize = 8;

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

/// Whether the files hold something else than when they were last read, and have come to rest.
async fn is_edited(reload: &Arc<ConfigReload>) -> bool {
    let mut before = fingerprint(reload).await;
    if before == Some(reload.known_fingerprint()) {
        return false;
    }
    for _ in 0..MAX_LOOKS {
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

    /// Counts how often a file is read.
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

    /// How often the configuration is read in `time`, while `meanwhile` goes on in its folder.
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

    /// A look opens the file, which is an event too.
    #[tokio::test]
    async fn a_look_does_not_call_for_the_next() {
        let reads = reads_in(WHILE, async |_| {}).await;
        assert!(
            (1..=4).contains(&reads),
            "{reads} looks in {WHILE:?}, with {POLL:?} between two"
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
            "{reads} looks in {WHILE:?}, with {PAUSE:?} between two"
        );
    }
}
