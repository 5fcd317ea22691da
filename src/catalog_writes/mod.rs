//! Writes to the catalog that pass through the front door: what they change, and where.

pub mod hints;
pub mod scope;
pub mod tiles;
