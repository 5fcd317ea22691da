//! A file that is replaced as a whole whenever its content changes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::whole_file;

/// Time until the next attempt after a failed write.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// Maximum size of a file that is read: ten times the need of a thousand upstreams.
const MAX_BYTES: u64 = 4 << 20;

/// Permissions of the file, less those that the process masks. It holds no secrets.
const PERMISSIONS: u32 = 0o666;

/// The content of a file.
pub(super) trait FileContent: Clone + PartialEq + Send + 'static {
    /// The name of the file in log messages.
    const NAME: &'static str;

    /// Returns the text of the file.
    fn to_text(&self) -> io::Result<String>;
}

/// Writes a file whenever its content changes.
#[derive(Debug, Default)]
pub(super) struct KeptFile<T> {
    /// Locked while writing, so that no older content replaces a newer one.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<FileState<T>>,
}

/// The state of a file, as far as this process knows it.
#[derive(Debug, Default)]
pub(super) struct FileState<T> {
    /// The content on disk.
    pub(super) last: T,
    /// The file that holds it; another one may be configured since.
    path: Option<PathBuf>,
    /// Time of the last write.
    pub(super) written: Option<Instant>,
    /// Time of the last write, if it failed.
    failed: Option<Instant>,
}

impl<T: PartialEq> FileState<T> {
    /// True if the file at `path` has this content.
    pub(super) fn has(&self, path: &Path, content: &T) -> bool {
        self.is_at(path) && self.last == *content
    }

    /// True if the file at `path` is the one that was written last.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.path.as_deref() == Some(path)
    }

    /// True if the last write failed a moment ago.
    pub(super) fn waits_to_retry(&self, now: Instant) -> bool {
        self.failed
            .is_some_and(|at| now.saturating_duration_since(at) < RETRY)
    }
}

impl<T: FileContent> KeptFile<T> {
    /// The file at `path`, which has this content already.
    pub(super) fn with(last: T, path: Option<PathBuf>) -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(FileState {
                last,
                path,
                written: None,
                failed: None,
            }),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, FileState<T>> {
        self.state.lock()
    }

    /// Writes the content if it differs from the file. The first failure in a row is logged; none
    /// has another effect.
    pub(super) async fn keep(&self, path: PathBuf, content: T) {
        let _one_at_a_time = self.turn.lock().await;
        if self.state().has(&path, &content) {
            return;
        }
        let (file, to_write) = (path.clone(), content.clone());
        let replacing = tokio::task::spawn_blocking(move || save(&file, &to_write)).await;
        let Ok(written) = replacing else {
            // The runtime is shutting down.
            return;
        };
        self.note(path, content, written);
    }

    fn note(&self, path: PathBuf, content: T, written: io::Result<()>) {
        let (now, name, shown) = (Instant::now(), T::NAME, path.display().to_string());
        let mut state = self.state();
        let has_failed = state.failed.is_some();
        match written {
            Ok(()) => {
                *state = FileState {
                    last: content,
                    path: Some(path),
                    written: Some(now),
                    failed: None,
                };
                if has_failed {
                    tracing::info!(path = shown, "the {name} is written again");
                }
            }
            Err(error) => {
                state.failed = Some(now);
                if has_failed {
                    tracing::debug!(path = shown, %error, "cannot write the {name}");
                } else {
                    tracing::warn!(path = shown, %error, "cannot write the {name}: a restart of geofront would forget its content");
                }
            }
        }
    }
}

/// Replaces a file as a whole.
pub(super) fn save(path: &Path, content: &impl FileContent) -> io::Result<()> {
    whole_file::replace(path, &content.to_text()?, PERMISSIONS)
}

/// Reads a file; `None` if it does not exist.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    whole_file::read(path, MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    impl FileContent for u32 {
        const NAME: &'static str = "number";

        fn to_text(&self) -> io::Result<String> {
            Ok(self.to_string())
        }
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("number");
        let file = KeptFile::with(1, Some(path.clone()));
        file.keep(path.clone(), 2).await;
        let now = Instant::now();
        assert_eq!(file.state().last, 1, "the file has the old content");
        assert!(file.state().waits_to_retry(now));
        assert!(!file.state().waits_to_retry(now + RETRY));
        fs::create_dir(path.parent().unwrap()).unwrap();
        file.keep(path.clone(), 2).await;
        assert_eq!(read(&path).unwrap().as_deref(), Some("2"));
        assert!(!file.state().waits_to_retry(now));
    }

    #[tokio::test]
    async fn another_file_gets_the_same_content() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let file = KeptFile::with(1, None);
        file.keep(first, 1).await;
        file.keep(second.clone(), 1).await;
        assert_eq!(read(&second).unwrap().as_deref(), Some("1"));
    }
}
