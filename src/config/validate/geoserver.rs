//! `[geoserver]`: where GeoServer is mounted, and the credentials of probes and catalog reloads.

use super::check::Check;
use crate::config::diagnostics::Problem;
use crate::config::raw::{RawGeoServer, Section, Slot};
use crate::config::source::{At, MASK};
use crate::config::value::{RawHeaders, Written};
use crate::config::{Credentials, GeoServer, PublicPath, Secret, defaults};

/// Headers that frame or route a request: a configured value would break probes.
const NOT_OURS_TO_SET: [&str; 6] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "upgrade",
];

/// Maximum length of a layer's name with its workspace.
const MAX_LAYER_BYTES: usize = 256;

impl Check<'_> {
    pub(super) fn geoserver(&mut self, raw: &Section<RawGeoServer>) -> GeoServer {
        let sizes = defaults::POST_SIZES;
        let max_post_size = self
            .within(
                "geoserver.max_post_size",
                &raw.table.max_post_size,
                defaults::MAX_POST_SIZE,
                sizes,
            )
            .0 as usize;
        // Their effect is on the upstreams.
        for (key, slot) in [
            ("geoserver.ca", &raw.table.ca),
            ("geoserver.client_cert", &raw.table.client_cert),
            ("geoserver.client_key", &raw.table.client_key),
            ("geoserver.server_name", &raw.table.server_name),
        ] {
            self.optional(key, slot);
        }
        let context = self.path("geoserver.context", &raw.table.context, defaults::CONTEXT);
        GeoServer {
            public_path: self.public_path(&raw.table.public_path, &context),
            context,
            credentials: self.credentials(&raw.table),
            max_post_size,
        }
    }

    fn public_path(&mut self, slot: &Slot<String>, context: &str) -> Option<PublicPath> {
        const KEY: &str = "geoserver.public_path";
        let path = self.path(KEY, slot, context);
        if path == context {
            return None;
        }
        let mapping = PublicPath::new(&path, context);
        if let (None, Some(at)) = (&mapping, slot.at()) {
            let title = format!(
                "`{KEY}` is \"{}\" and `geoserver.context` is \"{}\": neither may be below the other",
                path.escape_debug(),
                context.escape_debug()
            );
            self.refuse(Problem::new(title).at(at));
        }
        mapping
    }

    pub(super) fn path(&mut self, key: &str, slot: &Slot<String>, default: &str) -> String {
        let context = self.value(key, slot, default.to_owned());
        let Some(at) = slot.at() else { return context };
        let help = match context.as_str() {
            "" => return context,
            "/" => "for the root write \"\"",
            text if !text.starts_with('/') => "it begins with a slash",
            text if text.ends_with('/') => "without the slash at the end",
            text if is_plain_path(text) => return context,
            _ => "letters, digits, `-`, `_`, `.` and `~` between single slashes",
        };
        let title = format!(
            "`{key}` is \"{}\": must be a path such as \"/geoserver\"",
            context.escape_debug()
        );
        self.refuse(Problem::new(title).at(at).help(help));
        context
    }

    fn credentials(&mut self, raw: &RawGeoServer) -> Credentials {
        let username = self.optional("geoserver.username", &raw.username);
        let has_password = !(raw.password_file.is_absent() && raw.password_env.is_absent());
        let file = ("geoserver.password_file", &raw.password_file);
        let password = self.secret(
            "password",
            file,
            ("geoserver.password_env", &raw.password_env),
        );
        let headers = self.headers("geoserver.headers", &raw.headers);
        if let Some(written) = raw.username.given() {
            self.username(written, has_password);
        } else if let Some(at) = raw
            .password_file
            .at()
            .or_else(|| raw.password_env.at())
            .filter(|_| raw.username.is_absent())
        {
            self.refuse(Problem::new("a password without a `username`").at(at));
        }
        if let (Some(_), Some(at)) = (raw.username.at(), raw.headers.at()) {
            let problem = Problem::new("`username` and `headers` are both given").at(at);
            self.refuse(problem.help(
                "GeoServer believes one of them: keep the one that its security filters expect",
            ));
        }
        match username.zip(password) {
            Some((username, password)) => Credentials::Basic { username, password },
            None if headers.is_empty() => Credentials::None,
            None => Credentials::Headers(headers),
        }
    }

    fn username(&mut self, username: &Written<String>, has_password: bool) {
        if username.value.is_empty()
            || username
                .value
                .contains(|c: char| c == ':' || c.is_control())
        {
            let title = format!(
                "`geoserver.username` is \"{}\": must be text without colons",
                username.value.escape_debug()
            );
            self.refuse(Problem::new(title).at(username.at));
        }
        if !has_password {
            let problem = Problem::new("`geoserver.username` without a password").at(username.at);
            self.refuse(
                problem.help("name the file that holds it with `password_file`, or an environment variable with `password_env`"),
            );
        }
    }

    /// Reads header fields whose values are secrets.
    pub(super) fn headers(&mut self, key: &str, slot: &Slot<RawHeaders>) -> Vec<(String, Secret)> {
        let Some(written) = slot.given() else {
            self.note(key, String::new(), None);
            return Vec::new();
        };
        let shown: Vec<_> = written
            .value
            .iter()
            .map(|(name, _)| format!("{} = {MASK}", name.value))
            .collect();
        self.note(key, shown.join(", "), Some(written.at));
        if written.value.is_empty() {
            self.refuse(
                Problem::new(format!("`{key}` is empty"))
                    .at(written.at)
                    .help("leave the key out"),
            );
        }
        written
            .value
            .iter()
            .filter_map(|(name, value)| self.header(key, name, value))
            .collect()
    }

    fn header(
        &mut self,
        key: &str,
        name: &Written<String>,
        value: &Written<String>,
    ) -> Option<(String, Secret)> {
        let lower = name.value.to_ascii_lowercase();
        let refuse = |check: &mut Self, at: At, rule: &str| {
            check
                .refuse(Problem::new(format!("header `{}` in `{key}`: {rule}", name.value)).at(at));
        };
        if !is_token(&lower) {
            refuse(self, name.at, "its name must be letters, digits and `-`");
        } else if NOT_OURS_TO_SET.contains(&lower.as_str()) {
            refuse(self, name.at, "geofront sets it itself");
        } else if value.value.is_empty() || value.value.chars().any(char::is_control) {
            refuse(self, value.at, "its value must be one line of text");
        } else {
            return Some((lower, Secret::new(value.value.clone())));
        }
        None
    }

    pub(super) fn layer(&mut self, key: &str, slot: &Slot<String>) -> Option<String> {
        let layer = self.optional(key, slot)?;
        let is_name = !layer.is_empty()
            && layer.len() <= MAX_LAYER_BYTES
            && !layer.chars().any(|c| c.is_control() || c == ',');
        if !is_name {
            let title = format!(
                "`{key}` is \"{}\": must be one layer, such as \"geor:public_layer\"",
                layer.escape_debug()
            );
            let problem = slot.at().map_or_else(
                || Problem::new(title.clone()),
                |at| Problem::new(title.clone()).at(at),
            );
            self.refuse(problem);
        }
        Some(layer)
    }
}

fn is_plain_path(path: &str) -> bool {
    let is_segment = |segment: &str| {
        let is_plain = segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b));
        is_plain && !matches!(segment, "" | "." | "..")
    };
    path.split('/').skip(1).all(is_segment)
}

/// True if HTTP allows `name` as the name of a header.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
