//! The story of one request, a file for each step, in the order a request takes them.
//!
//! ```text
//!  cluster   one of several clusters, by host and path
//!  receive   the client's identity, the class; what no upstream may see is refused
//!    public_path  the target as the upstream knows it
//!  route     the operator's rules
//!  direct    an administrator names the upstream
//!  jobs      an execution in the background is followed to its upstream
//!  limits    blocked clients, rates, and the limits that the attempts have to pass
//!  share     an identical request that is under way is followed
//!  admit     a slot at an upstream, at once or after a wait                  <-- again for a retry
//!  send      the head and the body of the request
//!  answer    evidence about the upstream, in head and body
//!    learn   what it teaches; writes: hints that the catalog changed; doubt: a replica that is stale
//!    session_view  a replica does not know the session of a client
//!  compress  the answer, where the upstream did not and the client accepts it
//!  retry     a failed attempt or a rejected answer: whether another attempt follows
//!  refuse    our own answer, where no upstream gives one
//!  finish    metrics and the access line
//!  trace     along the way: the spans of a traced request, and its headers for the upstream
//! ```

mod admit;
pub(super) mod answer;
mod cluster;
mod compress;
mod direct;
mod doubt;
mod finish;
mod jobs;
mod learn;
mod limits;
mod public_path;
pub(super) mod receive;
pub(super) mod refuse;
mod retry;
mod route;
pub(super) mod send;
mod session_view;
mod share;
mod trace;
mod writes;
