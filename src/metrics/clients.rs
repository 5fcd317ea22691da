//! Client connections, and the cost of slow clients. Each event is rare, so plain atomics are cheap
//! enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus::proto::MetricFamily;

use super::Metrics;
use super::memory::ClientMemory;
use super::sample::{COUNTER, GAUGE, counter_sample, family, gauge_sample};

/// The memory of slow clients, and those that were too slow.
#[derive(Debug, Default)]
pub struct SlowClients {
    /// Parts of answers that clients have not read.
    pub answers: Arc<ClientMemory>,
    /// Request bodies that are read before a slot is requested.
    pub bodies: Arc<ClientMemory>,
    readers: AtomicU64,
    senders: AtomicU64,
}

impl SlowClients {
    /// Counts a client that was given up because it read its answer too slowly.
    pub fn reader_given_up(&self) {
        self.readers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a client that was given up because it sent a body too slowly.
    pub fn sender_given_up(&self) {
        self.senders.fetch_add(1, Ordering::Relaxed);
    }
}

/// A limit on the connections of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientExcess {
    /// All connections together.
    Connections,
    PerAddress,
    NewPerSecond,
    /// Heads of one address that are not complete.
    Heads,
}

impl ClientExcess {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Connections,
        Self::PerAddress,
        Self::NewPerSecond,
        Self::Heads,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::PerAddress => "max_per_address",
            Self::NewPerSecond => "new_per_second",
            Self::Heads => "heads_per_address",
        }
    }
}

/// The number of client connections, and its limit.
#[derive(Debug, Default)]
pub struct ClientConnections {
    exceeded: [AtomicU64; ClientExcess::ALL.len()],
    open: AtomicUsize,
    most: AtomicUsize,
    refused: AtomicU64,
    /// Connections that ended within a head.
    heads: AtomicU64,
}

impl ClientConnections {
    /// Sets the maximum number of connections.
    pub fn may_be(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Counts a new connection; returns the current number.
    pub fn begin(&self) -> usize {
        self.open.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts the end of a connection.
    pub fn end(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a connection that was refused or closed because of a limit.
    pub fn exceeded(&self, excess: ClientExcess) {
        self.exceeded[excess as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was refused.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a head that was not complete in time.
    pub fn head_timed_out(&self) {
        self.heads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn timed_out_heads(&self) -> u64 {
        self.heads.load(Ordering::Relaxed)
    }

    /// The current number, the maximum, and the number of refused connections.
    pub(super) fn read(&self) -> (usize, usize, u64) {
        (
            self.open.load(Ordering::Relaxed),
            self.most.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }
}

impl Metrics {
    pub(super) fn client_families(&self) -> Vec<MetricFamily> {
        let mut families = self.connection_families();
        families.extend(self.slow_client_families());
        families
    }

    fn connection_families(&self) -> Vec<MetricFamily> {
        let (open, most, refused) = self.client_connections.read();
        let timed_out = self.client_connections.timed_out_heads();
        let gauge =
            |name, help, value: usize| family(name, help, GAUGE, [gauge_sample(&[], value as f64)]);
        vec![
            gauge(
                "geofront_client_connections",
                "Connections of clients.",
                open,
            ),
            gauge(
                "geofront_client_connections_limit",
                "How many there may be, by the limit of file descriptors.",
                most,
            ),
            family(
                "geofront_client_connections_refused_total",
                "Connections of clients that were closed at once, to keep file descriptors.",
                COUNTER,
                [counter_sample(&[], refused)],
            ),
            family(
                "geofront_client_head_timeouts_total",
                "Connections that were closed because a request head was not complete in time.",
                COUNTER,
                [counter_sample(&[], timed_out)],
            ),
            family(
                "geofront_clients_limited_total",
                "Connections of clients that were closed because of a limit.",
                COUNTER,
                ClientExcess::ALL.map(|excess| {
                    let count = &self.client_connections.exceeded[excess as usize];
                    counter_sample(&[("limit", excess.as_str())], count.load(Ordering::Relaxed))
                }),
            ),
        ]
    }

    fn slow_client_families(&self) -> Vec<MetricFamily> {
        let slow = &self.slow_clients;
        let memories = [
            ("answers", slow.answers.read()),
            ("bodies", slow.bodies.read()),
        ];
        let gauge = |of: &str, value: usize| gauge_sample(&[("of", of)], value as f64);
        vec![
            family(
                "geofront_client_memory_bytes",
                "Memory that holds what clients are slow to send or to read.",
                GAUGE,
                memories.iter().map(|(of, (held, _, _))| gauge(of, *held)),
            ),
            family(
                "geofront_client_memory_limit_bytes",
                "The limit of that memory.",
                GAUGE,
                memories.iter().map(|(of, (_, limit, _))| gauge(of, *limit)),
            ),
            family(
                "geofront_client_memory_refused_total",
                "How often that memory had no room, so that a slow client kept its slot.",
                COUNTER,
                memories
                    .iter()
                    .map(|(of, (_, _, refused))| counter_sample(&[("of", of)], *refused)),
            ),
            family(
                "geofront_slow_clients_total",
                "Clients that were given up because they were too slow.",
                COUNTER,
                [("reading", &slow.readers), ("sending", &slow.senders)].map(|(at, count)| {
                    counter_sample(&[("at", at)], count.load(Ordering::Relaxed))
                }),
            ),
        ]
    }
}
