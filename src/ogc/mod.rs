//! Classifies requests by the rules of GeoServer's dispatcher, without querying GeoServer.
//!
//! ```text
//! target --path--> route (which part of GeoServer) --+
//!        --query-> kvp (service, request, ...) ------+--> readings --safest--> Classified
//! body   --prefix-> form, XML root, SOAP, multipart -+
//! ```
//!
//! The promise: no spelling of a write, of administration or of a process is classified as a read.
//! A request that cannot be read with certainty is `unknown` and goes to the main, once, because
//! everything works there. Requests as map clients send them are classified without an allocation
//! (`tests/ogc_allocations.rs`). `docs/request-classes.md` explains the classes to administrators.

mod body;
mod body_reader;
mod changed_features;
mod charset;
mod class;
mod classify;
mod dispatch;
mod error_shape;
pub mod exception;
pub mod fault_texts;
mod format;
mod glob;
mod gsr;
mod interpretation;
mod kvp;
mod log_text;
mod map_image;
mod metatile;
mod multipart;
mod ogc_api;
mod operation;
mod pairs;
mod path;
mod path_pattern;
mod printing;
mod processes;
mod route;
mod subject;
mod tags;
mod tile_size;
mod tiles;
mod version;
mod word;
mod wording;
mod xml;

pub use body::UNREADABLE_CONTENT_TYPE;
pub use body_reader::BodyReader;
pub use changed_features::{ChangedType, changed_types};
pub use class::{ClassRow, PerClass, RequestClass, RetryRule, Retryable, Servers, Writes, retry};
pub use classify::{body_need, classify};
pub use error_shape::{ErrorShape, error_shape};
pub use format::requests_format;
pub use glob::{Case, Glob};
pub use metatile::metatile;
pub use operation::{class_of_operation, operations, service_by_name};
pub use path::normalise_path;
pub use path_pattern::PathPattern;
pub use printing::PRINTED_DOCUMENT;
pub use processes::{CatalogEffect, ProcessName, Processes, changes_catalog};
pub use subject::{Fit, RuleSubject};

/// The OGC service that a request addresses, as GeoServer's dispatcher would decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    Wms,
    Wmts,
    Tms,
    Wfs,
    Wcs,
    Wps,
    Csw,
    /// OpenSearch for Earth Observation (`/oseo`), an extension.
    Oseo,
    /// ArcGIS REST, as the extension GSR serves it (`/gsr/**`).
    Gsr,
    /// OGC API (`/ogc/**`).
    OgcApi,
    /// GeoServer's or GeoWebCache's REST.
    Rest,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 11] = [
        Self::Wms,
        Self::Wmts,
        Self::Tms,
        Self::Wfs,
        Self::Wcs,
        Self::Wps,
        Self::Csw,
        Self::Oseo,
        Self::Gsr,
        Self::OgcApi,
        Self::Rest,
    ];

    /// The name used in logs and by `geofront explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wms => "WMS",
            Self::Wmts => "WMTS",
            Self::Tms => "TMS",
            Self::Wfs => "WFS",
            Self::Wcs => "WCS",
            Self::Wps => "WPS",
            Self::Csw => "CSW",
            Self::Oseo => "OSEO",
            Self::Gsr => "GSR",
            Self::OgcApi => "OGC-API",
            Self::Rest => "REST",
        }
    }
}

/// The part of a request's head that decides its class, byte by byte as it arrived: neither decoded
/// nor normalised.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    /// Path and query from the request line, e.g. `/geoserver/wms?service=WMS`.
    pub target: &'a [u8],
    pub content_type: Option<&'a str>,
}

/// A range of the request target. It lets a classification outlive its request without copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The bytes of `target` in this range; empty if the range exceeds the target.
    pub fn of<'t>(&self, target: &'t [u8]) -> &'t [u8] {
        target
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// The part of the body that is needed before the class is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyNeed {
    /// The head decides.
    None,
    /// The body decides (form, XML, SOAP or multipart), as far as a [`BodyReader`] reads it.
    Prefix,
}

/// Bytes of a document in which its root must begin: GeoServer's `XML_LOOKAHEAD`.
pub const BODY_PREFIX: usize = 8192;

/// The result of a classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classified {
    pub class: RequestClass,
    pub service: Option<Service>,
    /// The canonical name of the operation (`GetMap`), if it is known.
    pub operation: Option<&'static str>,
    /// The requested version (`1.3.0`), if it is known. It decides the format of geofront's own
    /// error answers.
    pub version: Option<&'static str>,
    pub workspace: Option<Span>,
    pub layer: Option<Span>,
    /// GeoWebCache answers instead of GeoServer's dispatcher, whatever the service.
    pub is_for_geowebcache: bool,
    /// The rule that decided, for `geofront explain`.
    pub reason: &'static str,
    /// Whether servers may read the request in another way.
    pub clarity: Clarity,
    /// The processes that the request runs.
    pub processes: Processes,
    /// The identifier of the execution that the request is about, begun by an earlier one.
    pub job: Option<Span>,
    /// True if the request costs little although its class does not: it is for the state or the
    /// result of an execution, for a printed document, or for the capabilities of the printing
    /// module.
    pub is_light: bool,
    /// Pixels of the image that a map request is for; 0 if the size is not known, and in other
    /// classes. `u32::MAX` for a document to print and for an animation, because pixels do not
    /// bound their work.
    pub pixels: u32,
}

impl Classified {
    /// True if the request runs a process that changes the catalog or may do so. Then the main
    /// serves it, whichever upstreams serve processes.
    pub fn stays_on_main(&self) -> bool {
        self.processes.catalog != CatalogEffect::None
    }
}

/// How certain it is that all servers read a request as geofront does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clarity {
    /// There is one reading.
    Plain,
    /// There are several readings. Each of them is made of words that the request contains.
    SeveralReadings,
    /// A part of the request was not read or cannot be read, so it may name anything.
    Unreadable,
}
