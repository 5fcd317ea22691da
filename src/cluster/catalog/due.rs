//! The timer of everything that the catalog's machine repeats.

pub(in crate::cluster) use crate::health::PollTimer as Due;
