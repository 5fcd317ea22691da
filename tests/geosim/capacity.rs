//! Tests of an instance's throughput: slots, shared cores, threads, speed, a cold start, and the
//! limits of control-flow and its reports.

use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Capacity, Cold, ControlFlow, Instance, eventually};

use crate::client::{GET_MAP, Reply, XML, as_admin, connect, get, post, start_with, try_get};

/// Longer than any test takes, and than the client waits.
const VERY_LONG: &str = "60s";
const VERSION: &str = "/geoserver/rest/about/version.xml";
const MS: Duration = Duration::from_millis(1);

fn with(capacity: Capacity) -> Instance {
    start_with(Behaviour {
        capacity,
        ..Behaviour::default()
    })
}

/// A map that is so much work.
fn map_of(work: &str) -> String {
    format!("{GET_MAP}&geosim_work={work}")
}

fn transact(instance: &Instance, tag: &str, work: &str) -> Reply {
    let body = "<wfs:Transaction service=\"WFS\" version=\"1.1.0\" xmlns:wfs=\"http://www.opengis.net/wfs\"/>";
    post(
        instance,
        &format!("/geoserver/wfs?geosim_tag={tag}&geosim_work={work}"),
        &[XML],
        body,
    )
}

fn received(instance: &Instance, requests: u64) {
    eventually("the request has arrived", || {
        instance.control().received_in_all() == requests
    });
}

/// Keeps an instance busy with `maps` maps that never end, until it is killed after `during`.
fn beside_endless_maps(instance: &Instance, maps: u64, during: impl FnOnce()) {
    thread::scope(|scope| {
        for _ in 0..maps {
            scope.spawn(|| try_get(instance, &map_of(VERY_LONG)));
        }
        received(instance, maps);
        during();
        instance.kill();
    });
}

#[test]
fn without_a_bound_all_work_goes_on_at_once() {
    let instance = with(Capacity::Unlimited);
    beside_endless_maps(&instance, 8, || {
        assert!(get(&instance, &map_of("1ms")).is_png())
    });
}

#[test]
fn slots_are_given_in_order_of_arrival() {
    let instance = &with(Capacity::Slots(1));
    thread::scope(|scope| {
        // Each is less work than those before it: without the order the last would be the first.
        for (number, (tag, work)) in [("a", "200ms"), ("b", "100ms"), ("c", "1ms")]
            .into_iter()
            .enumerate()
        {
            scope.spawn(move || transact(instance, tag, work));
            received(instance, number as u64 + 1);
        }
    });
    let order: Vec<_> = instance
        .data()
        .writes()
        .into_iter()
        .filter_map(|write| write.tag)
        .collect();
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn more_requests_than_slots_take_their_turns() {
    let instance = &with(Capacity::Slots(2));
    let asked = Instant::now();
    thread::scope(|scope| {
        let maps: Vec<ScopedJoinHandle<'_, Reply>> = (0..6)
            .map(|_| scope.spawn(|| get(instance, &map_of("40ms"))))
            .collect();
        assert!(maps.into_iter().all(|map| map.join().unwrap().is_png()));
    });
    assert!(
        asked.elapsed() >= 120 * MS,
        "six by two of 40 ms in {:?}",
        asked.elapsed()
    );
}

#[test]
fn administration_takes_no_slot() {
    let instance = with(Capacity::Slots(1));
    beside_endless_maps(&instance, 1, || {
        assert_eq!(as_admin(&instance, "GET", VERSION, "").status, 200);
        assert_eq!(get(&instance, "/geoserver/web/").status, 302);
    });
}

#[test]
fn shared_cores_slow_every_request_down_and_refuse_none() {
    let instance = with(Capacity::Shared { cores: 1.0 });
    beside_endless_maps(&instance, 4, || {
        let asked = Instant::now();
        assert!(get(&instance, &map_of("30ms")).is_png());
        assert!(
            asked.elapsed() >= 149 * MS,
            "a fifth of a core did 30 ms of work in {:?}",
            asked.elapsed()
        );
    });
}

#[test]
fn an_instance_of_half_the_speed_takes_twice_the_time() {
    for capacity in [
        Capacity::Unlimited,
        Capacity::Slots(1),
        Capacity::Shared { cores: 2.0 },
    ] {
        let instance = start_with(Behaviour {
            capacity,
            speed: 0.5,
            ..Behaviour::default()
        });
        let asked = Instant::now();
        assert!(get(&instance, &map_of("50ms")).is_png());
        assert!(
            asked.elapsed() >= 99 * MS,
            "{capacity:?}: {:?}",
            asked.elapsed()
        );
    }
}

#[test]
fn a_change_of_speed_is_felt_by_the_work_in_progress() {
    let instance = &with(Capacity::Shared { cores: 1.0 });
    thread::scope(|scope| {
        let map = scope.spawn(|| get(instance, &map_of("600s")));
        received(instance, 1);
        instance.control().set_speed(1e5);
        assert!(map.join().unwrap().is_png());
    });
}

#[test]
fn beyond_its_threads_an_instance_leaves_every_request_waiting() {
    let instance = &start_with(Behaviour {
        threads: Some(1),
        ..Behaviour::default()
    });
    for (target, status) in [
        (VERSION, 401),
        ("/geoserver/www/a.css", 200),
        (GET_MAP, 200),
    ] {
        let asked = Instant::now();
        let before = instance.control().received_in_all();
        thread::scope(|scope| {
            scope.spawn(|| get(instance, &map_of("100ms")));
            received(instance, before + 1);
            assert_eq!(get(instance, target).status, status);
            assert!(asked.elapsed() >= 100 * MS, "{target}");
        });
    }
}

#[test]
fn after_a_start_reload_or_reset_the_first_requests_are_slow() {
    let cold = Cold {
        requests: 1,
        factor: 20.0,
    };
    let instance = start_with(Behaviour {
        cold,
        ..Behaviour::default()
    });
    let time_of_a_map = || {
        let asked = Instant::now();
        assert!(get(&instance, &map_of("15ms")).is_png());
        asked.elapsed()
    };
    let (first, later) = (
        time_of_a_map(),
        [(); 5].map(|()| time_of_a_map()).into_iter().min().unwrap(),
    );
    assert!(
        first >= 300 * MS && later < first / 2,
        "{first:?}, {later:?}"
    );
    for cause in ["reload", "reset"] {
        assert_eq!(
            as_admin(&instance, "POST", &format!("/geoserver/rest/{cause}"), "").status,
            200
        );
        assert!(time_of_a_map() >= 300 * MS, "{cause}");
    }
}

fn with_control_flow(timeout: Option<Duration>) -> Instance {
    let control_flow = Some(ControlFlow { timeout });
    start_with(Behaviour {
        capacity: Capacity::Slots(1),
        control_flow,
        ..Behaviour::default()
    })
}

fn delay_of(reply: &Reply) -> Duration {
    MS * reply
        .header("x-control-flow-delay-ms")
        .expect("control-flow tells the delay")
        .parse::<u32>()
        .unwrap()
}

#[test]
fn control_flow_reports_how_long_a_request_was_queued() {
    let (instance, work) = (&with_control_flow(None), 300 * MS);
    assert_eq!(delay_of(&get(instance, GET_MAP)), Duration::ZERO);
    thread::scope(|scope| {
        let asked = Instant::now();
        scope.spawn(|| get(instance, &map_of("300ms")));
        received(instance, 2);
        let queued = scope.spawn(|| get(instance, GET_MAP));
        received(instance, 3);
        let late = asked.elapsed();
        let delay = delay_of(&queued.join().unwrap());
        assert!(
            delay + late >= work / 2,
            "queued {late:?} after the work began, told {delay:?} of {work:?}"
        );
    });
    assert!(
        as_admin(instance, "GET", VERSION, "")
            .header("x-control-flow-delay-ms")
            .is_none()
    );
    let uncontrolled = with(Capacity::Slots(1));
    assert!(
        get(&uncontrolled, GET_MAP)
            .header("x-control-flow-delay-ms")
            .is_none()
    );
}

/// Busy, not broken.
#[test]
fn control_flow_gives_up_with_503_after_its_timeout() {
    let timeout = 30 * MS;
    let instance = with_control_flow(Some(timeout));
    beside_endless_maps(&instance, 1, || {
        let asked = Instant::now();
        let reply = get(&instance, GET_MAP);
        assert!(asked.elapsed() >= timeout);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (503, Some("text/html;charset=utf-8"))
        );
        assert!(reply.text().contains(
            "Requested timeout out while waiting to be executed, please lower your request rate"
        ));
        assert_eq!(
            as_admin(&instance, "GET", VERSION, "").status,
            200,
            "REST is not controlled"
        );
    });
}

#[test]
fn requests_are_in_flight_from_their_arrival_to_their_answer() {
    let instance = with(Capacity::Slots(2));
    let in_flight = || instance.control().in_flight();
    assert!(get(&instance, GET_MAP).is_png());
    eventually("nothing is in flight", || in_flight() == 0);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| try_get(&instance, &map_of(VERY_LONG)));
        }
        eventually("those that wait count too", || in_flight() == 5);
        assert_eq!(instance.control().most_in_flight(), 5);
        instance.kill();
    });
    assert_eq!(in_flight(), 0);
}

/// GeoServer does not notice before it writes.
#[test]
fn work_goes_on_when_its_client_has_left() {
    use std::io::Write as _;
    let instance = with(Capacity::Slots(1));
    let request = "POST /geoserver/wfs?service=WFS&version=1.1.0&request=Transaction&geosim_work=50ms HTTP/1.1\r\nHost: x\r\n\r\n";
    connect(&instance)
        .unwrap()
        .write_all(request.as_bytes())
        .unwrap();
    eventually("it is executed all the same", || {
        instance.data().writes().len() == 1
    });
}
