//! The shared parts of the benches: programs under measurement, a client, quantiles, and a
//! description of the machine.
//!
//! Each bench is a program of its own and takes in all of this, so each leaves some of it unused.
#![allow(dead_code, reason = "every bench uses a part")]

pub(crate) mod administrator;
pub(crate) mod client;
pub(crate) mod haproxy;
pub(crate) mod machine;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod quantiles;
pub(crate) mod question;
pub(crate) mod watch;
