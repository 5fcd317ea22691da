//! geofront: the front door of GeoServer clusters.
//!
//! A module imports only from floors below it, which `tests/tidy.rs` enforces. Floors 0 to 3 are
//! pure: no clock, socket, file, thread or log. `ARCHITECTURE.md` explains the floors.

// Below every floor: hash functions and the time since 1970.
pub mod hash;
pub mod unix_time;
// Floor 0: certificates; parsing and classifying requests.
pub mod certificates;
pub mod http1;
pub mod ogc;
pub mod proxy_header;
// Floor 1: from text to a validated configuration and its changes.
pub mod config;
// Floor 2: admission, balancing and the health of single upstreams.
pub mod admission;
pub mod balance;
pub mod health;
// Floor 3: the cluster as a state machine: events in, actions out.
pub mod cluster;
// Floor 4: the cluster behind its lock and snapshot; metrics; writes to the catalog.
pub mod catalog_writes;
pub mod control;
pub mod metrics;
pub mod named_upstream;
// Floor 5: certificates by ACME; config reloads; the decision about a request in words; time
// limits; traces; upstreams as Pingora's peers; the place where requests wait for a slot.
pub mod acme;
pub mod config_reload;
pub mod explanation;
pub mod own_time;
pub mod traces;
pub mod upstream_peer;
pub mod waiting_room;
pub mod whole_file;
// Floor 6: Pingora, HTTP, files and clocks.
pub mod admin;
pub mod driver;
pub mod proxy;
// Floor 7: creates and connects all parts.
pub mod app;
// Floor 8: a simulated cluster behind a real front door.
pub mod demo;
// Floor 9: the command line.
pub mod cli;
// Outside the floors: the GeoServer double of demo, tests and benches.
pub mod geosim;
