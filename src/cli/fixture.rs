//! Statuses for tests.

use crate::admin::answers::{
    Catalog, Health, Mode, Phase, Queue, Role, Status, Upstream, UpstreamCatalog,
};

/// A replica that serves and has the last change: epoch 4.
pub(super) fn fresh(name: &str) -> Upstream {
    Upstream {
        name: name.to_owned(),
        url: format!("http://{name}:8080"),
        address: Some("10.0.0.11:8080".to_owned()),
        role: Role::Replica,
        health: Health::Up,
        reachable: true,
        mode: Mode::Ready,
        mode_by: None,
        mode_at: None,
        eligible: true,
        ejected_seconds: None,
        half_open: false,
        in_flight: 3,
        max_in_flight: Some(16),
        max_in_flight_learned: false,
        slower_in_flight: 2,
        max_slower_in_flight: Some(16),
        heavy_in_flight: 0,
        max_heavy_in_flight: Some(4),
        control_flow_delay_ms: None,
        weight: 100,
        effective_weight: 100,
        since_seconds: 11_520,
        last_cause: None,
        last_probe_ms: Some(41),
        requests_total: 1000,
        errors_total: 0,
        catalog: UpstreamCatalog {
            fresh: true,
            epoch: Some(4),
            number: Some(70),
            phase: Phase::No,
            last_reload: None,
            retry_seconds: None,
            truncations_owed: 0,
            truncation_failure: None,
        },
    }
}

/// A replica that lacks the last change, in this phase of its reload.
pub(super) fn stale(name: &str, phase: Phase) -> Upstream {
    let fresh = fresh(name);
    let eligible = matches!(phase, Phase::No | Phase::Waiting | Phase::HeldBack);
    let catalog = UpstreamCatalog {
        fresh: false,
        epoch: Some(3),
        phase,
        ..fresh.catalog
    };
    Upstream {
        eligible,
        catalog,
        ..fresh
    }
}

/// A replica that is down, with an unknown catalog.
pub(super) fn down(name: &str) -> Upstream {
    Upstream {
        health: Health::Down,
        reachable: false,
        eligible: false,
        since_seconds: 12,
        last_cause: Some("cannot connect: connection refused\n  at line 2".to_owned()),
        last_probe_ms: None,
        ..fresh(name)
    }
}

/// The status of a cluster in which nothing has changed since the start.
pub(super) fn status(upstreams: Vec<Upstream>) -> Status {
    Status {
        cluster: None,
        version: "0.1.0".to_owned(),
        revision: 3,
        ready: true,
        stopping: false,
        uptime_seconds: 93_600,
        last_reload: None,
        front_reload: None,
        queue: Queue {
            waiting: 0,
            most: 400,
            served_per_second: 0.0,
            classes: Vec::new(),
            users: Vec::new(),
        },
        catalog: Catalog {
            epoch: 0,
            settled: 0,
            number: Some(70),
            silent_seconds: None,
            changed_seconds: None,
            can_reload: true,
            done: true,
            rolls: true,
            paused: false,
            rests_seconds: None,
        },
        conditions: Vec::new(),
        chosen_layer: None,
        upstreams,
    }
}
