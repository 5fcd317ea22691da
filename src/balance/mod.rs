//! Who takes it: weighted least in-flight.

mod load;

pub use load::{Lease, Load};
