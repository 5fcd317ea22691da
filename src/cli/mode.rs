//! `geofront drain`, `ready` and `maintenance`: change the mode of one upstream.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::args;
use super::client::{AdminClient, NotOrdered};
use super::exit::{Exit, Failure};
use crate::admin::answers::{Mode, ModeOrder, ModeOrdered, Upstream};

/// Interval at which `--wait` reads the status.
const POLL: Duration = Duration::from_millis(500);

pub(super) fn drain(
    options: &args::Drain,
    client: &AdminClient,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let name = &options.upstream.name;
    let ordered = order(client, name, Mode::Drain, options.force)?;
    if options.wait {
        return wait_until_idle(name, options.timeout, client, out);
    }
    match ordered.in_flight {
        0 => writeln!(out, "{name}: drained, nothing in flight")?,
        some => writeln!(out, "{name}: draining, {some} in flight")?,
    }
    Ok(Exit::Success)
}

pub(super) fn ready(
    options: &args::Ready,
    client: &AdminClient,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let name = &options.upstream.name;
    order(client, name, Mode::Ready, false)?;
    writeln!(
        out,
        "{name}: ready, {}",
        prospect(&find_upstream(client, name)?)
    )?;
    Ok(Exit::Success)
}

pub(super) fn maintenance(
    options: &args::Maintenance,
    client: &AdminClient,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let name = &options.upstream.name;
    let ordered = order(client, name, Mode::Maintenance, options.force)?;
    writeln!(
        out,
        "{name}: in maintenance, {} in flight",
        ordered.in_flight
    )?;
    Ok(Exit::Success)
}

fn order(
    client: &AdminClient,
    name: &str,
    mode: Mode,
    force: bool,
) -> Result<ModeOrdered, Failure> {
    let order = ModeOrder {
        mode,
        force,
        by: operator(),
    };
    client.order_mode(name, &order).map_err(|refused| match refused {
        NotOrdered::LastServing(reason) => Failure::new(reason).help(
            "--force takes it out anyway; these requests then get errors until it, or another one that serves them, is ready",
        ),
        NotOrdered::Failed(failure) => failure,
    })
}

/// The user who called sudo, otherwise the current user.
fn operator() -> Option<String> {
    ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
}

/// The prospects of an upstream that was just made ready.
fn prospect(upstream: &Upstream) -> String {
    if upstream.eligible {
        return "gets requests".to_owned();
    }
    let cause = upstream
        .last_cause
        .as_deref()
        .and_then(|cause| cause.lines().next());
    let because = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!(
        "but {}{because}: gets requests once its probes pass",
        upstream.health
    )
}

fn find_upstream(client: &AdminClient, name: &str) -> Result<Upstream, Failure> {
    let found = client
        .status()?
        .upstreams
        .into_iter()
        .find(|upstream| upstream.name == name);
    found.ok_or_else(|| Failure::new(format!("{name}: no longer in the configuration")))
}

/// Prints each number once, so that a log of the output stays short.
fn wait_until_idle(
    name: &str,
    limit: Duration,
    client: &AdminClient,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let deadline = Instant::now() + limit;
    let mut said = None;
    loop {
        let upstream = find_upstream(client, name)?;
        if upstream.mode == Mode::Ready {
            return Err(Failure::new(format!("{name}: it was made ready again")));
        }
        if upstream.in_flight == 0 {
            writeln!(out, "{name}: drained, nothing in flight")?;
            return Ok(Exit::Success);
        }
        if said != Some(upstream.in_flight) {
            writeln!(out, "{name}: draining, {} in flight", upstream.in_flight)?;
            out.flush()?;
            said = Some(upstream.in_flight);
        }
        if Instant::now() >= deadline {
            let limit = humantime::format_duration(limit);
            return Err(Failure::new(format!(
                "{name}: still {} in flight after {limit}",
                upstream.in_flight
            ))
            .help(format!(
                "it gets nothing new; wait again, or `geofront ready {name}` brings it back"
            )));
        }
        thread::sleep(POLL.min(deadline.saturating_duration_since(Instant::now())));
    }
}
