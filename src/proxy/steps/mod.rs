//! The story of one request, a file a step, in the order a request takes them.

mod admit;
mod answer;
pub(in crate::proxy) mod finish;
pub(in crate::proxy) mod limits;
pub(in crate::proxy) mod refuse;
