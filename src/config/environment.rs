//! The parts of the outside world that a configuration depends on.
//!
//! Parsing does no I/O of its own. Files, names and variables come through this trait, so a whole
//! configuration can be tested in memory.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::defaults::MAX_FILE_BYTES;

/// Access to files, variables, names and the machine.
pub trait Environment {
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The files of a folder in any order, without subfolders.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// The address to use for a host name. While the name keeps the same addresses in any order,
    /// the result must stay the same: another address is another upstream.
    fn resolve(&self, host: &str, port: u16) -> io::Result<SocketAddr>;

    /// The number of cores that this process may use.
    fn cores(&self) -> NonZeroUsize;
}

/// The text of a file, unless it is larger than any configuration.
pub(super) fn read_bounded(environment: &dyn Environment, path: &Path) -> Result<String, String> {
    let text = environment.read(path).map_err(|error| plain(&error))?;
    if text.len() > MAX_FILE_BYTES {
        return Err(TOO_LARGE.to_owned());
    }
    Ok(text)
}

/// The reason why a file that does not exist could not be read.
pub(super) const NO_SUCH_FILE: &str = "there is no such file";

/// The reason why a file could not be read that is for other users.
pub(super) const NOT_ALLOWED: &str = "geofront may not read it";

/// The reason why a file could not be read that is larger than [`MAX_FILE_BYTES`].
const TOO_LARGE: &str = "it is larger than 1 MiB";

/// The reason why a file could not be read, in plain words.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => NO_SUCH_FILE.to_owned(),
        io::ErrorKind::PermissionDenied => NOT_ALLOWED.to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::FileTooLarge => TOO_LARGE.to_owned(),
        // The environment knows the line.
        io::ErrorKind::InvalidData => format!("it is not text in UTF-8: {error}"),
        _ => error.to_string(),
    }
}

/// An environment in memory, for tests and the demo.
#[derive(Clone, Debug)]
pub struct MapEnvironment {
    files: BTreeMap<PathBuf, String>,
    variables: BTreeMap<String, String>,
    hosts: BTreeMap<String, IpAddr>,
    cores: NonZeroUsize,
}

impl MapEnvironment {
    /// Creates an environment with only the host `localhost` and two cores.
    pub fn new() -> Self {
        Self {
            files: BTreeMap::new(),
            variables: BTreeMap::new(),
            hosts: BTreeMap::from([("localhost".to_owned(), IpAddr::from([127, 0, 0, 1]))]),
            cores: NonZeroUsize::new(2).expect("2 is not 0"),
        }
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn environment_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the number of cores.
    #[must_use]
    pub fn cores(mut self, cores: NonZeroUsize) -> Self {
        self.cores = cores;
        self
    }

    /// Adds a host name and its address.
    #[must_use]
    pub fn host(mut self, name: &str, address: IpAddr) -> Self {
        self.hosts.insert(name.to_owned(), address);
        self
    }
}

impl Default for MapEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

impl Environment for MapEnvironment {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let found: Vec<_> = self
            .files
            .keys()
            .filter(|path| path.parent() == Some(folder))
            .cloned()
            .collect();
        if found.is_empty() {
            Err(io::ErrorKind::NotFound.into())
        } else {
            Ok(found)
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
        let address = self.hosts.get(host).ok_or(io::ErrorKind::NotFound)?;
        Ok(SocketAddr::new(*address, port))
    }

    fn cores(&self) -> NonZeroUsize {
        self.cores
    }
}
