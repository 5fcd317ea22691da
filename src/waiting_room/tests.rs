//! The waiting room before a cluster that is up, without Pingora: which request gets a slot, and
//! when.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::admission::{ClassWaiting, Client, STANDING_AFTER, UserWaiting};
use crate::cluster::{Cause, Event, MainPreference, Mode, Outcome};
use crate::config::{Config, Effort, MapEnvironment};
use crate::control::fixture::end_probes;
use crate::ogc::{self, RequestHead};

const MAP: &str = "/geoserver/wms?service=WMS&request=GetMap";
const TILE: &str = "/geoserver/gwc/service/wmts?service=WMTS&request=GetTile";
const FEATURE: &str = "/geoserver/wfs?service=WFS&request=GetFeature";

/// A cluster of replicas with one slot each, and the requests that wait before it.
struct World {
    control: Arc<Control>,
    room: Arc<WaitingRoom>,
    now: Instant,
}

impl World {
    fn with(replicas: usize, limits: &str) -> Self {
        let now = Instant::now();
        let control = Control::new(config(replicas, limits), now);
        let room = WaitingRoom::new(Arc::clone(&control), Metrics::new(), now);
        let world = Self { control, room, now };
        world.probe_all(&Outcome::Success);
        world
    }

    fn probe_all(&self, outcome: &Outcome) {
        end_probes(&self.control, outcome, self.now);
    }

    /// A request of `user` for this.
    fn request_slot(&self, target: &str, user: u64) -> SlotRequestResult {
        self.request_slot_for(MainPreference::No, target, user)
    }

    fn request_slot_for(&self, main: MainPreference, target: &str, user: u64) -> SlotRequestResult {
        let config = Arc::clone(&self.control.snapshot().config);
        let head = RequestHead {
            method: "GET",
            target: target.as_bytes(),
            content_type: None,
        };
        let classified = ogc::classify(&head, "/geoserver", Some(b""));
        let address = std::net::IpAddr::from([10, 0, 0, 1]);
        let client = Client {
            user,
            is_vouched_for: false,
            address,
            address_key: 1,
        };
        let keys = ConcurrencyKeys::of(&config.limits, &classified, &head, &client);
        let priority = config.classes[classified.class].priority;
        let rules = keys.fingerprint();
        let (class, from_main) = (classified.class, main == MainPreference::ToSeeAChange);
        let slot_request = SlotRequest {
            class,
            priority,
            rules,
            from_main,
            effort: Effort::OfClass,
            user,
            arrived: self.now,
            is_retry: false,
        };
        self.room.request_slot(
            SelectionRequest {
                main,
                ..wanted(class)
            },
            keys,
            slot_request,
            &|| format!("user {user}"),
            &config.limits,
            self.now,
        )
    }

    fn seated(&self, target: &str, user: u64) -> Admission {
        match self.request_slot(target, user) {
            SlotRequestResult::Admitted(seat) => seat,
            other => panic!("no place for {target}: {other:?}"),
        }
    }

    fn waits(&self, target: &str, user: u64) -> Waiting {
        match self.request_slot(target, user) {
            SlotRequestResult::Waiting(waiting) => waiting,
            other => panic!("{target} does not wait: {other:?}"),
        }
    }

    fn waiting(&self) -> usize {
        self.room.status(self.now).waiting()
    }
}

/// Of replicas with one place each.
fn config(replicas: usize, limits: &str) -> Arc<Config> {
    let upstream = |name: &str, port: usize, more: &str| {
        format!("[upstreams.{name}]\nurl = \"http://127.0.0.1:{port}\"\n{more}")
    };
    let mut text = upstream("main", 1, "role = \"main\"\nreads = \"never\"\n");
    (0..replicas).for_each(|n| text += &upstream(&format!("r{n}"), n + 2, ""));
    text += &format!(
        "[health]\nslow_start = \"0s\"\nfall = 1\n[limits]\nmax_in_flight = 1\n{limits}\n"
    );
    let environment = MapEnvironment::new().file("f", text.as_str());
    let loaded =
        Config::load(Path::new("f"), &environment).unwrap_or_else(|wrong| panic!("{wrong}"));
    Arc::new(loaded.config)
}

fn wanted(class: RequestClass) -> SelectionRequest {
    SelectionRequest::of(class)
}

/// The place that this one was given meanwhile.
fn taken(waiting: &mut Waiting) -> Admission {
    match waiting.result.try_recv() {
        Ok(WaitResult::Admitted(seat)) => seat,
        other => panic!("it was not given a place: {other:?}"),
    }
}

fn is_waiting(waiting: &mut Waiting) -> bool {
    matches!(
        waiting.result.try_recv(),
        Err(oneshot::error::TryRecvError::Empty)
    )
}

#[test]
fn a_place_that_comes_free_goes_to_the_best_waiter_and_to_no_other() {
    let world = World::with(1, "");
    let seat = world.seated(MAP, 1);
    let (mut map, mut tile) = (world.waits(MAP, 2), world.waits(TILE, 3));
    drop(seat);
    let seat = taken(&mut tile);
    assert!(is_waiting(&mut map));
    drop(seat);
    drop(taken(&mut map));
    assert_eq!(world.waiting(), 0);
}

#[test]
fn while_a_request_waits_newcomers_neither_bypass_the_queue_nor_overtake() {
    let world = World::with(1, "");
    let seat = world.seated(MAP, 1);
    let mut first = world.waits(MAP, 2);
    assert!(
        world
            .room
            .bypass(
                &wanted(RequestClass::Map),
                &ConcurrencyKeys::default(),
                world.now
            )
            .is_none()
    );
    let mut second = world.waits(MAP, 3);
    drop(seat);
    let seat = taken(&mut first);
    assert!(is_waiting(&mut second));
    drop(seat);
    drop(taken(&mut second));
    assert!(matches!(
        world.room.bypass(
            &wanted(RequestClass::Map),
            &ConcurrencyKeys::default(),
            world.now
        ),
        Some(Ok(_))
    ));
}

#[test]
fn a_request_that_prefers_the_main_takes_the_first_free_slot_and_delays_no_other() {
    let world = World::with(1, "");
    let SlotRequestResult::Admitted(main) =
        world.request_slot_for(MainPreference::ToSeeAChange, MAP, 1)
    else {
        panic!("the main has a slot")
    };
    let SlotRequestResult::Admitted(replica) =
        world.request_slot_for(MainPreference::ToSeeAChange, MAP, 1)
    else {
        panic!("a replica serves instead")
    };
    assert!(main.selection.upstream.is_main() && !replica.selection.upstream.is_main());
    let mut map = world.waits(MAP, 3);
    let SlotRequestResult::Waiting(mut to_see) =
        world.request_slot_for(MainPreference::ToSeeAChange, MAP, 2)
    else {
        panic!("both are full")
    };
    drop(main);
    let main = taken(&mut to_see);
    assert!(
        main.selection.upstream.is_main() && is_waiting(&mut map),
        "the main serves no other map"
    );
    let SlotRequestResult::Waiting(mut to_see) =
        world.request_slot_for(MainPreference::ToSeeAChange, MAP, 2)
    else {
        panic!("both are full")
    };
    drop(replica);
    let replica = taken(&mut map);
    drop(replica);
    assert!(
        !taken(&mut to_see).selection.upstream.is_main(),
        "it does not wait for the main alone"
    );
}

impl World {
    /// As if it were so much earlier for new requests; one has waited and was served before.
    fn earlier(replicas: usize, limits: &str, by: Duration) -> (Self, Admission) {
        let mut world = Self::with(replicas, limits);
        let seats: Vec<Admission> = (0..replicas)
            .map(|n| world.seated(MAP, 100 + n as u64))
            .collect();
        let mut waiting = world.waits(MAP, 1);
        drop(seats);
        let seat = taken(&mut waiting);
        world.now -= by;
        (world, seat)
    }
}

#[test]
fn in_a_lasting_overload_few_requests_wait_and_the_others_are_refused_at_once() {
    let (mut world, seat) = World::earlier(1, "", STANDING_AFTER);
    let mut many: Vec<Waiting> = (0..20).map(|user| world.waits(MAP, user)).collect();
    world.now += STANDING_AFTER;
    drop(seat);
    let _seat = taken(&mut many[0]);
    assert!(matches!(
        world.request_slot(MAP, 99),
        SlotRequestResult::Full(_)
    ));
    drop(many);
    let few: Vec<Waiting> = (0..3).map(|user| world.waits(MAP, user)).collect();
    assert!(
        matches!(world.request_slot(MAP, 99), SlotRequestResult::Full(_)),
        "a queue that is empty for a moment is no evidence"
    );
    drop(few);
    world.now += STANDING_AFTER;
    let few: Vec<Waiting> = (0..20).map(|user| world.waits(MAP, user)).collect();
    assert_eq!(
        (few.len(), world.waiting()),
        (20, 20),
        "no request was one too many for as long"
    );
}

#[test]
fn a_request_admitted_without_waiting_shows_that_the_queue_is_no_overload() {
    let (mut world, _seat) = World::earlier(2, "per_user = 1", STANDING_AFTER);
    let _waiting: Vec<Waiting> = (0..20).map(|_| world.waits(MAP, 1)).collect();
    drop(world.seated(MAP, 2));
    world.now += STANDING_AFTER;
    let _seat = world.seated(MAP, 2);
    let _patient = world.waits(MAP, 3);
    assert_eq!(world.waiting(), 21, "no request was displaced");
}

#[test]
fn a_light_request_passes_heavy_requests_that_wait_for_their_share() {
    let world = World::with(1, "heavy_share = 50");
    world.control.handle(Event::Tick, world.now);
    let heavy = world.seated(FEATURE, 1);
    let mut waiting = world.waits(FEATURE, 2);
    drop(heavy);
    let _heavy = taken(&mut waiting);
    let _next = world.waits(FEATURE, 3);
    assert_eq!(world.waiting(), 1);
}

#[test]
fn a_waiter_that_leaves_frees_its_place_in_the_queue_and_delays_no_other() {
    let world = World::with(1, "queue = 1");
    let seat = world.seated(MAP, 1);
    let gone = world.waits(MAP, 2);
    assert!(matches!(
        world.request_slot(MAP, 3),
        SlotRequestResult::Full(_)
    ));
    drop(gone);
    let mut waiting = world.waits(MAP, 3);
    drop(seat);
    drop(taken(&mut waiting));
}

#[test]
fn when_a_waiter_leaves_the_next_of_its_user_may_be_admitted() {
    let world = World::with(2, "per_user = 1");
    let (_seat, other) = (world.seated(MAP, 1), world.seated(MAP, 2));
    let first = world.waits(MAP, 1);
    world
        .control
        .handle(Event::Configured(config(2, "per_user = 9")), world.now);
    let mut second = world.waits(MAP, 1);
    drop(other);
    assert!(
        is_waiting(&mut second),
        "a user sends its oldest, which came under the old limit"
    );
    drop(first);
    drop(taken(&mut second));
}

#[test]
fn a_slot_granted_to_a_waiter_that_has_left_goes_to_the_next() {
    let world = World::with(1, "");
    let seat = world.seated(MAP, 1);
    let (gone, mut next) = (world.waits(MAP, 2), world.waits(MAP, 3));
    drop(seat);
    assert!(is_waiting(&mut next));
    drop(gone);
    drop(taken(&mut next));
}

#[test]
fn a_slot_granted_at_the_last_moment_is_taken() {
    let world = World::with(1, "");
    let seat = world.seated(MAP, 1);
    let (given, not_given) = (world.waits(MAP, 2), world.waits(MAP, 3));
    drop(seat);
    assert!(matches!(given.leave(), Some(WaitResult::Admitted(_))));
    assert!(
        not_given.leave().is_some(),
        "the place of the first came free at once"
    );
    assert_eq!(world.waiting(), 0);
}

#[test]
fn a_waiter_is_admitted_to_an_upstream_that_comes_back() {
    let world = World::with(2, "");
    world
        .control
        .set_mode("r1", Mode::Drain, false, world.now)
        .unwrap();
    let _seat = world.seated(MAP, 1);
    let mut waiting = world.waits(MAP, 2);
    world
        .control
        .set_mode("r1", Mode::Ready, false, world.now)
        .unwrap();
    assert_eq!(taken(&mut waiting).selection.upstream.name.as_str(), "r1");
}

#[test]
fn waiters_are_refused_when_no_upstream_is_left_for_them() {
    let mut world = World::with(1, "");
    let _seat = world.seated(MAP, 1);
    let mut waiting = world.waits(MAP, 2);
    world.now += Duration::from_secs(60);
    world.probe_all(&Outcome::Failure(Cause::Connect(Cause::REFUSED.to_owned())));
    assert!(matches!(
        waiting.result.try_recv(),
        Ok(WaitResult::Refused(NoUpstream::NoneEligible))
    ));
    assert!(
        matches!(
            world.request_slot(MAP, 3),
            SlotRequestResult::Refused(NoUpstream::NoneEligible)
        ),
        "and no request begins to wait"
    );
}

#[test]
fn a_user_at_its_limit_waits_although_slots_are_free_and_other_users_do_not() {
    let world = World::with(4, "per_user = 2");
    let (first, _second) = (world.seated(MAP, 1), world.seated(MAP, 1));
    let mut third = world.waits(MAP, 1);
    let _other = world.seated(MAP, 2);
    assert!(is_waiting(&mut third));
    drop(first);
    let _third = taken(&mut third);
    let _fourth = world.waits(TILE, 1);
}

#[test]
fn a_rule_holds_the_requests_it_is_about_over_the_whole_cluster() {
    let world = World::with(4, "control_flow = 'ows.wms.getmap=2'");
    let (map, _other) = (world.seated(MAP, 1), world.seated(MAP, 2));
    let mut waiting = world.waits(MAP, 3);
    let _tile = world.seated(TILE, 3);
    drop(map);
    drop(taken(&mut waiting));
}

#[test]
fn the_newest_waiter_of_the_lowest_class_is_shed_with_a_time_to_retry() {
    let world = World::with(1, "queue = 2");
    let _seat = world.seated(MAP, 1);
    let (mut old, mut new) = (world.waits(FEATURE, 2), world.waits(FEATURE, 3));
    let _tile = world.waits(TILE, 4);
    assert!(is_waiting(&mut old));
    assert!(matches!(
        new.result.try_recv(),
        Ok(WaitResult::Shed(1..=60))
    ));
}

#[test]
fn the_status_shows_the_waiters_of_each_class() {
    let world = World::with(1, "");
    let _seat = world.seated(MAP, 1);
    let _waiting = [world.waits(MAP, 2), world.waits(MAP, 2)];
    let status = world.room.status(world.now + Duration::from_secs(3));
    let longest = Duration::from_secs(3);
    assert_eq!(
        status.classes,
        [ClassWaiting {
            class: RequestClass::Map,
            waiting: 2,
            users: 1,
            longest
        }]
    );
    assert_eq!(
        status.users,
        [UserWaiting {
            user: "user 2".to_owned(),
            waiting: 2,
            longest
        }]
    );
    assert_eq!(status.max_waiting, 400);
}

/// No timer checks the queue here: after a single lost call, this does not end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_is_lost_however_releases_and_arrivals_meet() {
    let world = Arc::new(World::with(
        3,
        "per_user = 2\nqueue = 100000\ncontrol_flow = 'ows.wms=2'",
    ));
    let served = Arc::new(AtomicUsize::new(0));
    let client = |user: u64| {
        let (world, served) = (Arc::clone(&world), Arc::clone(&served));
        async move {
            for n in 0..400 {
                let target = if (user + n).is_multiple_of(3) {
                    TILE
                } else {
                    MAP
                };
                let seat = match world.request_slot(target, user % 4) {
                    SlotRequestResult::Admitted(seat) => seat,
                    SlotRequestResult::Waiting(mut waiting) if n.is_multiple_of(17) => {
                        // Some leave at once, in the middle of everything.
                        tokio::task::yield_now().await;
                        drop(waiting.result.try_recv());
                        continue;
                    }
                    SlotRequestResult::Waiting(mut waiting) => match (&mut waiting.result).await {
                        Ok(WaitResult::Admitted(seat)) => seat,
                        other => panic!("{other:?}"),
                    },
                    SlotRequestResult::Refused(why) => panic!("{why:?}"),
                    SlotRequestResult::Full(_) => panic!("the queue has room"),
                };
                assert!(
                    seat.selection.upstream.load.in_flight() <= 1,
                    "the cap is exact"
                );
                if n.is_multiple_of(3) {
                    tokio::task::yield_now().await;
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let clients: Vec<_> = (0..16).map(|user| tokio::spawn(client(user))).collect();
    for client in clients {
        tokio::time::timeout(Duration::from_secs(60), client)
            .await
            .expect("no request waits for ever")
            .unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > 4000);
    assert_eq!(
        (world.waiting(), world.room.waitlist.lock().counters()),
        (0, 0)
    );
}
