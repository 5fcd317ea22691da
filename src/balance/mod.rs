//! Load balancing within concurrency limits. Requests go to the upstream with the weighted least in
//! flight, and related requests go to the same upstream.

mod affinity;
mod capacity_notifier;
mod caps;
mod keys_in_flight;
mod learned_cap;
mod load;
mod pick;
mod slot_limits;
mod slowness;

pub use affinity::{
    AFFINITY_OVERFLOW, AffinityCandidate, AffinityRequest, Mean, pick_near, seed_of,
};
pub use capacity_notifier::CapacityNotifier;
pub use caps::{Caps, Demand, RESERVE, Shares};
pub use keys_in_flight::{KeyInFlight, KeysInFlight, Whereabouts};
pub use learned_cap::LearnedCap;
pub use load::{Lease, Load, Watch};
pub use pick::{LoadSample, pick, pick_by};
pub use slot_limits::SlotLimits;
pub use slowness::{REVIEW, Slowness, WHOLE, Watched, patience, review};
