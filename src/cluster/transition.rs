//! Transitions: changes that an operator wants to see, each as one log line and one server-sent
//! event.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{
    Cause, ChangeSource, Condition, HealthState, Mode, RollReason, RollReport, Truncation,
};
use crate::config::UpstreamName;
use crate::ogc::RequestClass;

mod fields;

pub use fields::Fields;

/// A change of the cluster's state.
#[derive(Clone, Debug)]
pub struct Transition {
    /// Counts up by one from the start of the process.
    pub sequence: u64,
    pub upstream: Option<UpstreamName>,
    pub what: TransitionKind,
}

/// The kind of a change, with its details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransitionKind {
    /// Its health or mode changed. Going down or into maintenance also ends an ejection.
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
    /// The ejection is over. It gets one request at a time until one succeeds.
    HalfOpen,
    /// It serves again: a request succeeded, or no other upstream is left.
    Returned,
    Mode {
        from: Mode,
        to: Mode,
        /// The operator, if known.
        by: Option<String>,
    },
    Added,
    /// The address that was called `from` has another name.
    Renamed {
        from: UpstreamName,
    },
    Retired,
    Configured {
        revision: u64,
    },
    /// Its host name resolves to this address from now on. It is another instance, and no former
    /// measurement applies to it.
    Moved {
        from: Option<SocketAddr>,
        to: SocketAddr,
    },
    /// Probes and canaries draw this layer from now on, because none is configured.
    LayerChosen {
        layer: String,
    },
    /// The main does not draw the layer any more.
    LayerLost {
        layer: String,
    },
    /// The main's catalog changed: all replicas are stale.
    CatalogChanged {
        epoch: u64,
        source: ChangeSource,
    },
    /// A replica was found behind the main.
    Stale {
        why: &'static str,
    },
    /// GeoServer gets the request to reload its catalog.
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
    /// A replica that was draining serves on, because a request of this class has no other upstream
    /// left. Reported once for each reload, however often that happens.
    ReloadPostponed {
        class: RequestClass,
    },
    /// It dropped old tiles from its own cache.
    TilesTruncated {
        truncation: Truncation,
        took: Duration,
    },
    TruncationFailed {
        truncation: Truncation,
        cause: Cause,
        retry_in: Duration,
    },
    /// The first replica leaves service.
    RollBegan {
        epoch: u64,
        why: RollReason,
        /// Users with requests that made the change, as far as they are known.
        by: Option<String>,
    },
    /// Every replica that could be reloaded has been.
    RollEnded(Box<RollReport>),
    /// An operator paused or resumed rolls.
    RollsPaused(bool),
    /// A condition that an operator should act on holds from now on.
    ConditionBegan {
        condition: Condition,
    },
    /// The condition no longer holds.
    ConditionEnded {
        condition: Condition,
    },
}

impl Transition {
    /// True if an operator should look at it.
    pub fn is_warning(&self) -> bool {
        match &self.what {
            TransitionKind::Health { to, .. } => *to == HealthState::Down,
            TransitionKind::ReloadBegan { still_running, .. } => *still_running > 0,
            TransitionKind::Ejected { .. }
            | TransitionKind::Stale { .. }
            | TransitionKind::ReloadFailed { .. }
            | TransitionKind::TruncationFailed { .. } => true,
            TransitionKind::ConditionBegan { .. } => true,
            TransitionKind::ConditionEnded { .. } => false,
            TransitionKind::RollBegan { .. }
            | TransitionKind::RollEnded(_)
            | TransitionKind::RollsPaused(_) => false,
            TransitionKind::ReloadPostponed { .. } => false,
            TransitionKind::HalfOpen
            | TransitionKind::Returned
            | TransitionKind::Mode { .. }
            | TransitionKind::Added
            | TransitionKind::Retired => false,
            TransitionKind::Renamed { .. }
            | TransitionKind::LayerChosen { .. }
            | TransitionKind::LayerLost { .. } => false,
            TransitionKind::Configured { .. }
            | TransitionKind::Moved { .. }
            | TransitionKind::CatalogChanged { .. }
            | TransitionKind::Reloaded { .. }
            | TransitionKind::TilesTruncated { .. } => false,
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
            Self::TilesTruncated { .. } => "tiles-truncated",
            Self::TruncationFailed { .. } => "tiles-truncation-failed",
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
                    "the main's catalog changed: new update sequence, epoch {epoch}"
                )
            }
            Self::CatalogChanged {
                epoch,
                source: ChangeSource::Write,
            } => {
                write!(
                    f,
                    "the main's catalog changed: a write through geofront, epoch {epoch}"
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
            Self::TilesTruncated { truncation, took } => write!(
                f,
                "dropped {truncation} from its cache, after {:.1} s",
                took.as_secs_f64()
            ),
            Self::TruncationFailed {
                truncation,
                cause,
                retry_in,
            } => write!(
                f,
                "could not drop {truncation} from its cache: {cause}; the next try is in {} s",
                retry_in.as_secs()
            ),
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
    fn a_health_transition_has_the_former_state_and_the_cause() {
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
    fn a_transition_of_the_catalog_has_the_source_of_the_change() {
        let text = |source| TransitionKind::CatalogChanged { epoch: 4, source }.to_string();
        assert_eq!(
            text(ChangeSource::Number),
            "the main's catalog changed: new update sequence, epoch 4"
        );
        assert_eq!(
            text(ChangeSource::Write),
            "the main's catalog changed: a write through geofront, epoch 4"
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
}
