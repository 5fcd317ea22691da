//! Reconciliation of a new configuration with the existing upstreams: keep, rename, replace,
//! retire.
//!
//! Measurements belong to the address, orders to the name. An address that is kept keeps load,
//! health, ejection and catalog under whatever name, even in the middle of a roll. A name that is
//! kept keeps its ordered mode, at whatever address. An upstream with a new address and a new name
//! starts with nothing, and nothing is assumed about it.

use std::time::Instant;

use super::upstream_state::UpstreamState;
use super::{Mode, ModeOrigin, TransitionKind};
use crate::config::{UpstreamConfig, UpstreamName};

/// The result of a reconciliation.
#[derive(Debug)]
pub(super) struct Reconciled {
    /// The upstreams, in the order of the configuration.
    pub(super) upstreams: Vec<UpstreamState>,
    pub(super) added: Vec<UpstreamName>,
    pub(super) retired: Vec<UpstreamName>,
    /// Changes of the upstreams that were kept: another name, another mode.
    pub(super) changes: Vec<(UpstreamName, TransitionKind)>,
}

/// Reconciles the upstreams with a configuration. `make` makes one that was not there before.
pub(super) fn reconcile(
    mut old: Vec<UpstreamState>,
    configs: &[UpstreamConfig],
    now: Instant,
    mut make: impl FnMut(&UpstreamConfig) -> UpstreamState,
) -> Reconciled {
    let orders: Vec<(UpstreamName, Mode, Option<ModeOrigin>)> =
        old.iter().map(UpstreamState::order).collect();
    let order_of = |name: &UpstreamName| orders.iter().find(|(known, ..)| known == name).cloned();
    let mut reconciled = Reconciled {
        upstreams: Vec::new(),
        added: Vec::new(),
        retired: Vec::new(),
        changes: Vec::new(),
    };
    for config in configs {
        let kept = old
            .iter()
            .position(|old| old.upstream.is_at(config))
            .map(|at| old.swap_remove(at));
        let was = kept.as_ref().map(|kept| kept.upstream.name.clone());
        let mut one = kept.unwrap_or_else(|| make(config));
        one.reconfigure(config);
        let changes = &mut reconciled.changes;
        match was {
            None => reconciled.added.push(config.name.clone()),
            Some(from) if from != config.name => {
                changes.push((config.name.clone(), TransitionKind::Renamed { from }))
            }
            Some(_) => {}
        }
        if let Some((name, mode, origin)) = order_of(&config.name) {
            changes.extend(
                one.set_mode(mode, origin, now)
                    .into_iter()
                    .map(|what| (name.clone(), what)),
            );
        }
        reconciled.upstreams.push(one);
    }
    reconciled.retired = old
        .into_iter()
        .map(|old| old.upstream.name.clone())
        .collect();
    reconciled
}
