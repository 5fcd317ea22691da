//! The upstreams that run executions in the background, or keep their results.
//!
//! Only the GeoServer that began an execution knows its state and its result, and only the one that
//! drew a document to print has its file. Where several upstreams run processes, the answers are
//! read for the identifiers of executions and documents, and later requests about one go to the
//! upstream that gave it. Bounded in number and in time. The first
//! upstream that names an identifier keeps it: a client can make an upstream repeat a text, and so
//! must not be able to move the execution of another client.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cluster::UpstreamId;
use crate::config::UpstreamName;
use crate::ogc::PRINTED_DOCUMENT;

/// Executions that are remembered.
const MAX_JOBS: usize = 8192;

/// Time for which an execution is remembered after the last request about it.
const KEPT: Duration = Duration::from_secs(6 * 3600);

/// Length of the longest identifier, in bytes. GeoServer's have 36.
const MAX_ID: usize = 128;

/// Identifiers that are read from one answer.
const MAX_IDS: usize = 8;

/// Texts that precede an identifier: the address of a status or of a result of WPS, a job of OGC
/// API Processes in an address and in its document. In lower case.
const MARKS: [&[u8]; 4] = [
    b"executionid=",
    b"/jobs/",
    b"\"jobid\":\"",
    b"\"jobid\": \"",
];

/// The upstream that began an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Node {
    pub(in crate::proxy) id: UpstreamId,
    pub(in crate::proxy) name: UpstreamName,
}

#[derive(Debug)]
struct Begun {
    node: Node,
    until: Instant,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Jobs {
    /// Of `by_id`; written with its lock held.
    count: AtomicUsize,
    hasher: RandomState,
    by_id: Mutex<HashMap<u64, Begun>>,
}

impl Jobs {
    /// Whether no execution is remembered.
    pub(in crate::proxy) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Remembers that `node` named the execution `id`.
    pub(in crate::proxy) fn note(&self, id: &[u8], node: Node, now: Instant) {
        let key = self.hasher.hash_one(id);
        let mut by_id = self.by_id.lock();
        if by_id.get(&key).is_some_and(|begun| now < begun.until) {
            return;
        }
        if by_id.len() >= MAX_JOBS {
            by_id.retain(|_, begun| now < begun.until);
        }
        if by_id.len() >= MAX_JOBS {
            let oldest = by_id.iter().min_by_key(|(_, begun)| begun.until);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                by_id.remove(&oldest);
            }
        }
        let until = now + KEPT;
        by_id.insert(key, Begun { node, until });
        self.count.store(by_id.len(), Ordering::Relaxed);
    }

    /// Returns the upstream that began the execution `id`, which is remembered for longer.
    pub(in crate::proxy) fn node_of(&self, id: &[u8], now: Instant) -> Option<Node> {
        let mut by_id = self.by_id.lock();
        let begun = by_id.get_mut(&self.hasher.hash_one(id))?;
        if now >= begun.until {
            return None;
        }
        begun.until = now + KEPT;
        Some(begun.node.clone())
    }
}

/// Returns the identifiers of executions that `text` names, at most [`MAX_IDS`]. An identifier at
/// the end of a text that continues may be longer, so it counts only if `is_end`.
pub(in crate::proxy) fn ids_in(text: &[u8], is_end: bool) -> Vec<&[u8]> {
    let mut ids = Vec::new();
    for at in 0..text.len() {
        let Some(id) = id_before(text, at).or_else(|| id_behind(text, at, is_end)) else {
            continue;
        };
        if (1..=MAX_ID).contains(&id.len()) && ids.len() < MAX_IDS && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// The identifier of the printed document whose address ends at `at`.
fn id_before(text: &[u8], at: usize) -> Option<&[u8]> {
    if !text[at..].starts_with(PRINTED_DOCUMENT) {
        return None;
    }
    let start = text[..at].iter().rposition(|byte| !is_of_id(byte))?;
    (text[start] == b'/').then(|| &text[start + 1..at])
}

/// The identifier behind a mark that begins at `at`.
fn id_behind(text: &[u8], at: usize, is_end: bool) -> Option<&[u8]> {
    let mark = MARKS.iter().find(|mark| begins_with(&text[at..], mark))?;
    let rest = &text[at + mark.len()..];
    let length = rest
        .iter()
        .position(|byte| !is_of_id(byte))
        .or_else(|| is_end.then_some(rest.len()))?;
    Some(&rest[..length])
}

fn is_of_id(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(byte)
}

fn begins_with(text: &[u8], mark: &[u8]) -> bool {
    text.get(..mark.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node {
            id: UpstreamId::default(),
            name: UpstreamName::new(name).unwrap(),
        }
    }

    #[test]
    fn executions_are_found_in_documents_addresses_and_json() {
        let xml = b"<wps:ExecuteResponse statusLocation=\"http://h/ows?service=WPS&amp;request=GetExecutionStatus&amp;executionId=397e8cbd-7d51\"/>";
        assert_eq!(ids_in(xml, false), [b"397e8cbd-7d51"]);
        assert_eq!(
            ids_in(b"http://h/geoserver/ogc/processes/v1/jobs/a-1", true),
            [b"a-1"]
        );
        assert!(ids_in(b"/ogc/processes/v1/jobs/a-1", false).is_empty());
        assert_eq!(
            ids_in(b"{\"jobID\":\"b.2\",\"x\":\"executionId=b.2&\"}", false),
            [b"b.2"]
        );
        let printed = b"{\"getURL\":\"http://h/geoserver/pdf/4710.pdf.printout\"}";
        assert_eq!(ids_in(printed, false), [b"4710.pdf"]);
        assert!(ids_in(b"4710.pdf.printout /.printout =a.printout", true).is_empty());
        assert!(ids_in(b"executionId=&/jobs/?", true).is_empty());
        let long = [&b"executionId="[..], &[b'a'; MAX_ID + 1]].concat();
        assert!(ids_in(&long, true).is_empty());
        let many: String = (0..100).map(|n| format!("executionId={n}&")).collect();
        assert_eq!(ids_in(many.as_bytes(), true).len(), MAX_IDS);
    }

    #[test]
    fn an_execution_stays_with_the_upstream_that_named_it_first() {
        let (jobs, now) = (Jobs::default(), Instant::now());
        let (a, b) = (node("a"), node("b"));
        assert!(jobs.is_empty());
        jobs.note(b"1", a.clone(), now);
        jobs.note(b"1", b.clone(), now);
        assert_eq!(jobs.node_of(b"1", now), Some(a));
        assert_eq!(jobs.node_of(b"2", now), None);
        let later = now + KEPT - Duration::from_secs(1);
        assert!(jobs.node_of(b"1", later).is_some());
        assert!(
            jobs.node_of(b"1", later + KEPT - Duration::from_secs(1))
                .is_some()
        );
        let end = later + KEPT * 2;
        assert_eq!(jobs.node_of(b"1", end), None);
        jobs.note(b"1", b.clone(), end);
        assert_eq!(jobs.node_of(b"1", end), Some(b));
    }

    #[test]
    fn no_more_executions_are_remembered_than_the_bound_and_the_newest_stay() {
        let (jobs, now) = (Jobs::default(), Instant::now());
        for n in 0..MAX_JOBS + 100 {
            let at = now + Duration::from_millis(n as u64);
            jobs.note(n.to_string().as_bytes(), node("a"), at);
        }
        assert_eq!(jobs.by_id.lock().len(), MAX_JOBS);
        assert!(jobs.node_of(b"0", now).is_none());
        let last = (MAX_JOBS + 99).to_string();
        assert!(jobs.node_of(last.as_bytes(), now).is_some());
    }
}
