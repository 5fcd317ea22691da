//! `POST /api/explain`: the decision about a request that was typed into the status page. Nothing
//! is sent to an upstream, and nothing changes.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::App;
use super::api::{failure, json, unread};
use crate::config::UpstreamName;
use crate::explanation::{self, Explanation, Missing, Question};

/// Maximum size of the JSON of a question: the largest head that is accepted, and more of a body
/// than people paste.
pub(super) const MAX_QUESTION: usize = 256 * 1024;

/// Maximum number of headers of a question.
const MAX_HEADERS: usize = 128;

/// The body of `POST /api/explain`. Everything but `url` may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExplainOrder {
    /// A URL, or its path and query.
    pub url: String,
    /// POST with a body, GET without.
    pub method: Option<String>,
    /// The text of the body.
    pub body: Option<String>,
    /// `application/xml` if there is a body. A `Content-Type` among the headers counts before it.
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    /// Headers as `Name: value`.
    pub headers: Vec<String>,
    /// The client's address.
    pub from: Option<IpAddr>,
}

/// Answer to `POST /api/explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    pub class: String,
    /// The name of the rule of `[[routes]]` that the request follows; `null` for none.
    pub rule: Option<String>,
    /// The client gets an error at once.
    pub refused: bool,
    /// The upstreams that would serve it.
    pub upstreams: Vec<String>,
    /// The upstreams that would serve it while none of `upstreams` does.
    pub otherwise: Vec<String>,
    /// The lines of `geofront explain`.
    pub facts: Vec<ExplainedFact>,
    /// Parts of the request that the decision depends on, and that were not given: `body`, `from`.
    pub missing: Vec<String>,
}

/// One line of [`Explained`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainedFact {
    pub name: String,
    pub value: String,
}

impl From<Explanation> for Explained {
    fn from(explanation: Explanation) -> Self {
        let names = |upstreams: Vec<UpstreamName>| -> Vec<String> {
            upstreams.iter().map(ToString::to_string).collect()
        };
        let missing = |missing: &Missing| match missing {
            Missing::Address => "from".to_owned(),
            Missing::Body => "body".to_owned(),
        };
        Self {
            class: explanation.class.to_string(),
            rule: explanation.rule,
            refused: explanation.is_refused,
            upstreams: names(explanation.upstreams),
            otherwise: names(explanation.otherwise),
            facts: explanation
                .facts
                .into_iter()
                .map(|fact| ExplainedFact {
                    name: fact.name.to_owned(),
                    value: fact.value,
                })
                .collect(),
            missing: explanation.missing.iter().map(missing).collect(),
        }
    }
}

pub(super) async fn explain(
    State(app): State<App>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(refused) => return unread(&refused, MAX_QUESTION),
    };
    let question = serde_json::from_slice(&body)
        .map_err(|error| {
            format!("the body must be like {{\"url\":\"/geoserver/wms?...\"}}: {error}")
        })
        .and_then(question_of);
    match question {
        Ok(question) => {
            let config = app.state.control.snapshot().config.clone();
            json(
                StatusCode::OK,
                &Explained::from(Explanation::new(&question, &config)),
            )
        }
        Err(error) => failure(StatusCode::BAD_REQUEST, error),
    }
}

fn question_of(order: ExplainOrder) -> Result<Question, String> {
    let method = order
        .method
        .as_deref()
        .map(str::trim)
        .filter(|m| !m.is_empty());
    method.map_or(Ok(()), explanation::check_method)?;
    if order.headers.len() > MAX_HEADERS {
        return Err(format!("more than {MAX_HEADERS} headers"));
    }
    let body = order
        .body
        .map(String::into_bytes)
        .filter(|body| !body.is_empty());
    let url = order.url.trim();
    let question = Question::new(method, url, body)
        .ok_or_else(|| format!("`{url}` is no URL: it must start with http://, https:// or /"))?
        .with_headers(&order.headers)?;
    let header = |wanted: &str| {
        let found = question.headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    Ok(Question {
        content_type: header("content-type")
            .or(order.content_type)
            .or_else(|| question.content_type.clone()),
        content_encoding: header("content-encoding").or(order.content_encoding),
        address: order.from,
        ..question
    })
}
