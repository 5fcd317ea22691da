//! The simulated GeoServers of the demo, and the faults that a visitor may cause.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::geosim::{Behaviour, Capacity, DataDirectory, Fault, Instance, ServiceTime};
use crate::ogc::{PerClass, RequestClass};

/// Long enough to be seen, short enough to wait for.
pub(super) const RELOAD_TIME: Duration = Duration::from_secs(3);

/// The cores of one instance: few, so that some dozen heavy requests are a load.
const CORES: f64 = 2.0;

/// The speed of a slow replica.
const SLOW: f64 = 0.04;

/// The main, in the colour of paper: it draws only while no replica can.
const MAIN_TINT: [u8; 3] = [201, 195, 180];

/// Colours that most people can distinguish. Further replicas use them again.
const TINTS: [[u8; 3]; 8] = [
    [98, 178, 140],
    [238, 168, 84],
    [124, 156, 222],
    [216, 132, 166],
    [160, 190, 84],
    [86, 182, 200],
    [196, 148, 222],
    [222, 202, 92],
];

/// An order of the visitor to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Every request is worked on at a 25th of the speed.
    Slow,
    /// Requests are read and never answered.
    Hang,
    /// The process ends; connections are reset, then refused.
    Crash,
    /// Answers come at once, with status 200 where GeoServer's exceptions have it, and report
    /// `OutOfMemoryError`.
    Poison,
    /// All of this ends.
    Revive,
}

/// The condition of a replica, as ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ailment {
    #[default]
    None,
    Slow,
    Hanging,
    Crashed,
    Poisoned,
}

/// The reason why an order was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OrderError {
    NoSuchReplica(String),
    /// A process that does not run cannot be broken in another way.
    IsCrashed(String),
}

impl Order {
    /// All orders with their names in URLs.
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("slow", Self::Slow),
        ("hang", Self::Hang),
        ("crash", Self::Crash),
        ("poison", Self::Poison),
        ("revive", Self::Revive),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, order)| order)
    }
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "well",
            Self::Slow => "slow",
            Self::Hanging => "hanging",
            Self::Crashed => "crashed",
            Self::Poisoned => "poisoned",
        })
    }
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchReplica(name) => write!(f, "no replica of the demo is called `{name}`"),
            Self::IsCrashed(name) => write!(f, "{name} has crashed: revive it first"),
        }
    }
}

/// A main and its replicas.
pub struct SimulatedCluster {
    pub main: Instance,
    replicas: Vec<Replica>,
}

struct Replica {
    instance: Instance,
    tint: [u8; 3],
    ailment: Mutex<Ailment>,
}

impl SimulatedCluster {
    pub(super) fn start(replicas: u16) -> Self {
        let data = DataDirectory::new();
        let start = |name: &str, number: u16, tint: [u8; 3]| {
            Instance::start(name, &data, behaviour(u64::from(number), tint))
        };
        let replica = |number: u16| {
            let tint = TINTS[usize::from(number - 1) % TINTS.len()];
            Replica {
                instance: start(&format!("slave{number}"), number, tint),
                tint,
                ailment: Mutex::default(),
            }
        };
        Self {
            main: start("main", 0, MAIN_TINT),
            replicas: (1..=replicas).map(replica).collect(),
        }
    }

    /// Returns the replicas.
    pub fn replicas(&self) -> impl Iterator<Item = &Instance> {
        self.replicas.iter().map(|replica| &replica.instance)
    }

    /// Name, colour and condition of the main and of each replica.
    pub(super) fn look(&self) -> Vec<(&str, [u8; 3], Ailment)> {
        let main = (self.main.name(), MAIN_TINT, Ailment::None);
        let replica = |replica: &Replica| (replica.tint, *replica.ailment.lock());
        let names = self.replicas().map(Instance::name);
        std::iter::once(main)
            .chain(
                names
                    .zip(self.replicas.iter().map(replica))
                    .map(|(name, (tint, ailment))| (name, tint, ailment)),
            )
            .collect()
    }

    /// Executes an order. Blocks until the thread of a crashing instance has ended.
    pub fn order(&self, name: &str, order: Order) -> Result<(), String> {
        self.execute(name, order).map_err(|error| error.to_string())
    }

    pub(super) fn execute(&self, name: &str, order: Order) -> Result<(), OrderError> {
        let replica = self
            .replicas
            .iter()
            .find(|replica| replica.instance.name() == name)
            .ok_or_else(|| OrderError::NoSuchReplica(name.to_owned()))?;
        let mut ailment = replica.ailment.lock();
        let is_possible =
            *ailment != Ailment::Crashed || matches!(order, Order::Revive | Order::Crash);
        if !is_possible {
            return Err(OrderError::IsCrashed(name.to_owned()));
        }
        *ailment = undergo(&replica.instance, order);
        Ok(())
    }

    /// Ends everything that a visitor did to the replicas.
    pub(super) fn revive_all(&self) {
        for replica in &self.replicas {
            *replica.ailment.lock() = undergo(&replica.instance, Order::Revive);
        }
    }
}

/// Ends the ailment of a replica, and begins the one that is ordered.
fn undergo(replica: &Instance, order: Order) -> Ailment {
    replica.heals();
    replica.control().set_speed(1.0);
    match order {
        Order::Slow => {
            replica.control().set_speed(SLOW);
            Ailment::Slow
        }
        Order::Hang => {
            replica.suffers(Fault::Hang);
            Ailment::Hanging
        }
        Order::Crash => {
            replica.crash();
            Ailment::Crashed
        }
        Order::Poison => {
            replica.suffers(Fault::OutOfMemory);
            Ailment::Poisoned
        }
        Order::Revive => {
            replica.restart();
            Ailment::None
        }
    }
}

/// The times of a GeoServer that is well: quick tiles, slower maps.
fn behaviour(seed: u64, tint: [u8; 3]) -> Behaviour {
    let around = |milliseconds: u64| ServiceTime::LogNormal {
        median: Duration::from_millis(milliseconds),
        sigma: 0.3,
    };
    let service_time = PerClass::from_fn(|class| match class {
        RequestClass::Tile | RequestClass::Info => around(10),
        RequestClass::Map | RequestClass::Capabilities => around(20),
        RequestClass::Feature | RequestClass::Coverage | RequestClass::Process => around(80),
        RequestClass::Transaction
        | RequestClass::Admin
        | RequestClass::Ui
        | RequestClass::Static
        | RequestClass::Unknown => ServiceTime::None,
    });
    Behaviour {
        capacity: Capacity::Shared { cores: CORES },
        service_time,
        metatile_time: around(60),
        reload_time: RELOAD_TIME,
        draws_world: true,
        tint: Some(tint),
        allows_cross_origin: true,
        control_url: true,
        seed: seed + 1,
        ..Behaviour::default()
    }
}

/// A reference to the cluster that outlives the front door.
pub(super) type SharedCluster = Arc<SimulatedCluster>;

#[cfg(test)]
mod tests {
    use super::*;

    fn state_of(cluster: &SimulatedCluster, name: &str) -> Ailment {
        let look = cluster.look();
        look.iter().find(|(known, ..)| *known == name).unwrap().2
    }

    #[test]
    fn each_order_is_visible_and_revive_ends_it() {
        let cluster = SimulatedCluster::start(1);
        for (order, ailment) in [
            (Order::Slow, Ailment::Slow),
            (Order::Hang, Ailment::Hanging),
            (Order::Poison, Ailment::Poisoned),
            (Order::Crash, Ailment::Crashed),
        ] {
            cluster.execute("slave1", order).unwrap();
            assert_eq!(state_of(&cluster, "slave1"), ailment);
            cluster.execute("slave1", Order::Revive).unwrap();
            assert_eq!(state_of(&cluster, "slave1"), Ailment::None);
            let replica = cluster.replicas().next().unwrap();
            assert!(replica.is_running());
            assert!((replica.control().speed() - 1.0).abs() < f64::EPSILON);
        }
    }

    #[test]
    fn a_crashed_replica_is_only_revived_and_an_unknown_one_is_named() {
        let cluster = SimulatedCluster::start(1);
        cluster.execute("slave1", Order::Crash).unwrap();
        let refused = cluster.order("slave1", Order::Slow).unwrap_err();
        assert_eq!(refused, "slave1 has crashed: revive it first");
        let unknown = cluster.order("main", Order::Crash).unwrap_err();
        assert_eq!(unknown, "no replica of the demo is called `main`");
        cluster.revive_all();
        assert_eq!(state_of(&cluster, "slave1"), Ailment::None);
    }
}
