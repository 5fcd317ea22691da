//! Records all files of a configuration, and computes their fingerprint.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::SharedEnvironment;
use super::names::{Name, Names};
use crate::config::Environment;

/// The files and folders of a configuration, including missing files.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchedPaths {
    files: BTreeSet<PathBuf>,
    /// Folders that were listed for includes: a new file in them counts.
    folders: BTreeSet<PathBuf>,
}

impl WatchedPaths {
    /// A hash of the contents, not of the times: editors, Ansible and Kubernetes leave different
    /// traces, but the same text.
    pub(super) fn fingerprint(&self, environment: &dyn Environment) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in &self.files {
            environment
                .read(file)
                .map_err(|error| error.kind().to_string())
                .hash(&mut hasher);
        }
        for folder in &self.folders {
            let mut listed = environment.list(folder).unwrap_or_default();
            listed.sort();
            listed.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The folders to watch. Kubernetes swaps a link in the folder that holds the linked folder, so
    /// the targets of links count, too.
    pub(super) fn directories(&self) -> BTreeSet<PathBuf> {
        let parents = self.files.iter().filter_map(|file| file.parent());
        let named = parents
            .map(Path::to_owned)
            .chain(self.folders.iter().cloned());
        let named: BTreeSet<PathBuf> = named
            .map(|folder| {
                if folder.as_os_str().is_empty() {
                    PathBuf::from(".")
                } else {
                    folder
                }
            })
            .collect();
        let real = self
            .files
            .iter()
            .filter_map(|file| file.canonicalize().ok()?.parent().map(Path::to_owned));
        named.into_iter().chain(real).collect()
    }
}

/// An environment that reads every file once: a second read returns the same text, even if the file
/// was edited meanwhile. Names are only recorded until they were looked up.
pub(super) struct Recorder {
    environment: SharedEnvironment,
    seen: Mutex<Seen>,
    /// `None` while names are only recorded.
    names: Option<Arc<Names>>,
}

/// A result whose error can be cloned.
type Kept<T> = Result<T, (io::ErrorKind, String)>;

struct Seen {
    texts: BTreeMap<PathBuf, Kept<String>>,
    lists: BTreeMap<PathBuf, Kept<Vec<PathBuf>>>,
    names: BTreeSet<Name>,
}

impl Recorder {
    pub(super) fn new(environment: SharedEnvironment) -> Self {
        let seen = Seen {
            texts: BTreeMap::new(),
            lists: BTreeMap::new(),
            names: BTreeSet::new(),
        };
        Self {
            environment,
            seen: Mutex::new(seen),
            names: None,
        }
    }

    /// The names that parsing tried to resolve.
    pub(super) fn noted(&self) -> BTreeSet<Name> {
        self.seen.lock().names.clone()
    }

    /// Answers names from now on.
    pub(super) fn answering(&mut self, names: &Arc<Names>) {
        self.names = Some(Arc::clone(names));
    }

    pub(super) fn sources(&self) -> WatchedPaths {
        let seen = self.seen.lock();
        WatchedPaths {
            files: seen.texts.keys().cloned().collect(),
            folders: seen.lists.keys().cloned().collect(),
        }
    }
}

fn keep<T>(result: io::Result<T>) -> Kept<T> {
    result.map_err(|error| (error.kind(), error.to_string()))
}

fn give<T: Clone>(kept: &Kept<T>) -> io::Result<T> {
    kept.clone()
        .map_err(|(kind, text)| io::Error::new(kind, text))
}

impl Environment for Recorder {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut seen = self.seen.lock();
        give(
            seen.texts
                .entry(path.to_owned())
                .or_insert_with(|| keep(self.environment.read(path))),
        )
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut seen = self.seen.lock();
        give(
            seen.lists
                .entry(folder.to_owned())
                .or_insert_with(|| keep(self.environment.list(folder))),
        )
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.environment.variable(name)
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
        match &self.names {
            Some(names) => names.answer(host, port),
            None => {
                self.seen.lock().names.insert(Name {
                    host: host.to_owned(),
                    port,
                });
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }

    fn cores(&self) -> NonZeroUsize {
        self.environment.cores()
    }
}
