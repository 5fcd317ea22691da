//! Events that the cluster takes in, and actions that it requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{FileChange, LayerChoice, LocalFault, Subject, Upstream, UpstreamId};
use crate::config::{Address, CertificateTrouble, Config, UpstreamName};
use crate::health::{Severity, Verdict};

/// An event for the cluster.
#[derive(Debug)]
pub enum Event {
    /// A configuration is in force from now on.
    Configured(Arc<Config>),
    /// The host name of an upstream was resolved. The event has its present address, or the reason
    /// why that is unknown.
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
        /// The subject of a failure; without one (`None`) the failure is compared with no other.
        subject: Option<Subject>,
    },
    /// A query for the `updateSequence` of an upstream, sent at `asked`, ended.
    VersionRead {
        upstream: UpstreamId,
        asked: Instant,
        number: Option<u64>,
    },
    /// A catalog reload of a replica, begun at `asked`, ended with or without an answer.
    CatalogReloaded {
        upstream: UpstreamId,
        asked: Instant,
        outcome: Result<(), Cause>,
    },
    /// A trial of the `[geoserver]` credentials on a replica, begun at `asked`, ended.
    CredentialsTried {
        upstream: UpstreamId,
        asked: Instant,
        outcome: Result<(), Cause>,
    },
    /// A canary test of a reloaded replica, begun at `asked`, ended. It includes a query for its
    /// update sequence.
    CanaryTested {
        upstream: UpstreamId,
        asked: Instant,
        outcome: Outcome,
        number: Option<u64>,
    },
    /// A canary request to an upstream in service, sent at `asked`, ended.
    CanaryTried { asked: Instant, outcome: Outcome },
    /// A catalog reload of the main, begun at `asked`, ended with or without an answer.
    MainReloaded {
        upstream: UpstreamId,
        asked: Instant,
        outcome: Result<(), Cause>,
    },
    /// The choice of a layer for probes and canaries, requested at `asked`, ended with a layer or
    /// with the reason why there is none.
    LayerChosen {
        asked: Instant,
        layer: Result<String, &'static str>,
    },
    /// The main answered but did not draw the chosen layer.
    LayerLost { layer: String },
    /// The data directory's `global.xml` was found changed.
    DirectoryChanged(FileChange),
    /// The certificates of the listeners were checked; these need an operator.
    CertificatesChecked(Vec<CertificateTrouble>),
    /// A request sent at `sent` showed that a replica lacks a layer or workspace of the main.
    StaleSeen {
        upstream: UpstreamId,
        /// The layer as the request named it; empty if the name is not known.
        layer: Box<str>,
        sent: Instant,
    },
    /// Time passed.
    Tick,
}

/// An action that is due.
#[derive(Debug)]
pub enum Action {
    /// Probe the upstream, and report one [`Event::Probed`]. No other probe of this upstream is due
    /// before that, or before its deadline.
    Probe(Arc<Upstream>),
    /// Query the update sequence, and report one [`Event::VersionRead`].
    ReadVersion(Arc<Upstream>),
    /// Try the credentials, and report one [`Event::CredentialsTried`].
    TryCredentials(Arc<Upstream>),
    /// Reload the catalog of a replica, and report one [`Event::CatalogReloaded`]. No request is in
    /// flight there, or none that could be waited for.
    ReloadCatalog(Arc<Upstream>),
    /// Reload the main, and report one [`Event::MainReloaded`]. The main reads the data directory
    /// before its replicas do, and goes on serving the classes that only it serves.
    ReloadMain(Arc<Upstream>),
    /// Choose a layer, and report one [`Event::LayerChosen`].
    ChooseLayer(LayerChoice),
    /// Test the canary of a reloaded replica, and report one [`Event::CanaryTested`].
    TestCanary(Arc<Upstream>),
    /// Request the canary from an upstream in service, because a reloaded replica does not draw it,
    /// and report one [`Event::CanaryTried`].
    TryCanary(Arc<Upstream>),
}

/// The result of an active check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    pub outcome: Outcome,
    /// Time from the probe's request to its report.
    pub took: Duration,
}

/// The outcome of an attempt, as evidence about the upstream. Client faults and client aborts are
/// no evidence and are not reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// The upstream answered that it is busy (control-flow's 503 or 429). This is a load signal,
    /// never evidence against it.
    Busy,
    Failure(Cause),
}

/// The reason why an attempt or a probe counts against an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The connection failed: refused, unreachable or a TLS error, with the reason.
    Connect(String),
    /// No answer came within the limit.
    Timeout(&'static str),
    /// A probe was not answered within the limit, although the upstream answers a lighter request.
    /// Its queue is full, or the probe depends on something slow.
    Slow(&'static str),
    /// The connection died before or within the answer.
    Reset(&'static str),
    /// A status that a working GeoServer does not send.
    Status(u16),
    /// The answer ended too early.
    Truncated,
    /// A 200 with GeoServer's report that the node is broken, and the text of that report.
    NodeFault(String),
    /// A probe's answer was not the expected one; with the difference.
    Unexpected(String),
    /// The status, 401 or 403, with which GeoServer refused our own credentials. It is evidence
    /// about the credentials, never about the upstream's health.
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

    /// Returns the status with which GeoServer refused our credentials, or our lack of them.
    pub(super) const fn refused_credentials(&self) -> Option<u16> {
        match self {
            Self::Success | Self::Busy => None,
            Self::Failure(cause) => cause.refused_credentials(),
        }
    }
}

impl Cause {
    /// The reason in [`Self::Connect`] if no process listens on the port.
    pub const REFUSED: &'static str = "connection refused";

    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Connect(reason) if reason == Self::REFUSED)
    }

    /// Classifies this cause as the result of a probe: reachability, content or credentials.
    pub(super) const fn verdict(&self) -> Verdict {
        match self {
            Self::Connect(_) | Self::Timeout(_) | Self::Reset(_) => Verdict::Unreachable,
            Self::Slow(_) | Self::Status(_) | Self::Truncated => Verdict::Failed,
            Self::NodeFault(_) | Self::Unexpected(_) => Verdict::Failed,
            Self::Credentials(_) => Verdict::Refused,
            Self::Local(_) => Verdict::Unasked,
        }
    }

    /// True if this is the same fault as `other`, as far as its text shows. For an exception, the
    /// code decides.
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

    /// Returns the status with which GeoServer refused our credentials.
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

    /// Returns the fault of our own that caused the failure.
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
