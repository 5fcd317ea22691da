//! The promises of the queue, one by one.

mod model;

use super::*;

const CLASSES: [(RequestClass, Priority); 4] = [
    (RequestClass::Tile, Priority::FIRST),
    (RequestClass::Map, Priority::new(1).unwrap()),
    (RequestClass::Feature, Priority::new(2).unwrap()),
    (RequestClass::Process, Priority::LAST),
];

fn slot_request(class: RequestClass, user: u64, arrived: Instant) -> SlotRequest {
    let priority = CLASSES.iter().find(|(known, _)| *known == class).unwrap().1;
    SlotRequest {
        class,
        priority,
        rules: 0,
        from_main: false,
        effort: Effort::OfClass,
        user,
        arrived,
        is_retry: false,
    }
}

/// Enqueues a request that has to wait.
#[track_caller]
fn wait<T: std::fmt::Debug>(queue: &mut Queue<T>, slot_request: SlotRequest, value: T) {
    let pushed = queue.push(slot_request, value);
    assert!(matches!(pushed, Pushed::Waits(_)), "{pushed:?}");
}

/// More waiters than any test has.
const MANY: usize = 10_000;

/// Serves all waiters that can go, and returns their values in order.
fn serve_all<T>(queue: &mut Queue<T>) -> Vec<T> {
    std::iter::from_fn(|| queue.serve(|_| true, |_| Offer::Taken(())))
        .take(MANY)
        .map(|(waiter, ())| waiter.value)
        .collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_burst_of_one_user_does_not_stand_before_anothers_first() {
    let (mut queue, now) = (Queue::new(400), Instant::now());
    (0..200).for_each(|n| wait(&mut queue, slot_request(RequestClass::Map, 1, now), (1, n)));
    wait(
        &mut queue,
        slot_request(RequestClass::Map, 2, now + seconds(1)),
        (2, 0),
    );
    let served = serve_all(&mut queue);
    assert_eq!(served[..3], [(1, 0), (2, 0), (1, 1)]);
    assert_eq!(served.len(), 201);
}

#[test]
fn a_better_class_goes_first_until_the_lower_has_aged() {
    let (mut queue, now) = (Queue::new(10), Instant::now());
    wait(
        &mut queue,
        slot_request(RequestClass::Process, 1, now),
        "process",
    );
    for (after, name) in [
        (0, "tile at once"),
        (14, "tile after 14 s"),
        (16, "tile after 16 s"),
    ] {
        wait(
            &mut queue,
            slot_request(RequestClass::Tile, 2, now + seconds(after)),
            name,
        );
    }
    assert_eq!(
        serve_all(&mut queue),
        [
            "tile at once",
            "tile after 14 s",
            "process",
            "tile after 16 s"
        ]
    );
}

#[test]
fn a_class_without_a_free_slot_delays_no_other_class() {
    let (mut queue, now) = (Queue::new(10), Instant::now());
    wait(&mut queue, slot_request(RequestClass::Tile, 1, now), "tile");
    wait(&mut queue, slot_request(RequestClass::Map, 1, now), "map");
    let only_maps = |waiter: &Waiter<_>| match waiter.slot_request.class {
        RequestClass::Map => Offer::Taken(()),
        _ => Offer::ClassMustWait,
    };
    assert_eq!(queue.serve(|_| true, only_maps).unwrap().0.value, "map");
    assert!(queue.serve(|_| true, only_maps).is_none());
    assert_eq!(queue.len_of(RequestClass::Tile), 1);
}

#[test]
fn where_too_many_of_a_priority_wait_the_user_with_the_most_makes_room_or_the_newcomer_is_refused()
{
    let (mut queue, now) = (Queue::new(100), Instant::now());
    let map = |user| slot_request(RequestClass::Map, user, now);
    (0..3).for_each(|n| wait(&mut queue, map(1), n));
    wait(&mut queue, map(2), 3);
    queue.shorten(map(1).priority, 4);
    assert_eq!(queue.push(map(1), 4), Pushed::Full(4), "no user has more");
    let Pushed::WaitsInsteadOf(_, shed) = queue.push(map(3), 5) else {
        panic!("user 1 has three")
    };
    assert_eq!(shed.value, 2);
    wait(&mut queue, slot_request(RequestClass::Tile, 1, now), 6);
    wait(&mut queue, slot_request(RequestClass::Process, 1, now), 7);
    wait(
        &mut queue,
        SlotRequest {
            is_retry: true,
            ..map(1)
        },
        8,
    );
    queue.shorten(map(1).priority, usize::MAX);
    wait(&mut queue, map(1), 9);
    assert_eq!(queue.len(), 8);
}

#[test]
fn a_user_at_its_limit_is_passed_over_and_keeps_its_turn() {
    let (mut queue, now) = (Queue::new(10), Instant::now());
    ["first", "second"]
        .into_iter()
        .for_each(|name| wait(&mut queue, slot_request(RequestClass::Map, 1, now), name));
    wait(&mut queue, slot_request(RequestClass::Map, 2, now), "other");
    assert_eq!(
        queue
            .serve(|waiter| waiter.slot_request.user != 1, |_| Offer::Taken(()))
            .unwrap()
            .0
            .value,
        "other"
    );
    wait(
        &mut queue,
        slot_request(RequestClass::Map, 2, now),
        "other again",
    );
    assert_eq!(serve_all(&mut queue), ["first", "other again", "second"]);
}

#[test]
fn a_user_found_to_have_enough_only_at_the_offer_does_not_hold_up_the_class() {
    let (mut queue, now) = (Queue::new(10), Instant::now());
    wait(&mut queue, slot_request(RequestClass::Map, 1, now), "first");
    wait(&mut queue, slot_request(RequestClass::Map, 2, now), "other");
    let offer = |waiter: &Waiter<_>| {
        if waiter.slot_request.user == 1 {
            Offer::UserMustWait
        } else {
            Offer::Taken(())
        }
    };
    assert_eq!(queue.serve(|_| true, offer).unwrap().0.value, "other");
}

#[test]
fn requests_under_another_rule_do_not_wait_for_it() {
    let (mut queue, now) = (Queue::new(10), Instant::now());
    wait(
        &mut queue,
        SlotRequest {
            rules: 1,
            ..slot_request(RequestClass::Map, 1, now)
        },
        "held",
    );
    wait(&mut queue, slot_request(RequestClass::Map, 1, now), "free");
    let offer = |waiter: &Waiter<_>| {
        if waiter.slot_request.rules == 1 {
            Offer::ClassMustWait
        } else {
            Offer::Taken(())
        }
    };
    assert_eq!(queue.serve(|_| true, offer).unwrap().0.value, "free");
}

#[test]
fn a_retry_goes_first_and_one_that_cannot_go_does_not_stop_the_next() {
    let (mut queue, now) = (Queue::new(10), Instant::now());
    wait(&mut queue, slot_request(RequestClass::Tile, 1, now), "tile");
    for name in ["stuck retry", "retry"] {
        wait(
            &mut queue,
            SlotRequest {
                is_retry: true,
                ..slot_request(RequestClass::Process, 1, now)
            },
            name,
        );
    }
    let offer = |waiter: &Waiter<_>| {
        if waiter.value == "stuck retry" {
            Offer::ClassMustWait
        } else {
            Offer::Taken(())
        }
    };
    let served: Vec<_> = std::iter::from_fn(|| queue.serve(|_| true, offer))
        .take(MANY)
        .map(|(waiter, ())| waiter.value)
        .collect();
    assert_eq!(served, ["retry", "tile"]);
}

#[test]
fn a_full_queue_sheds_the_newest_of_the_lowest_class_for_a_better_one() {
    let (mut queue, now) = (Queue::new(3), Instant::now());
    for (class, name) in [
        (RequestClass::Process, "a"),
        (RequestClass::Process, "b"),
        (RequestClass::Map, "map"),
    ] {
        wait(&mut queue, slot_request(class, 1, now), name);
    }
    let Pushed::WaitsInsteadOf(_, shed) =
        queue.push(slot_request(RequestClass::Tile, 2, now), "tile")
    else {
        panic!("no request was shed")
    };
    assert_eq!(shed.value, "b");
    assert_eq!(
        queue.push(slot_request(RequestClass::Process, 1, now), "c"),
        Pushed::Full("c")
    );
    assert_eq!(serve_all(&mut queue), ["tile", "map", "a"]);
}

#[test]
fn a_full_queue_is_shared_between_the_users_of_a_class() {
    let (mut queue, now) = (Queue::new(6), Instant::now());
    (0..3).for_each(|n| wait(&mut queue, slot_request(RequestClass::Map, 1, now), (1, n)));
    (0..3).for_each(|n| wait(&mut queue, slot_request(RequestClass::Map, 2, now), (2, n)));
    for n in 0..2 {
        assert!(matches!(
            queue.push(slot_request(RequestClass::Map, 3, now), (3, n)),
            Pushed::WaitsInsteadOf(..)
        ));
    }
    assert_eq!(
        queue.push(slot_request(RequestClass::Map, 3, now), (3, 2)),
        Pushed::Full((3, 2))
    );
    let mut served = serve_all(&mut queue);
    served.sort_unstable();
    assert_eq!(served, [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]);
}

#[test]
fn a_user_with_more_than_half_of_a_full_queue_gives_way_to_any_class_of_other_users() {
    let (mut queue, now) = (Queue::new(4), Instant::now());
    (0..4).for_each(|n| wait(&mut queue, slot_request(RequestClass::Tile, 1, now), (1, n)));
    let pushed = queue.push(slot_request(RequestClass::Process, 2, now), (2, 0));
    assert!(
        matches!(
            pushed,
            Pushed::WaitsInsteadOf(_, Waiter { value: (1, 3), .. })
        ),
        "{pushed:?}"
    );
    assert_eq!(
        queue.push(slot_request(RequestClass::Process, 1, now), (1, 4)),
        Pushed::Full((1, 4)),
        "not to the same user"
    );
}

#[test]
fn a_smaller_bound_sheds_no_waiter() {
    let (mut queue, now) = (Queue::new(3), Instant::now());
    (0..3).for_each(|n| wait(&mut queue, slot_request(RequestClass::Map, 1, now), n));
    queue.set_max_len(1);
    assert_eq!(
        queue.push(slot_request(RequestClass::Map, 1, now), 3),
        Pushed::Full(3)
    );
    assert_eq!(serve_all(&mut queue), [0, 1, 2]);
}
