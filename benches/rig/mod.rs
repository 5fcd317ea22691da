//! What the benches share: programs under measurement, a client, quantiles, and what the machine
//! is.
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
