//! The table of request classes: the only place that lists the twelve classes and their properties.
//!
//! `docs/request-classes.md` shows the table to administrators, and a test compares the two.

use std::time::Duration;

use super::RequestClass;

/// The properties of one request class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRow {
    pub class: RequestClass,
    /// The name used in configuration, metrics and logs.
    pub name: &'static str,
    pub served_by: Servers,
    pub writes: Writes,
    pub retry: RetryRule,
    /// Harm of taking a request of this class for one of another: 0 is harmless, 11 worst. If two
    /// readings of a request differ, the class with the higher severity wins.
    pub severity: u8,
    /// A GeoServer that understands the request this way changes or runs something. Such a reading
    /// stands even where another reading is in doubt.
    pub acts: bool,
    /// An answer with status 500 counts as a fault of the upstream. REST and the web interface
    /// answer 500 to many invalid requests; services report those as exceptions.
    pub blames_upstream: bool,
    /// The request may use the slots that are reserved for administration.
    pub is_administration: bool,
    /// Identical concurrent requests may share one answer.
    pub is_coalescable: bool,
    /// Default of `priority`, 0 (first) to 3 (last); 2 and 3 are heavy.
    pub default_priority: u8,
    /// Default of `first_byte`: how long an upstream may take to begin its answer.
    pub default_first_byte: Duration,
    /// Default of `max_body`, in bytes.
    pub default_max_body: u64,
    /// The longest duration that is not reported as slow.
    pub slow_after: Duration,
}

/// The upstreams that may serve a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Every replica gives the same answer.
    Replicas,
    /// One upstream, which the administrator may choose: follow-up requests must reach the
    /// upstream that began the work.
    OneUpstream,
    /// Only the main, for the given reason.
    Main { reason: &'static str },
}

/// The requests of a class that may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    Never,
    /// Requests with a method other than GET, HEAD and OPTIONS.
    UnsafeMethods,
    Always,
}

/// When a failed attempt may be followed by another at a different upstream, by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryRule {
    /// Until the first byte of the answer has been passed on.
    UntilFirstByte,
    /// Only if no connection was established, so that nothing was sent.
    ConnectOnly,
    /// Like `ConnectOnly` for GET, HEAD and OPTIONS; never for other methods. GET and HEAD also if
    /// a kept-alive connection ended without an answer.
    ConnectOnlyIfSafe,
    /// Like `UntilFirstByte` for GET and HEAD of which there is one reading; never for all others,
    /// because some server may read them as something that acts.
    UntilFirstByteIfPlain,
}

const TWO_WRITERS: &str =
    "two upstreams that write to one data directory would undo each other's changes";

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Bytes. A read's body is a query: the largest are filters with a polygon of many points, or a
/// style that is sent along with a GetMap. 16 MB hold them.
const fn megabytes(megabytes: u64) -> u64 {
    megabytes * 1_000_000
}

/// The number of classes. The lengths of arrays are this number and not the length of the table,
/// because the compiler cannot always evaluate the table while it computes types.
pub(super) const COUNT: usize = 12;

pub(super) const TABLE: [ClassRow; COUNT] = [
    // GeoServer gives up rendering after 60 seconds, and a tile may wait for its metatile.
    ClassRow {
        class: RequestClass::Tile,
        name: "tile",
        served_by: Servers::Replicas,
        writes: Writes::Never,
        retry: RetryRule::UntilFirstByte,
        severity: 1,
        acts: false,
        blames_upstream: true,
        is_administration: false,
        is_coalescable: true,
        default_priority: 0,
        default_first_byte: seconds(90),
        default_max_body: megabytes(16),
        slow_after: seconds(2),
    },
    // One feature or one legend takes seconds even on a loaded machine.
    ClassRow {
        class: RequestClass::Info,
        name: "info",
        served_by: Servers::Replicas,
        writes: Writes::Never,
        retry: RetryRule::UntilFirstByte,
        severity: 2,
        acts: false,
        blames_upstream: true,
        is_administration: false,
        is_coalescable: false,
        default_priority: 0,
        default_first_byte: seconds(60),
        default_max_body: megabytes(16),
        slow_after: seconds(5),
    },
    // GeoServer gives up rendering after 60 seconds. A user is looking at the map.
    ClassRow {
        class: RequestClass::Map,
        name: "map",
        served_by: Servers::Replicas,
        writes: Writes::Never,
        retry: RetryRule::UntilFirstByte,
        severity: 3,
        acts: false,
        blames_upstream: true,
        is_administration: false,
        is_coalescable: true,
        default_priority: 1,
        default_first_byte: seconds(90),
        default_max_body: megabytes(16),
        slow_after: seconds(5),
    },
    // Thousands of layers take a minute to list.
    ClassRow {
        class: RequestClass::Capabilities,
        name: "capabilities",
        served_by: Servers::Replicas,
        writes: Writes::Never,
        retry: RetryRule::UntilFirstByte,
        severity: 4,
        acts: false,
        blames_upstream: true,
        is_administration: false,
        is_coalescable: true,
        default_priority: 1,
        default_first_byte: seconds(120),
        default_max_body: megabytes(16),
        slow_after: seconds(5),
    },
    // A download may take minutes, and GeoServer sets no limit of its own.
    ClassRow {
        class: RequestClass::Feature,
        name: "feature",
        served_by: Servers::Replicas,
        writes: Writes::Never,
        retry: RetryRule::UntilFirstByte,
        severity: 6,
        acts: false,
        blames_upstream: true,
        is_administration: false,
        is_coalescable: false,
        default_priority: 2,
        default_first_byte: seconds(1200),
        default_max_body: megabytes(16),
        slow_after: seconds(20),
    },
    // A download may take minutes, and GeoServer sets no limit of its own.
    ClassRow {
        class: RequestClass::Coverage,
        name: "coverage",
        served_by: Servers::Replicas,
        writes: Writes::Never,
        retry: RetryRule::UntilFirstByte,
        severity: 5,
        acts: false,
        blames_upstream: true,
        is_administration: false,
        is_coalescable: false,
        default_priority: 2,
        default_first_byte: seconds(1200),
        default_max_body: megabytes(16),
        slow_after: seconds(60),
    },
    // A computation with inputs inline; GeoServer sets no limit of its own.
    ClassRow {
        class: RequestClass::Process,
        name: "process",
        served_by: Servers::OneUpstream,
        writes: Writes::Always,
        retry: RetryRule::ConnectOnly,
        severity: 9,
        acts: true,
        blames_upstream: true,
        is_administration: false,
        is_coalescable: false,
        default_priority: 3,
        default_first_byte: seconds(1200),
        default_max_body: megabytes(500),
        slow_after: seconds(60),
    },
    // A change must not get lost behind downloads. Its features come inline.
    ClassRow {
        class: RequestClass::Transaction,
        name: "transaction",
        served_by: Servers::Main {
            reason: TWO_WRITERS,
        },
        writes: Writes::Always,
        retry: RetryRule::ConnectOnly,
        severity: 11,
        acts: true,
        blames_upstream: true,
        is_administration: true,
        is_coalescable: false,
        default_priority: 1,
        default_first_byte: seconds(1200),
        default_max_body: megabytes(500),
        slow_after: seconds(20),
    },
    // Coverages are uploaded over REST as whole files, and imports compute before they answer.
    ClassRow {
        class: RequestClass::Admin,
        name: "admin",
        served_by: Servers::Main {
            reason: TWO_WRITERS,
        },
        writes: Writes::UnsafeMethods,
        retry: RetryRule::ConnectOnlyIfSafe,
        severity: 10,
        acts: true,
        blames_upstream: false,
        is_administration: true,
        is_coalescable: false,
        default_priority: 1,
        default_first_byte: seconds(1200),
        default_max_body: megabytes(10000),
        slow_after: seconds(20),
    },
    // Pages that list stores may take a minute. Forms upload files.
    ClassRow {
        class: RequestClass::Ui,
        name: "ui",
        served_by: Servers::Main {
            reason: "the web UI keeps its sessions on one upstream, and changes the configuration",
        },
        writes: Writes::UnsafeMethods,
        retry: RetryRule::ConnectOnly,
        severity: 8,
        acts: false,
        blames_upstream: false,
        is_administration: true,
        is_coalescable: false,
        default_priority: 1,
        default_first_byte: seconds(120),
        default_max_body: megabytes(500),
        slow_after: seconds(20),
    },
    // Files and configuration: GeoServer computes nothing.
    ClassRow {
        class: RequestClass::Static,
        name: "static",
        served_by: Servers::Replicas,
        writes: Writes::Never,
        retry: RetryRule::UntilFirstByte,
        severity: 0,
        acts: false,
        blames_upstream: true,
        is_administration: false,
        is_coalescable: false,
        default_priority: 0,
        default_first_byte: seconds(30),
        default_max_body: megabytes(16),
        slow_after: seconds(2),
    },
    // The request may be anything, an upload or an export included. So it has the time of the
    // longest read and counts as heavy; a rule of the operator can give it another class.
    ClassRow {
        class: RequestClass::Unknown,
        name: "unknown",
        served_by: Servers::Main {
            reason: "a request that is not understood may be a change",
        },
        writes: Writes::UnsafeMethods,
        retry: RetryRule::UntilFirstByteIfPlain,
        severity: 7,
        acts: false,
        blames_upstream: false,
        is_administration: false,
        is_coalescable: false,
        default_priority: 2,
        default_first_byte: seconds(1200),
        default_max_body: megabytes(500),
        slow_after: seconds(60),
    },
];

// `RequestClass::row` indexes the table with the discriminant.
const _: () = {
    let mut index = 0;
    while index < TABLE.len() {
        assert!(TABLE[index].class as usize == index);
        index += 1;
    }
};
