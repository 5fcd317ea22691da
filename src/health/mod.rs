//! Who is fit to: rise and fall, passive ejection, slow start, the schedule of probes.
//!
//! Four small machines about one upstream. None of them knows another; `cluster` puts them together.

mod ejection;
mod rise_fall;
mod schedule;
mod warmup;

pub use ejection::{Ejection, Severity};
pub use rise_fall::{HealthState, RiseFall};
pub use schedule::Schedule;
pub use warmup::Warmup;
