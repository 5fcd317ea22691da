//! The end of a command: exit codes after sysexits, and error messages.

use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use crate::config::Diagnostics;

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Success,
    /// The command failed; for `status`, an upstream or the configuration needs attention.
    Failure,
    /// Only `status`: no request is served. Monitoring plugins call this critical.
    Critical,
    /// The command line is wrong.
    Usage,
    /// The configuration is wrong.
    Config,
}

impl Exit {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Critical => 2,
            Self::Usage => 64,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The error of a command that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// The text as printed.
    text: String,
}

impl Failure {
    pub(super) fn new(message: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Failure,
            text: format!("error: {message}"),
        }
    }

    pub(super) fn usage(message: impl fmt::Display) -> Self {
        Self::new(message).exit(Exit::Usage)
    }

    /// Creates the error from diagnostics, which begin each problem with `error:`.
    pub(super) fn config(diagnostics: &Diagnostics) -> Self {
        let text = if io::stderr().is_terminal() {
            diagnostics.coloured()
        } else {
            diagnostics.to_string()
        };
        Self {
            exit: Exit::Config,
            text,
        }
    }

    #[must_use]
    pub(super) fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    #[must_use]
    pub(super) fn help(self, help: impl fmt::Display) -> Self {
        Self {
            text: format!("{}\n  help: {help}", self.text),
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Writing to standard output failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The reader has closed the pipe, as in `geofront status | head`.
            io::ErrorKind::BrokenPipe => Self {
                exit: Exit::Success,
                text: String::new(),
            },
            _ => Self::new(format!("cannot write the output: {error}")),
        }
    }
}
