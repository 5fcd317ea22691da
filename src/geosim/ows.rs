//! Parts that the services share: an answer after its work, an unknown operation, absolute URLs.

use super::answer::Answer;
use super::capacity::{Done, GaveUp};
use super::dispatch::OwsCall;
use super::exception::ServiceException;
use super::life::Life;
use super::request::Request;

/// The text of control-flow when its timeout is over.
pub(super) const BUSY: &str =
    "Requested timeout out while waiting to be executed, please lower your request rate";

/// The answer after the work, with control-flow's report about the wait.
pub(super) fn finished(
    life: &Life,
    done: Result<Done, GaveUp>,
    answer: impl FnOnce() -> Answer,
) -> (Answer, Option<Done>) {
    match done {
        Err(GaveUp) => (Answer::container_page(503, BUSY), None),
        Ok(done) if life.behaviour.control_flow.is_some() => (
            answer().with(
                "X-Control-flow-delay-ms",
                done.waited.as_millis().to_string(),
            ),
            Some(done),
        ),
        Ok(done) => (answer(), Some(done)),
    }
}

/// `Operation not supported`, in the shape of the service.
pub(super) fn no_such_operation(call: &OwsCall<'_>) -> Answer {
    let exception = if call.operation.is_empty() {
        ServiceException::new(
            "MissingParameterValue",
            "request",
            "Could not determine the request from the query or the path",
        )
    } else {
        ServiceException::new(
            "OperationNotSupported",
            "request",
            format!("No such operation {}", call.operation),
        )
    };
    exception.answer(call.dialect, &call.kvp)
}

/// An absolute URL of this webapp as GeoServer builds it in geOrchestra's settings: from
/// `X-Forwarded-Proto` and `X-Forwarded-Host` as they are, else from `Host`.
pub(super) fn base_url(request: &Request) -> String {
    match (
        request.header("x-forwarded-proto"),
        request.header("x-forwarded-host"),
    ) {
        (Some(proto), Some(host)) => format!("{proto}://{host}/geoserver"),
        _ => on_this_host(request, "/geoserver"),
    }
}

/// An absolute URL as the servlet container builds it for redirects: from `Host` alone.
pub(super) fn on_this_host(request: &Request, path: &str) -> String {
    format!(
        "http://{}{path}",
        request.header("host").unwrap_or("localhost")
    )
}
