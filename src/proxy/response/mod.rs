//! Answers: the evidence in an upstream's answer, and the answers that geofront gives itself.

pub(in crate::proxy) mod compression;
pub(in crate::proxy) mod cors;
pub(in crate::proxy) mod encoder;
pub(in crate::proxy) mod evidence;
pub(in crate::proxy) mod finding;
pub(in crate::proxy) mod framing;
pub(in crate::proxy) mod inspection;
pub(in crate::proxy) mod public_path;
pub mod respond;
pub(in crate::proxy) mod sniff;
mod vary;
