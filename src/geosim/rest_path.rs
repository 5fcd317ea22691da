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
        let extension = ["json", "xml", "html"].into_iter().find(|extension| {
            path.strip_suffix(extension)
                .is_some_and(|rest| rest.ends_with('.'))
        });
        let bare = extension.map_or(path, |extension| &path[..path.len() - extension.len() - 1]);
        Self {
            parts: bare.split('/').filter(|part| !part.is_empty()).collect(),
            extension,
        }
    }

    pub(super) fn wants_json(&self, request: &Request) -> bool {
        self.extension == Some("json")
            || (self.extension.is_none()
                && request.header("accept").is_some_and(|a| a.contains("json")))
    }
}

pub(super) fn no_such(what: &str) -> Answer {
    Answer::new(404, TEXT, format!("No such {what}"))
}
