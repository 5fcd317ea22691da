//! Administration that passes through: the evidence in the main's answers that its catalog changed.
//!
//! A hint costs one reading of the main's update sequence, so requests that usually change nothing
//! may be hints too. A change that moves no update sequence, but that replicas must load, is a
//! certain hint.

use super::scope;
use crate::cluster::Hint;
use crate::config::{Catalog, Config};
use crate::ogc::{CatalogEffect, Classified, RequestClass, RequestHead, normalise_path};

/// Returns the hint in a request that the main answered with `status`, if there is one.
pub fn of(
    request: &RequestHead<'_>,
    classified: &Classified,
    status: u16,
    config: &Config,
) -> Option<Hint> {
    if request.method == "OPTIONS" {
        return None;
    }
    let is_safe = matches!(request.method, "GET" | "HEAD");
    match classified.class {
        RequestClass::Admin if !is_safe && (200..300).contains(&status) => {
            Some(of_rest(request, config))
        }
        // Jobs change the catalog at their end, long after the answer to their order. Clients poll
        // for that end, and each read of a job is a reason to read the main's update sequence.
        RequestClass::Admin if request.method == http::Method::GET && status == 200 => {
            with_parts(request, config, is_job).then_some(Hint::Ui)
        }
        // Logging in or out changes nothing, whether it succeeds or not.
        RequestClass::Ui if is_login(request) => None,
        // A form, or one of Wicket's listeners, which are links with a query.
        RequestClass::Ui if status < 400 && (!is_safe || request.target.contains(&b'?')) => {
            Some(Hint::Ui)
        }
        RequestClass::Transaction if classified.operation == Some("PutStyles") && status < 300 => {
            Some(Hint::Write)
        }
        // OGC API Styles saves the style's body without an event of the catalog.
        RequestClass::Transaction if status < 300 && is_ogc_api_styles(request, config) => {
            Some(Hint::Certain)
        }
        // `gs:Import` adds a store and a layer. An asynchronous one has only begun: a later reading
        // shows that the main's update sequence has moved.
        RequestClass::Process if status < 300 => match classified.processes.catalog {
            CatalogEffect::Change => Some(Hint::Write),
            CatalogEffect::Undetermined => Some(Hint::Ui),
            CatalogEffect::None => None,
        },
        // A request that is not read with certainty may be administration.
        RequestClass::Unknown if !is_safe && status < 300 => Some(Hint::Ui),
        _ => None,
    }
}

/// True for GeoServer's login and logout, in the old and the new spelling.
fn is_login(request: &RequestHead<'_>) -> bool {
    let path = request
        .target
        .split(|b| matches!(b, b'?' | b';'))
        .next()
        .unwrap_or_default();
    let last = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    matches!(
        last,
        b"j_spring_security_check" | b"j_spring_security_logout" | b"login" | b"logout"
    )
}

/// Returns the hint in a successful write under `/rest` or `/gwc/rest`.
fn of_rest(request: &RequestHead<'_>, config: &Config) -> Hint {
    with_parts(request, config, |parts| of_parts(parts, &config.catalog))
}

/// Returns the one workspace that a write under `/rest` or `/gwc/rest` is about.
pub fn workspace(request: &RequestHead<'_>, class: RequestClass, config: &Config) -> Option<u64> {
    let of_write = |parts: &[&[u8]]| scope::of_write(parts, request.method == "DELETE");
    if class == RequestClass::Admin {
        with_parts(request, config, of_write)
    } else {
        None
    }
}

/// True for the path of a restore of a backup, or of an import and its tasks.
fn is_job(parts: &[&[u8]]) -> bool {
    matches!(
        parts,
        [b"rest", b"br", b"restore", _] | [b"rest", b"imports", _, ..]
    )
}

/// True for `/ogc/styles/...`, also below a workspace.
fn is_ogc_api_styles(request: &RequestHead<'_>, config: &Config) -> bool {
    with_parts(request, config, |parts| {
        parts
            .windows(2)
            .take(2)
            .any(|pair| pair == [b"ogc", b"styles".as_slice()])
    })
}

/// Calls `read` with the segments of the path below GeoServer's context.
pub(super) fn with_parts<T>(
    request: &RequestHead<'_>,
    config: &Config,
    read: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let raw = request
        .target
        .split(|b| *b == b'?')
        .next()
        .unwrap_or_default();
    let path = normalise_path(raw).unwrap_or_default();
    let below = path
        .strip_prefix(config.geoserver.context.as_bytes())
        .unwrap_or(&path);
    let parts: Vec<&[u8]> = below
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    read(&parts)
}

fn of_parts(parts: &[&[u8]], catalog: &Catalog) -> Hint {
    match parts {
        // The main was reloaded by hand. The replicas follow, whether or not the update sequence
        // moves.
        [b"rest", b"reload" | b"reset"] => Hint::Certain,
        // Users, roles and rules; the replicas' security is reloaded with their catalog then.
        [b"rest", b"security", ..] => Hint::Security,
        // Files of the data directory: styles, templates, icons.
        [b"rest", b"resource", ..] => Hint::Certain,
        // An import into existing stores moves no update sequence.
        [b"rest", b"imports", _, ..] => Hint::Certain,
        [b"rest", b"workspaces", _, below @ ..] if drops_cached_data(below) => Hint::Certain,
        // Tasks of one GeoServer's tile cache.
        [
            b"gwc",
            b"rest",
            b"seed" | b"masstruncate" | b"bounds" | b"statistics",
            ..,
        ] => Hint::Ui,
        [b"gwc", b"rest", ..] if catalog.reload_gwc => Hint::Certain,
        [b"gwc", ..] | [b"rest", b"logging", ..] => Hint::Ui,
        _ => Hint::Write,
    }
}

/// True if a request below a workspace changes or discards the data that a store or a layer has
/// read, but not the catalog: a reset, files uploaded into a store, a granule added to a mosaic or
/// removed from it.
fn drops_cached_data(below: &[&[u8]]) -> bool {
    let is_reset = |last: &[u8]| last == b"reset" || last.starts_with(b"reset.");
    let is_upload = |last: &[u8]| {
        let name = last.split(|b| *b == b'.').next().unwrap_or_default();
        matches!(name, b"file" | b"url" | b"external" | b"remote")
    };
    match below {
        [kind, _, .., last] if is_store_or_layer(kind) && is_reset(last) => true,
        [kind, _, last] if is_store(kind) && is_upload(last) => true,
        [b"coveragestores", _, b"coverages", _, b"index", ..] => true,
        _ => false,
    }
}

fn is_store(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"datastores" | b"coveragestores" | b"wmsstores" | b"wmtsstores"
    )
}

fn is_store_or_layer(kind: &[u8]) -> bool {
    is_store(kind)
        || matches!(
            kind,
            b"featuretypes" | b"coverages" | b"wmslayers" | b"wmtslayers"
        )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::MapEnvironment;
    use crate::ogc;

    fn config(catalog: &str) -> Config {
        let text = format!(
            "[upstreams.main]\nurl = \"http://127.0.0.1:1\"\nrole = \"main\"\n[upstreams.a]\nurl = \"http://127.0.0.1:2\"\n{catalog}"
        );
        Config::load(
            Path::new("/f.toml"),
            &MapEnvironment::new().file("/f.toml", text),
        )
        .unwrap()
        .config
    }

    fn hint(method: &str, target: &str, status: u16, catalog: &str) -> Option<Hint> {
        let head = RequestHead {
            method,
            target: target.as_bytes(),
            content_type: None,
        };
        of(
            &head,
            &ogc::classify(&head, "/geoserver", Some(b"")),
            status,
            &config(catalog),
        )
    }

    #[test]
    fn a_process_that_changes_the_catalog_is_a_hint_and_others_are_not() {
        let execute = |process: &str, status| {
            let target = format!("/geoserver/wps?request=Execute&identifier={process}");
            hint("GET", &target, status, "")
        };
        assert_eq!(execute("gs:Import", 200), Some(Hint::Write));
        assert_eq!(execute("gs:Import", 400), None);
        assert_eq!(execute("gs:Buffer", 200), None);
        // The process is not certain, and a reading of the main's update sequence costs little.
        assert_eq!(execute("", 200), Some(Hint::Ui));
        let imports = "/geoserver/ogc/processes/v1/processes/gs:Import/execution";
        assert_eq!(hint("POST", imports, 201, ""), Some(Hint::Write));
    }

    #[test]
    fn a_look_at_a_job_is_a_hint_because_the_job_may_have_ended() {
        for target in [
            "/geoserver/rest/br/restore/3.json",
            "/geoserver/rest/imports/0",
            "/geoserver/rest/imports/0/tasks/1.json",
        ] {
            assert_eq!(hint("GET", target, 200, ""), Some(Hint::Ui), "{target}");
            assert_eq!(hint("GET", target, 404, ""), None, "{target}");
            assert_eq!(hint("HEAD", target, 200, ""), None, "{target}");
        }
        for target in [
            "/geoserver/rest/br/restore.json",
            "/geoserver/rest/br/backup/3.json",
            "/geoserver/rest/imports",
        ] {
            assert_eq!(hint("GET", target, 200, ""), None, "{target}");
        }
    }

    #[test]
    fn a_write_that_succeeded_is_a_hint_and_a_read_or_a_failure_is_none() {
        assert_eq!(
            hint("POST", "/geoserver/rest/workspaces", 201, ""),
            Some(Hint::Write)
        );
        assert_eq!(
            hint("PUT", "/geoserver/rest/layers/a:b.xml", 200, ""),
            Some(Hint::Write)
        );
        assert_eq!(hint("GET", "/geoserver/rest/workspaces", 200, ""), None);
        assert_eq!(hint("POST", "/geoserver/rest/workspaces", 401, ""), None);
        assert_eq!(
            hint("GET", "/geoserver/wms?service=WMS&request=GetMap", 200, ""),
            None
        );
    }

    #[test]
    fn a_reload_of_the_main_by_hand_is_certain_in_every_spelling() {
        for target in [
            "/geoserver/rest/reload",
            "/geoserver/rest/reset",
            "/geoserver//re%73t/;x/reload?recurse=true",
        ] {
            assert_eq!(
                hint("POST", target, 200, ""),
                Some(Hint::Certain),
                "{target}"
            );
        }
    }

    #[test]
    fn changes_that_move_no_number_are_certain() {
        for (method, below) in [
            ("POST", "workspaces/geor/datastores/db/reset"),
            ("PUT", "workspaces/geor/coveragestores/mosaic/reset.json"),
            (
                "PUT",
                "workspaces/geor/datastores/db/featuretypes/roads/reset",
            ),
            ("POST", "workspaces/geor/featuretypes/roads/reset"),
            (
                "POST",
                "workspaces/geor/coveragestores/mosaic/external.imagemosaic?recalculate=nativebbox",
            ),
            (
                "PUT",
                "workspaces/geor/datastores/shapes/file.shp?update=overwrite",
            ),
            (
                "DELETE",
                "workspaces/geor/coveragestores/mosaic/coverages/c/index/granules/c.1",
            ),
            ("PUT", "resource/styles/line.sld"),
            ("POST", "imports/0"),
        ] {
            assert_eq!(
                hint(method, &format!("/geoserver/rest/{below}"), 200, ""),
                Some(Hint::Certain),
                "{below}"
            );
        }
        for target in [
            "/geoserver/ogc/styles/v1/styles/line",
            "/geoserver/geor/ogc/styles/v1/styles/line",
        ] {
            assert_eq!(
                hint("PUT", target, 204, ""),
                Some(Hint::Certain),
                "{target}"
            );
        }
        assert_eq!(
            hint("PUT", "/geoserver/ogc/styles/v1/styles/line", 400, ""),
            None
        );
        assert_eq!(
            hint(
                "POST",
                "/geoserver/ogc/features/v1/collections/geor:roads/items",
                201,
                ""
            ),
            None
        );
        assert_eq!(
            hint(
                "PUT",
                "/geoserver/rest/workspaces/geor/datastores/file",
                200,
                ""
            ),
            Some(Hint::Write)
        );
        assert_eq!(
            hint("POST", "/geoserver/rest/imports", 201, ""),
            Some(Hint::Write),
            "an import that is only described"
        );
    }

    #[test]
    fn security_is_brought_along_and_tile_configuration_where_that_is_configured() {
        let (security, gwc) = (
            "/geoserver/rest/security/usergroup/users",
            "/geoserver/gwc/rest/layers/a:b.xml",
        );
        assert_eq!(
            (hint("POST", security, 201, ""), hint("PUT", gwc, 200, "")),
            (Some(Hint::Security), Some(Hint::Ui))
        );
        let along = "[catalog]\nreload_gwc = true\n";
        assert_eq!(hint("PUT", gwc, 200, along), Some(Hint::Certain));
        assert_eq!(
            hint("POST", "/geoserver/gwc/rest/seed/a:b.json", 200, along),
            Some(Hint::Ui)
        );
    }

    #[test]
    fn actions_in_the_web_interface_are_hints_and_its_pages_are_none() {
        assert_eq!(
            hint(
                "POST",
                "/geoserver/web/wicket/page?3-1.IFormSubmitListener-form",
                302,
                ""
            ),
            Some(Hint::Ui)
        );
        assert_eq!(
            hint(
                "GET",
                "/geoserver/web/wicket/page?3-1.ILinkListener-save",
                302,
                ""
            ),
            Some(Hint::Ui)
        );
        assert_eq!(hint("GET", "/geoserver/web/", 200, ""), None);
    }

    #[test]
    fn options_are_no_hint_anywhere() {
        for target in [
            "/geoserver/rest/workspaces",
            "/geoserver/web/wicket/page?3-1.ILinkListener-save",
            "/geoserver/nothing",
        ] {
            assert_eq!(hint("OPTIONS", target, 200, ""), None, "{target}");
        }
    }

    #[test]
    fn a_login_is_no_hint_whatever_comes_of_it() {
        for target in [
            "/geoserver/j_spring_security_check",
            "/geoserver/login",
            "/geoserver/j_spring_security_logout;x?y",
        ] {
            assert_eq!(hint("POST", target, 302, ""), None, "{target}");
        }
    }

    #[test]
    fn a_style_put_by_wms_is_a_write_and_a_transaction_of_features_is_none() {
        assert_eq!(
            hint(
                "POST",
                "/geoserver/wms?service=WMS&request=PutStyles",
                200,
                ""
            ),
            Some(Hint::Write)
        );
        assert_eq!(
            hint(
                "POST",
                "/geoserver/wfs?service=WFS&request=Transaction",
                200,
                ""
            ),
            None
        );
    }
}
