//! Events that the cluster takes in, and actions that it requests.

use std::sync::Arc;
use std::time::Instant;

use super::{
    Cause, FileChange, LayerChoice, Outcome, ProbeReport, Subject, Truncation, Upstream, UpstreamId,
};
use crate::config::{Address, CertificateTrouble, Config, UpstreamName};

/// An event for the cluster.
#[derive(Debug)]
pub enum Event {
    /// A configuration is in force from now on.
    Configured(Arc<Config>),
    /// The host name of an upstream was resolved. The event has its present address, or the reason
    /// why that is unknown.
    Resolved {
        upstream: UpstreamName,
        address: Address,
    },
    Probed {
        upstream: UpstreamId,
        report: ProbeReport,
    },
    /// An attempt ended that was sent at `sent`.
    Observed {
        upstream: UpstreamId,
        sent: Instant,
        outcome: Outcome,
        /// The subject of a failure, by which it is compared with others. A success has one only if
        /// the request failed at another upstream before.
        subject: Option<Subject>,
    },
    /// A query for the `updateSequence` of an upstream, sent at `sent_at`, ended.
    UpdateSequenceRead {
        upstream: UpstreamId,
        sent_at: Instant,
        update_sequence: Option<u64>,
    },
    /// A catalog reload of a replica, begun at `sent_at`, ended with or without an answer.
    CatalogReloaded {
        upstream: UpstreamId,
        sent_at: Instant,
        outcome: Result<(), Cause>,
    },
    /// A trial of the `[geoserver]` credentials on a replica, begun at `sent_at`, ended.
    CredentialsTried {
        upstream: UpstreamId,
        sent_at: Instant,
        outcome: Result<(), Cause>,
    },
    /// A canary test of a reloaded replica, begun at `sent_at`, ended. It includes a query for its
    /// update sequence.
    CanaryTested {
        upstream: UpstreamId,
        sent_at: Instant,
        outcome: Outcome,
        update_sequence: Option<u64>,
    },
    /// A canary request to an upstream in service, sent at `sent_at`, ended.
    CanaryTried { sent_at: Instant, outcome: Outcome },
    /// A catalog reload of the main, begun at `sent_at`, ended with or without an answer.
    MainReloaded {
        upstream: UpstreamId,
        sent_at: Instant,
        outcome: Result<(), Cause>,
    },
    /// A truncation of tiles, begun at `sent_at`, ended.
    TilesTruncated {
        upstream: UpstreamId,
        sent_at: Instant,
        outcome: Result<(), Cause>,
    },
    /// The choice of a layer for probes and canaries, requested at `sent_at`, ended with a layer or
    /// with the reason why there is none.
    LayerChosen {
        sent_at: Instant,
        layer: Result<String, &'static str>,
    },
    /// The main answered but did not draw the chosen layer.
    LayerLost { layer: String },
    /// The data directory's `global.xml` was found changed.
    DirectoryChanged(FileChange),
    /// The certificates of the listeners were checked; these need an operator.
    CertificatesChecked(Vec<CertificateTrouble>),
    /// A request sent at `sent` showed that a replica lacks a layer or workspace of the main.
    StaleSeen {
        upstream: UpstreamId,
        /// The layer as the request named it; empty if the name is not known.
        layer: Box<str>,
        sent: Instant,
    },
    /// Time passed.
    Tick,
}

/// An action that is due.
#[derive(Debug)]
pub enum Action {
    /// Probe the upstream, and report one [`Event::Probed`]. No other probe of this upstream is due
    /// before that, or before its deadline.
    Probe(Arc<Upstream>),
    /// Query the update sequence, and report one [`Event::UpdateSequenceRead`].
    ReadUpdateSequence(Arc<Upstream>),
    /// Try the credentials, and report one [`Event::CredentialsTried`].
    TryCredentials(Arc<Upstream>),
    /// Reload the catalog of a replica, and report one [`Event::CatalogReloaded`]. No request is in
    /// flight there, or none that could be waited for.
    ReloadCatalog(Arc<Upstream>),
    /// Reload the main, and report one [`Event::MainReloaded`]. The main reads the data directory
    /// before its replicas do, and goes on serving the classes that only it serves.
    ReloadMain(Arc<Upstream>),
    /// Drop tiles of an upstream's own cache, and report one [`Event::TilesTruncated`].
    TruncateTiles {
        upstream: Arc<Upstream>,
        truncation: Truncation,
    },
    /// Choose a layer, and report one [`Event::LayerChosen`].
    ChooseLayer(LayerChoice),
    /// Test the canary of a reloaded replica, and report one [`Event::CanaryTested`].
    TestCanary(Arc<Upstream>),
    /// Request the canary from an upstream in service, because a reloaded replica does not draw it,
    /// and report one [`Event::CanaryTried`].
    TryCanary(Arc<Upstream>),
}
