//! The request classes and tables keyed by them.

use std::fmt;
use std::ops::{Index, IndexMut};

/// What [`super::classify`] decides. The table is in `docs/request-classes.md`: who serves a class,
/// who may try again, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestClass {
    Tile,
    Info,
    Map,
    Capabilities,
    Feature,
    Coverage,
    Process,
    Transaction,
    Admin,
    Ui,
    Static,
    Unknown,
}

impl RequestClass {
    pub const ALL: [Self; 12] = [
        Self::Tile,
        Self::Info,
        Self::Map,
        Self::Capabilities,
        Self::Feature,
        Self::Coverage,
        Self::Process,
        Self::Transaction,
        Self::Admin,
        Self::Ui,
        Self::Static,
        Self::Unknown,
    ];

    /// The name used in configuration, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tile => "tile",
            Self::Info => "info",
            Self::Map => "map",
            Self::Capabilities => "capabilities",
            Self::Feature => "feature",
            Self::Coverage => "coverage",
            Self::Process => "process",
            Self::Transaction => "transaction",
            Self::Admin => "admin",
            Self::Ui => "ui",
            Self::Static => "static",
            Self::Unknown => "unknown",
        }
    }

    pub const fn index(self) -> usize {
        self as usize
    }

    /// The class called `name` in configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// Whether replicas serve it: it changes nothing and depends on nothing that only one GeoServer
    /// has.
    pub const fn is_read(self) -> bool {
        match self {
            Self::Tile
            | Self::Info
            | Self::Map
            | Self::Capabilities
            | Self::Feature
            | Self::Coverage
            | Self::Static => true,
            Self::Process | Self::Transaction | Self::Admin | Self::Ui | Self::Unknown => false,
        }
    }
}

/// When a failed attempt may be followed by one at another upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retryable {
    /// Until the first byte of the answer has been passed on.
    Yes,
    /// Only if no connection came about, so that nothing was sent.
    ConnectOnly,
    Never,
}

/// Whether a request of `class` may be tried again elsewhere. A write, once sent, may have been
/// executed.
pub fn retry(class: RequestClass, method: &str) -> Retryable {
    match class {
        RequestClass::Tile
        | RequestClass::Info
        | RequestClass::Map
        | RequestClass::Capabilities
        | RequestClass::Feature
        | RequestClass::Coverage
        | RequestClass::Static => Retryable::Yes,
        RequestClass::Process | RequestClass::Transaction | RequestClass::Ui => {
            Retryable::ConnectOnly
        }
        RequestClass::Admin if matches!(method, "GET" | "HEAD" | "OPTIONS") => {
            Retryable::ConnectOnly
        }
        RequestClass::Admin | RequestClass::Unknown => Retryable::Never,
    }
}

impl fmt::Display for RequestClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One `T` for every class.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PerClass<T>([T; RequestClass::ALL.len()]);

impl<T> PerClass<T> {
    pub fn from_fn(f: impl FnMut(RequestClass) -> T) -> Self {
        Self(RequestClass::ALL.map(f))
    }

    pub fn iter(&self) -> impl Iterator<Item = (RequestClass, &T)> {
        RequestClass::ALL.into_iter().zip(&self.0)
    }
}

impl<T> Index<RequestClass> for PerClass<T> {
    type Output = T;
    fn index(&self, class: RequestClass) -> &T {
        &self.0[class.index()]
    }
}

impl<T> IndexMut<RequestClass> for PerClass<T> {
    fn index_mut(&mut self, class: RequestClass) -> &mut T {
        &mut self.0[class.index()]
    }
}
