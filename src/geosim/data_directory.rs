//! The data directory that all instances of a cluster share. An instance reads it only when it
//! starts or reloads.
//!
//! The "database" and the shared disk of tiles are here too, because they are shared in the same
//! way: what one instance executes, all can see. [`DataDirectory::writes`] is the list of
//! everything executed that must not be executed twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::tile_cache::TileCache;

/// The persisted catalog, as configuration files hold it.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub workspaces: BTreeSet<String>,
    /// By qualified name: `workspace:store`.
    pub stores: BTreeMap<String, StoreKind>,
    /// By qualified name: `workspace:layer`.
    pub layers: BTreeMap<String, Layer>,
    /// Number of times that each style was saved. A style of a workspace is called
    /// `workspace:style`.
    pub styles: BTreeMap<String, u32>,
    /// The members of each layer group, by its name, which is qualified in a workspace.
    pub groups: BTreeMap<String, Vec<String>>,
    /// The number of edits that made these contents. `X-Geosim-Epoch` reports it, whatever the
    /// flavour does to `updateSequence`.
    pub edits: u64,
}

/// A layer of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub title: String,
    pub kind: LayerKind,
    /// The store in the layer's workspace that has its data.
    pub store: String,
    /// The default style.
    pub style: String,
    /// Number of times that it was changed.
    pub revision: u32,
}

/// The kind of a store's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Features,
    Coverages,
}

/// The kind of a layer's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    Vector { features: u64 },
    Raster,
}

impl LayerKind {
    /// The style that a new layer of this kind gets.
    fn style(self) -> &'static str {
        match self {
            Self::Vector { .. } => "point",
            Self::Raster => "raster",
        }
    }

    fn store_kind(self) -> StoreKind {
        match self {
            Self::Vector { .. } => StoreKind::Features,
            Self::Raster => StoreKind::Coverages,
        }
    }
}

/// One change of the catalog.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    AddWorkspace(String),
    RemoveWorkspace(String),
    AddStore(String, StoreKind),
    RemoveStore(String),
    /// A layer on data of a store of its workspace.
    PutLayer {
        name: String,
        kind: LayerKind,
        store: String,
    },
    /// The layer alone is saved, with this default style.
    StyleLayer {
        name: String,
        style: String,
    },
    RemoveLayer(String),
    PutGroup {
        name: String,
        members: Vec<String>,
    },
    RemoveGroup(String),
    PutStyle(String),
    RemoveStyle(String),
    ChangeSettings,
}

impl Edit {
    /// Returns the number of catalog events that it fires. Each adds one to `updateSequence` and
    /// rewrites `global.xml`.
    pub(super) fn events(&self) -> u64 {
        match self {
            // The workspace and its namespace.
            Self::AddWorkspace(_) | Self::RemoveWorkspace(_) => 2,
            Self::AddStore(..)
            | Self::RemoveStore(_)
            | Self::StyleLayer { .. }
            | Self::PutGroup { .. }
            | Self::RemoveGroup(_)
            | Self::ChangeSettings
            | Self::RemoveStyle(_) => 1,
            // The resource, the layer, and the layer once more when its default style is set.
            Self::PutLayer { .. } => 3,
            Self::RemoveLayer(_) => 2,
            // The entry, and the body that is saved after it.
            Self::PutStyle(_) => 2,
        }
    }
}

impl Contents {
    pub(super) fn apply(&mut self, edit: &Edit) {
        self.edits += 1;
        // The result is the same whether or not the resource existed before.
        match edit {
            Edit::AddWorkspace(name) => _ = self.workspaces.insert(name.clone()),
            Edit::RemoveWorkspace(name) => self.remove_workspace(name),
            Edit::AddStore(name, kind) => _ = self.stores.insert(name.clone(), *kind),
            Edit::RemoveStore(name) => _ = self.stores.remove(name),
            Edit::PutLayer { name, kind, store } => self.put_layer(name, *kind, store),
            Edit::StyleLayer { name, style } => self.style_layer(name, style),
            Edit::RemoveLayer(name) => _ = self.layers.remove(name),
            Edit::PutGroup { name, members } => {
                self.groups.insert(name.clone(), members.clone());
            }
            Edit::RemoveGroup(name) => _ = self.groups.remove(name),
            Edit::PutStyle(name) => *self.styles.entry(name.clone()).or_default() += 1,
            Edit::RemoveStyle(name) => _ = self.styles.remove(name),
            Edit::ChangeSettings => {}
        }
    }

    fn remove_workspace(&mut self, name: &str) {
        let is_inside = |qualified: &String| qualified.split(':').next() == Some(name);
        self.workspaces.remove(name);
        self.stores.retain(|store, _| !is_inside(store));
        self.layers.retain(|layer, _| !is_inside(layer));
        self.groups.retain(|group, _| !is_inside(group));
        self.styles.retain(|style, _| !is_inside(style));
    }

    fn put_layer(&mut self, name: &str, kind: LayerKind, store: &str) {
        let before = self.layers.get(name);
        let layer = Layer {
            title: name.rsplit(':').next().unwrap_or(name).replace('_', " "),
            kind,
            store: store.to_owned(),
            style: before.map_or_else(|| kind.style().to_owned(), |layer| layer.style.clone()),
            revision: before.map_or(1, |layer| layer.revision + 1),
        };
        self.layers.insert(name.to_owned(), layer);
    }

    fn style_layer(&mut self, name: &str, style: &str) {
        if let Some(layer) = self.layers.get_mut(name) {
            layer.style = style.to_owned();
            layer.revision += 1;
        }
    }

    /// The layer of this name, qualified or not.
    pub fn layer(&self, name: &str) -> Option<(&str, &Layer)> {
        if name.contains(':') {
            return self
                .layers
                .get_key_value(name)
                .map(|(name, layer)| (name.as_str(), layer));
        }
        self.layers
            .iter()
            .find(|(qualified, _)| qualified.rsplit(':').next() == Some(name))
            .map(|(name, layer)| (name.as_str(), layer))
    }
}

/// The layer that geOrchestra's data directory ships for health checks.
pub const PUBLIC_LAYER: &str = "geor:public_layer";

const DEFAULT_VECTORS: [(&str, u64); 13] = [
    (PUBLIC_LAYER, 10),
    ("geor:municipalities", 350),
    ("geor:roads", 12_000),
    ("geor:rivers", 4_000),
    ("geor:everything", 1_000_000),
    ("nature:forests", 900),
    ("nature:wetlands", 420),
    ("nature:parks", 60),
    ("nature:soils", 2_500),
    ("urban:buildings", 80_000),
    ("urban:parcels", 60_000),
    ("urban:addresses", 40_000),
    ("urban:zoning", 700),
];
const DEFAULT_RASTERS: [&str; 2] = ["geor:elevation", "nature:orthophoto"];
const DEFAULT_STORE: &str = "data";
const EMPTY_STORE: &str = "geor:cadastre";
const DEFAULT_RASTER_STORE: &str = "rasters";
const DEFAULT_STYLES: [&str; 5] = ["generic", "line", "point", "polygon", "raster"];

/// The oldest are forgotten beyond this: tests look at far fewer, benches at none.
const MAX_WRITES: usize = 100_000;

/// Something executed that must not be executed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The instance that executed it.
    pub by: String,
    /// `Transaction`, `LockFeature`, `Execute`, `POST /rest/workspaces`...
    pub what: String,
    /// The request's `geosim_tag`.
    pub tag: Option<String>,
    /// [`fnv1a`](crate::hash::fnv1a) of the request's body.
    pub body: u64,
}

/// The data directory that the instances of a cluster share.
#[derive(Debug)]
pub struct DataDirectory {
    disk: Mutex<Disk>,
    /// The path of `global.xml` on a real disk, for processes that watch it.
    global_xml: Option<PathBuf>,
    /// Features added by WFS-T, by layer.
    inserted: Mutex<BTreeMap<String, u64>>,
    writes: Mutex<VecDeque<Write>>,
    pub(super) tiles: TileCache,
}

#[derive(Debug)]
struct Disk {
    contents: Arc<Contents>,
    update_sequence: u64,
    changed_at: SystemTime,
}

impl DataDirectory {
    /// The default catalog, in memory only.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::of(default_contents(), None))
    }

    /// The default catalog and so many layers more: big capabilities.
    pub fn with_more_layers(count: usize) -> Arc<Self> {
        let mut contents = default_contents();
        for number in 0..count {
            contents.put_layer(
                &format!("urban:district_{number:06}"),
                LayerKind::Vector { features: 10 },
                DEFAULT_STORE,
            );
        }
        Arc::new(Self::of(contents, None))
    }

    /// The default catalog, with a `global.xml` in `directory` that is replaced at every change as
    /// GeoServer replaces it: written beside and renamed over.
    pub fn on_disk(directory: &Path) -> io::Result<Arc<Self>> {
        let data = Self::of(default_contents(), Some(directory.join("global.xml")));
        data.write_global_xml(0)?;
        Ok(Arc::new(data))
    }

    fn of(contents: Contents, global_xml: Option<PathBuf>) -> Self {
        Self {
            disk: Mutex::new(Disk {
                contents: Arc::new(contents),
                update_sequence: 0,
                changed_at: SystemTime::now(),
            }),
            global_xml,
            inserted: Mutex::default(),
            writes: Mutex::default(),
            tiles: TileCache::default(),
        }
    }

    /// Returns the contents on disk now; instances may have loaded older ones.
    pub fn contents(&self) -> Arc<Contents> {
        Arc::clone(&self.disk.lock().contents)
    }

    /// The number in `global.xml`.
    pub fn update_sequence(&self) -> u64 {
        self.disk.lock().update_sequence
    }

    /// Returns the text of `global.xml`.
    pub fn global_xml(&self) -> String {
        global_xml_of(self.update_sequence())
    }

    /// The time at which `global.xml` changed last.
    pub fn changed_at(&self) -> SystemTime {
        self.disk.lock().changed_at
    }

    /// From now on `global.xml` looks as if it had been written at `time`, as a copy may.
    pub fn date(&self, time: SystemTime) {
        self.disk.lock().changed_at = time;
    }

    /// Everything executed so far that must not be executed twice, oldest first.
    pub fn writes(&self) -> Vec<Write> {
        self.writes.lock().iter().cloned().collect()
    }

    pub(super) fn note_write(&self, write: Write) {
        let mut writes = self.writes.lock();
        if writes.len() == MAX_WRITES {
            writes.pop_front();
        }
        writes.push_back(write);
    }

    /// Persists one edit that `update_sequence` counts the last event of.
    pub(super) fn persist(&self, edit: &Edit, update_sequence: u64) {
        let mut disk = self.disk.lock();
        Arc::make_mut(&mut disk.contents).apply(edit);
        let first = update_sequence - (edit.events() - 1);
        for number in first..=update_sequence {
            self.set_update_sequence(&mut disk, number);
        }
    }

    /// Persists the number alone: the last to save wins, as on a real disk.
    pub(super) fn persist_update_sequence(&self, number: u64) {
        self.set_update_sequence(&mut self.disk.lock(), number);
    }

    fn set_update_sequence(&self, disk: &mut Disk, number: u64) {
        disk.update_sequence = number;
        disk.changed_at = SystemTime::now();
        self.write_global_xml(number)
            .expect("the directory given to DataDirectory::on_disk stays writable");
    }

    fn write_global_xml(&self, number: u64) -> io::Result<()> {
        let Some(path) = &self.global_xml else {
            return Ok(());
        };
        let beside = path.with_extension(format!("xml.{number}.tmp"));
        fs::write(&beside, global_xml_of(number))?;
        fs::rename(beside, path)
    }

    /// Returns the number of features that were inserted before this one.
    pub(super) fn insert_feature(&self, layer: &str) -> u64 {
        let mut inserted = self.inserted.lock();
        let count = inserted.entry(layer.to_owned()).or_default();
        *count += 1;
        *count - 1
    }

    pub(super) fn features_of(&self, name: &str, layer: &Layer) -> u64 {
        match layer.kind {
            LayerKind::Vector { features } => {
                features + self.inserted.lock().get(name).copied().unwrap_or(0)
            }
            LayerKind::Raster => 0,
        }
    }
}

fn global_xml_of(update_sequence: u64) -> String {
    format!(
        "<global>\n  <settings/>\n  <updateSequence>{update_sequence}</updateSequence>\n  <globalServices>true</globalServices>\n</global>\n"
    )
}

fn default_contents() -> Contents {
    let mut contents = Contents::default();
    let vectors = DEFAULT_VECTORS.map(|(name, features)| (name, LayerKind::Vector { features }));
    for (name, kind) in vectors
        .into_iter()
        .chain(DEFAULT_RASTERS.map(|name| (name, LayerKind::Raster)))
    {
        let workspace = name.split(':').next().unwrap_or_default();
        contents.workspaces.insert(workspace.to_owned());
        let store = match kind.store_kind() {
            StoreKind::Features => DEFAULT_STORE,
            StoreKind::Coverages => DEFAULT_RASTER_STORE,
        };
        contents
            .stores
            .insert(format!("{workspace}:{store}"), kind.store_kind());
        contents.put_layer(name, kind, store);
    }
    // For layers that are published later.
    let empty_store = (EMPTY_STORE.to_owned(), StoreKind::Features);
    contents.stores.extend([empty_store]);
    contents
        .styles
        .extend(DEFAULT_STYLES.map(|style| (style.to_owned(), 1)));
    contents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_xml_is_replaced_by_rename_at_every_event() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::on_disk(directory.path()).unwrap();
        data.persist(&Edit::AddWorkspace("new".into()), 2);
        let text = fs::read_to_string(directory.path().join("global.xml")).unwrap();
        assert!(text.contains("<updateSequence>2</updateSequence>"));
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        assert!(data.contents().workspaces.contains("new"));
    }

    #[test]
    fn a_layer_is_found_by_its_qualified_and_its_bare_name() {
        let contents = default_contents();
        assert_eq!(contents.layer("public_layer").unwrap().0, PUBLIC_LAYER);
        assert_eq!(contents.layer(PUBLIC_LAYER).unwrap().0, PUBLIC_LAYER);
        assert!(contents.layer("nature:public_layer").is_none());
    }

    #[test]
    fn removing_a_workspace_removes_its_contents() {
        let mut contents = default_contents();
        contents.apply(&Edit::RemoveWorkspace("nature".into()));
        assert!(
            !contents.workspaces.contains("nature") && contents.layer("nature:forests").is_none()
        );
        assert!(contents.layer(PUBLIC_LAYER).is_some());
    }
}
