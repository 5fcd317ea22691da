//! The request classes, and tables keyed by them.

mod table;

use std::fmt;
use std::ops::{Index, IndexMut};

pub use table::{ClassRow, RetryRule, Servers, Writes};

use super::Clarity;
use table::{COUNT, TABLE};

/// The class of a request, as [`super::classify`] decides it. Its properties are in one table
/// ([`RequestClass::row`]), which `docs/request-classes.md` explains.
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
    /// Every class, in the order of the table.
    pub const ALL: [Self; COUNT] = {
        let mut all = [Self::Tile; COUNT];
        let mut index = 0;
        while index < COUNT {
            all[index] = TABLE[index].class;
            index += 1;
        }
        all
    };

    /// The properties of this class.
    #[inline]
    pub const fn row(self) -> &'static ClassRow {
        const ROWS: &[ClassRow; COUNT] = &TABLE;
        &ROWS[self.index()]
    }

    /// The name used in configuration, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The position of this class in [`Self::ALL`].
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The class called `name` in configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// Whether replicas serve this class: it changes nothing and depends on nothing that only one
    /// GeoServer has.
    #[inline]
    pub const fn is_read(self) -> bool {
        matches!(self.row().served_by, Servers::Replicas)
    }

    /// Whether a request of this class with `method` may change something.
    pub fn may_write(self, method: &str) -> bool {
        match self.row().writes {
            Writes::Never => false,
            Writes::UnsafeMethods => !is_safe(method),
            Writes::Always => true,
        }
    }
}

/// Whether HTTP defines `method` as one that changes nothing.
fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// When a failed attempt may be followed by one at another upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retryable {
    /// Until the first byte of the answer has been passed on.
    Yes,
    /// Only if no connection was established, or a kept-alive one ended without an answer: its
    /// other end closed it when the request was on its way.
    Unanswered,
    /// Only if no connection was established, so that nothing was sent.
    ConnectOnly,
    Never,
}

impl Retryable {
    /// Whether the request may go on a kept-alive connection, which may be closing.
    pub const fn allows_reuse(self) -> bool {
        matches!(self, Self::Yes | Self::Unanswered)
    }
}

/// Whether a request of `class` may be repeated at another upstream. A write that was sent may have
/// been executed, and a request with several readings may be a write.
pub fn retry(class: RequestClass, method: &str, clarity: Clarity) -> Retryable {
    let is_plain_read = clarity == Clarity::Plain && matches!(method, "GET" | "HEAD");
    match class.row().retry {
        RetryRule::UntilFirstByte => Retryable::Yes,
        RetryRule::ConnectOnly => Retryable::ConnectOnly,
        RetryRule::ConnectOnlyIfSafe if is_plain_read => Retryable::Unanswered,
        RetryRule::ConnectOnlyIfSafe if is_safe(method) => Retryable::ConnectOnly,
        RetryRule::UntilFirstByteIfPlain if is_plain_read => Retryable::Yes,
        RetryRule::ConnectOnlyIfSafe | RetryRule::UntilFirstByteIfPlain => Retryable::Never,
    }
}

impl fmt::Display for RequestClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One `T` for every class.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PerClass<T>([T; COUNT]);

impl<T> PerClass<T> {
    /// Builds a table by computing the value for each class.
    pub fn from_fn(f: impl FnMut(RequestClass) -> T) -> Self {
        Self(RequestClass::ALL.map(f))
    }

    /// Returns the classes with their values.
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
