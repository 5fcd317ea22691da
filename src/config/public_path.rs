//! `geoserver.public_path`: GeoServer's context under another path.

use std::fmt;

/// Both paths are empty for the root, and otherwise begin with a slash and do not end with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPath {
    /// The path that clients use.
    path: Box<str>,
    context: Box<str>,
}

impl PublicPath {
    /// Returns the mapping between two paths; `None` if one is below the other and that is not the
    /// root: then an address could be read both ways.
    pub fn new(path: &str, context: &str) -> Option<Self> {
        let is_nested = |outer: &str, inner: &str| {
            !outer.is_empty() && replaced(inner.as_bytes(), outer, "").is_some()
        };
        if is_nested(path, context) || is_nested(context, path) {
            return None;
        }
        Some(Self {
            path: path.into(),
            context: context.into(),
        })
    }

    /// The target of a request as the upstream knows it; `None` if it is not below the public path.
    pub fn to_upstream(&self, target: &[u8]) -> Option<Vec<u8>> {
        replaced(target, &self.path, &self.context)
    }

    /// A path in an upstream's answer as clients know it; `None` if it needs no change.
    pub fn to_client(&self, path: &[u8]) -> Option<Vec<u8>> {
        // At the root every path is GeoServer's, also one that GeoServer was configured to write.
        let is_public = self.context.is_empty() && replaced(path, &self.path, "").is_some();
        if is_public {
            return None;
        }
        replaced(path, &self.context, &self.path)
    }

    /// The target of a request as the client sent it, from that of the upstream.
    pub fn restored(&self, target: &[u8]) -> Option<Vec<u8>> {
        replaced(target, &self.context, &self.path)
    }

    /// Returns the part in front of GeoServer's context, or the path instead of it.
    pub fn prefix(&self) -> &str {
        self.path.strip_suffix(&*self.context).unwrap_or(&self.path)
    }
}

/// What follows the first segments of a path; `None` if they are others.
pub(super) fn rest_below<'p>(path: &'p [u8], from: &str) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(from.as_bytes())?;
    let is_below = match rest.first() {
        None => !from.is_empty(),
        // `//` begins the address of another host.
        Some(b'/') => !from.is_empty() || rest.get(1) != Some(&b'/'),
        Some(b'?' | b'#' | b';') => !from.is_empty(),
        Some(_) => false,
    };
    is_below.then_some(rest)
}

/// Replaces the first segments of a path; `None` if they are others.
fn replaced(path: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let rest = rest_below(path, from)?;
    let mut replaced = to.as_bytes().to_vec();
    if to.is_empty() && !rest.starts_with(b"/") {
        replaced.push(b'/');
    }
    replaced.extend_from_slice(rest);
    Some(replaced)
}

impl fmt::Display for PublicPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: Option<Vec<u8>>) -> Option<String> {
        path.map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn requests_below_the_public_path_go_to_the_context() {
        for (path, context, target, upstream) in [
            (
                "/maps/geoserver",
                "/geoserver",
                "/maps/geoserver/wms?a=/b",
                Some("/geoserver/wms?a=/b"),
            ),
            (
                "/maps/geoserver",
                "/geoserver",
                "/maps/geoserver",
                Some("/geoserver"),
            ),
            (
                "/maps/geoserver",
                "/geoserver",
                "/maps/geoserver?a",
                Some("/geoserver?a"),
            ),
            (
                "/maps/geoserver",
                "/geoserver",
                "/maps/geoserver;a/wms",
                Some("/geoserver;a/wms"),
            ),
            (
                "/maps/geoserver",
                "/geoserver",
                "/maps/geoserver//wms",
                Some("/geoserver//wms"),
            ),
            (
                "/maps/geoserver",
                "/geoserver",
                "/maps/geoservers/wms",
                None,
            ),
            (
                "/maps/geoserver",
                "/geoserver",
                "/maps/geo%73erver/wms",
                None,
            ),
            ("/maps/geoserver", "/geoserver", "/MAPS/geoserver/wms", None),
            (
                "/maps/geoserver",
                "/geoserver",
                "/maps//geoserver/wms",
                None,
            ),
            ("/maps/geoserver", "/geoserver", "/geoserver/wms", None),
            ("/maps/geoserver", "/geoserver", "/", None),
            ("/maps", "", "/maps/wms", Some("/wms")),
            ("/maps", "", "/maps", Some("/")),
            ("/maps", "", "/maps?a", Some("/?a")),
            ("", "/geoserver", "/wms", Some("/geoserver/wms")),
            ("", "/geoserver", "/", Some("/geoserver/")),
            (
                "",
                "/geoserver",
                "/geoserver/wms",
                Some("/geoserver/geoserver/wms"),
            ),
            ("", "/geoserver", "//wms", None),
        ] {
            let mapping = PublicPath::new(path, context).unwrap();
            let mapped = text(mapping.to_upstream(target.as_bytes()));
            assert_eq!(mapped.as_deref(), upstream, "{path} {target}");
        }
    }

    #[test]
    fn paths_in_answers_become_public_once() {
        for (path, context, given, public) in [
            (
                "/maps/geoserver",
                "/geoserver",
                "/geoserver/web/",
                Some("/maps/geoserver/web/"),
            ),
            (
                "/maps/geoserver",
                "/geoserver",
                "/maps/geoserver/web/",
                None,
            ),
            ("/maps/geoserver", "/geoserver", "/cas/login", None),
            ("/maps", "", "/web/", Some("/maps/web/")),
            ("/maps", "", "/maps/web/", None),
            ("/maps", "", "//other.example.org/", None),
            ("", "/geoserver", "/geoserver/web/", Some("/web/")),
            ("", "/geoserver", "/geoserver", Some("/")),
        ] {
            let mapping = PublicPath::new(path, context).unwrap();
            let mapped = text(mapping.to_client(given.as_bytes()));
            assert_eq!(mapped.as_deref(), public, "{path} {given}");
        }
    }

    #[test]
    fn the_prefix_is_what_stands_in_front_of_the_context() {
        for (path, context, prefix) in [
            ("/maps/geoserver", "/geoserver", "/maps"),
            ("/maps", "/geoserver", "/maps"),
            ("/maps", "", "/maps"),
            ("", "/geoserver", ""),
        ] {
            assert_eq!(PublicPath::new(path, context).unwrap().prefix(), prefix);
        }
    }

    #[test]
    fn a_path_below_the_other_is_refused() {
        for (path, context) in [
            ("/geoserver", "/geoserver"),
            ("/geoserver/public", "/geoserver"),
            ("/a", "/a/b"),
            ("", ""),
        ] {
            let mapping = PublicPath::new(path, context);
            assert_eq!(mapping.is_some(), path.is_empty(), "{path} {context}");
        }
    }
}
