//! The last slow and failed requests, for the status page: "why this 503?" without a shell on the
//! machine.
//!
//! A request that went well costs two comparisons here. The others are copied into a ring of fixed
//! size: at most [`MAX_KEPT`], at most [`MAX_PER_SECOND`] a second (an overload refuses thousands),
//! and none that would have to wait for another to be copied. What was left out is counted. The
//! access log has them all.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{End, Record, json_line};

/// Requests that are kept; a line is at most some 4 KiB.
const MAX_KEPT: usize = 500;

/// Requests that are taken in within one second.
const MAX_PER_SECOND: u32 = 50;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::proxy) struct RecentRequests {
    kept: Mutex<Kept>,
    /// Slow or failed requests that were not taken in.
    left_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    /// Number of the newest.
    sequence: u64,
    /// Lines of the access log as JSON, oldest first.
    lines: VecDeque<Vec<u8>>,
    /// The running second, and how many were taken in during it.
    second: Option<(Instant, u32)>,
}

/// Requests after a number, as JSON objects with the fields of the access log, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Number of the newest, to be given the next time.
    pub sequence: u64,
    /// Slow or failed requests that were not taken in, since geofront started.
    pub left_out: u64,
    pub lines: Vec<Vec<u8>>,
}

impl RecentRequests {
    /// Takes in a request that was slow or failed.
    pub(in crate::proxy) fn note(&self, record: &Record<'_>, now: Instant) {
        if !is_failed(record) && record.total < record.class.row().slow_after {
            return;
        }
        let taken = self
            .kept
            .try_lock()
            .is_some_and(|mut kept| kept.take(record, now));
        if !taken {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those after number `after`; all of them if that one was not reached yet.
    pub(in crate::proxy) fn after(&self, after: u64) -> Recent {
        let kept = self.kept.lock();
        let after = if after > kept.sequence { 0 } else { after };
        let new = usize::try_from(kept.sequence - after).unwrap_or(usize::MAX);
        let lines = kept
            .lines
            .iter()
            .skip(kept.lines.len().saturating_sub(new))
            .cloned()
            .collect();
        Recent {
            sequence: kept.sequence,
            left_out: self.left_out.load(Ordering::Relaxed),
            lines,
        }
    }
}

impl Kept {
    fn take(&mut self, record: &Record<'_>, now: Instant) -> bool {
        let (began, taken) = self
            .second
            .filter(|(began, _)| now.saturating_duration_since(*began) < Duration::from_secs(1))
            .unwrap_or((now, 0));
        if taken >= MAX_PER_SECOND {
            return false;
        }
        self.second = Some((began, taken + 1));
        if self.lines.len() == MAX_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(json_line(record));
        self.sequence += 1;
        true
    }
}

fn is_failed(record: &Record<'_>) -> bool {
    record.end != End::Ok || record.status.is_none_or(|status| status >= 500)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::ogc::RequestClass;

    fn record(request_id: &str, status: u16, took: Duration, end: End) -> Record<'_> {
        Record {
            time: SystemTime::UNIX_EPOCH,
            request_id,
            client: [192, 0, 2, 7].into(),
            peer: [10, 0, 0, 5].into(),
            method: "GET",
            target: b"/geoserver/wms?authkey=hidden",
            status: Some(status),
            class: RequestClass::Map,
            service: None,
            operation: None,
            layer: None,
            upstream: Some("a"),
            coalesced: None,
            attempts: 1,
            queue: None,
            connect: None,
            first_byte: None,
            total: took,
            bytes: 0,
            end,
            user: None,
            route: None,
            named: None,
            cluster: None,
            trace: None,
        }
    }

    fn ids(recent: &Recent) -> Vec<String> {
        let parse = |line: &Vec<u8>| serde_json::from_slice::<serde_json::Value>(line).unwrap();
        recent
            .lines
            .iter()
            .map(|line| parse(line)["id"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn slow_and_failed_requests_are_kept_and_good_ones_are_not() {
        let (recent, now, quick) = (
            RecentRequests::default(),
            Instant::now(),
            Duration::from_millis(20),
        );
        recent.note(&record("good", 200, quick, End::Ok), now);
        recent.note(&record("missing", 404, quick, End::Ok), now);
        recent.note(&record("slow", 200, Duration::from_secs(6), End::Ok), now);
        recent.note(&record("broken", 500, quick, End::Ok), now);
        recent.note(
            &record("refused", 503, quick, End::Refused("queue-full")),
            now,
        );
        recent.note(&record("left", 200, quick, End::ClientAbort), now);
        let all = recent.after(0);
        assert_eq!(ids(&all), ["slow", "broken", "refused", "left"]);
        assert_eq!(
            (ids(&recent.after(3)), ids(&recent.after(4)).len()),
            (vec!["left".to_owned()], 0)
        );
        assert_eq!(
            ids(&recent.after(99)).len(),
            4,
            "a number from before a restart hides nothing"
        );
    }

    #[test]
    fn secrets_are_masked_as_in_the_access_log() {
        let recent = RecentRequests::default();
        recent.note(&record("x", 500, Duration::ZERO, End::Ok), Instant::now());
        let line = String::from_utf8(recent.after(0).lines[0].clone()).unwrap();
        assert!(
            line.contains("authkey=***") && !line.contains("hidden"),
            "{line}"
        );
    }

    #[test]
    fn an_overload_fills_it_only_so_fast_and_only_so_far() {
        let (recent, start) = (RecentRequests::default(), Instant::now());
        let refused = record("x", 503, Duration::ZERO, End::Refused("queue-full"));
        (0..MAX_PER_SECOND + 7).for_each(|_| recent.note(&refused, start));
        assert_eq!(
            (recent.after(0).lines.len(), recent.after(0).left_out),
            (MAX_PER_SECOND as usize, 7)
        );
        for second in 1..30 {
            (0..MAX_PER_SECOND)
                .for_each(|_| recent.note(&refused, start + Duration::from_secs(second)));
        }
        let all = recent.after(0);
        assert_eq!(
            (all.lines.len(), all.sequence),
            (MAX_KEPT, u64::from(MAX_PER_SECOND) * 30)
        );
    }
}
