//! The rings under a clock that only the test moves.

use super::*;
use crate::config::UpstreamName;
use crate::metrics::ClientAnswer;
use crate::ogc::RequestClass;

fn name(name: &str) -> UpstreamName {
    UpstreamName::new(name).unwrap()
}

fn reading(metrics: &Metrics, waiting: usize, in_flight: &[(&str, u32)]) -> Reading {
    let upstreams = in_flight.iter().map(|(name, in_flight)| UpstreamReading {
        name: (*name).into(),
        in_flight: *in_flight,
        max_in_flight: Some(10),
        is_eligible: true,
    });
    let upstreams = upstreams.collect();
    Reading {
        time: SystemTime::now(),
        at: Instant::now(),
        counts: metrics.counts(),
        waiting,
        upstreams,
    }
}

fn answered(metrics: &Metrics, upstream: &str, status: u16, count: usize) {
    let upstream = metrics.upstream(&name(upstream));
    let took = Duration::from_millis(40);
    (0..count).for_each(|_| {
        metrics.finished(
            RequestClass::Map,
            Some(&upstream),
            ClientAnswer::Whole(status),
            took,
            Some(took),
        )
    });
}

fn fine(history: &History, after: u64, metrics: &Metrics) -> answer::History {
    history.answer(
        Window::FiveMinutes,
        after,
        metrics,
        std::time::Instant::now(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_timer_takes_a_sample_every_two_seconds() {
    let (history, metrics) = (History::new(), Metrics::new());
    let record = history.record_all(|| reading(&metrics, 0, &[]));
    assert!(
        tokio::time::timeout(Duration::from_secs(61), record)
            .await
            .is_err()
    );
    let (five, hour) = (
        fine(&history, 0, &metrics),
        history.answer(Window::Hour, 0, &metrics, std::time::Instant::now()),
    );
    assert_eq!(
        (five.step_seconds, five.times.len(), five.sequence),
        (2, 30, 30)
    );
    assert_eq!(
        (hour.step_seconds, hour.times.len(), hour.sequence),
        (30, 2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn counts_become_rates_by_the_time_that_really_passed() {
    let (history, metrics) = (History::new(), Metrics::new());
    history.record(reading(&metrics, 0, &[("a", 0)]));
    answered(&metrics, "a", 200, 30);
    answered(&metrics, "a", 503, 10);
    metrics.refused(RequestClass::Map, "queue-full");
    // The timer is late.
    tokio::time::advance(Duration::from_secs(10)).await;
    history.record(reading(&metrics, 7, &[("a", 4)]));
    let answer = fine(&history, 0, &metrics);
    assert_eq!(
        answer
            .classes
            .iter()
            .map(|class| (class.class.as_str(), class.rate[0]))
            .collect::<Vec<_>>(),
        [("map", 4.0)]
    );
    assert_eq!(answer.classes[0].latency.p50_ms, [Some(37.5)]);
    assert_eq!(
        (answer.errors[0], answer.refused[0], answer.waiting[0]),
        (1.0, 0.1, 7)
    );
    let upstream = &answer.upstreams[0];
    assert_eq!(
        (upstream.rate[0], upstream.errors[0], upstream.in_flight[0]),
        (Some(4.0), Some(1.0), Some(4))
    );
    assert_eq!(
        (
            answer.lately.rate,
            answer.lately.errors,
            answer.lately.upstreams[0].rate
        ),
        (4.0, 10, 4.0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_hour_is_kept_and_no_more() {
    let (history, metrics) = (History::new(), Metrics::new());
    let looks = COARSE_SAMPLES * LOOKS_PER_COARSE as usize * 2;
    for _ in 0..looks {
        history.record(reading(&metrics, 0, &[("a", 1)]));
        tokio::time::advance(STEP).await;
    }
    let kept = history.kept.lock();
    assert_eq!(
        (kept.fine.len(), kept.coarse.len()),
        (FINE_SAMPLES, COARSE_SAMPLES)
    );
    assert_eq!(kept.readings.len(), RECENT_READINGS + 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_gets_only_new_samples_and_all_after_a_restart() {
    let (history, metrics) = (History::new(), Metrics::new());
    for _ in 0..11 {
        history.record(reading(&metrics, 0, &[]));
        tokio::time::advance(STEP).await;
    }
    assert_eq!(fine(&history, 10, &metrics).times.len(), 0);
    assert_eq!(fine(&history, 7, &metrics).times.len(), 3);
    assert_eq!(
        fine(&history, 900, &metrics).times.len(),
        10,
        "a number from before a restart hides nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_coarse_sample_keeps_the_peak_between_its_ends() {
    let (history, metrics) = (History::new(), Metrics::new());
    for look in 0..=LOOKS_PER_COARSE {
        let (waiting, in_flight) = if look == 5 { (90, 9) } else { (0, 1) };
        history.record(reading(&metrics, waiting, &[("a", in_flight)]));
        tokio::time::advance(STEP).await;
    }
    let hour = history.answer(Window::Hour, 0, &metrics, std::time::Instant::now());
    assert_eq!(
        (hour.waiting, hour.upstreams[0].in_flight.clone()),
        (vec![90], vec![Some(9)])
    );
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_joined_later_has_nothing_before() {
    let (history, metrics) = (History::new(), Metrics::new());
    for upstreams in [&[("a", 1)][..], &[("a", 1)], &[("a", 1), ("b", 2)]] {
        history.record(reading(&metrics, 0, upstreams));
        tokio::time::advance(STEP).await;
    }
    let answer = fine(&history, 0, &metrics);
    assert_eq!(answer.upstreams[1].in_flight, [None, Some(2)]);
}

#[test]
fn only_so_many_upstreams_are_followed() {
    let table = |n| format!("[upstreams.u{n}]\nurl = 'http://127.0.0.1:{n}'\n");
    let tables: String = (1..MAX_UPSTREAMS + 9).map(table).collect();
    let tables = tables.replacen("[upstreams.u1]\n", "[upstreams.u1]\nrole = 'main'\n", 1);
    let environment = crate::config::MapEnvironment::new().file("geofront.toml", tables);
    let loaded = crate::config::Config::load(std::path::Path::new("geofront.toml"), &environment);
    let now = std::time::Instant::now();
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    let status = crate::control::Control::new(Arc::new(loaded.config), now).status(now);
    assert_eq!(
        Reading::new(&status, Counts::default(), 0).upstreams.len(),
        MAX_UPSTREAMS
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_probes_of_an_upstream_come_with_its_samples() {
    let (history, metrics) = (History::new(), Metrics::new());
    let now = std::time::Instant::now();
    metrics.probed(&name("a"), "timeout", Duration::from_millis(1500), now);
    history.record(reading(&metrics, 0, &[("a", 1)]));
    let answer = history.answer(Window::Hour, 0, &metrics, now + Duration::from_secs(3));
    let probe = Probe {
        ago_seconds: 3,
        outcome: "timeout".to_owned(),
        took_ms: 1500,
    };
    assert_eq!(answer.upstreams[0].probes, [probe]);
}
