//! The Pingora adapter: each hook translates, calls something testable, translates back.
//!
//! ```text
//!  (connection, inbox)    the head is judged, or refused, before Pingora sees it
//!  early_request_filter   limits that Pingora leaves open (keep-alive, body, write)
//!  request_filter         classify; refuse what no upstream may see, and what the limits shut out; follow an identical request
//!                         that is under way
//!  upstream_peer          a place at once, or after a wait -> Attempt with its Lease      <-- again for a retry
//!  upstream_request_*     headers for GeoServer; the body's limit
//!  upstream_response_*    evidence about the upstream, hints about the catalog; a bad answer nobody has seen yet is tried
//!                         elsewhere, and one that does not know its layer on the main
//!  fail_to_proxy          a refusal in OGC shape
//!  logging                outcome, metrics, access line; the lease goes back
//! ```
//!
//! A lease ends exactly once: on the next attempt, at the end of the upstream's answer, in
//! `logging`, or when [`Context`] drops.

pub mod access_log;
pub mod catalog_writes;
pub mod client;
mod coalesce;
mod connection;
mod context;
mod front_door;
mod handles;
pub mod headers;
mod hooks;
pub mod response;
mod running;
mod steps;
mod upstream;
mod waiting;

use upstream::retry_budget as budget;

pub use access_log::recent::Recent;
pub use connection::{ConnectionParts, Connections};
pub use context::Context;
pub use front_door::FrontDoor;
pub use running::RunningRequests;
