//! The catalog by REST: workspaces, stores, layers and styles, listed, made and removed. Every
//! change is in the data directory, and in `updateSequence`, by the time it is answered.

use serde_json::{Value, json};

use super::answer::Answer;
use super::data_directory::{Contents, Edit, LayerKind};
use super::exception::escape;
use super::life::Life;
use super::request::Request;
use super::rest_path::{JSON, RestPath, XML, no_such};
use super::xml;

/// What a request wants of the catalog.
enum Wish {
    List(&'static str, Vec<String>),
    Show(&'static str, String),
    Change(Vec<Edit>, u16),
    Refuse(Answer),
}

pub(super) async fn answer(
    life: &Life,
    request: &Request,
    path: &str,
    address: &RestPath<'_>,
) -> Answer {
    if matches!(request.method(), "GET" | "HEAD") {
        let _no_reload = life.configuration_lock.read().await;
        return render(
            read(&life.catalog().contents, address),
            address.wants_json(request),
        );
    }
    let _all_others_wait = life.configuration_lock.write().await;
    match change(&life.catalog().contents, request, address) {
        Wish::Change(edits, status) => {
            life.note_write(&format!("{} /rest{path}", request.method()), request);
            edits.iter().for_each(|edit| life.edit(edit));
            Answer::empty(status)
        }
        other => render(other, false),
    }
}

pub(super) async fn change_settings(life: &Life, request: &Request) -> Answer {
    let _all_others_wait = life.configuration_lock.write().await;
    life.note_write("PUT /rest/settings", request);
    life.edit(&Edit::ChangeSettings);
    Answer::empty(200)
}

fn read(contents: &Contents, address: &RestPath<'_>) -> Wish {
    let inside = |workspace: &str| -> Vec<String> {
        let prefix = format!("{workspace}:");
        contents
            .layers
            .keys()
            .filter_map(|name| name.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect()
    };
    match address.parts[..] {
        ["workspaces"] => Wish::List("workspace", contents.workspaces.iter().cloned().collect()),
        ["workspaces", name] if contents.workspaces.contains(name) => {
            Wish::Show("workspace", name.to_owned())
        }
        ["workspaces", name, "layers" | "featuretypes"] if contents.workspaces.contains(name) => {
            Wish::List("layer", inside(name))
        }
        ["workspaces", workspace, "layers" | "featuretypes", layer]
        | [
            "workspaces",
            workspace,
            "datastores" | "coveragestores",
            _,
            _,
            layer,
        ] if contents
            .layers
            .contains_key(&format!("{workspace}:{layer}")) =>
        {
            Wish::Show("layer", layer.to_owned())
        }
        [
            "workspaces",
            workspace,
            "datastores" | "coveragestores",
            store,
        ] if contents.stores.contains(&format!("{workspace}:{store}")) => {
            Wish::Show("dataStore", store.to_owned())
        }
        ["layers"] => Wish::List("layer", contents.layers.keys().cloned().collect()),
        ["layers", name] if contents.layer(name).is_some() => Wish::Show("layer", name.to_owned()),
        ["styles"] => Wish::List("style", contents.styles.iter().cloned().collect()),
        ["styles", name] if contents.styles.contains(name) => Wish::Show("style", name.to_owned()),
        _ => Wish::Refuse(no_such(&address.parts.join("/"))),
    }
}

fn change(contents: &Contents, request: &Request, address: &RestPath<'_>) -> Wish {
    let name = name_in(request);
    let created = |edit: fn(String) -> Edit, prefix: &str| match &name {
        Some(name) => Wish::Change(vec![edit(format!("{prefix}{name}"))], 201),
        None => Wish::Refuse(Answer::new(400, "text/plain", "the body names nothing")),
    };
    match (request.method(), &address.parts[..]) {
        ("POST", ["workspaces"]) => match &name {
            Some(name) if contents.workspaces.contains(name) => Wish::Refuse(Answer::new(
                409,
                "text/plain",
                format!("Workspace '{name}' already exists"),
            )),
            _ => created(Edit::AddWorkspace, ""),
        },
        ("POST", ["styles"]) => created(Edit::PutStyle, ""),
        ("POST", ["workspaces", workspace, "datastores" | "coveragestores"])
            if contents.workspaces.contains(*workspace) =>
        {
            created(Edit::AddStore, &format!("{workspace}:"))
        }
        (
            "POST",
            ["workspaces", workspace, "datastores", _, "featuretypes"]
            | ["workspaces", workspace, "featuretypes"],
        ) if contents.workspaces.contains(*workspace) => created(
            |name| Edit::PutLayer(name, LayerKind::Vector { features: 10 }),
            &format!("{workspace}:"),
        ),
        ("POST", ["workspaces", workspace, "coveragestores", _, "coverages"])
            if contents.workspaces.contains(*workspace) =>
        {
            created(
                |name| Edit::PutLayer(name, LayerKind::Raster),
                &format!("{workspace}:"),
            )
        }
        (
            _,
            [
                "workspaces",
                workspace,
                kind @ ("datastores" | "coveragestores"),
                store,
            ],
        ) => {
            match (
                request.method(),
                contents.stores.contains(&format!("{workspace}:{store}")),
            ) {
                ("DELETE", true) => {
                    Wish::Change(vec![Edit::RemoveStore(format!("{workspace}:{store}"))], 200)
                }
                ("PUT", true) => {
                    Wish::Change(vec![Edit::AddStore(format!("{workspace}:{store}"))], 200)
                }
                _ => Wish::Refuse(no_such(kind)),
            }
        }
        // A cache drop of one store: nothing of the catalog changes.
        ("POST" | "PUT", ["workspaces", _, "datastores" | "coveragestores", _, "reset"]) => {
            Wish::Change(Vec::new(), 200)
        }
        ("DELETE", ["workspaces", workspace]) if contents.workspaces.contains(*workspace) => {
            remove_workspace(contents, request, workspace)
        }
        (method, ["layers", layer]) => change_layer(contents, method, layer),
        (method, ["workspaces", workspace, "layers" | "featuretypes", layer]) => {
            change_layer(contents, method, &format!("{workspace}:{layer}"))
        }
        ("PUT", ["styles", style]) if contents.styles.contains(*style) => {
            Wish::Change(vec![Edit::PutStyle((*style).to_owned())], 200)
        }
        ("DELETE", ["styles", style]) if contents.styles.contains(*style) => {
            Wish::Change(vec![Edit::RemoveStyle((*style).to_owned())], 200)
        }
        _ => Wish::Refuse(no_such(&address.parts.join("/"))),
    }
}

fn remove_workspace(contents: &Contents, request: &Request, workspace: &str) -> Wish {
    let prefix = format!("{workspace}:");
    let layers: Vec<&String> = contents
        .layers
        .keys()
        .filter(|name| name.starts_with(&prefix))
        .collect();
    if !layers.is_empty() && request.parameter("recurse").as_deref() != Some("true") {
        return Wish::Refuse(Answer::new(403, "text/plain", "Workspace not empty"));
    }
    let removals = layers
        .into_iter()
        .map(|layer| Edit::RemoveLayer(layer.clone()));
    Wish::Change(
        removals
            .chain([Edit::RemoveWorkspace(workspace.to_owned())])
            .collect(),
        200,
    )
}

fn change_layer(contents: &Contents, method: &str, layer: &str) -> Wish {
    match (method, contents.layer(layer)) {
        ("PUT", Some((name, layer))) => {
            Wish::Change(vec![Edit::PutLayer(name.to_owned(), layer.kind)], 200)
        }
        ("DELETE", Some((name, _))) => Wish::Change(vec![Edit::RemoveLayer(name.to_owned())], 200),
        _ => Wish::Refuse(no_such(&format!("layer {layer}"))),
    }
}

/// The `name` that a body gives to what it makes, JSON or XML.
fn name_in(request: &Request) -> Option<String> {
    let body = &request.body().start;
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        let made = json.as_object()?.values().next()?;
        return made.get("name")?.as_str().map(str::to_owned);
    }
    xml::first_text(body, "name")
        .or_else(|| request.parameter("name").map(std::borrow::Cow::into_owned))
}

fn render(wish: Wish, is_json: bool) -> Answer {
    match wish {
        Wish::Refuse(answer) => answer,
        Wish::Change(..) => unreachable!("changes are made, not rendered"),
        Wish::List(kind, names) if is_json => {
            let entries: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            Answer::ok(
                JSON,
                json!({format!("{kind}s"): {kind: entries}}).to_string(),
            )
        }
        Wish::List(kind, names) => {
            let entries: String = names
                .iter()
                .map(|name| format!("<{kind}><name>{}</name></{kind}>", escape(name)))
                .collect();
            Answer::ok(XML, format!("<{kind}s>{entries}</{kind}s>"))
        }
        Wish::Show(kind, name) if is_json => {
            Answer::ok(JSON, json!({kind: {"name": name}}).to_string())
        }
        Wish::Show(kind, name) => Answer::ok(
            XML,
            format!("<{kind}><name>{}</name></{kind}>", escape(&name)),
        ),
    }
}
