//! Who takes it: weighted least in-flight.

mod load;
mod pick;

pub use load::{Lease, Load};
pub use pick::{Candidate, pick, pick_by};
