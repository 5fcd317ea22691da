//! The edits of the catalog that a REST request wants.

use serde_json::{Value, json};

use super::answer::Answer;
use super::data_directory::{Contents, Edit, LayerKind, StoreKind};
use super::request::Request;
use super::rest_path::{RestPath, no_such};
use super::xml;

/// Features of a published layer.
const VECTOR: LayerKind = LayerKind::Vector { features: 10 };

/// The edits of a request, and the answer to it.
pub(super) struct Change {
    pub(super) edits: Vec<Edit>,
    pub(super) status: u16,
    /// The body of the answer.
    pub(super) shows: Option<Value>,
}

impl Change {
    fn made(edit: Edit) -> Self {
        Self::of(vec![edit], 201)
    }

    fn saved(edit: Edit) -> Self {
        Self::of(vec![edit], 200)
    }

    fn of(edits: Vec<Edit>, status: u16) -> Self {
        Self {
            edits,
            status,
            shows: None,
        }
    }
}

/// Returns the edits of `request` in a catalog with `contents`, or the answer that refuses it.
pub(super) fn wanted(
    contents: &Contents,
    request: &Request,
    address: &RestPath<'_>,
) -> Result<Change, Answer> {
    let requested = RequestedChange { contents, request };
    match address.parts[..] {
        ["workspaces"] => requested.new_workspace(),
        ["workspaces", "default"] => requested.put_settings(),
        ["workspaces", name] => requested.workspace(name),
        ["workspaces", workspace, ref inside @ ..] => {
            if !contents.workspaces.contains(workspace) {
                return Err(no_such(&format!("workspace {workspace}")));
            }
            requested.in_workspace(workspace, inside)
        }
        ["layers", name] => requested.layer(name),
        ["layergroups"] => requested.new_group(""),
        ["layergroups", name] => requested.group(name),
        ["styles"] => requested.new_style(""),
        ["styles", name] => requested.style(name),
        ["services", _, "settings"] | ["services", _, "workspaces", _, "settings"] => {
            requested.put_settings()
        }
        _ => Err(no_such(&address.parts.join("/"))),
    }
}

struct RequestedChange<'a> {
    contents: &'a Contents,
    request: &'a Request,
}

impl RequestedChange<'_> {
    fn in_workspace(&self, workspace: &str, parts: &[&str]) -> Result<Change, Answer> {
        let qualified = |name: &str| format!("{workspace}:{name}");
        match *parts {
            ["datastores"] => self.new_store(workspace, StoreKind::Features),
            ["coveragestores"] => self.new_store(workspace, StoreKind::Coverages),
            ["datastores" | "coveragestores", store] => self.store(&qualified(store)),
            // A cache drop of one store: nothing of the catalog changes.
            ["datastores" | "coveragestores", _, "reset"] => Ok(Change::of(Vec::new(), 200)),
            ["datastores", store, "featuretypes"] => self.new_layer(workspace, Some(store), VECTOR),
            ["featuretypes"] => self.new_layer(workspace, None, VECTOR),
            ["coveragestores", store, "coverages"] => {
                self.new_layer(workspace, Some(store), LayerKind::Raster)
            }
            ["coverages"] => self.new_layer(workspace, None, LayerKind::Raster),
            ["datastores", store, file] if is_upload(file) => self.upload(workspace, store, VECTOR),
            ["coveragestores", store, file] if is_upload(file) => {
                self.upload(workspace, store, LayerKind::Raster)
            }
            ["layers" | "featuretypes" | "coverages", name]
            | ["datastores" | "coveragestores", _, _, name] => self.layer(&qualified(name)),
            ["layergroups"] => self.new_group(&format!("{workspace}:")),
            ["layergroups", name] => self.group(&qualified(name)),
            ["styles"] => self.new_style(&format!("{workspace}:")),
            ["styles", name] => self.style(&qualified(name)),
            _ => Err(no_such(&parts.join("/"))),
        }
    }

    fn only_by(&self, method: &str) -> Result<(), Answer> {
        if self.request.method() == method {
            Ok(())
        } else {
            Err(Answer::container_page(405, "Method Not Allowed"))
        }
    }

    fn is_recursive(&self) -> bool {
        self.request.parameter("recurse").as_deref() == Some("true")
    }

    /// Returns the `name` of the new resource in the body, JSON or XML, or else in the query.
    fn name(&self) -> Result<String, Answer> {
        let body = &self.request.body().start;
        let in_body = match serde_json::from_slice::<Value>(body) {
            Ok(json) => json
                .as_object()
                .and_then(|members| members.values().next())
                .and_then(|made| made.get("name")?.as_str())
                .map(str::to_owned),
            Err(_) => xml::first_text(body, "name"),
        };
        in_body
            .or_else(|| self.request.parameter("name").map(|name| name.into_owned()))
            .ok_or_else(|| Answer::new(400, "text/plain", "the body names nothing"))
    }

    fn put_settings(&self) -> Result<Change, Answer> {
        self.only_by("PUT")?;
        Ok(Change::saved(Edit::ChangeSettings))
    }

    fn new_workspace(&self) -> Result<Change, Answer> {
        self.only_by("POST")?;
        let name = self.name()?;
        if self.contents.workspaces.contains(&name) {
            let text = format!("Workspace '{name}' already exists");
            return Err(Answer::new(409, "text/plain", text));
        }
        Ok(Change::made(Edit::AddWorkspace(name)))
    }

    fn workspace(&self, name: &str) -> Result<Change, Answer> {
        if !self.contents.workspaces.contains(name) {
            return Err(no_such(&format!("workspace {name}")));
        }
        if self.request.method() != "DELETE" {
            return self.put_settings();
        }
        let prefix = format!("{name}:");
        let inside = |qualified: &&String| qualified.starts_with(&prefix);
        let removals: Vec<Edit> = (self.contents.layers.keys().filter(inside))
            .map(|layer| Edit::RemoveLayer(layer.clone()))
            .chain([Edit::RemoveWorkspace(name.to_owned())])
            .collect();
        if removals.len() > 1 && !self.is_recursive() {
            return Err(Answer::new(403, "text/plain", "Workspace not empty"));
        }
        Ok(Change::of(removals, 200))
    }

    fn new_store(&self, workspace: &str, kind: StoreKind) -> Result<Change, Answer> {
        self.only_by("POST")?;
        let name = format!("{workspace}:{}", self.name()?);
        Ok(Change::made(Edit::AddStore(name, kind)))
    }

    fn store(&self, name: &str) -> Result<Change, Answer> {
        let Some(kind) = self.contents.stores.get(name) else {
            return Err(no_such(&format!("store {name}")));
        };
        if self.request.method() != "DELETE" {
            self.only_by("PUT")?;
            return Ok(Change::saved(Edit::AddStore(name.to_owned(), *kind)));
        }
        let (workspace, store) = name.split_once(':').unwrap_or_default();
        let layers =
            self.contents.layers.iter().filter(|(layer, of)| {
                of.store == store && layer.split(':').next() == Some(workspace)
            });
        let removals: Vec<Edit> = layers
            .map(|(layer, _)| Edit::RemoveLayer(layer.clone()))
            .chain([Edit::RemoveStore(name.to_owned())])
            .collect();
        if removals.len() > 1 && !self.is_recursive() {
            return Err(Answer::new(403, "text/plain", "Store not empty"));
        }
        Ok(Change::of(removals, 200))
    }

    fn new_layer(
        &self,
        workspace: &str,
        store: Option<&str>,
        kind: LayerKind,
    ) -> Result<Change, Answer> {
        self.only_by("POST")?;
        let store = store.unwrap_or("data");
        if !(self.contents.stores).contains_key(&format!("{workspace}:{store}")) {
            return Err(no_such(&format!("store {store}")));
        }
        Ok(Change::made(Edit::PutLayer {
            name: format!("{workspace}:{}", self.name()?),
            kind,
            store: store.to_owned(),
        }))
    }

    /// `PUT .../datastores/{store}/file.shp`: the store, and a layer of the uploaded data.
    fn upload(&self, workspace: &str, store: &str, kind: LayerKind) -> Result<Change, Answer> {
        self.only_by("PUT")?;
        let name = self.request.parameter("coverageName");
        let layer = name.as_deref().unwrap_or(store);
        let (holds, element) = match kind {
            LayerKind::Vector { .. } => (StoreKind::Features, "dataStore"),
            LayerKind::Raster => (StoreKind::Coverages, "coverageStore"),
        };
        let edits = vec![
            Edit::AddStore(format!("{workspace}:{store}"), holds),
            Edit::PutLayer {
                name: format!("{workspace}:{layer}"),
                kind,
                store: store.to_owned(),
            },
        ];
        let shows =
            json!({element: {"name": store, "enabled": true, "workspace": {"name": workspace}}});
        Ok(Change {
            shows: Some(shows),
            ..Change::of(edits, 201)
        })
    }

    fn layer(&self, name: &str) -> Result<Change, Answer> {
        let Some((name, layer)) = self.contents.layer(name) else {
            return Err(no_such(&format!("layer {name}")));
        };
        let name = name.to_owned();
        if self.request.method() == "DELETE" {
            return Ok(Change::saved(Edit::RemoveLayer(name)));
        }
        self.only_by("PUT")?;
        Ok(Change::saved(match self.default_style() {
            Some(style) => Edit::StyleLayer { name, style },
            None => Edit::PutLayer {
                name,
                kind: layer.kind,
                store: layer.store.clone(),
            },
        }))
    }

    /// The default style that a body gives to a layer.
    fn default_style(&self) -> Option<String> {
        let body = &self.request.body().start;
        match serde_json::from_slice::<Value>(body) {
            Ok(json) => json["layer"]["defaultStyle"]["name"]
                .as_str()
                .map(str::to_owned),
            Err(_) => {
                let start = body
                    .windows(DEFAULT_STYLE.len())
                    .position(|at| at == DEFAULT_STYLE)?;
                xml::first_text(&body[start..], "name")
            }
        }
    }

    fn new_group(&self, prefix: &str) -> Result<Change, Answer> {
        self.only_by("POST")?;
        let inside = match prefix {
            "" => self.workspace_in_body(),
            _ => None,
        };
        let prefix = inside.map_or_else(|| prefix.to_owned(), |workspace| workspace + ":");
        let name = format!("{prefix}{}", self.name()?);
        let members = self.members()?;
        Ok(Change::made(Edit::PutGroup { name, members }))
    }

    /// A group posted to the global list may name its workspace.
    fn workspace_in_body(&self) -> Option<String> {
        let body = &self.request.body().start;
        match serde_json::from_slice::<Value>(body) {
            Ok(json) => name_of(&json["layerGroup"]["workspace"]),
            Err(_) => xml::texts_in(body, "workspace", "name").into_iter().next(),
        }
    }

    fn group(&self, name: &str) -> Result<Change, Answer> {
        let Some(members) = self.contents.groups.get(name) else {
            return Err(no_such(&format!("layer group {name}")));
        };
        let name = name.to_owned();
        if self.request.method() == "DELETE" {
            return Ok(Change::saved(Edit::RemoveGroup(name)));
        }
        self.only_by("PUT")?;
        let members = self.members().unwrap_or_else(|_| members.clone());
        Ok(Change::saved(Edit::PutGroup { name, members }))
    }

    /// The layers that a body lists, which have to be there.
    fn members(&self) -> Result<Vec<String>, Answer> {
        let body = &self.request.body().start;
        let named: Vec<String> = match serde_json::from_slice::<Value>(body) {
            Ok(json) => match &json["layerGroup"]["publishables"]["published"] {
                Value::Array(published) => published.iter().filter_map(name_of).collect(),
                published => name_of(published).into_iter().collect(),
            },
            Err(_) => xml::texts_in(body, "publishables", "name"),
        };
        if named.is_empty() {
            let text = "layer group must not be empty";
            return Err(Answer::new(400, "text/plain", text));
        }
        (named.into_iter())
            .map(|name| match self.contents.layer(&name) {
                Some((qualified, _)) => Ok(qualified.to_owned()),
                None => Err(no_such(&format!("layer {name}"))),
            })
            .collect()
    }

    fn new_style(&self, prefix: &str) -> Result<Change, Answer> {
        self.only_by("POST")?;
        Ok(Change::made(Edit::PutStyle(format!(
            "{prefix}{}",
            self.name()?
        ))))
    }

    fn style(&self, name: &str) -> Result<Change, Answer> {
        if !self.contents.styles.contains_key(name) {
            return Err(no_such(&format!("style {name}")));
        }
        if self.request.method() == "DELETE" {
            return Ok(Change::saved(Edit::RemoveStyle(name.to_owned())));
        }
        self.only_by("PUT")?;
        Ok(Change::saved(Edit::PutStyle(name.to_owned())))
    }
}

const DEFAULT_STYLE: &[u8] = b"<defaultStyle>";

fn name_of(published: &Value) -> Option<String> {
    published.get("name")?.as_str().map(str::to_owned)
}

/// `file.shp`, `url.geotiff`, `external.imagemosaic`.
fn is_upload(file: &str) -> bool {
    file.split_once('.')
        .is_some_and(|(method, _)| matches!(method, "file" | "url" | "external"))
}
