//! When an answer is in time: a limit for each class, beyond the work of the request itself.

use std::time::Duration;

use crate::arrivals::{Arrival, Kind};

/// The time limit of each [`Kind`]. A user pans on when a map's tiles are a second late, and
/// repeats a request for a map that is five seconds late. A download may take half a minute.
pub(crate) const LIMITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

pub(crate) fn is_in_time(arrival: &Arrival, latency: Duration) -> bool {
    latency <= arrival.work + LIMITS[arrival.kind as usize]
}

/// For the head of a report.
pub(crate) fn words() -> String {
    let [tile, map, heavy] = LIMITS.map(|limit| limit.as_secs());
    format!(
        "in time is an answer at most {tile} s (tiles), {map} s (maps), {heavy} s (heavy) later than its own work takes"
    )
}

/// The share of those in time, by [`Kind`] and of all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InTime {
    came: [usize; 3],
    in_time: [usize; 3],
}

impl InTime {
    /// `latency`: `None` if it was not answered.
    pub(crate) fn count(&mut self, arrival: &Arrival, latency: Option<Duration>) {
        self.came[arrival.kind as usize] += 1;
        self.in_time[arrival.kind as usize] +=
            usize::from(latency.is_some_and(|latency| is_in_time(arrival, latency)));
    }

    pub(crate) fn of(&self, kind: Kind) -> f64 {
        self.in_time[kind as usize] as f64 / self.came[kind as usize].max(1) as f64
    }

    pub(crate) fn of_all(&self) -> f64 {
        self.in_time.iter().sum::<usize>() as f64 / self.came.iter().sum::<usize>().max(1) as f64
    }
}
