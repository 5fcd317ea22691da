//! Health of single upstreams: probe results, passive ejection, slow start, the schedule of probes.
//!
//! Each is a small state machine for one upstream that knows no other; `cluster` combines them.

mod ejection;
mod facts;
mod poll_timer;
mod rise_fall;
mod schedule;
mod warmup;

pub use ejection::{Ejection, Severity};
pub use facts::{Facts, Verdict};
pub use poll_timer::PollTimer;
pub use rise_fall::{HealthState, RiseFall};
pub use schedule::Schedule;
pub use warmup::Warmup;
