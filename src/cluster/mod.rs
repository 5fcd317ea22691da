//! The state of the cluster as a machine: events in, actions out.
//!
//! `Cluster` takes in events ([`Event`]), returns the actions that are due ([`Action`]), and is
//! published as a [`Snapshot`] that requests read. It knows no clock, socket or thread: `now` is a
//! parameter.
//!
//! ```text
//!   Configured Probed Observed Tick --handle--> Cluster --poll_action--> Probe
//!                                                  |  \--next_deadline-> when to poll again
//!                                          take_snapshot
//!                                                  v
//!                              request --select--> Lease
//! ```
//!
//! Promises that hold after every event:
//!
//! * An upstream gets nothing while it cannot be reached or is not ready. It gets no reads before
//!   its first passed probe, nor while its answers are wrong and another's are right (`witness`).
//!   While none passes, all that are reachable serve reads.
//! * Load, health, ejection and catalog survive every config reload at an address that is kept. An
//!   ordered mode survives it under a name that is kept.
//! * The evidence of requests alone never ejects more than half of the upstreams that could serve
//!   reads, and never the last of them. A layer that is broken everywhere must not empty the
//!   cluster. When the others are gone, ejections are lifted.
//! * After `poll_action` returned `None`, the next deadline is in the future.

mod catalog;
mod chosen_layer;
mod condition;
mod conditions;
mod event;
mod local_fault;
mod machine;
mod memory;
mod mode;
mod outcome;
mod reconcile;
mod rescue;
mod selection;
mod shared_faults;
mod snapshot;
mod status;
mod transition;
mod upstream;
mod upstream_state;
mod upstreams;
mod witness;

#[cfg(test)]
mod tests;

pub use crate::health::HealthState;
pub use catalog::{
    About, CatalogStatus, ChangeSource, Concern, FileChange, Hint, Hold, LastCatalogReload,
    ReloadPhase, ReplicaRoll, RollReason, RollReport, Sighting, SyncError, TRUNCATION_LIMIT,
    Ticket, Tickets, TileCacheStatus, Truncation, TruncationCall, UpstreamCatalog,
};
pub use chosen_layer::LayerChoice;
pub use condition::{Condition, ConditionStatus};
pub use event::{Action, Event};
pub use local_fault::LocalFault;
pub use machine::Cluster;
pub use memory::{LearnedLimit, Memory, OrderedMode, OwedTiles, Remembered};
pub use mode::{LastServing, Mode, ModeError, ModeOrder, ModeOrigin};
pub use outcome::{Cause, Outcome, ProbeReport};
pub use selection::{MainPreference, SelectionRequest};
pub use shared_faults::Subject;
pub use snapshot::{NoUpstream, Selection, SlowUpstream, Snapshot, Tried};
pub use status::{Cap, ClusterStatus, UpstreamStatus};
pub use transition::{Fields, Transition, TransitionKind};
pub use upstream::{Upstream, UpstreamId};

use catalog::{CatalogMachine, ReloadTarget, ReplicaCatalog};
use shared_faults::Grounds;
