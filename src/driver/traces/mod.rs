//! Sends the traces of requests to a receiver for OpenTelemetry.
//!
//! ```text
//! proxy -> TraceQueue -- a batch, or INTERVAL after the first --> encoded and posted on a blocking thread
//!                                       a failure that may pass: the same batch again, MAX_TRIES times
//! ```
//!
//! Nothing here runs on a thread that serves requests, except for a few instructions around each
//! batch. While the receiver does not answer, the queue fills and further traces are lost: they
//! are counted, and requests notice nothing.

mod message;
mod receiver;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::ended;
use crate::config::Traces;
use crate::control::Control;
use crate::metrics::{LostSpans, Metrics};
use crate::traces::TraceQueue;
use message::Message;
use receiver::{NotDelivered, Receiver};

/// Time for which traces are collected before they are sent.
const INTERVAL: Duration = Duration::from_secs(2);

/// Attempts to deliver one batch.
const MAX_TRIES: u32 = 4;

/// Pause before a batch is sent again; doubles with every try.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, also if the receiver requires a longer one.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Time for the remaining traces when the process ends.
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// Interval between two log lines about lost spans.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Sends traces until `shutdown` becomes true or its sender is gone.
pub async fn send(
    control: Arc<Control>,
    queue: Arc<TraceQueue>,
    metrics: Arc<Metrics>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut sender = Sender {
        control,
        queue,
        metrics,
        receiver: None,
        unsent: None,
        sending: None,
        is_failing: false,
        warned: None,
    };
    tokio::select! {
        () = sender.run() => {}
        () = ended(&mut shutdown) => {}
    }
    let is_done = timeout(LAST_CHANCE, sender.flush()).await.is_ok();
    if !is_done {
        tracing::debug!("the last traces could not be delivered in time");
    }
}

struct Sender {
    control: Arc<Control>,
    queue: Arc<TraceQueue>,
    metrics: Arc<Metrics>,
    /// The connection to the receiver, and the settings it was made for.
    receiver: Option<(Arc<Traces>, Arc<Receiver>)>,
    /// The batch that comes next.
    unsent: Option<Batch>,
    /// The batch under way. It survives when the future that waits for it is dropped.
    sending: Option<JoinHandle<Sent>>,
    is_failing: bool,
    warned: Option<Instant>,
}

/// One message, and how often it was sent.
struct Batch {
    message: Arc<Message>,
    tries: u32,
}

struct Sent {
    batch: Batch,
    result: Result<(), NotDelivered>,
}

impl Sender {
    async fn run(&mut self) {
        loop {
            if self.unsent.is_none() && self.sending.is_none() {
                self.queue.batch(INTERVAL).await;
            }
            if let Some(pause) = self.send_next().await {
                sleep(pause).await;
            }
        }
    }

    /// Sends all that waits, without pauses, until a batch fails.
    async fn flush(&mut self) {
        while self.send_next().await.is_none() {
            if self.unsent.is_none() && self.sending.is_none() && self.queue.is_empty() {
                return;
            }
        }
    }

    /// Sends one batch. Returns the pause before the next if it has to be sent again.
    async fn send_next(&mut self) -> Option<Duration> {
        self.report_lost();
        if self.sending.is_none() {
            self.begin();
        }
        let sent = self.sending.as_mut()?.await;
        self.sending = None;
        // A panic or the end of the runtime: the batch is gone.
        let Sent { batch, result } = sent.ok()?;
        self.settle(batch, result)
    }

    fn begin(&mut self) {
        let Some(traces) = self.control.snapshot().config.traces.clone() else {
            // Turned off meanwhile.
            let lost = self
                .queue
                .take()
                .iter()
                .map(|trace| trace.spans.len())
                .sum();
            self.lose(LostSpans::Undelivered, lost);
            if let Some(batch) = self.unsent.take() {
                self.lose(LostSpans::Undelivered, batch.message.spans);
            }
            return;
        };
        let (unsent, waiting) = (self.unsent.take(), Vec::new());
        let waiting = if unsent.is_none() {
            self.queue.take()
        } else {
            waiting
        };
        if unsent.is_none() && waiting.is_empty() {
            return;
        }
        let known = self
            .receiver
            .take()
            .filter(|(settings, _)| *settings == traces)
            .map(|(_, receiver)| receiver);
        let receiver = known.unwrap_or_else(|| Arc::new(Receiver::new(Arc::clone(&traces))));
        self.receiver = Some((Arc::clone(&traces), Arc::clone(&receiver)));
        self.sending = Some(tokio::task::spawn_blocking(move || {
            let mut batch = unsent.unwrap_or_else(|| Batch {
                message: Arc::new(Message::new(&traces, &waiting)),
                tries: 0,
            });
            batch.tries += 1;
            let result = receiver.deliver(&batch.message);
            Sent { batch, result }
        }));
    }

    /// Counts the result of a batch. Returns the pause before it is sent again.
    fn settle(&mut self, batch: Batch, result: Result<(), NotDelivered>) -> Option<Duration> {
        let spans = batch.message.spans;
        let failure = match result {
            Ok(()) => {
                self.metrics.spans_sent(spans);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("traces are delivered again");
                }
                return None;
            }
            Err(failure) => failure,
        };
        match failure {
            NotDelivered::Rejected {
                spans: rejected,
                why,
            } => {
                let rejected = rejected.unwrap_or(spans).min(spans);
                self.metrics.spans_sent(spans - rejected);
                self.lose(LostSpans::Rejected, rejected);
                self.warn(&why);
                None
            }
            NotDelivered::Unreachable { why, pause } => {
                // A connection that the receiver closed just now is no news.
                if batch.tries > 1 {
                    self.is_failing = true;
                    self.warn(&why);
                }
                let next = FIRST_PAUSE * 2_u32.pow(batch.tries - 1);
                if batch.tries < MAX_TRIES {
                    self.unsent = Some(batch);
                } else {
                    self.lose(LostSpans::Undelivered, spans);
                }
                Some(pause.unwrap_or(next).min(MAX_PAUSE))
            }
        }
    }

    /// Counts spans that the queue could not hold.
    fn report_lost(&mut self) {
        let lost = self.queue.take_lost();
        if lost > 0 {
            self.lose(LostSpans::QueueFull, lost);
            self.warn("more requests are traced than the receiver takes");
        }
    }

    fn lose(&self, why: LostSpans, spans: usize) {
        if spans > 0 {
            self.metrics.spans_lost(why, spans);
        }
    }

    /// Logs a failure, unless another was logged shortly before.
    fn warn(&mut self, why: &str) {
        let now = Instant::now();
        if self
            .warned
            .is_none_or(|warned| now - warned >= WARN_INTERVAL)
        {
            self.warned = Some(now);
            tracing::warn!(cause = why, "traces are not delivered");
        }
    }
}
