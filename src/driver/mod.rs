//! Does what the cluster asks and reports what happened.

pub mod probe;
