//! The machinery that reads update sequences, reloads catalogs and looks for canaries: mostly in
//! time, sometimes late, and now and then in vain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::cluster::{Cause, Event, Outcome, Upstream, UpstreamId};

use crate::audit::is_testing;
use crate::driver::REPORT_GRACE;
use crate::geoserver::{Load, LoadedBy};
use crate::ledger::{Entry, Key};
use crate::machine::Condition;
use crate::oracle;
use crate::world::{Todo, World};

/// A query about a catalog that is on its way: for its update sequence, or the canary first.
#[derive(Debug)]
pub(crate) struct Query {
    upstream: UpstreamId,
    pub(crate) key: Key,
    sent_at: Instant,
    outcome: Outcome,
    /// The report as it was when the request was made; `None` if it is read when the report
    /// arrives.
    early: Option<CatalogReading>,
}

/// An upstream's report about its catalog.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatalogReading {
    update_sequence: Option<u64>,
    is_whole: bool,
    /// The edits that the directory's update sequence covered then.
    pub(crate) announced: u64,
}

/// A reload that geofront ordered.
#[derive(Debug)]
pub(crate) struct Call {
    upstream: Arc<Upstream>,
    pub(crate) key: Key,
    sent_at: Instant,
    /// When the cluster will have given it up.
    lost: Instant,
    /// The answer will not be received.
    is_unheard: bool,
}

/// The result of a call.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Succeeds,
    /// The reload empties the catalog and leaves nothing; its status reports that, or not.
    Empties {
        is_reported: bool,
    },
    /// Before anything happened.
    Refused,
    /// No connection came about.
    Unconnected,
    /// It never left this machine.
    Local,
    /// Long before it is done.
    Breaks,
    Unheard,
    Hangs,
}

const HANGING: Duration = Duration::from_secs(60);

impl World {
    pub(crate) fn begin_reading(&mut self, upstream: &Upstream) {
        self.query(upstream, self.config.health.timeout, Todo::Reading);
    }

    pub(crate) fn begin_canary(&mut self, upstream: &Upstream) {
        self.query(upstream, self.config.health.timeout * 2, Todo::Canary);
    }

    fn is_tested(&self, key: &Key) -> bool {
        self.oracle()
            .upstreams()
            .any(|status| oracle::key(status) == *key && is_testing(&status.catalog))
    }

    /// Sends the canary to a serving upstream, because the reloaded replica does not draw it.
    pub(crate) fn begin_canary_elsewhere(&mut self, upstream: &Upstream) {
        self.query(
            upstream,
            self.config.health.timeout * 2,
            Todo::CanaryElsewhere,
        );
    }

    pub(crate) fn report_canary_elsewhere(&mut self, number: u64) {
        let Some(Query {
            key,
            sent_at,
            outcome,
            early,
            ..
        }) = self.queries.remove(&number)
        else {
            return;
        };
        let reading = early.unwrap_or_else(|| self.read_catalog(&key));
        let outcome = match self.blueprint.has_canary() || self.probes_draw {
            true => self.map_outcome(outcome, reading.is_whole),
            false => outcome,
        };
        if matches!(outcome, Outcome::Failure(_)) {
            self.tally.count("a canary in doubt");
        }
        self.handle(Event::CanaryTried { sent_at, outcome });
    }

    /// Checks whether the upstream accepts our credentials. A reload begins with the same request,
    /// so the same faults occur.
    pub(crate) fn begin_trying(&mut self, upstream: &Upstream) {
        self.query(upstream, self.config.health.timeout, Todo::Trying);
    }

    pub(crate) fn report_trying(&mut self, number: u64) {
        let Some(Query {
            upstream,
            key,
            sent_at,
            outcome,
            ..
        }) = self.queries.remove(&number)
        else {
            return;
        };
        let outcome = match outcome {
            Outcome::Success if self.faults.refuses_us(&key) => Err(Cause::Credentials(401)),
            Outcome::Success => Ok(()),
            Outcome::Busy => Err(Cause::Status(503)),
            Outcome::Failure(cause) => Err(cause),
        };
        if matches!(
            outcome,
            Err(Cause::Credentials(_) | Cause::Connect(_) | Cause::Local(_))
        ) {
            self.tally.count("a replica that a reload would not reach");
        }
        self.handle(Event::CredentialsTried {
            upstream,
            sent_at,
            outcome,
        });
    }

    fn query(&mut self, upstream: &Upstream, limit: Duration, what: Todo) {
        let key = (
            upstream.name.to_string(),
            upstream
                .address
                .known()
                .expect("simulated upstreams have addresses"),
        );
        let condition = self.machine(key.1).shows();
        let (took, outcome) = condition.probe(&mut self.chance, self.config.health.timeout);
        let (took, outcome) = self.as_far_as_we_get(took, outcome);
        let early = self.chance.percent(50).then(|| self.read_catalog(&key));
        let delay = match self.chance.below(30) {
            0 if !self.is_calm => None,
            1 if !self.is_calm => Some(limit + self.chance.millis(1_000, 4_000)),
            _ => Some(Duration::ZERO),
        };
        if let Some(delay) = delay {
            let query = Query {
                upstream: upstream.id,
                key,
                sent_at: self.now,
                outcome,
                early,
            };
            let number = self.plan(took + delay, what);
            self.queries.insert(number, query);
        }
    }

    fn read_catalog(&mut self, key: &Key) -> CatalogReading {
        let announced = self.directory.announced;
        let is_silent = self.main_is_silent && *key == self.main();
        let machine = self.machine(key.1);
        CatalogReading {
            update_sequence: machine.update_sequence().filter(|_| !is_silent),
            is_whole: machine.geoserver.is_whole(),
            announced,
        }
    }

    pub(crate) fn report_number(&mut self, number: u64) {
        let Some(Query {
            upstream,
            key,
            sent_at,
            outcome,
            early,
        }) = self.queries.remove(&number)
        else {
            return;
        };
        let reading = early.unwrap_or_else(|| self.read_catalog(&key));
        let update_sequence = reading
            .update_sequence
            .filter(|_| outcome == Outcome::Success);
        let then = self.cluster.status(self.now).catalog;
        self.handle(Event::UpdateSequenceRead {
            upstream,
            sent_at,
            update_sequence,
        });
        let status = self.cluster.status(self.now).catalog;
        self.audit
            .main_was_read(&then, &status, reading, &self.directory, self.now);
    }

    pub(crate) fn report_canary(&mut self, number: u64) {
        let Some(Query {
            upstream,
            key,
            sent_at,
            outcome,
            early,
        }) = self.queries.remove(&number)
        else {
            return;
        };
        let reading = early.unwrap_or_else(|| self.read_catalog(&key));
        let outcome = self.canary_outcome(outcome, reading.is_whole, key.1);
        let is_answered = matches!(
            outcome,
            Outcome::Success | Outcome::Failure(Cause::Unexpected(_))
        );
        let update_sequence = reading.update_sequence.filter(|_| is_answered);
        if matches!(outcome, Outcome::Failure(_)) {
            self.tally.count("a canary failed");
        }
        self.handle(Event::Tick);
        let was_tested = self.is_tested(&key);
        self.lose_probes();
        let is_failed = matches!(outcome, Outcome::Failure(_));
        // It comes back with the share it had: a reload does not cool it.
        let transitions = self.cluster.handle(
            Event::CanaryTested {
                upstream,
                sent_at,
                outcome,
                update_sequence,
            },
            self.now,
        );
        if was_tested && is_failed && !self.is_tested(&key) {
            self.tally.count("returned with its canary in doubt");
            // That it was left empty by a reload that was answered as done, nothing shows.
            self.machine(key.1).geoserver.disown();
        }
        self.hear(transitions);
        self.answer_snapshot();
    }

    pub(crate) fn begin_call(&mut self, upstream: Arc<Upstream>) {
        let key = (
            upstream.name.to_string(),
            upstream
                .address
                .known()
                .expect("simulated upstreams have addresses"),
        );
        let limit = self.config.catalog.reload_timeout;
        let fate = if self.faults.refuses_us(&key) {
            Fate::Refused
        } else {
            self.fate(key.1)
        };
        let fate = if self.faults.of_ours().is_some() {
            Fate::Local
        } else {
            fate
        };
        let is_unheard = matches!(fate, Fate::Unheard);
        let call = Call {
            upstream,
            key: key.clone(),
            sent_at: self.now,
            lost: self.now + limit + REPORT_GRACE,
            is_unheard,
        };
        // Only a GeoServer that hangs shows whether the end of a call is late.
        let often = if matches!(fate, Fate::Hangs) { 40 } else { 5 };
        let is_late = !self.is_calm && self.chance.percent(often);
        let late = if is_late {
            self.chance.millis(500, 30_000)
        } else {
            Duration::ZERO
        };
        let number = self.plan(limit + late, Todo::CallEnds);
        self.calls.insert(number, call);
        self.audit_call(&key);
        self.follow(fate, number, &key);
    }

    fn fate(&mut self, address: SocketAddr) -> Fate {
        let percent = self.chance.below(100);
        match self.machine(address).shows() {
            Condition::Refusing | Condition::Overrun => Fate::Unconnected,
            Condition::Silent => Fate::Hangs,
            _ if self.is_calm => Fate::Succeeds,
            _ => match percent {
                0..=69 => Fate::Succeeds,
                70..=77 => Fate::Empties { is_reported: true },
                78..=81 => Fate::Empties { is_reported: false },
                82..=86 => Fate::Refused,
                87..=90 => Fate::Breaks,
                91..=95 => Fate::Unheard,
                _ => Fate::Hangs,
            },
        }
    }

    fn follow(&mut self, fate: Fate, number: u64, key: &Key) {
        let usual = self.chance.millis(50, 3_000);
        // One that takes longer than it may would be tried for ever.
        let usual = if self.is_calm {
            usual.min(self.config.catalog.reload_timeout / 2)
        } else {
            usual
        };
        let takes = if matches!(fate, Fate::Hangs) {
            HANGING
        } else {
            usual
        };
        let load = Load {
            call: Some(number),
            ..Load::new(LoadedBy::Geofront, takes)
        };
        match fate {
            Fate::Succeeds | Fate::Unheard | Fate::Hangs => self.queue(key.1, load),
            Fate::Empties { is_reported } => {
                self.tally.count("a reload that left nothing");
                self.queue(
                    key.1,
                    Load {
                        succeeds: false,
                        reports_success: !is_reported,
                        ..load
                    },
                );
            }
            Fate::Local => {
                let cause = self.faults.of_ours().expect("it has one");
                self.answer(number, Err(cause));
            }
            Fate::Unconnected => {
                self.answer(number, Err(Cause::Connect(Cause::REFUSED.to_owned())))
            }
            Fate::Refused => self.answer(number, Err(Cause::Credentials(401))),
            Fate::Breaks => {
                self.queue(key.1, load);
                self.answer(number, Err(Cause::Reset("in the reload")));
            }
        }
    }

    /// Something loads at this address, at once or in its turn.
    pub(crate) fn queue(&mut self, address: SocketAddr, load: Load) {
        self.machine(address).geoserver.queue(load);
        self.load_next(address);
    }

    pub(crate) fn load_next(&mut self, address: SocketAddr) {
        let Some(takes) = self.machine(address).geoserver.next_takes() else {
            return;
        };
        let number = self.plan(takes, Todo::LoadEnds);
        self.loads.insert(number, address);
        let is_remote = address != self.main().1;
        let machine = self.machines.get_mut(&address).expect("it is there");
        if machine.geoserver.begin(number, &self.directory, is_remote) {
            self.tally.count("a load that read old files");
        }
    }

    pub(crate) fn end_load(&mut self, number: u64) {
        let address = self.loads.remove(&number).expect("a load ends once");
        let machine = self.machines.get_mut(&address).expect("it is there");
        let Some(load) = machine.geoserver.end(number, &mut self.directory) else {
            return;
        };
        self.file_changed();
        self.load_next(address);
        if load.by == LoadedBy::Other
            || load
                .call
                .is_some_and(|call| !self.calls.contains_key(&call))
        {
            self.audit_unknown_load(address);
        }
        if let Some(call) = load.call {
            self.answer(
                call,
                if load.reports_success {
                    Ok(())
                } else {
                    Err(Cause::Status(500))
                },
            );
        }
    }

    /// The process ended.
    pub(crate) fn break_calls(&mut self, calls: Vec<u64>) {
        calls
            .into_iter()
            .for_each(|call| self.answer(call, Err(Cause::Reset("in the reload"))));
    }

    /// It took too long.
    pub(crate) fn give_up(&mut self, number: u64) {
        self.answer(number, Err(Cause::Timeout("no answer to the reload")));
    }

    pub(crate) fn answer(&mut self, number: u64, outcome: Result<(), Cause>) {
        let Some(call) = self.calls.get(&number) else {
            return;
        };
        if call.is_unheard {
            self.tally.count("a reload that was never reported");
            return;
        }
        let Call {
            upstream,
            key,
            sent_at,
            lost,
            ..
        } = self.calls.remove(&number).expect("it was there");
        let is_late = lost <= self.now;
        if is_late {
            self.tally.count("a late answer to a reload");
        }
        let never_began = matches!(
            outcome,
            Err(Cause::Connect(_) | Cause::Credentials(_) | Cause::Local(_))
        );
        let is_it = |entry: &&mut Entry| {
            entry
                .upstream
                .as_ref()
                .is_some_and(|known| known.id == upstream.id)
        };
        if let Some(entry) = self
            .ledger
            .get_mut(&key)
            .filter(is_it)
            .filter(|_| never_began && !is_late)
        {
            entry.upkeep.must_serve = !entry.upkeep.was_empty_at_call;
        }
        self.handle(Event::CatalogReloaded {
            upstream: upstream.id,
            sent_at,
            outcome,
        });
    }

    /// Returns the number of our calls that may still be under way, to upstreams that are still
    /// replicas.
    pub(crate) fn calls_under_way(&self) -> usize {
        let is_replica = |call: &Call| {
            let known = self
                .ledger
                .get(&call.key)
                .and_then(|entry| entry.upstream.as_ref());
            known.is_some_and(|known| known.id == call.upstream.id && !known.is_main())
        };
        let is_under_way = |call: &&Call| call.lost > self.now && is_replica(call);
        self.calls.values().filter(is_under_way).count()
    }
}
