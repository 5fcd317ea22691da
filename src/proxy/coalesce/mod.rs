//! Identical requests at the same time: one goes upstream, all get its answer.
//!
//! ```text
//!  leader     request_filter --join--> upstream ... head, body kept ... end: complete --+
//!  followers  request_filter --join, wait here ------------------------------------------+--> the same answer, their own headers
//!                                  \--- the leader fails, leaves, is too large or too slow: each request goes alone
//! ```
//!
//! Promises:
//!
//! * Requests share an answer only if they agree in everything that can change it (`key.rs`).
//! * Only a complete success is shared (`answer.rs`): no error, no exception report, no truncated
//!   answer, no answer with a cookie.
//! * No request waits for a leader that is gone: the leader's part is a guard in its context, and
//!   dropping it releases all followers.
//! * A request never gets an answer that was requested before a write that had ended when the
//!   request came, or before the replicas had a change of the catalog.
//! * An answer that cannot be shared releases its followers as soon as that is known. For a minute
//!   afterwards, requests with its key are sent alone, so that they do not wait in vain again.
//! * Memory is bounded: the bytes of one answer and of all answers (`memory.rs`), the flights and
//!   their followers (`flights.rs`). A leader that has no followers when its answer begins keeps
//!   nothing.
//!
//! The steps of a request that use this are in `steps/share.rs`.

mod answer;
mod flights;
mod hash;
mod key;
mod memory;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};

use answer::KeptAnswer;
pub(super) use answer::SharedAnswer;
pub(super) use flights::{FlightRole, Follower};
use flights::{Flights, Leader};
pub(super) use key::SharingScope;

use crate::config::UpstreamName;
use crate::proxy::client::request_id::RequestId;
use crate::traces::TraceParent;

/// Flights of the whole process, and the count of writes that divides requests before a write from
/// those after it.
#[derive(Debug, Default)]
pub(super) struct Coalescing {
    flights: Arc<Flights>,
    writes: AtomicU64,
}

/// The leader's side of a flight, kept in its context from the first attempt to the end.
#[derive(Debug)]
pub(super) struct Leading {
    leader: Leader,
    /// The part of the answer that has arrived.
    kept: Option<KeptAnswer>,
}

impl Coalescing {
    /// Joins the flight of identical requests, or begins it.
    pub(super) fn join(&self, request: &RequestHeader, scope: &SharingScope<'_>) -> FlightRole {
        thread_local! {
            static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        KEY.with_borrow_mut(|key| {
            key.clear();
            if key::write_key(request, scope, key) {
                self.flights.join(key)
            } else {
                FlightRole::Alone
            }
        })
    }

    /// Writes that have ended.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Counts a write that is about to end, or has ended: a request that comes after it does not
    /// follow one that came before.
    pub(super) fn count_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Leading {
    pub(super) fn new(leader: Leader) -> Self {
        Self { leader, kept: None }
    }

    /// The attempt failed, and another follows.
    pub(super) fn start_over(&mut self) {
        self.kept = None;
        self.leader.wait_again();
    }

    /// Keeps the head of a good answer. Returns false when the answer cannot be shared or no
    /// follower waits for it: then the flight is to end.
    #[must_use = "a flight without an answer is to end"]
    pub(super) fn keep_head(
        &mut self,
        coalescing: &Coalescing,
        head: &ResponseHeader,
        is_head: bool,
    ) -> bool {
        self.kept = None;
        if !answer::may_be_shared(head, is_head) {
            // An error of the server may be over the next time.
            if !head.status.is_server_error() {
                self.leader.go_alone();
            }
            return false;
        }
        if !self.leader.begin() {
            return false;
        }
        let claim = coalescing.flights.claim();
        self.kept = Some(KeptAnswer::new(head.clone(), is_head, claim));
        true
    }

    /// Replaces the head that was kept, if one was: the answer is passed on in another form.
    pub(super) fn replace_head(&mut self, head: &ResponseHeader) {
        if let Some(kept) = &mut self.kept {
            kept.replace_head(head.clone());
        }
    }

    /// Keeps a part of the body. Returns false when the answer has become too large: then the
    /// flight is to end.
    #[must_use = "an answer that is not complete must not be shared"]
    pub(super) fn keep_body(&mut self, chunk: &Bytes) -> bool {
        let is_kept = self.kept.as_mut().is_none_or(|kept| kept.add(chunk));
        if !is_kept {
            self.leader.go_alone();
        }
        is_kept
    }

    /// The answer has turned out to be one that is not shared.
    pub(super) fn go_alone(&self) {
        self.leader.go_alone();
    }

    /// Gives the answer to all followers, if it is complete.
    pub(super) fn complete(
        self,
        upstream: UpstreamName,
        leader: RequestId,
        trace: Option<TraceParent>,
    ) {
        let answer = self.kept.and_then(|kept| kept.whole(upstream, leader));
        if let Some(mut answer) = answer {
            answer.trace = trace;
            self.leader.complete(Arc::new(answer));
        }
    }
}
