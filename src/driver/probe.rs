//! Active checks that know GeoServer.
