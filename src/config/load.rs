//! Loads a configuration from its path: reads all included files into [`Loaded`], or reports all
//! problems.

use std::path::{Path, PathBuf};

use super::defaults::MAX_INCLUDED;
use super::diagnostics::{Diagnostics, Problem};
use super::document::{self, FileKind};
use super::environment::{Environment, NO_SUCH_FILE, read_bounded};
use super::loaded::Loaded;
use super::raw::Raw;
use super::source::{FileId, Sources};
use super::value::{Reading, Written};
use super::{Config, include, validate};

impl Config {
    /// Reads the file at `path` and the files that it includes.
    pub fn load(path: &Path, environment: &dyn Environment) -> Result<Loaded, Diagnostics> {
        Self::load_over(path, environment, None)
    }

    /// Reads a configuration that is to replace `running`, whose certificates stay in use where
    /// their files can no longer be used.
    pub fn load_over(
        path: &Path,
        environment: &dyn Environment,
        running: Option<&Self>,
    ) -> Result<Loaded, Diagnostics> {
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
        validate::validate(raw, sources, problems, environment, running)
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
                self.parse(file, FileKind::First)
            }
            Err(why) => {
                let problem = Problem::new(format!("cannot read {}: {why}", path.display()));
                let is_missing = why == NO_SUCH_FILE;
                self.problems.push(if is_missing {
                    problem.help(
                        "`geofront check FILE` and `geofront run --config FILE` read another file; \
                         docs/configuration.md has the smallest one",
                    )
                } else {
                    problem
                });
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
