//! Who takes it: weighted least in-flight.

mod load;
mod pick;

pub use load::{Lease, Load, Room};
pub use pick::{Candidate, pick, pick_by};
