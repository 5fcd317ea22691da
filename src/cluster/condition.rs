//! Conditions: facts that an operator should act on. Each is one sentence with its real-world cause
//! and its remedy.
//!
//! A transition is a moment, a condition lasts. After every event, the cluster computes the set of
//! conditions that hold, and reports each one that begins or ends as a transition. A new kind of
//! condition needs a new variant here, its text below, and the place in `conditions.rs`
//! that finds it. Log, events, API, page, command line and metric then show it without further
//! changes.

use std::fmt;
use std::time::Duration;

use super::{Cause, LocalFault};
use crate::config::{CertificateTrouble, UpstreamName};
use crate::ogc::fault_texts;

/// One kind of fact that an operator should act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// GeoServer answered our own request with this status because it does not accept the
    /// credentials of `[geoserver]`.
    CredentialsRefused { upstream: UpstreamName, status: u16 },
    /// Our own requests fail by a fault of this machine or of geofront, which is no evidence about
    /// the upstreams.
    LocalFault { fault: LocalFault },
    /// The same probe fails in the same way on every upstream that answers. The fault is in the
    /// probe or in something that all share.
    ProbeInDoubt {
        /// The layer that is probed; `None` for capabilities.
        layer: Option<String>,
        cause: Cause,
    },
    /// The canary fails on a replica that was reloaded and on one that was not. The fault is in the
    /// canary or in something that all share.
    CanaryInDoubt {
        /// The layer that is drawn; `None` for capabilities.
        layer: Option<String>,
        cause: Cause,
    },
    /// No upstream passes its probe, each for another reason. Reads go to all that are reachable.
    FailOpen {
        /// The causes on some of the upstreams, with their names.
        causes: Vec<String>,
    },
    /// Requests fail in the same way on all upstreams: those for one layer, or many.
    SharedFault {
        layer: Option<String>,
        cause: String,
    },
    /// The main answers but does not report its `updateSequence`. Changes that do not pass through
    /// geofront go unnoticed.
    UpdateSequenceUnknown { main: UpstreamName },
    /// The main has this layer, and the replica lacks it even after a reload for it.
    LayerMissing {
        upstream: UpstreamName,
        layer: String,
    },
    /// Tiles of the upstream's own cache that a change made old could not be dropped.
    TilesOld {
        upstream: UpstreamName,
        cause: Cause,
    },
    /// No layer is configured for probes and canaries, and none could be chosen. They read
    /// capabilities instead.
    NoProbeLayer { why: String },
    /// Another geofront with the same state file runs, so this one reloads no catalog.
    OtherProcess,
    /// A certificate of ours expires soon or cannot be replaced by the one in its files.
    Certificate(CertificateTrouble),
}

/// A condition that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionStatus {
    pub condition: Condition,
    /// Time for which it has held.
    pub held_for: Duration,
}

impl Condition {
    /// Every kind of condition, for metrics and documentation.
    pub const KINDS: [&'static str; 12] = [
        "credentials-refused",
        "local-fault",
        "probe-in-doubt",
        "canary-in-doubt",
        "fail-open",
        "shared-fault",
        "update-sequence-unknown",
        "layer-missing",
        "tiles-old",
        "no-probe-layer",
        "other-process",
        "certificate",
    ];

    /// Returns the kind alone, one of [`Self::KINDS`].
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::CredentialsRefused { .. } => "credentials-refused",
            Self::LocalFault { .. } => "local-fault",
            Self::ProbeInDoubt { .. } => "probe-in-doubt",
            Self::CanaryInDoubt { .. } => "canary-in-doubt",
            Self::FailOpen { .. } => "fail-open",
            Self::SharedFault { .. } => "shared-fault",
            Self::UpdateSequenceUnknown { .. } => "update-sequence-unknown",
            Self::LayerMissing { .. } => "layer-missing",
            Self::TilesOld { .. } => "tiles-old",
            Self::NoProbeLayer { .. } => "no-probe-layer",
            Self::OtherProcess => "other-process",
            Self::Certificate(_) => "certificate",
        }
    }

    /// Returns the upstream concerned; `None` if the condition concerns the whole cluster.
    pub const fn upstream(&self) -> Option<&UpstreamName> {
        match self {
            Self::CredentialsRefused { upstream, .. } => Some(upstream),
            Self::LocalFault { .. } | Self::ProbeInDoubt { .. } | Self::FailOpen { .. } => None,
            Self::SharedFault { .. } | Self::CanaryInDoubt { .. } => None,
            Self::UpdateSequenceUnknown { main } => Some(main),
            Self::LayerMissing { upstream, .. } | Self::TilesOld { upstream, .. } => Some(upstream),
            Self::NoProbeLayer { .. } | Self::OtherProcess | Self::Certificate(_) => None,
        }
    }

    /// Returns the subject besides an upstream, such as a layer. Two conditions of the same kind,
    /// upstream and subject are one.
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::CredentialsRefused { .. } | Self::FailOpen { .. } => None,
            Self::LocalFault { fault } => Some(fault.subject()),
            Self::ProbeInDoubt { layer, .. } | Self::CanaryInDoubt { layer, .. } => {
                layer.as_deref()
            }
            Self::SharedFault { layer, cause } => Some(match layer {
                Some(layer) => layer.as_str(),
                None => cause.as_str(),
            }),
            Self::UpdateSequenceUnknown { .. } | Self::TilesOld { .. } => None,
            Self::LayerMissing { layer, .. } => Some(layer.as_str()),
            Self::NoProbeLayer { .. } | Self::OtherProcess => None,
            Self::Certificate(trouble) => Some(trouble.subject.as_str()),
        }
    }

    /// Returns the remedy, in one sentence.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::CredentialsRefused { .. } => {
                "give `username` and `password_file`, or `headers`, under [geoserver] as GeoServer has them now; \
                 `geofront check --probe` tries them"
            }
            Self::LocalFault { fault } => fault.remedy(),
            Self::ProbeInDoubt {
                layer: Some(_),
                cause: Cause::Credentials(_),
            } => {
                "name a public layer as `probe_layer`, or set `authenticate = true`, under [health]; all upstreams serve meanwhile"
            }
            Self::ProbeInDoubt { layer: Some(_), .. } => {
                "name another public layer as `probe_layer` under [health], or mend what the layer needs (its store, its database); \
                 all upstreams serve meanwhile"
            }
            Self::ProbeInDoubt { layer: None, .. } => {
                "look what GeoServer answers to WMS capabilities, and at `context` under [geoserver]; all upstreams serve meanwhile"
            }
            Self::CanaryInDoubt { .. } => {
                "name another public layer as `canary_layer` under [catalog], or mend what the layer needs (its store, its database); \
                 until then replicas return from their reload without a canary"
            }
            Self::FailOpen { .. } => {
                "look at the cause of each upstream in `geofront status`; those that can be reached serve meanwhile"
            }
            Self::SharedFault { .. } => {
                "look at the layer's store, its database and GeoServer's log: no upstream is to blame"
            }
            Self::UpdateSequenceUnknown { .. } => {
                "turn GeoServer's global services on, or give credentials under [geoserver] that may read /rest/settings; until then \
                 `geofront sync` after each change that does not pass through geofront"
            }
            Self::TilesOld { .. } => {
                "look at GeoServer's log and at the credentials under [geoserver]; geofront tries again, and the upstream serves \
                 meanwhile, with old tiles among the others"
            }
            Self::NoProbeLayer { .. } => {
                "name a small public layer as `probe_layer` under [health]; until then an empty catalog looks well to probes"
            }
            Self::OtherProcess => {
                "wait until the other one has finished its last requests; if it is to go on, give each geofront a `state_file` of its own"
            }
            Self::Certificate(trouble) => trouble.remedy,
            Self::LayerMissing { .. } => {
                "look into the replica's own log: its data directory, a database or a driver differs from the main's; requests for \
                 the layer are answered by the main"
            }
        }
    }

    /// True if it lasts until an operator acts. `geofront status` then exits with 1.
    pub const fn needs_operator(&self) -> bool {
        match self {
            Self::CredentialsRefused { .. }
            | Self::LocalFault { .. }
            | Self::SharedFault { .. } => true,
            Self::ProbeInDoubt { .. } | Self::CanaryInDoubt { .. } | Self::FailOpen { .. } => true,
            Self::UpdateSequenceUnknown { .. } => true,
            Self::LayerMissing { .. } | Self::TilesOld { .. } | Self::Certificate(_) => true,
            Self::NoProbeLayer { .. } | Self::OtherProcess => false,
        }
    }

    /// True if `other` is the same condition, perhaps with another text.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.kind(), self.upstream(), self.subject())
            == (other.kind(), other.upstream(), other.subject())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CredentialsRefused { upstream, status } => {
                write!(f, "credentials refused by {upstream} ({status})")
            }
            Self::SharedFault {
                layer: Some(layer),
                cause,
            } => write!(f, "layer {layer} fails everywhere: {cause}"),
            Self::SharedFault { layer: None, cause } => {
                write!(f, "requests fail everywhere: {cause}")
            }
            Self::LocalFault { fault } => write!(f, "probes fail by a fault of our own: {fault}"),
            Self::ProbeInDoubt { layer, cause } => {
                match layer {
                    Some(layer) => write!(f, "probe layer {layer} ")?,
                    None => f.write_str("the probe for capabilities ")?,
                }
                match cause {
                    Cause::Credentials(status) => {
                        write!(f, "is not public: refused by all ({status})")
                    }
                    cause if is_unknown_layer(cause) => f.write_str("unknown on all"),
                    cause => write!(f, "fails on all: {cause}"),
                }
            }
            Self::CanaryInDoubt { layer, cause } => {
                match layer {
                    Some(layer) => write!(f, "canary layer {layer} ")?,
                    None => f.write_str("the canary for capabilities ")?,
                }
                match cause {
                    cause if is_unknown_layer(cause) => {
                        f.write_str("unknown where nothing was reloaded, too")
                    }
                    cause => write!(f, "fails where nothing was reloaded, too: {cause}"),
                }
            }
            Self::FailOpen { causes } if causes.is_empty() => {
                f.write_str("no upstream passes its probe")
            }
            Self::FailOpen { causes } => {
                write!(f, "no upstream passes its probe: {}", causes.join("; "))
            }
            Self::UpdateSequenceUnknown { main } => {
                write!(
                    f,
                    "{main} does not report its updateSequence: whether the replicas have its last change is unknown"
                )
            }
            Self::Certificate(trouble) => {
                write!(f, "{}: {}", trouble.subject, trouble.what)
            }
            Self::OtherProcess => f.write_str(
                "another geofront with the same state file runs: this one reloads no catalog until that one has ended",
            ),
            Self::TilesOld { upstream, cause } => {
                write!(f, "{upstream} does not drop old tiles from its cache: {cause}")
            }
            Self::NoProbeLayer { why } => {
                write!(f, "no layer could be chosen for probes and canaries: {why}")
            }
            Self::LayerMissing { upstream, layer } => {
                write!(
                    f,
                    "{upstream} does not know {layer}, which the main has, although it was reloaded for it"
                )
            }
        }
    }
}

/// True if the text is GeoServer's message for a layer that it does not have.
fn is_unknown_layer(cause: &Cause) -> bool {
    matches!(cause, Cause::Unexpected(text) if fault_texts::has_missing_layer_code(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> UpstreamName {
        UpstreamName::new(name).unwrap()
    }

    fn refused(upstream: &str, status: u16) -> Condition {
        Condition::CredentialsRefused {
            upstream: name(upstream),
            status,
        }
    }

    /// Returns one condition of each kind.
    fn samples() -> [Condition; Condition::KINDS.len()] {
        let cause = Cause::Unexpected("LayerNotDefined: Could not find layer geor:x".to_owned());
        [
            refused("replica2", 401),
            Condition::LocalFault {
                fault: LocalFault::Descriptors,
            },
            Condition::ProbeInDoubt {
                layer: Some("geor:x".to_owned()),
                cause,
            },
            Condition::CanaryInDoubt {
                layer: Some("geor:x".to_owned()),
                cause: Cause::Status(500),
            },
            Condition::FailOpen {
                causes: vec!["replica1: status 500".to_owned()],
            },
            Condition::SharedFault {
                layer: Some("geor:y".to_owned()),
                cause: "status 500".to_owned(),
            },
            Condition::UpdateSequenceUnknown { main: name("main") },
            Condition::LayerMissing {
                upstream: name("replica2"),
                layer: "geor:roads".to_owned(),
            },
            Condition::TilesOld {
                upstream: name("replica2"),
                cause: Cause::Status(500),
            },
            Condition::NoProbeLayer {
                why: "the main's capabilities list no layer".to_owned(),
            },
            Condition::OtherProcess,
            Condition::Certificate(CertificateTrouble {
                subject: "certificate maps.example.org of listener public".to_owned(),
                what: "it expires in 3 days".to_owned(),
                remedy: "put valid certificates and keys into the files",
            }),
        ]
    }

    #[test]
    fn every_kind_is_listed_and_documented_and_has_a_sentence_and_a_remedy() {
        let manual = include_str!("../../docs/operations.md");
        assert_eq!(
            samples().map(|condition| condition.kind()),
            Condition::KINDS
        );
        for condition in samples() {
            let row = format!("| `{}` |", condition.kind());
            assert!(manual.contains(&row), "docs/operations.md lacks {row}");
            assert!(
                !condition.to_string().contains('\n') && condition.to_string().len() > 10,
                "{condition}"
            );
            assert!(condition.remedy().len() > 20, "{condition}");
        }
    }
}
