//! The cost of choosing an upstream: reading the published snapshot, choosing, taking the lease and
//! returning it.
//!
//! Every upstream carries a few requests, as under load. If all were idle, all would be equal and
//! the choice would look twice.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

use geofront::balance::{Lease, SlotLimits};
use geofront::cluster::{Action, Event, Outcome, ProbeReport, Tried};
use geofront::config::{Config, MapEnvironment};
use geofront::control::Control;
use geofront::ogc::RequestClass;

/// How many serve; the main is one more.
const REPLICAS: [usize; 4] = [4, 16, 64, 999];

/// A control whose upstreams all passed their first probe.
fn control(replicas: usize, now: Instant) -> Arc<Control> {
    let table = |at: usize| {
        format!(
            "[upstreams.slave{at}]\nurl = \"http://10.0.{}.{}:8080\"\n",
            at / 250,
            at % 250 + 1
        )
    };
    let tables: String = (0..replicas).map(table).collect();
    let text =
        format!("[upstreams.main]\nurl = \"http://10.1.0.1:8080\"\nrole = \"main\"\n{tables}");
    let world = MapEnvironment::new().file("geofront.toml", text);
    let loaded = Config::load(Path::new("geofront.toml"), &world)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let control = Control::new(Arc::new(loaded.config), now);
    while let Some(action) = control.poll_action(now) {
        let Action::Probe(upstream) = action else {
            continue;
        };
        let report = ProbeReport {
            outcome: Outcome::Success,
            took: Duration::ZERO,
        };
        control.handle(
            Event::Probed {
                upstream: upstream.id,
                report,
            },
            now,
        );
    }
    control
}

/// Leases that last as long as the measurement: up to seven on each upstream, never the same on
/// neighbours.
fn under_load(control: &Control) -> Vec<Lease> {
    let snapshot = control.snapshot();
    let counts = [3, 6, 2, 7, 4, 1, 5].into_iter().cycle();
    let serving = snapshot.serving(RequestClass::Map).zip(counts);
    serving
        .flat_map(|(upstream, count)| {
            (0..count).filter_map(|_| upstream.load.try_lease(SlotLimits::UNLIMITED))
        })
        .collect()
}

fn select(criterion: &mut Criterion) {
    let (now, tried) = (Instant::now(), Tried::default());
    let mut group = criterion.benchmark_group("select");
    for replicas in REPLICAS {
        let control = control(replicas, now);
        let mut choose = |name: &str| {
            group.bench_function(BenchmarkId::new(name, replicas), |bencher| {
                bencher.iter(|| {
                    black_box(
                        control
                            .snapshot()
                            .select(RequestClass::Map, black_box(&tried), now),
                    )
                });
            });
        };
        choose("idle");
        let _leases = under_load(&control);
        choose("loaded");
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = select
}
criterion_main!(benches);
