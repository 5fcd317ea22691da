//! The texts by which GeoServer's error reports are understood. GeoServer, the JVM, JDBC drivers
//! and Linux write them; nothing else in geofront repeats them.

/// Faults of the node itself, as Java, the JDBC drivers and Linux write them.
pub const NODE_FAULTS: [&str; 12] = [
    "OutOfMemoryError",
    "GC overhead limit exceeded",
    "unable to create native thread",
    "unable to create new native thread",
    "NoClassDefFoundError",
    "Too many open files",
    "No space left on device",
    "Cannot get a connection, pool error",
    "Stale file handle",
    "Stale NFS file handle",
    "Unable to obtain connection",
    // PostgreSQL's driver, when nothing listens.
    "postmaster is accepting TCP/IP connections",
];

/// The answer of control-flow to a request that waited too long in its queue.
pub const CONTROL_FLOW_TIMEOUT: &str = "please lower your request rate";

/// A header that only control-flow sends.
pub const CONTROL_FLOW_HEADER: &str = "x-control-flow-delay-ms";

/// Codes of reports that do not blame the request.
pub const OWN_FAULT_CODES: [&str; 4] = [
    "",
    "NoApplicableCode",
    "InternalError",
    "OperationProcessingFailed",
];

/// The code of a report about an unknown layer.
const LAYER_NOT_DEFINED: &str = "LayerNotDefined";

/// The text of a report about an unknown layer.
const LAYER_NOT_FOUND: &str = "Could not find layer";

/// Codes of reports about a layer, coverage or style that the catalog does not have (WMS 1.3.0
/// table E.1, WCS 2.0).
pub const IGNORANT_CODES: [&str; 4] = [
    LAYER_NOT_DEFINED,
    "StyleNotDefined",
    "NoSuchCoverage",
    "CoverageNotDefined",
];

/// Further texts about something that the catalog does not have, from GeoServer's services and
/// GeoWebCache.
pub const IGNORANT_TEXTS: [&str; 7] = [
    LAYER_NOT_FOUND,
    "Could not find the requested coverage",
    "Could not find type",
    "Could not locate a layer",
    "Unknown layer",
    "Unknown namespace",
    "No such workspace",
];

/// True if `exception` (`code: text`, as [`super::exception::Exception`] displays itself) reports
/// that the catalog lacks a layer.
pub fn is_missing_layer(exception: &str) -> bool {
    has_missing_layer_code(exception) || exception.contains(LAYER_NOT_FOUND)
}

/// True if the code of `exception` reports that the catalog lacks a layer.
pub fn has_missing_layer_code(exception: &str) -> bool {
    exception.starts_with(LAYER_NOT_DEFINED)
}
