//! Converts the error of a failed attempt into the cluster's type for causes.

use pingora::{Error, ErrorType};

use super::retry::AttemptProgress;
use crate::cluster::{Cause, LocalFault, Upstream};
use crate::proxy::response::respond::Refusal;
use crate::upstream_peer::tls_fault;

/// Pingora's text for an answer whose head is too large.
const TOO_LARGE: &str = "Response header larger than";

/// The cause, from Pingora's error and how far the attempt at `upstream` had come.
pub(in crate::proxy) fn cause(
    error: &Error,
    progress: AttemptProgress,
    upstream: Option<&Upstream>,
) -> Cause {
    if let Some(fault) = local_fault(error) {
        return Cause::Local(fault);
    }
    match progress {
        AttemptProgress::Connecting => {
            let tls = upstream.and_then(|upstream| tls_fault(error, upstream));
            Cause::Connect(tls.unwrap_or_else(|| connect_reason(error.etype()).to_owned()))
        }
        AttemptProgress::Sent if is_timeout(error.etype()) => {
            Cause::Timeout("no first byte within the class's limit")
        }
        AttemptProgress::Sent => Cause::Reset("closed before the first byte"),
        AttemptProgress::Answering if is_timeout(error.etype()) => {
            Cause::Timeout("stalled within the answer")
        }
        AttemptProgress::Answering => Cause::Truncated,
    }
}

/// The fault of our own that the error stands for.
fn local_fault(error: &Error) -> Option<LocalFault> {
    if *error.etype() == ErrorType::InvalidHTTPHeader && is_head_too_large(error) {
        return Some(LocalFault::AnswerHead);
    }
    LocalFault::behind(error.root_cause())
}

/// Pingora reads 256 fields and a MiB.
fn is_head_too_large(error: &Error) -> bool {
    let has_too_many = error.root_cause().downcast_ref() == Some(&httparse::Error::TooManyHeaders);
    has_too_many
        || error
            .context
            .as_ref()
            .is_some_and(|context| context.as_str().starts_with(TOO_LARGE))
}

/// True if nothing happened for too long, as opposed to an error.
pub(in crate::proxy) fn is_timeout(error: &ErrorType) -> bool {
    matches!(
        error,
        ErrorType::ConnectTimedout
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
    )
}

fn connect_reason(error: &ErrorType) -> &'static str {
    match error {
        ErrorType::ConnectTimedout => "timed out",
        ErrorType::ConnectRefused => "connection refused",
        ErrorType::ConnectNoRoute => "no route",
        ErrorType::TLSHandshakeTimedout => "TLS handshake timed out",
        ErrorType::TLSHandshakeFailure | ErrorType::HandshakeError => "TLS handshake failed",
        ErrorType::InvalidCert => "certificate not trusted",
        _ => "cannot connect",
    }
}

/// The answer to the client when this was the last attempt.
pub(in crate::proxy) const fn refusal(cause: &Cause) -> Refusal {
    match cause {
        Cause::Connect(_) => Refusal::AllFailed,
        Cause::Timeout(_) | Cause::Slow(_) => Refusal::FirstByteTimeout,
        Cause::Reset(_) | Cause::Status(_) | Cause::Truncated | Cause::NodeFault(_) => {
            Refusal::ConnectionLost
        }
        Cause::Unexpected(_) | Cause::Credentials(_) => Refusal::ConnectionLost,
        Cause::Local(LocalFault::AnswerHead) => Refusal::AnswerHeadTooLarge,
        Cause::Local(
            LocalFault::Descriptors
            | LocalFault::Ports
            | LocalFault::Memory
            | LocalFault::Unreported,
        ) => Refusal::LocalFault,
    }
}

/// The cause as a label of metrics.
pub(in crate::proxy) fn reason(cause: &Cause) -> &'static str {
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn failed_to_connect(code: i32) -> Cause {
        let inner = Error::because(
            ErrorType::SocketError,
            "failed to create socket",
            io::Error::from_raw_os_error(code),
        );
        cause(
            &Error::because(ErrorType::InternalError, "Fail to connect", inner),
            AttemptProgress::Connecting,
            None,
        )
    }

    #[test]
    fn having_no_descriptor_port_or_memory_left_is_no_fault_of_the_upstream() {
        assert_eq!(failed_to_connect(24), Cause::Local(LocalFault::Descriptors));
        assert_eq!(failed_to_connect(99), Cause::Local(LocalFault::Ports));
        assert_eq!(failed_to_connect(105), Cause::Local(LocalFault::Memory));
        assert!(matches!(failed_to_connect(111), Cause::Connect(_)));
    }

    #[test]
    fn a_head_that_we_do_not_read_is_a_limit_of_ours_and_one_that_is_none_is_not() {
        let broken = |error| {
            cause(
                &Error::because(ErrorType::InvalidHTTPHeader, "buf: x", error),
                AttemptProgress::Sent,
                None,
            )
        };
        assert_eq!(
            broken(httparse::Error::TooManyHeaders),
            Cause::Local(LocalFault::AnswerHead)
        );
        assert!(matches!(broken(httparse::Error::Version), Cause::Reset(_)));
        let long = Error::explain(
            ErrorType::InvalidHTTPHeader,
            "Response header larger than 1048576",
        );
        assert_eq!(
            cause(&long, AttemptProgress::Sent, None),
            Cause::Local(LocalFault::AnswerHead)
        );
    }
}
