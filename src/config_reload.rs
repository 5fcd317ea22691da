//! file -> Config -> Change -> Control.
//!
//! The file watch, SIGHUP, the API and `geofront reload` all end here and do the same thing: read, validate, compare, and one
//! swap. A file with a mistake, or one that changes what needs a restart, changes nothing: the configuration in force stays.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::cluster::Event;
use crate::config::{Change, Config, Diagnostics, Effective, Environment, Loaded};
use crate::control::Control;
use crate::metrics::{Metrics, RELOAD_REFUSED};

/// How a config reload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// In force; what changed, a line each.
    Applied { revision: u64, changes: Vec<String> },
    /// The file says what is in force already.
    Unchanged { revision: u64 },
    /// The configuration in force stays; why.
    Refused { reason: String },
}

impl ReloadOutcome {
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Unchanged { .. } => "unchanged",
            Self::Refused { .. } => RELOAD_REFUSED,
        }
    }
}

impl fmt::Display for ReloadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied { revision, changes } => write!(f, "revision {revision} is in force: {}", changes.join("; ")),
            Self::Unchanged { revision } => write!(f, "nothing changed: revision {revision} stays in force"),
            Self::Refused { reason } => write!(f, "the configuration in force stays: {reason}"),
        }
    }
}

/// The last one that ended.
#[derive(Clone, Debug)]
pub struct LastReload {
    pub at: Instant,
    pub outcome: ReloadOutcome,
}

/// See the module's documentation.
pub struct ConfigReload {
    path: PathBuf,
    environment: Arc<dyn Environment + Send + Sync>,
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    /// Held for the whole of a reload: one at a time.
    state: Mutex<State>,
    /// Beside the state, so that a look does not wait for a reload.
    last: Mutex<Option<LastReload>>,
}

struct State {
    running: Loaded,
    sources: Sources,
    /// Of the sources when they were last read.
    fingerprint: u64,
}

impl fmt::Debug for ConfigReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigReload").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Reads the configuration for the first time; [`ConfigReload::new`] wants what comes out.
pub fn load(path: &Path, environment: &dyn Environment) -> Result<(Loaded, Sources), Diagnostics> {
    let recorder = Recorder::new(path, environment);
    let loaded = Config::load(path, &recorder)?;
    Ok((loaded, recorder.sources()))
}

impl ConfigReload {
    pub fn new(
        path: PathBuf,
        environment: Arc<dyn Environment + Send + Sync>,
        (running, sources): (Loaded, Sources),
        control: Arc<Control>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let fingerprint = sources.fingerprint(&*environment);
        let state = Mutex::new(State { running, sources, fingerprint });
        Self { path, environment, control, metrics, state, last: Mutex::new(None) }
    }

    /// Reads the files and puts them in force. Blocks: it reads files and resolves names.
    pub fn reload(&self, now: Instant) -> ReloadOutcome {
        let mut state = self.state.lock();
        let recorder = Recorder::new(&self.path, &*self.environment);
        let outcome = match Config::load(&self.path, &recorder) {
            Ok(loaded) => self.apply(&mut state, loaded, now),
            Err(diagnostics) => ReloadOutcome::Refused { reason: diagnostics.to_string() },
        };
        state.sources = recorder.sources();
        state.fingerprint = state.sources.fingerprint(&*self.environment);
        drop(state);
        self.tell(&outcome);
        *self.last.lock() = Some(LastReload { at: now, outcome: outcome.clone() });
        outcome
    }

    fn apply(&self, state: &mut State, loaded: Loaded, now: Instant) -> ReloadOutcome {
        match Change::between(&state.running, &loaded) {
            Change::Unchanged => ReloadOutcome::Unchanged { revision: self.control.snapshot().revision },
            Change::NeedsRestart(keys) => ReloadOutcome::Refused {
                reason: format!("{} cannot change while geofront runs: restart it, or take the change back", keys.join(", ")),
            },
            Change::Live(changes) => {
                self.control.handle(Event::Configured(Arc::new(loaded.config.clone())), now);
                self.metrics.keep_upstreams(loaded.config.upstreams.iter().map(|upstream| &upstream.name));
                state.running = loaded;
                ReloadOutcome::Applied { revision: self.control.snapshot().revision, changes }
            }
        }
    }

    fn tell(&self, outcome: &ReloadOutcome) {
        self.metrics.config_reloaded(outcome.label());
        match outcome {
            ReloadOutcome::Applied { revision, changes } => {
                tracing::info!(config = "applied", revision, changes = changes.join("; "));
            }
            ReloadOutcome::Unchanged { revision } => tracing::info!(config = "unchanged", revision),
            ReloadOutcome::Refused { reason } => tracing::error!(config = "refused", reason),
        }
    }

    pub fn last(&self) -> Option<LastReload> {
        self.last.lock().clone()
    }

    /// Every key in force, with where its value came from; secrets masked.
    pub fn effective(&self) -> Vec<Effective> {
        self.state.lock().running.effective.clone()
    }

    /// The folders in which an edit can show.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        self.state.lock().sources.directories()
    }

    /// What the files hold now; blocks, because it reads them.
    pub fn fingerprint(&self) -> u64 {
        let sources = self.state.lock().sources.clone();
        sources.fingerprint(&*self.environment)
    }

    /// What they held when they were last read, well or not.
    pub fn known_fingerprint(&self) -> u64 {
        self.state.lock().fingerprint
    }
}

/// Everything of the file system that a configuration was made of, missing files included.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: BTreeSet<PathBuf>,
    /// Listed for includes: a new file there counts.
    folders: BTreeSet<PathBuf>,
}

impl Sources {
    /// Of the content, not of times: editors, Ansible and Kubernetes all leave different traces, but the same text.
    fn fingerprint(&self, environment: &dyn Environment) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in &self.files {
            environment.read(file).map_err(|error| error.kind().to_string()).hash(&mut hasher);
        }
        for folder in &self.folders {
            let mut listed = environment.list(folder).unwrap_or_default();
            listed.sort();
            listed.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Kubernetes swaps a link in the folder that holds the linked folder, so where links lead counts too.
    fn directories(&self) -> BTreeSet<PathBuf> {
        let parents = self.files.iter().filter_map(|file| file.parent());
        let named = parents.map(Path::to_owned).chain(self.folders.iter().cloned());
        let named: BTreeSet<PathBuf> =
            named.map(|folder| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder }).collect();
        let real = self.files.iter().filter_map(|file| file.canonicalize().ok()?.parent().map(Path::to_owned));
        named.into_iter().chain(real).collect()
    }
}

/// An environment that remembers what was looked at.
struct Recorder<'e> {
    environment: &'e dyn Environment,
    seen: Mutex<Sources>,
}

impl<'e> Recorder<'e> {
    fn new(path: &Path, environment: &'e dyn Environment) -> Self {
        let seen = Sources { files: BTreeSet::from([path.to_owned()]), folders: BTreeSet::new() };
        Self { environment, seen: Mutex::new(seen) }
    }

    fn sources(self) -> Sources {
        self.seen.into_inner()
    }
}

impl Environment for Recorder<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.seen.lock().files.insert(path.to_owned());
        self.environment.read(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.seen.lock().folders.insert(folder.to_owned());
        self.environment.list(folder)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.environment.variable(name)
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
        self.environment.resolve(host, port)
    }

    fn cores(&self) -> NonZeroUsize {
        self.environment.cores()
    }
}

/// The machine we run on.
#[derive(Clone, Copy, Debug)]
pub struct RealEnvironment;

impl Environment for RealEnvironment {
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// The lowest of its addresses: name servers give them in any order, and another address is another upstream.
    fn resolve(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let lowest = (bare, port).to_socket_addrs()?.min_by_key(|address| (address.is_ipv6(), *address));
        lowest.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }

    fn cores(&self) -> NonZeroUsize {
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }
}
