//! Tests that the GeoServer double behaves as GeoServer does, and breaks on demand. The requests
//! travel over real sockets, from a client that hides nothing.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test may fail like a test"
)]

mod capacity;
mod catalog;
mod client;
mod dispatcher;
mod errors;
mod faults;
mod http;
mod reloads;
mod rest;
mod services;
mod state;
mod tiles;
mod web;
