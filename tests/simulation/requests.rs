//! Clients: requests arrive, are tried, fail and are tried elsewhere.

use std::time::Instant;

use geofront::admission::{Client, ConcurrencyKeys};
use geofront::cluster::{
    About, MainPreference, NoUpstream, Selection, SelectionRequest, Snapshot, Tried, UpstreamId,
};
use geofront::config::{Config, Effort, PerUser, Priority};
use geofront::ogc::{self, RequestClass, RequestHead};

use crate::chance::Chance;
use crate::ledger::Key;
use crate::places::Kind;
use crate::world::{Todo, World};

/// Few enough that one user's requests meet in the queue.
const USERS: u64 = 5;
/// All at once.
const LONGEST_RUSH: u64 = 24;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) class: RequestClass,
    /// The layer that a map shows.
    pub(crate) layer: Option<Layer>,
    /// Heavy for a map of many pixels, light for a question about an execution.
    pub(crate) effort: Effort,
    /// The metatile that it has in common with other tiles.
    pub(crate) metatile: Option<u64>,
    /// The reader has just changed the catalog: the main is preferred.
    pub(crate) from_main: bool,
    pub(crate) user: u64,
    /// The steps that a trusted proxy adds to the priority of its class.
    pub(crate) steps: i64,
    /// The limits that hold it, as they were when it came; and the same in our terms.
    pub(crate) claim: ConcurrencyKeys,
    pub(crate) held: Held,
    /// For a read: the chance of success with a naive balancer.
    pub(crate) naively: Option<f64>,
    /// Number of times the cluster has rescued it.
    pub(crate) rescues: u32,
    tried: Tried,
    /// The same, in the ledger's terms. An upstream that was removed is no longer among them, even
    /// if another of the same name and address follows.
    pub(crate) keys: Vec<Key>,
    /// Attempts begun, also those at upstreams that were removed.
    pub(crate) attempts: usize,
}

/// One of a few layers, each with a database of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer(u64);

impl Layer {
    /// The layer that probes and canaries draw.
    pub(crate) const PROBED: Self = Self(0);

    pub(crate) fn random(chance: &mut Chance) -> Self {
        Self(chance.below(4))
    }
}

/// Maximum numbers of concurrent requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) user: u64,
    /// Requests of this user.
    pub(crate) of_user: Option<u32>,
    /// Maps of all users.
    pub(crate) of_maps: Option<u32>,
}

impl Request {
    pub(crate) fn tried(&self) -> &Tried {
        &self.tried
    }

    /// An attempt at this upstream begins.
    pub(crate) fn begins_at(&mut self, upstream: UpstreamId, key: Key) {
        self.tried.add(upstream);
        self.keys.push(key);
        self.attempts += 1;
    }

    pub(crate) fn is_retry(&self) -> bool {
        self.attempts > 0
    }

    /// The slots that it may use.
    pub(crate) fn kind(&self, config: &Config) -> Kind {
        match Kind::of(self.class, config) {
            Kind::Quick | Kind::Ordinary if self.effort == Effort::Heavy => Kind::Heavy,
            Kind::Heavy if self.effort == Effort::Light => Kind::Ordinary,
            kind => kind,
        }
    }

    pub(crate) fn priority(&self, of_class: Priority) -> Priority {
        of_class.better_by(self.steps)
    }

    /// True if it would be served, if only after a wait.
    pub(crate) fn has_place(&self, snapshot: &Snapshot) -> bool {
        snapshot.has_place(self.class, &self.tried)
    }

    /// Selects with the shipped code. `may_join`: no request waits.
    pub(crate) fn select(
        &self,
        snapshot: &Snapshot,
        may_join: bool,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let main = if self.from_main {
            MainPreference::ToSeeAChange
        } else {
            MainPreference::No
        };
        let request = SelectionRequest {
            class: self.class,
            effort: self.effort,
            key: self.metatile,
            tried: self.tried.clone(),
            main,
            about: About::Anything,
        };
        request.select(snapshot, may_join, now)
    }
}

impl World {
    pub(crate) fn arrive(&mut self) {
        match self.chance.below(14) {
            0..=6 => self.request(RequestClass::Map, None),
            7 | 8 => self.request(RequestClass::Capabilities, None),
            9 => self.request(RequestClass::Process, None),
            10 => self.request(RequestClass::Admin, None),
            11 => self.pan(),
            12 => self.rush(),
            _ => {
                let class = *self.chance.one_of(&RequestClass::ALL);
                self.request(class, None);
            }
        }
        // When nothing goes wrong any more, enough for every trial.
        let pause = if self.is_calm {
            self.chance.millis(50, 1_500)
        } else {
            self.chance.millis(1, 250)
        };
        self.plan(pause, Todo::Arrive);
    }

    pub(crate) fn request(&mut self, class: RequestClass, metatile: Option<u64>) {
        let user = self.chance.below(USERS);
        self.request_of(user, class, metatile);
    }

    pub(crate) fn request_of(&mut self, user: u64, class: RequestClass, metatile: Option<u64>) {
        let from_main = self.chance.percent(3);
        let steps = *self.chance.one_of(&[0, 0, 0, 0, 0, 0, 0, 0, 1, -1]);
        let (claim, held) = (self.claim(user, class), self.held(user, class));
        let naively = (self.is_read(class) && !from_main).then(|| self.naive_chance());
        let (tried, keys) = (Tried::default(), Vec::new());
        let effort = match class {
            RequestClass::Map if self.chance.percent(10) => Effort::Heavy,
            RequestClass::Process if self.chance.percent(30) => Effort::Light,
            _ => Effort::OfClass,
        };
        let layer = (class == RequestClass::Map).then(|| Layer::random(&mut self.chance));
        self.seek(Request {
            class,
            layer,
            effort,
            metatile,
            from_main,
            user,
            steps,
            claim,
            held,
            naively,
            rescues: 0,
            tried,
            keys,
            attempts: 0,
        });
    }

    fn claim(&self, user: u64, class: RequestClass) -> ConcurrencyKeys {
        let target = match class {
            RequestClass::Map => "/geoserver/wms?service=WMS&request=GetMap",
            // Held by its user alone, as everything else is in these worlds.
            _ => "/geoserver/web/",
        };
        let head = RequestHead {
            method: "GET",
            target: target.as_bytes(),
            content_type: None,
        };
        let client = Client {
            user,
            is_vouched_for: false,
            address: [10, 0, 0, 9].into(),
            address_key: 9,
        };
        ConcurrencyKeys::of(
            &self.config.limits,
            &ogc::classify(&head, "/geoserver", Some(b"")),
            &head,
            &client,
        )
    }

    fn held(&self, user: u64, class: RequestClass) -> Held {
        let of_user = match self.config.limits.per_user {
            PerUser::Fixed(most) => Some(most),
            PerUser::Auto | PerUser::Off => None,
        };
        Held {
            user,
            of_user,
            of_maps: self
                .blueprint
                .most_maps()
                .filter(|_| class == RequestClass::Map),
        }
    }

    /// A program that sends all of its requests at once.
    fn rush(&mut self) {
        let user = self.chance.below(USERS);
        let class = *self.chance.one_of(&[
            RequestClass::Map,
            RequestClass::Feature,
            RequestClass::Info,
            RequestClass::Process,
        ]);
        for _ in 0..self.chance.between(1, LONGEST_RUSH) {
            self.request_of(user, class, None);
        }
    }

    /// It is answered, or refused.
    pub(crate) fn concluded(&mut self, request: &Request, is_right: bool) {
        if self.faults.of_ours().is_some() {
            return;
        }
        if let Some(chance) = request.naively.filter(|_| {
            request
                .layer
                .is_none_or(|layer| !self.faults.fails_everywhere(layer))
        }) {
            self.naive.concluded(chance, is_right);
        }
    }
}
