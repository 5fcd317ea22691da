//! The steps that all keys share: take the written value or the default, check its range, record
//! its origin.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::diagnostics::{Diagnostics, Problem};
use crate::config::effective::DEFAULT;
use crate::config::environment::Environment;
use crate::config::environment::read_bounded;
use crate::config::loaded::Loaded;
use crate::config::parts::Part;
use crate::config::raw::Slot;
use crate::config::source::{At, Sources};
use crate::config::value::{Show, Written};
use crate::config::{Config, Effective, Secret, UpstreamName};

/// The reason why a file cannot be read whose path is `""`. The folder of the configuration would
/// be read instead.
pub(super) const EMPTY_PATH: &str = "the path of a file is empty";

pub(super) struct Check<'e> {
    pub(super) environment: &'e dyn Environment,
    pub(super) part: Part<'e>,
    pub(super) sources: Sources,
    problems: Vec<Problem>,
    effective: Vec<Effective>,
    files: Vec<PathBuf>,
    warnings: Vec<String>,
}

impl<'e> Check<'e> {
    pub(super) fn new(
        environment: &'e dyn Environment,
        part: Part<'e>,
        sources: Sources,
        problems: Vec<Problem>,
    ) -> Self {
        let files = sources.paths().map(Path::to_owned).collect();
        Self {
            environment,
            part,
            sources,
            problems,
            effective: Vec::new(),
            files,
            warnings: Vec::new(),
        }
    }

    pub(super) fn finish(self, config: Config) -> Result<Loaded, Diagnostics> {
        if self.problems.is_empty() {
            Ok(Loaded {
                config,
                files: self.files,
                effective: self
                    .effective
                    .into_iter()
                    .filter(|entry| self.part.has(&entry.key))
                    .collect(),
                warnings: self.warnings,
            })
        } else {
            Err(Diagnostics::new(self.sources, self.problems))
        }
    }

    /// The name of the cluster, unless the configuration is of a single one.
    pub(super) fn cluster_name(&self) -> Option<UpstreamName> {
        match self.part {
            Part::Cluster(name) => UpstreamName::new(name),
            Part::Whole | Part::Front => None,
        }
    }

    /// Records a file that the configuration depends on.
    pub(super) fn note_file(&mut self, path: &Path) {
        if !self.files.iter().any(|known| known == path) {
            self.files.push(path.to_owned());
        }
    }

    pub(super) fn refuse(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// Warns about a valid configuration.
    pub(super) fn warn(&mut self, what: &str, at: At) {
        self.warnings
            .push(format!("{}: {what}", self.sources.origin(at)));
    }

    /// Replaces the value of a key that was recorded before.
    pub(super) fn note_again(&mut self, key: &str, value: &str) {
        if let Some(entry) = self.effective.iter_mut().find(|entry| entry.key == key) {
            value.clone_into(&mut entry.value);
        }
    }

    /// Records the value of `key` for the effective configuration.
    pub(super) fn note(&mut self, key: &str, value: String, at: Option<At>) {
        let origin = at.map_or_else(|| DEFAULT.to_owned(), |at| self.sources.origin(at));
        self.effective.push(Effective {
            key: key.to_owned(),
            value,
            origin,
        });
    }

    /// Records a value that is not written but follows from something else.
    pub(super) fn note_derived(&mut self, key: &str, value: String, origin: &str) {
        self.effective.push(Effective {
            key: key.to_owned(),
            value,
            origin: origin.to_owned(),
        });
    }

    pub(super) fn value<T: Show + Clone>(&mut self, key: &str, slot: &Slot<T>, default: T) -> T {
        let value = slot
            .given()
            .map_or(default, |written| written.value.clone());
        self.note(key, value.show(), slot.at());
        value
    }

    /// Reads a value that may be missing.
    pub(super) fn optional<T: Show + Clone>(&mut self, key: &str, slot: &Slot<T>) -> Option<T> {
        let value = slot.given().map(|written| written.value.clone());
        self.note(
            key,
            value.as_ref().map_or_else(String::new, Show::show),
            slot.at(),
        );
        value
    }

    pub(super) fn list<T: ToString + Clone>(
        &mut self,
        key: &str,
        slot: &Slot<Vec<Written<T>>>,
        default: Vec<T>,
    ) -> Vec<T> {
        let value = slot.given().map_or(default, |list| {
            list.value.iter().map(|item| item.value.clone()).collect()
        });
        let shown: Vec<_> = value.iter().map(T::to_string).collect();
        self.note(key, shown.join(", "), slot.at());
        value
    }

    pub(super) fn within<T>(
        &mut self,
        key: &str,
        slot: &Slot<T>,
        default: T,
        range: RangeInclusive<T>,
    ) -> T
    where
        T: Show + Copy + PartialOrd,
    {
        let value = self.value(key, slot, default);
        match slot.at().filter(|_| !range.contains(&value)) {
            None => value,
            Some(at) => {
                let (least, most) = (range.start().show(), range.end().show());
                self.refuse(
                    Problem::new(format!(
                        "`{key}` is {}: must be {least} to {most}",
                        value.show()
                    ))
                    .at(at),
                );
                default
            }
        }
    }

    /// Reads a whole number within `range`, which must itself be within `u32`.
    pub(super) fn count(
        &mut self,
        key: &str,
        slot: &Slot<i64>,
        default: u32,
        range: RangeInclusive<i64>,
    ) -> u32 {
        u32::try_from(self.within(key, slot, i64::from(default), range)).unwrap_or(default)
    }

    /// Checks that `low` is not above `high`, whichever of them is written.
    pub(super) fn ordered(
        &mut self,
        low: (&str, Duration, Option<At>),
        high: (&str, Duration, Option<At>),
    ) {
        let Some(at) = low.2.or(high.2).filter(|_| low.1 > high.1) else {
            return;
        };
        let (low_key, low_value, high_key, high_value) =
            (low.0, low.1.show(), high.0, high.1.show());
        let title = format!(
            "`{low_key}` is {low_value}: must not be longer than `{high_key}`, which is {high_value}"
        );
        self.refuse(Problem::new(title).at(at));
    }

    /// Reads a secret from a file or an environment variable; `None` also after a problem was
    /// reported. `name` is the name of the secret.
    pub(super) fn secret(
        &mut self,
        name: &str,
        file: (&str, &Slot<String>),
        variable: (&str, &Slot<String>),
    ) -> Option<Secret> {
        let path = self.optional(file.0, file.1);
        let variable_name = self.optional(variable.0, variable.1);
        let read = match (path.zip(file.1.at()), variable_name.zip(variable.1.at())) {
            (None, None) => return None,
            (Some(_), Some((_, at))) => {
                let title = format!(
                    "the {name} is given twice: by `{}` and by `{}`",
                    file.0, variable.0
                );
                self.refuse(Problem::new(title).at(at).label("leave one of them out"));
                return None;
            }
            (Some((path, at)), None) => (self.secret_in_file(&path, at), at),
            (None, Some((name, at))) => {
                let value = self.environment.variable(&name);
                (
                    value.ok_or_else(|| format!("the environment variable `{name}` is not set")),
                    at,
                )
            }
        };
        let (read, at) = read;
        match read.and_then(|value| usable(&value)) {
            Ok(secret) => Some(secret),
            Err(why) => {
                self.refuse(Problem::new(format!("no {name}: {why}")).at(at));
                None
            }
        }
    }

    /// Reads a secret from a file; the path is relative to the file that names it.
    fn secret_in_file(&mut self, path: &str, at: At) -> Result<String, String> {
        if path.is_empty() {
            return Err(EMPTY_PATH.to_owned());
        }
        let path = self
            .sources
            .path(at)
            .parent()
            .unwrap_or_else(|| Path::new(""))
            .join(path);
        let read = read_bounded(self.environment, &path)
            .map_err(|why| format!("cannot read {}: {why}", path.display()))?;
        self.files.push(path);
        Ok(read)
    }
}

/// The secret in a form that fits into a header, without the line break that editors append to
/// every file.
fn usable(text: &str) -> Result<Secret, String> {
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("it has more than one line, or control characters".to_owned());
    }
    Ok(Secret::new(text.to_owned()))
}
