//! `[traces]`.

use std::sync::Arc;

use super::check::Check;
use super::url;
use crate::config::diagnostics::Problem;
use crate::config::raw::{RawTraces, Section, Slot};
use crate::config::value::{RawAttributes, Written};
use crate::config::{Config, Secret, Traces, defaults};

/// The path of OTLP for traces, where a url has none.
const PATH: &str = "/v1/traces";

const ENDPOINT_EXAMPLE: &str = "\"http://127.0.0.1:4318\"";

impl Check<'_> {
    /// Reads `[traces]`; `None` without an endpoint, so that nothing is traced.
    pub(super) fn traces(
        &mut self,
        raw: &Section<RawTraces>,
        running: Option<&Config>,
    ) -> Option<Arc<Traces>> {
        let table = &raw.table;
        let endpoint = self.optional("traces.endpoint", &table.endpoint);
        let sample = self.value("traces.sample", &table.sample, defaults::sample());
        let service_name = self.service_name(&table.service_name);
        let attributes = self.attributes(&table.attributes);
        let mut headers = self.headers("traces.headers", &table.headers);
        let secret = self.secret(
            "authorization for traces",
            ("traces.authorization_file", &table.authorization_file),
            ("traces.authorization_env", &table.authorization_env),
        );
        self.authorize(table, &mut headers, secret);
        let sets_type = headers.iter().any(|(name, _)| name == "content-type");
        if let Some(at) = table.headers.at().filter(|_| sets_type) {
            let title = "header `content-type` in `traces.headers`: geofront sets it itself";
            self.refuse(Problem::new(title).at(at));
        }
        self.optional("traces.ca", &table.ca);
        let authorities = table.ca.given().and_then(|written| {
            let running = running.and_then(|config| config.traces.as_ref());
            let before = running.and_then(|traces| traces.authorities.as_ref());
            let read = self.authorities(written);
            self.or_kept("[traces]", read, before, &mut Vec::new())
        });
        let (Some(endpoint), Some(at)) = (endpoint, table.endpoint.at()) else {
            if let Some(at) = raw.at.filter(|_| !table.is_empty()) {
                self.warn("[traces] has no `endpoint`: nothing is traced", at);
            }
            return None;
        };
        let endpoint = self.endpoint(&Written {
            value: endpoint,
            at,
        })?;
        if let Some(at) = table.ca.at().filter(|_| endpoint.starts_with("http:")) {
            self.warn("`traces.ca` has no effect: the endpoint is not https", at);
        }
        Some(Arc::new(Traces {
            endpoint,
            authorities,
            headers,
            sample,
            service_name,
            attributes,
        }))
    }

    /// Returns the url with its path.
    fn endpoint(&mut self, written: &Written<String>) -> Option<String> {
        let text = &written.value;
        let after_scheme = text.find("://").map_or(0, |at| at + 3);
        let path_at = text[after_scheme..].find('/');
        let (origin, path) = text.split_at(path_at.map_or(text.len(), |at| after_scheme + at));
        let is_path =
            path.bytes().all(|byte| byte.is_ascii_graphic()) && !path.contains(['?', '#']);
        match url::parse(origin) {
            Ok(_) if is_path => {
                let path = if matches!(path, "" | "/") { PATH } else { path };
                Some(format!("{origin}{path}"))
            }
            Err(problem) if problem.is_secret => {
                self.sources.hide(written.at);
                let problem = Problem::new("`traces.endpoint` must not hold a user or a password");
                self.refuse(problem.at(written.at).help(
                    "name a file that holds the value of `Authorization` with `authorization_file`",
                ));
                None
            }
            Ok(_) | Err(_) => {
                let title = format!(
                    "`traces.endpoint` is \"{}\": must be the url of a receiver for OTLP by HTTP, such as {ENDPOINT_EXAMPLE}",
                    text.escape_debug()
                );
                self.refuse(Problem::new(title).at(written.at));
                None
            }
        }
    }

    fn service_name(&mut self, slot: &Slot<String>) -> String {
        let default = defaults::SERVICE_NAME.to_owned();
        let name = self.value("traces.service_name", slot, default);
        if let Some(at) = slot.at().filter(|_| !is_name(&name)) {
            let title = "`traces.service_name` must be one line of text, at most 255 bytes";
            self.refuse(Problem::new(title).at(at));
        }
        name
    }

    fn attributes(&mut self, slot: &Slot<RawAttributes>) -> Vec<(String, String)> {
        let given = slot.given().map(|written| written.value.0.as_slice());
        let given = given.unwrap_or_default();
        let shown: Vec<String> = given
            .iter()
            .map(|(name, value)| format!("{} = {}", name.value, value.value))
            .collect();
        self.note("traces.attributes", shown.join(", "), slot.at());
        if let Some(at) = slot.at().filter(|_| given.len() > defaults::MAX_ATTRIBUTES) {
            let title = format!(
                "`traces.attributes` has {} entries: at most {} are possible",
                given.len(),
                defaults::MAX_ATTRIBUTES
            );
            self.refuse(Problem::new(title).at(at));
        }
        for (name, value) in given {
            if name.value.starts_with("service.name") {
                let problem = Problem::new("`service.name` among `traces.attributes`").at(name.at);
                self.refuse(problem.help("`service_name` under [traces] sets it"));
            }
            for text in [name, value] {
                if !is_name(&text.value) {
                    let title = "`traces.attributes`: names and values must be one line of text, at most 255 bytes";
                    self.refuse(Problem::new(title).at(text.at));
                }
            }
        }
        let pair = |(name, value): &(Written<String>, Written<String>)| {
            (name.value.clone(), value.value.clone())
        };
        given.iter().map(pair).collect()
    }

    /// Adds the secret to the headers for the receiver.
    fn authorize(
        &mut self,
        raw: &RawTraces,
        headers: &mut Vec<(String, Secret)>,
        secret: Option<Secret>,
    ) {
        let Some(secret) = secret else { return };
        if headers.iter().any(|(name, _)| name == "authorization")
            && let Some(at) = raw.headers.at()
        {
            let problem = Problem::new("`authorization` is given twice under [traces]").at(at);
            self.refuse(problem.help("leave one of them out"));
        }
        headers.push(("authorization".to_owned(), secret));
    }
}

fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}
