//! The checks of the whole world after every step.

use geofront::balance;
use geofront::cluster::{HealthState, Mode, ReloadPhase, Snapshot, Tried, UpstreamStatus};
use geofront::config::{Role, ServedBy};
use geofront::ogc::RequestClass;

use crate::measured::{Judged, Known, check_health};
use crate::oracle::{Oracle, is_set_aside, key};
use crate::places::{AtWork, Places};
use crate::world::World;

/// Only one in this many steps of the agenda checks the published snapshot.
const SNAPSHOT_CHECKS: u64 = 4;

impl World {
    /// Checks that health follows from the probe results of each upstream and of the others.
    pub(crate) fn check_health(&self, oracle: &Oracle<'_>) {
        let judge = |status: &UpstreamStatus| {
            let measured = &self.ledger[&key(status)].measured;
            let in_maintenance = status.mode == Mode::Maintenance;
            let is_probed_now = !in_maintenance && status.catalog.phase != ReloadPhase::Reloading;
            let is_awaited =
                measured.reach == Known::Nothing && is_probed_now && !measured.is_unheard;
            (
                status.name.to_string(),
                Judged {
                    measured,
                    health: status.health,
                    in_maintenance,
                    is_awaited,
                },
            )
        };
        let judged: Vec<_> = oracle.upstreams().map(judge).collect();
        for (at, (name, one)) in judged.iter().enumerate() {
            let others: Vec<_> = judged
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .map(|(_, (_, one))| one)
                .collect();
            check_health(name, one, &others);
        }
        let is_there = |status: &&UpstreamStatus| {
            let reach = self.ledger[&key(status)].measured.reach;
            reach == Known::Good && status.mode == Mode::Ready && !status.catalog.is_out
        };
        let serves = |class| self.snapshot.serving(class).next().is_some();
        let is_main_there = oracle
            .upstreams()
            .filter(is_there)
            .any(|status| status.role == Role::Main);
        assert!(
            !is_main_there || serves(RequestClass::Admin),
            "administration is open while the main can be reached"
        );
        let is_anybody_awaited = judged.iter().any(|(_, one)| one.is_awaited);
        let is_a_replica_there = oracle
            .upstreams()
            .filter(is_there)
            .any(|status| status.role == Role::Replica);
        let is_anybody_there = is_a_replica_there && !is_anybody_awaited;
        assert!(
            !is_anybody_there || self.may_serve_map(),
            "reads are served while a replica can be reached"
        );
    }

    pub(crate) fn may_serve_map(&self) -> bool {
        self.snapshot
            .has_place(RequestClass::Map, &Tried::default())
            || self.config.classes[RequestClass::Map].served_by != ServedBy::Replicas
            || self.ledger.values().any(|entry| entry.trials > 0)
    }

    /// Checks the invariants after every step.
    pub(crate) fn check(&self) {
        let oracle = self.oracle();
        assert!(
            oracle.upstreams().map(key).eq(self.blueprint.keys()),
            "the configured upstreams are tracked"
        );
        for status in oracle.upstreams() {
            let entry = &self.ledger[&key(status)];
            let at_work = AtWork {
                all: status.in_flight,
                slower: status.slower_in_flight,
                heavy: status.heavy_in_flight,
            };
            assert_eq!(
                at_work, entry.at_work,
                "{}: in_flight is the number of live leases",
                status.name
            );
            let shown = status.cap.map(|cap| Places {
                all: cap.all,
                slower: cap.slower,
                heavy: cap.heavy,
            });
            assert_eq!(
                shown,
                oracle.places(status),
                "{}: the status has the limit",
                status.name
            );
            let is_open = entry
                .upstream
                .as_ref()
                .is_some_and(|upstream| upstream.load.has_room(balance::SlotLimits::UNLIMITED));
            assert!(
                !(is_open && status.catalog.is_out),
                "{}: no request comes in from an older snapshot either",
                status.name
            );
            assert_eq!(
                status.half_open, entry.is_half_open,
                "{}: the status has half-open",
                status.name
            );
            assert!(
                !is_set_aside(status) || status.health == HealthState::Up,
                "{}: set aside only while up",
                status.name
            );
        }
        for (upstream, leases) in self.retired.values() {
            assert_eq!(
                upstream.load.in_flight(),
                *leases,
                "{}: leases of the retired only end",
                upstream.name
            );
        }
        let (pool, set_aside) = oracle.pool();
        assert!(
            pool == 0 || set_aside < pool,
            "an upstream that could serve reads does"
        );
        self.check_health(&oracle);
        // A forgotten update of the snapshot stays missing for a while, so a check now and then
        // finds it.
        if self.last_number.is_multiple_of(SNAPSHOT_CHECKS) {
            self.check_snapshot();
        }
        self.check_queue(oracle);
    }

    /// Checks that the published snapshot is current: every change was published.
    pub(crate) fn check_snapshot(&self) {
        let actual = self.cluster.snapshot();
        for class in RequestClass::ALL {
            let ids = |snapshot: &Snapshot| {
                snapshot
                    .serving(class)
                    .map(|upstream| upstream.id)
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                ids(&self.snapshot),
                ids(&actual),
                "{class}: the view of requests is up to date"
            );
        }
        assert_eq!(self.snapshot.revision, self.revision);
    }
}
