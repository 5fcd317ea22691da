//! What the hooks call: choosing an upstream, learning from how it went, deciding what comes next.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{BError, Error, ErrorSource, ErrorType};

use super::access_log::AccessLog;
use super::context::Context;
use super::hooks::peer;
use super::running::RunningRequests;
use super::waiting::WaitingRoom;
use crate::admission::QueueStatus;
use crate::cluster::{About, Cause, Outcome, Sighting, Subject, Tried};
use crate::config::Config;
use crate::control::Control;
use crate::metrics::Metrics;
use crate::ogc::{RequestClass, Retryable};
use crate::proxy::access_log::recent::{Recent, RecentRequests};
use crate::proxy::catalog_writes::hints;
use crate::proxy::catalog_writes::read_your_writes::{Noted, Writers};
use crate::proxy::catalog_writes::scope;
use crate::proxy::client::body_prefix::HeldBodies;
use crate::proxy::client::identity::{Asker, Key};
use crate::proxy::coalesce::Coalescing;
use crate::proxy::connection::interrupt::{Armed, Interrupts, Wait, WaitEnd};
use crate::proxy::response::framing;
use crate::proxy::response::respond::Refusal;
use crate::proxy::steps::limits::Meters;
use crate::proxy::upstream::failure;
use crate::proxy::upstream::retry::{self, Progress, Situation};
use crate::proxy::upstream::retry_budget::{Loss, RetryBudget};
use crate::proxy::upstream::second_opinion::{Doubt, OpinionBudget};

/// The proxy: one for all listeners, cheap to clone.
#[derive(Clone)]
pub struct FrontDoor {
    pub(super) parts: Arc<Parts>,
}

impl fmt::Debug for FrontDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontDoor").finish_non_exhaustive()
    }
}

pub(super) struct Parts {
    pub(super) control: Arc<Control>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) access_log: AccessLog,
    pub(super) recent: RecentRequests,
    pub(super) budget: RetryBudget,
    pub(super) opinions: OpinionBudget,
    pub(super) writers: Writers,
    pub(super) running: RunningRequests,
    pub(super) coalescing: Coalescing,
    pub(super) room: Arc<WaitingRoom>,
    pub(super) interrupts: Arc<Interrupts>,
    pub(super) meters: Meters,
    pub(super) held_bodies: Arc<HeldBodies>,
}

/// An answer of an upstream that we do not pass on, because another upstream may do better.
const REJECTED_ANSWER: ErrorType = ErrorType::Custom("RejectedAnswer");

/// The upstream has gone while a request waited for its answer.
const MOVED: ErrorType = ErrorType::Custom("Moved");

/// Characters of a user's name that the history keeps.
const MAX_USER_NAME: usize = 64;

/// We answer instead of an upstream; [`Context::refusal`] says what.
const REFUSED: ErrorType = ErrorType::Custom("Refused");

/// How an attempt failed, as far as the budget for another cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    AnsweredBadly,
    /// With its upstream.
    Lost,
    /// The same, and its retry was granted before.
    LostAndPaid,
}

/// When an upstream gives up on an incomplete request after the client was silent for this long,
/// the client is why.
const STALLED: Duration = Duration::from_secs(5);

impl FrontDoor {
    pub fn new(control: Arc<Control>, metrics: Arc<Metrics>, access_log: AccessLog) -> Self {
        let threads = control.snapshot().config.threads.get();
        let room = WaitingRoom::new(Arc::clone(&control), Arc::clone(&metrics), Instant::now());
        let parts = Parts {
            control,
            metrics,
            access_log,
            recent: RecentRequests::default(),
            budget: RetryBudget::new(threads, Instant::now()),
            opinions: OpinionBudget::new(Instant::now()),
            writers: Writers::default(),
            running: RunningRequests::default(),
            coalescing: Coalescing::default(),
            room,
            interrupts: Arc::default(),
            meters: Meters::default(),
            held_bodies: Arc::default(),
        };
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Requests that run now.
    pub fn running(&self) -> &RunningRequests {
        &self.parts.running
    }

    /// Opens the file of the access log anew; false if there is none.
    pub fn reopen_access_log(&self) -> bool {
        self.parts.access_log.reopen()
    }

    /// Who waits for a place.
    pub fn queue_status(&self) -> QueueStatus {
        self.parts.room.status(Instant::now())
    }

    /// The last slow and failed requests after number `after`.
    pub fn recent_requests(&self, after: u64) -> Recent {
        self.parts.recent.after(after)
    }

    /// The configuration in force for new connections.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.parts.control.snapshot().config)
    }

    /// Whether any upstream serves anything now, or soon will.
    pub(super) fn serves_anything(&self) -> bool {
        let (snapshot, now) = (self.parts.control.snapshot(), Instant::now());
        let serves = |class| {
            snapshot.has_place(class, &Tried::default()) || snapshot.awaits_verdict(class, now)
        };
        RequestClass::ALL.into_iter().any(serves)
    }

    /// An answer that could be read in two ways: an error that ends its connection, and the request
    /// unless another upstream may be asked. Collapses a length that is only repeated.
    pub(super) fn refuse_bad_framing(
        &self,
        session: &Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Option<BError> {
        let is_upgrade = session.is_upgrade(response) == Some(true);
        let why = framing::judge(response, is_upgrade).err()?;
        tracing::debug!(request = %ctx.request_id.as_str(), %why, "an answer is no HTTP that every client reads in the same way");
        self.report_failure(session, ctx, Cause::Reset(why), "");
        ctx.refusal = Some(Refusal::BadAnswer);
        Some(
            self.reject_answer(session, ctx, "bad-answer")
                .unwrap_or_else(|| Error::new_up(REJECTED_ANSWER)),
        )
    }

    /// Ends the request with our own answer.
    pub(super) fn refuse(&self, ctx: &mut Context, refusal: Refusal) -> BError {
        ctx.refusal = Some(refusal);
        Error::new_in(REFUSED)
    }

    /// A final answer's head has come: administration that succeeded is a hint that the catalog
    /// changed. Before the client sees it, so that whatever the client asks next comes after it.
    pub(super) fn take_hint(&self, session: &Session, status: u16, ctx: &Context) {
        if ctx.class().is_read()
            || ctx
                .attempt
                .as_ref()
                .is_none_or(|attempt| !attempt.upstream.is_main())
        {
            return;
        }
        let config = &ctx.snapshot.config;
        let Some(hint) = hints::of(session.req_header(), &ctx.classified, status, config) else {
            return;
        };
        let (now, began) = (
            Instant::now(),
            ctx.attempt
                .as_ref()
                .map_or(ctx.started, |attempt| attempt.started),
        );
        let workspace = hints::workspace(session.req_header(), ctx.class(), config);
        let ticket = self.parts.control.sight(
            &Sighting {
                hint,
                began,
                by: user_name(session, ctx),
                workspace,
            },
            now,
        );
        if marks_its_author(session, ctx.class()) {
            let noted = Noted {
                hint,
                ticket,
                now,
                limit: config.catalog.read_your_writes,
            };
            self.parts.writers.note(
                author_keys(session, ctx),
                noted,
                self.parts.control.snapshot().tickets,
            );
        }
    }

    /// Whether the reader has just changed the catalog.
    pub(super) fn has_just_written(&self, session: &Session, ctx: &Context) -> bool {
        if self.parts.writers.is_empty() || !ctx.class().is_read() {
            return false;
        }
        let tickets = self.parts.control.snapshot().tickets;
        self.parts
            .writers
            .await_their_change(reader_keys(session, ctx), tickets, ctx.started)
    }

    /// The current attempt's replica does not know what it was asked for: an error that makes
    /// Pingora ask the main, if that may be asked.
    pub(super) fn seek_second_opinion(
        &self,
        session: &Session,
        ctx: &mut Context,
    ) -> Option<BError> {
        let attempt = ctx.attempt.as_ref()?;
        let snapshot = self.parts.control.snapshot();
        let lacks_a_change =
            snapshot.is_stale(&attempt.upstream) && snapshot.is_concerned(about(session, ctx));
        let may_ask = ctx.rule == Retryable::Yes
            && ctx.doubt == Doubt::None
            && !has_answered(session)
            && is_body_replayable(session, ctx)
            && snapshot.others_know_better(&attempt.upstream, &ctx.tried)
            && (lacks_a_change || self.parts.opinions.take(Instant::now()));
        if !may_ask {
            return None;
        }
        ctx.doubt = Doubt::About {
            replica: attempt.upstream.id,
            sent: attempt.started,
            lacks_a_change,
        };
        self.parts.metrics.retried(ctx.class(), "unknown-layer");
        let mut error = Error::new_up(REJECTED_ANSWER);
        error.set_retry(true);
        Some(error)
    }

    /// Tells the cluster how the current attempt failed, once. `says` is the exception's text.
    pub(super) fn report_failure(
        &self,
        session: &Session,
        ctx: &mut Context,
        cause: Cause,
        says: &str,
    ) {
        let layer = ctx
            .classified
            .layer
            .map(|span| span.of(session.req_header().raw_path()));
        self.report_about(
            ctx,
            Outcome::Failure(cause),
            Some(Subject::new(layer, says)),
        );
    }

    /// Tells the cluster how the current attempt went, once.
    pub(super) fn report(&self, ctx: &mut Context, outcome: Outcome) {
        self.report_about(ctx, outcome, None);
    }

    fn report_about(&self, ctx: &mut Context, outcome: Outcome, subject: Option<Subject>) {
        let Some(attempt) = ctx.attempt.as_mut().filter(|attempt| !attempt.is_reported) else {
            return;
        };
        attempt.is_reported = true;
        if let Outcome::Failure(cause) = &outcome {
            attempt.failure = Some(cause.clone());
        }
        self.parts.control.observe_about(
            &attempt.upstream,
            attempt.started,
            (outcome, subject),
            Instant::now(),
        );
    }

    /// Learns from a failed attempt and decides whether another follows.
    pub(super) fn after_failure(
        &self,
        session: &Session,
        ctx: &mut Context,
        error: &mut Error,
        is_reused: bool,
    ) {
        let is_our_own = matches!(error.etype(), t if *t == REJECTED_ANSWER || *t == REFUSED);
        if is_our_own {
            return;
        }
        let wait = ctx
            .attempt
            .as_mut()
            .and_then(|attempt| attempt.armed.take())
            .map_or(WaitEnd::ByItself, Armed::end);
        if wait == WaitEnd::Interrupted {
            // Its upstream has gone: that is known, and the retry is paid for (`moves.rs`).
            ctx.refusal = Some(Refusal::FirstByteTimeout);
            self.parts.metrics.retried(ctx.class(), "moved");
            *error = *Error::new_up(MOVED);
            error.set_retry(true);
            return;
        }
        if error.esource() != &ErrorSource::Upstream {
            error.set_retry(false);
            return;
        }
        let progress = progress(session, ctx);
        let cause = failure::cause(error, progress);
        if let Cause::Local(fault) = cause {
            // Another upstream would need what we do not have, or give an answer of the same kind.
            ctx.refusal = Some(Refusal::of_failure(&cause));
            tracing::debug!(request = %ctx.request_id.as_str(), %fault, "refused for a fault of our own");
            error.set_retry(false);
            return;
        }
        // A kept-alive connection that its other end closed just now says nothing about the
        // upstream.
        let is_stale_connection =
            is_reused && progress == Progress::Sent && !failure::is_timeout(error.etype());
        // An upstream that gives up on a request that does not arrive is right.
        let is_incomplete = progress != Progress::Connecting && !ctx.is_request_complete;
        if !is_stale_connection && !is_incomplete {
            self.report_failure(session, ctx, cause.clone(), "");
        }
        let is_stalled = is_incomplete && silence_of_client(ctx, Instant::now()) >= STALLED;
        ctx.refusal = Some(if is_stalled {
            Refusal::BodyTimeout
        } else {
            Refusal::of_failure(&cause)
        });
        if is_stale_connection && let Some(attempt) = &ctx.attempt {
            // The same upstream may be asked again, on a new connection.
            ctx.tried.remove(attempt.upstream.id);
        }
        // The interrupt that came too late has paid for the retry.
        let failed = if wait == WaitEnd::Overtaken {
            Failed::LostAndPaid
        } else {
            Failed::Lost
        };
        error.set_retry(self.may_retry(session, ctx, progress, failed, reason(&cause)));
    }

    /// The request is complete: if it may be repeated, it need not wait for an upstream that goes.
    pub(super) fn let_move(&self, session: &Session, ctx: &mut Context) {
        let retry = &ctx.snapshot.config.retry;
        let is_in_time = ctx.attempts == 1 || ctx.started.elapsed() < retry.window;
        let may_move = ctx.rule == Retryable::Yes
            && ctx.attempts < retry.attempts
            && is_in_time
            && is_body_replayable(session, ctx);
        let class = ctx.class();
        if let (true, Some(interrupt), Some(attempt)) = (may_move, &ctx.interrupt, &mut ctx.attempt)
            && attempt.first_byte.is_none()
            && attempt.armed.is_none()
        {
            let (upstream, since) = (attempt.upstream.id, attempt.started);
            attempt.armed = Some(interrupt.arm(Wait {
                upstream,
                class,
                tried: ctx.tried.clone(),
                since,
            }));
        }
    }

    /// An answer nobody has seen yet is bad: an error that makes Pingora try elsewhere, if another
    /// attempt is allowed.
    pub(super) fn reject_answer(
        &self,
        session: &Session,
        ctx: &Context,
        reason: &'static str,
    ) -> Option<BError> {
        if has_answered(session)
            || !self.may_retry(session, ctx, Progress::Sent, Failed::AnsweredBadly, reason)
        {
            return None;
        }
        let mut error = Error::new_up(REJECTED_ANSWER);
        error.set_retry(true);
        Some(error)
    }

    fn may_retry(
        &self,
        session: &Session,
        ctx: &Context,
        progress: Progress,
        failed: Failed,
        reason: &'static str,
    ) -> bool {
        let limits = &ctx.snapshot.config.retry;
        let now = Instant::now();
        let situation = Situation {
            progress,
            attempts: ctx.attempts,
            elapsed: now - ctx.started,
            is_body_replayable: is_body_replayable(session, ctx),
            is_lost: failed != Failed::AnsweredBadly,
        };
        let others = self
            .parts
            .control
            .snapshot()
            .has_place(ctx.class(), &ctx.tried);
        let loss = ctx
            .attempt
            .as_ref()
            .filter(|_| situation.is_lost)
            .map(|attempt| Loss {
                allowance: &attempt.handles.losses,
                in_flight: attempt.upstream.load.in_flight(),
            });
        let budget = || {
            failed == Failed::LostAndPaid
                || self
                    .parts
                    .budget
                    .try_retry(limits.budget_percent, loss, now)
        };
        let allowed = others && retry::decide(ctx.rule, limits, situation, budget);
        if allowed {
            self.parts.metrics.retried(ctx.class(), reason);
        }
        allowed
    }
}

/// The user that a trusted proxy names, or who logged in with a password, for the history of rolls.
fn user_name(session: &Session, ctx: &Context) -> Option<String> {
    let name = asker(session, ctx).user_name()?;
    Some(
        name.chars()
            .filter(|c| !c.is_control())
            .take(MAX_USER_NAME)
            .collect(),
    )
}

/// What the request is about, where the newest changes concern a few workspaces only.
pub(super) fn about(session: &Session, ctx: &Context) -> About {
    if !ctx.snapshot.tells_workspaces_apart() {
        return About::Anything;
    }
    scope::about(&ctx.classified, session.req_header().raw_path())
}

/// A page of the web interface that is only looked at changes nothing, and of a request that we
/// could not read nobody knows.
fn marks_its_author(session: &Session, class: RequestClass) -> bool {
    match class {
        RequestClass::Ui => session.req_header().method != http::Method::GET,
        RequestClass::Unknown => false,
        _ => true,
    }
}

/// The person who wrote something. An address is one only where credentials and a trusted proxy
/// stand for it.
fn author_keys(session: &Session, ctx: &Context) -> impl Iterator<Item = Key> {
    let asker = asker(session, ctx);
    let is_rest = ctx.class() == RequestClass::Admin && asker.credentials().is_some();
    person_keys(&asker, ctx, is_rest)
}

/// Every key under which the reader may have written something.
fn reader_keys(session: &Session, ctx: &Context) -> impl Iterator<Item = Key> {
    person_keys(&asker(session, ctx), ctx, true)
}

/// A user's name says it all, where there is one.
fn person_keys(
    asker: &Asker<'_>,
    ctx: &Context,
    with_address: bool,
) -> impl Iterator<Item = Key> + use<> {
    let user = asker.user();
    let trusts = |address| ctx.snapshot.config.trusts(address);
    let address = if with_address {
        asker.vouched_address(trusts)
    } else {
        None
    };
    let others = [asker.credentials(), asker.session(), address];
    let others = if user.is_some() { [None; 3] } else { others };
    user.into_iter().chain(others.into_iter().flatten())
}

fn asker<'s>(session: &'s Session, ctx: &Context) -> Asker<'s> {
    Asker {
        headers: &session.req_header().headers,
        peer: peer(session),
        is_trusted: ctx.is_trusted,
    }
}

/// Whether the client has a part of its answer. Interim answers (1xx) are none, but for the one
/// that ends HTTP.
pub(super) fn has_answered(session: &Session) -> bool {
    let is_final = |status: StatusCode| {
        !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
    };
    session
        .response_written()
        .is_some_and(|response| is_final(response.status))
}

/// How far the current attempt has come.
fn progress(session: &Session, ctx: &Context) -> Progress {
    if has_answered(session) {
        return Progress::Answering;
    }
    ctx.attempt
        .as_ref()
        .map_or(Progress::Connecting, |attempt| attempt.progress)
}

/// Everything of the body that was sent can be sent again.
fn is_body_replayable(session: &Session, ctx: &Context) -> bool {
    let nothing_but_our_copy = ctx
        .body_prefix
        .as_ref()
        .is_some_and(|prefix| prefix.covers(ctx.body_bytes));
    nothing_but_our_copy || !session.as_ref().retry_buffer_truncated()
}

/// How long the client of an incomplete request has sent nothing.
fn silence_of_client(ctx: &Context, now: Instant) -> Duration {
    let since = ctx
        .body_came
        .or_else(|| ctx.attempt.as_ref().map(|attempt| attempt.started));
    since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
}

/// The metric's label.
fn reason(cause: &Cause) -> &'static str {
    match cause {
        Cause::Connect(_) => "connect",
        Cause::Timeout(_) | Cause::Slow(_) => "timeout",
        Cause::Reset(_) => "reset",
        Cause::Status(_) => "status",
        Cause::Truncated => "truncated",
        Cause::NodeFault(_) => "node-fault",
        Cause::Unexpected(_) | Cause::Credentials(_) => "unexpected",
        Cause::Local(_) => "local",
    }
}
