//! Loads a configuration from its path: reads all included files into [`Loaded`], or reports all
//! problems.

use std::path::{Path, PathBuf};

use super::defaults::MAX_INCLUDED;
use super::diagnostics::{Diagnostics, Problem};
use super::document::{self, FileKind};
use super::environment::{Environment, NO_SUCH_FILE, NOT_ALLOWED, read_bounded};
use super::loaded::Loaded;
use super::parts::{self, Part};
use super::raw::{Raw, Slot};
use super::source::{At, FileId, Sources};
use super::value::{Reading, Written};
use super::{Config, include, validate};

impl Config {
    /// Reads the file at `path` and the files that it includes.
    pub fn load(path: &Path, environment: &dyn Environment) -> Result<Loaded, Diagnostics> {
        Self::load_over(path, None, environment, None)
    }

    /// Reads a configuration that is to replace `running`, whose certificates stay in use where
    /// their files can no longer be used. With the name of a `cluster` it reads that cluster's, by
    /// way of the front file at `path`.
    pub fn load_over(
        path: &Path,
        cluster: Option<&str>,
        environment: &dyn Environment,
        running: Option<&Self>,
    ) -> Result<Loaded, Diagnostics> {
        let mut files = Files::new(environment);
        let mut is_whole = files.read_first(path) && files.read_included(path);
        let part = match cluster {
            Some(name) => {
                is_whole = is_whole && files.read_cluster(path, name);
                Part::Cluster(name)
            }
            None if files.raw.clusters.is_empty() => Part::Whole,
            None => {
                files.problems.extend(parts::misplaced_in_front(&files.raw));
                Part::Front
            }
        };
        let Files {
            sources,
            raw,
            problems,
            ..
        } = files;
        if !is_whole {
            return Err(Diagnostics::new(sources, problems));
        }
        validate::validate(
            validate::ReadFiles {
                raw,
                part,
                sources,
                problems,
            },
            environment,
            running,
        )
    }
}

struct Files<'e> {
    environment: &'e dyn Environment,
    sources: Sources,
    raw: Raw,
    problems: Vec<Problem>,
    /// Number of files before those that `raw` is read from.
    earlier: usize,
}

impl<'e> Files<'e> {
    fn new(environment: &'e dyn Environment) -> Self {
        Self {
            environment,
            sources: Sources::default(),
            raw: Raw::default(),
            problems: Vec::new(),
            earlier: 0,
        }
    }

    fn read_first(&mut self, path: &Path) -> bool {
        match read_bounded(self.environment, path) {
            Ok(text) => {
                let file = self.sources.add(path.to_owned(), text);
                self.parse(file, FileKind::First)
            }
            Err(why) => {
                let problem = Problem::new(format!("cannot read {}: {why}", path.display()));
                let help = match &*why {
                    NO_SUCH_FILE => Some(
                        "`--config FILE` (`geofront check FILE`) names another file; \
                         docs/configuration.md has the smallest one",
                    ),
                    NOT_ALLOWED => Some("root and the user of the service may: try sudo"),
                    _ => None,
                };
                self.problems.push(match help {
                    Some(help) => problem.help(help),
                    None => problem,
                });
                false
            }
        }
    }

    /// Replaces the front file's tables, which were read from `front`, by those of one cluster.
    fn read_cluster(&mut self, front: &Path, name: &str) -> bool {
        let shared = std::mem::take(&mut self.raw);
        let mut entries = shared.clusters.iter();
        let Some(entry) = entries.find(|entry| entry.name.value == name) else {
            let title = format!("there is no [clusters.{name}]");
            self.problems.push(
                Problem::new(title)
                    .at(self.sources.start())
                    .help("restart geofront to end the cluster"),
            );
            return false;
        };
        let (file, path) = (entry.table.file.given(), entry.table.path.given().cloned());
        let Some(file) = file.cloned() else {
            self.problems
                .push(no_file(name, &entry.table.file, entry.name.at));
            return false;
        };
        let folder = self.sources.path(file.at).parent().unwrap_or(front);
        let own_path = folder.join(&file.value);
        self.earlier = self.sources.paths().count();
        let text = match read_bounded(self.environment, &own_path) {
            Ok(text) => text,
            Err(why) => {
                let title = format!("cannot read {}: {why}", own_path.display());
                self.problems.push(Problem::new(title).at(file.at));
                return false;
            }
        };
        let id = self.sources.add(own_path.clone(), text);
        self.sources.begin_with(id);
        let is_whole = self.parse(id, FileKind::First) && self.read_included(&own_path);
        let own = std::mem::take(&mut self.raw);
        self.problems
            .extend(parts::misplaced_in_cluster(&own, name));
        self.problems.extend(two_paths(name, path.as_ref(), &own));
        self.raw = parts::merged(shared, own, path);
        is_whole
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
        let known: Vec<&Path> = self.sources.paths().skip(self.earlier).collect();
        if known.contains(&path) {
            return true;
        }
        if known.len() > MAX_INCLUDED {
            let problem = Problem::new(format!(
                "`include` brings in more than {MAX_INCLUDED} files"
            ));
            self.problems.push(problem.at(pattern.at));
            return false;
        }
        match read_bounded(self.environment, path) {
            Ok(text) => {
                let file = self.sources.add(path.to_owned(), text);
                self.parse(file, FileKind::Included)
            }
            Err(why) => {
                self.problems.push(
                    Problem::new(format!("cannot read {}: {why}", path.display())).at(pattern.at),
                );
                true
            }
        }
    }

    fn parse(&mut self, file: FileId, kind: FileKind) -> bool {
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

/// The problem of an entry whose file is not known.
fn no_file(name: &str, slot: &Slot<String>, at: At) -> Problem {
    let title = if slot.is_absent() {
        format!("cluster `{name}` has no `file`")
    } else {
        format!("the `file` of cluster `{name}` is not known")
    };
    Problem::new(title).at(at)
}

/// A problem if both files name the path of a cluster's clients, and they differ.
fn two_paths(name: &str, front: Option<&Written<String>>, own: &Raw) -> Option<Problem> {
    let (front, own) = (front?, own.geoserver.table.public_path.given()?);
    (front.value != own.value).then(|| {
        let title = format!(
            "`geoserver.public_path` is \"{}\", and `clusters.{name}.path` is \"{}\"",
            own.value.escape_debug(),
            front.value.escape_debug()
        );
        Problem::new(title)
            .at(own.at)
            .label("remove it")
            .help("the front file states where clients find the cluster")
    })
}
