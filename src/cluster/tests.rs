//! The cluster's promises, one upstream's story at a time. Whole worlds are in `tests/simulation.rs`.

mod ejection;
mod fixture;
mod health;
mod modes;
mod reload;
mod selection;
