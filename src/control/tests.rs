//! One writer, many readers.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::fixture::end_probes;
use super::*;
use crate::cluster::{Cause, TransitionKind, Tried};
use crate::config::{MapEnvironment, Weight};
use crate::ogc::RequestClass::Map;

/// Timeout of every wait in these tests.
const PATIENCE: Duration = Duration::from_secs(10);

fn config(replicas: usize) -> Config {
    let table = |at: usize| format!("[upstreams.slave{at}]\nurl = \"http://10.0.0.1{at}:8080\"\n");
    let tables: String = (1..=replicas).map(table).collect();
    let text =
        format!("[upstreams.main]\nurl = \"http://10.0.0.1:8080\"\nrole = \"main\"\n{tables}");
    let world = MapEnvironment::new().file("geofront.toml", text);
    Config::load(Path::new("geofront.toml"), &world)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

fn up(replicas: usize) -> (Arc<Control>, Instant) {
    let now = Instant::now();
    let control = Control::new(Arc::new(config(replicas)), now);
    end_probes(&control, &Outcome::Success, now);
    (control, now)
}

fn out_of_memory() -> Outcome {
    Outcome::Failure(Cause::NodeFault("java.lang.OutOfMemoryError".to_owned()))
}

fn slave(control: &Control, name: &str) -> Arc<Upstream> {
    let snapshot = control.snapshot_full();
    let found = snapshot
        .serving(Map)
        .find(|upstream| upstream.name.as_str() == name)
        .map(Arc::clone);
    found.unwrap()
}

/// True if `work` finishes while another thread holds the lock.
fn needs_no_lock(control: &Arc<Control>, work: impl FnOnce(&Control) + Send + 'static) -> bool {
    let (done, is_done) = mpsc::channel();
    let worker = Arc::clone(control);
    let held = control.cluster.lock();
    let thread = std::thread::spawn(move || {
        work(&worker);
        done.send(()).unwrap();
    });
    let in_time = is_done.recv_timeout(PATIENCE).is_ok();
    drop(held);
    thread.join().unwrap();
    in_time
}

#[test]
fn a_healthy_cluster_serves_requests_without_the_lock() {
    let (control, now) = up(3);
    assert!(needs_no_lock(&control, move |control| {
        for _ in 0..100 {
            let selection = control
                .snapshot()
                .select(Map, &Tried::default(), now)
                .unwrap();
            control.observe(&selection.upstream, now, Outcome::Success, now);
            control.observe(&selection.upstream, now, Outcome::Busy, now);
        }
    }));
}

#[test]
fn a_success_is_reported_if_there_is_evidence_to_weaken() {
    let (control, now) = up(3);
    let slave1 = slave(&control, "slave1");
    for _ in 0..100 {
        control.observe(&slave1, now, Outcome::Failure(Cause::Status(500)), now);
        control.observe(&slave1, now, Outcome::Success, now);
    }
    assert_eq!(control.status(now).upstreams[1].ejected_for, None);
    assert!(!slave1.load.is_in_doubt());
}

#[test]
fn a_visible_change_is_published_before_it_returns() {
    let (control, now) = up(3);
    let slave1 = slave(&control, "slave1");
    (0..2).for_each(|_| control.observe(&slave1, now, out_of_memory(), now));
    assert!(
        control
            .snapshot()
            .serving(Map)
            .all(|upstream| upstream.name != slave1.name)
    );
    control.set_mode("slave2", Mode::Drain, false, now).unwrap();
    assert!(
        control
            .snapshot()
            .serving(Map)
            .all(|upstream| upstream.name.as_str() != "slave2")
    );
}

#[test]
fn an_invisible_change_is_not_published() {
    let (control, now) = up(3);
    let before = control.snapshot_full();
    control.observe(
        &slave(&control, "slave1"),
        now,
        Outcome::Failure(Cause::Truncated),
        now,
    );
    end_probes(&control, &Outcome::Success, now + Duration::from_secs(10));
    assert!(Arc::ptr_eq(&before, &control.snapshot_full()));
}

#[test]
fn a_refused_order_changes_nothing() {
    let (control, now) = up(1);
    let before = control.snapshot_full();
    assert!(matches!(
        control.set_mode("main", Mode::Drain, false, now),
        Err(ModeError::LastServing(_))
    ));
    assert!(Arc::ptr_eq(&before, &control.snapshot_full()));
}

#[test]
fn listeners_receive_every_transition_once_and_in_order() {
    let now = Instant::now();
    let control = Control::new(Arc::new(config(2)), now);
    let mut heard = control.transitions();
    end_probes(&control, &Outcome::Success, now);
    control.set_mode("slave1", Mode::Drain, false, now).unwrap();
    let transitions: Vec<_> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
    assert_eq!(
        transitions.iter().map(|t| t.sequence).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!(
        transitions[3].what,
        TransitionKind::Mode {
            from: Mode::Ready,
            to: Mode::Drain,
            by: None
        }
    );
}

/// A log in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(work: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .without_time()
        .with_target(false)
        .with_ansi(false);
    tracing::subscriber::with_default(log.finish(), work);
    let bytes = lines.0.lock().clone();
    String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn every_transition_is_logged_once_and_warns_when_it_is_for_the_worse() {
    let (control, now) = up(2);
    let slave1 = slave(&control, "slave1");
    let lines = logged(|| {
        (0..2).for_each(|_| control.observe(&slave1, now, out_of_memory(), now));
        let (mut drain, half_open) = (None, now + Duration::from_secs(10));
        while let Some(action) = control.poll_action(half_open) {
            drain = Some(action);
        }
        drop(drain);
        control.observe(&slave1, half_open, Outcome::Success, half_open);
    });
    let expected = [
        r#"WARN upstream="slave1" ejected="10s" cause="node fault: java.lang.OutOfMemoryError""#,
        r#"INFO upstream="slave1" ejected="half-open""#,
        r#"INFO upstream="slave1" ejected="no""#,
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_waiter_is_woken_when_something_is_due_sooner() {
    let (control, now) = up(1);
    control.handle(Event::Configured(Arc::new(config(2))), now);
    tokio::time::timeout(PATIENCE, control.woken())
        .await
        .expect("a new upstream has to be probed");
}

#[tokio::test]
async fn no_waiter_is_woken_when_nothing_is_due_sooner() {
    let now = Instant::now();
    let control = Control::new(Arc::new(config(2)), now);
    end_probes(&control, &Outcome::Success, now);
    let woken = control.woken();
    tokio::pin!(woken);
    assert!(futures::poll!(woken).is_pending());
}

/// Requests run on several threads while configurations come and go: nothing is lost, and no reader
/// sees a mixture.
#[test]
fn requests_and_config_reloads_race_without_losing_a_place() {
    let (control, now) = up(4);
    std::thread::scope(|scope| {
        let requests = |seed: u32| {
            for turn in 0..2_000 {
                let selection = control
                    .snapshot()
                    .select(Map, &Tried::default(), now)
                    .unwrap();
                let is_failure = turn % 7 == seed;
                control.observe(
                    &selection.upstream,
                    now,
                    if is_failure {
                        out_of_memory()
                    } else {
                        Outcome::Success
                    },
                    now,
                );
            }
        };
        (0..3).for_each(|seed| drop(scope.spawn(move || requests(seed))));
        for turn in 0..200_u16 {
            let mut changed = config(4);
            changed.upstreams[2].weight = Weight::new(turn + 1).unwrap();
            control.handle(Event::Configured(Arc::new(changed)), now);
            let snapshot = control.snapshot();
            assert_eq!(snapshot.revision, u64::from(turn) + 2);
            assert_eq!(snapshot.config.upstreams[2].weight.get(), turn + 1);
        }
    });
    let status = control.status(now);
    assert!(
        status
            .upstreams
            .iter()
            .all(|upstream| upstream.in_flight == 0),
        "{status:?}"
    );
    assert_eq!(status.revision, 201);
}
