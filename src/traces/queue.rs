//! Finished traces that wait to be sent.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::FinishedTrace;
use super::context::random;

/// Memory of all traces that wait. Further ones are lost.
const MAX_BYTES: usize = 8 << 20;

/// Spans of one message. Receivers accept a few megabytes.
const BATCH_SPANS: usize = 512;

/// Traces between the requests and the driver, in the order of their ends.
#[derive(Debug, Default)]
pub struct TraceQueue {
    waiting: Mutex<Waiting>,
    grown: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    traces: VecDeque<FinishedTrace>,
    spans: usize,
    bytes: usize,
    /// Spans of traces that found no room, since the last look.
    lost: usize,
}

impl TraceQueue {
    /// Returns the random number that decides about a sample.
    pub fn draw() -> u64 {
        random()
    }

    /// Adds a trace, or counts its spans as lost. Never waits.
    pub fn push(&self, trace: FinishedTrace) {
        let bytes = trace.bytes();
        let mut waiting = self.waiting.lock();
        if waiting.bytes + bytes > MAX_BYTES {
            waiting.lost += trace.spans.len();
            return;
        }
        let before = waiting.spans;
        waiting.bytes += bytes;
        waiting.spans += trace.spans.len();
        waiting.traces.push_back(trace);
        let is_awaited = before == 0 || before < BATCH_SPANS && waiting.spans >= BATCH_SPANS;
        drop(waiting);
        if is_awaited {
            self.grown.notify_one();
        }
    }

    /// Resolves when a whole batch waits, or when any trace has waited for `interval`.
    pub async fn batch(&self, interval: Duration) {
        self.until_spans(1).await;
        timeout(interval, self.until_spans(BATCH_SPANS))
            .await
            .unwrap_or_default();
    }

    async fn until_spans(&self, least: usize) {
        while self.waiting.lock().spans < least {
            self.grown.notified().await;
        }
    }

    /// Takes the oldest traces, about a batch of them.
    pub fn take(&self) -> Vec<FinishedTrace> {
        let mut waiting = self.waiting.lock();
        let (mut taken, mut spans) = (Vec::new(), 0);
        while spans < BATCH_SPANS
            && let Some(trace) = waiting.traces.pop_front()
        {
            spans += trace.spans.len();
            waiting.bytes -= trace.bytes();
            taken.push(trace);
        }
        waiting.spans -= spans;
        taken
    }

    /// True if no trace waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.lock().traces.is_empty()
    }

    /// Returns the number of spans that were lost since the last call.
    pub fn take_lost(&self) -> usize {
        std::mem::take(&mut self.waiting.lock().lost)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::traces::{TraceId, TraceSpan};

    fn trace(spans: usize) -> FinishedTrace {
        let now = Instant::now();
        FinishedTrace {
            trace: TraceId::random(),
            state: None,
            spans: (0..spans)
                .map(|_| TraceSpan::new("GET map", now, now))
                .collect(),
            moment: (now, SystemTime::UNIX_EPOCH),
        }
    }

    /// Bytes and spans.
    fn held(queue: &TraceQueue) -> (usize, usize) {
        let waiting = queue.waiting.lock();
        (waiting.bytes, waiting.spans)
    }

    #[test]
    fn memory_is_bounded_and_what_finds_no_room_is_counted() {
        let queue = TraceQueue::default();
        (0..100_000).for_each(|_| queue.push(trace(3)));
        let (bytes, spans) = held(&queue);
        assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES / 2, "{bytes}");
        assert_eq!(queue.take_lost(), 300_000 - spans);
        assert_eq!(queue.take_lost(), 0);
        while !queue.take().is_empty() {}
        assert_eq!(held(&queue), (0, 0));
        queue.push(trace(1));
        assert_eq!(queue.take().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_ready_when_it_is_whole_or_after_the_interval() {
        let (queue, interval) = (TraceQueue::default(), Duration::from_secs(5));
        let start = tokio::time::Instant::now();
        assert!(timeout(10 * interval, queue.batch(interval)).await.is_err());
        queue.push(trace(2));
        queue.batch(interval).await;
        assert_eq!(start.elapsed(), 11 * interval);
        (0..BATCH_SPANS).for_each(|_| queue.push(trace(1)));
        queue.batch(interval).await;
        assert_eq!(start.elapsed(), 11 * interval);
        assert_eq!(queue.take().len(), BATCH_SPANS - 1);
        assert_eq!(queue.take().len(), 2);
    }
}
