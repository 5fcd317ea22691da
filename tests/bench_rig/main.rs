//! The parts of the benches that can be wrong without anybody noticing: who arrives, the model that
//! measurements are compared with, quantiles. (A bench without a harness cannot hold tests of its
//! own.)

#[path = "../../benches/mix/arrivals.rs"]
mod arrivals;
#[path = "../../benches/mix/mix.rs"]
mod mix;
#[path = "../../benches/rig/quantiles.rs"]
mod quantiles;
#[path = "../../benches/mix/renderers.rs"]
mod renderers;
#[path = "../../benches/mix/simulation.rs"]
mod simulation;
#[path = "../../benches/mix/trouble.rs"]
mod trouble;

mod arrivals_tests;
mod mix_tests;
mod quantiles_tests;
mod renderers_tests;
mod simulation_tests;
