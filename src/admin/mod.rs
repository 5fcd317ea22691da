//! Status page, JSON API, metrics and health endpoints.
