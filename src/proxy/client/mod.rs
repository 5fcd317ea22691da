//! The client's side of a request: its identity, its head, the start of its body.

pub(in crate::proxy) mod body_prefix;
pub(in crate::proxy) mod forwarded;
pub(in crate::proxy) mod head;
pub(in crate::proxy) mod identity;
pub(in crate::proxy) mod max_forwards;
pub(in crate::proxy) mod rates;
pub mod request_id;
pub(in crate::proxy) mod session;
