//! What an operator wants to know: one log line and one server-sent event each.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use super::{Cause, HealthState, Mode, Source};
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
    /// The main's catalog changed: all replicas are stale.
    CatalogChanged {
        epoch: u64,
        source: Source,
    },
    /// A replica was found behind the main.
    Stale {
        why: &'static str,
    },
    /// GeoServer is told to reload its catalog.
    ReloadBegan {
        epoch: u64,
        /// Requests that did not end in time.
        still_running: u32,
    },
    /// It has the catalog of this epoch and serves again.
    Reloaded {
        epoch: u64,
        took: Duration,
    },
    ReloadFailed {
        cause: Cause,
        retry_in: Duration,
    },
}

impl Transition {
    /// Whether an operator should look at it.
    pub fn is_warning(&self) -> bool {
        match &self.what {
            What::Health { to, .. } => *to == HealthState::Down,
            What::ReloadBegan { still_running, .. } => *still_running > 0,
            What::Ejected { .. } | What::Stale { .. } | What::ReloadFailed { .. } => true,
            What::HalfOpen | What::Returned | What::Mode { .. } | What::Added | What::Retired => false,
            What::Configured { .. } | What::CatalogChanged { .. } | What::Reloaded { .. } => false,
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
            What::CatalogChanged { epoch, source } => write!(f, "catalog=changed epoch={epoch} source={}", source.as_str()),
            What::Stale { why } => write!(f, "catalog=stale cause=\"{why}\""),
            What::ReloadBegan { epoch, still_running: 0 } => write!(f, "catalog=reloading epoch={epoch}"),
            What::ReloadBegan { epoch, still_running } => {
                write!(f, "catalog=reloading epoch={epoch} still_running={still_running}")
            }
            What::Reloaded { epoch, took } => write!(f, "catalog=fresh epoch={epoch} took={}", Compact(rounded(*took))),
            What::ReloadFailed { cause, retry_in } => {
                write!(f, "catalog=reload-failed cause={} retry_in={}", Quoted(cause), Compact(*retry_in))
            }
        }
    }
}

/// To the millisecond.
fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
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
            (What::ReloadBegan { epoch: 4, still_running: 0 }, "upstream=slave2 catalog=reloading epoch=4"),
            (
                What::Reloaded { epoch: 4, took: Duration::from_micros(3_200_007) },
                "upstream=slave2 catalog=fresh epoch=4 took=3s200ms",
            ),
            (
                What::ReloadFailed { cause: Cause::Status(401), retry_in: Duration::from_secs(10) },
                r#"upstream=slave2 catalog=reload-failed cause="status 401" retry_in=10s"#,
            ),
        ];
        lines.into_iter().for_each(|(what, expected)| assert_eq!(line(what), expected));
    }

    #[test]
    fn what_concerns_no_upstream_names_none() {
        let configured = Transition { sequence: 1, upstream: None, what: What::Configured { revision: 3 } };
        assert_eq!(configured.to_string(), "config_revision=3");
        let what = What::CatalogChanged { epoch: 4, source: Source::Number };
        let changed = Transition { sequence: 1, upstream: None, what };
        assert_eq!(changed.to_string(), "catalog=changed epoch=4 source=number");
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
