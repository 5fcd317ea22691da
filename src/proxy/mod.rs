//! The Pingora adapter.
