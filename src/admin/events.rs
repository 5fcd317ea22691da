//! Every transition as a server-sent event: the recent past first, then each transition as it
//! happens.
//!
//! A recorder converts each transition once for all listeners and keeps the last few hundred. A
//! page that is opened later still shows them, and a listener that reconnects with `Last-Event-ID`
//! misses nothing. Everything is bounded: a listener that reads too slowly skips events and gets
//! their number.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use axum::response::sse;
use futures::Stream;
use futures::stream;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use crate::cluster::Transition;

/// Number of past events for a new listener.
const RECENT: usize = 256;

/// Maximum number of events that a listener may fall behind.
const BACKLOG: usize = 256;

/// One transition in the form of the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub sequence: u64,
    /// Time of the transition, RFC 3339, UTC.
    pub time: String,
    pub upstream: Option<String>,
    /// `health`, `ejected`, `half-open`, `returned`, `mode`, `added`, `retired`, `configured`,
    /// `catalog-changed`, `stale`, `catalog-reload`, `catalog-fresh`, `catalog-reload-failed`,
    /// `catalog-reload-postponed`, `tiles-truncated`, `tiles-truncation-failed`,
    /// `condition-began`, `condition-ended`, `roll-began`, `roll-ended`,
    /// `rolls-paused` or `rolls-resumed`.
    pub kind: String,
    /// The change and its reason, for people.
    pub text: String,
}

impl Event {
    fn new(transition: &Transition, now: SystemTime) -> Self {
        Self {
            sequence: transition.sequence,
            time: humantime::format_rfc3339_seconds(now).to_string(),
            upstream: transition.upstream.as_ref().map(ToString::to_string),
            kind: transition.what.kind().to_owned(),
            text: transition.what.to_string(),
        }
    }
}

/// The recent events and their listeners; see the module's documentation.
#[derive(Debug)]
pub(super) struct Events {
    /// Only the recorder writes it. It sends to the live channel under this lock, so that a
    /// listener that subscribes under the lock misses no event.
    recent: Mutex<VecDeque<Arc<Event>>>,
    live: broadcast::Sender<Arc<Event>>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self {
            recent: Mutex::new(VecDeque::with_capacity(RECENT)),
            live: broadcast::channel(BACKLOG).0,
        }
    }

    /// Records the received transitions until the channel closes.
    pub(super) async fn record_all(&self, mut transitions: broadcast::Receiver<Transition>) {
        loop {
            match transitions.recv().await {
                Ok(transition) => self.record(&transition, SystemTime::now()),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "the event history has a gap")
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn record(&self, transition: &Transition, now: SystemTime) {
        let event = Arc::new(Event::new(transition, now));
        let mut recent = self.recent.lock();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&event));
        // Without a listener there is nothing to send.
        self.live.send(event).ok();
    }

    /// The events after `last_seen`, then all that follow, until the process stops.
    pub(super) fn listen(
        &self,
        last_seen: Option<u64>,
        stop: watch::Receiver<bool>,
    ) -> impl Stream<Item = Result<sse::Event, Infallible>> + use<> {
        let recent = self.recent.lock();
        let live = self.live.subscribe();
        let newest = recent.back().map_or(0, |event| event.sequence);
        // A number beyond the newest is from before a restart: its client has seen no event of this
        // process.
        let after = last_seen.filter(|seen| *seen <= newest).unwrap_or(0);
        let past = recent
            .iter()
            .filter(|event| event.sequence > after)
            .cloned()
            .collect();
        stream::unfold(Listener { past, live, stop }, Listener::next)
    }
}

struct Listener {
    past: VecDeque<Arc<Event>>,
    live: broadcast::Receiver<Arc<Event>>,
    stop: watch::Receiver<bool>,
}

impl Listener {
    async fn next(mut self) -> Option<(Result<sse::Event, Infallible>, Self)> {
        let event = match self.past.pop_front() {
            Some(event) => transition_event(&event),
            None => tokio::select! {
                received = self.live.recv() => match received {
                    Ok(event) => transition_event(&event),
                    Err(broadcast::error::RecvError::Lagged(missed)) => missed_event(missed),
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                _ = self.stop.wait_for(|stop| *stop) => return None,
            },
        };
        Some((Ok(event), self))
    }
}

fn transition_event(event: &Event) -> sse::Event {
    let data = serde_json::to_string(event).expect("strings and numbers are JSON");
    sse::Event::default()
        .id(event.sequence.to_string())
        .event("transition")
        .data(data)
}

fn missed_event(missed: u64) -> sse::Event {
    sse::Event::default()
        .event("missed")
        .data(format!("{{\"missed\":{missed}}}"))
}

#[cfg(test)]
mod tests {
    use axum::response::{IntoResponse, Sse};
    use futures::StreamExt;

    use super::*;
    use crate::cluster::TransitionKind;
    use crate::config::UpstreamName;

    fn transition(sequence: u64) -> Transition {
        Transition {
            sequence,
            upstream: UpstreamName::new("slave1"),
            what: TransitionKind::Added,
        }
    }

    fn recorded(sequences: impl IntoIterator<Item = u64>) -> Events {
        let events = Events::new();
        sequences
            .into_iter()
            .for_each(|n| events.record(&transition(n), SystemTime::UNIX_EPOCH));
        events
    }

    /// The `id:` lines (and names of events without one) that a listener gets until the process
    /// stops.
    async fn received(
        events: &Events,
        last_seen: Option<u64>,
        meanwhile: impl FnOnce(),
    ) -> Vec<String> {
        let (stop, stopped) = watch::channel(false);
        let listening = events.listen(last_seen, stopped);
        meanwhile();
        stop.send(true).unwrap();
        let body = Sse::new(listening)
            .into_response()
            .into_body()
            .into_data_stream();
        let text: Vec<u8> = body
            .map(|chunk| chunk.unwrap())
            .collect::<Vec<_>>()
            .await
            .concat();
        let text = String::from_utf8(text).unwrap();
        text.split("\n\n")
            .filter_map(|event| event.lines().find_map(|line| line.strip_prefix("id: ")))
            .map(str::to_owned)
            .collect()
    }

    #[tokio::test]
    async fn a_new_listener_receives_the_recent_past_first() {
        assert_eq!(
            received(&recorded(1..=3), None, || ()).await,
            ["1", "2", "3"]
        );
    }

    #[tokio::test]
    async fn a_listener_that_reconnects_receives_only_missed_events() {
        assert_eq!(received(&recorded(1..=3), Some(2), || ()).await, ["3"]);
    }

    #[tokio::test]
    async fn a_number_from_before_a_restart_hides_nothing() {
        assert_eq!(
            received(&recorded(1..=2), Some(900), || ()).await,
            ["1", "2"]
        );
    }

    #[tokio::test]
    async fn the_past_is_bounded() {
        let received = received(&recorded(1..=RECENT as u64 + 10), None, || ()).await;
        assert_eq!((received.len(), received[0].as_str()), (RECENT, "11"));
    }

    #[tokio::test]
    async fn a_slow_listener_receives_the_number_of_missed_events() {
        let events = recorded([]);
        let (_stop, stopped) = watch::channel(false);
        let listener = Listener {
            past: VecDeque::new(),
            live: events.live.subscribe(),
            stop: stopped,
        };
        (1..=BACKLOG as u64 + 5)
            .for_each(|n| events.record(&transition(n), SystemTime::UNIX_EPOCH));
        let (event, _) = listener.next().await.unwrap();
        assert_eq!(
            format!("{:?}", event.unwrap()),
            format!("{:?}", missed_event(5))
        );
    }

    #[test]
    fn an_event_has_time_upstream_and_text() {
        let event = Event::new(&transition(7), SystemTime::UNIX_EPOCH);
        let json = r#"{"sequence":7,"time":"1970-01-01T00:00:00Z","upstream":"slave1","kind":"added","text":"added to the cluster"}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
    }
}
