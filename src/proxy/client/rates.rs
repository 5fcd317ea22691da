//! Request rates: the counted requests, and the verdict on a request that exceeds a rate.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::HeaderValue;
use parking_lot::Mutex;
use pingora::Result;
use pingora::http::ResponseHeader;

use crate::admission::{Client, Metered, RateState, Rates};
use crate::cluster::Snapshot;
use crate::config::Rate;
use crate::ogc::{Classified, RequestHead};
use crate::unix_time::since_1970;

/// Counts requests against the rates, for the whole process.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Meters {
    rates: Mutex<(Rates, u64)>,
    /// Requests that a rate holds up now.
    delayed: AtomicUsize,
}

/// The rate that leaves a request the least room, for the `X-Rate-Limit-*` headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct RateNote {
    context: String,
    rate: Rate,
    reading: RateState,
}

impl Meters {
    /// Counts a request that is held up.
    pub(in crate::proxy) fn delay(&self) -> Delayed<'_> {
        Delayed::enter(&self.delayed)
    }

    /// Counts the request for every rate that concerns it. Returns the tightest rate, and what is
    /// to be done about it. Counts of an older configuration than `snapshot` are forgotten where
    /// their rule is gone.
    pub(in crate::proxy) fn count(
        &self,
        snapshot: &Snapshot,
        classified: &Classified,
        head: &RequestHead<'_>,
        client: &Client,
    ) -> Option<(RateNote, RateVerdict)> {
        let limits = &snapshot.config.limits;
        let now = since_1970(SystemTime::now());
        let mut rates = self.rates.lock();
        let (rates, revision) = &mut *rates;
        if std::mem::replace(revision, snapshot.revision) != snapshot.revision {
            rates.keep(|id| limits.control_flow.rules.iter().any(|rule| rule.id == id));
        }
        let mut found: Option<(RateNote, RateVerdict)> = None;
        for metered in Metered::of(limits, classified, head, client) {
            let reading = rates.count(&metered, now);
            let verdict = RateVerdict::of(&metered.rate, reading);
            let (before, delay) = found
                .as_ref()
                .map_or((u32::MAX, Duration::ZERO), |(note, verdict)| {
                    (note.reading.remaining, verdict.delay())
                });
            let note = || RateNote {
                context: metered.rule.what.to_string(),
                rate: metered.rate,
                reading,
            };
            match verdict {
                RateVerdict::Refuse => return Some((note(), verdict)),
                RateVerdict::Wait(_) => {
                    found = Some((note(), RateVerdict::Wait(delay + verdict.delay())))
                }
                RateVerdict::Pass if reading.remaining < before => {
                    found = Some((note(), found.map_or(verdict, |(_, verdict)| verdict)))
                }
                RateVerdict::Pass => {}
            }
        }
        found
    }
}

/// The verdict of a rate on a request: pass, delay or refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum RateVerdict {
    Pass,
    Wait(Duration),
    Refuse,
}

impl RateVerdict {
    fn of(rate: &Rate, reading: RateState) -> Self {
        match (reading.is_exceeded, rate.delay) {
            (false, _) => Self::Pass,
            (true, Some(delay)) => Self::Wait(delay),
            (true, None) => Self::Refuse,
        }
    }

    fn delay(self) -> Duration {
        match self {
            Self::Wait(delay) => delay,
            Self::Pass | Self::Refuse => Duration::ZERO,
        }
    }
}

impl RateNote {
    /// Writes the headers of GeoServer's control-flow.
    pub(in crate::proxy) fn write_headers(&self, head: &mut ResponseHeader) -> Result<()> {
        let action = match self.rate.delay {
            Some(delay) => format!("Delay excess requests {}ms", delay.as_millis()),
            None => "Reject excess requests".to_owned(),
        };
        head.insert_header("X-Rate-Limit-Context", self.context.as_str())?;
        head.insert_header("X-Rate-Limit-Limit", HeaderValue::from(self.rate.most))?;
        head.insert_header(
            "X-Rate-Limit-Remaining",
            HeaderValue::from(self.reading.remaining),
        )?;
        head.insert_header(
            "X-Rate-Limit-Reset",
            httpdate::fmt_http_date(UNIX_EPOCH + self.reading.reset),
        )?;
        head.insert_header("X-Rate-Limit-Action", action)
    }

    /// Seconds until the window ends.
    pub(in crate::proxy) fn retry_after(&self, now: SystemTime) -> u32 {
        let left = self.reading.reset.saturating_sub(since_1970(now));
        u32::try_from(left.as_secs())
            .unwrap_or(u32::MAX)
            .saturating_add(1)
    }
}

/// A request that is held up, until dropped.
pub(in crate::proxy) struct Delayed<'m> {
    delayed: &'m AtomicUsize,
    /// Requests that were held up already.
    pub(in crate::proxy) others: usize,
}

impl<'m> Delayed<'m> {
    fn enter(delayed: &'m AtomicUsize) -> Self {
        Self {
            delayed,
            others: delayed.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Delayed<'_> {
    fn drop(&mut self) {
        self.delayed.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(delay: Option<Duration>) -> RateNote {
        let rate = Rate {
            most: 30,
            window: Duration::from_secs(1),
            delay,
        };
        let reading = RateState {
            is_exceeded: true,
            remaining: 0,
            reset: Duration::from_secs(784_111_777),
        };
        RateNote {
            context: "wms.getmap".to_owned(),
            rate,
            reading,
        }
    }

    #[test]
    fn rate_headers_are_written_as_geoserver_writes_them() {
        let mut head = ResponseHeader::build(429, None).unwrap();
        note(None).write_headers(&mut head).unwrap();
        let written: Vec<_> = ["context", "limit", "remaining", "reset", "action"]
            .map(|name| {
                head.headers[format!("x-rate-limit-{name}")]
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .into();
        assert_eq!(
            written,
            [
                "wms.getmap",
                "30",
                "0",
                "Sun, 06 Nov 1994 08:49:37 GMT",
                "Reject excess requests"
            ]
        );
        note(Some(Duration::from_secs(2)))
            .write_headers(&mut head)
            .unwrap();
        assert_eq!(
            head.headers["x-rate-limit-action"],
            "Delay excess requests 2000ms"
        );
    }

    #[test]
    fn a_refused_client_may_come_back_in_the_next_window() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(note(None).retry_after(at(784_111_770)), 8);
        assert_eq!(note(None).retry_after(at(784_111_900)), 1);
    }

    #[test]
    fn a_rate_that_is_not_reached_lets_pass_and_one_with_a_delay_holds_up() {
        let rate = note(Some(Duration::from_secs(2))).rate;
        let reading = note(None).reading;
        assert_eq!(
            RateVerdict::of(
                &rate,
                RateState {
                    is_exceeded: false,
                    ..reading
                }
            ),
            RateVerdict::Pass
        );
        assert_eq!(
            RateVerdict::of(&rate, reading),
            RateVerdict::Wait(Duration::from_secs(2))
        );
        assert_eq!(
            RateVerdict::of(
                &Rate {
                    delay: None,
                    ..rate
                },
                reading
            ),
            RateVerdict::Refuse
        );
    }
}
