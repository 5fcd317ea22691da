//! Tests of the parts of the benches that can be wrong unnoticed: the arrivals, the model beside
//! the measurements, the count of wrong answers during a roll, and the quantiles. (A bench without
//! a harness cannot hold tests of its own.)

#[path = "../../benches/mix/arrivals.rs"]
mod arrivals;
#[allow(dead_code, reason = "the bench uses it all")]
#[path = "../../benches/mix/drive.rs"]
mod drive;
#[allow(dead_code, reason = "the bench uses it all")]
#[path = "../../benches/mix/in_time.rs"]
mod in_time;
#[path = "../../benches/mix/latencies.rs"]
mod latencies;
#[path = "../../benches/mix/mix.rs"]
mod mix;
#[path = "../../benches/mix/renderers.rs"]
mod renderers;
#[allow(dead_code, reason = "the bench uses it all")]
#[path = "../../benches/mix/requests.rs"]
mod requests;
#[path = "../../benches/rig/mod.rs"]
mod rig;
#[allow(dead_code, reason = "the bench uses it all")]
#[path = "../../benches/mix/rolls.rs"]
mod rolls;
#[path = "../../benches/mix/simulation.rs"]
mod simulation;
#[path = "../../benches/mix/trouble.rs"]
mod trouble;

mod arrivals_tests;
mod mix_tests;
mod quantiles_tests;
mod renderers_tests;
mod roll_tests;
mod simulation_tests;
