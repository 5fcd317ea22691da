//! What a failed attempt says about the upstream, in the cluster's words.

use pingora::{Error, ErrorType};

use super::retry::Progress;
use crate::cluster::Cause;

/// The cause, from Pingora's error and how far the attempt had come.
pub(super) fn cause(error: &Error, progress: Progress) -> Cause {
    match progress {
        Progress::Connecting => Cause::Connect(connect_reason(error.etype()).to_owned()),
        Progress::Sent if is_timeout(error.etype()) => Cause::Timeout("no first byte within the class's limit"),
        Progress::Sent => Cause::Reset("closed before the first byte"),
        Progress::Answering if is_timeout(error.etype()) => Cause::Timeout("stalled within the answer"),
        Progress::Answering => Cause::Truncated,
    }
}

/// Nothing happened for too long, as opposed to something bad.
pub(super) fn is_timeout(error: &ErrorType) -> bool {
    matches!(
        error,
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout
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
