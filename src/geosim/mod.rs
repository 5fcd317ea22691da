//! The GeoServer double: the truth about GeoServer's behaviour in one place, for the demo, tests
//! and benches.
//!
//! ```
//! use geofront::geosim::{Cluster, Fault};
//! use geofront::ogc::RequestClass;
//!
//! let cluster = Cluster::start(2);
//! cluster.replica(1).suffers(Fault::OutOfMemory.only(RequestClass::Map).sometimes(0.5));
//! cluster.replica(2).kill();
//! cluster.main().publish("geor:new_roads");
//! // ... ask the front door, whose upstreams are `cluster.main().address()` and so on, then look at what arrived:
//! assert_eq!(cluster.main().received(RequestClass::Map), 0);
//! assert!(cluster.data().writes().is_empty());
//! cluster.replica(2).restart();
//! ```
//!
//! ```text
//!  Cluster ── main, replica1, replica2 ...        each an Instance: a port, a thread, a runtime
//!     │            │
//!     │            ├── Behaviour   what it is from the start: flavour, capacity, service times, reload time, seed
//!     │            ├── Controls    what is done to it while it runs (faults, speed), what it has seen (requests, counts)
//!     │            └── Life        what it has in memory: its catalog, locks, sessions; gone when it is killed
//!     └── DataDirectory            what all share and none looks at before it starts or reloads; the record of all writes
//! ```
//!
//! # What is true to GeoServer
//!
//! - Each instance serves its own copy of the catalog. `POST /rest/reload` empties it, reads for
//!   [`Behaviour::reload_time`], and meanwhile OWS requests are answered wrongly, with status 200
//!   or 404, while REST reads of the catalog wait.
//! - `updateSequence` moves with every catalog event, five to eight times for one published layer;
//!   with a reload too, or not, by [`Flavour`].
//! - The dispatcher's rules, errors in the shape and status of each service and version,
//!   compression, sessions, locks and background processes in the memory of one instance, Tomcat's
//!   keep-alive and its error pages, one metatile rendered for sixteen tiles.
//!
//! # What helps to test
//!
//! - Maps are real PNGs in a tint of the instance's own with its name on them. Collections end with
//!   the number of features they hold, so a client can distinguish a whole answer from a broken
//!   one.
//! - `X-Geosim` names the instance that answered. `X-Geosim-Epoch` counts the edits that its
//!   catalog has seen (whatever the flavour does to `updateSequence`). `X-Geosim-Tag` repeats the
//!   request's `geosim_tag`. `X-Geosim-Look` stands for the style and the data of a tile.
//!   A request may state its work: `geosim_work=350ms`.
//! - [`DataDirectory::writes`] lists everything executed that must not be executed twice.
//! - [`Controls::requests`] gives the last requests byte for byte.
//! - Faults begin and end before the call that orders them returns; chance is drawn from a seed.
//!
//! # Why HTTP by hand
//!
//! A sick GeoServer ends bodies early, resets in the middle of an answer, leaves requests unread
//! and accepts connections that it never serves. A server library exists to prevent that. Using one
//! would require a socket wrapper that knows what the library is about to write. So requests are
//! parsed by `httparse`, and answers are written here. This also makes a map cost only a few
//! microseconds: benches run several instances on one core.

mod answer;
mod auth;
mod behaviour;
mod capabilities;
mod capabilities_document;
mod capacity;
mod chance;
mod cluster;
mod connection;
mod control_url;
mod controls;
mod csw;
mod data_directory;
mod dispatch;
mod door;
mod exception;
mod executions;
mod fault;
mod features;
mod font;
mod image;
mod instance;
mod kvp;
mod life;
mod locks;
mod ogc_api;
mod ows;
mod path;
mod printing;
mod printouts;
mod request;
mod rest;
mod rest_catalog;
mod rest_changes;
mod rest_documents;
mod rest_path;
mod service;
mod sessions;
mod shared_cores;
mod socket;
mod stac;
mod tile_address;
mod tile_cache;
mod tiles;
mod tiles_rest;
mod wcs;
mod wcs_capabilities;
mod web;
mod wfs;
mod wfs_capabilities;
mod wire;
mod wms;
mod wmts_capabilities;
mod world;
mod wps;
mod xml;

pub use auth::{BASIC, PASSWORD, USER};
pub use behaviour::{
    Behaviour, Capacity, Cold, ControlFlow, DEFAULT_KEEP_ALIVE, DEFAULT_KEEP_ALIVE_REQUESTS,
    DEFAULT_REMEMBERED_REQUESTS, DEFAULT_UI_LOCK_WAIT, Flavour, TileStore,
};
pub use chance::{Dice, LONGEST_WORK, ServiceTime};
pub use cluster::Cluster;
pub use control_url::fault_called;
pub use controls::{Controls, eventually};
pub use data_directory::{
    Contents, DataDirectory, Layer, LayerKind, PUBLIC_LAYER, StoreKind, Write,
};
pub use fault::{Fault, Outage, When};
pub use image::PNG_AUTHOR;
pub use instance::Instance;
pub use life::VANILLA_RELOAD_BUMPS;
pub use request::{KEPT_BODY, Request, RequestBody};
pub use tile_address::METATILE;
