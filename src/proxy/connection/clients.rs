//! The numbers of client connections and their limits: in all, and of one network.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::log_limit::LogLimit;
use super::networks::{Excess, Network, NetworkLimits, Networks, SharedByNetwork};
use crate::config::ClientLimits;
use crate::metrics::{ClientExcess, Metrics};

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::proxy) struct Clients {
    most: usize,
    metrics: Arc<Metrics>,
    networks: Networks,
    /// For each limit.
    log_limits: [LogLimit; ClientExcess::ALL.len()],
}

impl Clients {
    pub(in crate::proxy) fn new(most: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.client_connections.may_be(most);
        Arc::new(Self {
            most,
            metrics,
            networks: Networks::default(),
            log_limits: Default::default(),
        })
    }

    /// Counts a connection until the returned value is dropped; `None` if there are too many.
    pub(in crate::proxy) fn enter(self: &Arc<Self>) -> Option<CountedClient> {
        let client = CountedClient {
            clients: Arc::clone(self),
            counted: None,
            shared: None,
        };
        if self.metrics.client_connections.begin() > self.most {
            self.metrics.client_connections.refused();
            self.exceeded(ClientExcess::Connections, None);
            return None;
        }
        Some(client)
    }

    /// Counts a connection that ends because its head was not complete in time.
    pub(in crate::proxy) fn count_head_timeout(&self) {
        self.metrics.client_connections.head_timed_out();
    }

    /// One network never has more than half of all connections.
    fn network_limits(&self, limits: &ClientLimits) -> NetworkLimits {
        let half = (self.most / 2).max(1);
        let connections = match limits.max_per_address as usize {
            0 => 0,
            most => most.min(half),
        };
        NetworkLimits {
            connections,
            new_per_second: limits.new_per_second,
            heads: limits.heads_per_address,
        }
    }

    /// Counts a client that is refused, and logs it now and then.
    fn exceeded(&self, excess: ClientExcess, peer: Option<IpAddr>) {
        self.metrics.client_connections.exceeded(excess);
        if !self.log_limits[excess as usize].allows(Instant::now()) {
            return;
        }
        let key = match excess {
            ClientExcess::Connections => {
                tracing::warn!(
                    most = self.most,
                    "clients are refused: more connections would take the file descriptors that probes and the admin endpoint need"
                );
                return;
            }
            ClientExcess::PerAddress => "clients.max_per_address",
            ClientExcess::NewPerSecond => "clients.new_per_second",
            ClientExcess::Heads => "clients.heads_per_address",
        };
        let example = peer.map(tracing::field::display);
        tracing::warn!(
            limit = key,
            example,
            "clients are refused: their address exceeds a limit"
        );
    }
}

/// A client's connection that is counted.
#[derive(Debug)]
pub(in crate::proxy) struct CountedClient {
    clients: Arc<Clients>,
    /// Its network, and the limits of it.
    counted: Option<(Network, NetworkLimits)>,
    /// The limits that it shares with all connections of its network.
    shared: Option<SharedByNetwork>,
}

impl CountedClient {
    /// Counts the connection for its network, too; false if that has too many. `peer` is `None` for
    /// a proxy through which all clients come: it has no limits of its own.
    pub(in crate::proxy) fn join(&mut self, peer: Option<IpAddr>, limits: &ClientLimits) -> bool {
        let Some(network) = peer.map(Network::of) else {
            return true;
        };
        let clients = &self.clients;
        let limits = clients.network_limits(limits);
        let excess = match clients.networks.enter(network, &limits, Instant::now()) {
            Ok(()) => {
                self.counted = Some((network, limits));
                self.shared = clients.networks.shared(network);
                return true;
            }
            Err(Excess::Connections) => ClientExcess::PerAddress,
            Err(Excess::Rate) => ClientExcess::NewPerSecond,
        };
        clients.exceeded(excess, peer);
        false
    }

    /// Returns the limits that it shares with all connections of its network; `None` if there are
    /// none.
    pub(in crate::proxy) fn shared(&self) -> Option<SharedByNetwork> {
        self.shared.clone()
    }

    /// Counts a head that has begun and is not complete, until the returned value is dropped;
    /// `None` if the client has too many.
    pub(in crate::proxy) fn begin_head(&self) -> Option<CountedHead<'_>> {
        let head = CountedHead(self);
        let Some((network, limits)) = self.counted else {
            return Some(head);
        };
        if self.clients.networks.begin_head(network, &limits) {
            return Some(head);
        }
        self.clients
            .exceeded(ClientExcess::Heads, Some(network.address()));
        None
    }
}

impl Drop for CountedClient {
    fn drop(&mut self) {
        if let Some((network, _)) = self.counted {
            self.clients.networks.leave(network, Instant::now());
        }
        self.clients.metrics.client_connections.end();
    }
}

/// A head that is counted.
#[derive(Debug)]
pub(in crate::proxy) struct CountedHead<'c>(&'c CountedClient);

impl Drop for CountedHead<'_> {
    fn drop(&mut self) {
        if let Some((network, _)) = self.0.counted {
            self.0.clients.networks.end_head(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ClientLimits = ClientLimits {
        body_memory: 0,
        all_body_memory: 0,
        min_upload_rate: 0,
        answer_memory: 0,
        all_answer_memory: 0,
        min_download_rate: 0,
        max_per_address: 3,
        new_per_second: 1000,
        heads_per_address: 1,
    };

    fn enter(clients: &Arc<Clients>, peer: Option<IpAddr>) -> Option<CountedClient> {
        let mut client = clients.enter()?;
        client.join(peer, &LIMITS).then_some(client)
    }

    fn peer(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, number]))
    }

    #[test]
    fn so_many_clients_get_in_and_the_next_one_when_one_has_left() {
        let clients = Clients::new(2, Metrics::new());
        let (first, second) = (enter(&clients, peer(1)), enter(&clients, peer(2)));
        assert!(first.is_some() && second.is_some());
        assert!([3, 4].iter().all(|n| enter(&clients, peer(*n)).is_none()));
        drop(first);
        assert!(enter(&clients, peer(3)).is_some());
    }

    #[test]
    fn one_address_never_has_all_connections_and_a_trusted_proxy_may() {
        let clients = Clients::new(4, Metrics::new());
        let many = |peer| -> Vec<_> { (0..4).filter_map(|_| enter(&clients, peer)).collect() };
        let of_one = many(peer(1));
        assert_eq!((of_one.len(), many(peer(2)).len()), (2, 2));
        drop(of_one);
        assert_eq!(many(None).len(), 4);
    }

    #[test]
    fn heads_that_do_not_end_are_limited_for_each_address() {
        let clients = Clients::new(100, Metrics::new());
        let count = |number| enter(&clients, peer(number)).unwrap();
        let (one, same, other) = (count(1), count(1), count(2));
        let head = one.begin_head();
        assert!(head.is_some() && same.begin_head().is_none() && other.begin_head().is_some());
        drop(head);
        assert!(same.begin_head().is_some());
    }
}
