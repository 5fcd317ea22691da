//! Who takes it: weighted least in-flight, or, for what belongs together, the one that has the rest
//! of it. Within caps.

mod affinity;
mod capacity_notifier;
mod caps;
mod keys_in_flight;
mod load;
mod pick;
mod slowness;

pub use affinity::{COMPANIONS, Mean, Neighbour, Wish, pick_near, seed_of};
pub use capacity_notifier::CapacityNotifier;
pub use caps::{Caps, Demand, LearnedCap, RESERVE, Shares};
pub use keys_in_flight::{KeyInFlight, KeysInFlight, Whereabouts};
pub use load::{Lease, Load, Room, Watch};
pub use pick::{Candidate, pick, pick_by};
pub use slowness::{REVIEW, Slowness, WHOLE, Watched, review};
