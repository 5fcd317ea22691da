//! A whole cluster: one main, some replicas, one data directory.

use std::sync::Arc;

use super::behaviour::Behaviour;
use super::data_directory::DataDirectory;
use super::instance::Instance;

/// A main and its replicas on one data directory.
pub struct Cluster {
    data: Arc<DataDirectory>,
    main: Instance,
    replicas: Vec<Instance>,
}

impl Cluster {
    /// A main and this many replicas (`replica1`, `replica2`...), all healthy and instant.
    pub fn start(replicas: usize) -> Self {
        Self::start_with(replicas, &Behaviour::default())
    }

    /// All instances behave alike, each with chance of its own.
    pub fn start_with(replicas: usize, behaviour: &Behaviour) -> Self {
        Self::on(DataDirectory::new(), replicas, behaviour)
    }

    /// Starts a cluster on a data directory.
    pub fn on(data: Arc<DataDirectory>, replicas: usize, behaviour: &Behaviour) -> Self {
        let seeded = |number: usize| Behaviour {
            seed: behaviour.seed.wrapping_add(number as u64),
            ..behaviour.clone()
        };
        let main = Instance::start("main", &data, seeded(0));
        let replicas = (1..=replicas)
            .map(|n| Instance::start(&format!("replica{n}"), &data, seeded(n)))
            .collect();
        Self {
            data,
            main,
            replicas,
        }
    }

    /// Returns the data directory of the cluster.
    pub fn data(&self) -> &Arc<DataDirectory> {
        &self.data
    }

    /// Returns the main.
    pub fn main(&self) -> &Instance {
        &self.main
    }

    /// Returns the replicas.
    pub fn replicas(&self) -> &[Instance] {
        &self.replicas
    }

    /// Counted from 1, as they are named.
    pub fn replica(&self, number: usize) -> &Instance {
        &self.replicas[number - 1]
    }

    /// Returns all instances, the main first.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        std::iter::once(&self.main).chain(&self.replicas)
    }
}
