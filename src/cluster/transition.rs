//! What an operator wants to know: one log line and one server-sent event each.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use super::{Cause, HealthState, Mode};
use crate::config::UpstreamName;

/// Something changed.
#[derive(Clone, Debug)]
pub struct Transition {
    /// Counts up by one from the start of the process.
    pub sequence: u64,
    pub upstream: Option<UpstreamName>,
    pub what: What,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Who goes down or into maintenance is no longer ejected either.
    Health {
        from: HealthState,
        to: HealthState,
        cause: Option<Cause>,
    },
    Ejected {
        until: Instant,
        length: Duration,
        cause: Cause,
    },
    /// The ejection is over; one request at a time until one succeeds.
    HalfOpen,
    /// It serves again: a request succeeded, or nobody else is left.
    Returned,
    Mode {
        from: Mode,
        to: Mode,
    },
    Added,
    Retired,
    Configured {
        revision: u64,
    },
}

impl Transition {
    /// Whether an operator should look at it.
    pub fn is_warning(&self) -> bool {
        match &self.what {
            What::Health { to, .. } => *to == HealthState::Down,
            What::Ejected { .. } => true,
            What::HalfOpen | What::Returned | What::Mode { .. } | What::Added | What::Retired | What::Configured { .. } => false,
        }
    }
}

/// Logfmt fields: `upstream=slave2 health=down was=up cause="status 500"`.
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.upstream {
            write!(f, "upstream={name} ")?;
        }
        match &self.what {
            What::Health { from, to, cause: None } => write!(f, "health={to} was={from}"),
            What::Health { from, to, cause: Some(cause) } => write!(f, "health={to} was={from} cause={}", Quoted(cause)),
            What::Ejected { length, cause, until: _ } => write!(f, "ejected={} cause={}", Compact(*length), Quoted(cause)),
            What::HalfOpen => f.write_str("ejected=half-open"),
            What::Returned => f.write_str("ejected=no"),
            What::Mode { from, to } => write!(f, "mode={to} was={from}"),
            What::Added => f.write_str("change=added"),
            What::Retired => f.write_str("change=retired"),
            What::Configured { revision } => write!(f, "config_revision={revision}"),
        }
    }
}

/// A duration as one word: `1m30s`.
struct Compact(Duration);

impl fmt::Display for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration(self.0).to_string();
        f.write_str(&text.replace(' ', ""))
    }
}

/// A logfmt value in quotes, on one line and of bounded length whatever it holds: causes quote what upstreams sent.
struct Quoted<'a>(&'a Cause);

impl Quoted<'_> {
    const MAX_CHARS: usize = 300;
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_char('"')?;
        for c in text.chars().take(Self::MAX_CHARS) {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => f.write_char(' ')?,
                c => f.write_char(c)?,
            }
        }
        if text.chars().nth(Self::MAX_CHARS).is_some() {
            f.write_str("...")?;
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(what: What) -> String {
        Transition { sequence: 0, upstream: UpstreamName::new("slave2"), what }.to_string()
    }

    fn down(cause: Cause) -> What {
        What::Health { from: HealthState::Up, to: HealthState::Down, cause: Some(cause) }
    }

    #[test]
    fn every_transition_is_one_line_of_fields() {
        let ejected = What::Ejected { until: Instant::now(), length: Duration::from_secs(90), cause: Cause::Truncated };
        let lines = [
            (down(Cause::Status(500)), r#"upstream=slave2 health=down was=up cause="status 500""#),
            (ejected, r#"upstream=slave2 ejected=1m30s cause="answer ended too early""#),
            (What::HalfOpen, "upstream=slave2 ejected=half-open"),
            (What::Returned, "upstream=slave2 ejected=no"),
            (What::Mode { from: Mode::Ready, to: Mode::Drain }, "upstream=slave2 mode=drain was=ready"),
            (What::Added, "upstream=slave2 change=added"),
            (What::Retired, "upstream=slave2 change=retired"),
        ];
        lines.into_iter().for_each(|(what, expected)| assert_eq!(line(what), expected));
    }

    #[test]
    fn what_concerns_no_upstream_names_none() {
        let configured = Transition { sequence: 1, upstream: None, what: What::Configured { revision: 3 } };
        assert_eq!(configured.to_string(), "config_revision=3");
    }

    #[test]
    fn what_an_upstream_sent_cannot_forge_a_field_or_a_line() {
        let forged = Cause::NodeFault("no\" health=up\r\nupstream=main \\".to_owned());
        assert_eq!(
            line(down(forged)),
            r#"upstream=slave2 health=down was=up cause="node fault: no\" health=up  upstream=main \\""#
        );
    }

    #[test]
    fn what_an_upstream_sent_is_cut() {
        let line = line(down(Cause::Unexpected("é".repeat(100_000))));
        assert!(line.chars().count() < 400 && line.ends_with("...\""), "{line}");
    }
}
