//! The documents of the REST interface, as GeoServer writes them in JSON: lists with links, and
//! each resource with the members that client libraries read.

use serde_json::{Value, json};

use super::data_directory::{Contents, Layer, LayerKind, StoreKind};

/// The resource at a path, or the list there.
pub(super) fn find(contents: &Contents, parts: &[&str], base: &str) -> Option<Value> {
    Catalog { contents, base }.find(parts)
}

/// Reads a catalog for the address at which its documents are shown.
struct Catalog<'a> {
    contents: &'a Contents,
    /// The address of `/rest`, for links.
    base: &'a str,
}

impl Catalog<'_> {
    fn find(&self, parts: &[&str]) -> Option<Value> {
        match *parts {
            ["workspaces"] => Some(self.workspaces("workspace")),
            ["namespaces"] => Some(self.workspaces("namespace")),
            ["workspaces", "default"] => self.workspace(self.contents.workspaces.first()?),
            ["workspaces", name] => self.workspace(name),
            ["namespaces", name] => self.namespace(name),
            ["workspaces", workspace, ref inside @ ..] => {
                self.contents.workspaces.get(workspace)?;
                self.in_workspace(workspace, inside)
            }
            ["layers"] => Some(self.layers(None)),
            ["layers", name] => self.layer(name),
            ["layergroups"] => Some(self.groups(None)),
            ["layergroups", name] => self.group(name),
            ["styles"] => Some(self.styles(None)),
            ["styles", name] => self.style(name),
            ["services", service, "settings"] => Some(settings(service, None)),
            ["services", service, "workspaces", workspace, "settings"] => {
                self.contents.workspaces.get(workspace)?;
                Some(settings(service, Some(workspace)))
            }
            _ => None,
        }
    }

    fn in_workspace(&self, workspace: &str, parts: &[&str]) -> Option<Value> {
        let qualified = |name: &str| format!("{workspace}:{name}");
        match *parts {
            ["datastores"] => Some(self.stores(workspace, StoreKind::Features)),
            ["coveragestores"] => Some(self.stores(workspace, StoreKind::Coverages)),
            ["wmsstores"] => Some(list("wmsStore", Vec::new())),
            ["wmtsstores"] => Some(list("wmtsStore", Vec::new())),
            ["datastores", store] => self.store(workspace, store, StoreKind::Features),
            ["coveragestores", store] => self.store(workspace, store, StoreKind::Coverages),
            ["featuretypes"] => Some(self.resources(workspace, None, StoreKind::Features)),
            ["coverages"] => Some(self.resources(workspace, None, StoreKind::Coverages)),
            ["datastores", store, "featuretypes"] => {
                self.store(workspace, store, StoreKind::Features)?;
                Some(self.resources(workspace, Some(store), StoreKind::Features))
            }
            ["coveragestores", store, "coverages"] => {
                self.store(workspace, store, StoreKind::Coverages)?;
                Some(self.resources(workspace, Some(store), StoreKind::Coverages))
            }
            ["featuretypes" | "coverages", name] => self.resource(workspace, None, name),
            ["datastores" | "coveragestores", store, _, name] => {
                self.resource(workspace, Some(store), name)
            }
            ["layers"] => Some(self.layers(Some(workspace))),
            ["layers", name] => self.layer(&qualified(name)),
            ["layergroups"] => Some(self.groups(Some(workspace))),
            ["layergroups", name] => self.group(&qualified(name)),
            ["styles"] => Some(self.styles(Some(workspace))),
            ["styles", name] => self.style(&qualified(name)),
            _ => None,
        }
    }

    fn entry(&self, name: &str, path: &str) -> Value {
        json!({"name": name, "href": format!("{}/{path}.json", self.base)})
    }

    fn link(&self, path: &str) -> String {
        format!("{}/{path}.json", self.base)
    }

    fn workspaces(&self, kind: &str) -> Value {
        let names = self.contents.workspaces.iter();
        let entries = names.map(|name| self.entry(name, &format!("{kind}s/{name}")));
        list(kind, entries.collect())
    }

    fn workspace(&self, name: &str) -> Option<Value> {
        self.contents.workspaces.get(name)?;
        let inside = |kind: &str| self.link(&format!("workspaces/{name}/{kind}"));
        Some(json!({"workspace": {
            "name": name, "isolated": false,
            "dataStores": inside("datastores"), "coverageStores": inside("coveragestores"),
            "wmsStores": inside("wmsstores"), "wmtsStores": inside("wmtsstores"),
        }}))
    }

    fn namespace(&self, name: &str) -> Option<Value> {
        self.contents.workspaces.get(name)?;
        Some(
            json!({"namespace": {"prefix": name, "uri": format!("http://localhost/{name}"), "isolated": false}}),
        )
    }

    fn stores(&self, workspace: &str, kind: StoreKind) -> Value {
        let folder = folder_of(kind);
        let stores = self.contents.stores.iter();
        let names = stores
            .filter(|(_, has)| **has == kind)
            .filter_map(|(name, _)| {
                let (inside, name) = name.split_once(':')?;
                (inside == workspace).then_some(name)
            });
        let entries =
            names.map(|name| self.entry(name, &format!("workspaces/{workspace}/{folder}/{name}")));
        list(store_element(kind), entries.collect())
    }

    fn store(&self, workspace: &str, name: &str, kind: StoreKind) -> Option<Value> {
        let found = self.contents.stores.get(&format!("{workspace}:{name}"))?;
        if *found != kind {
            return None;
        }
        let path = format!("workspaces/{workspace}/{}/{name}", folder_of(kind));
        let workspace = self.entry(workspace, &format!("workspaces/{workspace}"));
        let store = match kind {
            StoreKind::Features => json!({
                "name": name, "type": "PostGIS", "enabled": true, "workspace": workspace, "_default": false,
                "connectionParameters": {"entry": [{"@key": "dbtype", "$": "postgis"}, {"@key": "host", "$": "database"}]},
                "featureTypes": self.link(&format!("{path}/featuretypes")),
            }),
            StoreKind::Coverages => json!({
                "name": name, "type": "GeoTIFF", "enabled": true, "workspace": workspace, "_default": false,
                "url": format!("file:data/{name}.tif"), "coverages": self.link(&format!("{path}/coverages")),
            }),
        };
        Some(json!({store_element(kind): store}))
    }

    fn layers_in<'c>(
        &'c self,
        workspace: &'c str,
    ) -> impl Iterator<Item = (&'c str, &'c Layer)> + 'c {
        self.contents
            .layers
            .iter()
            .filter_map(move |(name, layer)| {
                let (inside, name) = name.split_once(':')?;
                (inside == workspace).then_some((name, layer))
            })
    }

    fn resources(&self, workspace: &str, store: Option<&str>, kind: StoreKind) -> Value {
        let layers = self.layers_in(workspace).filter(|(_, layer)| {
            kind_of(layer) == kind && store.is_none_or(|store| layer.store == store)
        });
        let entries =
            layers.map(|(name, layer)| self.entry(name, &resource_path(workspace, name, layer)));
        list(resource_element(kind), entries.collect())
    }

    fn resource(&self, workspace: &str, store: Option<&str>, name: &str) -> Option<Value> {
        let layer = self.contents.layers.get(&format!("{workspace}:{name}"))?;
        if store.is_some_and(|store| layer.store != store) {
            return None;
        }
        let kind = kind_of(layer);
        let store_path = format!("workspaces/{workspace}/{}/{}", folder_of(kind), layer.store);
        let element = resource_element(kind);
        let mut resource = json!({
            "name": name, "nativeName": name, "title": layer.title, "srs": "EPSG:3857", "enabled": true,
            "namespace": self.entry(workspace, &format!("namespaces/{workspace}")),
            "keywords": {"string": ["features", name]},
            "nativeBoundingBox": {"minx": 0, "maxx": 20000, "miny": 0, "maxy": 20000, "crs": "EPSG:3857"},
            "latLonBoundingBox": {"minx": -180, "maxx": 180, "miny": -90, "maxy": 90, "crs": "EPSG:4326"},
            "projectionPolicy": "FORCE_DECLARED", "serviceConfiguration": false, "simpleConversionEnabled": false,
            "store": {
                "@class": store_element(kind), "name": format!("{workspace}:{}", layer.store),
                "href": self.link(&store_path),
            },
        });
        if kind == StoreKind::Features {
            let more = json!({
                "maxFeatures": 0, "numDecimals": 0, "padWithZeros": false, "forcedDecimals": false,
                "overridingServiceSRS": false, "skipNumberMatched": false, "circularArcPresent": false,
                "attributes": {"attribute": attributes()},
            });
            merge(&mut resource, more);
        }
        Some(json!({element: resource}))
    }

    fn layers(&self, workspace: Option<&str>) -> Value {
        let entries = match workspace {
            Some(workspace) => self
                .layers_in(workspace)
                .map(|(name, _)| self.entry(name, &format!("workspaces/{workspace}/layers/{name}")))
                .collect(),
            None => (self.contents.layers.keys())
                .map(|name| self.entry(name, &format!("layers/{}", name.replace(':', "%3A"))))
                .collect(),
        };
        list("layer", entries)
    }

    fn layer(&self, name: &str) -> Option<Value> {
        let (name, layer) = self.contents.layer(name)?;
        let (workspace, short) = name.split_once(':')?;
        let kind = kind_of(layer);
        Some(json!({"layer": {
            "name": short, "path": "/", "queryable": true, "opaque": false,
            "type": match kind { StoreKind::Features => "VECTOR", StoreKind::Coverages => "RASTER" },
            "defaultStyle": self.entry(&layer.style, &style_path(&layer.style)),
            "resource": {
                "@class": resource_element(kind), "name": name,
                "href": self.link(&resource_path(workspace, short, layer)),
            },
            "attribution": {"logoWidth": 0, "logoHeight": 0},
        }}))
    }

    fn groups(&self, workspace: Option<&str>) -> Value {
        let names = self
            .contents
            .groups
            .keys()
            .filter_map(|name| within(name, workspace));
        let entries = names.map(|name| self.entry(name, &scoped("layergroups", workspace, name)));
        list("layerGroup", entries.collect())
    }

    fn group(&self, name: &str) -> Option<Value> {
        let members = self.contents.groups.get(name)?;
        let published = members.iter().map(|member| {
            let mut entry = self.entry(member, &format!("layers/{}", member.replace(':', "%3A")));
            merge(&mut entry, json!({"@type": "layer"}));
            entry
        });
        let published: Vec<Value> = published.collect();
        let styles: Vec<Value> = (members.iter())
            .filter_map(|member| self.contents.layer(member))
            .map(|(_, layer)| self.entry(&layer.style, &style_path(&layer.style)))
            .collect();
        let mut group = json!({
            "name": name.rsplit(':').next(), "mode": "SINGLE", "title": name, "abstractTxt": "", "enabled": true,
            "advertised": true, "publishables": {"published": one_or_many(published)},
            "styles": {"style": one_or_many(styles)},
            "bounds": {"minx": -180, "maxx": 180, "miny": -90, "maxy": 90, "crs": "EPSG:4326"},
        });
        if let Some((workspace, _)) = name.split_once(':') {
            let workspace = self.entry(workspace, &format!("workspaces/{workspace}"));
            merge(&mut group, json!({"workspace": workspace}));
        }
        Some(json!({"layerGroup": group}))
    }

    fn styles(&self, workspace: Option<&str>) -> Value {
        let names = self
            .contents
            .styles
            .keys()
            .filter_map(|name| within(name, workspace));
        let entries = names.map(|name| self.entry(name, &scoped("styles", workspace, name)));
        list("style", entries.collect())
    }

    fn style(&self, name: &str) -> Option<Value> {
        self.contents.styles.get(name)?;
        let short = name.rsplit(':').next().unwrap_or(name);
        let mut style = json!({
            "name": short, "format": "sld", "languageVersion": {"version": "1.0.0"}, "filename": format!("{short}.sld"),
        });
        if let Some((workspace, _)) = name.split_once(':') {
            merge(&mut style, json!({"workspace": {"name": workspace}}));
        }
        Some(json!({"style": style}))
    }
}

/// An empty list is an empty text in JSON, because GeoServer writes XML and converts it.
fn list(kind: &str, entries: Vec<Value>) -> Value {
    if entries.is_empty() {
        return json!({format!("{kind}s"): ""});
    }
    json!({format!("{kind}s"): {kind: entries}})
}

/// A list of one is its only element, for the same reason.
fn one_or_many(mut entries: Vec<Value>) -> Value {
    match entries.pop() {
        Some(only) if entries.is_empty() => only,
        Some(last) => {
            entries.push(last);
            Value::Array(entries)
        }
        None => json!(""),
    }
}

fn merge(document: &mut Value, more: Value) {
    if let (Value::Object(members), Value::Object(more)) = (document, more) {
        members.extend(more);
    }
}

/// Returns the name that a list shows. Global lists leave out the resources of a workspace.
fn within<'a>(name: &'a str, workspace: Option<&str>) -> Option<&'a str> {
    match (name.split_once(':'), workspace) {
        (None, None) => Some(name),
        (Some((inside, short)), Some(workspace)) => (inside == workspace).then_some(short),
        (None, Some(_)) | (Some(_), None) => None,
    }
}

fn scoped(kind: &str, workspace: Option<&str>, name: &str) -> String {
    match workspace {
        Some(workspace) => format!("workspaces/{workspace}/{kind}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

fn style_path(name: &str) -> String {
    match name.split_once(':') {
        Some((workspace, short)) => scoped("styles", Some(workspace), short),
        None => scoped("styles", None, name),
    }
}

fn kind_of(layer: &Layer) -> StoreKind {
    match layer.kind {
        LayerKind::Vector { .. } => StoreKind::Features,
        LayerKind::Raster => StoreKind::Coverages,
    }
}

fn folder_of(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Features => "datastores",
        StoreKind::Coverages => "coveragestores",
    }
}

fn store_element(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Features => "dataStore",
        StoreKind::Coverages => "coverageStore",
    }
}

fn resource_element(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Features => "featureType",
        StoreKind::Coverages => "coverage",
    }
}

fn resource_path(workspace: &str, name: &str, layer: &Layer) -> String {
    let kind = kind_of(layer);
    let resources = match kind {
        StoreKind::Features => "featuretypes",
        StoreKind::Coverages => "coverages",
    };
    format!(
        "workspaces/{workspace}/{}/{}/{resources}/{name}",
        folder_of(kind),
        layer.store
    )
}

/// Returns the attributes that [`super::features`] writes.
fn attributes() -> [Value; 2] {
    [
        ("the_geom", "org.locationtech.jts.geom.Point"),
        ("number", "java.lang.Long"),
    ]
    .map(|(name, binding)| {
        json!({"name": name, "minOccurs": 0, "maxOccurs": 1, "nillable": true, "binding": binding})
    })
}

fn settings(service: &str, workspace: Option<&str>) -> Value {
    let service = service.to_ascii_lowercase();
    let mut settings = json!({"enabled": true, "name": service.to_uppercase(), "citeCompliant": false, "verbose": false});
    if let Some(workspace) = workspace {
        merge(&mut settings, json!({"workspace": {"name": workspace}}));
    }
    json!({service: settings})
}
