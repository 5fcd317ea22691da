//! Outcomes of attempts and probes, the causes of failures, and the evidence that each gives.

use std::fmt;
use std::time::Duration;

use super::LocalFault;
use crate::health::{Severity, Verdict};

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
            Self::Local(_) => Verdict::Prevented,
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
            Self::NodeFault(text) => write!(f, "node fault: {text}"),
            Self::Unexpected(wrong) => write!(f, "unexpected answer: {wrong}"),
            Self::Credentials(status) => write!(f, "credentials refused: status {status}"),
            Self::Local(fault) => fault.fmt(f),
        }
    }
}
