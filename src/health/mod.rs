//! Who is fit to: what probes measured, passive ejection, slow start, the schedule of probes.
//!
//! Small machines about one upstream. None of them knows another; `cluster` puts them together.

mod ejection;
mod facts;
mod rise_fall;
mod schedule;
mod warmup;

pub use ejection::{Ejection, Severity};
pub use facts::{Facts, Verdict};
pub use rise_fall::{HealthState, RiseFall};
pub use schedule::Schedule;
pub use warmup::Warmup;
