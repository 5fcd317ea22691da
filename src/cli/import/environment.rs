//! The environment in which an imported configuration is checked: its own text, and the
//! certificates of this machine.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::config::Environment;
use crate::config_reload::RealEnvironment;

/// An environment with one configuration file and the other files of this machine. No name
/// resolves, because the machine of the new front door may know other names than this one.
pub(super) struct ImportEnvironment {
    config: String,
}

impl ImportEnvironment {
    pub(super) fn new(config: &str) -> Self {
        Self {
            config: config.to_owned(),
        }
    }
}

impl Environment for ImportEnvironment {
    fn read(&self, path: &Path) -> io::Result<String> {
        if path == Path::new("geofront.toml") {
            Ok(self.config.clone())
        } else {
            RealEnvironment.read(path)
        }
    }

    fn list(&self, _folder: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn resolve(&self, _host: &str, _port: u16) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn cores(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }
}

/// True if the file can be read here.
pub(super) fn may_read(path: &str) -> bool {
    RealEnvironment.read(Path::new(path)).is_ok()
}
