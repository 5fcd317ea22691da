//! The GeoServer double behaves as GeoServer does, and breaks as told. Asked over real sockets by a client that hides
//! nothing.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail like a test")]

mod capacity;
mod catalog;
mod client;
mod faults;
mod http;
mod rest;
mod services;
mod tiles;
mod web;
