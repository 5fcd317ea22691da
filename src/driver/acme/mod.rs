//! Keeps the certificates of listeners with `acme`: orders the first one, and renews it.
//!
//! ```text
//! no certificate, or a third of its life left -- attempts.json: not before its time --> wait
//!                                             -- lock of the folder: another process orders --> wait
//!                                             -- order --> NAME.pem, which the watch of the configuration puts into force
//!                                                      --> a failure: a condition, and a longer wait
//! ```
//!
//! One order runs at a time. A certificate that another process ordered meanwhile is found in the
//! folder.

mod authority;
mod order;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ended;
use super::state_lock::FileLock;
use super::wall_clock::seconds_since_1970;
use crate::acme::files;
use crate::acme::schedule::{Attempts, AttemptsFile, OrderFailure, OrderFault, needs_order};
use crate::certificates::ServerCertificate;
use crate::config::{Acme, AcmeCertificate, CertificateTrouble, Config, ListenerTls};
use crate::metrics::Metrics;
use crate::unix_time::rfc3339;

/// The lock that is held while an order runs, without its ending.
const LOCK: &str = "orders";

/// Orders the certificates of a configuration.
#[derive(Debug)]
pub(super) struct CertificateOrders {
    metrics: Arc<Metrics>,
    running: Option<RunningOrder>,
    unnoted: Unnoted,
    /// The end of the process ends a running order.
    shutdown: watch::Receiver<bool>,
}

/// Failures by listener that could not be written into the folder.
type Unnoted = Arc<Mutex<BTreeMap<String, Attempts>>>;

#[derive(Debug)]
struct RunningOrder {
    listener: String,
    task: JoinHandle<()>,
}

impl CertificateOrders {
    pub(super) fn new(metrics: Arc<Metrics>, shutdown: watch::Receiver<bool>) -> Self {
        Self {
            metrics,
            running: None,
            unnoted: Unnoted::default(),
            shutdown,
        }
    }

    /// Begins an order if one is due and none runs. Returns the troubles that an operator should
    /// know.
    pub(super) async fn poll(&mut self, config: &Arc<Config>) -> Vec<CertificateTrouble> {
        if self
            .running
            .as_ref()
            .is_some_and(|order| order.task.is_finished())
        {
            self.running = None;
        }
        let Some(acme) = &config.acme else {
            return Vec::new();
        };
        let ordering = self.running.as_ref().map(|order| order.listener.clone());
        let config = Arc::clone(config);
        let folder = acme.folder.clone();
        let unnoted = Arc::clone(&self.unnoted);
        let looked = tokio::task::spawn_blocking(move || {
            Look::at(&config, &folder, &unnoted, ordering.as_deref())
        });
        // A failure to join is the end of the runtime.
        let Ok(Look { troubles, due }) = looked.await else {
            return Vec::new();
        };
        if let (None, Some(due)) = (&self.running, due) {
            let listener = due.listener.clone();
            let (metrics, mut shutdown) = (Arc::clone(&self.metrics), self.shutdown.clone());
            let unnoted = Arc::clone(&self.unnoted);
            let task = tokio::spawn(async move {
                tokio::select! {
                    () = due.run(&metrics, &unnoted) => {}
                    () = ended(&mut shutdown) => {}
                }
            });
            self.running = Some(RunningOrder { listener, task });
        }
        troubles
    }
}

/// The state of all certificates by ACME at one time.
struct Look {
    troubles: Vec<CertificateTrouble>,
    /// The first order that may begin.
    due: Option<DueOrder>,
}

impl Look {
    fn at(config: &Arc<Config>, folder: &Path, unnoted: &Unnoted, ordering: Option<&str>) -> Self {
        let now = seconds_since_1970();
        let mut look = Self {
            troubles: Vec::new(),
            due: None,
        };
        let mut wanting = config
            .acme_listeners()
            .filter(|(name, tls, wanted)| needs_order(name, wanted, tls.certificates.first(), now))
            .peekable();
        // Without a certificate to order the folder need not be read.
        if wanting.peek().is_none() {
            return look;
        }
        let attempts = match AttemptsFile::read(folder) {
            Ok(attempts) => attempts,
            Err(error) => {
                look.troubles.extend(wanting.map(|(name, tls, _)| {
                    let why = cannot_use(folder, &error);
                    trouble(name, tls, &why, OrderFault::Folder.remedy())
                }));
                return look;
            }
        };
        for (name, tls, wanted) in wanting {
            let Some(acme) = &config.acme else { continue };
            let mut known = attempts.of(name, wanted, acme);
            if let Some(unnoted) = unnoted.lock().get(name)
                && unnoted.settings == known.settings
                && unnoted.next > known.next
            {
                known = unnoted.clone();
            }
            let is_running = ordering == Some(name);
            look.troubles
                .extend(trouble_of(name, tls, &known, is_running));
            if known.next <= now && look.due.is_none() {
                look.due = Some(DueOrder {
                    config: Arc::clone(config),
                    acme: Arc::clone(acme),
                    listener: name.to_owned(),
                    wanted: wanted.clone(),
                });
            }
        }
        look
    }
}

fn cannot_use(folder: &Path, error: &io::Error) -> String {
    format!("geofront cannot use {}: {error}", folder.display())
}

/// Returns the condition to report for a certificate that is missing or due; `None` if there is
/// nothing to report.
fn trouble_of(
    name: &str,
    tls: &ListenerTls,
    attempts: &Attempts,
    is_running: bool,
) -> Option<CertificateTrouble> {
    let is_waiting = !is_running && attempts.next > seconds_since_1970();
    let again = if is_waiting {
        let at = u64::try_from(attempts.next).unwrap_or(0);
        format!("the next attempt is at {}", rfc3339(at))
    } else {
        "it is being ordered".to_owned()
    };
    if let Some((fault, why)) = &attempts.fault {
        let why = format!("{why}; {again}");
        return Some(trouble(name, tls, &why, fault.remedy()));
    }
    // An order takes some seconds. While there is another certificate, no client notices.
    if !tls.certificates.is_empty() {
        return None;
    }
    let why = if is_waiting {
        format!("an order began before, perhaps in another process; {again}")
    } else {
        again
    };
    let remedy =
        "wait some seconds: TLS is served as soon as the authority has issued the certificate";
    Some(trouble(name, tls, &why, remedy))
}

fn trouble(name: &str, tls: &ListenerTls, why: &str, remedy: &'static str) -> CertificateTrouble {
    let effect = if tls.certificates.is_empty() {
        "no client can connect before it is there"
    } else {
        "the old one stays in use"
    };
    CertificateTrouble {
        subject: format!("certificate by ACME of listener {name}"),
        what: format!("{effect}: {why}"),
        remedy,
    }
}

/// An order that may begin.
struct DueOrder {
    config: Arc<Config>,
    acme: Arc<Acme>,
    listener: String,
    wanted: AcmeCertificate,
}

impl DueOrder {
    /// Orders the certificate unless another process does, or has done.
    async fn run(self, metrics: &Metrics, unnoted: &Unnoted) {
        let order = Arc::new(self);
        let beginning = Arc::clone(&order);
        let begun = tokio::task::spawn_blocking(move || beginning.begin()).await;
        // A failure to join is the end of the runtime.
        let Ok(Some((lock, attempts))) = begun else {
            return;
        };
        let listener = order.listener.as_str();
        let outcome = match order.note_beginning(&attempts).await {
            Ok(()) => {
                let domains = order.wanted.domains.join(", ");
                tracing::info!(listener, domains, "ordering a certificate");
                order::order(&order.acme, &order.wanted).await
            }
            Err(failure) => Err(failure),
        };
        match &outcome {
            Ok(()) => tracing::info!(listener, "the certificate is issued"),
            Err(OrderFailure { fault, why, .. }) => {
                tracing::warn!(
                    listener,
                    cause = fault.kind(),
                    why,
                    remedy = fault.remedy(),
                    "no certificate"
                );
            }
        }
        let label = outcome
            .as_ref()
            .map_or_else(|failure| failure.fault.kind(), |()| "issued");
        let failure = outcome.err();
        let now = seconds_since_1970();
        if let Err(error) = order.note_end(attempts.clone(), failure.clone(), now).await {
            tracing::error!(listener, %error, "cannot note the order of a certificate: a restart would repeat it");
            let failure = failure.unwrap_or_else(|| failed_folder(&order.acme.folder, &error));
            unnoted
                .lock()
                .insert(listener.to_owned(), attempts.failed(&failure, now));
        }
        metrics.acme_order(label);
        // Only now may another process order.
        drop(lock);
    }

    /// Takes the lock and looks again: another process may have ordered just before.
    fn begin(&self) -> Option<(FileLock, Attempts)> {
        let folder = &self.acme.folder;
        // Where that fails, the note of the beginning fails with the same cause.
        files::create_folder(folder).ok();
        let lock = FileLock::take(&folder.join(LOCK));
        if matches!(lock, FileLock::OtherProcess) {
            return None;
        }
        let now = seconds_since_1970();
        let attempts = AttemptsFile::read(folder).unwrap_or_default();
        let attempts = attempts.of(&self.listener, &self.wanted, &self.acme);
        let text = files::read(&self.wanted.file).ok().flatten();
        let issued = text.and_then(|text| ServerCertificate::from_pem(&text, &text).ok());
        let is_due =
            attempts.next <= now && needs_order(&self.listener, &self.wanted, issued.as_ref(), now);
        is_due.then_some((lock, attempts))
    }

    /// Writes that an order begins. What cannot be written could not be kept either.
    async fn note_beginning(self: &Arc<Self>, attempts: &Attempts) -> Result<(), OrderFailure> {
        let (order, attempts) = (Arc::clone(self), attempts.clone());
        let noted = in_background(move || {
            let now = seconds_since_1970();
            order.note(|file| file.begin(&order.listener, &attempts, now))
        });
        noted
            .await
            .map_err(|error| failed_folder(&self.acme.folder, &error))
    }

    /// Writes the outcome, so that a restart does not order at once again.
    async fn note_end(
        self: &Arc<Self>,
        attempts: Attempts,
        failure: Option<OrderFailure>,
        now: i64,
    ) -> io::Result<()> {
        let order = Arc::clone(self);
        in_background(move || {
            let Self {
                listener,
                wanted,
                acme,
                ..
            } = &*order;
            order.note(|file| match &failure {
                None => file.succeed(listener, wanted, acme, now),
                Some(failure) => file.fail(listener, &attempts, failure, now),
            })
        })
        .await
    }

    fn note(&self, change: impl FnOnce(&mut AttemptsFile)) -> io::Result<()> {
        let mut file = AttemptsFile::read(&self.acme.folder)?;
        change(&mut file);
        let listeners = self.config.acme_listeners().map(|(name, _, _)| name);
        file.write(&self.acme.folder, listeners)
    }
}

fn failed_folder(folder: &Path, error: &io::Error) -> OrderFailure {
    OrderFailure {
        fault: OrderFault::Folder,
        why: cannot_use(folder, error),
        retry_after: None,
    }
}

/// Works on files on a thread that may block.
async fn in_background(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(io::Error::other("the process ends")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapEnvironment;

    const CLUSTER: &str = "[upstreams.main]\nurl = 'http://127.0.0.1:1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://127.0.0.1:2'\n";

    fn due(folder: &Path) -> DueOrder {
        let text = format!(
            "{CLUSTER}[listeners.public]\naddress = '127.0.0.1:443'\nacme = 'a.example'\n[acme]\nfolder = '{}'\n",
            folder.display()
        );
        let world = MapEnvironment::new().file("geofront.toml", text);
        let config = Config::load(Path::new("geofront.toml"), &world)
            .unwrap()
            .config;
        let config = Arc::new(config);
        let order = Look::at(&config, folder, &Unnoted::default(), None).due;
        order.expect("there is no certificate")
    }

    #[test]
    fn no_order_begins_while_another_process_orders_or_right_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (due(folder.path()), due(folder.path()));
        let begun = ours.begin();
        assert!(begun.is_some() && theirs.begin().is_none());
        // The other process is killed, or has issued the certificate.
        let attempts = begun.map(|(_, attempts)| attempts).expect("it has begun");
        let now = seconds_since_1970();
        let note = |file: &mut AttemptsFile| file.begin("public", &attempts, now);
        ours.note(note).unwrap();
        assert!(theirs.begin().is_none());
    }
}
