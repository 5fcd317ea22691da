//! An administrator who publishes layers during a run, and the way that the changes reach the
//! replicas.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use geofront::geosim::Cluster;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::rig::administrator::{self, ADMINISTRATOR, ADMINISTRATOR_ROLES, Refresh};
use crate::rig::client::Client;
use crate::rig::question;
use crate::rig::watch;
use crate::rolls::Change;

/// The time a reload of the catalog takes. Meanwhile the replica answers from an empty catalog.
pub(crate) const RELOAD: Duration = Duration::from_secs(4);
/// The longest time that a change may take to reach every replica.
const PATIENCE: Duration = Duration::from_secs(120);
/// The time between two reads by which the administrator looks for his layer.
const LOOKS: Duration = Duration::from_millis(250);

/// The cluster that changes, and the way to it.
pub(crate) struct Site<'a> {
    pub(crate) cluster: &'a Cluster,
    /// Leads through the front door.
    pub(crate) client: &'a Client,
    /// The script that runs after a change; a front door that reloads replicas itself has none.
    pub(crate) script: Option<Refresh>,
    /// Answers of fewer edits are stale. Rises when a change has reached every replica.
    pub(crate) oldest: Arc<AtomicU64>,
}

impl Site<'_> {
    /// Publishes a layer at each of `times` after `start`. A change waits until the one before it
    /// has reached every replica.
    pub(crate) fn change_at(
        &self,
        times: &[Duration],
        start: Instant,
        runtime: &Handle,
    ) -> Vec<Change> {
        let change = |(number, time): (usize, &Duration)| {
            thread::sleep((start + *time).saturating_duration_since(Instant::now()));
            runtime.block_on(self.change(&format!("new_{number}"), start))
        };
        times.iter().enumerate().map(change).collect()
    }

    async fn change(&self, name: &str, start: Instant) -> Change {
        let mut change = Change {
            published: start.elapsed(),
            ..Change::default()
        };
        if let Err(error) = self.spread(name, start, &mut change).await {
            change.trouble = Some(error.to_string());
        }
        change
    }

    async fn spread(&self, name: &str, start: Instant, change: &mut Change) -> io::Result<()> {
        administrator::publish(self.client, name).await?;
        let confirmed = Instant::now();
        let is_over = AtomicBool::new(false);
        let script = async {
            match self.script {
                Some(order) => administrator::refresh(self.cluster, order).await,
                None => Ok(()),
            }
        };
        let spread = async {
            let watched = watch::roll(self.cluster, confirmed, PATIENCE);
            let (scripted, watched) = tokio::join!(script, watched);
            is_over.store(true, Ordering::Relaxed);
            scripted.and(watched)
        };
        let layer = format!("geor:{name}");
        let (roll, looks) = tokio::join!(spread, self.look_on(&layer, &is_over));
        (change.looks, change.unseen) = looks;
        change.reloads = roll?.reloads.len();
        change.fresh = Some(start.elapsed());
        let edits = self.cluster.main().epoch().unwrap_or(0);
        self.oldest.store(edits, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the layer as its publisher until `is_over`. Returns how often, and how often the
    /// answer was not right.
    async fn look_on(&self, layer: &str, is_over: &AtomicBool) -> (usize, usize) {
        let (mut looks, mut unseen) = (0, 0);
        for read in question::of_new(layer).iter().cycle() {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let (user, roles) = (ADMINISTRATOR, ADMINISTRATOR_ROLES);
            let fault = administrator::judged_read(self.client, read, user, roles, 0).await;
            looks += 1;
            unseen += usize::from(fault.is_some());
            sleep(LOOKS).await;
        }
        (looks, unseen)
    }
}
