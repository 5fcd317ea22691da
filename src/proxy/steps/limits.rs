//! What is decided about a request before it asks for a place: whether it may come in at all, and
//! what it counts for.
//!
//! A request without limits (the default, from a peer that vouches for nobody) costs two
//! comparisons.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::header::HeaderValue;
use parking_lot::Mutex;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use tokio::time::sleep;

use crate::admission::{Claim, Client, Metered, Rates, Reading};
use crate::config::{Limits, Rate};
use crate::proxy::client::head::head;
use crate::proxy::client::identity::Asker;
use crate::proxy::coalesce::until_gone;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::hooks::peer;
use crate::proxy::response::respond::Refusal;

/// What is counted over the whole process beside the places.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Meters {
    rates: Mutex<(Rates, u64)>,
    /// Requests that a rate holds up for a moment.
    delayed: AtomicUsize,
}

/// The rate that leaves a request the least room: what the `X-Rate-Limit-*` headers tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct RateNote {
    context: String,
    rate: Rate,
    reading: Reading,
}

impl Meters {
    /// Counts the request for every rate that concerns it: the tightest, and what is to be done
    /// about it.
    fn count(
        &self,
        ctx: &Context,
        session: &Session,
        client: &Client,
    ) -> Option<(RateNote, Verdict)> {
        let (limits, head) = (&ctx.snapshot.config.limits, head(session.req_header()));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut rates = self.rates.lock();
        let (rates, revision) = &mut *rates;
        if std::mem::replace(revision, ctx.snapshot.revision) != ctx.snapshot.revision {
            rates.keep(|id| limits.control_flow.rules.iter().any(|rule| rule.id == id));
        }
        let mut found: Option<(RateNote, Verdict)> = None;
        for metered in Metered::of(limits, &ctx.classified, &head, client) {
            let reading = rates.count(&metered, now);
            let verdict = Verdict::of(&metered.rate, reading);
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
                Verdict::Refuse => return Some((note(), verdict)),
                Verdict::Wait(_) => found = Some((note(), Verdict::Wait(delay + verdict.delay()))),
                Verdict::Pass if reading.remaining < before => {
                    found = Some((note(), found.map_or(verdict, |(_, verdict)| verdict)))
                }
                Verdict::Pass => {}
            }
        }
        found
    }
}

/// What a rate does about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Wait(Duration),
    Refuse,
}

impl Verdict {
    fn of(rate: &Rate, reading: Reading) -> Self {
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

impl FrontDoor {
    /// Refuses whom the rules shut out, counts what they count, and notes what the request will
    /// have to pass.
    pub(in crate::proxy) async fn hold_to_limits(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<()> {
        let limits = &ctx.snapshot.config.limits;
        let rules = &limits.control_flow;
        if rules.is_empty() && limits.per_user.most(ctx.is_trusted).is_none() {
            return Ok(());
        }
        let client = self.client(session, ctx);
        if rules.blocks(client.address) {
            return Err(self.refuse(ctx, Refusal::Blocked));
        }
        ctx.claim = Claim::of(
            limits,
            &ctx.classified,
            &head(session.req_header()),
            &client,
        );
        ctx.client = Some(client);
        if !rules.has_rates() {
            return Ok(());
        }
        let Some((note, verdict)) = self.parts.meters.count(ctx, session, &client) else {
            return Ok(());
        };
        ctx.rate = Some(Box::new(note));
        match verdict {
            Verdict::Pass => Ok(()),
            Verdict::Wait(delay) => self.delay(session, ctx, delay).await,
            Verdict::Refuse => Err(self.refuse(ctx, Refusal::RateLimited)),
        }
    }

    /// Holds the request up, as long as there are not too many and it may wait so long.
    async fn delay(&self, session: &mut Session, ctx: &mut Context, delay: Duration) -> Result<()> {
        let limits: &Limits = &ctx.snapshot.config.limits;
        let delayed = Delayed::enter(&self.parts.meters.delayed);
        if delay > limits.queue_timeout {
            return Err(self.refuse(ctx, Refusal::QueueTimeout));
        }
        if delayed.others >= limits.queue as usize {
            return Err(self.refuse(ctx, Refusal::RateLimited));
        }
        let since = Instant::now();
        let is_watched = session.downstream_session.is_body_done();
        let ended = tokio::select! {
            () = sleep(delay) => Ok(()),
            gone = until_gone(session), if is_watched => Err(gone),
        };
        ctx.queued = Some(since.elapsed());
        ended
    }

    /// Who asks.
    pub(in crate::proxy) fn client(&self, session: &Session, ctx: &Context) -> Client {
        let peer = peer(session);
        let asker = Asker {
            headers: &session.req_header().headers,
            peer,
            is_trusted: ctx.is_trusted,
        };
        let trusts = |address| ctx.snapshot.config.trusts(address);
        let (address, address_key, user) =
            (asker.client(trusts), asker.address(trusts), asker.user());
        let is_vouched_for = user.is_some() || address != peer.to_canonical();
        Client {
            user: user.unwrap_or(address_key).number(),
            is_vouched_for,
            address,
            address_key: address_key.number(),
        }
    }
}

/// One of those held up, until dropped.
struct Delayed<'m> {
    delayed: &'m AtomicUsize,
    others: usize,
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

impl RateNote {
    /// The headers of GeoServer's control-flow.
    pub(in crate::proxy) fn tell(&self, head: &mut ResponseHeader) -> Result<()> {
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
        let left = (UNIX_EPOCH + self.reading.reset)
            .duration_since(now)
            .unwrap_or_default();
        u32::try_from(left.as_secs())
            .unwrap_or(u32::MAX)
            .saturating_add(1)
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
        let reading = Reading {
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
    fn a_rate_is_told_as_geoserver_tells_it() {
        let mut head = ResponseHeader::build(429, None).unwrap();
        note(None).tell(&mut head).unwrap();
        let told: Vec<_> = ["context", "limit", "remaining", "reset", "action"]
            .map(|name| {
                head.headers[format!("x-rate-limit-{name}")]
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .into();
        assert_eq!(
            told,
            [
                "wms.getmap",
                "30",
                "0",
                "Sun, 06 Nov 1994 08:49:37 GMT",
                "Reject excess requests"
            ]
        );
        note(Some(Duration::from_secs(2))).tell(&mut head).unwrap();
        assert_eq!(
            head.headers["x-rate-limit-action"],
            "Delay excess requests 2000ms"
        );
    }

    #[test]
    fn whoever_is_refused_is_told_to_come_back_in_the_next_window() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(note(None).retry_after(at(784_111_770)), 8);
        assert_eq!(note(None).retry_after(at(784_111_900)), 1);
    }

    #[test]
    fn a_rate_that_is_not_reached_lets_pass_and_one_with_a_delay_holds_up() {
        let rate = note(Some(Duration::from_secs(2))).rate;
        let reading = note(None).reading;
        assert_eq!(
            Verdict::of(
                &rate,
                Reading {
                    is_exceeded: false,
                    ..reading
                }
            ),
            Verdict::Pass
        );
        assert_eq!(
            Verdict::of(&rate, reading),
            Verdict::Wait(Duration::from_secs(2))
        );
        assert_eq!(
            Verdict::of(
                &Rate {
                    delay: None,
                    ..rate
                },
                reading
            ),
            Verdict::Refuse
        );
    }
}
