//! Truncates tile caches by GeoWebCache's REST interface.

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event as XmlEvent;
use serde_json::Value;

use super::internal_request::{Answer, Deadline, InternalClient, InternalRequest, bad_status};
use super::probe::Prober;
use crate::balance::seed_of;
use crate::cluster::{Cause, TRUNCATION_LIMIT, Truncation, TruncationCall, Upstream};
use crate::config::Config;

/// Layers and groups that are truncated one by one; more are truncated with all others.
const MAX_LAYERS: usize = 200;
/// Maximum size of a list of layers or groups; a longer one is not read.
const MAX_LIST: usize = 4 << 20;
/// Maximum size of any other answer, of which only an error text matters.
const MAX_ANSWER: usize = 4 << 10;
/// GeoWebCache's texts for a layer of which it has no tiles.
const UNKNOWN_LAYER: [&str; 2] = ["Could not find layer", "Unknown layer"];

/// Drops these tiles from the cache of `upstream`.
pub(super) async fn truncate(
    prober: &Prober,
    upstream: &Upstream,
    truncation: &Truncation,
    config: &Config,
) -> Result<(), Cause> {
    let cache = Cache {
        client: prober.client(),
        upstream,
        config,
        deadline: Deadline::after(TRUNCATION_LIMIT),
    };
    match truncation {
        Truncation::All => cache.truncate_all().await,
        Truncation::TileLayer(name) => cache.truncate_layer(name).await,
        Truncation::Workspaces(workspaces) => {
            let layers = cache.tile_layers().await?;
            let layers = layers.map(|names| concerned(names, workspaces));
            cache.truncate_layers(layers).await
        }
        Truncation::Features { workspace, layer } => {
            let layers = cache.with_groups(workspace, layer).await?;
            cache.truncate_layers(layers).await
        }
        Truncation::Repeat(call) => cache.repeat(call).await,
    }
}

/// The tile layers of these workspaces, and the groups without a workspace.
fn concerned(names: Vec<String>, workspaces: &[u64]) -> Vec<String> {
    let is_concerned = |name: &String| match name.split_once(':') {
        Some((workspace, _)) => workspaces.contains(&seed_of(workspace)),
        None => true,
    };
    names.into_iter().filter(is_concerned).collect()
}

/// The tile cache of one upstream.
struct Cache<'a> {
    client: &'a InternalClient,
    upstream: &'a Upstream,
    config: &'a Config,
    deadline: Deadline,
}

impl Cache<'_> {
    async fn truncate_all(&self) -> Result<(), Cause> {
        self.mass_truncate("<truncateAll/>".to_owned()).await
    }

    async fn truncate_layer(&self, name: &str) -> Result<(), Cause> {
        let name = escape(name);
        self.mass_truncate(format!(
            "<truncateLayer><layerName>{name}</layerName></truncateLayer>"
        ))
        .await
    }

    /// Truncates these layers; all, if `None` or too many.
    async fn truncate_layers(&self, names: Option<Vec<String>>) -> Result<(), Cause> {
        let Some(names) = names.filter(|names| names.len() <= MAX_LAYERS) else {
            return self.truncate_all().await;
        };
        for name in names {
            self.truncate_layer(&name).await?;
        }
        Ok(())
    }

    async fn mass_truncate(&self, body: String) -> Result<(), Cause> {
        let target = self.target("/gwc/rest/masstruncate");
        self.send(&InternalRequest::post_as(
            "text/xml",
            target,
            Bytes::from(body),
        ))
        .await
    }

    async fn repeat(&self, call: &TruncationCall) -> Result<(), Cause> {
        let content_type = call.content_type.as_deref().unwrap_or("text/xml");
        self.send(&InternalRequest::post_as(
            content_type,
            call.target.clone(),
            Bytes::copy_from_slice(&call.body),
        ))
        .await
    }

    async fn send(&self, request: &InternalRequest) -> Result<(), Cause> {
        let answer = self.answer(request, MAX_ANSWER).await?;
        if (200..300).contains(&answer.status) || has_no_tiles(&answer) {
            Ok(())
        } else {
            Err(bad_status(answer.status))
        }
    }

    /// The layer, and the groups that may contain it: those of its workspace, which GeoServer
    /// confines to layers of the workspace, and those without one. `None` if there is no such
    /// workspace: then the name is a prefix of the client's own, and the layer is not known.
    async fn with_groups(
        &self,
        workspace: &str,
        layer: &str,
    ) -> Result<Option<Vec<String>>, Cause> {
        let in_path = utf8_percent_encode(workspace, NON_ALPHANUMERIC);
        let inside = self
            .groups(&format!("/rest/workspaces/{in_path}/layergroups.json"))
            .await?;
        let Some(inside) = inside else {
            return Ok(None);
        };
        let Some(others) = self.groups("/rest/layergroups.json").await? else {
            return Ok(None);
        };
        let names = [layer.to_owned()].into_iter().chain(inside);
        let names = names.map(|name| format!("{workspace}:{name}"));
        Ok(Some(names.chain(others).collect()))
    }

    /// The names in a list of groups; `None` if there is no such list.
    async fn groups(&self, path: &str) -> Result<Option<Vec<String>>, Cause> {
        let Some(list) = self.list(path).await? else {
            return Ok(None);
        };
        group_names(&list)
            .map(Some)
            .ok_or_else(|| Cause::Unexpected(format!("{path} is no list of layer groups")))
    }

    /// The names of all tile layers; `None` if there are too many to list.
    async fn tile_layers(&self) -> Result<Option<Vec<String>>, Cause> {
        let path = "/gwc/rest/layers.xml";
        let Some(list) = self.list(path).await? else {
            return Ok(None);
        };
        layer_names(&list)
            .map(Some)
            .ok_or_else(|| Cause::Unexpected(format!("{path} is no list of tile layers")))
    }

    /// A document that lists something; `None` if it is missing or too long.
    async fn list(&self, path: &str) -> Result<Option<Vec<u8>>, Cause> {
        let request = InternalRequest::get(self.target(path)).authenticated(true);
        let answer = self.answer(&request, MAX_LIST).await?;
        match answer.status {
            200 => Ok(answer.is_complete.then_some(answer.body)),
            404 => Ok(None),
            status => Err(bad_status(status)),
        }
    }

    async fn answer(&self, request: &InternalRequest, most: usize) -> Result<Answer, Cause> {
        let is_enough = |answer: &Answer| answer.body.len() > most;
        self.client
            .run(
                request,
                self.upstream,
                self.config,
                self.deadline,
                is_enough,
            )
            .await
    }

    fn target(&self, path: &str) -> String {
        format!("{}{path}", self.config.geoserver.context)
    }
}

/// True if GeoWebCache has no tile layer of that name, so there are no old tiles.
fn has_no_tiles(answer: &Answer) -> bool {
    let text = String::from_utf8_lossy(&answer.body);
    matches!(answer.status, 400 | 404) && UNKNOWN_LAYER.iter().any(|known| text.contains(known))
}

/// The names in `{"layerGroups": {"layerGroup": [{"name": ...}]}}`. An empty list is written as an
/// empty text.
fn group_names(list: &[u8]) -> Option<Vec<String>> {
    let list: Value = serde_json::from_slice(list).ok()?;
    match list.get("layerGroups")? {
        Value::String(text) if text.is_empty() => Some(Vec::new()),
        groups => groups
            .get("layerGroup")?
            .as_array()?
            .iter()
            .map(|group| Some(group.get("name")?.as_str()?.to_owned()))
            .collect(),
    }
}

/// The texts of the `name` elements in `<layers><layer><name>...`.
fn layer_names(list: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader::from_reader(list);
    let (mut names, mut is_list) = (Vec::new(), false);
    loop {
        match reader.read_event().ok()? {
            XmlEvent::Start(element) if element.local_name().as_ref() == b"layers" => {
                is_list = true;
            }
            XmlEvent::Empty(element) if element.local_name().as_ref() == b"layers" => {
                is_list = true;
            }
            XmlEvent::Start(element) if element.local_name().as_ref() == b"name" => {
                let text = reader.read_text(element.name()).ok()?;
                let text = quick_xml::escape::unescape(&text).ok()?;
                names.push(text.trim().to_owned());
            }
            XmlEvent::Eof => return is_list.then_some(names),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_a_list_that_may_be_empty() {
        let list =
            br#"{"layerGroups":{"layerGroup":[{"name":"a","href":"x"},{"name":"b","href":"y"}]}}"#;
        assert_eq!(group_names(list).unwrap(), ["a", "b"]);
        assert!(group_names(br#"{"layerGroups":""}"#).unwrap().is_empty());
        for other in [
            &b"<html>"[..],
            b"{}",
            br#"{"layerGroups":{"layerGroup":[{}]}}"#,
        ] {
            assert_eq!(group_names(other), None);
        }
    }

    #[test]
    fn tile_layers_are_read_from_the_list_of_names() {
        let list = b"<layers><layer><name>geor:a &amp; b</name><atom:link xmlns:atom=\"x\" rel=\"alternate\"/></layer>\
                     <layer><name>basemap</name></layer></layers>";
        assert_eq!(layer_names(list).unwrap(), ["geor:a & b", "basemap"]);
        assert!(layer_names(b"<layers/>").unwrap().is_empty());
        assert_eq!(layer_names(b"<html><name>a</name></html>"), None);
    }

    #[test]
    fn the_layers_of_a_workspace_are_concerned_and_every_group_without_one() {
        let names = ["geor:a", "nature:b", "basemap", "georgia:c"].map(str::to_owned);
        let concerned = concerned(names.to_vec(), &[seed_of("geor")]);
        assert_eq!(concerned, ["geor:a", "basemap"]);
    }
}
