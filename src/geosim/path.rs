//! A request path as the servlet container hands it to the webapp: parameters stripped, decoded,
//! dots resolved.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Why the container answers 400 by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadPath;

/// The path that servlet mappings see. `/geoserver/re%73t/;x=y/reload` *is*
/// `/geoserver/rest/reload`.
pub(super) fn normalise(raw: &[u8]) -> Result<Cow<'_, str>, BadPath> {
    if !raw.starts_with(b"/") {
        return Err(BadPath);
    }
    if is_plain(raw) {
        return std::str::from_utf8(raw)
            .map(Cow::Borrowed)
            .map_err(|_| BadPath);
    }
    let stripped = without_parameters(raw);
    if contains_encoded_slash(&stripped) {
        return Err(BadPath);
    }
    let decoded = percent_decode(&stripped)
        .decode_utf8()
        .map_err(|_| BadPath)?;
    resolve_dots(&decoded).map(Cow::Owned)
}

fn is_plain(raw: &[u8]) -> bool {
    !raw.iter().any(|byte| matches!(byte, b'%' | b';' | b'\\'))
        && !raw.windows(2).any(|pair| pair == b"//" || pair == b"/.")
}

fn without_parameters(raw: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = raw
        .split(|byte| *byte == b'/')
        .map(|segment| {
            segment
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
        })
        .collect();
    segments.join(&b'/')
}

/// Tomcat refuses `%2F` (and backslashes) in a path unless configured otherwise.
fn contains_encoded_slash(path: &[u8]) -> bool {
    path.contains(&b'\\')
        || path
            .windows(3)
            .any(|code| code.eq_ignore_ascii_case(b"%2f") || code.eq_ignore_ascii_case(b"%5c"))
}

fn resolve_dots(path: &str) -> Result<String, BadPath> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop().ok_or(BadPath)?;
            }
            segment => kept.push(segment),
        }
    }
    let is_directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let end = if is_directory && !kept.is_empty() {
        "/"
    } else {
        ""
    };
    Ok(format!("/{}{end}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_a_servlet_container_reads_them() {
        for (raw, path) in [
            ("/geoserver/wms", "/geoserver/wms"),
            ("/geoserver/re%73t/reload", "/geoserver/rest/reload"),
            ("/geoserver/;x=1/rest;y/reload", "/geoserver/rest/reload"),
            ("/geoserver//wms", "/geoserver/wms"),
            ("/geoserver/web/../rest/./reload", "/geoserver/rest/reload"),
            ("/geoserver/web/", "/geoserver/web/"),
            ("/geoserver/web//", "/geoserver/web/"),
            ("/", "/"),
        ] {
            assert_eq!(normalise(raw.as_bytes()).unwrap(), path, "{raw}");
        }
    }

    #[test]
    fn paths_that_a_container_refuses_are_refused() {
        for raw in ["/geoserver/..%2Frest", "/../etc", "wms", "/a%ff", "/a\\b"] {
            assert_eq!(normalise(raw.as_bytes()), Err(BadPath), "{raw}");
        }
    }
}
