//! The parts of every capabilities document: the layers in the catalog in memory, with its
//! `updateSequence`, and the conditional form of the request.

use super::answer::Answer;
use super::data_directory::{Layer, LayerKind};
use super::dispatch::Scope;
use super::exception::{Dialect, ServiceException, escape};
use super::kvp::Kvp;
use super::life::{Catalog, Life};
use super::ows::base_url;
use super::request::Request;

pub(super) const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// The parts of a document.
pub(super) struct Document<'a> {
    catalog: Catalog,
    pub(super) base: String,
    scope: Scope<'a>,
    namespace: Option<std::borrow::Cow<'a, str>>,
    service: &'static str,
}

impl Document<'_> {
    /// The layers that a service lists: those of the scope, and of `namespace=` (none, for a prefix
    /// that does not exist).
    pub(super) fn layers(&self) -> impl Iterator<Item = (&str, &Layer)> {
        let wanted = [self.scope.workspace, self.namespace.as_deref()];
        self.catalog
            .contents
            .layers
            .iter()
            .map(|(name, layer)| (name.as_str(), layer))
            .filter(move |(name, _)| {
                let workspace = name.split(':').next();
                wanted
                    .iter()
                    .flatten()
                    .all(|wanted| workspace == Some(*wanted))
                    && self
                        .scope
                        .layer
                        .is_none_or(|layer| name.rsplit(':').next() == Some(layer))
            })
    }

    pub(super) fn vectors(&self) -> impl Iterator<Item = (&str, &Layer)> {
        self.layers()
            .filter(|(_, layer)| matches!(layer.kind, LayerKind::Vector { .. }))
    }

    pub(super) fn rasters(&self) -> impl Iterator<Item = (&str, &Layer)> {
        self.layers()
            .filter(|(_, layer)| layer.kind == LayerKind::Raster)
    }

    pub(super) fn number(&self) -> u64 {
        self.catalog.update_sequence
    }

    /// Returns the address of the service.
    pub(super) fn href(&self) -> String {
        let scope: String = [self.scope.workspace, self.scope.layer]
            .into_iter()
            .flatten()
            .map(|part| format!("/{part}"))
            .collect();
        escape(&format!("{}{scope}/{}?", self.base, self.service)).into_owned()
    }
}

pub(super) fn document<'a>(
    life: &Life,
    request: &Request,
    kvp: &Kvp<'a>,
    scope: Scope<'a>,
    service: &'static str,
) -> Document<'a> {
    Document {
        catalog: life.catalog(),
        base: base_url(request),
        scope,
        namespace: kvp.get("namespace"),
        service,
    }
}

/// The conditional form: an exception when the client's number is current, or from the future.
pub(super) fn unless_current(
    kvp: &Kvp<'_>,
    dialect: Dialect,
    number: u64,
    service: &str,
) -> Option<Answer> {
    let requested: u64 = kvp.get("updatesequence")?.parse().ok()?;
    let exception = match requested.cmp(&number) {
        std::cmp::Ordering::Less => return None,
        std::cmp::Ordering::Equal => ServiceException::new(
            "CurrentUpdateSequence",
            "",
            format!("{service} capabilities document is current (updateSequence = {number})"),
        ),
        std::cmp::Ordering::Greater => ServiceException::new(
            "InvalidUpdateSequence",
            "",
            format!(
                "Client supplied an updateSequence ({requested}) greater than the server's ({number})"
            ),
        ),
    };
    Some(exception.answer(dialect, kvp))
}

pub(super) fn answered(content_type: &'static str, body: String) -> Answer {
    Answer::ok(content_type, body).with("Cache-Control", "max-age=0, must-revalidate")
}
