//! The GeoServer double.
