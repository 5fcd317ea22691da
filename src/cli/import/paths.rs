//! The requests that a path or pattern of a balancer's rule stands for.

use super::balancer::RoutePurpose;

/// Path segments of GeoServer's administration.
const ADMINISTRATION: [&str; 5] = [
    "web",
    "rest",
    "j_spring_security_check",
    "j_spring_security_logout",
    "geoserver_adm",
];

/// Path segments of GeoServer's services.
const SERVICES: [&str; 7] = ["ows", "wms", "wfs", "wcs", "wps", "wmts", "gwc"];

/// First path segments of applications that often stand beside GeoServer.
const OTHERS: [&str; 14] = [
    "analytics",
    "cadastrapp",
    "cas",
    "console",
    "datafeeder",
    "extractorapp",
    "geonetwork",
    "header",
    "ldapadmin",
    "mapfishapp",
    "mapserver",
    "mapstore",
    "nextcloud",
    "qgisserver",
];

/// The requests that `pattern` selects: a path, the beginning of one, or a regular expression.
pub(super) fn purpose(pattern: &str) -> RoutePurpose {
    let lower = pattern.to_ascii_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !is_name(c))
        .filter(|word| !word.is_empty())
        .collect();
    let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
    if words.first().is_some_and(|first| OTHERS.contains(first)) {
        return RoutePurpose::OtherApplication;
    }
    let names_services = words
        .iter()
        .any(|word| SERVICES.contains(word) && *word != "gwc");
    let names_geoserver = words.iter().any(|word| word.contains("geoserver"));
    match () {
        () if words.is_empty() => RoutePurpose::Everything,
        () if has(&ADMINISTRATION) && !names_services => RoutePurpose::Administration,
        () if names_geoserver || has(&SERVICES) => RoutePurpose::GeoServer,
        () => RoutePurpose::OtherApplication,
    }
}

/// The path that GeoServer is installed under, if `pattern` shows it; `Some("")` for the root.
pub(super) fn context(pattern: &str) -> Option<String> {
    let path = pattern.trim_start_matches('^').strip_prefix('/')?;
    let first: String = path
        .chars()
        .take_while(|c| *c != '|')
        .filter(|c| !"^$()?*+\\".contains(*c))
        .collect();
    let mut context = String::new();
    for segment in first.split('/') {
        let lower = segment.to_ascii_lowercase();
        if ADMINISTRATION.contains(&lower.as_str()) || SERVICES.contains(&lower.as_str()) {
            return (lower != "geoserver_adm").then_some(context);
        }
        if segment.is_empty() || !segment.chars().all(is_name) {
            break;
        }
        context = format!("{context}/{segment}");
        if lower.starts_with("geoserver") {
            return Some(context);
        }
    }
    None
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn administration_services_and_other_applications_are_distinguished() {
        for (pattern, expected) in [
            ("/geoserver/web", RoutePurpose::Administration),
            (
                "^/(geoserver/web|geoserver/rest)(/?).*$",
                RoutePurpose::Administration,
            ),
            ("/geoserver_adm", RoutePurpose::Administration),
            (
                "^/geoserver/(web|rest|gwc/rest)",
                RoutePurpose::Administration,
            ),
            ("/geoserver/gwc/service", RoutePurpose::GeoServer),
            ("^/geoserver/(wms|wfs|rest)", RoutePurpose::GeoServer),
            ("/geoserver", RoutePurpose::GeoServer),
            ("\\.*/ows", RoutePurpose::GeoServer),
            ("/", RoutePurpose::Everything),
            ("/geonetwork/rest", RoutePurpose::OtherApplication),
            ("/webclient", RoutePurpose::OtherApplication),
        ] {
            assert_eq!(purpose(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn the_context_is_the_path_before_the_first_segment_of_geoserver() {
        for (pattern, expected) in [
            (
                "^/(geoserver/web|geoserver/rest)(/?).*$",
                Some("/geoserver"),
            ),
            ("^/geoserver/(.*)/wms", Some("/geoserver")),
            ("/maps/geoserver/rest", Some("/maps/geoserver")),
            ("/gs/web", Some("/gs")),
            ("/web", Some("")),
            ("/geoserver-prod/", Some("/geoserver-prod")),
            ("/geoserver_adm", None),
            ("wms", None),
            ("/", None),
            ("/[a-z]+/wms", None),
        ] {
            assert_eq!(context(pattern).as_deref(), expected, "{pattern}");
        }
    }
}
