//! The answers we give instead of an upstream.
