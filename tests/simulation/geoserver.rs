//! Simulated GeoServers: one data directory, and the part of it that each instance has loaded.
//!
//! The directory holds the catalog, here a count of edits, and an update sequence that edits move.
//! A load takes the edits that exist when it begins, and reports the update sequence that it finds
//! at its end, each flavour in its own way. During a load, and after a failed one, the instance's
//! catalog is empty. Loads requested meanwhile wait for their turn.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::chance::Chance;

/// The increase of a stock GeoServer's update sequence in a load: one for each of its services and
/// settings.
const INFLATION: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// A load inflates its number.
    Vanilla,
    /// And writes it into the directory.
    Rewriting,
    /// GeoServer with geOrchestra's patch: it reports the update sequence of the directory.
    Patched,
}

#[derive(Debug)]
pub(crate) struct DataDirectory {
    flavour: Flavour,
    pub(crate) edits: u64,
    /// The edits that the update sequence covers.
    pub(crate) announced: u64,
    pub(crate) number: u64,
    /// Since it was last looked at, and with the number it had.
    pub(crate) is_edited_in_place: bool,
    /// The time for which machines other than the writer's may read old contents; `None` without a
    /// network in between.
    pub(crate) lag: Option<Duration>,
    /// The earlier contents that can still be read, with the times since when: edits and update
    /// sequence.
    past: VecDeque<(Instant, u64, u64)>,
}

/// The cause of an emptied catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadedBy {
    /// Geofront, by a reload that it ordered.
    Geofront,
    /// An administrator or another program.
    Other,
    /// The process began.
    Start,
}

/// The load that runs.
#[derive(Debug)]
struct Current {
    /// Its end on the agenda.
    ends: u64,
    /// The edits it found.
    edits: u64,
    /// The number it found, if that is not the one that is there.
    old_number: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) by: LoadedBy,
    pub(crate) takes: Duration,
    pub(crate) succeeds: bool,
    /// Our call that waits for it.
    pub(crate) call: Option<u64>,
    /// The result that the caller gets.
    pub(crate) reports_success: bool,
}

impl Load {
    pub(crate) fn new(by: LoadedBy, takes: Duration) -> Self {
        Self {
            by,
            takes,
            succeeds: true,
            call: None,
            reports_success: true,
        }
    }
}

/// One instance.
#[derive(Debug)]
pub(crate) struct GeoServer {
    /// The edits it has.
    pub(crate) loaded: u64,
    pub(crate) number: u64,
    pub(crate) emptied_by: Option<LoadedBy>,
    pub(crate) is_running: bool,
    current: Option<Current>,
    loads: VecDeque<Load>,
}

impl DataDirectory {
    pub(crate) fn random(chance: &mut Chance) -> Self {
        let flavour = *chance.one_of(&[Flavour::Vanilla, Flavour::Rewriting, Flavour::Patched]);
        // Only where the number shows that it is old can it be found out.
        let lag = (flavour == Flavour::Patched && chance.percent(40))
            .then(|| chance.millis(1_000, 12_000));
        Self {
            flavour,
            edits: 5,
            announced: 5,
            number: 20,
            is_edited_in_place: false,
            lag,
            past: VecDeque::new(),
        }
    }

    /// After every step.
    pub(crate) fn observe(&mut self, now: Instant) {
        if self
            .past
            .back()
            .is_none_or(|(_, edits, number)| (*edits, *number) != (self.edits, self.number))
        {
            self.past.push_back((now, self.edits, self.number));
        }
        let lag = self.lag.unwrap_or_default();
        while self
            .past
            .get(1)
            .is_some_and(|(since, ..)| *since + lag <= now)
        {
            self.past.pop_front();
        }
    }

    /// Returns what a machine other than the writer's reads: the edits, and the update sequence if
    /// it is an old one.
    fn read(&self, is_remote: bool) -> (u64, Option<u64>) {
        match self.past.front() {
            Some((_, edits, number))
                if is_remote && self.lag.is_some() && *number < self.number =>
            {
                (*edits, Some(*number))
            }
            Some(_) | None => (self.edits, None),
        }
    }

    /// Returns the update sequence that an instance reports after it has loaded a directory with
    /// this number.
    fn number_after_loading(&self, number: u64) -> u64 {
        match self.flavour {
            Flavour::Vanilla | Flavour::Rewriting => number + INFLATION,
            Flavour::Patched => number,
        }
    }
}

impl GeoServer {
    /// It has been there for a while; mostly with all there is.
    pub(crate) fn found(directory: &DataDirectory, chance: &mut Chance) -> Self {
        let behind = if chance.percent(80) {
            0
        } else {
            chance.between(1, 3)
        };
        let number = directory.number_after_loading(directory.number - behind);
        let loaded = directory.edits - behind;
        Self {
            loaded,
            number,
            emptied_by: None,
            is_running: true,
            current: None,
            loads: VecDeque::new(),
        }
    }

    /// Returns whether the instance runs and its catalog is loaded.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_running && self.emptied_by.is_none()
    }

    /// Returns whether the start has begun but the instance does not answer yet.
    pub(crate) fn is_starting(&self) -> bool {
        self.loads
            .front()
            .is_some_and(|load| load.by == LoadedBy::Start)
    }

    pub(crate) fn is_loading(&self) -> bool {
        !self.loads.is_empty()
    }

    /// Ends the process. Returns our calls that will get no answer.
    pub(crate) fn stop(&mut self) -> Vec<u64> {
        (self.is_running, self.current) = (false, None);
        self.loads.drain(..).filter_map(|load| load.call).collect()
    }

    /// The process begins, and loads.
    pub(crate) fn start(&mut self, takes: Duration) {
        self.is_running = true;
        self.queue(Load::new(LoadedBy::Start, takes));
    }

    pub(crate) fn queue(&mut self, load: Load) {
        self.loads.push_back(load);
    }

    /// Returns the duration of the next load, if one waits and none runs.
    pub(crate) fn next_takes(&self) -> Option<Duration> {
        self.loads
            .front()
            .filter(|_| self.current.is_none())
            .map(|load| load.takes)
    }

    /// Attributes no later emptying of this catalog to geofront.
    pub(crate) fn disown(&mut self) {
        self.emptied_by = self.emptied_by.map(|_| LoadedBy::Other);
        self.loads
            .iter_mut()
            .filter(|load| load.by == LoadedBy::Geofront)
            .for_each(|load| load.by = LoadedBy::Other);
    }

    /// The next load begins, and will end as `number` of the agenda. True if it reads old files.
    pub(crate) fn begin(
        &mut self,
        number: u64,
        directory: &DataDirectory,
        is_remote: bool,
    ) -> bool {
        let load = self.loads.front().expect("one waits");
        self.emptied_by = Some(load.by);
        let (edits, old_number) = directory.read(is_remote);
        self.current = Some(Current {
            ends: number,
            edits,
            old_number,
        });
        old_number.is_some()
    }

    /// The load that is `number` on the agenda ends, unless the process ended before it.
    pub(crate) fn end(&mut self, number: u64, directory: &mut DataDirectory) -> Option<Load> {
        let Current {
            edits, old_number, ..
        } = self.current.take_if(|current| current.ends == number)?;
        let load = self.loads.pop_front().expect("it ran");
        if load.succeeds {
            (self.loaded, self.emptied_by) = (edits, None);
            self.number = directory.number_after_loading(old_number.unwrap_or(directory.number));
            if directory.flavour == Flavour::Rewriting {
                directory.number = self.number;
            }
        }
        Some(load)
    }

    /// The administrators' instance writes an edit; `steps` of the number.
    pub(crate) fn edit(&mut self, steps: u64, directory: &mut DataDirectory) {
        self.loaded += u64::from(self.loaded == directory.edits);
        directory.edits += 1;
        if steps > 0 {
            self.number += steps;
            (directory.announced, directory.number) = (directory.edits, self.number);
        }
    }

    /// Ends every hang: all outstanding requests start again, and run quickly.
    pub(crate) fn hurry(&mut self) {
        self.current = None;
        self.loads
            .iter_mut()
            .for_each(|load| (load.takes, load.succeeds) = (Duration::from_millis(300), true));
    }
}
