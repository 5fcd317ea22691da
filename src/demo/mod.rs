//! A simulated GeoServer cluster behind a real front door, in one process.
