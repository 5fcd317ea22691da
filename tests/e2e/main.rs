//! The front door end to end: the real proxy on real sockets before geosim. Each test is named for
//! a promise.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod binary;
mod chosen_layer;
mod client;
mod load;
mod long_posts;
mod requests;
mod rig;

mod acme;
mod activation;
mod affinity;
mod catalog;
mod classes;
mod client_faults;
mod clusters;
mod coalescing;
mod compression;
mod cors;
mod doubt;
mod fidelity;
mod file_watch;
mod framing;
mod hardening;
mod health;
mod hot_swap;
mod http1_rules;
mod http2;
mod http2_floods;
mod http2_rules;
mod jobs;
mod lifecycle;
mod limits;
mod losses;
mod malformed;
mod named_upstream;
mod pauses;
mod process;
mod proxy_protocol;
mod public_path;
mod refusals;
mod rescue;
mod restart;
mod retries;
mod routes;
mod sessions;
mod shared_faults;
mod slow_clients;
mod soak;
mod tile_caches;
mod tls;
mod tls_client;
mod traces;
mod truncation;
mod trust;
mod unix_sockets;
mod unseen_changes;
mod upstream_tls;
