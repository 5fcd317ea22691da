//! Upstreams of different speeds under the comparison of their latencies.

use super::*;
use RequestClass::{Map, Tile};

const SECOND: Duration = Duration::from_secs(1);

/// Upstreams and a clock.
struct World {
    peers: Vec<Slowness>,
    now: Instant,
}

impl World {
    fn of(count: usize) -> Self {
        Self {
            peers: (0..count).map(|_| Slowness::default()).collect(),
            now: Instant::now(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        review(self.peers.iter(), self.now);
    }

    fn answer(&self, at: usize, class: RequestClass, concurrency: u32, millis: u64) {
        self.peers[at].learn(class, concurrency, Duration::from_millis(millis));
    }

    /// Serves twenty tiles and five maps a second at each upstream. They take `times` as long
    /// as they should, with `concurrency` others in flight.
    fn serve(&mut self, seconds: u64, times: &[u64], concurrency: &[u32]) {
        for tick in 0..seconds * 20 {
            for at in 0..self.peers.len() {
                // The times of one class differ: three to thirteen milliseconds, and so on.
                let spread = 3 + (tick * 7 + at as u64) % 11;
                self.answer(at, Tile, concurrency[at], spread * times[at]);
                if tick % 4 == 0 {
                    self.answer(at, Map, concurrency[at], spread * 40 * times[at]);
                }
            }
            self.pass(SECOND / 20);
        }
    }

    fn shares(&self) -> Vec<u32> {
        self.peers.iter().map(Slowness::share).collect()
    }
}

#[test]
fn equals_have_their_whole_weight_with_few_answers_and_with_many() {
    let mut world = World::of(3);
    for _ in 0..30 {
        world.serve(1, &[1, 1, 1], &[3, 3, 3]);
        assert_eq!(world.shares(), [WHOLE; 3]);
    }
}

#[test]
fn one_that_is_ten_times_slower_has_an_eighth_within_two_seconds_and_the_others_all() {
    let mut world = World::of(3);
    world.serve(10, &[1, 1, 1], &[3, 3, 3]);
    world.serve(2, &[10, 1, 1], &[3, 3, 3]);
    let shares = world.shares();
    assert!(
        shares[0] <= WHOLE / 8 && shares[1..] == [WHOLE; 2],
        "{shares:?}"
    );
    world.serve(3, &[1, 1, 1], &[3, 3, 3]);
    assert_eq!(world.shares(), [WHOLE; 3], "and all of it soon after");
}

#[test]
fn a_replica_alone_and_half_of_a_cluster_that_slows_down_keep_their_weight() {
    let mut alone = World::of(1);
    alone.serve(5, &[10], &[3]);
    assert_eq!(alone.shares(), [WHOLE]);
    let mut shared = World::of(4);
    shared.serve(10, &[1, 1, 1, 1], &[3, 3, 3, 3]);
    shared.serve(5, &[10, 10, 10, 10], &[3, 3, 3, 3]);
    assert_eq!(
        shared.shares(),
        [WHOLE; 4],
        "a slowdown of all upstreams is attributed to none"
    );
    let mut most = World::of(3);
    most.serve(5, &[10, 10, 1], &[3, 3, 3]);
    assert_eq!(
        most.shares(),
        [WHOLE; 3],
        "two of three are not the exception"
    );
}

#[test]
fn peers_that_are_loaded_for_a_moment_do_not_bring_back_the_share_of_a_slow_one() {
    let mut world = World::of(3);
    world.serve(10, &[1, 1, 1], &[3, 3, 3]);
    world.serve(3, &[10, 1, 1], &[3, 3, 3]);
    assert_eq!(world.shares()[0], 64);
    // The peers take three times as long for half a second, while the slow one has one request.
    for _ in 0..5 {
        (1..3).for_each(|at| (0..2).for_each(|_| world.answer(at, Tile, 9, 24)));
        world.pass(SECOND / 10);
    }
    world.answer(0, Tile, 1, 50);
    world.pass(SECOND / 10);
    assert!(world.shares()[0] < WHOLE / 2, "{:?}", world.shares());
}

#[test]
fn suspicion_that_all_share_is_nobodys_slowness() {
    let mut world = World::of(3);
    world.serve(10, &[1, 1, 1], &[3, 3, 3]);
    let stuck: Vec<Vec<Watched>> = world
        .peers
        .iter()
        .map(|peer| (0..20).map(|_| peer.begin(Map, world.now)).collect())
        .collect();
    for _ in 0..100 {
        world.pass(SECOND / 10);
        assert_eq!(world.shares(), [WHOLE; 3], "a database that stands still");
    }
    for (peer, stuck) in world.peers.iter().zip(stuck) {
        stuck.into_iter().for_each(|stuck| peer.end(stuck));
    }
}

#[test]
fn more_work_is_not_slowness() {
    let mut world = World::of(3);
    // It has four times as many in flight, and takes four times as long.
    world.serve(10, &[4, 1, 1], &[12, 3, 3]);
    assert_eq!(world.shares(), [WHOLE; 3]);
}

#[test]
fn another_mix_of_classes_is_not_slowness() {
    let mut world = World::of(3);
    for tick in 0..400_u64 {
        // The first draws only maps, the others mostly tiles.
        world.answer(0, Map, 3, 300);
        for at in 1..3 {
            world.answer(at, Tile, 3, 8);
            if tick % 10 == 0 {
                world.answer(at, Map, 3, 300);
            }
        }
        world.pass(SECOND / 20);
    }
    assert_eq!(world.shares(), [WHOLE; 3]);
}

#[test]
fn a_few_slow_answers_are_chance() {
    let mut world = World::of(3);
    world.serve(10, &[1, 1, 1], &[3, 3, 3]);
    (0..3).for_each(|_| world.answer(0, Map, 3, 6000));
    world.pass(SECOND / 10);
    assert_eq!(world.shares(), [WHOLE; 3]);
}

#[test]
fn ten_answers_of_each_are_too_few_to_believe_in_three_times_slower() {
    let mut world = World::of(3);
    for _ in 0..10 {
        (0..3).for_each(|at| world.answer(at, Tile, 3, if at == 0 { 24 } else { 8 }));
    }
    world.pass(SECOND);
    assert_eq!(world.shares(), [WHOLE; 3]);
}

#[test]
fn ten_requests_that_get_no_answer_show_within_half_a_second() {
    let mut world = World::of(3);
    world.serve(10, &[1, 1, 1], &[3, 3, 3]);
    let stuck: Vec<Watched> = (0..10)
        .map(|_| world.peers[0].begin(Tile, world.now))
        .collect();
    for _ in 0..5 {
        (1..3).for_each(|at| world.answer(at, Tile, 3, 8));
        world.pass(SECOND / 10);
    }
    assert!(world.shares()[0] < WHOLE / 2, "{:?}", world.shares());
    stuck
        .into_iter()
        .for_each(|stuck| world.peers[0].end(stuck));
    assert_eq!(world.peers[0].unanswered[Tile].waiting(7), (0, 0));
}

#[test]
fn a_slow_upstream_has_one_trial_a_second_and_the_next_at_once_while_trials_go_well() {
    let mut world = World::of(3);
    assert!(
        !world.peers[0].take_trial(true, world.now),
        "an upstream with its whole share needs no trial"
    );
    world.serve(5, &[10, 1, 1], &[3, 3, 3]);
    world.now += 2 * SECOND;
    assert!(
        world.peers[0].take_trial(true, world.now)
            && !world.peers[0].take_trial(true, world.now + SECOND / 2)
    );
    world.answer(0, Tile, 3, 80);
    assert!(
        !world.peers[0].take_trial(true, world.now + SECOND / 2),
        "as slow as it was"
    );
    world.answer(0, Tile, 3, 8);
    assert!(
        world.peers[0].take_trial(false, world.now),
        "as quick as its peers"
    );
    let later = world.now + SECOND + SECOND / 2;
    assert!(
        !world.peers[0].take_trial(false, later) && world.peers[0].take_trial(true, later),
        "light ones first"
    );
}

#[test]
fn a_belief_without_evidence_ends_by_itself() {
    let mut world = World::of(3);
    world.serve(5, &[10, 1, 1], &[3, 3, 3]);
    assert_eq!(world.shares()[0], 64);
    (0..600).for_each(|_| world.pass(SECOND / 10));
    assert_eq!(world.shares(), [WHOLE; 3]);
}

#[test]
fn unanswered_requests_keep_count_and_age_at_any_clock() {
    let unanswered = Unanswered::default();
    let sent = [u64::MAX >> 21, 5, 1 << 43];
    sent.iter().for_each(|sent| unanswered.begin(*sent));
    sent.iter().for_each(|sent| unanswered.end(*sent));
    assert_eq!(unanswered.waiting(77), (0, 0));
    unanswered.begin(1000);
    unanswered.begin(3000);
    assert_eq!(unanswered.waiting(5000), (2, 3000));
    assert_eq!(
        unanswered.waiting(500),
        (2, 0),
        "sent by a clock that is ahead"
    );
}

#[test]
fn a_request_at_a_slow_upstream_is_better_off_elsewhere_after_twice_the_usual_time() {
    let mut world = World::of(3);
    world.serve(10, &[1, 1, 1], &[3, 3, 3]);
    let patience_at = |world: &World, at: usize| {
        let peers = world.peers.iter();
        patience(&world.peers[at], peers, Tile)
    };
    assert_eq!(patience_at(&world, 0), None, "it has its whole share");
    world.serve(5, &[10, 1, 1], &[3, 3, 3]);
    let usual = world.peers[1].usual(Tile).expect("it is known");
    let patience = patience_at(&world, 0).expect("it is slow");
    assert!(
        patience >= 2 * usual && patience < 3 * usual,
        "{patience:?}, {usual:?}"
    );
    assert_eq!(patience_at(&world, 1), None, "it is quick");
}

#[test]
fn requests_that_are_taken_away_keep_the_belief_and_a_quick_answer_ends_it() {
    let mut world = World::of(3);
    world.serve(10, &[1, 1, 1], &[3, 3, 3]);
    world.serve(5, &[10, 1, 1], &[3, 3, 3]);
    for _ in 0..20 {
        world.peers[0].learn_unanswered(Tile, 1, Duration::from_millis(20));
        for _ in 0..10 {
            (1..3).for_each(|at| world.answer(at, Tile, 3, 8));
            world.pass(SECOND / 10);
        }
    }
    assert!(world.shares()[0] <= WHOLE / 8, "{:?}", world.shares());
    world.serve(3, &[1, 1, 1], &[3, 3, 3]);
    assert_eq!(world.shares(), [WHOLE; 3]);
}

#[test]
fn a_slow_upstream_may_be_left_by_a_few_at_once_and_then_by_two_a_second() {
    let mut world = World::of(1);
    let leaves = |world: &World| {
        let may_leave = |_: &u32| world.peers[0].take_leave(world.now);
        (0..100).filter(may_leave).count()
    };
    assert_eq!(leaves(&world), 16);
    world.now += 3 * SECOND;
    assert_eq!(leaves(&world), 6);
}
