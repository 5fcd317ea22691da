//! Scrapes, read back the way Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::*;
use crate::cluster::{
    Cap, CatalogStatus, ClusterStatus, Condition, ConditionStatus, HealthState, Mode, ReloadPhase,
    TileCacheStatus, UpstreamCatalog, UpstreamStatus,
};
use crate::config::Role;

/// Reads samples by `name{labels}`; panics on a line that is not in the text format.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut announced = Vec::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, family, rest) = (
                words.next().unwrap(),
                words.next().unwrap(),
                words.next().unwrap(),
            );
            assert!(
                keyword == "HELP" || ["counter", "gauge", "histogram"].contains(&rest),
                "{line}"
            );
            announced.push((keyword.to_owned(), family.to_owned()));
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        assert_eq!(
            announced
                .iter()
                .filter(|(_, known)| known == family)
                .count(),
            2,
            "one HELP and one TYPE before {line}"
        );
        assert!(
            samples
                .insert(series.to_owned(), value.parse().unwrap())
                .is_none(),
            "{series} appears twice"
        );
    }
    samples
}

fn name(name: &str) -> UpstreamName {
    UpstreamName::new(name).unwrap()
}

fn upstream(called: &str, mode: Mode) -> UpstreamStatus {
    UpstreamStatus {
        name: name(called),
        url: format!("http://{called}:8080"),
        address: SocketAddr::from(([10, 0, 0, 1], 8080)).into(),
        role: Role::Replica,
        health: HealthState::Up,
        is_reachable: true,
        mode,
        mode_origin: None,
        ejected_for: None,
        half_open: false,
        eligible: mode == Mode::Ready,
        in_flight: 3,
        slower_in_flight: 2,
        heavy_in_flight: 1,
        cap: Some(Cap {
            all: 16,
            slower: 16,
            heavy: 4,
            is_learned: false,
        }),
        waited_inside: None,
        weight: 100,
        effective_weight: 40,
        since: Duration::ZERO,
        last_cause: None,
        last_probe: None,
        catalog: UpstreamCatalog {
            is_fresh: true,
            epoch: Some(3),
            update_sequence: Some(70),
            phase: ReloadPhase::No,
            is_out: false,
            last_reload: None,
            tiles: TileCacheStatus::default(),
            retry_in: None,
        },
    }
}

fn cluster(names: &[&str]) -> ClusterStatus {
    let catalog = CatalogStatus {
        epoch: 3,
        settled: 3,
        update_sequence: Some(70),
        silent_for: None,
        changed_ago: None,
        can_reload: true,
        is_done: true,
        rolls: true,
        is_paused: false,
        rests_for: None,
    };
    let refused = Condition::CredentialsRefused {
        upstream: UpstreamName::new("slave1").unwrap(),
        status: 401,
    };
    let conditions = vec![ConditionStatus {
        condition: refused,
        held_for: Duration::ZERO,
    }];
    let upstreams = names
        .iter()
        .map(|called| upstream(called, Mode::Drain))
        .collect();
    ClusterStatus {
        revision: 7,
        catalog,
        chosen_layer: None,
        conditions,
        upstreams,
    }
}

#[test]
fn a_fresh_process_already_shows_its_state() {
    let samples = parse(&Metrics::new().render(&cluster(&["a"])));
    let expected = [
        ("geofront_in_flight{upstream=\"a\"}", 3.0),
        ("geofront_in_flight_limit{upstream=\"a\"}", 16.0),
        (
            "geofront_upstream_info{upstream=\"a\",role=\"replica\"}",
            1.0,
        ),
        ("geofront_retries_denied_total{class=\"map\"}", 0.0),
        ("geofront_upstream_up{upstream=\"a\"}", 1.0),
        ("geofront_upstream_eligible{upstream=\"a\"}", 0.0),
        ("geofront_upstream_weight{upstream=\"a\"}", 40.0),
        ("geofront_upstream_mode{upstream=\"a\",mode=\"ready\"}", 0.0),
        ("geofront_upstream_mode{upstream=\"a\",mode=\"drain\"}", 1.0),
        ("geofront_config_revision", 7.0),
        ("geofront_config_last_reload_success", 1.0),
        (
            concat!(
                "geofront_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"}"
            ),
            1.0,
        ),
        ("geofront_client_aborts_total{class=\"map\"}", 0.0),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn a_finished_request_counts_once_in_each_family() {
    let metrics = Metrics::new();
    let a = metrics.upstream(&name("a"));
    metrics.finished(
        RequestClass::Map,
        Some(&a),
        ClientAnswer::Whole(200),
        Duration::from_millis(40),
        Some(Duration::from_millis(30)),
    );
    let samples = parse(&metrics.render(&cluster(&["a"])));
    let expected = [
        (
            "geofront_requests_total{class=\"map\",upstream=\"a\",code=\"2xx\"}",
            1.0,
        ),
        (
            "geofront_requests_total{class=\"map\",upstream=\"a\",code=\"5xx\"}",
            0.0,
        ),
        (
            "geofront_request_seconds_bucket{class=\"map\",le=\"0.025\"}",
            0.0,
        ),
        (
            "geofront_request_seconds_bucket{class=\"map\",le=\"0.05\"}",
            1.0,
        ),
        (
            "geofront_request_seconds_bucket{class=\"map\",le=\"+Inf\"}",
            1.0,
        ),
        ("geofront_request_seconds_sum{class=\"map\"}", 0.04),
        (
            "geofront_first_byte_seconds_count{class=\"map\",upstream=\"a\"}",
            1.0,
        ),
        (
            "geofront_first_byte_seconds_sum{class=\"map\",upstream=\"a\"}",
            0.03,
        ),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn an_answer_of_our_own_counts_under_no_upstream() {
    let metrics = Metrics::new();
    metrics.finished(
        RequestClass::Ui,
        None,
        ClientAnswer::Whole(503),
        Duration::ZERO,
        None,
    );
    metrics.refused(RequestClass::Ui, "none-eligible");
    metrics.client_aborted(RequestClass::Ui);
    metrics.retried(RequestClass::Tile, None, "connect");
    let samples = parse(&metrics.render(&cluster(&[])));
    for series in [
        "geofront_requests_total{class=\"ui\",upstream=\"(none)\",code=\"5xx\"}",
        "geofront_refused_total{class=\"ui\",reason=\"none-eligible\"}",
        "geofront_client_aborts_total{class=\"ui\"}",
        "geofront_retries_total{class=\"tile\",upstream=\"(none)\",reason=\"connect\"}",
    ] {
        assert_eq!(samples.get(series), Some(&1.0), "{series}");
    }
}

#[test]
fn an_answer_that_broke_off_is_an_error_of_its_upstream_and_no_success() {
    let metrics = Metrics::new();
    let a = metrics.upstream(&name("a"));
    let map = RequestClass::Map;
    metrics.finished(map, Some(&a), ClientAnswer::Truncated, Duration::ZERO, None);
    metrics.retried(map, Some(&a), "reset");
    let samples = parse(&metrics.render(&cluster(&["a"])));
    for (series, value) in [
        (
            "geofront_requests_total{class=\"map\",upstream=\"a\",code=\"truncated\"}",
            1.0,
        ),
        (
            "geofront_requests_total{class=\"map\",upstream=\"a\",code=\"2xx\"}",
            0.0,
        ),
        (
            "geofront_retries_total{class=\"map\",upstream=\"a\",reason=\"reset\"}",
            1.0,
        ),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    let totals = metrics.totals(&name("a"));
    assert_eq!((totals.requests, totals.errors), (1, 1));
}

#[test]
fn events_of_an_upstream_count_under_its_name() {
    let metrics = Metrics::new();
    let a = metrics.upstream(&name("a"));
    metrics.finished(
        RequestClass::Info,
        Some(&a),
        ClientAnswer::Whole(200),
        Duration::ZERO,
        None,
    );
    metrics.service_exception(RequestClass::Info, &a);
    metrics.probed(&name("a"), "passed", Duration::ZERO, Instant::now());
    metrics.ejected(&name("a"), "reset");
    let samples = parse(&metrics.render(&cluster(&["a"])));
    for series in [
        "geofront_service_exceptions_total{class=\"info\",upstream=\"a\"}",
        "geofront_probes_total{upstream=\"a\",outcome=\"passed\"}",
        "geofront_ejections_total{upstream=\"a\",cause=\"reset\"}",
    ] {
        assert_eq!(samples.get(series), Some(&1.0), "{series}");
    }
}

#[test]
fn totals_count_every_class_and_know_errors() {
    let metrics = Metrics::new();
    let a = metrics.upstream(&name("a"));
    for (class, status) in [
        (RequestClass::Map, 200),
        (RequestClass::Tile, 404),
        (RequestClass::Map, 502),
        (RequestClass::Ui, 0),
    ] {
        metrics.finished(
            class,
            Some(&a),
            ClientAnswer::Whole(status),
            Duration::ZERO,
            None,
        );
    }
    assert_eq!(
        metrics.totals(&name("a")),
        Totals {
            requests: 4,
            errors: 2
        }
    );
    assert_eq!(metrics.totals(&name("b")), Totals::default());
}

#[test]
fn a_refused_config_reload_shows_until_the_next_good_one() {
    let metrics = Metrics::new();
    let success = |metrics: &Metrics| parse(&metrics.render(&cluster(&[])))["geofront_config_last_reload_success"];
    metrics.config_reloaded(RELOAD_REFUSED);
    assert_eq!(success(&metrics), 0.0);
    metrics.config_reloaded("applied");
    assert_eq!(success(&metrics), 1.0);
    assert_eq!(
        parse(&metrics.render(&cluster(&[])))["geofront_config_reloads_total{outcome=\"refused\"}"],
        1.0
    );
}

#[test]
fn upstreams_that_left_the_configuration_do_not_pile_up() {
    let metrics = Metrics::new();
    (0..1000).for_each(|n| {
        metrics.probed(
            &name(&format!("old{n}")),
            "passed",
            Duration::ZERO,
            Instant::now(),
        )
    });
    metrics.keep_upstreams([&name("old1")]);
    assert_eq!(metrics.upstreams.lock().len(), 1);
    metrics.render(&cluster(&["new"]));
    assert_eq!(metrics.upstreams.lock().len(), 0);
}

#[test]
fn an_upstream_that_left_keeps_its_counters_while_its_requests_run() {
    let metrics = Metrics::new();
    let leaving = metrics.upstream(&name("leaving"));
    metrics.keep_upstreams([]);
    metrics.finished(
        RequestClass::Map,
        Some(&leaving),
        ClientAnswer::Whole(200),
        Duration::ZERO,
        None,
    );
    let series = "geofront_requests_total{class=\"map\",upstream=\"leaving\",code=\"2xx\"}";
    assert_eq!(
        parse(&metrics.render(&cluster(&[]))).get(series),
        Some(&1.0)
    );
}

#[test]
fn histogram_buckets_never_fall_and_end_at_the_count() {
    let metrics = Metrics::new();
    for exponent in 0..40 {
        metrics.finished(
            RequestClass::Tile,
            None,
            ClientAnswer::Whole(200),
            Duration::from_nanos(1 << exponent),
            None,
        );
    }
    let text = metrics.render(&cluster(&[]));
    let buckets: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("geofront_request_seconds_bucket"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    assert!(buckets.is_sorted());
    assert_eq!(
        buckets.last(),
        Some(&parse(&text)["geofront_request_seconds_count{class=\"tile\"}"])
    );
}

/// A scrape with something in every family.
fn full_scrape() -> String {
    let metrics = Metrics::new();
    let a = metrics.upstream(&name("a"));
    metrics.finished(
        RequestClass::Map,
        Some(&a),
        ClientAnswer::Whole(200),
        Duration::ZERO,
        Some(Duration::ZERO),
    );
    metrics.refused(RequestClass::Map, "no-upstream");
    metrics.retried(RequestClass::Map, None, "connect");
    metrics.probed(&name("a"), "passed", Duration::ZERO, Instant::now());
    metrics.ejected(&name("a"), "reset");
    metrics.catalog_reloaded(&name("a"), "success", Some(Duration::ZERO));
    metrics.catalog_reload_postponed(&name("a"), RequestClass::Process);
    metrics.tiles_truncated(&name("a"), "success");
    metrics.queued(RequestClass::Map, Duration::ZERO);
    metrics.config_reloaded("applied");
    metrics.handshake("ok");
    metrics.acme_order("issued");
    metrics.http2_flood();
    metrics.proxy_protocol_refused("malformed");
    metrics.keep_certificates(vec![CertificateExpiry {
        listener: "public".to_owned(),
        name: "maps.example.org".to_owned(),
        not_after: 0,
    }]);
    metrics.render(&cluster(&["a"]))
}

#[test]
fn the_manual_names_every_metric_and_no_other() {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let manual = include_str!("../../docs/operations.md");
    let words = manual
        .split(|c| !is_name(c))
        .filter(|word| word.starts_with("geofront_"));
    let named: BTreeSet<&str> = words.map(|word| word.trim_end_matches("_bucket")).collect();
    let scrape = full_scrape();
    let families = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|family| !family.starts_with("process_"));
    assert_eq!(named, families.collect::<BTreeSet<&str>>());
}

#[test]
fn counts_of_an_interval_are_the_difference_of_two_readings() {
    let metrics = Metrics::new();
    let (a, map) = (metrics.upstream(&name("a")), RequestClass::Map);
    metrics.finished(
        map,
        Some(&a),
        ClientAnswer::Whole(200),
        Duration::from_millis(40),
        Some(Duration::from_millis(30)),
    );
    let before = metrics.counts();
    metrics.finished(
        map,
        Some(&a),
        ClientAnswer::Whole(500),
        Duration::from_millis(40),
        Some(Duration::from_millis(30)),
    );
    metrics.refused(map, "queue-full");
    metrics.retried(map, None, "status");
    metrics.client_aborted(map);
    metrics.queued(map, Duration::from_millis(700));
    let after = metrics.counts();
    let (class, upstream) = (after.classes[map.index()], after.upstreams[&name("a")]);
    assert_eq!(
        class
            .total
            .since(&before.classes[map.index()].total)
            .count(),
        1
    );
    assert_eq!(
        (
            class.queued.count(),
            class.aborted,
            after.refused,
            after.retried
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(
        (
            upstream.requests,
            upstream.errors,
            upstream.first_byte.count()
        ),
        (2, 1, 2)
    );
}
