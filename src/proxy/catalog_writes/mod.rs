//! Writes to the catalog that pass through the proxy, and the reads of their authors.

pub mod hints;
pub(in crate::proxy) mod read_your_writes;
pub(in crate::proxy) mod scope;
