//! Watches the data directory's `global.xml`, for changes of the main that do not come through geofront.
//!
//! GeoServer writes the file beside and renames it, so the folder is watched and not the file; other hosts' writes over NFS
//! send no events, so it is looked at now and then all the same. What counts is the number inside, not the event, and even that
//! only as a reason to ask the main: a stock GeoServer that reloads writes an inflated number.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};

use super::config_watch::only_reads;
use crate::cluster::Hint;
use crate::control::Control;

const FILE: &str = "global.xml";
/// Global settings are a few KiB.
const MAX_BYTES: u64 = 1 << 20;
/// While nothing is to be watched, or the folder is not there.
const IDLE: Duration = Duration::from_secs(1);

/// Watches, as the configuration in force says, until `shutdown` turns true.
pub async fn watch(control: Arc<Control>, mut shutdown: watch::Receiver<bool>) {
    let (changed, mut changes) = mpsc::channel(1);
    let mut watched = Watched::new(changed);
    loop {
        let config = Arc::clone(&control.snapshot().config);
        watched.follow(config.catalog.watch.as_deref());
        if watched.has_moved().await {
            control.hint(Hint::File, Instant::now());
        }
        let pause = if watched.folder.is_some() { config.catalog.poll.min(IDLE) } else { IDLE };
        tokio::select! {
            _ = shutdown.changed() => return,
            Some(()) = changes.recv() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Watched {
    changed: mpsc::Sender<()>,
    folder: Option<PathBuf>,
    /// `None` where there are no events to be had.
    watcher: Option<RecommendedWatcher>,
    /// In the file when last looked at.
    number: Option<u64>,
}

impl Watched {
    fn new(changed: mpsc::Sender<()>) -> Self {
        Self { changed, folder: None, watcher: None, number: None }
    }

    fn follow(&mut self, folder: Option<&Path>) {
        if folder == self.folder.as_deref() {
            return;
        }
        (self.folder, self.watcher, self.number) = (folder.map(Path::to_owned), None, None);
        let Some(folder) = folder else { return };
        let changed = self.changed.clone();
        let tell = move |event: notify::Result<notify::Event>| {
            // Our own look opens the file, too.
            if event.is_ok_and(|event| only_reads(event.kind)) {
                return;
            }
            if changed.try_send(()).is_err() {
                // A look is due anyway.
            }
        };
        self.watcher = notify::recommended_watcher(tell).ok();
        if let Some(Err(error)) = self.watcher.as_mut().map(|watcher| watcher.watch(folder, RecursiveMode::NonRecursive)) {
            tracing::warn!(folder = %folder.display(), %error, "no events from the data directory: it is looked at now and then");
        }
    }

    /// Whether the number is another one than at the last look.
    async fn has_moved(&mut self) -> bool {
        let Some(folder) = self.folder.clone() else { return false };
        let read = tokio::task::spawn_blocking(move || number_in(&folder.join(FILE))).await;
        // A file that is just being written tells its number at the next look.
        let Some(number) = read.ok().flatten() else { return false };
        self.number.replace(number).is_some_and(|before| before != number)
    }
}

fn number_in(file: &Path) -> Option<u64> {
    if std::fs::metadata(file).ok()?.len() > MAX_BYTES {
        return None;
    }
    number_of(&std::fs::read_to_string(file).ok()?)
}

/// `7` of `<updateSequence>7</updateSequence>`.
fn number_of(xml: &str) -> Option<u64> {
    let (_, rest) = xml.split_once("<updateSequence>")?;
    rest.split_once("</updateSequence>")?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, number: u64) {
        let text = format!("<global>\n  <updateSequence>{number}</updateSequence>\n</global>\n");
        let beside = folder.join("global.xml.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, folder.join(FILE)).unwrap();
    }

    #[test]
    fn the_number_is_what_stands_between_its_tags() {
        assert_eq!(number_of("<global><updateSequence>4711</updateSequence></global>"), Some(4711));
        assert_eq!(number_of("<global><updateSequence>47"), None, "half a file tells nothing");
        assert_eq!(number_of("<global/>"), None);
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_is_seen_by_its_event_and_the_same_number_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1);
        let (changed, mut changes) = mpsc::channel(1);
        let mut watched = Watched::new(changed);
        watched.follow(Some(folder.path()));
        assert!(!watched.has_moved().await, "the first number is no change");
        write(folder.path(), 2);
        tokio::time::timeout(Duration::from_secs(10), changes.recv()).await.expect("an event comes");
        assert!(watched.has_moved().await);
        write(folder.path(), 2);
        assert!(!watched.has_moved().await);
    }
}
