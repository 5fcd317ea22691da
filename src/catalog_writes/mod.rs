//! Writes to the catalog that pass through the front door: the hints that they give, the workspace
//! that they change, and the tiles that they make old.

pub mod hints;
pub mod scope;
pub mod tiles;
