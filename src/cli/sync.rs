//! `geofront sync`: reloads every replica's catalog.

use std::collections::BTreeMap;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::args;
use super::client::AdminClient;
use super::exit::{Exit, Failure};
use super::freshness::{Progress, all_replicas};
use super::humanize::took;
use crate::admin::answers::{Role, Status, Upstream};

/// Interval at which `--wait` reads the status. A small catalog loads in less than a second.
const POLL: Duration = Duration::from_millis(200);

/// The progress of a replica that has not begun, which is not printed.
const NOT_REPORTED: &str = "waiting for its turn";

pub(super) fn run(
    options: &args::Sync,
    client: &AdminClient,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let epoch = client.order_sync()?.epoch;
    if !options.wait {
        writeln!(
            out,
            "ordered: every replica is reloaded, and has epoch {epoch} then; `geofront status` shows how far they are"
        )?;
        return Ok(Exit::Success);
    }
    let mut roll = Roll {
        epoch,
        ordered: Instant::now(),
        reported: BTreeMap::new(),
    };
    loop {
        let status = client.status()?;
        roll.report(&status, out)?;
        if let Some(ended) = roll.ended(&status, options.timeout, roll.ordered.elapsed()) {
            writeln!(out, "{}", ended?)?;
            return Ok(Exit::Success);
        }
        thread::sleep(POLL);
    }
}

/// The observed progress of a roll.
struct Roll {
    epoch: u64,
    ordered: Instant,
    /// The last printed state of each replica, without numbers that change all the time.
    reported: BTreeMap<String, String>,
}

impl Roll {
    /// Prints one line for each replica whose state changed.
    fn report(&mut self, status: &Status, out: &mut dyn Write) -> Result<(), Failure> {
        for replica in replicas(status) {
            let text = self.text(replica);
            let state = text.split([',', ';']).next().unwrap_or_default().to_owned();
            if state == NOT_REPORTED || self.reported.get(&replica.name) == Some(&state) {
                continue;
            }
            writeln!(out, "{}: {text}", replica.name)?;
            out.flush()?;
            self.reported.insert(replica.name.clone(), state);
        }
        Ok(())
    }

    fn text(&self, replica: &Upstream) -> String {
        match Progress::of(replica, self.epoch) {
            Progress::Done => self.fresh_after(replica),
            Progress::Moving(what) => what,
            Progress::Stuck(why) => why,
            Progress::LeftAlone => "in maintenance, left alone".to_owned(),
        }
    }

    /// The line for a replica that has the epoch. If it restarted meanwhile, it loaded the catalog
    /// without a reload.
    fn fresh_after(&self, replica: &Upstream) -> String {
        let since = self.ordered.elapsed().as_secs() + 1;
        match replica
            .catalog
            .last_reload
            .as_ref()
            .filter(|last| last.failure.is_none() && last.ago_seconds <= since)
        {
            Some(last) => format!("fresh after {}", took(last.took_ms)),
            None => "fresh".to_owned(),
        }
    }

    /// The end of the roll: a text, or a failure with the reason for each replica that was left
    /// behind; `None` while it continues.
    fn ended(
        &self,
        status: &Status,
        limit: Duration,
        elapsed: Duration,
    ) -> Option<Result<String, Failure>> {
        if status.catalog.epoch < self.epoch {
            let restarted = Failure::new("geofront was restarted meanwhile");
            return Some(Err(restarted.help(
                "it finishes a roll that was under way; `geofront status` shows how far it is",
            )));
        }
        if !status.catalog.can_reload {
            return Some(Err(Failure::new(
                "the credentials were taken out of the configuration meanwhile",
            )));
        }
        let (mut done, mut behind, mut is_moving) = (0, Vec::new(), false);
        for replica in replicas(status) {
            match Progress::of(replica, self.epoch) {
                Progress::Done => done += 1,
                Progress::LeftAlone => {}
                Progress::Moving(what) => {
                    is_moving = true;
                    behind.push(format!("\n  {}: {what}", replica.name));
                }
                Progress::Stuck(why) => behind.push(format!("\n  {}: {why}", replica.name)),
            }
        }
        if is_moving && elapsed < limit {
            return None;
        }
        let epoch = self.epoch;
        Some(match (done, behind.len()) {
            (0, 0) => Err(Failure::new(
                "no replica was reloaded: all are in maintenance",
            )),
            (1, 0) => Ok(format!("the replica has epoch {epoch}")),
            (all, 0) => Ok(format!("{} have epoch {epoch}", all_replicas(all))),
            (some, left) => {
                let when = if is_moving {
                    format!(" after {}", humantime::format_duration(limit))
                } else {
                    String::new()
                };
                let verb = if left == 1 { "does" } else { "do" };
                let title = format!(
                    "{left} of {} replicas {verb} not have epoch {epoch}{when}{}",
                    some + left,
                    behind.concat()
                );
                Err(Failure::new(title)
                    .help("geofront goes on by itself; `geofront status` shows how far it is"))
            }
        })
    }
}

fn replicas(status: &Status) -> impl Iterator<Item = &Upstream> {
    status
        .upstreams
        .iter()
        .filter(|upstream| upstream.role == Role::Replica)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{down, fresh, stale, status};
    use super::*;
    use crate::admin::answers::{CatalogReload, Health, Mode, Phase};

    const LIMIT: Duration = Duration::from_secs(60);

    fn roll() -> Roll {
        Roll {
            epoch: 4,
            ordered: Instant::now(),
            reported: BTreeMap::new(),
        }
    }

    fn at_epoch(upstreams: Vec<Upstream>) -> Status {
        let mut status = status(upstreams);
        (status.catalog.epoch, status.catalog.settled) = (4, 4);
        status
    }

    fn reloaded(name: &str) -> Upstream {
        let mut upstream = fresh(name);
        upstream.catalog.last_reload = Some(CatalogReload {
            ago_seconds: 0,
            took_ms: 3249,
            failure: None,
        });
        upstream
    }

    fn failed(name: &str) -> Upstream {
        let mut upstream = stale(name, Phase::Failed);
        upstream.catalog.last_reload = Some(CatalogReload {
            ago_seconds: 0,
            took_ms: 3,
            failure: Some("status 500".to_owned()),
        });
        upstream.catalog.retry_seconds = Some(9);
        upstream
    }

    fn missing(name: &str) -> Upstream {
        let mut upstream = down(name);
        (upstream.catalog.epoch, upstream.catalog.fresh) = (Some(3), false);
        upstream
    }

    /// The end of a roll in this state: a text, or the failure.
    fn ended(upstreams: Vec<Upstream>, elapsed: Duration) -> Option<String> {
        let ended = roll().ended(&at_epoch(upstreams), LIMIT, elapsed)?;
        Some(ended.unwrap_or_else(|failure| failure.to_string()))
    }

    #[test]
    fn every_state_is_printed_once() {
        let mut roll = roll();
        let mut out = Vec::new();
        let mut busier = stale("a", Phase::Draining);
        busier.in_flight = 7;
        for upstreams in [
            vec![stale("a", Phase::Waiting), stale("b", Phase::Waiting)],
            vec![stale("a", Phase::Draining), stale("b", Phase::Waiting)],
            vec![busier, stale("b", Phase::Waiting)],
            vec![stale("a", Phase::Reloading), stale("b", Phase::Waiting)],
            vec![stale("a", Phase::Testing), stale("b", Phase::Waiting)],
            vec![reloaded("a"), failed("b")],
            vec![reloaded("a"), fresh("b")],
        ] {
            roll.report(&at_epoch(upstreams), &mut out).unwrap();
        }
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        a: draining, 3 in flight
        a: reloading
        a: testing
        a: fresh after 3.2 s
        b: reload failed: status 500; the next try is in 9 s
        b: fresh
        ");
    }

    #[test]
    fn it_ends_well_when_all_that_may_be_reloaded_have_the_epoch() {
        let maintenance = Upstream {
            mode: Mode::Maintenance,
            health: Health::Unknown,
            ..missing("c")
        };
        let main = Upstream {
            role: Role::Main,
            ..missing("main")
        };
        assert_eq!(
            ended(
                vec![main, fresh("a"), reloaded("b"), maintenance.clone()],
                LIMIT
            )
            .unwrap(),
            "both replicas have epoch 4"
        );
        let alone = "error: no replica was reloaded: all are in maintenance";
        assert_eq!(ended(vec![maintenance], LIMIT).unwrap(), alone);
    }

    #[test]
    fn it_goes_on_while_anything_moves_and_ends_when_the_rest_is_stuck() {
        assert_eq!(
            ended(
                vec![failed("a"), stale("b", Phase::Reloading)],
                Duration::ZERO
            ),
            None
        );
        insta::assert_snapshot!(ended(vec![failed("a"), fresh("b"), missing("c")], Duration::ZERO).unwrap(), @r"
        error: 2 of 3 replicas do not have epoch 4
          a: reload failed: status 500; the next try is in 9 s
          c: down (cannot connect: connection refused)
          help: geofront goes on by itself; `geofront status` shows how far it is
        ");
    }

    #[test]
    fn it_ends_after_its_time_and_reports_the_state_of_each_replica() {
        insta::assert_snapshot!(ended(vec![fresh("a"), stale("b", Phase::Reloading)], LIMIT).unwrap(), @r"
        error: 1 of 2 replicas does not have epoch 4 after 1m
          b: reloading
          help: geofront goes on by itself; `geofront status` shows how far it is
        ");
    }

    #[test]
    fn another_process_or_another_configuration_ends_it() {
        let restarted = roll()
            .ended(&status(vec![fresh("a")]), LIMIT, Duration::ZERO)
            .unwrap()
            .unwrap_err();
        assert!(
            restarted.to_string().contains("restarted meanwhile"),
            "{restarted}"
        );
        let mut watched = at_epoch(vec![stale("a", Phase::Waiting)]);
        watched.catalog.can_reload = false;
        let refused = roll()
            .ended(&watched, LIMIT, Duration::ZERO)
            .unwrap()
            .unwrap_err();
        assert!(
            refused.to_string().contains("credentials were taken out"),
            "{refused}"
        );
    }
}
