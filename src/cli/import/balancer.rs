//! The contents of a balancer's file, in the terms that HAProxy, nginx and Apache share.

use std::time::Duration;

use crate::config::Coding;

/// Everything that was read from one file.
#[derive(Debug, Default)]
pub(super) struct OldBalancer {
    pub(super) listeners: Vec<OldListener>,
    pub(super) pools: Vec<OldPool>,
    pub(super) routes: Vec<OldRoute>,
    pub(super) settings: Vec<Setting>,
    /// Addresses or networks of proxies in front, each with its line.
    pub(super) trusted: Vec<(String, usize)>,
    pub(super) remarks: Vec<Remark>,
}

/// An address for clients.
#[derive(Clone, Debug)]
pub(super) struct OldListener {
    pub(super) line: usize,
    /// Address and port as geofront writes them.
    pub(super) address: String,
    /// The files of certificate and key, if the listener speaks TLS. The list may be empty.
    pub(super) tls: Option<Vec<(String, String)>>,
}

/// A group of servers.
#[derive(Clone, Debug, Default)]
pub(super) struct OldPool {
    pub(super) line: usize,
    pub(super) name: String,
    /// Stands before the path of every request.
    pub(super) path: String,
    pub(super) servers: Vec<OldServer>,
}

/// A server of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct OldServer {
    pub(super) line: usize,
    /// `None` where the file gives servers no names.
    pub(super) name: Option<String>,
    /// Host and port as in a URL.
    pub(super) address: String,
    pub(super) is_tls: bool,
    pub(super) weight: Option<u32>,
    pub(super) max_in_flight: Option<u32>,
    pub(super) is_backup: bool,
    pub(super) is_disabled: bool,
}

impl OldServer {
    pub(super) fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

/// A rule that sends requests to a group.
#[derive(Clone, Debug)]
pub(super) struct OldRoute {
    pub(super) line: usize,
    pub(super) pool: String,
    pub(super) purpose: RoutePurpose,
    /// The path of GeoServer, as far as the rule shows it.
    pub(super) context: Option<String>,
}

/// The requests that a rule selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoutePurpose {
    /// The web interface, REST or writes.
    Administration,
    /// Requests that are recognised as GeoServer's by path or parameters.
    GeoServer,
    /// All others.
    Everything,
    OtherApplication,
}

/// A value that geofront has a key for.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) line: usize,
    pub(super) key: SettingKey,
    pub(super) value: SettingValue,
    pub(super) scope: SettingScope,
}

/// The part of the file that a setting holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SettingScope {
    Default,
    Front,
    Pool(String),
}

/// The keys that settings are carried over to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SettingKey {
    Interval,
    DownInterval,
    Rise,
    Fall,
    SlowStart,
    ProbeLayer,
    EjectionFailures,
    Connect,
    ClientHeader,
    ClientBody,
    ClientWrite,
    KeepAlive,
    Attempts,
    RetryWindow,
    Queue,
    QueueTimeout,
    Codings,
    CompressionMinSize,
    /// `first_byte` of all classes.
    FirstByte,
    /// `max_body` of the classes with uploads.
    MaxBody,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SettingValue {
    Time(Duration),
    Count(u64),
    /// In bytes.
    Size(u64),
    Text(String),
}

/// The reason why a line is not carried over.
#[derive(Clone, Debug)]
pub(super) struct Remark {
    pub(super) line: usize,
    /// The line as written.
    pub(super) text: String,
    pub(super) verdict: RemarkVerdict,
}

/// The meaning of a line that was not carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RemarkVerdict {
    /// geofront does this by itself, or has no use for it.
    NotNeeded(String),
    /// The operator has to look at it.
    Open(String),
}

impl RemarkVerdict {
    pub(super) fn not_needed(reason: impl Into<String>) -> Self {
        Self::NotNeeded(reason.into())
    }

    pub(super) fn open(reason: impl Into<String>) -> Self {
        Self::Open(reason.into())
    }
}

impl OldBalancer {
    /// Notes that a line is not carried over.
    pub(super) fn remark(&mut self, line: usize, text: &str, verdict: RemarkVerdict) {
        let text = text.to_owned();
        self.remarks.push(Remark {
            line,
            text,
            verdict,
        });
    }

    pub(super) fn set(
        &mut self,
        line: usize,
        scope: &SettingScope,
        key: SettingKey,
        value: SettingValue,
    ) {
        self.settings.push(Setting {
            line,
            key,
            value,
            scope: scope.clone(),
        });
    }

    pub(super) fn time(
        &mut self,
        line: usize,
        scope: &SettingScope,
        key: SettingKey,
        value: Duration,
    ) {
        self.set(line, scope, key, SettingValue::Time(value));
    }

    /// Notes that the old balancer compressed answers.
    pub(super) fn compresses(&mut self, line: usize, scope: &SettingScope) {
        let gzip = SettingValue::Text(Coding::Gzip.to_string());
        self.set(line, scope, SettingKey::Codings, gzip);
    }

    pub(super) fn count(&mut self, line: usize, scope: &SettingScope, key: SettingKey, value: u64) {
        self.set(line, scope, key, SettingValue::Count(value));
    }

    /// The group of that name.
    pub(super) fn pool_mut(&mut self, name: &str) -> Option<&mut OldPool> {
        self.pools.iter_mut().find(|pool| pool.name == name)
    }

    /// Adds a group of one server for a rule that names an address, and returns its name.
    pub(super) fn single(&mut self, line: usize, address: String, is_tls: bool) -> String {
        if self.pool_mut(&address).is_none() {
            self.pools.push(OldPool {
                line,
                name: address.clone(),
                servers: vec![OldServer {
                    line,
                    address: address.clone(),
                    is_tls,
                    ..OldServer::default()
                }],
                ..OldPool::default()
            });
        }
        address
    }
}
