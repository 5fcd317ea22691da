//! geofront: the front door of GeoServer clusters.
//!
//! A module imports only from floors below it (`tests/tidy.rs` holds us to it); floors 0 to 3 are
//! pure: no clock, socket, file, thread or log. See `ARCHITECTURE.md` for the plan of the house.

// Floor 0: is this a request at all, and what kind is it.
pub mod hash;
pub mod http1;
pub mod ogc;
// Floor 1: text -> validated configuration -> what changed.
pub mod config;
// Floor 2: who takes it; who is fit to; who waits.
pub mod admission;
pub mod balance;
pub mod health;
// Floor 3: the state of the world as a machine: event in, action out.
pub mod cluster;
// Floor 4: the machine behind a lock, its snapshot behind one swap; the counters.
pub mod control;
pub mod metrics;
// Floor 5: file -> Config -> Change -> Control.
pub mod config_reload;
// Floor 6: Pingora, HTTP, files and clocks.
pub mod admin;
pub mod driver;
pub mod proxy;
// Floor 7: the place that names every part and wires it.
pub mod app;
// Floor 8: a simulated cluster behind a real front door.
pub mod demo;
// Floor 9: the command line.
pub mod cli;
// Beside the house: the GeoServer double that demo, tests and benches share.
pub mod geosim;
