//! Reads while some replicas are stale.

use std::time::Duration;

use super::super::ReloadPhase;
use super::catalogs::{Catalogs, SECOND, with_credentials};
use super::fixture::config;
use crate::config::{MaxInFlight, StalePolicy};
use crate::ogc::RequestClass;

#[test]
fn capabilities_come_from_the_fresh_or_the_main() {
    let mut catalogs = Catalogs::fresh(2);
    assert_eq!(
        catalogs.world.served_by(RequestClass::Capabilities),
        ["a", "b"]
    );
    catalogs.publish();
    assert_eq!(
        catalogs.world.served_by(RequestClass::Capabilities),
        ["main"]
    );
    assert_eq!(catalogs.world.served_by(RequestClass::Map), ["a", "b"]);
    catalogs.reload_takes = SECOND * 5;
    catalogs.live(SECOND * 10);
    assert_eq!(catalogs.phase("b"), ReloadPhase::Reloading);
    assert_eq!(catalogs.world.served_by(RequestClass::Capabilities), ["a"]);
}

#[test]
fn other_reads_prefer_the_fresh_and_stale_ones_serve_by_the_policy() {
    for (policy, expected) in [
        (StalePolicy::Serve, ["a", "b"].as_slice()),
        (StalePolicy::Avoid, ["main"].as_slice()),
    ] {
        let mut config = with_credentials(config(2));
        config.catalog.stale = policy;
        let mut catalogs = Catalogs::configured(config);
        catalogs.reload_takes = SECOND * 5;
        catalogs.publish();
        assert_eq!(
            catalogs.world.served_by(RequestClass::Map),
            expected,
            "{policy:?}"
        );
        catalogs.live(SECOND * 10);
        assert_eq!(catalogs.world.served_by(RequestClass::Map), ["a"]);
    }
}

#[test]
fn stale_replicas_relieve_full_fresh_ones_where_they_serve_and_where_they_do_not_requests_wait() {
    for (policy, expected) in [
        (StalePolicy::Serve, [("a", 2), ("c", 2)].as_slice()),
        (StalePolicy::Avoid, [("a", 2)].as_slice()),
    ] {
        let mut config = with_credentials(config(3));
        config.catalog.stale = policy;
        config.health.slow_start = Duration::ZERO;
        config
            .upstreams
            .iter_mut()
            .for_each(|upstream| upstream.max_in_flight = MaxInFlight::Fixed(2));
        let mut catalogs = Catalogs::configured(config);
        catalogs.reload_takes = SECOND * 5;
        catalogs.publish();
        catalogs.live(SECOND * 10);
        assert_eq!(
            (catalogs.is_fresh("a"), catalogs.phase("b")),
            (true, ReloadPhase::Reloading)
        );
        let expected = expected
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        assert_eq!(
            catalogs.world.spread(RequestClass::Map, 9),
            expected,
            "{policy:?}"
        );
    }
}
