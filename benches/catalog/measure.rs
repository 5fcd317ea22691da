//! One contender through a working day in short: calm, a publication, its way to all replicas, calm
//! again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Cluster, DataDirectory, ServiceTime};
use geofront::ogc::{PerClass, RequestClass};
use tokio::runtime::Runtime;
use tokio::time::sleep;

use crate::contenders::Front;
use crate::load::{self, Sample, Shared};
use crate::rig::administrator::{self, Refresh};
use crate::rig::client::Client;
use crate::rig::place::Contender;
use crate::rig::watch::{self, Roll};

/// At once, each with one question at a time: together some 300 in a second.
const CLIENTS: usize = 32;
/// The duration of a reload of a catalog of some size.
pub(crate) const RELOAD: Duration = Duration::from_secs(3);
/// The time after which a client of a portal gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// For a change to reach all replicas.
const ROLL_PATIENCE: Duration = Duration::from_secs(120);
const REPLICAS: usize = 3;
/// The publisher's script.
pub(crate) const WRITES: u32 = 50;
pub(crate) const WRITES_LAST: Duration = Duration::from_secs(20);

/// How long, and how often.
#[derive(Clone, Copy)]
pub(crate) struct Day {
    pub(crate) calm: Duration,
    pub(crate) changes: usize,
}

pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
    /// What the administrator saw of his own changes.
    pub(crate) own: Vec<Sample>,
    pub(crate) rolls: Vec<Roll>,
    /// What the replicas did, over all changes.
    pub(crate) reloads: Vec<u64>,
    pub(crate) writes: Option<Writes>,
    /// Why the day ended early.
    pub(crate) trouble: Option<String>,
}

/// What [`WRITES`] in [`WRITES_LAST`] came to.
pub(crate) struct Writes {
    pub(crate) reloads: Vec<u64>,
    pub(crate) fresh_after: Duration,
}

pub(crate) fn cluster(front: &Front) -> Cluster {
    let median = |ms| ServiceTime::LogNormal {
        median: Duration::from_millis(ms),
        sigma: 0.7,
    };
    let mut service_time = PerClass::default();
    service_time[RequestClass::Tile] = median(6);
    service_time[RequestClass::Map] = median(60);
    service_time[RequestClass::Info] = median(20);
    service_time[RequestClass::Capabilities] = median(40);
    service_time[RequestClass::Feature] = median(60);
    service_time[RequestClass::Coverage] = median(90);
    let behaviour = Behaviour {
        flavour: front.flavour,
        reload_time: RELOAD,
        service_time,
        remembered_requests: 0,
        keep_alive: Duration::from_secs(600),
        keep_alive_requests: None,
        ..Behaviour::default()
    };
    Cluster::on(DataDirectory::new(), REPLICAS, &behaviour)
}

/// The day of one contender.
pub(crate) fn day(
    front: &Front,
    contender: &Contender,
    cluster: &Cluster,
    day: Day,
    runtime: &Runtime,
) -> Outcome {
    let client = Client::new(contender.address, PATIENCE);
    let shared = Arc::new(Shared::default());
    shared.stage.write().oldest_epoch = cluster.main().epoch().unwrap_or(0);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| runtime.spawn(load::send_on(client.clone(), number, Arc::clone(&shared))))
        .collect();
    let mut outcome = Outcome {
        name: front.name.clone(),
        samples: Vec::new(),
        own: Vec::new(),
        rolls: Vec::new(),
        reloads: Vec::new(),
        writes: None,
        trouble: None,
    };
    let came_through = runtime.block_on(live(front, &client, cluster, day, &shared, &mut outcome));
    outcome.trouble = came_through.err().map(|error| error.to_string());
    shared.is_over.store(true, Ordering::Relaxed);
    outcome.samples = clients
        .into_iter()
        .flat_map(|client| runtime.block_on(client).expect("a client does not panic"))
        .collect();
    outcome
}

async fn live(
    front: &Front,
    client: &Client,
    cluster: &Cluster,
    day: Day,
    shared: &Arc<Shared>,
    outcome: &mut Outcome,
) -> io::Result<()> {
    sleep(day.calm).await;
    for number in 0..day.changes {
        change(
            front,
            client,
            cluster,
            &format!("new_{number}"),
            shared,
            outcome,
        )
        .await?;
        sleep(day.calm).await;
    }
    outcome.reloads = watch::reloads(cluster);
    // A front door that needs refresh.py would need a person to decide how often to run it.
    if !front.needs_refresh() {
        outcome.writes = Some(write_often(client, cluster).await?);
    }
    Ok(())
}

/// A publication, until all replicas have it.
async fn change(
    front: &Front,
    client: &Client,
    cluster: &Cluster,
    name: &str,
    shared: &Arc<Shared>,
    outcome: &mut Outcome,
) -> io::Result<()> {
    administrator::publish(client, name).await?;
    let confirmed = Instant::now();
    let layer = format!("geor:{name}");
    {
        let mut stage = shared.stage.write();
        stage.new_layer = Some(layer.clone());
        stage.is_rolling = true;
    }
    let own = tokio::spawn(load::look_on(client.clone(), layer, Arc::clone(shared)));
    let refresh = async {
        if front.needs_refresh() {
            administrator::refresh(cluster, Refresh::InTurn).await
        } else {
            Ok(())
        }
    };
    let (refreshed, roll) = tokio::join!(refresh, watch::roll(cluster, confirmed, ROLL_PATIENCE));
    {
        let mut stage = shared.stage.write();
        stage.is_rolling = false;
        stage.oldest_epoch = cluster.main().epoch().unwrap_or(0);
    }
    outcome
        .own
        .extend(own.await.expect("an administrator does not panic"));
    refreshed?;
    outcome.rolls.push(roll?);
    Ok(())
}

async fn write_often(client: &Client, cluster: &Cluster) -> io::Result<Writes> {
    let before = watch::reloads(cluster);
    administrator::write_often(client, WRITES, WRITES_LAST).await?;
    let roll = watch::roll(cluster, Instant::now(), ROLL_PATIENCE).await?;
    // A roll too many would begin now.
    sleep(RELOAD * 2).await;
    let reloads = watch::reloads(cluster)
        .iter()
        .zip(before)
        .map(|(now, before)| now - before)
        .collect();
    Ok(Writes {
        reloads,
        fresh_after: roll.fresh_after,
    })
}
