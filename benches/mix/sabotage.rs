//! Applies a scenario's events to the replicas of a cluster, at the times that the scenario gives.

use std::thread;
use std::time::{Duration, Instant};

use geofront::geosim::{Fault, Instance};

use crate::trouble::{Episode, Trouble};

/// Returns when the last episode is over.
pub(crate) fn run(episodes: &[Episode], replicas: &[Instance], speeds: &[f64], start: Instant) {
    let wait =
        |until: Duration| thread::sleep((start + until).saturating_duration_since(Instant::now()));
    for Episode {
        during,
        replica,
        trouble,
    } in episodes
    {
        let (instance, speed) = (&replicas[*replica], speeds[*replica]);
        wait(during.start);
        match trouble {
            Trouble::Slow(times) => instance.control().set_speed(speed * times),
            Trouble::Freeze => instance.suffers(Fault::Hang),
            Trouble::Crash => instance.kill(),
            Trouble::OutOfMemory => instance.suffers(Fault::OutOfMemory),
        }
        wait(during.end);
        match trouble {
            Trouble::Slow(_) => instance.control().set_speed(speed),
            Trouble::Crash => instance.restart(),
            Trouble::Freeze | Trouble::OutOfMemory => instance.heals(),
        }
    }
}
