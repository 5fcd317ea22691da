//! Loads a configuration from its path: reads all included files into [`Loaded`], or reports all
//! problems.

use std::io;
use std::path::{Path, PathBuf};

use super::defaults::{MAX_FILE_BYTES, MAX_INCLUDED};
use super::diagnostics::{Diagnostics, Problem};
use super::document::{self, Kind};
use super::environment::Environment;
use super::raw::Raw;
use super::source::{FileId, Sources};
use super::validate::DEFAULT;
use super::value::{Reading, Written};
use super::{Address, Config, Effective, UpstreamName, include, validate};

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

impl Config {
    /// Reads the file at `path` and the files that it includes.
    pub fn load(path: &Path, environment: &dyn Environment) -> Result<Loaded, Diagnostics> {
        let mut files = Files {
            environment,
            sources: Sources::default(),
            raw: Raw::default(),
            problems: Vec::new(),
        };
        let is_whole = files.read_first(path) && files.read_included(path);
        let Files {
            sources,
            raw,
            problems,
            ..
        } = files;
        if !is_whole {
            return Err(Diagnostics::new(sources, problems));
        }
        validate::validate(raw, sources, problems, environment)
    }
}

struct Files<'e> {
    environment: &'e dyn Environment,
    sources: Sources,
    raw: Raw,
    problems: Vec<Problem>,
}

impl Files<'_> {
    fn read_first(&mut self, path: &Path) -> bool {
        match read_bounded(self.environment, path) {
            Ok(text) => {
                let file = self.sources.add(path.to_owned(), text);
                self.parse(file, Kind::First)
            }
            Err(why) => {
                self.problems.push(Problem::new(format!(
                    "cannot read {}: {why}",
                    path.display()
                )));
                false
            }
        }
    }

    fn read_included(&mut self, first: &Path) -> bool {
        let patterns = self
            .raw
            .top
            .include
            .given()
            .map(|written| written.value.clone())
            .unwrap_or_default();
        let folder = first.parent().unwrap_or_else(|| Path::new(""));
        let mut is_whole = true;
        for pattern in &patterns {
            for path in self.matching(pattern, folder) {
                is_whole &= self.read_one(&path, pattern);
            }
        }
        is_whole
    }

    fn matching(&mut self, pattern: &Written<String>, folder: &Path) -> Vec<PathBuf> {
        include::matching(&pattern.value, folder, self.environment).unwrap_or_else(|why| {
            self.problems.push(
                Problem::new(format!(
                    "`include` cannot find \"{}\": {why}",
                    pattern.value
                ))
                .at(pattern.at),
            );
            Vec::new()
        })
    }

    fn read_one(&mut self, path: &Path, pattern: &Written<String>) -> bool {
        let read = self.sources.paths().count();
        if self.sources.paths().any(|known| known == path) {
            return true;
        }
        if read > MAX_INCLUDED {
            let problem = Problem::new(format!(
                "`include` brings in more than {MAX_INCLUDED} files"
            ));
            self.problems.push(problem.at(pattern.at));
            return false;
        }
        match read_bounded(self.environment, path) {
            Ok(text) => {
                let file = self.sources.add(path.to_owned(), text);
                self.parse(file, Kind::Included)
            }
            Err(why) => {
                self.problems.push(
                    Problem::new(format!("cannot read {}: {why}", path.display())).at(pattern.at),
                );
                true
            }
        }
    }

    fn parse(&mut self, file: FileId, kind: Kind) -> bool {
        let mut reading = Reading {
            sources: &self.sources,
            file,
            problems: Vec::new(),
            secrets: Vec::new(),
        };
        let is_whole = document::read(kind, &mut self.raw, &mut reading);
        let Reading {
            problems, secrets, ..
        } = reading;
        self.problems.extend(problems);
        for secret in secrets {
            self.sources.hide(secret);
        }
        is_whole
    }
}

/// The text of a file, unless it is larger than any configuration.
pub(super) fn read_bounded(environment: &dyn Environment, path: &Path) -> Result<String, String> {
    let text = environment.read(path).map_err(|error| plain(&error))?;
    if text.len() > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    Ok(text)
}

/// The reason why a file could not be read, in plain words.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "geofront may not read it".to_owned(),
        io::ErrorKind::InvalidData => "it is not text (UTF-8)".to_owned(),
        _ => error.to_string(),
    }
}
