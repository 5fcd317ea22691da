//! A new configuration meets the upstreams there are: keep, replace, retire.
//!
//! Identity is (name, address). Who keeps both keeps load, health, mode and ejection, whatever else changed. A new address is a
//! new upstream under the old name: nothing that was measured is true of it. The mode that an operator ordered stays.

use std::time::Instant;

use super::Tracked;
use crate::config::{UpstreamConfig, UpstreamName};

/// What became of the upstreams.
#[derive(Debug)]
pub(super) struct Reconciled {
    /// In the order of the configuration.
    pub(super) tracked: Vec<Tracked>,
    pub(super) added: Vec<UpstreamName>,
    pub(super) retired: Vec<UpstreamName>,
}

/// `make` makes one that was not there before.
pub(super) fn reconcile(
    mut old: Vec<Tracked>,
    configs: &[UpstreamConfig],
    now: Instant,
    mut make: impl FnMut(&UpstreamConfig) -> Tracked,
) -> Reconciled {
    let mut tracked = Vec::with_capacity(configs.len());
    let mut added = Vec::new();
    for config in configs {
        let kept = old.iter().position(|old| old.upstream.is(config)).map(|at| old.swap_remove(at));
        if kept.is_none() {
            added.push(config.name.clone());
        }
        let mut one = kept.unwrap_or_else(|| {
            let mut new = make(config);
            // The operator named it, wherever it is.
            old.iter().filter(|old| old.upstream.name == config.name).for_each(|former| new.inherit_mode(former, now));
            new
        });
        one.reconfigure(config);
        tracked.push(one);
    }
    let retired = old.into_iter().map(|old| old.upstream.name.clone()).collect();
    Reconciled { tracked, added, retired }
}
