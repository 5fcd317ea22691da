//! The Pingora adapter: each hook calls the step of the request that it stands for.
//!
//! Three layers, each of which uses only those below it:
//!
//! ```text
//!  hooks         `impl ProxyHttp`
//!  steps         the story of one request, in order; `FrontDoor` holds what requests share, `Context` what one carries
//!  client, upstream, response, read_your_writes, connection, tls, http2, coalesce, access_log, headers, session_cookie
//!                parts for the steps: these use neither `FrontDoor` nor `Context`
//! ```
//!
//! A lease ends exactly once: on the next attempt, at the end of the upstream's answer, in
//! `logging`, or when [`Context`] drops.

pub mod access_log;
pub mod client;
mod coalesce;
mod connection;
mod context;
mod front_door;
pub mod headers;
mod hooks;
mod http2;
mod read_your_writes;
pub mod response;
mod running;
mod session_cookie;
mod steps;
mod tls;
mod upstream;

pub use access_log::recent::Recent;
pub use connection::{ConnectionParts, Connections};
pub use context::Context;
pub use front_door::{FrontDoor, SharedParts};
pub use running::{KEPT_GRACE, RunningRequests};
