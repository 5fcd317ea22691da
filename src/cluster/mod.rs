//! The state of the world as a machine: event in, action out.
//!
//! `Cluster` is told what happened ([`Event`]), says what is due ([`Action`]), and is published as a [`Snapshot`] that requests
//! read. It knows no clock, socket or thread: `now` is a parameter.

mod snapshot;
mod status;
mod upstream;
mod words;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Config, UpstreamName};

pub use snapshot::{NoUpstream, Selection, Snapshot, Tried};
pub use status::{ClusterStatus, UpstreamStatus};
pub use upstream::{Upstream, UpstreamId};

/// What we measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    Unknown,
    Up,
    Down,
}

/// What an operator ordered (HAProxy's READY, DRAIN, MAINT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Ready,
    /// Nothing new; what runs may finish; still probed.
    Drain,
    /// Nothing at all, probes neither.
    Maintenance,
}

/// What an attempt told about the upstream. Client faults and client aborts tell nothing and are not reported.
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
}

/// The result of an active check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    pub outcome: Outcome,
    pub took: Duration,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A configuration is in force from now on.
    Configured(Arc<Config>),
    Probed {
        upstream: UpstreamId,
        report: ProbeReport,
    },
    Observed {
        upstream: UpstreamId,
        outcome: Outcome,
    },
    /// Time passed.
    Tick,
}

/// What is due.
#[derive(Debug)]
pub enum Action {
    Probe(Arc<Upstream>),
}

/// Something an operator wants to know: one log line, one server-sent event.
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
    Health {
        from: HealthState,
        to: HealthState,
        cause: Option<Cause>,
    },
    Ejected {
        until: Instant,
        cause: Cause,
    },
    /// The ejection is over; one request at a time until one succeeds.
    HalfOpen,
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

/// Why a mode change was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeError {
    NoSuchUpstream(String),
    /// It is the last one that serves; `--force` overrides.
    LastServing(UpstreamName),
}

impl fmt::Display for ModeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchUpstream(name) => write!(f, "no upstream is called `{name}`"),
            Self::LastServing(name) => write!(f, "`{name}` is the last upstream that serves requests"),
        }
    }
}

impl std::error::Error for ModeError {}

/// The machine.
#[derive(Debug)]
pub struct Cluster {
    config: Arc<Config>,
    revision: u64,
}

impl Cluster {
    /// Everything unknown, the first probes due at `now`.
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        let _ = now;
        Self { config, revision: 1 }
    }

    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Transition> {
        let _ = (event, now);
        Vec::new()
    }

    /// An operator's order.
    pub fn set_mode(&mut self, name: &str, mode: Mode, force: bool, now: Instant) -> Result<Vec<Transition>, ModeError> {
        let _ = (mode, force, now);
        Err(ModeError::NoSuchUpstream(name.to_owned()))
    }

    /// The next thing due; call until `None`.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        let _ = now;
        None
    }

    /// When something is due next without an event.
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.revision, Arc::clone(&self.config))
    }

    pub fn status(&self, now: Instant) -> ClusterStatus {
        let _ = now;
        ClusterStatus { revision: self.revision, upstreams: Vec::new() }
    }
}
