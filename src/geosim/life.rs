//! One run of an instance, from its start to its end: everything that a GeoServer keeps in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::behaviour::{Behaviour, Flavour, TileStore};
use super::capacity::Workshop;
use super::controls::Controls;
use super::data_directory::{Contents, DataDirectory, Edit, LayerKind, StoreKind, Write};
use super::executions::Executions;
use super::image::Painter;
use super::locks::FeatureLocks;
use super::printouts::Printouts;
use super::request::Request;
use super::sessions::Sessions;
use super::tile_cache::{TileCache, TileLocks};
use crate::hash::fnv1a;
use crate::ogc::RequestClass;

pub(super) struct Life {
    pub(super) name: String,
    pub(super) behaviour: Behaviour,
    pub(super) data: Arc<DataDirectory>,
    pub(super) controls: Arc<Controls>,
    pub(super) painter: Painter,
    pub(super) workshop: Workshop,
    pub(super) threads: Option<Semaphore>,
    /// GeoServer's configuration lock: REST and the web interface take it, OWS requests do not.
    /// Fair, as there.
    pub(super) configuration_lock: tokio::sync::RwLock<()>,
    pub(super) feature_locks: FeatureLocks,
    pub(super) sessions: Sessions,
    pub(super) executions: Executions,
    pub(super) printouts: Printouts,
    /// The importer counts from 0 in each life: the same number is another import on another
    /// instance.
    pub(super) imports: AtomicU32,
    /// Restores of a backup, counted from 0.
    pub(super) restores: AtomicU32,
    /// The layers that jobs in the background will have made when they are first looked at.
    pub(super) unfinished: Mutex<BTreeMap<String, String>>,
    catalog: RwLock<Catalog>,
    pub(super) tile_locks: TileLocks,
    own_tiles: TileCache,
    cold_left: AtomicU32,
}

/// The catalog in memory.
#[derive(Clone, Debug)]
pub(super) struct Catalog {
    pub(super) contents: Arc<Contents>,
    pub(super) update_sequence: u64,
}

/// The increase of a stock GeoServer's update sequence during a load: one each for the global
/// settings and its services (WMS, WFS, WCS, WPS, CSW, WMTS and the tile settings).
pub const VANILLA_RELOAD_BUMPS: u64 = 8;

/// The data directory could not be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReloadFailed;

impl Life {
    /// Must be called on the instance's runtime.
    pub(super) fn begin(
        name: &str,
        behaviour: &Behaviour,
        data: &Arc<DataDirectory>,
        controls: &Arc<Controls>,
    ) -> Self {
        controls.counts.starts.fetch_add(1, Ordering::Relaxed);
        controls.counts.is_reloading.store(false, Ordering::Release);
        Self {
            name: name.to_owned(),
            behaviour: behaviour.clone(),
            data: Arc::clone(data),
            controls: Arc::clone(controls),
            painter: Painter::new(name, behaviour),
            workshop: Workshop::open(behaviour.capacity, controls),
            threads: behaviour.threads.map(Semaphore::new),
            configuration_lock: tokio::sync::RwLock::new(()),
            feature_locks: FeatureLocks::default(),
            sessions: Sessions::default(),
            executions: Executions::default(),
            printouts: Printouts::default(),
            imports: AtomicU32::new(0),
            restores: AtomicU32::new(0),
            unfinished: Mutex::default(),
            catalog: RwLock::new(Catalog {
                contents: data.contents(),
                update_sequence: data.update_sequence(),
            }),
            tile_locks: TileLocks::default(),
            own_tiles: TileCache::default(),
            cold_left: AtomicU32::new(behaviour.cold.requests),
        }
    }

    pub(super) fn catalog(&self) -> Catalog {
        self.catalog.read().clone()
    }

    pub(super) fn tiles(&self) -> &TileCache {
        match self.behaviour.tile_store {
            TileStore::Shared => &self.data.tiles,
            TileStore::PerInstance => &self.own_tiles,
        }
    }

    /// Returns a hash of everything that a tile of this layer or group is drawn from: its settings,
    /// its style, and its features. The data are the same for all instances; the rest is as this
    /// one has loaded it.
    pub(super) fn look_of(&self, name: &str) -> u64 {
        let contents = self.catalog().contents;
        let members = match contents.groups.get(name) {
            Some(members) => members.iter().map(String::as_str).collect(),
            None => vec![name],
        };
        let looks = members.into_iter().filter_map(|member| {
            let (name, layer) = contents.layer(member)?;
            let saved = contents.styles.get(&layer.style);
            let features = self.data.features_of(name, layer);
            let (revision, style) = (layer.revision, &layer.style);
            Some(format!("{name} {revision} {style} {saved:?} {features} "))
        });
        fnv1a(looks.collect::<String>().bytes())
    }

    /// Drops the tiles that a change made here has made old, as GeoServer does where the change was
    /// made, and nowhere else.
    pub(super) fn truncate_changed_tiles(&self) {
        self.tiles().truncate_changed(|layer| self.look_of(layer));
    }

    /// Does the work of `POST /rest/reload`: empties the catalog, then reads the data directory.
    /// Requests that arrive meanwhile are answered from an empty catalog. The layers are those at
    /// the start of the reading; the update sequence is the one at its end.
    pub(super) async fn reload_catalog(&self) -> Result<(), ReloadFailed> {
        let _all_others_wait = self.configuration_lock.write().await;
        let counts = &self.controls.counts;
        counts.catalog_reloads.fetch_add(1, Ordering::Relaxed);
        counts.is_reloading.store(true, Ordering::Release);
        self.catalog.write().contents = Arc::default();
        let contents = self.data.contents();
        sleep(self.behaviour.reload_time).await;
        counts.is_reloading.store(false, Ordering::Release);
        if self.controls.takes_failing_reload() {
            return Err(ReloadFailed);
        }
        *self.catalog.write() = Catalog {
            contents,
            update_sequence: self.number_after_reload(),
        };
        self.forget_caches();
        Ok(())
    }

    fn number_after_reload(&self) -> u64 {
        let in_file = self.data.update_sequence();
        match self.behaviour.flavour {
            Flavour::GeOrchestra => in_file,
            Flavour::Vanilla => in_file + VANILLA_RELOAD_BUMPS,
            Flavour::VanillaRewriting => {
                self.data
                    .persist_update_sequence(in_file + VANILLA_RELOAD_BUMPS);
                in_file + VANILLA_RELOAD_BUMPS
            }
        }
    }

    /// Store connections, schemas, styles: the next requests are slow again.
    pub(super) fn forget_caches(&self) {
        self.cold_left
            .store(self.behaviour.cold.requests, Ordering::Relaxed);
    }

    /// Changes the catalog in memory and on disk. The caller holds the configuration lock.
    pub(super) fn edit(&self, edit: &Edit) {
        {
            let mut catalog = self.catalog.write();
            Arc::make_mut(&mut catalog.contents).apply(edit);
            catalog.update_sequence += edit.events();
            self.data.persist(edit, catalog.update_sequence);
        }
        self.truncate_changed_tiles();
    }

    /// Publishes a layer as the web interface does: the workspace and the store unless they exist,
    /// a style, and the layer.
    pub(super) fn publish(&self, name: &str) {
        let (workspace, layer) = name.split_once(':').unwrap_or(("geor", name));
        let contents = self.catalog().contents;
        let store = format!("{workspace}:{layer}");
        if !contents.workspaces.contains(workspace) {
            self.edit(&Edit::AddWorkspace(workspace.to_owned()));
        }
        self.edit(&Edit::AddStore(store.clone(), StoreKind::Features));
        self.edit(&Edit::PutStyle(layer.to_owned()));
        self.edit(&Edit::PutLayer {
            name: store,
            kind: LayerKind::Vector { features: 10 },
            store: layer.to_owned(),
        });
    }

    /// Begins a job in the background, which makes `layer` and is known by its path.
    pub(super) fn begin_job(&self, path: String, layer: String) {
        self.unfinished.lock().insert(path, layer);
    }

    /// The job has ended by the time a client looks at it for the first time: no test waits for a
    /// clock.
    pub(super) async fn finish_job(&self, path: &str) {
        let finished = self.unfinished.lock().remove(path);
        if let Some(layer) = finished {
            let _all_others_wait = self.configuration_lock.write().await;
            self.publish(&layer);
        }
    }

    /// Returns the work of a request: the work it states, or the usual work of its class, and more
    /// while the instance is cold.
    pub(super) fn work_of(&self, class: RequestClass, request: &Request) -> Duration {
        let work = stated_work(request)
            .unwrap_or_else(|| self.behaviour.service_time[class].draw(&self.controls.dice));
        if work.is_zero() || !self.is_cold() {
            work
        } else {
            work.mul_f64(self.behaviour.cold.factor)
        }
    }

    /// Returns the time for which a request waits for capacity.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.behaviour
            .control_flow
            .and_then(|control_flow| control_flow.timeout)
    }

    fn is_cold(&self) -> bool {
        self.cold_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }

    pub(super) fn note_write(&self, what: &str, request: &Request) {
        self.data.note_write(Write {
            by: self.name.clone(),
            what: what.to_owned(),
            tag: request.parameter(TAG).map(std::borrow::Cow::into_owned),
            body: request.body().hash,
        });
    }
}

/// The key by which a request identifies itself; answers return it as `X-Geosim-Tag`.
pub(super) const TAG: &str = "geosim_tag";
/// The key by which a request states its work.
pub(super) const WORK: &str = "geosim_work";

fn stated_work(request: &Request) -> Option<Duration> {
    // Spares requests without it the decoding.
    if !request
        .query()
        .windows(WORK.len())
        .any(|window| window == WORK.as_bytes())
    {
        return None;
    }
    humantime::parse_duration(&request.parameter(WORK)?)
        .ok()
        .map(|work| work.min(super::chance::LONGEST_WORK))
}
