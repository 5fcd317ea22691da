//! Open-loop load: every request leaves when it is due, whatever became of those before it, and its
//! time counts from then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::arrivals::{Arrival, Kind};
use crate::requests;
use crate::rig::client::{Answer, Client, Failure, Question};

/// More under way at a time are not sent: connections are files, and files have a limit.
const MOST_UNDER_WAY: usize = 8000;
/// Nobody waits longer, except for what takes longer by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What became of an arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) arrival: Arrival,
    /// How much later than due it left: the load generator's own fault.
    pub(crate) late: Duration,
    /// From when it was due.
    pub(crate) latency: Duration,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Answered,
    /// By somebody who is not GeoServer.
    Refused(u16),
    /// By GeoServer, with something else.
    Wrong(u16),
    Failed(Failure),
    /// Too many were under way.
    NotSent,
}

/// Sends `arrivals` to `clients` in turn, from `start` on; returns when all have ended.
pub(crate) fn run(
    arrivals: &[Arrival],
    clients: &[Client],
    start: Instant,
    runtime: &Handle,
) -> Vec<Sample> {
    let under_way = Arc::new(AtomicUsize::new(0));
    let send = |(number, arrival): (usize, &Arrival)| -> JoinHandle<Sample> {
        let due = start + arrival.at;
        // The timer of a runtime would round up to a millisecond.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let (client, arrival, under_way) = (
            clients[number % clients.len()].clone(),
            *arrival,
            Arc::clone(&under_way),
        );
        runtime.spawn(async move {
            let late = due.elapsed();
            let is_too_much = under_way.fetch_add(1, Ordering::Relaxed) >= MOST_UNDER_WAY;
            let end = if is_too_much {
                End::NotSent
            } else {
                ask(&client, &arrival, number).await
            };
            under_way.fetch_sub(1, Ordering::Relaxed);
            Sample {
                arrival,
                late,
                latency: due.elapsed(),
                end,
            }
        })
    };
    let sent: Vec<_> = arrivals.iter().enumerate().map(send).collect();
    let sample =
        |sent: JoinHandle<Sample>| runtime.block_on(sent).expect("a client does not panic");
    sent.into_iter().map(sample).collect()
}

async fn ask(client: &Client, arrival: &Arrival, number: usize) -> End {
    let (target, user) = (requests::target(arrival, number), requests::user(arrival));
    let headers = [("sec-username", user.as_str()), ("sec-roles", "ROLE_USER")];
    match client.ask(Question::get(&target, &headers)).await {
        Ok(answer) => judge(arrival.kind, &answer),
        Err(failure) => End::Failed(failure),
    }
}

fn judge(kind: Kind, answer: &Answer) -> End {
    let is_what_was_asked = match kind {
        Kind::Tile | Kind::Map => answer.header("content-type") == "image/png",
        Kind::Heavy => !answer.body.is_empty(),
    };
    match answer.status {
        status if answer.header("x-geosim").is_empty() => End::Refused(status.as_u16()),
        StatusCode::OK if is_what_was_asked => End::Answered,
        status => End::Wrong(status.as_u16()),
    }
}
