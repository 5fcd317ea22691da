//! Requests that find no upstream, and what the cluster does for them.

use geofront::cluster::UpstreamStatus;

use crate::oracle::{is_set_aside, key};
use crate::requests::Request;
use crate::world::World;

/// The proxy's limit.
const MAX_RESCUES: u32 = 4;

impl World {
    /// Handles refusals like the proxy: the request orders a rescue and selects again, and it is
    /// refused if no rescue is possible.
    pub(crate) fn follow_refusals(&mut self) {
        while let Some(mut request) = self.refused.pop() {
            if request.rescues < MAX_RESCUES && self.rescue(&request) {
                request.rescues += 1;
                self.seek(request);
                continue;
            }
            let oracle = self.oracle();
            self.judge_refusal(&oracle, &request);
            self.concluded(&request, false);
        }
    }

    fn rescue(&mut self, request: &Request) -> bool {
        if !self.cluster.could_rescue(request.class, request.tried()) {
            return request.has_place(&self.snapshot);
        }
        self.lose_probes();
        let then = self.cluster.status(self.now).upstreams;
        let (is_found, transitions) = self
            .cluster
            .rescue(request.class, request.tried(), self.now);
        self.hear(transitions);
        let now = self.cluster.status(self.now).upstreams;
        for (then, now) in then.iter().zip(&now) {
            self.note_help(then, now);
        }
        is_found
    }

    fn note_help(&mut self, then: &UpstreamStatus, status: &UpstreamStatus) {
        let now = self.now;
        if then.catalog.is_out && !status.catalog.is_out {
            self.tally.count("a reload was put off for a request");
            let upkeep = &mut self
                .ledger
                .get_mut(&key(status))
                .expect("it is tracked")
                .upkeep;
            assert!(
                upkeep.may_be_put_off(&then.catalog, self.config.catalog.drain_timeout, now),
                "{} serves although its reload was put off for long, or it may be empty",
                status.name
            );
            upkeep.put_off(&then.catalog, now);
        }
        if then.ejected_for.is_some() && status.half_open {
            self.tally.count("an early trial");
        }
        assert!(
            !is_set_aside(status) || is_set_aside(then),
            "help ejects no upstream"
        );
    }
}
