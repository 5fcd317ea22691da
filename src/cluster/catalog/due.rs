//! The timer of all repeated actions of the catalog machine.

pub(in crate::cluster) use crate::health::PollTimer as Due;
