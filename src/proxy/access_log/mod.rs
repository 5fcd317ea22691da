//! The access log: one line for each request.
//!
//! "Why this 503?" is answered by its line. Writing it never makes a request wait for a disk, a
//! full pipe or another request's system call: a line is formatted in the thread's own buffer and
//! copied into one that a writer thread takes away, at most ten times a second. That buffer is
//! bounded; lines that do not fit are dropped and counted, as are those a full disk refuses.

mod line;
mod number;
pub(in crate::proxy) mod recent;
mod writer;

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{self, LogFormat};
use crate::ogc::RequestClass;
use crate::traces::TraceId;

pub(super) use line::masked;
use writer::{FINISH, Sink, Writer};

/// The record of a request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Time of arrival.
    pub time: SystemTime,
    pub request_id: &'a str,
    /// The client's address, as far back as trusted proxies lead.
    pub client: IpAddr,
    /// The other end of the connection.
    pub peer: IpAddr,
    pub method: &'a str,
    /// Path and query as they arrived.
    pub target: &'a [u8],
    /// `None` if the client got no answer.
    pub status: Option<u16>,
    pub class: RequestClass,
    pub service: Option<&'a str>,
    pub operation: Option<&'a str>,
    pub layer: Option<&'a [u8]>,
    /// The upstream of the answer that the client got, or the last that was tried.
    pub upstream: Option<&'a str>,
    /// The request from which the client got a copy of the answer.
    pub coalesced: Option<&'a str>,
    pub attempts: u32,
    pub queue: Option<Duration>,
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub total: Duration,
    /// Bytes of the answer's body that were sent.
    pub bytes: u64,
    pub end: End,
    pub user: Option<&'a [u8]>,
    /// The name of the rule that the request follows. Lines without one have no such field.
    pub route: Option<&'a str>,
    /// The upstream that an administrator's request names. Lines of others have no such field.
    pub named: Option<&'a str>,
    /// The cluster of the request. Lines have no such field where there is only one.
    pub cluster: Option<&'a str>,
    /// The trace of the request. Lines of requests that are not traced have no such field.
    pub trace: Option<TraceId>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Ok,
    /// The client left before the answer was complete.
    ClientAbort,
    /// The client read its answer too slowly and was given up.
    ClientTooSlow,
    /// The upstream broke off, before or within its answer.
    UpstreamReset,
    /// The upstream was too slow.
    Timeout,
    /// We answered, for this reason.
    Refused(&'static str),
}

impl End {
    /// Returns the end in one word, without the reason of a refusal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientAbort => "client-abort",
            Self::ClientTooSlow => "client-too-slow",
            Self::UpstreamReset => "upstream-reset",
            Self::Timeout => "timeout",
            Self::Refused(_) => "refused",
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct AccessLog {
    format: LogFormat,
    /// `None`: the log is off.
    writer: Option<Arc<Writer>>,
}

impl AccessLog {
    /// Starts the writer. A file that cannot be opened is reported and tried again while the log
    /// runs.
    pub fn start(target: &config::AccessLogDestination, format: LogFormat) -> Self {
        let sink = match target {
            config::AccessLogDestination::Off => None,
            config::AccessLogDestination::Stdout => Some(Sink::stdout()),
            config::AccessLogDestination::File(path) => Some(Sink::file(path.clone())),
        };
        Self {
            format,
            writer: sink.map(Writer::start),
        }
    }

    /// Writes the line of one request.
    pub fn log(&self, record: &Record<'_>) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let Some(writer) = &self.writer else {
            return;
        };
        LINE.with_borrow_mut(|buffer| {
            buffer.clear();
            line::write(record, self.format, buffer);
            writer.push(buffer);
        });
    }

    /// Opens the file anew before the next line; false if lines go to no file.
    pub fn reopen(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.reopen())
    }

    /// Lines lost so far, to a full buffer or to an output that took none.
    pub fn dropped(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.dropped())
    }
}

/// The record as one line of JSON, without the line break.
pub(super) fn json_line(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    line::write(record, LogFormat::Json, &mut out);
    out.pop();
    out
}

impl Drop for AccessLog {
    /// Writes the pending lines, unless the output is stuck.
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.finish(FINISH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(request_id: &str) -> Record<'_> {
        Record {
            time: SystemTime::UNIX_EPOCH,
            request_id,
            client: [192, 0, 2, 7].into(),
            peer: [10, 0, 0, 5].into(),
            method: "GET",
            target: b"/geoserver/wms",
            status: Some(200),
            class: RequestClass::Map,
            service: None,
            operation: None,
            layer: None,
            upstream: None,
            coalesced: None,
            attempts: 1,
            queue: None,
            connect: None,
            first_byte: None,
            total: Duration::ZERO,
            bytes: 0,
            end: End::Ok,
            user: None,
            route: None,
            named: None,
            cluster: None,
            trace: None,
        }
    }

    #[test]
    fn every_line_of_every_thread_arrives_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = AccessLog::start(
            &config::AccessLogDestination::File(path.clone()),
            LogFormat::Json,
        );
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    (0..500).for_each(|n| log.log(&record(&format!("{thread}-{n}"))))
                });
            }
        });
        drop(log);
        let text = std::fs::read_to_string(path).unwrap();
        let ids: std::collections::BTreeSet<String> = text
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["id"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(ids.len(), 2000);
    }

    #[test]
    fn a_full_disk_costs_lines_and_nothing_else() {
        let log = AccessLog::start(
            &config::AccessLogDestination::File("/dev/full".into()),
            LogFormat::Logfmt,
        );
        let writer = log.writer.clone().unwrap();
        (0..100).for_each(|_| log.log(&record("x")));
        drop(log);
        assert_eq!(writer.dropped(), 100);
    }

    #[test]
    fn a_log_that_is_off_has_no_thread_and_no_lines() {
        let log = AccessLog::start(&config::AccessLogDestination::Off, LogFormat::Logfmt);
        log.log(&record("x"));
        assert!(log.writer.is_none());
        assert_eq!(log.dropped(), 0);
    }
}
