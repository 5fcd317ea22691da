//! The results of a run for one contender.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::arrivals::Kind;
use crate::drive::{End, Sample};
use crate::in_time::InTime;
use crate::latencies::{Latencies, Latency};
use crate::rig::quantiles::Quantiles;
use crate::rolls::{Change, Rolls};
use crate::scenario::Scenario;

/// An answer whose latency exceeds its own work by this much is of no use.
const TOO_LATE: Duration = Duration::from_secs(30);
/// A front door has recovered when its latency stays within this multiple of the latency before ...
const RECOVERED: f64 = 2.0;
/// ... judged by this quantile, of this much time at once.
const RECOVERED_BY: f64 = 0.9;
const RECOVERY_STEP: Duration = Duration::from_secs(1);
/// ... so many times in a row. (For ever would be too much: at half load, too, heavy ones come in
/// clusters.)
const RECOVERED_FOR: usize = 3;

pub(crate) struct Outcome {
    pub(crate) name: String,
    /// By [`Kind`].
    pub(crate) kinds: [Latencies; 3],
    pub(crate) all: Latencies,
    /// Answered in time.
    pub(crate) in_time: InTime,
    pub(crate) asked: usize,
    /// By what became of them instead of an answer.
    pub(crate) unanswered: BTreeMap<End, usize>,
    pub(crate) late: Quantiles,
    pub(crate) cost: Cost,
    pub(crate) overload: Option<Overload>,
    /// Only of a run with changes.
    pub(crate) rolls: Option<Rolls>,
}

/// What the front door itself used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) cpu_per_request: Duration,
    /// KiB resident, at the start, at most, and at the end.
    pub(crate) memory: [u64; 3],
}

/// How it took more than could be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overload {
    /// Work of what was answered in time while it lasted, as a share of what the replicas can do.
    pub(crate) goodput: f64,
    /// The share answered in time, of the requests that arrived while it lasted.
    pub(crate) in_time: f64,
    /// From its end until tiles are as fast as before. `None` if not within the run.
    pub(crate) recovery: Option<Duration>,
}

impl Outcome {
    pub(crate) fn new(
        name: String,
        samples: &[Sample],
        scenario: &Scenario,
        changes: Vec<Change>,
        cost: Cost,
    ) -> Self {
        let counted: Vec<Sample> = samples
            .iter()
            .filter(|sample| sample.arrival.at >= scenario.counted_from)
            .copied()
            .collect();
        let mut unanswered = BTreeMap::new();
        for sample in counted.iter().filter(|sample| sample.end != End::Answered) {
            *unanswered.entry(sample.end).or_default() += 1;
        }
        let mut in_time = InTime::default();
        for sample in &counted {
            in_time.count(&sample.arrival, sample.answered_after());
        }
        Self {
            name,
            in_time,
            kinds: [Kind::Tile, Kind::Map, Kind::Heavy]
                .map(|kind| latencies(&counted, |sample| sample.arrival.kind == kind)),
            all: latencies(&counted, |_| true),
            asked: counted.len(),
            unanswered,
            late: counted.iter().map(|sample| sample.late).collect(),
            cost,
            overload: scenario
                .overload
                .as_ref()
                .map(|during| Overload::new(&counted, scenario, during.start, during.end)),
            rolls: (!changes.is_empty()).then(|| Rolls::new(&counted, changes)),
        }
    }

    pub(crate) fn of(&self, kind: Kind) -> &Latencies {
        &self.kinds[kind as usize]
    }

    pub(crate) fn unanswered_in_all(&self) -> usize {
        self.unanswered.values().sum()
    }
}

fn latencies(samples: &[Sample], wanted: impl Fn(&Sample) -> bool) -> Latencies {
    samples
        .iter()
        .filter(|sample| wanted(sample))
        .map(Sample::answered_after)
        .collect()
}

fn is_in_time(sample: &Sample) -> bool {
    sample.end == End::Answered && sample.latency <= sample.arrival.work + TOO_LATE
}

impl Overload {
    fn new(samples: &[Sample], scenario: &Scenario, start: Duration, end: Duration) -> Self {
        let ends = |sample: &Sample| sample.arrival.at + sample.latency;
        let ended_during = samples
            .iter()
            .filter(|sample| is_in_time(sample) && (start..end).contains(&ends(sample)));
        let work: Duration = ended_during.map(|sample| sample.arrival.work).sum();
        let came: Vec<&Sample> = samples
            .iter()
            .filter(|sample| (start..end).contains(&sample.arrival.at))
            .collect();
        let in_time = came.iter().filter(|sample| is_in_time(sample)).count() as f64
            / came.len().max(1) as f64;
        Self {
            goodput: work.as_secs_f64() / (end - start).as_secs_f64() / scenario.capacity(),
            in_time,
            recovery: recovery(samples, start, end, scenario.plan.lasts()),
        }
    }
}

/// From `end` to the first moment after it from which tiles fare as they did before `start`.
fn recovery(
    samples: &[Sample],
    start: Duration,
    end: Duration,
    until: Duration,
) -> Option<Duration> {
    let tiles_in = |from: Duration, to: Duration| -> Vec<Sample> {
        let is_in = |sample: &&Sample| {
            sample.arrival.kind == Kind::Tile && (from..to).contains(&sample.arrival.at)
        };
        samples.iter().filter(is_in).copied().collect()
    };
    let before = latencies(&tiles_in(Duration::ZERO, start), |_| true).at(RECOVERED_BY)?;
    let Latency::Answered(before) = before else {
        return None;
    };
    let usual = Latency::Answered(before.mul_f64(RECOVERED));
    let steps = ((until - end).as_secs_f64() / RECOVERY_STEP.as_secs_f64()) as u32;
    let is_well = |step: u32| {
        let tiles = tiles_in(end + RECOVERY_STEP * step, end + RECOVERY_STEP * (step + 1));
        let is_quick = latencies(&tiles, |_| true)
            .at(RECOVERED_BY)
            .is_none_or(|now| now <= usual);
        is_quick && tiles.iter().all(|tile| tile.end == End::Answered)
    };
    let well: Vec<bool> = (0..steps).map(is_well).collect();
    let first = well
        .windows(RECOVERED_FOR)
        .position(|steps| steps.iter().all(|is_well| *is_well))?;
    Some(RECOVERY_STEP * u32::try_from(first).ok()?)
}
