//! When a certificate is ordered: whether there is a good one, and how earlier attempts ended.
//!
//! Times are seconds since 1970. Authorities limit orders and failures per hour and account, so
//! attempts are counted on disk, and no restart forgets them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files;
use crate::certificates::{ServerCertificate, Validity};
use crate::config::{Acme, AcmeCertificate};
use crate::hash::{FNV_START, fnv1a, fnv1a_from, mix64};

/// Part of the validity after which a certificate is renewed: a third is left.
const RENEWAL_NUMERATOR: i64 = 2;
const RENEWAL_DENOMINATOR: i64 = 3;

/// The renewal is early by up to this part of the validity, so that many installations do not
/// order at the same time.
const JITTER_PART: i64 = 30;

/// Time after an order during which no other one begins, even if its certificate seems too short.
const AFTER_SUCCESS: Duration = Duration::from_secs(60 * 60);

/// Time after the beginning of an order during which no other one begins: a process that is
/// restarted again and again orders once.
const AFTER_BEGINNING: Duration = Duration::from_secs(60);

/// First wait after a failure to reach the authority, which cost the authority nothing.
const UNREACHABLE: Duration = Duration::from_secs(5);

/// First wait after a failed order. Let's Encrypt allows five failures of a host name an hour.
const FAILED: Duration = Duration::from_secs(5 * 60);

/// First wait after an authority's refusal because of too many requests, unless it requires a
/// longer one.
const RATE_LIMITED: Duration = Duration::from_secs(60 * 60);

/// Waits double up to this one, so that a repair by an operator is noticed within it.
const MAX_WAIT: Duration = Duration::from_secs(60 * 60);

/// Maximum wait that is accepted from an authority.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

const FILE: &str = "attempts.json";

/// Returns true if `certificate` of `listener` is to be replaced: it lacks a host name, or has
/// spent two thirds of its validity.
pub fn needs_order(
    listener: &str,
    wanted: &AcmeCertificate,
    certificate: Option<&ServerCertificate>,
    now: i64,
) -> bool {
    let Some(certificate) = certificate else {
        return true;
    };
    let lacks_name = |domain: &String| !certificate.names().contains(domain);
    wanted.domains.iter().any(lacks_name) || renewal_time(listener, certificate.validity()) <= now
}

/// The time at which a certificate is renewed. It is the same in every process.
fn renewal_time(listener: &str, validity: Validity) -> i64 {
    let life = validity
        .not_after
        .saturating_sub(validity.not_before)
        .max(0);
    let due = validity
        .not_before
        .saturating_add(life / RENEWAL_DENOMINATOR * RENEWAL_NUMERATOR);
    let seed = fnv1a_from(fnv1a(listener.bytes()), validity.not_after.to_le_bytes());
    due - part_of(life / JITTER_PART, seed)
}

/// A number from 0 to `most` that `seed` chooses.
fn part_of(most: i64, seed: u64) -> i64 {
    let range = u64::try_from(most).unwrap_or(0) + 1;
    i64::try_from(mix64(seed) % range).unwrap_or(0)
}

/// The kinds of failures; the variants differ in the wait that follows. Their names are the labels
/// of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderFault {
    /// The authority could not be reached, or its certificate is not trusted.
    Unreachable,
    /// The authority refuses for now because of too many requests.
    RateLimited,
    /// The authority refuses the account or the order.
    Refused,
    /// The authority could not verify that a host name is ours.
    Challenge,
    /// The authority's answer makes no sense.
    BadAnswer,
    /// The folder cannot be written or read.
    Folder,
}

impl OrderFault {
    /// The name in metrics.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate-limited",
            Self::Refused => "refused",
            Self::Challenge => "challenge",
            Self::BadAnswer => "bad-answer",
            Self::Folder => "folder",
        }
    }

    /// The remedy, in one sentence.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "check the network and the name server of this machine, and `directory` and `ca` under [acme]"
            }
            Self::RateLimited => {
                "wait: the authority limits orders of an account and a name; the next attempt is made when it may be"
            }
            Self::Refused => {
                "check `acme` of the listener, and `contact` and `directory` under [acme]; the sentence is the authority's"
            }
            Self::Challenge => {
                "let the name point to this machine, and port 80 (http-01) or 443 (tls-alpn-01) reach geofront from the internet"
            }
            Self::BadAnswer => {
                "check that `directory` under [acme] is the url of an authority's ACME directory"
            }
            Self::Folder => "let geofront's user write and read the folder of [acme]",
        }
    }

    const fn first_wait(self) -> Duration {
        match self {
            Self::Unreachable | Self::Folder => UNREACHABLE,
            Self::RateLimited => RATE_LIMITED,
            Self::Refused | Self::Challenge | Self::BadAnswer => FAILED,
        }
    }
}

/// The earlier orders of one listener, as `attempts.json` records them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// A hash of the ordered settings: other settings begin anew.
    pub settings: u64,
    /// Failures since the last certificate.
    pub failures: u32,
    /// No order begins before this time.
    pub next: i64,
    /// The last failure.
    pub fault: Option<(OrderFault, String)>,
}

impl Attempts {
    /// The state after an order that gave a certificate.
    fn succeeded(settings: u64, now: i64) -> Self {
        Self {
            settings,
            failures: 0,
            next: now.saturating_add(seconds(AFTER_SUCCESS)),
            fault: None,
        }
    }

    /// The state while an order runs.
    fn begun(&self, now: i64) -> Self {
        Self {
            next: now.saturating_add(seconds(AFTER_BEGINNING)),
            ..self.clone()
        }
    }

    /// The state after another failure.
    pub fn failed(&self, failure: &OrderFailure, now: i64) -> Self {
        let OrderFailure {
            fault,
            why,
            retry_after,
        } = failure.clone();
        let doubled = |wait: Duration| wait.saturating_mul(1 << self.failures.min(16));
        let wait = doubled(fault.first_wait()).min(MAX_WAIT);
        // Up to a fifth later, so that installations that failed together do not return together.
        let seed = self.settings ^ now.unsigned_abs();
        let wait = seconds(wait) + part_of(seconds(wait) / 5, seed);
        let asked = retry_after.map_or(0, |asked| seconds(asked.min(MAX_RETRY_AFTER)));
        Self {
            settings: self.settings,
            failures: self.failures.saturating_add(1),
            next: now.saturating_add(wait.max(asked)),
            fault: Some((fault, why)),
        }
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// The attempts of all listeners, in the file of the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptsFile(BTreeMap<String, Attempts>);

impl AttemptsFile {
    /// Reads the file. One that cannot be read is an error, after which nothing may be ordered; a
    /// torn one is reported, and counts as none.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let Some(text) = files::read(&path(folder))? else {
            return Ok(Self::default());
        };
        Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
            let path = path(folder);
            tracing::warn!(path = %path.display(), %error, "cannot understand the attempts to order certificates: they count anew");
            Self::default()
        }))
    }

    /// Returns the attempts of `listener` with these settings; empty ones if there were none.
    pub fn of(&self, listener: &str, wanted: &AcmeCertificate, acme: &Acme) -> Attempts {
        let settings = fingerprint(wanted, acme);
        let known = self.0.get(listener);
        let known = known.filter(|attempts| attempts.settings == settings);
        known.cloned().unwrap_or(Attempts {
            settings,
            failures: 0,
            next: i64::MIN,
            fault: None,
        })
    }

    /// Notes an order that gave a certificate.
    pub fn succeed(&mut self, listener: &str, wanted: &AcmeCertificate, acme: &Acme, now: i64) {
        let attempts = Attempts::succeeded(fingerprint(wanted, acme), now);
        self.0.insert(listener.to_owned(), attempts);
    }

    /// Notes an order that begins.
    pub fn begin(&mut self, listener: &str, attempts: &Attempts, now: i64) {
        self.0.insert(listener.to_owned(), attempts.begun(now));
    }

    /// Notes a failure.
    pub fn fail(&mut self, listener: &str, attempts: &Attempts, failure: &OrderFailure, now: i64) {
        self.0
            .insert(listener.to_owned(), attempts.failed(failure, now));
    }

    /// Writes the file, without listeners that are not among `listeners`.
    pub fn write<'l>(
        &mut self,
        folder: &Path,
        listeners: impl Iterator<Item = &'l str>,
    ) -> io::Result<()> {
        let known: Vec<&str> = listeners.collect();
        self.0.retain(|name, _| known.contains(&name.as_str()));
        files::replace(&path(folder), &serde_json::to_string_pretty(self)?)
    }
}

/// A failed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderFailure {
    pub fault: OrderFault,
    /// The cause in one sentence.
    pub why: String,
    /// The wait that the authority requires (`Retry-After`).
    pub retry_after: Option<Duration>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// A hash of everything that can make a failed order succeed.
fn fingerprint(wanted: &AcmeCertificate, acme: &Acme) -> u64 {
    let parts = [
        acme.directory.as_str(),
        acme.contact.as_deref().unwrap_or_default(),
        match acme.challenge {
            crate::config::AcmeChallenge::Http01 => "http-01",
            crate::config::AcmeChallenge::TlsAlpn01 => "tls-alpn-01",
        },
    ];
    let domains = wanted.domains.iter().map(String::as_str);
    let authorities = acme
        .authorities
        .iter()
        .flat_map(|authorities| authorities.certificates());
    let hash = parts
        .into_iter()
        .chain(domains)
        .fold(FNV_START, |hash, part| {
            fnv1a_from(fnv1a_from(hash, part.bytes()), [0])
        });
    authorities.fold(hash, |hash, der| fnv1a_from(hash, der.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AcmeChallenge;

    const DAY: i64 = 24 * 60 * 60;
    const NOW: i64 = 1_800_000_000;

    fn acme() -> Acme {
        Acme {
            contact: None,
            directory: "https://ca.example/directory".to_owned(),
            authorities: None,
            challenge: AcmeChallenge::Http01,
            folder: PathBuf::from("/var/lib/geofront/acme"),
        }
    }

    fn wanted(domains: &[&str]) -> AcmeCertificate {
        AcmeCertificate {
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            file: PathBuf::from("/var/lib/geofront/acme/public.pem"),
            unusable: None,
        }
    }

    fn failure(fault: OrderFault, retry_after: Option<u64>) -> OrderFailure {
        OrderFailure {
            fault,
            why: "because".to_owned(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    fn first() -> Attempts {
        AttemptsFile::default().of("public", &wanted(&["a.example"]), &acme())
    }

    /// The wait in seconds after each of the first failures of one kind.
    fn waits(fault: OrderFault, count: usize) -> Vec<i64> {
        let mut attempts = first();
        let mut wait = || {
            attempts = attempts.failed(&failure(fault, None), NOW);
            attempts.next - NOW
        };
        (0..count).map(|_| wait()).collect()
    }

    #[test]
    fn a_renewal_begins_with_a_third_of_the_life_left_or_a_little_more() {
        for days in [6, 45, 90, 365] {
            let validity = Validity {
                not_before: NOW,
                not_after: NOW + days * DAY,
            };
            let times: Vec<i64> = (0..50)
                .map(|number| renewal_time(&format!("listener{number}"), validity))
                .collect();
            let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
            let due = NOW + days * DAY / 3 * 2;
            assert!(
                *most <= due && *least >= due - days * DAY / 30,
                "{days} days"
            );
            assert!(
                most - least > days * DAY / 60,
                "{days} days: all at one time"
            );
        }
        // A clock or an authority that is wrong does not overflow.
        for (not_before, not_after) in [(NOW, NOW), (NOW, 0), (i64::MIN, i64::MAX)] {
            let validity = Validity {
                not_before,
                not_after,
            };
            renewal_time("public", validity);
        }
    }

    #[test]
    fn waits_double_up_to_an_hour_and_are_never_shorter() {
        let bounds = |fault, first: i64| {
            for (index, wait) in waits(fault, 30).into_iter().enumerate() {
                let least = first.saturating_mul(1 << index.min(16)).min(3600);
                assert!(
                    (least..=least + least / 5).contains(&wait),
                    "{fault:?} {index}: {wait}"
                );
            }
        };
        bounds(OrderFault::Unreachable, 5);
        bounds(OrderFault::Challenge, 300);
        bounds(OrderFault::Refused, 300);
        bounds(OrderFault::RateLimited, 3600);
    }

    #[test]
    fn an_hour_has_fewer_failures_of_a_name_than_an_authority_allows() {
        let mut time = 0;
        let times = waits(OrderFault::Challenge, 10).into_iter().map(|wait| {
            time += wait;
            time
        });
        // The first attempt is at 0.
        assert!(1 + times.filter(|time| *time < 3600).count() < 5);
    }

    #[test]
    fn an_authority_may_ask_for_a_longer_wait_but_not_for_any() {
        let next = |asked| {
            first()
                .failed(&failure(OrderFault::RateLimited, Some(asked)), NOW)
                .next
        };
        assert_eq!(next(3 * 3600 * 2), NOW + 3 * 3600 * 2);
        assert_eq!(next(u64::MAX), NOW + DAY);
        assert!(next(1) >= NOW + 3600);
    }

    #[test]
    fn attempts_are_remembered_for_the_same_settings_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (wanted_a, acme) = (wanted(&["a.example"]), acme());
        let mut file = AttemptsFile::default();
        file.fail("public", &first(), &failure(OrderFault::Refused, None), NOW);
        file.fail(
            "removed",
            &first(),
            &failure(OrderFault::Refused, None),
            NOW,
        );
        file.write(folder.path(), ["public"].into_iter()).unwrap();

        let read = AttemptsFile::read(folder.path()).unwrap();
        assert_eq!(read.of("public", &wanted_a, &acme).failures, 1);
        assert_eq!(read.of("removed", &wanted_a, &acme).failures, 0);
        let others = [
            (wanted(&["a.example", "b.example"]), acme.clone()),
            (wanted(&["aa.example"]), acme.clone()),
            (
                wanted_a.clone(),
                Acme {
                    challenge: AcmeChallenge::TlsAlpn01,
                    ..acme.clone()
                },
            ),
            (
                wanted_a,
                Acme {
                    directory: "https://other.example/directory".to_owned(),
                    ..acme
                },
            ),
        ];
        for (wanted, acme) in others {
            assert_eq!(read.of("public", &wanted, &acme).next, i64::MIN);
        }
    }

    #[test]
    fn a_process_that_restarts_again_and_again_orders_once_a_minute_at_most() {
        let begun = first().begun(NOW);
        assert_eq!((begun.next, begun.failures), (NOW + 60, 0));
        let settings = begun.settings;
        assert_eq!(Attempts::succeeded(settings, NOW).next, NOW + 3600);
    }
}
