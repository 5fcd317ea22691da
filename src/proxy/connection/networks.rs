//! The activity of each client network: its connections, its incomplete heads, and the rate at
//! which it opens connections.
//!
//! A network is one IPv4 address or one IPv6 /64, the usual range of one client. Each network with
//! a connection has an entry, so the number of connections bounds the table. A network without a
//! connection is remembered until its rate allows a whole burst again and its slow readers have all
//! of their credit. The number of such networks is bounded by [`MAX_IDLE`]: forgetting one only
//! gives it a fresh burst and credit.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::reading_credit::ReadingCredit;
use crate::metrics::NetworkMemory;

/// Parts of the table, so that connections of different networks rarely contend for a lock.
const SHARDS: usize = 16;

/// Maximum number of networks without a connection that one part of the table remembers.
const MAX_IDLE: usize = 1024;

/// Burst of a network: the connections that its rate allows in this time may be opened at once.
const BURST: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network(u128);

impl Network {
    /// The address of an IPv4 network, or the first one of an IPv6 network.
    pub(super) fn address(self) -> IpAddr {
        IpAddr::V6(self.0.into()).to_canonical()
    }

    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().into()),
            IpAddr::V6(address) => Self(u128::from(address) >> 64 << 64),
        }
    }
}

/// The limits of one network; 0 for none.
#[derive(Clone, Copy, Debug)]
pub(super) struct NetworkLimits {
    pub(super) connections: usize,
    pub(super) new_per_second: u32,
    pub(super) heads: u32,
}

/// The limit that a network exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    Connections,
    Rate,
}

/// The limits that all connections of a network share beside their number.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct SharedByNetwork {
    /// The memory for slow clients.
    pub(super) memory: NetworkMemory,
    /// The time of slots for slow readers.
    pub(super) reading: ReadingCredit,
}

/// The activity of one network.
#[derive(Debug)]
struct Usage {
    connections: usize,
    heads: u32,
    shared: SharedByNetwork,
    /// Theoretical arrival time of its rate limit on connections (GCRA).
    paid_until: Instant,
}

/// A part of the table.
#[derive(Debug, Default)]
struct Part {
    usages: HashMap<Network, Usage>,
    /// Number of entries without a connection.
    idle: usize,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Networks {
    parts: [Mutex<Part>; SHARDS],
    hasher: RandomState,
}

impl Networks {
    /// Counts a new connection. Its end must be reported to [`leave`](Self::leave).
    pub(super) fn enter(
        &self,
        network: Network,
        limits: &NetworkLimits,
        now: Instant,
    ) -> Result<(), Excess> {
        let part = &mut *self.part(network).lock();
        let idle = &mut part.idle;
        let usage = part.usages.entry(network).or_insert_with(|| {
            *idle += 1;
            Usage {
                connections: 0,
                heads: 0,
                shared: SharedByNetwork::default(),
                paid_until: now,
            }
        });
        let has_room = limits.connections == 0 || usage.connections < limits.connections;
        let paid_until = usage.paid_until.max(now);
        let is_slow = limits.new_per_second == 0 || paid_until.duration_since(now) < BURST;
        let entered = match (has_room, is_slow) {
            (false, _) => Err(Excess::Connections),
            (_, false) => Err(Excess::Rate),
            (true, true) => Ok(()),
        };
        if entered.is_ok() {
            let price = Duration::from_secs(1).checked_div(limits.new_per_second);
            usage.paid_until = paid_until + price.unwrap_or_default();
            part.idle -= usize::from(usage.connections == 0);
            usage.connections += 1;
        }
        entered
    }

    /// Counts the end of a connection.
    pub(super) fn leave(&self, network: Network, now: Instant) {
        let part = &mut *self.part(network).lock();
        let Some(usage) = part.usages.get_mut(&network) else {
            return;
        };
        usage.connections = usage.connections.saturating_sub(1);
        if usage.connections > 0 {
            return;
        }
        if usage.paid_until <= now && usage.shared.reading.is_whole(now.into()) {
            part.usages.remove(&network);
            return;
        }
        part.idle += 1;
        if part.idle > MAX_IDLE {
            part.usages.retain(|_, usage| usage.connections > 0);
            part.idle = 0;
        }
    }

    /// Counts an incomplete head. Its end must be reported to [`end_head`](Self::end_head). Returns
    /// false if there are too many.
    pub(super) fn begin_head(&self, network: Network, limits: &NetworkLimits) -> bool {
        let part = &mut *self.part(network).lock();
        let Some(usage) = part.usages.get_mut(&network) else {
            return true;
        };
        usage.heads += 1;
        limits.heads == 0 || usage.heads <= limits.heads
    }

    pub(super) fn end_head(&self, network: Network) {
        let part = &mut *self.part(network).lock();
        if let Some(usage) = part.usages.get_mut(&network) {
            usage.heads = usage.heads.saturating_sub(1);
        }
    }

    /// Returns the limits that all connections of a network share; `None` without a connection.
    pub(super) fn shared(&self, network: Network) -> Option<SharedByNetwork> {
        let part = self.part(network).lock();
        Some(part.usages.get(&network)?.shared.clone())
    }

    fn part(&self, network: Network) -> &Mutex<Part> {
        &self.parts[self.hasher.hash_one(network) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: NetworkLimits = NetworkLimits {
        connections: 100,
        new_per_second: 10,
        heads: 3,
    };

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    fn entries(networks: &Networks) -> usize {
        let count = |part: &Mutex<Part>| part.lock().usages.len();
        networks.parts.iter().map(count).sum()
    }

    #[test]
    fn a_network_is_an_address_of_ipv4_and_a_64_of_ipv6() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("10.0.0.1").address().to_string(), "10.0.0.1");
        assert_eq!(network("2001:db8::1").address().to_string(), "2001:db8::");
    }

    #[test]
    fn a_network_has_so_many_connections_and_others_have_theirs() {
        let (networks, now) = (Networks::default(), Instant::now());
        let (one, other) = (network("2001:db8::1"), network("10.0.0.1"));
        let limits = NetworkLimits {
            new_per_second: 0,
            ..LIMITS
        };
        for _ in 0..100 {
            assert_eq!(networks.enter(one, &limits, now), Ok(()));
        }
        assert_eq!(networks.enter(one, &limits, now), Err(Excess::Connections));
        assert_eq!(networks.enter(other, &limits, now), Ok(()));
        networks.leave(one, now);
        assert_eq!(networks.enter(one, &limits, now), Ok(()));
    }

    #[test]
    fn a_network_that_opens_connections_faster_than_its_rate_is_refused_after_a_burst() {
        let (networks, start) = (Networks::default(), Instant::now());
        let one = network("10.0.0.1");
        let opened = |from: Instant, count: usize| {
            let opens = |_: &usize| {
                let entered = networks.enter(one, &LIMITS, from).is_ok();
                if entered {
                    networks.leave(one, from);
                }
                entered
            };
            (0..count).filter(opens).count()
        };
        assert_eq!(opened(start, 1000), 100);
        assert_eq!(opened(start + Duration::from_secs(1), 1000), 10);
        assert_eq!(
            opened(start, 1000),
            0,
            "a clock that goes back changes nothing"
        );
        assert_eq!(opened(start + Duration::from_secs(3600), 1000), 100);
    }

    /// Else a client that reads nothing would only have to connect again.
    #[test]
    fn the_reading_credit_of_a_network_outlives_its_connections_until_it_is_whole() {
        let (networks, now) = (Networks::default(), Instant::now());
        let one = network("10.0.0.1");
        let limits = NetworkLimits {
            new_per_second: 0,
            ..LIMITS
        };
        let spend = |now: Instant| {
            let reading = networks.shared(one).unwrap().reading;
            reading.spend(Duration::from_secs(1), 0, 1, now.into())
        };
        assert_eq!(networks.enter(one, &limits, now), Ok(()));
        while spend(now) {}
        networks.leave(one, now);
        assert_eq!(networks.enter(one, &limits, now), Ok(()));
        assert!(!spend(now));
        networks.leave(one, now + Duration::from_secs(200));
        assert_eq!(entries(&networks), 0);
    }

    #[test]
    fn heads_that_do_not_end_are_limited() {
        let (networks, now) = (Networks::default(), Instant::now());
        let one = network("10.0.0.1");
        networks.enter(one, &LIMITS, now).unwrap();
        let begun = [0; 4].map(|_| networks.begin_head(one, &LIMITS));
        assert_eq!(begun, [true, true, true, false]);
        networks.end_head(one);
        networks.end_head(one);
        assert!(networks.begin_head(one, &LIMITS));
    }

    #[test]
    fn the_table_is_bounded_and_a_crowd_of_networks_pushes_no_connection_out() {
        let (networks, now) = (Networks::default(), Instant::now());
        let held = network("10.0.0.1");
        for _ in 0..100 {
            networks.enter(held, &LIMITS, now).unwrap();
        }
        for number in 0..100_000_u128 {
            let one = Network(number << 64);
            networks.enter(one, &LIMITS, now).unwrap();
            networks.leave(one, now);
        }
        assert!(
            entries(&networks) <= SHARDS * (MAX_IDLE + 1),
            "{}",
            entries(&networks)
        );
        assert_eq!(networks.enter(held, &LIMITS, now), Err(Excess::Connections));
        let later = now + Duration::from_secs(60);
        (0..100).for_each(|_| networks.leave(held, later));
        let quiet = network("10.0.0.2");
        networks.enter(quiet, &LIMITS, now).unwrap();
        networks.leave(quiet, later);
        let part = networks.part(quiet).lock();
        assert!(!part.usages.contains_key(&quiet), "it is not remembered");
    }
}
