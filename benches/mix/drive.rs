//! Open-loop load: every request leaves when it is due, whatever became of those before it, and its
//! time counts from then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::arrivals::{Arrival, Kind};
use crate::requests;
use crate::rig::client::{Answer, Client, Failure, Question};

/// More under way at a time are not sent: connections are files, and files have a limit.
const MOST_UNDER_WAY: usize = 8000;
/// The longest time that a client waits, except for requests that take longer by themselves.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The name by which the main signs its answers.
const MAIN: &str = "main";
/// The length of the start of a document that names its root element.
const EXCEPTION_START: usize = 1024;

/// The result of an arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) arrival: Arrival,
    /// How much later than due it left: the load generator's own fault.
    pub(crate) late: Duration,
    /// From when it was due.
    pub(crate) latency: Duration,
    pub(crate) end: End,
    /// Whether the main answered, and not a replica.
    pub(crate) is_by_main: bool,
}

impl Sample {
    /// The latency of a right answer; `None` if none came.
    pub(crate) fn answered_after(&self) -> Option<Duration> {
        (self.end == End::Answered).then_some(self.latency)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Answered,
    /// A refusal that did not come from GeoServer.
    Refused(u16),
    /// By GeoServer, with something else.
    Wrong(u16),
    /// Rightly, but from a catalog older than a change that every replica had when it was sent.
    Stale,
    Failed(Failure),
    /// Too many were under way.
    NotSent,
}

/// Sends `arrivals` to `clients` in turn, from `start` on; returns when all have ended. Answers of
/// fewer edits than `oldest` are stale.
pub(crate) fn run(
    arrivals: &[Arrival],
    clients: &[Client],
    start: Instant,
    oldest: &Arc<AtomicU64>,
    runtime: &Handle,
) -> Vec<Sample> {
    let under_way = Arc::new(AtomicUsize::new(0));
    let send = |(number, arrival): (usize, &Arrival)| -> JoinHandle<Sample> {
        let due = start + arrival.at;
        // The timer of a runtime would round up to a millisecond.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let client = clients[number % clients.len()].clone();
        let arrival = *arrival;
        let under_way = Arc::clone(&under_way);
        let oldest = Arc::clone(oldest);
        runtime.spawn(async move {
            let late = due.elapsed();
            let is_too_much = under_way.fetch_add(1, Ordering::Relaxed) >= MOST_UNDER_WAY;
            let (end, is_by_main) = if is_too_much {
                (End::NotSent, false)
            } else {
                let oldest = oldest.load(Ordering::Relaxed);
                ask(&client, &arrival, number, oldest).await
            };
            under_way.fetch_sub(1, Ordering::Relaxed);
            Sample {
                arrival,
                late,
                latency: due.elapsed(),
                end,
                is_by_main,
            }
        })
    };
    let sent: Vec<_> = arrivals.iter().enumerate().map(send).collect();
    let sample =
        |sent: JoinHandle<Sample>| runtime.block_on(sent).expect("a client does not panic");
    sent.into_iter().map(sample).collect()
}

/// Returns the result of the request, and whether the main answered it.
async fn ask(client: &Client, arrival: &Arrival, number: usize, oldest: u64) -> (End, bool) {
    let (target, user) = (requests::target(arrival, number), requests::user(arrival));
    let headers = [("sec-username", user.as_str()), ("sec-roles", "ROLE_USER")];
    match client.ask(Question::get(&target, &headers)).await {
        Ok(answer) => {
            let is_by_main = answer.header("x-geosim") == MAIN;
            (judge(arrival.kind, &answer, oldest), is_by_main)
        }
        Err(failure) => (End::Failed(failure), false),
    }
}

fn judge(kind: Kind, answer: &Answer, oldest: u64) -> End {
    let is_what_was_asked = match kind {
        Kind::Tile | Kind::Map => answer.header("content-type") == "image/png",
        Kind::Heavy => !answer.body.is_empty() && !is_exception(&answer.body),
    };
    let is_stale = || {
        let edits = answer.header("x-geosim-epoch").parse();
        edits.is_ok_and(|edits: u64| edits < oldest)
    };
    match answer.status {
        status if answer.header("x-geosim").is_empty() => End::Refused(status.as_u16()),
        StatusCode::OK if is_what_was_asked && is_stale() => End::Stale,
        StatusCode::OK if is_what_was_asked => End::Answered,
        status => End::Wrong(status.as_u16()),
    }
}

/// Whether a document is an exception of GeoServer, which comes with status 200 as well.
fn is_exception(body: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&body[..body.len().min(EXCEPTION_START)]);
    start.contains("ExceptionReport") || start.contains("java.lang.OutOfMemoryError")
}
