//! Which request leads, which follow, and that no follower is left waiting.

use std::task::Poll;

use bytes::Bytes;
use futures::FutureExt;
use pingora::http::ResponseHeader;

use super::super::answer::KeptAnswer;
use super::super::memory::{MAX_BODY, MAX_KEPT};
use super::*;
use crate::config::UpstreamName;
use crate::proxy::client::request_id::RequestId;

const PATIENCE: Duration = Duration::from_secs(90);

fn flights() -> Arc<Flights> {
    Arc::new(Flights::default())
}

#[track_caller]
fn lead(flights: &Arc<Flights>, key: &[u8]) -> Leader {
    match flights.join(key) {
        FlightRole::Leader(leader) => leader,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn follow(flights: &Arc<Flights>, key: &[u8]) -> Follower {
    match flights.join(key) {
        FlightRole::Follower(follower) => follower,
        other => panic!("{other:?}"),
    }
}

fn answer(flights: &Arc<Flights>, body: &'static [u8]) -> Arc<SharedAnswer> {
    let mut head = ResponseHeader::build(200, None).unwrap();
    head.insert_header("Content-Length", body.len()).unwrap();
    let mut kept = KeptAnswer::new(head, false, flights.claim());
    assert!(kept.add(&Bytes::from_static(body)));
    Arc::new(
        kept.whole(UpstreamName::new("slave1").unwrap(), RequestId::fresh())
            .unwrap(),
    )
}

/// Returns the result of a follower so far.
fn now(follower: &Follower) -> Poll<Option<Arc<SharedAnswer>>> {
    let answer = follower.answer(PATIENCE).now_or_never();
    answer.map_or(Poll::Pending, Poll::Ready)
}

fn is_empty(flights: &Flights) -> bool {
    flights
        .shards
        .iter()
        .all(|shard| shard.lock().flights.is_empty())
        && flights.memory.held() == 0
}

#[tokio::test]
async fn requests_of_one_key_share_an_answer_and_others_do_not() {
    let flights = flights();
    let leader = lead(&flights, b"a");
    let followers = [follow(&flights, b"a"), follow(&flights, b"a")];
    let _another = lead(&flights, b"b");
    assert!(followers.iter().all(|follower| now(follower).is_pending()));
    assert!(leader.begin());
    leader.complete(answer(&flights, b"map"));
    for follower in &followers {
        assert_eq!(
            follower.answer(PATIENCE).await.unwrap().body.concat(),
            b"map"
        );
    }
}

#[tokio::test]
async fn waiting_followers_are_notified_of_the_answer_and_of_the_failure() {
    let flights = flights();
    for lands in [true, false] {
        let leader = lead(&flights, b"a");
        let follower = follow(&flights, b"a");
        let waiting = tokio::spawn(async move { follower.answer(PATIENCE).await.is_some() });
        tokio::task::yield_now().await;
        if lands {
            leader.complete(answer(&flights, b"map"));
        } else {
            drop(leader);
        }
        assert_eq!(waiting.await.unwrap(), lands);
    }
    assert!(is_empty(&flights));
}

#[tokio::test]
async fn a_leader_that_panics_releases_its_followers() {
    let flights = flights();
    let leader = lead(&flights, b"a");
    let follower = follow(&flights, b"a");
    let hook = tokio::spawn(async move {
        let _leader = leader;
        panic!("injected");
    });
    assert!(hook.await.is_err());
    assert!(follower.answer(PATIENCE).await.is_none());
}

#[test]
fn after_the_end_of_a_flight_the_next_one_leads() {
    let flights = flights();
    lead(&flights, b"a").complete(answer(&flights, b"map"));
    drop(lead(&flights, b"a"));
    drop(lead(&flights, b"a"));
    assert!(is_empty(&flights));
}

#[tokio::test(start_paused = true)]
async fn requests_do_not_wait_again_for_an_answer_that_could_not_be_shared() {
    let flights = flights();
    let leader = lead(&flights, b"a");
    let follower = follow(&flights, b"a");
    leader.go_alone();
    drop(leader);
    assert!(
        matches!(now(&follower), Poll::Ready(None)),
        "it goes at once"
    );
    assert!(matches!(flights.join(b"a"), FlightRole::Alone));
    drop(lead(&flights, b"b"));
    tokio::time::advance(ALONE + Duration::from_secs(1)).await;
    drop(lead(&flights, b"a"));
    let without_followers = lead(&flights, b"c");
    without_followers.go_alone();
    drop(without_followers);
    drop(lead(&flights, b"c"));
}

#[tokio::test]
async fn the_memory_of_answers_that_could_not_be_shared_is_bounded() {
    let flights = flights();
    for number in 0..10_000_u32 {
        let key = number.to_be_bytes();
        let leader = lead(&flights, &key);
        let _follower = follow(&flights, &key);
        leader.go_alone();
    }
    let most = |shard: &Mutex<Shard>| shard.lock().alone.len() <= MAX_ALONE;
    assert!(flights.shards.iter().all(most));
}

#[test]
fn an_answer_without_followers_is_not_kept_and_later_requests_lead() {
    let flights = flights();
    let leader = lead(&flights, b"a");
    drop(follow(&flights, b"a"));
    assert!(!leader.begin());
    let next = lead(&flights, b"a");
    // The end of the first does not end the second.
    drop(leader);
    let _follower = follow(&flights, b"a");
    assert!(next.begin());
}

#[tokio::test(start_paused = true)]
async fn followers_do_not_wait_for_a_slow_rest_but_do_for_another_attempt() {
    let flights = flights();
    let leader = lead(&flights, b"a");
    let follower = follow(&flights, b"a");
    assert!(leader.begin());
    leader.wait_again();
    assert!(
        tokio::time::timeout(REST * 2, follower.answer(PATIENCE))
            .await
            .is_err(),
        "it still waits"
    );
    assert!(leader.begin());
    let began = Instant::now();
    assert!(follower.answer(PATIENCE).await.is_none());
    assert_eq!(began.elapsed(), REST);
}

#[tokio::test(start_paused = true)]
async fn a_follower_goes_on_alone_when_its_patience_ends() {
    let flights = flights();
    let _leader = lead(&flights, b"a");
    assert!(follow(&flights, b"a").answer(PATIENCE).await.is_none());
}

#[test]
fn followers_and_flights_are_bounded() {
    let flights = flights();
    let leader = lead(&flights, b"a");
    let followers: Vec<_> = (0..MAX_FOLLOWERS).map(|_| follow(&flights, b"a")).collect();
    assert!(matches!(flights.join(b"a"), FlightRole::Alone));
    drop(followers);
    drop(follow(&flights, b"a"));
    drop(leader);
    let leaders: Vec<_> = (0..MAX_FLIGHTS * 2)
        .map(|number| flights.join(&number.to_le_bytes()))
        .collect();
    let leading = leaders
        .iter()
        .filter(|boarding| matches!(boarding, FlightRole::Leader(_)))
        .count();
    assert!(
        leading <= MAX_FLIGHTS && leading > MAX_FLIGHTS / 2,
        "{leading}"
    );
    drop(leaders);
    assert!(is_empty(&flights));
}

#[test]
fn the_memory_of_all_answers_together_is_bounded_and_is_returned() {
    let flights = flights();
    let mut claims: Vec<_> = (0..MAX_KEPT / MAX_BODY + 3)
        .map(|_| flights.claim())
        .collect();
    let granted = claims
        .iter_mut()
        .filter_map(|claim| claim.grow(MAX_BODY).then_some(()))
        .count();
    assert_eq!(granted, MAX_KEPT / MAX_BODY);
    assert!(!flights.claim().grow(1));
    drop(claims);
    assert!(flights.claim().grow(MAX_BODY));
    assert!(is_empty(&flights));
}

#[test]
fn an_answer_takes_its_room_until_the_last_has_it() {
    let flights = flights();
    let answer = answer(&flights, b"map");
    let copy = Arc::clone(&answer);
    drop(answer);
    assert!(flights.memory.held() > 0);
    drop(copy);
    assert!(is_empty(&flights));
}

/// Leaders that end in every way and followers that leave, from many threads: every waiting
/// follower is notified of the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_follower_is_left_waiting_among_many_threads() {
    let flights = flights();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..4000_usize {
        let flights = Arc::clone(&flights);
        tasks.spawn(async move {
            match flights.join(&[(number % 3) as u8]) {
                FlightRole::Leader(leader) => {
                    tokio::task::yield_now().await;
                    match number % 4 {
                        0 => drop(leader),
                        _ if !leader.begin() => {}
                        1 => {
                            leader.wait_again();
                            tokio::task::yield_now().await;
                        }
                        _ => leader.complete(answer(&flights, b"map")),
                    }
                }
                FlightRole::Follower(follower) if number % 5 == 0 => drop(follower),
                FlightRole::Follower(follower) => {
                    let heard =
                        tokio::time::timeout(Duration::from_secs(10), follower.answer(PATIENCE))
                            .await;
                    assert!(heard.is_ok(), "a follower was forgotten");
                }
                FlightRole::Alone => {}
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert!(is_empty(&flights));
}
