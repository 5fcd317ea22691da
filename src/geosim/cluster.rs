//! A whole cluster: one main, some replicas, one data directory.

use std::sync::Arc;

use super::behaviour::Behaviour;
use super::data_directory::DataDirectory;
use super::instance::Instance;

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

    pub fn data(&self) -> &Arc<DataDirectory> {
        &self.data
    }

    pub fn main(&self) -> &Instance {
        &self.main
    }

    pub fn replicas(&self) -> &[Instance] {
        &self.replicas
    }

    /// Counted from 1, as they are named.
    pub fn replica(&self, number: usize) -> &Instance {
        &self.replicas[number - 1]
    }

    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        std::iter::once(&self.main).chain(&self.replicas)
    }
}
