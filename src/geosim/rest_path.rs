//! Paths and content types of the REST interface.

use super::answer::Answer;
use super::request::Request;

pub(super) const JSON: &str = "application/json";
pub(super) const XML: &str = "application/xml";
pub(super) const TEXT: &str = "text/plain";

/// `/workspaces/geor/layers.json`: the parts without their extension, and the extension.
pub(super) struct RestPath<'a> {
    pub(super) parts: Vec<&'a str>,
    pub(super) extension: Option<&'a str>,
}

impl<'a> RestPath<'a> {
    pub(super) fn parse(path: &'a str) -> Self {
        let extension = ["json", "xml", "html", "sld"]
            .into_iter()
            .find(|extension| {
                path.strip_suffix(extension)
                    .is_some_and(|rest| rest.ends_with('.'))
            });
        let bare = extension.map_or(path, |extension| &path[..path.len() - extension.len() - 1]);
        Self {
            parts: bare.split('/').filter(|part| !part.is_empty()).collect(),
            extension,
        }
    }

    /// The extension decides, then `Accept`. Clients that accept anything get JSON, and programs
    /// rely on that.
    pub(super) fn wants_json(&self, request: &Request) -> bool {
        match self.extension {
            Some(extension) => extension == "json",
            None => request.header("accept").is_some_and(|accept| {
                accept.contains("json") || (accept.contains("*/*") && !accept.contains("xml"))
            }),
        }
    }

    pub(super) fn wants_style(&self, request: &Request) -> bool {
        self.extension == Some("sld")
            || request
                .header("accept")
                .is_some_and(|accept| accept.contains("sld"))
    }
}

pub(super) fn no_such(what: &str) -> Answer {
    Answer::new(404, TEXT, format!("No such {what}"))
}
