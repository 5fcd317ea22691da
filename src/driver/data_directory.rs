//! Watches the data directory's `global.xml` for changes of the main that bypass geofront.
//!
//! GeoServer writes a new file and renames it, so the folder is watched and not the file. Writes of
//! other hosts over NFS send no events, so the file is also polled. The content decides: another
//! update sequence, or the same update sequence with another text. The cluster then determines
//! whether one of its own GeoServers wrote it.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::folder_watch::FolderWatch;
use crate::cluster::{Event, FileChange};
use crate::control::Control;

const FILE: &str = "global.xml";
/// Maximum size of the file. Global settings are a few KiB.
const MAX_BYTES: u64 = 1 << 20;
/// Interval while nothing is watched, or the folder does not exist.
const IDLE: Duration = Duration::from_secs(1);

/// Watches the configured directory until `shutdown` turns true.
pub async fn watch(control: Arc<Control>, mut shutdown: watch::Receiver<bool>) {
    let (mut watched, mut events) = Watched::new();
    loop {
        let config = Arc::clone(&control.snapshot().config);
        watched.follow(config.catalog.watch.as_deref());
        if let Some(change) = watched.change().await {
            control.handle(Event::DirectoryChanged(change), Instant::now());
        }
        let pause = if watched.folder.is_some() {
            config.catalog.poll.min(IDLE)
        } else {
            IDLE
        };
        tokio::select! {
            _ = shutdown.changed() => return,
            Some(()) = events.recv() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Watched {
    events: FolderWatch,
    folder: Option<PathBuf>,
    /// The last content that counted.
    known: Option<Content>,
    /// Another text with the same update sequence, found by the last check. GeoServer writes the
    /// update sequence a moment after the rest.
    edited: Option<Content>,
}

/// The content of the file, for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    update_sequence: u64,
    hash: u64,
}

impl Watched {
    fn new() -> (Self, mpsc::Receiver<()>) {
        let (events, received) = FolderWatch::new();
        let watched = Self {
            events,
            folder: None,
            known: None,
            edited: None,
        };
        (watched, received)
    }

    fn follow(&mut self, folder: Option<&Path>) {
        if folder == self.folder.as_deref() {
            return;
        }
        self.folder = folder.map(Path::to_owned);
        self.known = None;
        self.edited = None;
        for (folder, error) in self.events.follow(self.folder.iter().cloned().collect()) {
            tracing::warn!(folder = %folder.display(), %error, "no events from the data directory: it is polled");
        }
    }

    /// The change of the file since the last check.
    async fn change(&mut self) -> Option<FileChange> {
        let folder = self.folder.clone()?;
        let read = tokio::task::spawn_blocking(move || content_of(&folder.join(FILE))).await;
        // A half-written file has its update sequence at the next check.
        let content = read.ok().flatten()?;
        self.compare(content)
    }

    /// Compares the content with the known one. A new text with the same update sequence counts if
    /// two successive checks find it.
    fn compare(&mut self, content: Content) -> Option<FileChange> {
        let Some(before) = self.known else {
            self.known = Some(content);
            return None;
        };
        let is_new =
            before.update_sequence != content.update_sequence || self.edited == Some(content);
        if before == content || !is_new {
            self.edited = (before != content).then_some(content);
            return None;
        }
        (self.known, self.edited) = (Some(content), None);
        Some(FileChange {
            update_sequence: content.update_sequence,
            before: before.update_sequence,
        })
    }
}

fn content_of(file: &Path) -> Option<Content> {
    if std::fs::metadata(file).ok()?.len() > MAX_BYTES {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    let mut hasher = std::hash::DefaultHasher::new();
    text.hash(&mut hasher);
    Some(Content {
        update_sequence: update_sequence_of(&text)?,
        hash: hasher.finish(),
    })
}

/// Reads `7` from `<updateSequence>7</updateSequence>`.
fn update_sequence_of(xml: &str) -> Option<u64> {
    let (_, rest) = xml.split_once("<updateSequence>")?;
    rest.split_once("</updateSequence>")?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, update_sequence: u64) {
        let text =
            format!("<global>\n  <updateSequence>{update_sequence}</updateSequence>\n</global>\n");
        let beside = folder.join("global.xml.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, folder.join(FILE)).unwrap();
    }

    #[test]
    fn the_update_sequence_is_read_between_its_tags() {
        assert_eq!(
            update_sequence_of("<global><updateSequence>4711</updateSequence></global>"),
            Some(4711)
        );
        assert_eq!(
            update_sequence_of("<global><updateSequence>47"),
            None,
            "half a file is no evidence"
        );
        assert_eq!(update_sequence_of("<global/>"), None);
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_is_seen_by_its_event_and_the_same_number_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1);
        let (mut watched, mut events) = Watched::new();
        watched.follow(Some(folder.path()));
        assert_eq!(
            watched.change().await,
            None,
            "the first number is no change"
        );
        write(folder.path(), 2);
        tokio::time::timeout(Duration::from_secs(10), events.recv())
            .await
            .expect("an event comes");
        assert_eq!(
            watched.change().await,
            Some(FileChange {
                update_sequence: 2,
                before: 1
            })
        );
        write(folder.path(), 2);
        assert_eq!(watched.change().await, None);
    }

    #[tokio::test]
    async fn a_file_edited_in_place_counts_at_the_second_look_although_its_number_stays() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1);
        let (mut watched, _events) = Watched::new();
        watched.follow(Some(folder.path()));
        assert_eq!(watched.change().await, None);
        let edit = |text: &str| {
            std::fs::write(folder.path().join(FILE), format!("<global>{text}</global>")).unwrap()
        };
        edit("<updateSequence>1</updateSequence><title>Maps</title>");
        assert_eq!(
            watched.change().await,
            None,
            "the number may follow in a moment"
        );
        assert_eq!(
            watched.change().await,
            Some(FileChange {
                update_sequence: 1,
                before: 1
            })
        );
        assert_eq!(watched.change().await, None);
        edit("<updateSequence>1</updateSequence><title>More maps</title>");
        assert_eq!(watched.change().await, None);
        edit("<updateSequence>2</updateSequence><title>More maps</title>");
        assert_eq!(
            watched.change().await,
            Some(FileChange {
                update_sequence: 2,
                before: 1
            })
        );
    }
}
