//! All problems of a configuration, each with its line.
//!
//! An administrator should correct a file once, not once per mistake, so nothing stops at the first
//! problem. Mistakes in TOML and violations of the rules look the same.

use std::fmt;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{At, SourceLocation, Sources};

/// Maximum number of problems that are shown; more are only counted. A file of an entirely
/// different kind has one problem, not thousands.
const MAX_SHOWN: usize = 40;

/// Maximum columns of a shown line; longer lines are cut around the place.
const WIDTH: usize = 140;

/// One problem. The title states the key, its value and the rule.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    title: String,
    at: Option<At>,
    label: String,
    help: Option<String>,
}

impl Problem {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            at: None,
            label: String::new(),
            help: None,
        }
    }

    pub(super) fn at(mut self, at: At) -> Self {
        self.at = Some(at);
        self
    }

    /// Sets the text beside the caret.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the text below: the remedy, or the reason for the rule.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All problems of one configuration in the order of the files. Never empty.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    sources: Sources,
    problems: Vec<Problem>,
}

/// A problem and its place for programs. [`Diagnostics`] itself prints for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub message: String,
    pub place: Option<SourceLocation>,
}

impl Diagnostics {
    pub(super) fn new(sources: Sources, mut problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty(), "diagnostics without a problem");
        problems.sort_by_key(|problem| problem.at);
        Self { sources, problems }
    }

    /// The problems of both, those of `self` first.
    pub fn and(mut self, other: Self) -> Self {
        let moved = self.sources.append(other.sources);
        let problems = other.problems.into_iter();
        self.problems.extend(problems.map(|problem| Problem {
            at: problem.at.map(|at| at.moved(moved)),
            ..problem
        }));
        self
    }

    /// The number of problems.
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// Returns the problems as data, for the API.
    pub fn findings(&self) -> impl Iterator<Item = Finding> {
        self.problems.iter().map(|problem| Finding {
            message: problem.title.clone(),
            place: problem.at.map(|at| self.sources.place(at)),
        })
    }

    /// The files that were read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.sources.paths()
    }

    /// The same text in colour, for a terminal.
    pub fn coloured(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let renderer = renderer.clone().term_width(WIDTH);
        let shown = self
            .problems
            .iter()
            .take(MAX_SHOWN)
            .map(|problem| self.render_one(problem, &renderer));
        let mut rendered: Vec<String> = shown.collect();
        if let Some(more) = self
            .problems
            .len()
            .checked_sub(MAX_SHOWN)
            .filter(|more| *more > 0)
        {
            rendered.push(format!("error: and {more} more problems"));
        }
        rendered.join("\n\n")
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let mut group = Group::with_title(Level::ERROR.primary_title(problem.title.as_str()));
        if let Some(at) = problem.at {
            let excerpt = self.sources.excerpt(at);
            let label = (!problem.label.is_empty()).then_some(problem.label.as_str());
            let snippet = Snippet::source(excerpt.line)
                .line_start(excerpt.number)
                .path(self.sources.path(at).display().to_string())
                .annotation(AnnotationKind::Primary.span(excerpt.span).label(label));
            group = group.element(snippet);
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Diagnostics {}

/// The entry of `known` that `written` most probably means.
pub(super) fn did_you_mean<'k>(
    written: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let written = written.to_ascii_lowercase();
    let near = known.into_iter().map(|word| {
        (
            strsim::osa_distance(&written, &word.to_ascii_lowercase()),
            word,
        )
    });
    // One wrong letter in three is a slip; more is another word.
    let near = near.filter(|(distance, word)| distance * 3 <= word.len().max(written.len()));
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// "did you mean `x`?", or nothing.
pub(super) fn suggestion<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    did_you_mean(written, known).map_or_else(String::new, |word| format!("did you mean `{word}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["interval", "timeout", "rise"];
        assert_eq!(did_you_mean("intervall", known), Some("interval"));
        assert_eq!(did_you_mean("Tiemout", known), Some("timeout"));
        assert_eq!(did_you_mean("weight", known), None);
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_a_flood_is_counted() {
        let mut sources = Sources::default();
        let file = sources.add("f".into(), "abc\n".repeat(100));
        let problems = (0..100)
            .rev()
            .map(|i| Problem::new(format!("problem {i}")).at(file.at(i * 4..i * 4 + 3)));
        let diagnostics = Diagnostics::new(sources, problems.collect());
        let text = diagnostics.to_string();
        assert!(text.starts_with("error: problem 0\n"), "{text}");
        assert!(text.ends_with("error: and 60 more problems"), "{text}");
        assert_eq!(diagnostics.count(), 100);
    }
}
