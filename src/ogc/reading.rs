//! One way to understand a request, and which of two ways to believe.

use super::kvp::Kvp;
use super::operation::{self, Operation, Source};
use super::word::Word;
use super::{RequestClass, Service};

/// What a request is, if it is understood in one particular way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) class: RequestClass,
    pub(super) service: Option<Service>,
    pub(super) operation: Option<&'static str>,
    pub(super) reason: &'static str,
}

impl Reading {
    pub(super) const fn new(
        class: RequestClass,
        service: Option<Service>,
        reason: &'static str,
    ) -> Self {
        Self {
            class,
            service,
            operation: None,
            reason,
        }
    }

    pub(super) const fn unknown(reason: &'static str) -> Self {
        Self::new(RequestClass::Unknown, None, reason)
    }

    /// The one of the two that does less harm if the other was meant: a write before everything,
    /// then what only one place can do, then what nobody knows, then the reads.
    pub(super) fn safer(self, other: Self) -> Self {
        if severity(other.class) > severity(self.class) {
            other
        } else {
            self
        }
    }

    /// The same request as something nobody can be sure of, unless it acts. What it seems to be
    /// stays for logs and error answers.
    pub(super) fn in_doubt(self, reason: &'static str) -> Self {
        if self.acts() {
            self
        } else {
            Self {
                class: RequestClass::Unknown,
                reason,
                ..self
            }
        }
    }

    /// Whether a GeoServer that takes the request in this way changes something or runs something.
    pub(super) fn acts(&self) -> bool {
        match self.class {
            RequestClass::Transaction | RequestClass::Process | RequestClass::Admin => true,
            RequestClass::Tile
            | RequestClass::Info
            | RequestClass::Map
            | RequestClass::Capabilities
            | RequestClass::Feature
            | RequestClass::Coverage
            | RequestClass::Ui
            | RequestClass::Static
            | RequestClass::Unknown => false,
        }
    }

    /// The operation `name` of `service`, with what the parameters change about it.
    pub(super) fn of_operation(service: Service, name: &Word, kvp: &Kvp, source: Source) -> Self {
        match operation::find(service, name) {
            Some(operation) => Self::of_known(operation, kvp, source),
            None => Self::without_operation(service, "the service has no operation of this name"),
        }
        .with_lock(kvp.has_lock_id)
    }

    /// A request to `service` that names no operation we know: GeoServer refuses it, except that
    /// whatever is WPS may run.
    pub(super) fn without_operation(service: Service, reason: &'static str) -> Self {
        if service == Service::Wps {
            let reason = "a WPS request: only GetCapabilities and DescribeProcess are certain not to run anything";
            return Self::new(RequestClass::Process, Some(service), reason);
        }
        Self::new(RequestClass::Unknown, Some(service), reason)
    }

    fn of_known(operation: &'static Operation, kvp: &Kvp, source: Source) -> Self {
        let (class, reason) = match operation.class {
            RequestClass::Map
                if kvp.asks_for_a_tile() && operation.name == "GetMap" && !source.is_document() =>
            {
                (
                    RequestClass::Tile,
                    "a WMS GetMap with tiled=true, which the tile cache may answer",
                )
            }
            RequestClass::Coverage if kvp.is_stored => (RequestClass::Transaction, STORED),
            class => (class, operation.reason(source)),
        };
        Self {
            class,
            service: Some(operation.service),
            operation: Some(operation.name),
            reason,
        }
    }

    pub(super) fn with_lock(self, has_lock_id: bool) -> Self {
        if has_lock_id && self.service == Some(Service::Wfs) {
            return Self {
                class: RequestClass::Transaction,
                reason: LOCKED,
                ..self
            };
        }
        self
    }

    /// A coverage of WCS may be stored wherever its document says so: one of which the end is not
    /// seen may say it there.
    pub(super) fn with_store(self, is_stored: bool, is_whole: bool) -> Self {
        match self.class {
            RequestClass::Coverage if is_stored => Self { class: RequestClass::Transaction, reason: STORED, ..self },
            RequestClass::Coverage if !is_whole => {
                self.in_doubt("a WCS GetCoverage that goes on beyond what is looked at may ask to be stored there")
            }
            _ => self,
        }
    }
}

const LOCKED: &str = "a WFS request with a lockId: locks live in the memory of one GeoServer";
const STORED: &str =
    "a WCS GetCoverage with store=true leaves its result in /temp, which the main answers";

fn severity(class: RequestClass) -> u8 {
    match class {
        RequestClass::Static => 0,
        RequestClass::Tile => 1,
        RequestClass::Info => 2,
        RequestClass::Map => 3,
        RequestClass::Capabilities => 4,
        RequestClass::Coverage => 5,
        RequestClass::Feature => 6,
        RequestClass::Unknown => 7,
        RequestClass::Ui => 8,
        RequestClass::Process => 9,
        RequestClass::Admin => 10,
        RequestClass::Transaction => 11,
    }
}
