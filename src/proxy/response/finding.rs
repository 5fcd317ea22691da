//! The judgement of a request's answer: its input and its result.

use crate::cluster::Outcome;
use crate::ogc::RequestClass;

/// The parts of a request that its answer is judged by.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct JudgedRequest<'a> {
    pub(in crate::proxy) class: RequestClass,
    /// Path and query as on the request line.
    pub(in crate::proxy) target: &'a [u8],
    /// The path goes by a workspace, `/{workspace}/wms`.
    pub(in crate::proxy) has_workspace: bool,
    /// The servlet context, as configured.
    pub(in crate::proxy) context: &'a str,
    /// As much of the body as was read to classify it.
    pub(in crate::proxy) body_prefix: &'a [u8],
    /// `body_prefix` is the whole body.
    pub(in crate::proxy) is_body_known: bool,
}

/// The evidence in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct AnswerFinding {
    /// The evidence about the upstream; `None` if the answer proves nothing.
    pub(in crate::proxy) outcome: Option<Outcome>,
    pub(in crate::proxy) is_service_exception: bool,
    /// The upstream does not know the requested layer or workspace: a client's mistake, or a
    /// catalog that lacks something.
    pub(in crate::proxy) is_ignorant: bool,
    /// The upstream refuses this read to this client; others may be allowed.
    pub(in crate::proxy) is_forbidden: bool,
    /// The exception that the page of a failure names; empty if it names none.
    pub(in crate::proxy) exception: String,
}

impl AnswerFinding {
    pub(super) const fn only(outcome: Option<Outcome>) -> Self {
        Self {
            outcome,
            is_service_exception: false,
            is_ignorant: false,
            is_forbidden: false,
            exception: String::new(),
        }
    }
}
