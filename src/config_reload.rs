//! Config reloads: from the files to a configuration in force.
//!
//! The file watch, SIGHUP, the API and `geofront reload` all do the same: read, validate, compare,
//! and swap once. If the files have a mistake, or change a key that needs a restart, nothing
//! changes and the configuration in force stays.

mod names;
mod recorder;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use parking_lot::Mutex;

use crate::cluster::Event;
use crate::config::{
    Change, Config, Diagnostics, Effective, Environment, Loaded, MAX_FILE_BYTES, RestartKey,
    UpstreamConfig, UpstreamName,
};
use crate::control::Control;
use crate::metrics::{Metrics, RELOAD_REFUSED};
use names::{Name, Names};
use recorder::{Recorder, WatchedPaths};

/// How long a file that is a pipe may take.
const PIPE_PATIENCE: Duration = Duration::from_secs(2);
/// Between two reads of a pipe.
const PIPE_PAUSE: Duration = Duration::from_millis(5);

/// The outcome of a config reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The new configuration is in force; one line per change.
    Applied { revision: u64, changes: Vec<String> },
    /// The files equal the configuration in force.
    Unchanged { revision: u64 },
    /// The configuration in force stays, for this reason.
    Refused { reason: String },
}

impl ReloadOutcome {
    /// True if the configuration in force stays because the new one cannot be applied.
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
            Self::Applied { revision, changes } => {
                write!(f, "revision {revision} is in force: {}", changes.join("; "))
            }
            Self::Unchanged { revision } => {
                write!(f, "nothing changed: revision {revision} stays in force")
            }
            Self::Refused { reason } => write!(f, "the configuration in force stays: {reason}"),
        }
    }
}

/// The last config reload.
#[derive(Clone, Debug)]
pub struct LastConfigReload {
    pub at: Instant,
    pub outcome: ReloadOutcome,
}

/// The last change of the configuration while the process ran.
#[derive(Clone, Debug)]
pub struct LastConfigChange {
    pub at: Instant,
    /// One line per change.
    pub changes: Vec<String>,
}

/// The environment of a configuration, shared by everything that reads it.
pub type SharedEnvironment = Arc<dyn Environment + Send + Sync>;

/// Time for which a start or a config reload waits for name servers. Later answers are used when
/// they arrive.
const PATIENCE: Duration = Duration::from_secs(3);

/// The configuration at the start: its files are read, its host names are not looked up yet.
pub struct FirstRead {
    path: PathBuf,
    /// The cluster of the front file at `path`; `None` for the file itself.
    cluster: Option<UpstreamName>,
    /// The clusters of a front file, in the order of their names.
    clusters: Vec<Self>,
    environment: SharedEnvironment,
    /// Parsed without addresses.
    parsed: Loaded,
    recorder: Recorder,
}

/// The configuration at the start, with its host names looked up.
pub struct FirstLoad {
    pub loaded: Loaded,
    /// The clusters of a front file, in the order of their names.
    pub clusters: Vec<Self>,
    path: PathBuf,
    cluster: Option<UpstreamName>,
    environment: SharedEnvironment,
    sources: WatchedPaths,
    fingerprint: u64,
    names: Arc<Names>,
}

impl FirstRead {
    /// Reads the files of the configuration, and those of its clusters.
    pub fn new(path: &Path, environment: &SharedEnvironment) -> Result<Self, Diagnostics> {
        let mut front = Self::of(path, None, environment)?;
        let mut problems: Option<Diagnostics> = None;
        for entry in front.config().clusters.entries().to_vec() {
            match Self::of(path, Some(entry.name), environment) {
                Ok(cluster) => front.clusters.push(cluster),
                Err(more) => {
                    problems = Some(match problems {
                        Some(problems) => problems.and(more),
                        None => more,
                    });
                }
            }
        }
        problems.map_or(Ok(()), Err)?;
        Loaded::check_side_by_side(front.clusters.iter().map(|cluster| &cluster.parsed))?;
        Ok(front)
    }

    fn of(
        path: &Path,
        cluster: Option<UpstreamName>,
        environment: &SharedEnvironment,
    ) -> Result<Self, Diagnostics> {
        let recorder = Recorder::new(Arc::clone(environment));
        let name = cluster.as_ref().map(UpstreamName::as_str);
        Ok(Self {
            path: path.to_owned(),
            parsed: Config::load_over(path, name, &recorder, None)?,
            cluster,
            clusters: Vec::new(),
            environment: Arc::clone(environment),
            recorder,
        })
    }

    /// The configuration, in which upstreams may lack their addresses.
    pub fn config(&self) -> &Config {
        &self.parsed.config
    }

    /// Looks host names up. Blocks, for name servers at most some seconds.
    pub fn look_up(self) -> Result<FirstLoad, Diagnostics> {
        let names = Names::new(Arc::clone(&self.environment));
        let clusters = self.clusters.into_iter().map(Self::look_up);
        let clusters = clusters.collect::<Result<_, _>>()?;
        let place = ConfigPlace {
            path: &self.path,
            cluster: self.cluster.as_ref(),
        };
        let (loaded, recorder) = resolved(place, Ok(self.parsed), self.recorder, &names, None);
        let sources = recorder.sources();
        Ok(FirstLoad {
            loaded: loaded?,
            clusters,
            path: self.path,
            cluster: self.cluster,
            environment: self.environment,
            fingerprint: sources.fingerprint(&recorder),
            sources,
            names,
        })
    }
}

/// Reads the configuration and looks its names up. Blocks, for name servers at most some seconds.
pub fn load(path: &Path, environment: &SharedEnvironment) -> Result<FirstLoad, Diagnostics> {
    FirstRead::new(path, environment)?.look_up()
}

/// The place of a configuration.
#[derive(Clone, Copy)]
struct ConfigPlace<'p> {
    path: &'p Path,
    /// The cluster of the front file at `path`.
    cluster: Option<&'p UpstreamName>,
}

impl ConfigPlace<'_> {
    fn load(
        self,
        environment: &dyn Environment,
        running: Option<&Config>,
    ) -> Result<Loaded, Diagnostics> {
        let cluster = self.cluster.map(UpstreamName::as_str);
        Config::load_over(self.path, cluster, environment, running)
    }
}

/// Looks up the names that parsing requested, and parses again with their addresses. The recorder
/// keeps the texts, so both parse the same.
fn resolved(
    place: ConfigPlace<'_>,
    parsed: Result<Loaded, Diagnostics>,
    mut recorder: Recorder,
    names: &Arc<Names>,
    running: Option<&Config>,
) -> (Result<Loaded, Diagnostics>, Recorder) {
    let noted = recorder.noted();
    if parsed.is_err() || noted.is_empty() {
        return (parsed, recorder);
    }
    names.look_up(&noted, PATIENCE);
    recorder.answering(names);
    (place.load(&recorder, running), recorder)
}

/// Keys that need a restart and are named; more are only counted.
const MAX_RESTART_KEYS: usize = 20;

/// The reason why an edit is refused that changes `keys`.
fn needs_restart(keys: &[RestartKey]) -> String {
    let shown = keys.iter().take(MAX_RESTART_KEYS);
    let shown: Vec<String> = shown.map(RestartKey::to_string).collect();
    let more = match keys.len().saturating_sub(shown.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{}{more} cannot change while geofront runs: restart it, or take the change back; \
         nothing else in this edit of the file is in force either",
        shown.join(", ")
    )
}

/// Puts edits of the configuration in force; see the module's documentation.
pub struct ConfigReload {
    path: PathBuf,
    /// The cluster of the front file at `path`; `None` for the file itself.
    cluster: Option<UpstreamName>,
    environment: SharedEnvironment,
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    names: Arc<Names>,
    /// Held for the whole of a reload or a name look-up: one at a time.
    turn: Mutex<()>,
    /// Never held during reads or look-ups, so that readers of the state do not wait.
    state: Mutex<State>,
    last: Mutex<Option<LastConfigReload>>,
    last_change: Mutex<Option<LastConfigChange>>,
}

struct State {
    running: Loaded,
    sources: WatchedPaths,
    /// The fingerprint of the text that was parsed last.
    fingerprint: u64,
}

impl fmt::Debug for ConfigReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigReload")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ConfigReload {
    /// Takes over the configuration that the process starts with.
    pub fn new(first: FirstLoad, control: Arc<Control>, metrics: Arc<Metrics>) -> Self {
        let FirstLoad {
            loaded: running,
            path,
            cluster,
            environment,
            sources,
            fingerprint,
            names,
            ..
        } = first;
        let state = Mutex::new(State {
            running,
            sources,
            fingerprint,
        });
        Self {
            path,
            cluster,
            environment,
            control,
            metrics,
            names,
            turn: Mutex::new(()),
            state,
            last: Mutex::new(None),
            last_change: Mutex::new(None),
        }
    }

    /// Reads the files and puts them in force. Blocks, because it reads files and looks up names.
    pub fn reload(&self, now: Instant) -> ReloadOutcome {
        let _one_at_a_time = self.turn.lock();
        let recorder = Recorder::new(Arc::clone(&self.environment));
        let running = self.state.lock().running.config.clone();
        let place = ConfigPlace {
            path: &self.path,
            cluster: self.cluster.as_ref(),
        };
        let parsed = place.load(&recorder, Some(&running));
        let (loaded, recorder) = resolved(place, parsed, recorder, &self.names, Some(&running));
        let sources = recorder.sources();
        // The fingerprint is of the text that was parsed: an edit during the name look-up counts as
        // another one.
        let fingerprint = sources.fingerprint(&recorder);
        let outcome = {
            let mut state = self.state.lock();
            (state.sources, state.fingerprint) = (sources, fingerprint);
            match loaded {
                Ok(loaded) => self.apply(&mut state, loaded, now),
                Err(diagnostics) => ReloadOutcome::Refused {
                    reason: diagnostics.to_string(),
                },
            }
        };
        self.report(&outcome);
        if let ReloadOutcome::Applied { changes, .. } = &outcome {
            *self.last_change.lock() = Some(LastConfigChange {
                at: now,
                changes: changes.clone(),
            });
        }
        *self.last.lock() = Some(LastConfigReload {
            at: now,
            outcome: outcome.clone(),
        });
        outcome
    }

    fn apply(&self, state: &mut State, mut loaded: Loaded, now: Instant) -> ReloadOutcome {
        loaded.keep_unconfigured_threads(&state.running);
        match Change::between(&state.running, &loaded) {
            Change::Unchanged => ReloadOutcome::Unchanged {
                revision: self.control.snapshot().revision,
            },
            Change::NeedsRestart(keys) => ReloadOutcome::Refused {
                reason: needs_restart(&keys),
            },
            Change::Live(changes) => {
                self.control
                    .handle(Event::Configured(Arc::new(loaded.config.clone())), now);
                self.metrics.keep_upstreams(
                    loaded
                        .config
                        .upstreams
                        .iter()
                        .map(|upstream| &upstream.name),
                );
                let _of_cluster = self.control.log_span().enter();
                loaded
                    .warnings
                    .iter()
                    .for_each(|warning| tracing::warn!("{warning}"));
                state.running = loaded;
                ReloadOutcome::Applied {
                    revision: self.control.snapshot().revision,
                    changes,
                }
            }
        }
    }

    fn report(&self, outcome: &ReloadOutcome) {
        let _of_cluster = self.control.log_span().enter();
        self.metrics.config_reloaded(outcome.label());
        match outcome {
            ReloadOutcome::Applied { revision, changes } => {
                tracing::info!(config = "applied", revision, changes = changes.join("; "));
            }
            ReloadOutcome::Unchanged { revision } => tracing::info!(config = "unchanged", revision),
            ReloadOutcome::Refused { reason } => tracing::error!(config = "refused", reason),
        }
    }

    /// Repeats the look-up of all host names, and reports changed addresses to the cluster. Blocks
    /// for some seconds at most.
    pub fn look_up_names(&self, now: Instant) {
        let _one_at_a_time = self.turn.lock();
        let upstreams = self.state.lock().running.config.upstreams.clone();
        let looked_up = |upstream: &UpstreamConfig| {
            upstream.lookup().map(|(host, port)| Name {
                host: host.to_owned(),
                port,
            })
        };
        let wanted: BTreeSet<Name> = upstreams.iter().filter_map(looked_up).collect();
        if wanted.is_empty() {
            return;
        }
        self.names.look_up(&wanted, PATIENCE);
        for upstream in &upstreams {
            let Some((host, port)) = upstream.lookup() else {
                continue;
            };
            let answer = self.names.answer(host, port);
            let mut state = self.state.lock();
            let address = state.running.config.address_of(upstream, answer);
            if address != upstream.address
                && (address.known().is_some() || upstream.address.known().is_none())
            {
                state.running.readdress(&upstream.name, &address);
                self.control.handle(
                    Event::Resolved {
                        upstream: upstream.name.clone(),
                        address,
                    },
                    now,
                );
            }
        }
    }

    /// True if an upstream's host name does not resolve.
    pub fn has_unresolved(&self) -> bool {
        self.state
            .lock()
            .running
            .config
            .upstreams
            .iter()
            .any(|upstream| upstream.address.known().is_none())
    }

    /// Returns the last config reload, if there was one.
    pub fn last(&self) -> Option<LastConfigReload> {
        self.last.lock().clone()
    }

    /// Returns the last change of the configuration, if there was one. The file watch is usually
    /// earlier than an operator's order.
    pub fn last_change(&self) -> Option<LastConfigChange> {
        self.last_change.lock().clone()
    }

    /// Every key in force with the origin of its value; secrets are masked.
    pub fn effective(&self) -> Vec<Effective> {
        self.state.lock().running.effective.clone()
    }

    /// The folders in which an edit can appear. Blocks, because it follows links.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let sources = self.state.lock().sources.clone();
        sources.directories()
    }

    /// The fingerprint of the current files. Blocks, because it reads them.
    pub fn fingerprint(&self) -> u64 {
        let sources = self.state.lock().sources.clone();
        sources.fingerprint(&*self.environment)
    }

    /// The fingerprint of the files that were parsed last, valid or not.
    pub fn known_fingerprint(&self) -> u64 {
        self.state.lock().fingerprint
    }
}

/// The real machine.
#[derive(Clone, Copy, Debug)]
pub struct RealEnvironment;

/// Reads everything; what a pipe brings within [`PIPE_PATIENCE`].
fn read_to_end(file: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    let deadline = Instant::now() + PIPE_PATIENCE;
    loop {
        match file.read_to_end(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(|_length| ()),
        }
        if Instant::now() >= deadline {
            let reason = format!("a pipe without an end within {} s", PIPE_PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
        }
        std::thread::sleep(PIPE_PAUSE);
    }
}

impl Environment for RealEnvironment {
    /// Reads no more than a configuration may have: a path that was mistaken, such as a device or a
    /// log, must not fill the memory.
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut bytes = Vec::new();
        let limit = MAX_FILE_BYTES as u64 + 1;
        // A named pipe that nothing writes to would block for ever.
        let options = OFlag::O_NONBLOCK.bits();
        let file = File::options()
            .read(true)
            .custom_flags(options)
            .open(path)?;
        read_to_end(&mut file.take(limit), &mut bytes)?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let reason = format!("the first other byte is in line {line}");
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        // The folder of a file that was named without one.
        let opened = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let entries = std::fs::read_dir(opened)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries
            .into_iter()
            .map(|entry| folder.join(entry.file_name()))
            .filter(|path| path.is_file())
            .collect())
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// Returns the lowest address of the name. Name servers return addresses in any order, and a
    /// different address would be a different upstream.
    fn resolve(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let lowest = (bare, port)
            .to_socket_addrs()?
            .min_by_key(|address| (address.is_ipv6(), *address));
        lowest.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }

    fn cores(&self) -> NonZeroUsize {
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }
}
