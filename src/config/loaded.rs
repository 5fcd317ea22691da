//! A configuration, and the origin of each of its values.

use std::path::PathBuf;

use super::effective::DEFAULT;
use super::{Address, Config, Effective, UpstreamName};

/// A configuration and its sources.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Every file that was read, including secrets: a change in any of them can change the
    /// configuration.
    pub files: Vec<PathBuf>,
    /// Every key with its value and the origin of the value, in the order of the documentation.
    /// Secrets are masked.
    pub effective: Vec<Effective>,
    /// Facts that an operator should know although the file is valid: names that do not resolve.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Keeps the number of threads if no file sets it. The default follows the cores, but threads
    /// are created only once.
    pub fn keep_unconfigured_threads(&mut self, running: &Self) {
        let entry_of = |loaded: &Self| {
            loaded
                .effective
                .iter()
                .find(|entry| entry.key == THREADS)
                .cloned()
        };
        let (Some(ours), Some(theirs)) = (entry_of(self), entry_of(running)) else {
            return;
        };
        if ours.origin == DEFAULT && theirs.origin == DEFAULT {
            self.config.threads = running.config.threads;
            self.effective
                .iter_mut()
                .filter(|entry| entry.key == THREADS)
                .for_each(|entry| *entry = theirs.clone());
        }
    }

    /// Sets another address for an upstream.
    pub fn readdress(&mut self, name: &UpstreamName, address: &Address) {
        let key = format!("upstreams.{name}.address");
        self.config
            .upstreams
            .iter_mut()
            .filter(|upstream| upstream.name == *name)
            .for_each(|u| u.address = address.clone());
        self.effective
            .iter_mut()
            .filter(|entry| entry.key == key)
            .for_each(|entry| entry.value = address.to_string());
    }
}

const THREADS: &str = "threads";
