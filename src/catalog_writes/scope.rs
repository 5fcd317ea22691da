//! The workspace that a request reads or writes.
//!
//! A workspace is stated only where it is certain. A request that names several workspaces, or
//! none, may concern all of them.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::balance::seed_of;
use crate::cluster::About;
use crate::ogc::{Classified, Service};

/// Extensions by which REST names formats.
const FORMATS: [&str; 4] = [".xml", ".json", ".html", ".sld"];

/// The hash by which workspaces are compared.
pub fn workspace(name: &str) -> u64 {
    seed_of(name)
}

/// Returns the workspace that a read is about, if it is certain.
pub fn about(classified: &Classified, target: &[u8]) -> About {
    let text = |span: crate::ogc::Span| -> Cow<'_, [u8]> { percent_decode(span.of(target)).into() };
    // The name of a process shows no layer.
    let layer = classified
        .layer
        .filter(|_| classified.service != Some(Service::Wps));
    let (in_path, layers) = (classified.workspace.map(text), layer.map(text));
    let name = match (&in_path, &layers) {
        (Some(workspace), _) => std::str::from_utf8(workspace).ok(),
        (None, Some(layers)) => std::str::from_utf8(layers).ok().and_then(common),
        (None, None) => None,
    };
    name.map_or(About::Anything, |name| About::Workspace(workspace(name)))
}

/// Returns the workspace that all of these layers belong to, if there is one.
fn common(layers: &str) -> Option<&str> {
    let mut workspaces = layers
        .split(',')
        .map(|layer| layer.trim().split_once(':').map(|(workspace, _)| workspace));
    let first = workspaces.next()??;
    (!first.is_empty() && workspaces.all(|other| other == Some(first))).then_some(first)
}

/// Returns the workspace that a REST write is about. `parts`: the path below the servlet context.
/// `is_removal`: the request removes something, so it gives nothing a new name.
pub fn of_write(parts: &[&[u8]], is_removal: bool) -> Option<u64> {
    let name = match parts {
        // A change that is no removal may rename the workspace.
        [b"rest", b"workspaces" | b"namespaces", name] if is_removal => without_format(name)?,
        [b"rest", b"workspaces", name, _, ..] => std::str::from_utf8(name).ok()?,
        [b"rest", b"layers", layer, ..] | [b"gwc", b"rest", b"layers", layer] => {
            without_format(layer)?
                .split_once(':')
                .map(|(workspace, _)| workspace)?
        }
        _ => return None,
    };
    // A write to `default` makes another workspace the default.
    (!name.is_empty() && name != "default").then(|| workspace(name))
}

fn without_format(part: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(part).ok()?;
    Some(
        FORMATS
            .iter()
            .find_map(|format| name.strip_suffix(format))
            .unwrap_or(name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ogc::{self, RequestHead};

    fn read(target: &str) -> About {
        let head = RequestHead {
            method: "GET",
            target: target.as_bytes(),
            content_type: None,
        };
        about(
            &ogc::classify(&head, "/geoserver", Some(b"")),
            target.as_bytes(),
        )
    }

    #[test]
    fn a_read_is_about_the_workspace_of_its_path_or_of_all_its_layers() {
        let geor = About::Workspace(workspace("geor"));
        let map = |layers: &str| {
            read(&format!(
                "/geoserver/wms?service=WMS&request=GetMap&layers={layers}"
            ))
        };
        assert_eq!(
            (
                map("geor:a"),
                map("geor%3Aa%2Cgeor%3Ab"),
                map("geor:a,geor:b")
            ),
            (geor, geor, geor)
        );
        assert_eq!(
            (map("geor:a,other:b"), map("a"), map("geor:a,b"), map("")),
            (
                About::Anything,
                About::Anything,
                About::Anything,
                About::Anything
            )
        );
        assert_eq!(
            read("/geoserver/geor/wms?service=WMS&request=GetMap&layers=a"),
            geor
        );
        assert_eq!(
            read("/geoserver/wps?service=WPS&request=Execute&identifier=gs:PagedUnique"),
            About::Anything,
            "a process is no layer"
        );
    }

    #[test]
    fn a_write_is_about_the_workspace_in_its_path_where_that_is_certain() {
        let of = |path: &str, is_removal| {
            let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
            of_write(&parts, is_removal)
        };
        let geor = Some(workspace("geor"));
        for path in [
            "rest/workspaces/geor/datastores/a.xml",
            "rest/layers/geor:a.json",
            "rest/layers/geor:a/styles",
            "gwc/rest/layers/geor:a.xml",
        ] {
            assert_eq!(of(path, false), geor, "{path}");
        }
        assert_eq!(
            (
                of("rest/workspaces/geor", true),
                of("rest/namespaces/geor.xml", true)
            ),
            (geor, geor)
        );
        for path in [
            "rest/workspaces",
            "rest/workspaces/geor",
            "rest/workspaces/default/x",
            "rest/styles/a",
            "rest/layers/a",
            "rest/settings",
        ] {
            assert_eq!(of(path, false), None, "{path}");
        }
    }
}
