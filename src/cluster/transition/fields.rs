//! A transition as fields for the log.

use std::fmt;
use std::time::Duration;

use super::{Transition, TransitionKind};
use crate::config::UpstreamName;

/// A transition as fields for the log. Each is one word, except the cause. Fields that do not apply
/// are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields<'t> {
    pub upstream: Option<&'t str>,
    pub health: Option<&'static str>,
    pub mode: Option<&'static str>,
    /// The former health, mode or name.
    pub was: Option<&'t str>,
    /// The operator who ordered the mode.
    pub by: Option<&'t str>,
    /// The time until the ejection ends, `half-open`, or `no`.
    pub ejected: Option<String>,
    pub change: Option<&'static str>,
    /// The address that an upstream's name resolves to.
    pub address: Option<String>,
    /// The layer that was chosen for probes and canaries, or lost.
    pub probe_layer: Option<&'t str>,
    /// The kind of a condition; `change` is `began` or `ended`.
    pub condition: Option<&'static str>,
    pub config_revision: Option<u64>,
    /// One of `changed`, `stale`, `reloading`, `fresh`, `reload-failed`, `tiles-truncated`,
    /// `tiles-truncation-failed`, `roll-began`, `roll-ended`, `paused` or `resumed`.
    pub catalog: Option<&'static str>,
    pub epoch: Option<u64>,
    /// The source of a change of the catalog, or the reason for a roll.
    pub source: Option<&'static str>,
    /// Requests that run on although the catalog is reloaded.
    pub still_running: Option<u32>,
    pub took: Option<String>,
    pub retry_in: Option<String>,
    /// The cause, on one line and of bounded length, even if it quotes an upstream's answer.
    pub cause: Option<String>,
    /// The remedy for a condition that began.
    pub remedy: Option<&'static str>,
}

impl Transition {
    /// Returns the fields of the log line.
    pub fn fields(&self) -> Fields<'_> {
        let nothing = Fields {
            upstream: self.upstream.as_ref().map(UpstreamName::as_str),
            ..Fields::default()
        };
        match &self.what {
            TransitionKind::Health { from, to, cause } => Fields {
                health: Some(to.as_str()),
                was: Some(from.as_str()),
                cause: cause.as_ref().map(on_one_line),
                ..nothing
            },
            TransitionKind::Ejected {
                length,
                cause,
                until: _,
            } => Fields {
                ejected: Some(compact(*length)),
                cause: Some(on_one_line(cause)),
                ..nothing
            },
            TransitionKind::HalfOpen => Fields {
                ejected: Some("half-open".to_owned()),
                ..nothing
            },
            TransitionKind::Returned => Fields {
                ejected: Some("no".to_owned()),
                ..nothing
            },
            TransitionKind::Mode { from, to, by } => Fields {
                mode: Some(to.as_str()),
                was: Some(from.as_str()),
                by: by.as_deref(),
                ..nothing
            },
            TransitionKind::Added => Fields {
                change: Some("added"),
                ..nothing
            },
            TransitionKind::Renamed { from } => Fields {
                change: Some("renamed"),
                was: Some(from.as_str()),
                ..nothing
            },
            TransitionKind::LayerChosen { layer } => Fields {
                probe_layer: Some(layer),
                change: Some("chosen"),
                ..nothing
            },
            TransitionKind::LayerLost { layer } => Fields {
                probe_layer: Some(layer),
                change: Some("lost"),
                ..nothing
            },
            TransitionKind::Retired => Fields {
                change: Some("retired"),
                ..nothing
            },
            TransitionKind::Moved { to, from: _ } => Fields {
                change: Some("moved"),
                address: Some(to.to_string()),
                ..nothing
            },
            TransitionKind::Configured { revision } => Fields {
                config_revision: Some(*revision),
                ..nothing
            },
            TransitionKind::CatalogChanged { .. }
            | TransitionKind::Stale { .. }
            | TransitionKind::ReloadBegan { .. }
            | TransitionKind::Reloaded { .. }
            | TransitionKind::ReloadPostponed { .. }
            | TransitionKind::ReloadFailed { .. }
            | TransitionKind::TilesTruncated { .. }
            | TransitionKind::TruncationFailed { .. } => self.catalog_fields(nothing),
            TransitionKind::RollBegan { .. }
            | TransitionKind::RollEnded(_)
            | TransitionKind::RollsPaused(_) => self.roll_fields(nothing),
            TransitionKind::ConditionBegan { condition } => {
                let (cause, remedy) = (Some(on_one_line(condition)), Some(condition.remedy()));
                Fields {
                    condition: Some(condition.kind()),
                    change: Some("began"),
                    cause,
                    remedy,
                    ..nothing
                }
            }
            TransitionKind::ConditionEnded { condition } => {
                let cause = Some(on_one_line(condition));
                Fields {
                    condition: Some(condition.kind()),
                    change: Some("ended"),
                    cause,
                    ..nothing
                }
            }
        }
    }

    fn roll_fields<'t>(&'t self, nothing: Fields<'t>) -> Fields<'t> {
        match &self.what {
            TransitionKind::RollBegan { epoch, why, by } => Fields {
                catalog: Some("roll-began"),
                epoch: Some(*epoch),
                source: Some(why.as_str()),
                by: by.as_deref(),
                ..nothing
            },
            TransitionKind::RollEnded(report) => Fields {
                catalog: Some("roll-ended"),
                epoch: Some(report.epoch),
                source: Some(report.why.as_str()),
                took: Some(compact(rounded(report.length()))),
                ..nothing
            },
            TransitionKind::RollsPaused(true) => Fields {
                catalog: Some("paused"),
                ..nothing
            },
            TransitionKind::RollsPaused(false) => Fields {
                catalog: Some("resumed"),
                ..nothing
            },
            _ => nothing,
        }
    }

    fn catalog_fields<'t>(&self, nothing: Fields<'t>) -> Fields<'t> {
        let catalog = |word, fields| Fields {
            catalog: Some(word),
            ..fields
        };
        match &self.what {
            TransitionKind::CatalogChanged { epoch, source } => catalog(
                "changed",
                Fields {
                    epoch: Some(*epoch),
                    source: Some(source.as_str()),
                    ..nothing
                },
            ),
            TransitionKind::Stale { why } => catalog(
                "stale",
                Fields {
                    cause: Some((*why).to_owned()),
                    ..nothing
                },
            ),
            TransitionKind::ReloadBegan {
                epoch,
                still_running,
            } => {
                let still_running = Some(*still_running).filter(|running| *running > 0);
                catalog(
                    "reloading",
                    Fields {
                        epoch: Some(*epoch),
                        still_running,
                        ..nothing
                    },
                )
            }
            TransitionKind::Reloaded { epoch, took } => catalog(
                "fresh",
                Fields {
                    epoch: Some(*epoch),
                    took: Some(compact(rounded(*took))),
                    ..nothing
                },
            ),
            TransitionKind::ReloadPostponed { class } => catalog(
                "postponed",
                Fields {
                    cause: Some(format!("it alone can answer a request of class {class}")),
                    ..nothing
                },
            ),
            TransitionKind::ReloadFailed { cause, retry_in } => {
                let (cause, retry_in) = (Some(on_one_line(cause)), Some(compact(*retry_in)));
                catalog(
                    "reload-failed",
                    Fields {
                        cause,
                        retry_in,
                        ..nothing
                    },
                )
            }
            TransitionKind::TilesTruncated {
                truncation: _,
                took,
            } => catalog(
                "tiles-truncated",
                Fields {
                    took: Some(compact(rounded(*took))),
                    ..nothing
                },
            ),
            TransitionKind::TruncationFailed {
                truncation: _,
                cause,
                retry_in,
            } => catalog(
                "tiles-truncation-failed",
                Fields {
                    cause: Some(on_one_line(cause)),
                    retry_in: Some(compact(*retry_in)),
                    ..nothing
                },
            ),
            TransitionKind::Health { .. }
            | TransitionKind::Ejected { .. }
            | TransitionKind::HalfOpen
            | TransitionKind::Returned
            | TransitionKind::Mode { .. }
            | TransitionKind::Added
            | TransitionKind::Renamed { .. }
            | TransitionKind::LayerChosen { .. }
            | TransitionKind::LayerLost { .. }
            | TransitionKind::Retired
            | TransitionKind::ConditionBegan { .. }
            | TransitionKind::ConditionEnded { .. }
            | TransitionKind::Moved { .. }
            | TransitionKind::RollBegan { .. }
            | TransitionKind::RollEnded(_)
            | TransitionKind::RollsPaused(_)
            | TransitionKind::Configured { .. } => nothing,
        }
    }
}

/// The fields in logfmt: `upstream=slave2 health=down was=up cause="status 500"`.
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fields {
            upstream,
            health,
            mode,
            was,
            ejected,
            change,
            catalog,
            source,
            took,
            retry_in,
            ..
        } = self.fields();
        let Fields {
            probe_layer,
            config_revision,
            epoch,
            still_running,
            condition,
            by,
            address,
            cause,
            remedy,
            ..
        } = self.fields();
        let words = [
            ("upstream", upstream),
            ("health", health),
            ("mode", mode),
            ("ejected", ejected.as_deref()),
            ("condition", condition),
            ("probe_layer", probe_layer),
            ("change", change),
            ("address", address.as_deref()),
            ("catalog", catalog),
            ("was", was),
            ("source", source),
            ("took", took.as_deref()),
            ("retry_in", retry_in.as_deref()),
        ];
        let numbers = [
            ("config_revision", config_revision),
            ("epoch", epoch),
            ("still_running", still_running.map(u64::from)),
        ];
        let numbers = numbers
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let quoted = |name: &str, text: &str| {
            format!(
                "{name}=\"{}\"",
                text.replace('\\', "\\\\").replace('"', "\\\"")
            )
        };
        let by = by.map(|by| quoted("by", by));
        let cause = cause
            .map(|cause| quoted("cause", &cause))
            .into_iter()
            .chain(remedy.map(|remedy| quoted("remedy", remedy)));
        let words = words
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let fields: Vec<String> = words.chain(numbers).chain(by).chain(cause).collect();
        f.write_str(&fields.join(" "))
    }
}

/// Formats a duration as one word: `1m30s`.
fn compact(length: Duration) -> String {
    humantime::format_duration(length)
        .to_string()
        .replace(' ', "")
}

/// Rounds to the millisecond.
fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Most characters of a cause.
const MAX_CAUSE: usize = 300;

fn on_one_line(cause: &impl fmt::Display) -> String {
    let text = cause.to_string();
    let mut line: String = text
        .chars()
        .take(MAX_CAUSE)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(MAX_CAUSE).is_some() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::cluster::{Cause, ChangeSource, HealthState, Mode};

    fn transition(what: TransitionKind) -> Transition {
        Transition {
            sequence: 0,
            upstream: UpstreamName::new("slave2"),
            what,
        }
    }

    fn cause(cause: Cause) -> String {
        let down = TransitionKind::Health {
            from: HealthState::Up,
            to: HealthState::Down,
            cause: Some(cause),
        };
        transition(down).fields().cause.expect("it has a cause")
    }

    #[test]
    fn every_transition_has_fields_for_its_change() {
        let slave2 = Fields {
            upstream: Some("slave2"),
            ..Fields::default()
        };
        let down = TransitionKind::Health {
            from: HealthState::Up,
            to: HealthState::Down,
            cause: Some(Cause::Status(500)),
        };
        let health = Fields {
            health: Some("down"),
            was: Some("up"),
            cause: Some("status 500".to_owned()),
            ..slave2.clone()
        };
        let ejected = TransitionKind::Ejected {
            until: Instant::now(),
            length: Duration::from_secs(90),
            cause: Cause::Truncated,
        };
        let early = Some("answer ended too early".to_owned());
        let drain = TransitionKind::Mode {
            from: Mode::Ready,
            to: Mode::Drain,
            by: Some("alice from 10.0.0.9".to_owned()),
        };
        let expected = [
            (down, health),
            (
                ejected,
                Fields {
                    ejected: Some("1m30s".to_owned()),
                    cause: early,
                    ..slave2.clone()
                },
            ),
            (
                TransitionKind::HalfOpen,
                Fields {
                    ejected: Some("half-open".to_owned()),
                    ..slave2.clone()
                },
            ),
            (
                TransitionKind::Returned,
                Fields {
                    ejected: Some("no".to_owned()),
                    ..slave2.clone()
                },
            ),
            (
                drain,
                Fields {
                    mode: Some("drain"),
                    was: Some("ready"),
                    by: Some("alice from 10.0.0.9"),
                    ..slave2.clone()
                },
            ),
            (
                TransitionKind::Added,
                Fields {
                    change: Some("added"),
                    ..slave2.clone()
                },
            ),
            (
                TransitionKind::Renamed {
                    from: UpstreamName::new("old").unwrap(),
                },
                Fields {
                    change: Some("renamed"),
                    was: Some("old"),
                    ..slave2.clone()
                },
            ),
            (
                TransitionKind::Retired,
                Fields {
                    change: Some("retired"),
                    ..slave2
                },
            ),
        ];
        expected
            .into_iter()
            .for_each(|(what, fields)| assert_eq!(transition(what).fields(), fields));
    }

    #[test]
    fn transitions_of_catalogs_have_fields_too() {
        let line = |what| transition(what).to_string();
        assert_eq!(
            line(TransitionKind::ReloadBegan {
                epoch: 4,
                still_running: 0
            }),
            "upstream=slave2 catalog=reloading epoch=4"
        );
        assert_eq!(
            line(TransitionKind::ReloadBegan {
                epoch: 4,
                still_running: 2
            }),
            "upstream=slave2 catalog=reloading epoch=4 still_running=2"
        );
        let took = Duration::from_micros(3_200_007);
        assert_eq!(
            line(TransitionKind::Reloaded { epoch: 4, took }),
            "upstream=slave2 catalog=fresh took=3s200ms epoch=4"
        );
        assert_eq!(
            line(TransitionKind::ReloadFailed {
                cause: Cause::Status(401),
                retry_in: Duration::from_secs(10)
            }),
            r#"upstream=slave2 catalog=reload-failed retry_in=10s cause="status 401""#
        );
        let what = TransitionKind::CatalogChanged {
            epoch: 4,
            source: ChangeSource::Number,
        };
        let changed = Transition {
            sequence: 1,
            upstream: None,
            what,
        };
        assert_eq!(
            changed.to_string(),
            "catalog=changed source=update-sequence epoch=4"
        );
    }

    #[test]
    fn a_transition_of_the_cluster_has_no_upstream_field() {
        let configured = Transition {
            sequence: 1,
            upstream: None,
            what: TransitionKind::Configured { revision: 3 },
        };
        assert_eq!(
            configured.fields(),
            Fields {
                config_revision: Some(3),
                ..Fields::default()
            }
        );
    }

    #[test]
    fn text_of_an_upstream_cannot_forge_a_field_or_a_line() {
        let forged = Cause::NodeFault("no\" health=up\r\nupstream=main \\".to_owned());
        assert_eq!(
            cause(forged.clone()),
            "node fault: no\" health=up  upstream=main \\"
        );
        let down = TransitionKind::Health {
            from: HealthState::Up,
            to: HealthState::Down,
            cause: Some(forged),
        };
        assert_eq!(
            transition(down).to_string(),
            r#"upstream=slave2 health=down was=up cause="node fault: no\" health=up  upstream=main \\""#
        );
    }

    #[test]
    fn text_from_an_upstream_is_cut_in_a_cause() {
        let cause = cause(Cause::Unexpected("é".repeat(100_000)));
        assert!(
            cause.chars().count() < 400 && cause.ends_with("..."),
            "{cause}"
        );
    }
}
