//! What the cluster is told, and what it asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{FileChange, LayerChoice, LocalFault, Subject, Upstream, UpstreamId};
use crate::config::{Address, Config, UpstreamName};
use crate::health::{Severity, Verdict};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A configuration is in force from now on.
    Configured(Arc<Config>),
    /// The name of an upstream's host was looked up, and this is where it is now, or why that is
    /// not known.
    Resolved {
        upstream: UpstreamName,
        address: Address,
    },
    Probed {
        upstream: UpstreamId,
        report: ProbeReport,
    },
    /// An attempt ended that was sent at `sent`.
    Observed {
        upstream: UpstreamId,
        sent: Instant,
        outcome: Outcome,
        /// What a failure is about; `None` compares it with no other.
        subject: Option<Subject>,
    },
    /// An upstream was asked at `asked` for its `updateSequence`.
    VersionRead {
        upstream: UpstreamId,
        asked: Instant,
        number: Option<u64>,
    },
    /// A replica answered the catalog reload that was begun at `asked`, or did not.
    CatalogReloaded {
        upstream: UpstreamId,
        asked: Instant,
        outcome: Result<(), Cause>,
    },
    /// A replica was asked at `asked` whether it takes the credentials of `[geoserver]`.
    CredentialsTried {
        upstream: UpstreamId,
        asked: Instant,
        outcome: Result<(), Cause>,
    },
    /// A reloaded replica was asked at `asked` for the canary, and then for its number.
    CanaryTested {
        upstream: UpstreamId,
        asked: Instant,
        outcome: Outcome,
        number: Option<u64>,
    },
    /// An upstream that serves was asked for the canary at `asked`.
    CanaryTried { asked: Instant, outcome: Outcome },
    /// The main answered the catalog reload that was begun at `asked`, or did not.
    MainReloaded {
        upstream: UpstreamId,
        asked: Instant,
        outcome: Result<(), Cause>,
    },
    /// A layer for probes and canaries was chosen that was asked for at `asked`, or why there is
    /// none.
    LayerChosen {
        asked: Instant,
        layer: Result<String, &'static str>,
    },
    /// The main answered, and did not draw the layer that was chosen.
    LayerLost { layer: String },
    /// The data directory's `global.xml` was found changed.
    DirectoryChanged(FileChange),
    /// A replica did not know a layer or workspace that the main knows, to a request that was sent
    /// at `sent`.
    StaleSeen {
        upstream: UpstreamId,
        /// As the request named it; empty where that is not known.
        layer: Box<str>,
        sent: Instant,
    },
    /// Time passed.
    Tick,
}

/// What is due.
#[derive(Debug)]
pub enum Action {
    /// To be answered by one [`Event::Probed`]. No other probe of this upstream is due before, or
    /// before it must have ended.
    Probe(Arc<Upstream>),
    /// To be answered by one [`Event::VersionRead`].
    ReadVersion(Arc<Upstream>),
    /// To be answered by one [`Event::CredentialsTried`].
    TryCredentials(Arc<Upstream>),
    /// To be answered by one [`Event::CatalogReloaded`]. Nothing is in flight there, or nothing
    /// that could be waited for.
    ReloadCatalog(Arc<Upstream>),
    /// The main reads the data directory before its replicas do. To be answered by one
    /// [`Event::MainReloaded`]. It goes on serving what only the main serves.
    ReloadMain(Arc<Upstream>),
    /// To be answered by one [`Event::LayerChosen`].
    ChooseLayer(LayerChoice),
    /// To be answered by one [`Event::CanaryTested`].
    TestCanary(Arc<Upstream>),
    /// Whether one that serves draws the canary, as a replica that was reloaded does not. To be
    /// answered by one [`Event::CanaryTried`].
    TryCanary(Arc<Upstream>),
}

/// The result of an active check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    pub outcome: Outcome,
    /// From the question to the report.
    pub took: Duration,
}

/// What an attempt told about the upstream. Client faults and client aborts tell nothing and are
/// not reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// It asked for patience (control-flow's 503 or 429): a load signal, never evidence against it.
    Busy,
    Failure(Cause),
}

/// Why an attempt or a probe counts against an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Refused, unreachable, TLS failed; with the reason.
    Connect(String),
    /// Nothing came within the limit.
    Timeout(&'static str),
    /// A probe was not answered within the limit, although the upstream answers something lighter:
    /// its queue is full, or what the probe needs is slow.
    Slow(&'static str),
    /// The connection died before or within the answer.
    Reset(&'static str),
    /// A status that a working GeoServer does not send.
    Status(u16),
    /// The answer ended too early.
    Truncated,
    /// A 200 that says the node is broken: what it says.
    NodeFault(String),
    /// A probe's answer was not the expected one: what was wrong with it.
    Unexpected(String),
    /// The status, 401 or 403, with which GeoServer refused our own credentials. It concerns those,
    /// never its health.
    Credentials(u16),
    /// A fault of our own. It is no evidence about any upstream.
    Local(LocalFault),
}

impl Outcome {
    pub(super) const fn verdict(&self) -> Verdict {
        match self {
            Self::Success => Verdict::Passed,
            Self::Busy => Verdict::Busy,
            Self::Failure(cause) => cause.verdict(),
        }
    }

    /// The status with which GeoServer refused our credentials, or our lack of them.
    pub(super) const fn refused_credentials(&self) -> Option<u16> {
        match self {
            Self::Success | Self::Busy => None,
            Self::Failure(cause) => cause.refused_credentials(),
        }
    }
}

impl Cause {
    /// What [`Self::Connect`] says where nobody listens: the process is not there.
    pub const REFUSED: &'static str = "connection refused";

    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Connect(reason) if reason == Self::REFUSED)
    }

    /// What it says as the result of a probe: about reachability, content or credentials.
    pub(super) const fn verdict(&self) -> Verdict {
        match self {
            Self::Connect(_) | Self::Timeout(_) | Self::Reset(_) => Verdict::Unreachable,
            Self::Slow(_) | Self::Status(_) | Self::Truncated => Verdict::Failed,
            Self::NodeFault(_) | Self::Unexpected(_) => Verdict::Failed,
            Self::Credentials(_) => Verdict::Refused,
            Self::Local(_) => Verdict::Unasked,
        }
    }

    /// Whether it is the same fault as `other`, as far as words show: of an exception, the code
    /// decides.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NodeFault(a), Self::NodeFault(b))
            | (Self::Unexpected(a), Self::Unexpected(b)) => {
                let code = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
                code(a) == code(b)
            }
            (a, b) => a == b,
        }
    }

    /// The status with which GeoServer refused our credentials.
    pub(super) const fn refused_credentials(&self) -> Option<u16> {
        match self {
            Self::Credentials(status) => Some(*status),
            Self::Connect(_)
            | Self::Timeout(_)
            | Self::Slow(_)
            | Self::Reset(_)
            | Self::Status(_) => None,
            Self::Truncated | Self::NodeFault(_) | Self::Unexpected(_) | Self::Local(_) => None,
        }
    }

    /// The fault of our own that stood in the way.
    pub const fn local_fault(&self) -> Option<LocalFault> {
        match self {
            Self::Local(fault) => Some(*fault),
            Self::Connect(_)
            | Self::Timeout(_)
            | Self::Slow(_)
            | Self::Reset(_)
            | Self::Status(_)
            | Self::Truncated => None,
            Self::NodeFault(_) | Self::Unexpected(_) | Self::Credentials(_) => None,
        }
    }

    pub(super) const fn severity(&self) -> Severity {
        match self {
            Self::Connect(_) => Severity::Unreachable,
            Self::NodeFault(_) => Severity::NodeFault,
            Self::Timeout(_)
            | Self::Slow(_)
            | Self::Reset(_)
            | Self::Status(_)
            | Self::Truncated => Severity::Ordinary,
            Self::Unexpected(_) | Self::Credentials(_) | Self::Local(_) => Severity::Ordinary,
        }
    }
}
