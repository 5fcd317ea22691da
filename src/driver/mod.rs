//! Carries out the cluster's actions and reports the results.
//!
//! The loop is level-triggered: after every wake-up it takes actions until none is due, so a lost
//! wake-up costs delay and never correctness.

mod acme;
mod catalog;
pub mod certificates;
mod chosen_layer;
pub mod config_watch;
pub mod data_directory;
pub mod examination;
mod folder_watch;
pub mod history;
mod internal_request;
mod kept_file;
pub mod names;
mod probe;
mod probe_request;
pub mod state_file;
mod state_lock;
pub mod traces;
mod truncation;
pub mod wall_clock;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::cluster::{
    Action, Cause, Event, LayerChoice, Outcome, ProbeReport, Transition, TransitionKind,
    Truncation, Upstream,
};
use crate::config::Config;
use crate::control::Control;
use crate::metrics::Metrics;

use history::HistoryFile;
pub use probe::Prober;
use state_file::StateFile;
use state_lock::StateLock;

/// Maximum number of concurrent probes; other due probes wait.
const MAX_PROBES: usize = 64;

/// Drives the cluster until `shutdown` turns true or its sender is gone.
pub async fn run(
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    mut shutdown: watch::Receiver<bool>,
) {
    let state_file = Arc::new(StateFile::default());
    let config = Arc::clone(&control.snapshot().config);
    let history_file = Arc::new(HistoryFile::with(
        control.roll_history(),
        config.catalog.state_file.as_deref(),
    ));
    let (probes, reloads) = (JoinSet::new(), JoinSet::new());
    let lock = StateLock::new(&control, Instant::now());
    let mut driver = Driver {
        control,
        metrics,
        prober: Arc::new(Prober::new()),
        state_file,
        history_file,
        lock,
        probes,
        reloads,
    };
    let mut transitions = driver.control.transitions();
    loop {
        driver.start_due_actions();
        let has_room = driver.probes.len() < MAX_PROBES;
        tokio::select! {
            () = ended(&mut shutdown) => break,
            Some(probed) = driver.probes.join_next() => report_panic(probed),
            Some(reloaded) = driver.reloads.join_next() => report_panic(reloaded),
            transition = transitions.recv() => driver.count(transition),
            () = driver.control.woken(), if has_room => {}
            () = until(driver.control.next_deadline()), if has_room => {}
            () = until(Some(driver.lock.next())) => {
                driver.lock.poll(&driver.control, Instant::now());
            }
        }
    }
    driver.remember_all().await;
}

struct Driver {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    prober: Arc<Prober>,
    state_file: Arc<StateFile>,
    history_file: Arc<HistoryFile>,
    lock: StateLock,
    /// Running probes. They end with the driver.
    probes: JoinSet<()>,
    /// Running reloads, separate from the probes: they take long, and the cluster bounds them.
    reloads: JoinSet<()>,
}

/// The parts that a task works with, and the configuration in force when it began.
struct Tools {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    prober: Arc<Prober>,
    config: Arc<Config>,
}

impl Tools {
    /// Reports the result of a task to the cluster.
    fn report(&self, event: Event) {
        self.control.handle(event, Instant::now());
    }
}

impl Driver {
    fn start_due_actions(&mut self) {
        while self.probes.len() < MAX_PROBES {
            match self.control.poll_action(Instant::now()) {
                Some(Action::Probe(upstream)) => self.start_probe(upstream),
                Some(Action::ReadUpdateSequence(upstream)) => self.start_reading(upstream),
                Some(Action::ChooseLayer(choice)) => self.start_choosing(choice),
                Some(Action::TestCanary(upstream)) => self.start_testing(upstream),
                Some(Action::TryCanary(upstream)) => self.start_canary_elsewhere(upstream),
                Some(Action::TryCredentials(upstream)) => self.start_trying(upstream),
                Some(Action::ReloadCatalog(upstream)) => self.start_reload(upstream),
                Some(Action::ReloadMain(upstream)) => self.start_main_reload(upstream),
                Some(Action::TruncateTiles {
                    upstream,
                    truncation,
                }) => self.start_truncation(upstream, truncation),
                None => return self.remember(),
            }
        }
    }

    fn tools(&self) -> Tools {
        Tools {
            control: Arc::clone(&self.control),
            metrics: Arc::clone(&self.metrics),
            prober: Arc::clone(&self.prober),
            config: self.config(),
        }
    }

    fn start_reading(&mut self, upstream: Arc<Upstream>) {
        let tools = self.tools();
        self.probes.spawn(async move {
            let Tools { prober, config, .. } = &tools;
            tools.report(catalog::read_update_sequence(prober, upstream, config).await);
        });
    }

    fn start_trying(&mut self, upstream: Arc<Upstream>) {
        let tools = self.tools();
        self.probes.spawn(async move {
            let sent_at = Instant::now();
            let tried = tools.prober.try_credentials(&upstream, &tools.config).await;
            tools.report(Event::CredentialsTried {
                upstream: upstream.id,
                sent_at,
                outcome: tried.unwrap_or(Ok(())),
            });
        });
    }

    fn start_testing(&mut self, upstream: Arc<Upstream>) {
        let tools = self.tools();
        self.probes.spawn(async move {
            let Tools { prober, config, .. } = &tools;
            let layer = tools.control.chosen_layer();
            tools.report(catalog::test_canary(prober, upstream, config, layer).await);
        });
    }

    fn start_canary_elsewhere(&mut self, upstream: Arc<Upstream>) {
        let tools = self.tools();
        self.probes.spawn(async move {
            let Tools { prober, config, .. } = &tools;
            let layer = tools.control.chosen_layer();
            tools.report(catalog::try_canary(prober, &upstream, config, layer).await);
        });
    }

    /// Starts a reload after its intent is on disk, so that a restart knows of it.
    fn start_reload(&mut self, upstream: Arc<Upstream>) {
        let (tools, state_file) = (self.tools(), Arc::clone(&self.state_file));
        self.reloads.spawn(async move {
            let Tools {
                control,
                prober,
                config,
                ..
            } = &tools;
            if let Some(path) = config.catalog.state_file.as_deref() {
                state_file.keep(path, control.memory()).await;
            }
            let with_security =
                config.catalog.reload_security || control.owes_security(upstream.id);
            tools.report(catalog::reload(prober, upstream, config, with_security).await);
        });
    }

    fn start_choosing(&mut self, choice: LayerChoice) {
        let tools = self.tools();
        self.reloads.spawn(async move {
            let Tools { prober, config, .. } = &tools;
            tools.report(chosen_layer::choose_layer(prober, choice, config).await);
        });
    }

    fn start_main_reload(&mut self, upstream: Arc<Upstream>) {
        let tools = self.tools();
        self.reloads.spawn(async move {
            let Tools { prober, config, .. } = &tools;
            tools.report(catalog::reload_main(prober, upstream, config).await);
        });
    }

    fn start_truncation(&mut self, upstream: Arc<Upstream>, truncation: Truncation) {
        let tools = self.tools();
        self.reloads.spawn(async move {
            let Tools { prober, config, .. } = &tools;
            let sent_at = Instant::now();
            let outcome = truncation::truncate(prober, &upstream, &truncation, config).await;
            let label = outcome.as_ref().map_or_else(Cause::kind, |()| "success");
            tools.metrics.tiles_truncated(&upstream.name, label);
            tracing::debug!(upstream = %upstream.name, outcome = label, "truncated {truncation}");
            tools.report(Event::TilesTruncated {
                upstream: upstream.id,
                sent_at,
                outcome,
            });
        });
    }

    /// Writes what changed in the state file and in the history of rolls.
    fn remember(&mut self) {
        let config = self.config();
        let path = config.catalog.state_file.as_deref();
        let Some(path) = path.filter(|_| self.lock.is_ours()) else {
            return;
        };
        let now = Instant::now();
        let history = self.control.roll_history();
        if self.history_file.is_news(path, &history, now) {
            let (file, path) = (Arc::clone(&self.history_file), path.to_owned());
            self.probes
                .spawn(async move { file.keep(&path, history).await });
        }
        let memory = self.control.memory();
        if self.state_file.is_news(path, &memory, now) {
            let (file, path) = (Arc::clone(&self.state_file), path.to_owned());
            self.probes
                .spawn(async move { file.keep(&path, memory).await });
        }
    }

    /// Writes everything that was held back, at the end of the process.
    async fn remember_all(&self) {
        let config = self.config();
        let path = config.catalog.state_file.as_deref();
        if let Some(path) = path.filter(|_| self.lock.is_ours()) {
            self.state_file.keep(path, self.control.memory()).await;
            let history = self.control.roll_history();
            self.history_file.keep(path, history).await;
        }
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.control.snapshot().config)
    }

    fn start_probe(&mut self, upstream: Arc<Upstream>) {
        let tools = self.tools();
        self.probes.spawn(async move {
            let report = probe(&tools, &upstream).await;
            let (outcome, took) = (label(&report.outcome), report.took);
            tools
                .metrics
                .probed(&upstream.name, outcome, took, Instant::now());
            tracing::debug!(upstream = %upstream.name, outcome, ?took, "probed");
            tools.report(Event::Probed {
                upstream: upstream.id,
                report,
            });
        });
    }

    fn count(&self, transition: Result<Transition, RecvError>) {
        match transition {
            Ok(Transition {
                upstream: Some(upstream),
                what: TransitionKind::Ejected { cause, .. },
                ..
            }) => {
                self.metrics.ejected(&upstream, cause.kind());
            }
            Ok(Transition {
                upstream: Some(upstream),
                what: TransitionKind::Reloaded { took, .. },
                ..
            }) => {
                self.metrics
                    .catalog_reloaded(&upstream, "success", Some(took));
            }
            Ok(Transition {
                upstream: Some(upstream),
                what: TransitionKind::ReloadFailed { cause, .. },
                ..
            }) => {
                self.metrics.catalog_reloaded(&upstream, cause.kind(), None);
            }
            Ok(Transition {
                upstream: Some(upstream),
                what: TransitionKind::ReloadPostponed { class },
                ..
            }) => {
                self.metrics.catalog_reload_postponed(&upstream, class);
            }
            // The driver holds the sender, so the channel is open. A lagging receiver continues
            // with the events that are kept.
            Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => {}
        }
    }
}

/// Probes an upstream; with the chosen layer if none is configured.
async fn probe(tools: &Tools, upstream: &Upstream) -> ProbeReport {
    let Tools { prober, config, .. } = tools;
    let Some(layer) = tools.control.chosen_layer() else {
        return prober.probe(upstream, config).await;
    };
    let drawn = chosen_layer::probe(prober, &layer, upstream, config).await;
    if drawn.is_refused && upstream.is_main() {
        tools.report(Event::LayerLost { layer });
    }
    drawn.report
}

/// The `outcome` of `geofront_probes_total`.
fn label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Busy => "busy",
        Outcome::Failure(cause) => cause.kind(),
    }
}

fn report_panic(probed: Result<(), JoinError>) {
    if let Err(error) = probed {
        // The cluster gives up on a missing report and orders the action again.
        tracing::error!(%error, "a task failed because of a defect in geofront");
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Resolves when `shutdown` turns true, or its sender is gone.
async fn ended(shutdown: &mut watch::Receiver<bool>) {
    shutdown.wait_for(|ended| *ended).await.ok();
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
