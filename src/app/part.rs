//! One cluster as it runs: its state, its queue, its door and its tasks. With several clusters, the
//! front file has such a part too, in which there are no upstreams.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::admin::answers::Requests;
use crate::admin::{AdminState, Capacity};
use crate::cluster::{Mode, OrderedMode};
use crate::config::UpstreamName;
use crate::config_reload::{ConfigReload, FirstLoad};
use crate::control::Control;
use crate::driver;
use crate::metrics::Metrics;
use crate::proxy::{FrontDoor, Recent, SharedParts};
use crate::unix_time::rfc3339;
use crate::waiting_room::WaitingRoom;

/// See the module's documentation.
#[derive(Debug)]
pub struct AppPart {
    /// The name of the cluster, of several.
    pub name: Option<UpstreamName>,
    pub control: Arc<Control>,
    pub reload: Arc<ConfigReload>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) room: Arc<WaitingRoom>,
    pub(super) front_door: FrontDoor,
}

impl AppPart {
    /// Builds the part; nothing runs yet. `clusters` are the doors behind the door of a front file.
    pub(super) fn new(
        loaded: FirstLoad,
        metrics: Arc<Metrics>,
        shared: SharedParts,
        clusters: Vec<FrontDoor>,
    ) -> Self {
        let config = Arc::new(loaded.loaded.config.clone());
        let control = Control::new(Arc::clone(&config), Instant::now());
        control.log_span().in_scope(|| {
            for warning in &loaded.loaded.warnings {
                tracing::warn!("{warning}");
            }
            if clusters.is_empty() {
                recall(&control, config.catalog.state_file.as_deref());
            }
        });
        let reload = Arc::new(ConfigReload::new(
            loaded,
            Arc::clone(&control),
            Arc::clone(&metrics),
        ));
        let room = WaitingRoom::new(Arc::clone(&control), Arc::clone(&metrics), Instant::now());
        let front_door = FrontDoor::new(
            Arc::clone(&control),
            Arc::clone(&metrics),
            Arc::clone(&room),
            shared,
            clusters,
        );
        Self {
            name: config.cluster.clone(),
            control,
            reload,
            metrics,
            room,
            front_door,
        }
    }

    /// What the admin listener shows of this part.
    pub(super) fn admin_state(
        &self,
        stopping: &Arc<AtomicBool>,
        capacity: Capacity,
    ) -> Arc<AdminState> {
        let queue = {
            let room = Arc::clone(&self.room);
            move || room.status(Instant::now())
        };
        let requests = {
            let front_door = self.front_door.clone();
            move |after| requests_after(&front_door, after)
        };
        AdminState::new(
            Arc::clone(&self.control),
            Arc::clone(&self.reload),
            Arc::clone(&self.metrics),
            queue,
            requests,
            Arc::clone(stopping),
            capacity,
        )
    }

    /// Starts the tasks that a front file needs, too: they watch files and certificates.
    pub(super) fn watch_files(&self, stopped: &watch::Receiver<bool>) -> [JoinHandle<()>; 2] {
        let certificates = driver::certificates::watch(
            Arc::clone(&self.control),
            Arc::clone(&self.metrics),
            stopped.clone(),
        );
        let config = driver::config_watch::watch(Arc::clone(&self.reload), stopped.clone());
        [self.spawn(certificates), self.spawn(config)]
    }

    /// Starts the tasks of a cluster: they probe and reload its upstreams.
    pub(super) fn drive(&self, stopped: &watch::Receiver<bool>) -> [JoinHandle<()>; 4] {
        let (control, metrics) = (&self.control, &self.metrics);
        let moves = self.front_door.clone().move_waits(stopped.clone());
        let actions = driver::run(Arc::clone(control), Arc::clone(metrics), stopped.clone());
        let data = driver::data_directory::watch(Arc::clone(control), stopped.clone());
        let names = driver::names::watch(
            Arc::clone(&self.reload),
            Arc::clone(control),
            stopped.clone(),
        );
        [
            self.spawn(moves),
            self.spawn(actions),
            self.spawn(data),
            self.spawn(names),
        ]
    }

    /// Spawns a task whose log lines name the cluster.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(task.instrument(self.control.log_span().clone()))
    }
}

/// The last slow and failed requests in the form of the admin API.
fn requests_after(front_door: &FrontDoor, after: u64) -> Requests {
    let Recent {
        sequence,
        left_out,
        lines,
    } = front_door.recent_requests(after);
    let requests = lines
        .iter()
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    Requests {
        sequence,
        left_out,
        requests,
    }
}

/// Restores the memory of the previous process. An unusable file loses that memory and has no other
/// effect.
fn recall(control: &Control, state_file: Option<&Path>) {
    match state_file.map(|path| (path, driver::state_file::load(path))) {
        None => {}
        Some((_, Ok(memory))) => {
            let out_of_service = memory
                .modes
                .iter()
                .filter(|order| order.mode != Mode::Ready);
            for OrderedMode { name, mode, origin } in out_of_service {
                let ordered = rfc3339(origin.at);
                tracing::info!(upstream = name, mode = %mode, by = origin.by, %ordered, "ordered before the restart");
            }
            control.recall(&memory);
        }
        Some((path, Err(error))) => {
            tracing::warn!(path = %path.display(), %error, "the state file cannot be used: modes, limits, owed truncations and catalogs of before the restart are forgotten");
        }
    }
    match state_file.map(|path| (path, driver::history::load(path))) {
        None => {}
        Some((_, Ok(history))) => control.recall_rolls(history, Instant::now()),
        Some((path, Err(error))) => {
            tracing::warn!(state_file = %path.display(), %error, "cannot read the history of rolls from before the restart");
        }
    }
}
