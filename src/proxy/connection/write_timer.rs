//! The timer of a connection that has bytes for its client: the time to send waiting bytes, and the
//! limit on a slow client. It is made when a connection first needs it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::{ClientPace, PaceRule};
use super::reading_credit::ReadingCredit;

/// Time for which a short write waits for the next one, so that both are sent together.
const GATHER: Duration = Duration::from_millis(2);

/// Interval between measurements of a slow client's progress.
const MEASURE: Duration = Duration::from_secs(1);

/// The same where a slot waits for the client: a network without credit keeps it for so long.
const MEASURE_SLOT: Duration = Duration::from_millis(250);

/// The limit on a slow client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadingLimit<'l> {
    pub(super) rule: &'l PaceRule,
    /// The rule is one that requires a rate.
    pub(super) is_strict: bool,
    /// The credit of the client's network, where a slot waits for the client.
    pub(super) network: Option<&'l ReadingCredit>,
}

impl ReadingLimit<'_> {
    /// Time until the next measurement.
    fn step(&self) -> Duration {
        let step = if self.network.is_some() {
            MEASURE_SLOT
        } else {
            MEASURE
        };
        step.min(self.rule.patience / 4)
    }

    /// True if the network of a client that moved `bytes` in the last `time` has credit.
    fn allows(&self, bytes: u64, time: Duration, now: Instant) -> bool {
        let rate = self.rule.rate;
        self.network
            .is_none_or(|network| network.spend(time, bytes, rate, now))
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct WriteTimer {
    sleep: Pin<Box<Sleep>>,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    None,
    /// Sends the waiting bytes.
    Send,
    /// The connection took nothing more.
    Measure(Measure),
}

/// The progress of a slow client.
#[derive(Debug)]
struct Measure {
    pace: ClientPace,
    since: Instant,
    /// Bytes that the client had at that time.
    taken: u64,
    is_strict: bool,
}

impl WriteTimer {
    pub(super) fn new() -> Self {
        Self {
            sleep: Box::pin(sleep_until(Instant::now())),
            purpose: Purpose::None,
        }
    }

    /// Nothing is left to be sent.
    pub(super) fn rest(&mut self) {
        self.purpose = Purpose::None;
    }

    /// Ready when short writes have waited long enough.
    pub(super) fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.purpose {
            Purpose::None => self.sleep.as_mut().reset(Instant::now() + GATHER),
            Purpose::Send => {}
            Purpose::Measure(_) => return Poll::Ready(()),
        }
        self.purpose = Purpose::Send;
        self.sleep.as_mut().poll(cx)
    }

    /// Ready when the client, which has taken `taken()` bytes in all, is too slow.
    pub(super) fn poll_too_slow(
        &mut self,
        cx: &mut Context<'_>,
        limit: &ReadingLimit<'_>,
        taken: impl Fn() -> u64,
    ) -> Poll<()> {
        let ReadingLimit {
            rule, is_strict, ..
        } = *limit;
        let step = limit.step();
        loop {
            let now = Instant::now();
            let measure = match &mut self.purpose {
                Purpose::Measure(measure) => measure,
                Purpose::None | Purpose::Send => {
                    self.sleep.as_mut().reset(now + step);
                    self.purpose = Purpose::Measure(Measure {
                        pace: ClientPace::new(rule),
                        since: now,
                        taken: taken(),
                        is_strict,
                    });
                    continue;
                }
            };
            if is_strict && !measure.is_strict {
                measure.pace.tighten(rule);
            }
            measure.is_strict = is_strict;
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let (taken, time) = (taken(), now.saturating_duration_since(measure.since));
            let progress = taken.saturating_sub(measure.taken);
            (measure.since, measure.taken) = (now, taken);
            let is_fast = measure.pace.note(progress, time, rule);
            if !is_fast || !limit.allows(progress, time, now) {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(now + step);
        }
    }
}
