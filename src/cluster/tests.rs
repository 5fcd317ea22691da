//! The cluster's promises, one upstream's story at a time. Whole worlds are in
//! `tests/simulation.rs`.

mod busy;
mod caps;
mod catalog;
mod catalog_directory;
mod catalog_failures;
mod catalog_hazards;
mod catalog_reads;
mod catalog_settling;
mod catalog_truth;
mod catalogs;
mod chosen_layer;
mod doubt;
mod ejection;
mod fixture;
mod health;
mod modes;
mod reload;
mod rescue;
mod rolls;
mod selection;
mod slowness;
mod tile_caches;

/// Returns the defaults of `[catalog]`.
pub(super) fn catalog_config() -> crate::config::Catalog {
    fixture::config(1).catalog
}
