//! Administration seen passing through: what an answer of the main tells about its catalog.
//!
//! A hint costs one reading of the main's number, so what changes nothing more often than not may be one too. What moves no
//! number and yet is news to the replicas is said to be certain.

use pingora::http::RequestHeader;

use crate::cluster::Hint;
use crate::config::{Catalog, Config};
use crate::ogc::{Classified, RequestClass, normalise_path};

/// The hint in a request that the main answered with `status`, if there is one.
pub fn of(request: &RequestHeader, classified: &Classified, status: u16, config: &Config) -> Option<Hint> {
    if request.method == http::Method::OPTIONS {
        return None;
    }
    let is_safe = matches!(request.method.as_str(), "GET" | "HEAD");
    match classified.class {
        RequestClass::Admin if !is_safe && (200..300).contains(&status) => Some(of_rest(request, config)),
        // A form, or one of Wicket's listeners, which are links with a query.
        RequestClass::Ui if status < 400 && (!is_safe || request.uri.query().is_some()) => Some(Hint::Ui),
        RequestClass::Transaction if classified.operation == Some("PutStyles") && status < 300 => Some(Hint::Write),
        // Written in a way that we do not read: it may have been administration.
        RequestClass::Unknown if !is_safe && status < 300 => Some(Hint::Ui),
        RequestClass::Admin
        | RequestClass::Ui
        | RequestClass::Transaction
        | RequestClass::Unknown
        | RequestClass::Tile
        | RequestClass::Info
        | RequestClass::Map
        | RequestClass::Capabilities
        | RequestClass::Feature
        | RequestClass::Coverage
        | RequestClass::Process
        | RequestClass::Static => None,
    }
}

/// A write under `/rest` or `/gwc/rest` that succeeded.
fn of_rest(request: &RequestHeader, config: &Config) -> Hint {
    let target = request.raw_path();
    let raw = target.split(|b| *b == b'?').next().unwrap_or_default();
    let path = normalise_path(raw).unwrap_or_default();
    let below = path.strip_prefix(config.geoserver.context.as_bytes()).unwrap_or(&path);
    let parts: Vec<&[u8]> = below.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect();
    of_parts(&parts, &config.catalog)
}

fn of_parts(parts: &[&[u8]], catalog: &Catalog) -> Hint {
    match parts {
        // Somebody reloads the main by hand: then the replicas are meant too, whether or not the number moves.
        [b"rest", b"reload" | b"reset"] => Hint::Certain,
        [b"rest", b"security", ..] if catalog.reload_security => Hint::Certain,
        // Tasks of one GeoServer's tile cache.
        [b"gwc", b"rest", b"seed" | b"masstruncate" | b"bounds" | b"statistics", ..] => Hint::Ui,
        [b"gwc", b"rest", ..] if catalog.reload_gwc => Hint::Certain,
        [b"gwc", ..] | [b"rest", b"security" | b"resource" | b"logging", ..] => Hint::Ui,
        _ => Hint::Write,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::MapEnvironment;
    use crate::ogc::{self, RequestHead};

    fn config(catalog: &str) -> Config {
        let text = format!(
            "[upstreams.main]\nurl = \"http://127.0.0.1:1\"\nrole = \"main\"\n[upstreams.a]\nurl = \"http://127.0.0.1:2\"\n{catalog}"
        );
        Config::load(Path::new("/f.toml"), &MapEnvironment::new().file("/f.toml", text)).unwrap().config
    }

    fn hint(method: &str, target: &str, status: u16, catalog: &str) -> Option<Hint> {
        let request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        let head = RequestHead { method, target: target.as_bytes(), content_type: None };
        of(&request, &ogc::classify(&head, "/geoserver", Some(b"")), status, &config(catalog))
    }

    #[test]
    fn a_write_that_succeeded_is_a_hint_and_a_read_or_a_failure_is_none() {
        assert_eq!(hint("POST", "/geoserver/rest/workspaces", 201, ""), Some(Hint::Write));
        assert_eq!(hint("PUT", "/geoserver/rest/layers/a:b.xml", 200, ""), Some(Hint::Write));
        assert_eq!(hint("GET", "/geoserver/rest/workspaces", 200, ""), None);
        assert_eq!(hint("POST", "/geoserver/rest/workspaces", 401, ""), None);
        assert_eq!(hint("GET", "/geoserver/wms?service=WMS&request=GetMap", 200, ""), None);
    }

    #[test]
    fn a_reload_of_the_main_by_hand_is_certain_in_every_spelling() {
        for target in ["/geoserver/rest/reload", "/geoserver/rest/reset", "/geoserver//re%73t/;x/reload?recurse=true"] {
            assert_eq!(hint("POST", target, 200, ""), Some(Hint::Certain), "{target}");
        }
    }

    #[test]
    fn security_and_tile_configuration_are_certain_where_they_are_brought_along() {
        let (security, gwc) = ("/geoserver/rest/security/usergroup/users", "/geoserver/gwc/rest/layers/a:b.xml");
        assert_eq!((hint("POST", security, 201, ""), hint("PUT", gwc, 200, "")), (Some(Hint::Ui), Some(Hint::Ui)));
        let along = "[catalog]\nreload_security = true\nreload_gwc = true\n";
        assert_eq!(hint("POST", security, 201, along), Some(Hint::Certain));
        assert_eq!(hint("PUT", gwc, 200, along), Some(Hint::Certain));
        assert_eq!(hint("POST", "/geoserver/gwc/rest/seed/a:b.json", 200, along), Some(Hint::Ui));
    }

    #[test]
    fn what_the_web_interface_does_is_a_hint_and_its_pages_are_none() {
        assert_eq!(hint("POST", "/geoserver/web/wicket/page?3-1.IFormSubmitListener-form", 302, ""), Some(Hint::Ui));
        assert_eq!(hint("GET", "/geoserver/web/wicket/page?3-1.ILinkListener-save", 302, ""), Some(Hint::Ui));
        assert_eq!(hint("GET", "/geoserver/web/", 200, ""), None);
    }

    #[test]
    fn options_are_no_hint_anywhere() {
        for target in ["/geoserver/rest/workspaces", "/geoserver/web/wicket/page?3-1.ILinkListener-save", "/geoserver/nothing"] {
            assert_eq!(hint("OPTIONS", target, 200, ""), None, "{target}");
        }
    }

    #[test]
    fn a_style_put_by_wms_is_a_write_and_a_transaction_of_features_is_none() {
        assert_eq!(hint("POST", "/geoserver/wms?service=WMS&request=PutStyles", 200, ""), Some(Hint::Write));
        assert_eq!(hint("POST", "/geoserver/wfs?service=WFS&request=Transaction", 200, ""), None);
    }
}
