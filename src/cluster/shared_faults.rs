//! Faults that upstreams share, for which none of them is blamed.
//!
//! A database that is down makes its layers fail on every upstream. If upstreams were blamed for
//! it, one after the other would be ejected, each time for longer. Failures therefore carry a
//! subject, and are compared:
//!
//! * The same layer failing in the same way on two upstreams is a fault of the layer. The same
//!   exception or database fault on two upstreams, whatever the layer, is a fault of the shared
//!   backend.
//! * Neither is shared while another upstream has lately served such a request: a request that
//!   failed at one upstream and succeeded at the next shows that its layer works there.
//! * A failure that two upstreams may well have independently (out of memory, a time limit, a bare
//!   status) is shared only when every upstream that serves reads has it.
//!
//! A shared fault is no evidence. It acquits the upstreams that were blamed for it, and is shown as
//! a condition. An upstream that fails alone, or in more ways than the others, is blamed as usual.

use std::time::{Duration, Instant};

use super::{Cause, Condition, UpstreamId};
use crate::balance::seed_of;
use crate::health::Severity;

/// Time for which a failure counts in the comparison.
const WINDOW: Duration = Duration::from_secs(60);

/// Faults compared at a time; the one that was seen longest ago makes room.
const MAX_FAULTS: usize = 256;

/// Upstreams remembered for one fault.
const MAX_UPSTREAMS: usize = 64;

/// Layers remembered for one fault.
const MAX_LAYERS: usize = 16;

/// Failures from which a shared fault is shown. One request that fails on two upstreams is not
/// worth a report.
const SHOWN_FROM: u32 = 4;

/// Characters kept of a layer's name or an exception's text.
const MAX_TEXT: usize = 100;

/// Texts of database faults that upstreams have in common.
const DATABASE_FAULTS: [&str; 4] = [
    "cannot get a connection",
    "unable to obtain connection",
    "postmaster is accepting",
    "psqlexception",
];

/// The subject of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    layer: Option<String>,
    exception: String,
}

impl Subject {
    /// Builds a subject. `layer` is the name in the request; `exception` is the text of the
    /// exception, empty if there is none.
    pub fn new(layer: Option<&[u8]>, exception: &str) -> Self {
        let layer = layer.filter(|layer| !layer.is_empty());
        Self {
            layer: layer.map(|layer| bounded(&String::from_utf8_lossy(layer))),
            exception: bounded(exception),
        }
    }
}

fn bounded(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_TEXT)
        .collect()
}

/// The hashes by which two failures are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grounds {
    /// Hash of layer and text.
    layer: Option<u64>,
    /// Hash of the text alone.
    text: u64,
}

impl Grounds {
    pub(super) fn rest_on(&self, key: u64) -> bool {
        self.layer == Some(key) || self.text == key
    }
}

/// The number of upstreams that must have a fault for it to be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Two,
    Every,
}

#[derive(Debug)]
struct Fault {
    key: u64,
    /// Hash of the text alone; equal to the fault's own key if that is compared by text.
    text: u64,
    reach: Reach,
    /// The layer; `None` if there was more than one, or none.
    layer: Option<String>,
    cause: String,
    /// Hashes of the layers that failed so; of no layer too.
    layers: Vec<u64>,
    /// Time and number of the failures of each upstream.
    failures: Vec<(UpstreamId, Instant, u32)>,
    /// The times at which upstreams last served one of the layers.
    served: Vec<(UpstreamId, Instant)>,
}

impl Fault {
    fn is_shared(&self, peers: &[UpstreamId]) -> bool {
        let has_it =
            |peer: &UpstreamId| self.failures.iter().any(|(upstream, ..)| upstream == peer);
        let serves = |peer: &UpstreamId| self.served.iter().any(|(upstream, _)| upstream == peer);
        match self.reach {
            _ if self.failures.len() < 2 => false,
            // An upstream that fails only sometimes serves from its cache.
            Reach::Two => !peers.iter().any(|peer| serves(peer) && !has_it(peer)),
            Reach::Every => peers.iter().all(has_it),
        }
    }

    fn note(&mut self, upstream: UpstreamId, now: Instant) {
        if let Some((_, last, count)) = self
            .failures
            .iter_mut()
            .find(|(known, ..)| *known == upstream)
        {
            *last = now;
            *count = count.saturating_add(1);
        } else if self.failures.len() < MAX_UPSTREAMS {
            self.failures.push((upstream, now, 1));
        }
    }

    fn note_served(&mut self, upstream: UpstreamId, now: Instant) {
        if let Some((_, last)) = self.served.iter_mut().find(|(known, _)| *known == upstream) {
            *last = now;
        } else if self.served.len() < MAX_UPSTREAMS {
            self.served.push((upstream, now));
        }
    }

    fn last(&self) -> Option<Instant> {
        self.failures.iter().map(|(_, last, _)| *last).max()
    }
}

/// The faults of the last minute.
#[derive(Debug, Default)]
pub(super) struct SharedFaults {
    faults: Vec<Fault>,
}

impl SharedFaults {
    /// Records a failure of an upstream. Returns its grounds, and those of them that it shares with
    /// others.
    pub(super) fn record(
        &mut self,
        upstream: UpstreamId,
        cause: &Cause,
        subject: &Subject,
        peers: &[UpstreamId],
        now: Instant,
    ) -> (Grounds, Vec<u64>) {
        let words = words_of(cause, subject);
        let is_database = DATABASE_FAULTS
            .iter()
            .any(|text| words.to_ascii_lowercase().contains(text));
        let is_own_misfortune = cause.severity() != Severity::Ordinary && !is_database;
        let has_text = is_database || !subject.exception.is_empty();
        let text = seed_of(&normalized(&words));
        let layer = subject
            .layer
            .as_ref()
            .map(|layer| seed_of(&format!("{layer}\n{text}")));
        let of_layer = if is_own_misfortune {
            Reach::Every
        } else {
            Reach::Two
        };
        let of_text = if has_text && !is_own_misfortune {
            Reach::Two
        } else {
            Reach::Every
        };
        let keys = layer
            .map(|key| (key, of_layer))
            .into_iter()
            .chain([(text, of_text)]);
        let shared = keys.filter(|(key, reach)| {
            let fault = self.fault(*key, text, *reach, &words, subject);
            fault.note(upstream, now);
            fault.is_shared(peers)
        });
        let shared = shared.map(|(key, _)| key).collect();
        (Grounds { layer, text }, shared)
    }

    /// Notes that an upstream served a request that failed at another one.
    pub(super) fn served(&mut self, upstream: UpstreamId, subject: &Subject, now: Instant) {
        let layer = layer_of(subject);
        for fault in &mut self.faults {
            if fault.layers.contains(&layer) {
                fault.note_served(upstream, now);
            }
        }
    }

    fn fault(
        &mut self,
        key: u64,
        text: u64,
        reach: Reach,
        words: &str,
        subject: &Subject,
    ) -> &mut Fault {
        if let Some(at) = self.faults.iter().position(|fault| fault.key == key) {
            let fault = &mut self.faults[at];
            if fault.layer != subject.layer {
                fault.layer = None;
            }
            let hash = layer_of(subject);
            if fault.layers.len() < MAX_LAYERS && !fault.layers.contains(&hash) {
                fault.layers.push(hash);
            }
            return fault;
        }
        if self.faults.len() >= MAX_FAULTS {
            let oldest = (0..self.faults.len()).min_by_key(|&at| self.faults[at].last());
            if let Some(at) = oldest {
                self.faults.swap_remove(at);
            }
        }
        let (layer, cause) = (subject.layer.clone(), bounded(words));
        self.faults.push(Fault {
            key,
            text,
            reach,
            layer,
            cause,
            layers: vec![layer_of(subject)],
            failures: Vec::new(),
            served: Vec::new(),
        });
        self.faults.last_mut().expect("it was just added")
    }

    /// Forgets everything older than the window.
    pub(super) fn pass_time(&mut self, now: Instant) {
        for fault in &mut self.faults {
            fault.failures.retain(|(_, last, _)| *last + WINDOW > now);
            fault.served.retain(|(_, last)| *last + WINDOW > now);
        }
        self.faults.retain(|fault| !fault.failures.is_empty());
    }

    /// Returns the time when a condition may end by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let shared = self.faults.iter().filter(|fault| fault.failures.len() >= 2);
        shared
            .flat_map(|fault| {
                let failed = fault.failures.iter().map(|(_, last, _)| *last);
                failed.chain(fault.served.iter().map(|(_, last)| *last))
            })
            .map(|last| last + WINDOW)
            .min()
    }

    /// Returns the faults that all upstreams share: a layer if only that layer fails, and not every
    /// layer of a database.
    pub(super) fn conditions(&self, peers: &[UpstreamId]) -> Vec<Condition> {
        let is_shown = |fault: &&Fault| {
            fault.is_shared(peers)
                && fault.failures.iter().map(|(.., count)| count).sum::<u32>() >= SHOWN_FROM
        };
        let by_text: Vec<_> = self
            .faults
            .iter()
            .filter(|fault| fault.key == fault.text)
            .filter(is_shown)
            .collect();
        let is_covered = |fault: &&Fault| by_text.iter().any(|shown| shown.text == fault.text);
        let by_layer = self
            .faults
            .iter()
            .filter(|f| f.key != f.text)
            .filter(is_shown)
            .filter(|f| !is_covered(f));
        let condition = |fault: &Fault| Condition::SharedFault {
            layer: fault.layer.clone(),
            cause: fault.cause.clone(),
        };
        by_text
            .iter()
            .copied()
            .chain(by_layer)
            .map(condition)
            .collect()
    }
}

/// The hash by which layers are compared.
fn layer_of(subject: &Subject) -> u64 {
    seed_of(subject.layer.as_deref().unwrap_or_default())
}

fn words_of(cause: &Cause, subject: &Subject) -> String {
    if subject.exception.is_empty() {
        cause.to_string()
    } else {
        format!("{cause}: {}", subject.exception)
    }
}

/// Removes the varying parts of a text, which are numbers and addresses.
fn normalized(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_digit() {
                '#'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: [UpstreamId; 3] = [UpstreamId(1), UpstreamId(2), UpstreamId(3)];

    fn on(layer: &str, exception: &str) -> Subject {
        Subject::new(Some(layer.as_bytes()), exception)
    }

    fn is_shared(
        faults: &mut SharedFaults,
        upstream: u32,
        cause: &Cause,
        subject: &Subject,
        now: Instant,
    ) -> bool {
        !faults
            .record(UpstreamId(upstream), cause, subject, &PEERS, now)
            .1
            .is_empty()
    }

    #[test]
    fn a_layer_that_fails_in_the_same_way_on_two_upstreams_is_a_shared_fault() {
        let (mut faults, now) = (SharedFaults::default(), Instant::now());
        let cause = Cause::Status(500);
        assert!(!is_shared(&mut faults, 1, &cause, &on("a:x", ""), now));
        assert!(
            !is_shared(&mut faults, 1, &cause, &on("a:x", ""), now),
            "alone, however often"
        );
        assert!(
            !is_shared(&mut faults, 2, &cause, &on("a:y", ""), now),
            "another layer"
        );
        assert!(
            !is_shared(&mut faults, 2, &Cause::Truncated, &on("a:x", ""), now),
            "in another way"
        );
        assert!(is_shared(&mut faults, 2, &cause, &on("a:x", ""), now));
        faults.pass_time(now + WINDOW);
        assert!(
            !is_shared(&mut faults, 1, &cause, &on("a:x", ""), now + WINDOW),
            "longer ago than the window"
        );
    }

    #[test]
    fn a_database_that_is_down_is_shared_whatever_the_layer() {
        let (mut faults, now) = (SharedFaults::default(), Instant::now());
        let cause = Cause::NodeFault("Unable to obtain connection: 10.0.0.7 refused".to_owned());
        assert!(!is_shared(&mut faults, 1, &cause, &on("a:x", ""), now));
        let cause = Cause::NodeFault("Unable to obtain connection: 10.0.0.8 refused".to_owned());
        assert!(is_shared(&mut faults, 2, &cause, &on("a:y", ""), now));
    }

    #[test]
    fn what_another_upstream_serves_is_shared_by_none() {
        let (mut faults, now) = (SharedFaults::default(), Instant::now());
        let lost = Cause::Reset("before its answer");
        let database = Cause::NodeFault("Unable to obtain connection".to_owned());
        for cause in [&lost, &database] {
            assert!(!is_shared(&mut faults, 1, cause, &on("a:x", ""), now));
        }
        faults.served(UpstreamId(3), &on("a:x", ""), now);
        for cause in [&lost, &database] {
            for _ in 0..3 {
                assert!(
                    !is_shared(&mut faults, 2, cause, &on("a:x", ""), now),
                    "{cause}"
                );
            }
        }
        assert_eq!(faults.conditions(&PEERS), []);
        let others = [UpstreamId(1), UpstreamId(2)];
        assert_eq!(
            faults.conditions(&others).len(),
            2,
            "the third serves no more"
        );
        assert!(
            is_shared(&mut faults, 3, &lost, &on("a:x", ""), now),
            "it fails too"
        );
        faults.pass_time(now + WINDOW / 2);
        faults.record(
            UpstreamId(1),
            &database,
            &on("a:x", ""),
            &PEERS,
            now + WINDOW / 2,
        );
        faults.record(
            UpstreamId(2),
            &database,
            &on("a:x", ""),
            &PEERS,
            now + WINDOW / 2,
        );
        assert_eq!(faults.deadline(), Some(now + WINDOW));
        faults.pass_time(now + WINDOW);
        let since = now + WINDOW;
        assert!(
            is_shared(&mut faults, 2, &database, &on("a:x", ""), since),
            "it served long ago"
        );
    }

    #[test]
    fn another_layer_that_is_served_proves_nothing() {
        let (mut faults, now) = (SharedFaults::default(), Instant::now());
        let cause = Cause::Status(500);
        assert!(!is_shared(&mut faults, 1, &cause, &on("a:x", ""), now));
        faults.served(UpstreamId(3), &on("a:y", ""), now);
        assert!(is_shared(&mut faults, 2, &cause, &on("a:x", ""), now));
    }

    #[test]
    fn running_out_of_memory_is_shared_only_by_all() {
        let (mut faults, now) = (SharedFaults::default(), Instant::now());
        let cause = Cause::NodeFault("java.lang.OutOfMemoryError".to_owned());
        assert!(!is_shared(&mut faults, 1, &cause, &on("a:x", ""), now));
        assert!(!is_shared(&mut faults, 2, &cause, &on("a:x", ""), now));
        assert!(is_shared(&mut faults, 3, &cause, &on("a:y", ""), now));
    }

    #[test]
    fn a_shared_fault_is_one_condition_about_its_layer_or_about_all_requests() {
        let (mut faults, now) = (SharedFaults::default(), Instant::now());
        let cause = Cause::NodeFault("Unable to obtain connection".to_owned());
        let fail = |faults: &mut SharedFaults, layer| {
            for upstream in 1..=3 {
                faults.record(UpstreamId(upstream), &cause, &on(layer, ""), &PEERS, now);
            }
        };
        fail(&mut faults, "a:x");
        assert_eq!(
            faults.conditions(&PEERS),
            [],
            "three failures may be one request"
        );
        fail(&mut faults, "a:x");
        let shown = |faults: &SharedFaults| -> Vec<_> {
            faults
                .conditions(&PEERS)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(
            shown(&faults),
            ["layer a:x fails everywhere: node fault: Unable to obtain connection"]
        );
        fail(&mut faults, "a:y");
        assert_eq!(
            shown(&faults),
            ["requests fail everywhere: node fault: Unable to obtain connection"]
        );
        faults.pass_time(now + WINDOW);
        assert!(faults.faults.is_empty() && faults.deadline().is_none());
    }

    #[test]
    fn the_memory_of_faults_is_bounded() {
        let (mut faults, now) = (SharedFaults::default(), Instant::now());
        for number in 0..2000 {
            let subject = on(&format!("a:{number}"), &"y".repeat(number));
            faults.record(
                UpstreamId(number as u32),
                &Cause::Status(500),
                &subject,
                &PEERS,
                now,
            );
            faults.served(UpstreamId(number as u32), &on("a:1999", ""), now);
        }
        assert_eq!(faults.faults.len(), MAX_FAULTS);
        let is_bounded = |fault: &Fault| {
            fault.failures.len() <= MAX_UPSTREAMS
                && fault.served.len() <= MAX_UPSTREAMS
                && fault.layers.len() <= MAX_LAYERS
                && fault.cause.len() <= MAX_TEXT
        };
        assert!(faults.faults.iter().all(is_bounded));
    }
}
