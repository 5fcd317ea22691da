//! `geofront status`: the cluster on one screen.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::args;
use super::client::AdminClient;
use super::exit::{Exit, Failure};
use super::freshness::{self, first_line};
use super::humanize::span;
use super::other_version::ReadStatus;
use super::refused_reload::refused_reloads;
use super::table::{Side, aligned};
use crate::admin::answers::{ClassWaiting, Condition, Health, Mode, Queue, Status, Upstream};

/// Interval between two screens of `--watch`.
const REDRAW: Duration = Duration::from_secs(2);

/// Clears the terminal and moves to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(super) fn run(
    options: &args::Status,
    client: &AdminClient,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    if options.watch {
        return watch(client, out);
    }
    if options.json {
        let json = client
            .status_json()
            .map_err(|failure| failure.exit(Exit::Critical))?;
        let read = client.parse_status(&json)?;
        out.write_all(json.as_bytes())?;
        return Ok(judge(&read.status));
    }
    let json = client
        .status_json()
        .map_err(|failure| failure.exit(Exit::Critical))?;
    let read = client.parse_status(&json)?;
    write!(out, "{}", screen(&read, client.address(), None))?;
    Ok(judge(&read.status))
}

/// Repeats until Ctrl-C. An error is shown and does not end the loop: geofront may be restarting.
fn watch(client: &AdminClient, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut earlier = None;
    let clear = if std::io::stdout().is_terminal() {
        CLEAR
    } else {
        ""
    };
    loop {
        let shown = match client.read_status() {
            Ok(read) => {
                let totals = Totals::of(&read.status, Instant::now());
                let text = screen(
                    &read,
                    client.address(),
                    earlier
                        .as_ref()
                        .map(|earlier| totals.rates_since(earlier))
                        .as_ref(),
                );
                earlier = Some(totals);
                text
            }
            Err(failure) => format!("{failure}\n"),
        };
        writeln!(out, "{clear}{shown}")?;
        out.flush()?;
        thread::sleep(REDRAW);
    }
}

/// The exit code for a status.
pub(super) fn judge(status: &Status) -> Exit {
    let is_all_well = status
        .upstreams
        .iter()
        .all(|upstream| is_well(upstream, status));
    let is_any_to_do = status
        .conditions
        .iter()
        .any(|condition| condition.needs_operator);
    let is_refused = !refused_reloads(status).is_empty();
    match (status.ready, is_all_well && !is_any_to_do && !is_refused) {
        (false, _) => Exit::Critical,
        (true, false) => Exit::Failure,
        (true, true) => Exit::Success,
    }
}

/// True if the upstream gets requests, or will without an operator. A replica that is being
/// reloaded will; one whose reload fails will not.
fn is_well(upstream: &Upstream, status: &Status) -> bool {
    let is_back_soon = freshness::is_reloading(upstream)
        && upstream.health == Health::Up
        && upstream.mode == Mode::Ready;
    (upstream.eligible || is_back_soon) && !freshness::is_troubled(upstream, &status.catalog)
}

/// The request totals of all upstreams at one moment.
#[derive(Debug)]
struct Totals {
    at: Instant,
    requests: BTreeMap<String, u64>,
}

/// Requests per second by upstream.
type Rates = BTreeMap<String, f64>;

impl Totals {
    fn of(status: &Status, at: Instant) -> Self {
        Self {
            at,
            requests: status
                .upstreams
                .iter()
                .map(|u| (u.name.clone(), u.requests_total))
                .collect(),
        }
    }

    /// The rates since `earlier`. A total that fell belongs to a geofront that was restarted
    /// meanwhile.
    fn rates_since(&self, earlier: &Self) -> Rates {
        let seconds = self
            .at
            .saturating_duration_since(earlier.at)
            .as_secs_f64()
            .max(0.001);
        let rate = |(name, now): (&String, &u64)| {
            let before = earlier.requests.get(name)?;
            Some((name.clone(), now.saturating_sub(*before) as f64 / seconds))
        };
        self.requests.iter().filter_map(rate).collect()
    }
}

const HEADINGS: [(&str, Side); 16] = [
    ("UPSTREAM", Side::Left),
    ("ROLE", Side::Left),
    ("HEALTH", Side::Left),
    ("MODE", Side::Left),
    ("CATALOG", Side::Left),
    ("SINCE", Side::Right),
    ("IN FLIGHT", Side::Right),
    ("SLOWER", Side::Right),
    ("HEAVY", Side::Right),
    ("WEIGHT", Side::Right),
    ("REQUESTS/S", Side::Right),
    ("REQUESTS", Side::Right),
    ("ERRORS", Side::Right),
    ("PROBE", Side::Right),
    ("WAIT INSIDE", Side::Right),
    ("LAST CAUSE", Side::Left),
];

fn screen(read: &ReadStatus, address: &str, rates: Option<&Rates>) -> String {
    let status = &read.status;
    let mut lines = vec![headline(status, address), freshness::headline(status)];
    lines.extend(read.note());
    lines.extend(queue(&status.queue));
    lines.extend(
        status
            .chosen_layer
            .iter()
            .map(|layer| format!("probes: a map of {layer}, which geofront chose")),
    );
    lines.extend(status.conditions.iter().map(condition));
    lines.extend(refused_reloads(status));
    lines.push(String::new());
    let rows: Vec<Vec<String>> = status
        .upstreams
        .iter()
        .map(|upstream| row(upstream, rates))
        .collect();
    lines.extend(aligned(&HEADINGS, &rows));
    lines.join("\n") + "\n"
}

pub(super) fn headline(status: &Status, address: &str) -> String {
    let state = match (status.stopping, status.ready) {
        (true, _) => "stopping",
        (false, true) => "serving",
        (false, false) => "NOT SERVING: no upstream is up and ready",
    };
    let uptime = span(status.uptime_seconds);
    format!(
        "geofront {} on {address}: {state}, configuration {}, running for {uptime}",
        status.version, status.revision
    )
}

/// A condition with its duration and remedy.
pub(super) fn condition(condition: &Condition) -> String {
    let Condition {
        text,
        remedy,
        since_seconds,
        ..
    } = condition;
    format!(
        "! {}, for {}: {remedy}",
        first_line(text),
        span(*since_seconds)
    )
}

/// The waiting requests and their waiting times; `None` if none wait.
fn queue(queue: &Queue) -> Option<String> {
    let class = |class: &ClassWaiting| {
        let users = if class.users == 1 {
            "1 user".to_owned()
        } else {
            format!("{} users", class.users)
        };
        let longest = Duration::from_millis(class.longest_ms).as_secs_f64();
        format!(
            "{} {} ({users}, the first for {longest:.1} s)",
            class.waiting, class.class
        )
    };
    let classes: Vec<String> = queue.classes.iter().map(class).collect();
    let Queue {
        waiting,
        most,
        served_per_second,
        ..
    } = queue;
    (*waiting > 0).then(|| {
        format!("queue: {waiting} of at most {most} wait: {}; {served_per_second:.1} get a slot each second", classes.join(", "))
    })
}

/// Health in a word or two.
pub(super) fn health(upstream: &Upstream) -> String {
    match (upstream.ejected_seconds, upstream.half_open) {
        (Some(left), _) => format!("ejected, {} left", span(left)),
        (None, true) => format!("{}, on trial", upstream.health),
        (None, false) if upstream.health == Health::Down && upstream.reachable => {
            "failing".to_owned()
        }
        (None, false) => upstream.health.to_string(),
    }
}

fn row(upstream: &Upstream, rates: Option<&Rates>) -> Vec<String> {
    let weight = match upstream.effective_weight < upstream.weight {
        true => format!("{} of {}", upstream.effective_weight, upstream.weight),
        false => upstream.weight.to_string(),
    };
    vec![
        upstream.name.clone(),
        upstream.role.to_string(),
        health(upstream),
        mode(upstream),
        freshness::word(upstream).to_owned(),
        span(upstream.since_seconds),
        of(upstream.in_flight, upstream.max_in_flight),
        slower(upstream),
        heavy(upstream),
        weight,
        rates
            .and_then(|rates| rates.get(&upstream.name))
            .map(|rate| format!("{rate:.1}"))
            .unwrap_or_default(),
        upstream.requests_total.to_string(),
        upstream.errors_total.to_string(),
        upstream
            .last_probe_ms
            .map(|ms| format!("{ms} ms"))
            .unwrap_or_default(),
        upstream
            .control_flow_delay_ms
            .map(|ms| format!("{ms} ms"))
            .unwrap_or_default(),
        cause(upstream),
    ]
}

/// `drain (alice from 10.0.0.9)`: the mode and the operator who ordered it.
fn mode(upstream: &Upstream) -> String {
    match &upstream.mode_by {
        Some(by) if upstream.mode != Mode::Ready => format!("{} ({by})", upstream.mode),
        Some(_) | None => upstream.mode.to_string(),
    }
}

/// Formats `3 of 16`.
fn of(number: u32, most: Option<u32>) -> String {
    most.map_or_else(|| number.to_string(), |most| format!("{number} of {most}"))
}

/// Requests of lower priority in flight, if some slots are reserved for priority 0.
fn slower(upstream: &Upstream) -> String {
    let is_less = upstream.max_slower_in_flight < upstream.max_in_flight;
    if is_less {
        of(upstream.slower_in_flight, upstream.max_slower_in_flight)
    } else {
        String::new()
    }
}

/// Heavy requests in flight, if there are any.
fn heavy(upstream: &Upstream) -> String {
    if upstream.heavy_in_flight > 0 {
        of(upstream.heavy_in_flight, upstream.max_heavy_in_flight)
    } else {
        String::new()
    }
}

/// The reason for a stale catalog, otherwise the last cause of bad health.
fn cause(upstream: &Upstream) -> String {
    let health = || first_line(upstream.last_cause.as_deref().unwrap_or_default()).to_owned();
    freshness::failed_reload(upstream).map_or_else(health, |failed| format!("catalog {failed}"))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{down, fresh, stale, status};
    use super::*;
    use crate::admin::answers::{CatalogReload, LastReload, Phase, Reload, Role};

    fn upstream(name: &str, requests_total: u64) -> Upstream {
        Upstream {
            requests_total,
            ..fresh(name)
        }
    }

    /// The screen for a status of this version.
    fn shown(status: &Status) -> String {
        let json = serde_json::to_string(status).unwrap();
        screen(&ReadStatus::parse(&json).unwrap(), "127.0.0.1:9090", None)
    }

    #[test]
    fn the_screen_shows_every_upstream_on_one_line() {
        let main = Upstream {
            role: Role::Main,
            effective_weight: 40,
            ..upstream("main", 7)
        };
        let status = status(vec![main, upstream("slave1", 123_456), down("slave2")]);
        insta::assert_snapshot!(shown(&status), @r"
        geofront 0.1.0 on 127.0.0.1:9090: serving, configuration 3, running for 1 d 2 h
        catalog: unchanged since geofront started; the replica that is up has it

        UPSTREAM  ROLE     HEALTH  MODE   CATALOG       SINCE  IN FLIGHT     WEIGHT  REQUESTS  ERRORS  PROBE  LAST CAUSE
        main      main     up      ready           3 h 12 min    3 of 16  40 of 100         7       0  41 ms
        slave1    replica  up      ready  fresh    3 h 12 min    3 of 16        100    123456       0  41 ms
        slave2    replica  down    ready                 12 s    3 of 16        100      1000       0         cannot connect: connection refused
        ");
    }

    #[test]
    fn waiting_requests_and_full_limits_are_shown() {
        let busy = Upstream {
            in_flight: 16,
            slower_in_flight: 8,
            max_slower_in_flight: Some(8),
            heavy_in_flight: 4,
            control_flow_delay_ms: Some(320),
            ..upstream("a", 1)
        };
        let waiting = |class: &str, waiting, users, longest_ms| ClassWaiting {
            class: class.to_owned(),
            waiting,
            users,
            longest_ms,
        };
        let classes = vec![
            waiting("tile", 3, 1, 240),
            waiting("feature", 17, 2, 11_000),
        ];
        let status = Status {
            queue: Queue {
                waiting: 20,
                most: 400,
                served_per_second: 35.2,
                classes,
                users: Vec::new(),
            },
            ..status(vec![busy])
        };
        insta::assert_snapshot!(shown(&status), @r"
        geofront 0.1.0 on 127.0.0.1:9090: serving, configuration 3, running for 1 d 2 h
        catalog: unchanged since geofront started; the replica has it
        queue: 20 of at most 400 wait: 3 tile (1 user, the first for 0.2 s), 17 feature (2 users, the first for 11.0 s); 35.2 get a slot each second

        UPSTREAM  ROLE     HEALTH  MODE   CATALOG       SINCE  IN FLIGHT  SLOWER   HEAVY  WEIGHT  REQUESTS  ERRORS  PROBE  WAIT INSIDE
        a         replica  up      ready  fresh    3 h 12 min   16 of 16  8 of 8  4 of 4     100         1       0  41 ms       320 ms
        ");
    }

    fn refused(error: &str) -> Status {
        let outcome = Reload::Refused {
            error: error.to_owned(),
        };
        Status {
            last_reload: Some(LastReload {
                ago_seconds: 300,
                outcome,
            }),
            ..status(vec![upstream("a", 1)])
        }
    }

    #[test]
    fn a_refused_configuration_has_a_line_and_needs_an_operator() {
        let status = refused(
            "error: upstream name `b` is used twice\n  --> geofront.toml:14:1\n   |\n14 | [upstreams.b]\n\n\
             error: there is no replica\n --> geofront.toml:1:12\n",
        );
        assert_eq!(judge(&status), Exit::Failure);
        insta::assert_snapshot!(shown(&status), @r"
        geofront 0.1.0 on 127.0.0.1:9090: serving, configuration 3, running for 1 d 2 h
        catalog: unchanged since geofront started; the replica has it
        ! the configuration on disk was refused 5 min ago, the previous one stays in force: upstream name `b` is used twice (geofront.toml:14:1, and another problem); `geofront reload` shows all of it

        UPSTREAM  ROLE     HEALTH  MODE   CATALOG       SINCE  IN FLIGHT  WEIGHT  REQUESTS  ERRORS  PROBE
        a         replica  up      ready  fresh    3 h 12 min    3 of 16     100         1       0  41 ms
        ");
    }

    #[test]
    fn a_configuration_that_was_put_into_force_is_well() {
        for outcome in [
            Reload::Unchanged {
                revision: 3,
                last_change: None,
            },
            Reload::Applied {
                revision: 3,
                changes: Vec::new(),
            },
        ] {
            let mut status = refused("");
            status.last_reload = Some(LastReload {
                ago_seconds: 300,
                outcome,
            });
            assert_eq!(judge(&status), Exit::Success);
        }
    }

    #[test]
    fn watching_shows_the_rate_since_the_screen_before() {
        let start = Instant::now();
        let earlier = Totals::of(&status(vec![upstream("a", 100)]), start);
        let now = Totals::of(
            &status(vec![upstream("a", 120), upstream("new", 5)]),
            start + Duration::from_secs(2),
        );
        assert_eq!(
            now.rates_since(&earlier),
            Rates::from([("a".to_owned(), 10.0)])
        );
    }

    #[test]
    fn the_exit_code_distinguishes_well_degraded_and_dead() {
        assert_eq!(judge(&status(vec![upstream("a", 1)])), Exit::Success);
        assert_eq!(
            judge(&status(vec![upstream("a", 1), down("b")])),
            Exit::Failure
        );
        assert_eq!(
            judge(&Status {
                ready: false,
                ..status(vec![upstream("a", 1)])
            }),
            Exit::Critical
        );
    }

    #[test]
    fn a_condition_has_a_line_of_its_own_with_its_remedy() {
        let refused = Condition {
            kind: "credentials-refused".to_owned(),
            upstream: Some("a".to_owned()),
            text: "credentials refused by a (401)".to_owned(),
            remedy: "give others".to_owned(),
            since_seconds: 90,
            needs_operator: true,
        };
        let status = Status {
            conditions: vec![refused],
            ..status(vec![upstream("a", 1)])
        };
        assert_eq!(judge(&status), Exit::Failure);
        insta::assert_snapshot!(shown(&status), @r"
        geofront 0.1.0 on 127.0.0.1:9090: serving, configuration 3, running for 1 d 2 h
        catalog: unchanged since geofront started; the replica has it
        ! credentials refused by a (401), for 1 min: give others

        UPSTREAM  ROLE     HEALTH  MODE   CATALOG       SINCE  IN FLIGHT  WEIGHT  REQUESTS  ERRORS  PROBE
        a         replica  up      ready  fresh    3 h 12 min    3 of 16     100         1       0  41 ms
        ");
    }

    #[test]
    fn a_roll_is_no_trouble_and_a_reload_that_failed_is() {
        assert_eq!(
            judge(&status(vec![
                fresh("a"),
                stale("b", Phase::Reloading),
                stale("c", Phase::Waiting)
            ])),
            Exit::Success
        );
        let drained = Upstream {
            mode: Mode::Drain,
            ..stale("b", Phase::Reloading)
        };
        assert_eq!(judge(&status(vec![fresh("a"), drained])), Exit::Failure);
        assert_eq!(
            judge(&status(vec![fresh("a"), stale("b", Phase::Failed)])),
            Exit::Failure
        );
        let serving = Upstream {
            eligible: true,
            ..stale("b", Phase::Failed)
        };
        assert_eq!(judge(&status(vec![fresh("a"), serving])), Exit::Failure);
    }

    #[test]
    fn a_failed_reload_is_shown_with_its_reason() {
        let mut failed = stale("b", Phase::Failed);
        failed.last_cause = Some("timeout: no answer".to_owned());
        failed.catalog.last_reload = Some(CatalogReload {
            ago_seconds: 3,
            took_ms: 9,
            failure: Some("status 500".to_owned()),
        });
        failed.catalog.retry_seconds = Some(7);
        let mut status = status(vec![fresh("a"), failed, stale("c", Phase::Draining)]);
        (status.catalog.changed_seconds, status.catalog.done) = (Some(12), false);
        (status.catalog.epoch, status.catalog.settled) = (4, 4);
        insta::assert_snapshot!(shown(&status), @r"
        geofront 0.1.0 on 127.0.0.1:9090: serving, configuration 3, running for 1 d 2 h
        catalog: changed 12 s ago (epoch 4); 1 of 3 replicas has it; b: reload failed: status 500; the next try is in 7 s

        UPSTREAM  ROLE     HEALTH  MODE   CATALOG             SINCE  IN FLIGHT  WEIGHT  REQUESTS  ERRORS  PROBE  LAST CAUSE
        a         replica  up      ready  fresh          3 h 12 min    3 of 16     100      1000       0  41 ms
        b         replica  up      ready  reload failed  3 h 12 min    3 of 16     100      1000       0  41 ms  catalog reload failed: status 500; the next try is in 7 s
        c         replica  up      ready  draining       3 h 12 min    3 of 16     100      1000       0  41 ms
        ");
    }
}
