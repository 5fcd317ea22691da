//! The reasons why directives of the three programs are not carried over.
//!
//! A table lists the first words of directives with the reason. The longest match holds, so
//! `option httpchk` may have another reason than `option`.

use super::balancer::RemarkVerdict;

/// First words of a directive, and the reason.
pub(super) type Reason = (&'static str, bool, &'static str);

/// Marks a directive that the operator has to look at.
pub(super) const OPEN: bool = true;
/// Marks a directive that geofront has no use for.
pub(super) const NOT_NEEDED: bool = false;

pub(super) const BALANCE: &str =
    "geofront balances by requests in flight and weight; tiles of one metatile go to one replica";
pub(super) const STICKY: &str = "only the main has sessions, and it gets all of their requests";
pub(super) const FORWARDED: &str =
    "always on: from the connection, or as a trusted proxy states it (docs/headers-and-trust.md)";
pub(super) const CONNECTIONS: &str = "geofront keeps connections open to clients and to upstreams";
pub(super) const ACCESS_LOG: &str = "see the access log (docs/access-log.md) and [log]";
pub(super) const PROCESS: &str =
    "concerns the old process; systemd starts geofront as a user of its own";
pub(super) const BUFFERS: &str = "geofront buffers by [clients]; answers are never written to disk";
pub(super) const STATUS_PAGE: &str =
    "the status page, metrics and API are on the `admin` address; see also `geofront status`";
pub(super) const FILES: &str =
    "geofront serves no files and no other applications: keep a web server for them";
pub(super) const HEADERS: &str = "geofront adds no headers of its own choice and changes no paths: set them in GeoServer, or keep a web server in front";
pub(super) const ACCESS: &str = "geofront has no rules by address or password: use a firewall, `ip.blacklist` in `limits.control_flow`, and GeoServer's security";
pub(super) const RATES: &str = "see `limits.per_user`, `max_per_address` under [clients], and rules such as \"ip.ows=20/s\" in `limits.control_flow`";
pub(super) const COMPRESSION: &str = "text is compressed for clients that accept it: by GeoServer, and where that does not by geofront, with `codings` under [compression]";
pub(super) const CACHE: &str = "not offered: GeoWebCache is the cache of tiles";
pub(super) const TLS: &str = "geofront accepts TLS 1.2 and 1.3 with safe ciphers (docs/tls.md)";
pub(super) const PROBES: &str = "probes request a tiny map and read the update sequence; name a public layer with `probe_layer` under [health]";
pub(super) const RETRIES: &str =
    "reads are tried again on another upstream, a write is never sent twice ([retry])";
pub(super) const HTTPS_REDIRECT: &str =
    "a listener with `https_redirect = 443` does this (docs/tls.md)";
pub(super) const INCLUDED: &str =
    "other files are not read here: import them, or one file with the text of all";

/// The reason for the directive with these words, if the table has one.
pub(super) fn reason(table: &[Reason], words: &[String]) -> Option<RemarkVerdict> {
    let line = words.join(" ").to_ascii_lowercase();
    let matches = |prefix: &str| {
        line.strip_prefix(prefix).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(' ') || prefix.ends_with(['-', '_'])
        })
    };
    let (_, is_open, why) = table
        .iter()
        .filter(|(prefix, _, _)| matches(prefix))
        .max_by_key(|(prefix, _, _)| prefix.len())?;
    Some(if *is_open {
        RemarkVerdict::open(*why)
    } else {
        RemarkVerdict::not_needed(*why)
    })
}

/// The verdict on a directive that no table has.
pub(super) fn not_understood(name: &str) -> RemarkVerdict {
    RemarkVerdict::open(format!(
        "`{name}` is not understood: if it matters, look for its counterpart in docs/from-haproxy-or-nginx.md"
    ))
}
