//! One interpretation of a request, and the choice between two.

use super::kvp::Kvp;
use super::operation::{self, Operation, Source};
use super::processes::Processes;
use super::word::Word;
use super::{Clarity, RequestClass, Service};

/// The class and operation of a request under one interpretation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interpretation {
    pub(super) class: RequestClass,
    pub(super) service: Option<Service>,
    pub(super) operation: Option<&'static str>,
    pub(super) reason: &'static str,
    pub(super) clarity: Clarity,
    pub(super) processes: Processes,
}

impl Interpretation {
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
            clarity: Clarity::Plain,
            processes: Processes::NONE,
        }
    }

    pub(super) const fn unknown(reason: &'static str) -> Self {
        Self::new(RequestClass::Unknown, None, reason)
    }

    /// The reading that does less harm if the other one was meant. The order is: writes, then
    /// requests that one upstream must serve, then `unknown`, then reads. Of two that act alike at
    /// one service, the one with an operation counts, because the other may run nothing.
    pub(super) fn safer(self, other: Self) -> Self {
        let is_same = (self.service, self.operation) == (other.service, other.operation);
        let both = self.clarity.max(other.clarity);
        let clarity = if is_same {
            both
        } else {
            both.max(Clarity::SeveralReadings)
        };
        let names_what_self_does = self.acts()
            && (self.class, self.service, self.operation) == (other.class, other.service, None)
            && other.operation.is_some();
        let is_worse = other.class.row().severity > self.class.row().severity;
        let safer = if is_worse || names_what_self_does {
            other
        } else {
            self
        };
        Self {
            clarity,
            processes: self.processes.beside(other.processes),
            ..safer
        }
    }

    /// The same reading, beside others that servers may prefer if `has_others`.
    pub(super) fn beside_others(self, has_others: bool) -> Self {
        if has_others {
            Self {
                clarity: self.clarity.max(Clarity::SeveralReadings),
                ..self
            }
        } else {
            self
        }
    }

    /// The same reading of a request that has a part which was not read.
    pub(super) fn unseen(self) -> Self {
        Self {
            clarity: Clarity::Unreadable,
            ..self
        }
    }

    /// Turns the reading into `unknown` unless it acts. Service and operation stay for logs and
    /// error answers.
    pub(super) fn in_doubt(self, reason: &'static str) -> Self {
        let doubted = self.unseen();
        if self.acts() {
            doubted
        } else {
            Self {
                class: RequestClass::Unknown,
                reason,
                ..doubted
            }
        }
    }

    /// True if a GeoServer that reads the request this way changes or runs something.
    pub(super) fn acts(&self) -> bool {
        self.class.row().acts
    }

    /// The reading of the operation `name` of `service`, as modified by the parameters.
    pub(super) fn of_operation(service: Service, name: &Word, kvp: &Kvp, source: Source) -> Self {
        match operation::find(service, name) {
            Some(operation) => Self::of_known(operation, kvp, source),
            None => Self::without_operation(service, "the service has no operation of this name"),
        }
        .with_lock(kvp.has_lock_id)
    }

    /// The reading of a request to `service` that names no known operation. GeoServer refuses it,
    /// but any WPS request may run a process.
    pub(super) fn without_operation(service: Service, reason: &'static str) -> Self {
        if service == Service::Wps {
            let reason = "a WPS request: only GetCapabilities and DescribeProcess are certain not to run anything";
            return Self {
                processes: Processes::UNDETERMINED,
                ..Self::new(RequestClass::Process, Some(service), reason)
            };
        }
        Self::new(RequestClass::Unknown, Some(service), reason)
    }

    fn of_known(operation: &'static Operation, kvp: &Kvp, source: Source) -> Self {
        let (class, reason) = match operation.class {
            RequestClass::Map
                if kvp.is_tile_request() && operation.name == "GetMap" && !source.is_document() =>
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
            clarity: Clarity::Plain,
            processes: match (operation.class, operation.name) {
                (RequestClass::Process, "Execute") if !source.is_document() => {
                    kvp.processes.of_execution()
                }
                (RequestClass::Process, "Execute") => kvp.processes,
                _ => Processes::NONE,
            },
        }
    }

    /// Adds the processes that the document of the body names.
    pub(super) fn with_processes(self, of_document: Processes) -> Self {
        if self.class == RequestClass::Process {
            Self {
                processes: self.processes.beside(of_document),
                ..self
            }
        } else {
            self
        }
    }

    /// The same, beside a reading that only the main may serve.
    pub(super) fn beside_the_mains(self) -> Self {
        self.with_processes(Processes::UNDETERMINED)
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

    /// Applies the `store` option of a WCS GetCoverage. The option may stand anywhere in the
    /// document, so an incomplete document is in doubt.
    pub(super) fn with_store(self, is_stored: bool, is_whole: bool) -> Self {
        match self.class {
            RequestClass::Coverage if is_stored => Self {
                class: RequestClass::Transaction,
                reason: STORED,
                ..self
            },
            RequestClass::Coverage if !is_whole => {
                self.in_doubt("a WCS GetCoverage that is longer than the part that is read may set store=true at its end")
            }
            _ => self,
        }
    }
}

const LOCKED: &str = "a WFS request with a lockId: locks live in the memory of one GeoServer";
const STORED: &str =
    "a WCS GetCoverage with store=true leaves its result in /temp, which the main answers";
