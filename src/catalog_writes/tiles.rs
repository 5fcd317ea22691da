//! Tiles that a request has made old, where each GeoServer has a tile cache of its own: orders to
//! GeoWebCache, and edits of features.
//!
//! The GeoServer that answered has dropped them from its own cache. Changes of the catalog are not
//! here: another GeoServer draws them only after its catalog reload, and drops the tiles then.

use std::sync::Arc;

use percent_encoding::percent_decode;

use super::hints::with_parts;
use crate::cluster::{Truncation, TruncationCall};
use crate::config::Config;
use crate::ogc::{self, ChangedType, Classified, RequestClass, RequestHead, Service};

/// Maximum body of an order that is repeated as it came. The orders of GeoWebCache's own form and
/// of clients have a few hundred bytes.
const MAX_CALL: usize = 8 << 10;

/// Extensions by which GeoWebCache names formats.
const FORMATS: [&str; 3] = [".xml", ".json", ".html"];

/// The body of a request.
#[derive(Clone, Copy, Debug)]
pub enum SentBody<'a> {
    /// All of it, as it was sent.
    Whole(&'a [u8]),
    /// Only a part of it is known, or it is compressed.
    Partly,
}

impl<'a> SentBody<'a> {
    fn whole(self) -> Option<&'a [u8]> {
        match self {
            Self::Whole(body) => Some(body),
            Self::Partly => None,
        }
    }
}

/// The tiles that a request has made old which was answered with success.
pub fn made_old(
    request: &RequestHead<'_>,
    classified: &Classified,
    body: SentBody<'_>,
    config: &Config,
) -> Vec<Truncation> {
    if matches!(request.method, "GET" | "HEAD" | "OPTIONS") {
        return Vec::new();
    }
    match classified.class {
        RequestClass::Admin => with_parts(request, config, |parts| of_order(parts, request, body))
            .into_iter()
            .collect(),
        RequestClass::Transaction => of_edit(request, classified, body, config),
        _ => Vec::new(),
    }
}

/// An order to GeoWebCache. `parts`: the path below the servlet context.
fn of_order(parts: &[&[u8]], request: &RequestHead<'_>, body: SentBody<'_>) -> Option<Truncation> {
    let [b"gwc", b"rest", order @ ..] = parts else {
        return None;
    };
    match order {
        [b"masstruncate", ..] => Some(repeated(request, body).unwrap_or(Truncation::All)),
        [b"seed", layer] => match task(request, body) {
            Task::Seed | Task::Kill => None,
            Task::Truncate => Some(repeated(request, body).unwrap_or_else(|| tile_layer(layer))),
            // A reseed draws new tiles over old ones, and only in the cache of one GeoServer.
            Task::Other => Some(tile_layer(layer)),
        },
        [b"layers", layer] => Some(tile_layer(layer)),
        [b"gridsets" | b"blobstores", _] => Some(Truncation::All),
        _ => None,
    }
}

/// The tile layer of this name in a path, perhaps with the extension of a format.
fn tile_layer(part: &[u8]) -> Truncation {
    let Ok(name) = str::from_utf8(part) else {
        return Truncation::All;
    };
    let bare = FORMATS.iter().find_map(|format| name.strip_suffix(format));
    Truncation::TileLayer(bare.unwrap_or(name).to_owned())
}

/// The same order for another GeoServer; `None` if it cannot be repeated.
fn repeated(request: &RequestHead<'_>, body: SentBody<'_>) -> Option<Truncation> {
    let body = body.whole().filter(|body| body.len() <= MAX_CALL)?;
    let call = TruncationCall {
        target: str::from_utf8(request.target).ok()?.to_owned(),
        content_type: request.content_type.map(str::to_owned),
        body: body.to_vec(),
    };
    (request.method == "POST").then(|| Truncation::Repeat(Arc::new(call)))
}

/// A task of GeoWebCache for one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// It draws the tiles that are missing.
    Seed,
    Truncate,
    /// It ends other tasks.
    Kill,
    /// A reseed, or something unreadable.
    Other,
}

/// The task that a form, an XML or a JSON document orders. GeoWebCache also takes the values of a
/// form from the query, and which of the three it reads depends on its version.
fn task(request: &RequestHead<'_>, body: SentBody<'_>) -> Task {
    let Some(body) = body.whole() else {
        return Task::Other;
    };
    let query = request.target.splitn(2, |byte| *byte == b'?').nth(1);
    let mut types = match body.trim_ascii_start().first() {
        Some(b'<') => types_in(body, b"<type", b">", b"<"),
        Some(b'{') => types_in(body, b"\"type\"", b":\"", b"\""),
        _ => Vec::new(),
    };
    for pairs in [query.unwrap_or_default(), body] {
        types.extend(types_in_form(pairs));
    }
    match types.as_slice() {
        types if types.iter().any(|name| name == b"truncate") => Task::Truncate,
        [] if body.starts_with(b"kill_all=") => Task::Kill,
        [] => Task::Other,
        types if types.iter().all(|name| name == b"seed") => Task::Seed,
        _ => Task::Other,
    }
}

/// The texts that stand behind `key` in a document, between `before` and `behind`, without blanks
/// and in lower case. A document in which other texts may stand for these has an empty one.
fn types_in(document: &[u8], key: &[u8], before: &[u8], behind: &[u8]) -> Vec<Vec<u8>> {
    let text = folded(document);
    let has = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    let value = |at: usize| {
        let rest = text[at + key.len()..].strip_prefix(before)?;
        let end = rest
            .windows(behind.len())
            .position(|window| window == behind)?;
        Some(rest[..end].to_vec())
    };
    let named = text
        .windows(key.len())
        .enumerate()
        .filter(|(_, window)| *window == key)
        .map(|(at, _)| value(at).unwrap_or_default());
    // References, sections, comments, and the escapes of JSON.
    let has_others = has(b"&") || has(b"<!") || has(b"\\");
    named.chain(has_others.then(Vec::new)).collect()
}

/// The values of `type` in the pairs of a form. GeoWebCache decodes a form before it splits it.
fn types_in_form(pairs: &[u8]) -> Vec<Vec<u8>> {
    let decoded: Vec<u8> = percent_decode(pairs).collect();
    decoded
        .split(|byte| *byte == b'&' || byte.is_ascii_whitespace())
        .filter_map(|pair| Some(folded(pair).strip_prefix(b"type=")?.to_vec()))
        .collect()
}

/// The text without blanks and in lower case.
fn folded(text: &[u8]) -> Vec<u8> {
    let letters = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    letters.map(u8::to_ascii_lowercase).collect()
}

/// Features that were changed by WFS or by OGC API Features.
fn of_edit(
    request: &RequestHead<'_>,
    classified: &Classified,
    body: SentBody<'_>,
    config: &Config,
) -> Vec<Truncation> {
    match (classified.service, classified.operation) {
        (Some(Service::OgcApi), _) => with_parts(request, config, of_collection)
            .into_iter()
            .collect(),
        (Some(Service::Gsr), _) => vec![Truncation::All],
        (Some(Service::Wfs) | None, Some("Transaction") | None) => {
            let in_path = classified.workspace.map(|span| span.of(request.target));
            let changed = body.whole().and_then(ogc::changed_types);
            let features = changed.and_then(|types| features(types, in_path));
            features.unwrap_or_else(|| vec![Truncation::All])
        }
        _ => Vec::new(),
    }
}

/// An item of a collection in the path: `/ogc/features/v1/collections/geor:roads/items/...`, below
/// a workspace perhaps.
fn of_collection(parts: &[&[u8]]) -> Option<Truncation> {
    let at = parts.iter().position(|part| *part == b"collections")?;
    let collection = str::from_utf8(parts.get(at + 1)?).ok()?;
    let in_path = (parts[0] != b"ogc").then(|| str::from_utf8(parts[0]).ok());
    let (prefix, layer) = collection.split_once(':').unwrap_or(("", collection));
    let workspace = match (prefix, in_path.flatten()) {
        ("", Some(workspace)) => workspace,
        ("", None) => return Some(Truncation::All),
        (prefix, _) => prefix,
    };
    Some(Truncation::Features {
        workspace: workspace.to_owned(),
        layer: layer.to_owned(),
    })
}

/// The truncations for these types; `None` if the workspace of one is not known. `in_path`: the
/// workspace of the address, which goes before every prefix.
fn features(types: Vec<ChangedType>, in_path: Option<&[u8]>) -> Option<Vec<Truncation>> {
    let in_path = match in_path {
        Some(name) => Some(percent_decode(name).decode_utf8().ok()?.into_owned()),
        None => None,
    };
    let one = |changed: ChangedType| {
        Some(Truncation::Features {
            workspace: in_path.clone().or(changed.prefix)?,
            layer: changed.name,
        })
    };
    types.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::MapEnvironment;

    fn config() -> Config {
        let text = "[upstreams.main]\nurl = \"http://127.0.0.1:1\"\nrole = \"main\"\n[upstreams.a]\nurl = \"http://127.0.0.1:2\"\n";
        let world = MapEnvironment::new().file("/f.toml", text);
        Config::load(Path::new("/f.toml"), &world).unwrap().config
    }

    fn old(method: &str, target: &str, content_type: &str, body: SentBody<'_>) -> Vec<Truncation> {
        let head = RequestHead {
            method,
            target: target.as_bytes(),
            content_type: Some(content_type),
        };
        let classified = ogc::classify(&head, "/geoserver", body.whole());
        made_old(&head, &classified, body, &config())
    }

    fn order(target: &str, body: &str) -> Vec<Truncation> {
        let body = SentBody::Whole(body.as_bytes());
        old(
            "POST",
            &format!("/geoserver/gwc/rest/{target}"),
            "text/xml",
            body,
        )
    }

    fn edit(target: &str, actions: &str) -> Vec<Truncation> {
        let body =
            format!("<Transaction service=\"WFS\" version=\"1.1.0\">{actions}</Transaction>");
        old("POST", target, "text/xml", SentBody::Whole(body.as_bytes()))
    }

    fn tiles_of(name: &str) -> Vec<Truncation> {
        vec![Truncation::TileLayer(name.to_owned())]
    }

    fn features_of(workspace: &str, layer: &str) -> Truncation {
        Truncation::Features {
            workspace: workspace.to_owned(),
            layer: layer.to_owned(),
        }
    }

    #[test]
    fn an_order_to_truncate_is_repeated_as_it_came() {
        let layer = "<truncateLayer><layerName>geor:roads</layerName></truncateLayer>";
        for (target, body) in [
            ("masstruncate", layer),
            (
                "seed/geor:roads.xml",
                "<seedRequest><type>TRUNCATE</type></seedRequest>",
            ),
            (
                "seed/geor:roads.json",
                "{\"seedRequest\": {\"type\" : \"truncate\"}}",
            ),
            ("seed/geor:roads", "zoomStart=0&type=truncate&zoomStop=3"),
            ("seed/geor:roads?type=truncate&minX=", ""),
            ("seed/geor:roads?type=truncate&minX=", "type=seed"),
        ] {
            let [Truncation::Repeat(call)] = &order(target, body)[..] else {
                panic!("{target} is not repeated");
            };
            assert_eq!(call.target, format!("/geoserver/gwc/rest/{target}"));
            assert_eq!(call.content_type.as_deref(), Some("text/xml"));
            assert_eq!(call.body, body.as_bytes());
        }
    }

    #[test]
    fn an_order_that_cannot_be_repeated_drops_more() {
        let target = "/geoserver/gwc/rest/masstruncate";
        let partly = old("POST", target, "text/xml", SentBody::Partly);
        assert_eq!(partly, [Truncation::All]);
        let long = "x".repeat(MAX_CALL + 1);
        assert_eq!(order("masstruncate", &long), [Truncation::All]);
        let long = format!("type=truncate&x={long}");
        assert_eq!(order("seed/geor:roads.xml", &long), tiles_of("geor:roads"));
    }

    #[test]
    fn a_reseed_and_a_changed_tile_layer_drop_the_tiles_of_the_layer() {
        let reseed = "<seedRequest><name>geor:roads</name><type>reseed</type></seedRequest>";
        for (target, body) in [
            ("seed/geor:roads.xml", reseed),
            (
                "seed/geor%3Aroads.xml",
                "<seedRequest><type>&#115;eed</type></seedRequest>",
            ),
            (
                "seed/geor:roads.xml",
                "<seedRequest><type>seed</type><type x='y'>truncate</type></seedRequest>",
            ),
            (
                "seed/geor:roads.json",
                "{\"seedRequest\":{\"type\":\"seed\",\"\\u0074ype\":\"truncate\"}}",
            ),
            ("seed/geor:roads?type=reseed", "type=seed&zoomStart=0"),
            ("layers/geor:roads.xml", "<GeoServerLayer/>"),
        ] {
            assert_eq!(order(target, body), tiles_of("geor:roads"), "{target}");
        }
        assert_eq!(order("gridsets/EPSG:2154.xml", ""), [Truncation::All]);
    }

    #[test]
    fn a_seed_a_kill_and_a_read_drop_nothing() {
        for (target, body) in [
            (
                "seed/geor:roads.xml",
                "<seedRequest><name>truncate_me</name><type>seed</type></seedRequest>",
            ),
            (
                "seed/prototype:roads.json",
                "{\"seedRequest\": {\"name\": \"prototype:roads\", \"type\": \"SEED\"}}",
            ),
            ("seed/geor:roads", "zoomStart=0&type=seed"),
            ("seed/geor:roads", "kill_all=all"),
            ("reload", "reload_configuration=1"),
        ] {
            assert_eq!(order(target, body), [], "{target} {body}");
        }
        let read = old(
            "GET",
            "/geoserver/gwc/rest/masstruncate",
            "",
            SentBody::Whole(b""),
        );
        assert_eq!(read, []);
        let map = "/geoserver/wms?service=WMS&request=GetMap";
        assert_eq!(old("POST", map, "", SentBody::Whole(b"")), []);
    }

    #[test]
    fn changed_features_drop_the_tiles_of_their_layers() {
        let changes = "<Delete typeName=\"geor:roads\"/><Insert><urban:zoning/></Insert>";
        assert_eq!(
            edit("/geoserver/wfs", changes),
            [features_of("geor", "roads"), features_of("urban", "zoning")]
        );
        assert_eq!(
            edit("/geoserver/geor/wfs", "<Delete typeName=\"x:roads\"/>"),
            [features_of("geor", "roads")],
            "the address goes before the prefix"
        );
        let items = "/geoserver/ogc/features/v1/collections/geor:roads/items";
        let made = old(
            "POST",
            items,
            "application/geo+json",
            SentBody::Whole(b"{}"),
        );
        assert_eq!(made, [features_of("geor", "roads")]);
        let items = "/geoserver/geor/ogc/features/v1/collections/:roads/items";
        let made = old("POST", items, "application/geo+json", SentBody::Partly);
        assert_eq!(made, [features_of("geor", "roads")]);
    }

    #[test]
    fn features_of_an_unknown_layer_drop_all_tiles() {
        for collection in ["roads", ":roads"] {
            let items = format!("/geoserver/ogc/features/v1/collections/{collection}/items");
            let made = old("POST", &items, "application/geo+json", SentBody::Partly);
            assert_eq!(made, [Truncation::All], "{collection}");
        }
        for actions in ["<Delete typeName=\"roads\"/>", "<Native vendorId=\"x\"/>"] {
            assert_eq!(edit("/geoserver/wfs", actions), [Truncation::All]);
        }
        let wfs = "/geoserver/wfs?service=WFS&request=Transaction";
        let partly = old("POST", wfs, "text/xml", SentBody::Partly);
        assert_eq!(partly, [Truncation::All]);
    }

    #[test]
    fn a_lock_and_a_put_style_drop_nothing() {
        let lock = "<LockFeature service=\"WFS\" version=\"1.1.0\"/>".as_bytes();
        assert_eq!(
            old("POST", "/geoserver/wfs", "text/xml", SentBody::Whole(lock)),
            []
        );
        let style = "/geoserver/wms?service=WMS&request=PutStyles";
        assert_eq!(old("POST", style, "text/xml", SentBody::Whole(b"")), []);
    }
}
