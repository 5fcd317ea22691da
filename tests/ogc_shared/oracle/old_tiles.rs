//! The tiles that GeoServer drops from its own cache because of a request, or draws anew: orders to
//! GeoWebCache as its REST controllers read them, and edits of features.
//!
//! A server reads the path in the usual way here. The tiles of a request that is spelled for
//! another server are no matter of safety.

use serde_json::Value;

use super::Request;
use super::container::{self, Parameters};
use super::dispatcher::{self, Content};
use super::documents::{self, Edit};
use super::mapping::{self, Place};
use super::text::{BrokenEscape, Charset, decoded, letters, trimmed};

/// Tiles that are old on every other GeoServer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OldTiles {
    /// Those that the order names, whatever it says.
    OfOrder,
    /// Those of a tile layer.
    OfLayer(String),
    /// Those of every layer.
    All,
    /// Those of a feature type, in one of these workspaces: of the address, or of the prefix.
    OfFeatures {
        workspace: Option<String>,
        name: String,
    },
}

/// Returns the tiles that the request makes old.
pub(crate) fn old_tiles(request: &Request) -> Vec<OldTiles> {
    let (path, query) = container::split_target(&request.target);
    let Some(segments) = container::below(&container::usual_path(path), &request.context) else {
        return Vec::new();
    };
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let is_change = matches!(request.method.as_str(), "POST" | "PUT" | "DELETE");
    match names.as_slice() {
        // `MassTruncateController`
        ["gwc", "rest", "masstruncate"] if request.method == "POST" => vec![OldTiles::OfOrder],
        // `SeedController`
        ["gwc", "rest", "seed", layer] if request.method == "POST" => {
            let is_old = |kind: &String| matches!(kind.as_str(), "truncate" | "reseed");
            let is_any = kinds(layer, request, query).iter().any(is_old);
            let old = is_any.then(|| OldTiles::OfLayer(tile_layer(layer)));
            old.into_iter().collect()
        }
        // `TileLayerController`
        ["gwc", "rest", "layers", layer] if is_change => {
            vec![OldTiles::OfLayer(tile_layer(layer))]
        }
        // `GridSetController`, `BlobStoreController`
        ["gwc", "rest", "gridsets" | "blobstores", _] if is_change => vec![OldTiles::All],
        _ => of_edits(&segments, request, query),
    }
}

/// The tile layer that the last segment of an address names.
fn tile_layer(segment: &str) -> String {
    let bare = [".xml", ".json"]
        .iter()
        .find_map(|format| segment.strip_suffix(format));
    bare.unwrap_or(segment).to_owned()
}

/// Returns the kinds of the task that an order names, in lower case, as one or another version of
/// GeoWebCache may read them.
fn kinds(layer: &str, request: &Request, query: &[u8]) -> Vec<String> {
    let text = letters(&request.body, Charset::Utf8);
    let content_type = request.content_type.as_deref().unwrap_or_default();
    let is_json = content_type.contains("json");
    let is_xml = content_type.contains("xml");
    let found = if layer.ends_with(".json") || is_json && !layer.contains('.') {
        let document: Option<Value> = serde_json::from_str(&text).ok();
        let kind = document.and_then(|document| {
            let kind = document.get("seedRequest")?.get("type")?.as_str()?;
            Some(kind.to_owned())
        });
        kind.into_iter().collect()
    } else if layer.ends_with(".xml") || is_xml && !layer.contains('.') {
        documents::texts_of(&request.body, "type")
    } else {
        // `FormService`, whose values are those of the query, and of the body in one way or two.
        let is_kind = |(name, _): &(String, String)| name == "type";
        let of = |parameters: Vec<Parameters>| {
            parameters
                .into_iter()
                .flatten()
                .filter(is_kind)
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
        };
        let decoded = decoded(&request.body, true, BrokenEscape::Kept).unwrap_or_default();
        let of_body = of(container::parameters(&request.body));
        let of_decoded = of(container::parameters(&decoded));
        [of(container::parameters(query)), of_body, of_decoded].concat()
    };
    found
        .iter()
        .map(|kind| trimmed(kind).to_ascii_lowercase())
        .collect()
}

/// The edits of a WFS Transaction, or of an item of OGC API Features.
fn of_edits(segments: &[String], request: &Request, query: &[u8]) -> Vec<OldTiles> {
    let mut found = Vec::new();
    for place in mapping::places(segments, true).usual {
        match place {
            Place::Ows { segments: service } => {
                let workspace = (service.len() < segments.len()).then(|| segments[0].clone());
                let content = Content::of(request, query);
                let edits = dispatcher::edits(&service, &content);
                found.extend(edits.into_iter().map(|edit| of_edit(edit, &workspace)));
            }
            Place::OgcApi { segments: api }
                if ["POST", "PUT", "PATCH", "DELETE"].contains(&request.method.as_str()) =>
            {
                let names: Vec<&str> = api.iter().map(String::as_str).collect();
                if let ["features", "v1", "collections", collection, "items", ..] = names.as_slice()
                {
                    let workspace = (api.len() + 1 < segments.len()).then(|| segments[0].clone());
                    let (prefix, name) = split(collection);
                    let edit = Edit::Features {
                        prefix: prefix.to_owned(),
                        name: name.to_owned(),
                    };
                    // A workspace has no collection with the prefix of another one.
                    found.push(of_edit(edit, &workspace.filter(|_| prefix.is_empty())));
                }
            }
            _ => {}
        }
    }
    found
}

fn of_edit(edit: Edit, in_path: &Option<String>) -> OldTiles {
    match edit {
        Edit::Features { prefix, name } => OldTiles::OfFeatures {
            workspace: in_path
                .clone()
                .or_else(|| (!prefix.is_empty()).then_some(prefix)),
            name,
        },
        Edit::Anything => OldTiles::All,
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("", name))
}
