//! The texts for the cluster's facts. They share one place, so that log, API, status page and
//! metrics use the same.

use std::fmt;

use super::{Cause, ChangeSource, HealthState, Mode, TransitionKind};

impl HealthState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Ready, Self::Drain, Self::Maintenance];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Cause {
    /// Returns the kind alone, one of a few, for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Slow(_) => "slow",
            Self::Reset(_) => "reset",
            Self::Status(_) => "status",
            Self::Truncated => "truncated",
            Self::NodeFault(_) => "node-fault",
            Self::Unexpected(_) => "unexpected",
            Self::Credentials(_) => "credentials",
            Self::Local(_) => "local",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(reason) => write!(f, "cannot connect: {reason}"),
            Self::Timeout(awaited) => write!(f, "timeout: {awaited}"),
            Self::Slow(awaited) => write!(f, "too slow: {awaited} in time, although it answers"),
            Self::Reset(when) => write!(f, "connection lost: {when}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Truncated => f.write_str("answer ended too early"),
            Self::NodeFault(says) => write!(f, "node fault: {says}"),
            Self::Unexpected(wrong) => write!(f, "unexpected answer: {wrong}"),
            Self::Credentials(status) => write!(f, "credentials refused: status {status}"),
            Self::Local(fault) => fault.fmt(f),
        }
    }
}

impl TransitionKind {
    /// Returns the kind alone, one of a few. It is the name of a server-sent event.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Health { .. } => "health",
            Self::Ejected { .. } => "ejected",
            Self::HalfOpen => "half-open",
            Self::Returned => "returned",
            Self::Mode { .. } => "mode",
            Self::Added => "added",
            Self::Renamed { .. } => "renamed",
            Self::LayerChosen { .. } => "layer-chosen",
            Self::LayerLost { .. } => "layer-lost",
            Self::Retired => "retired",
            Self::Configured { .. } => "configured",
            Self::Moved { .. } => "moved",
            Self::CatalogChanged { .. } => "catalog-changed",
            Self::Stale { .. } => "stale",
            Self::ReloadBegan { .. } => "catalog-reload",
            Self::Reloaded { .. } => "catalog-fresh",
            Self::ReloadFailed { .. } => "catalog-reload-failed",
            Self::ReloadPostponed { .. } => "catalog-reload-postponed",
            Self::ConditionBegan { .. } => "condition-began",
            Self::ConditionEnded { .. } => "condition-ended",
            Self::RollBegan { .. } => "roll-began",
            Self::RollEnded(_) => "roll-ended",
            Self::RollsPaused(true) => "rolls-paused",
            Self::RollsPaused(false) => "rolls-resumed",
        }
    }
}

impl fmt::Display for TransitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Health {
                from,
                to,
                cause: None,
            } => write!(f, "{to}, was {from}"),
            Self::Health {
                from,
                to,
                cause: Some(cause),
            } => write!(f, "{to}, was {from}: {cause}"),
            Self::Ejected {
                until: _,
                length: _,
                cause,
            } => write!(f, "set aside for failing requests: {cause}"),
            Self::HalfOpen => f.write_str("on trial: one request at a time until one succeeds"),
            Self::Returned => f.write_str("back among those that serve"),
            Self::Mode { from, to, by: None } => write!(f, "mode {to}, was {from}"),
            Self::Mode {
                from,
                to,
                by: Some(by),
            } => write!(f, "mode {to}, was {from}, ordered by {by}"),
            Self::Added => f.write_str("added to the cluster"),
            Self::LayerChosen { layer } => write!(
                f,
                "probes and canaries draw the layer {layer}, which geofront chose"
            ),
            Self::LayerLost { layer } => write!(
                f,
                "the main does not draw the chosen layer {layer} any more"
            ),
            Self::Renamed { from } => write!(f, "has this name now, was {from}"),
            Self::Retired => f.write_str("removed from the cluster"),
            Self::Moved { from: None, to } => write!(f, "its name resolves to {to}"),
            Self::Moved {
                from: Some(from),
                to,
            } => write!(f, "its name resolves to {to} now, and no longer to {from}"),
            Self::Configured { revision } => write!(f, "configuration {revision} is in force"),
            Self::CatalogChanged {
                epoch,
                source: ChangeSource::Number,
            } => {
                write!(
                    f,
                    "the main's catalog changed: its number moved, epoch {epoch}"
                )
            }
            Self::CatalogChanged {
                epoch,
                source: ChangeSource::Write,
            } => {
                write!(
                    f,
                    "the main's catalog changed: a write passed by, epoch {epoch}"
                )
            }
            Self::CatalogChanged {
                epoch,
                source: ChangeSource::Directory,
            } => {
                write!(
                    f,
                    "the data directory changed, and not by a GeoServer of the cluster, epoch {epoch}"
                )
            }
            Self::CatalogChanged {
                epoch,
                source: ChangeSource::Main,
            } => {
                write!(
                    f,
                    "another upstream is the main: its catalog counts, epoch {epoch}"
                )
            }
            Self::CatalogChanged {
                epoch,
                source: ChangeSource::Order,
            } => {
                write!(f, "all replicas are to be reloaded: ordered, epoch {epoch}")
            }
            Self::Stale { why } => write!(f, "stale: {why}"),
            Self::ReloadBegan {
                epoch,
                still_running: 0,
            } => write!(f, "reloading its catalog for epoch {epoch}"),
            Self::ReloadBegan {
                epoch,
                still_running,
            } => {
                write!(
                    f,
                    "reloading its catalog for epoch {epoch}, although {still_running} requests still run there"
                )
            }
            Self::Reloaded { epoch, took } => write!(
                f,
                "has the catalog of epoch {epoch}, after {:.1} s",
                took.as_secs_f64()
            ),
            Self::ReloadFailed { cause, retry_in } => {
                write!(
                    f,
                    "its catalog reload failed: {cause}; the next try is in {} s",
                    retry_in.as_secs()
                )
            }
            Self::ReloadPostponed { class } => {
                write!(
                    f,
                    "its catalog reload is postponed: it alone can answer a request of class {class}"
                )
            }
            Self::ConditionBegan { condition } => {
                write!(f, "{condition}. To do: {}", condition.remedy())
            }
            Self::ConditionEnded { condition } => write!(f, "no longer: {condition}"),
            Self::RollBegan { epoch, why, by } => {
                write!(f, "a roll begins for epoch {epoch}: {why}")?;
                by.as_ref().map_or(Ok(()), |by| write!(f, " by {by}"))
            }
            Self::RollEnded(report) => {
                let failed = report
                    .replicas
                    .iter()
                    .filter(|replica| replica.result.is_err())
                    .count();
                write!(
                    f,
                    "the roll for epoch {} ended after {:.1} s",
                    report.epoch,
                    report.length().as_secs_f64()
                )?;
                if failed == 0 {
                    Ok(())
                } else {
                    write!(f, "; {failed} reloads failed")
                }
            }
            Self::RollsPaused(true) => {
                f.write_str("rolls are paused: no replica leaves service for its catalog")
            }
            Self::RollsPaused(false) => f.write_str("rolls are resumed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_transition_says_where_it_came_from_and_why() {
        let cause = Some(Cause::Connect("connection refused".to_owned()));
        let what = TransitionKind::Health {
            from: HealthState::Up,
            to: HealthState::Down,
            cause,
        };
        assert_eq!(
            what.to_string(),
            "down, was up: cannot connect: connection refused"
        );
        let what = TransitionKind::Health {
            from: HealthState::Unknown,
            to: HealthState::Up,
            cause: None,
        };
        assert_eq!(what.to_string(), "up, was unknown");
    }

    #[test]
    fn a_changed_catalog_says_how_that_was_seen() {
        let text = |source| TransitionKind::CatalogChanged { epoch: 4, source }.to_string();
        assert_eq!(
            text(ChangeSource::Number),
            "the main's catalog changed: its number moved, epoch 4"
        );
        assert_eq!(
            text(ChangeSource::Write),
            "the main's catalog changed: a write passed by, epoch 4"
        );
        let directory =
            "the data directory changed, and not by a GeoServer of the cluster, epoch 4";
        assert_eq!(text(ChangeSource::Directory), directory);
        assert_eq!(
            text(ChangeSource::Main),
            "another upstream is the main: its catalog counts, epoch 4"
        );
        assert_eq!(
            text(ChangeSource::Order),
            "all replicas are to be reloaded: ordered, epoch 4"
        );
    }

    #[test]
    fn modes_have_the_names_of_the_commands_that_set_them() {
        assert_eq!(
            Mode::ALL.map(Mode::as_str),
            ["ready", "drain", "maintenance"]
        );
    }
}
