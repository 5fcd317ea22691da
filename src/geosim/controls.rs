//! Controls by which a test, a bench or a person changes an instance while it runs, and observes
//! it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::behaviour::Behaviour;
use super::chance::Dice;
use super::door::{Activity, Door};
use super::fault::{Fault, Outage};
use super::request::Request;
use crate::ogc::{PerClass, RequestClass};

/// The controls that an instance shares with its test or bench. They survive kills and restarts of
/// the instance.
#[derive(Debug)]
pub struct Controls {
    pub(super) door: Arc<Door>,
    pub(super) dice: Dice,
    outages: Mutex<Vec<Outage>>,
    /// Spares healthy instances the lock.
    is_ailing: AtomicBool,
    /// The bits of an `f64`.
    speed: AtomicU64,
    speed_changed: Notify,
    failing_reloads: AtomicU32,
    hides_number: AtomicBool,
    remembered: Mutex<VecDeque<Arc<Request>>>,
    remembers: usize,
    pub(super) counts: Counts,
}

/// The events so far, written by the instance and read by tests.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) received: PerClass<AtomicU64>,
    pub(super) in_flight: AtomicUsize,
    pub(super) most_in_flight: AtomicUsize,
    pub(super) connections: AtomicU64,
    pub(super) catalog_reloads: AtomicU64,
    pub(super) security_reloads: AtomicU64,
    pub(super) gwc_reloads: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) metatiles: AtomicU64,
    pub(super) truncations: AtomicU64,
    pub(super) starts: AtomicU64,
    pub(super) is_reloading: AtomicBool,
}

impl Controls {
    pub(super) fn new(door: Arc<Door>, behaviour: &Behaviour) -> Self {
        Self {
            door,
            dice: Dice::new(behaviour.seed),
            outages: Mutex::default(),
            is_ailing: AtomicBool::new(false),
            speed: AtomicU64::new(behaviour.speed.to_bits()),
            speed_changed: Notify::new(),
            failing_reloads: AtomicU32::new(0),
            hides_number: AtomicBool::new(false),
            remembered: Mutex::default(),
            remembers: behaviour.remembered_requests,
            counts: Counts::new(),
        }
    }

    /// From now on the instance is broken in this way too; the first outage that fits a request
    /// hits it.
    pub fn suffers(&self, outage: impl Into<Outage>) {
        let outage = outage.into();
        match outage.fault {
            Fault::Refuse => self.door.close(),
            Fault::Starting => self.door.leave_unattended().expect(PORT_IS_OURS),
            Fault::ResetConnections => self.door.slam().expect(PORT_IS_OURS),
            _ => self.outages.lock().push(outage),
        }
        self.is_ailing.store(true, Ordering::Release);
    }

    /// Forgets the outages of a life that is over.
    pub(super) fn heal_quietly(&self) {
        self.outages.lock().clear();
        self.is_ailing.store(false, Ordering::Release);
    }

    /// All outages end. Requests that hang have their connections closed.
    pub fn heals(&self) {
        self.heal_quietly();
        self.door.end(Activity::Hung);
        self.door.open().expect(PORT_IS_OURS);
    }

    pub(super) fn is_ailing(&self) -> bool {
        self.is_ailing.load(Ordering::Acquire)
    }

    /// The outage that hits this request, if any, before or after its body is read.
    pub(super) fn strike(
        &self,
        class: RequestClass,
        path: &str,
        before_body: bool,
    ) -> Option<Fault> {
        if !self.is_ailing() {
            return None;
        }
        let mut outages = self.outages.lock();
        let candidates = outages
            .iter_mut()
            .filter(|outage| outage.fault.is_before_body() == before_body);
        let hit = candidates.into_iter().find_map(|outage| {
            let chance = self.dice.unit();
            outage
                .hits(class, path, chance)
                .then(|| outage.fault.clone())
        });
        outages.retain(|outage| !outage.is_over());
        hit
    }

    /// The next so many catalog reloads end with an error and an empty catalog.
    pub fn fail_catalog_reloads(&self, times: u32) {
        self.failing_reloads.store(times, Ordering::Relaxed);
    }

    pub(super) fn takes_failing_reload(&self) -> bool {
        self.failing_reloads
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }

    /// From now on WMS capabilities and settings are without an `updateSequence`, or with one
    /// again.
    pub fn hide_number(&self, is_hidden: bool) {
        self.hides_number.store(is_hidden, Ordering::Relaxed);
    }

    pub(super) fn hides_number(&self) -> bool {
        self.hides_number.load(Ordering::Relaxed)
    }

    /// Returns the speed relative to an ordinary instance.
    pub fn speed(&self) -> f64 {
        f64::from_bits(self.speed.load(Ordering::Relaxed))
    }

    /// Work is done this many times as fast from now on. Must be above zero.
    pub fn set_speed(&self, speed: f64) {
        assert!(
            speed > 0.0,
            "speed {speed}: must be above 0; for an instance that does nothing there is Fault::Hang"
        );
        self.speed.store(speed.to_bits(), Ordering::Relaxed);
        self.speed_changed.notify_one();
    }

    pub(super) async fn speed_changed(&self) {
        self.speed_changed.notified().await;
    }

    pub(super) fn remember(&self, request: &Arc<Request>) {
        if self.remembers == 0 {
            return;
        }
        let mut remembered = self.remembered.lock();
        if remembered.len() == self.remembers {
            remembered.pop_front();
        }
        remembered.push_back(Arc::clone(request));
    }

    /// The last requests received, oldest first, whether or not they were answered.
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.remembered.lock().iter().cloned().collect()
    }

    /// Returns the last request that was received.
    pub fn last_request(&self) -> Option<Arc<Request>> {
        self.remembered.lock().back().cloned()
    }

    /// Forgets the requests that were received.
    pub fn forget_requests(&self) {
        self.remembered.lock().clear();
    }

    /// Returns the number of requests of a class that were received, answered or not.
    pub fn received(&self, class: RequestClass) -> u64 {
        self.counts.received[class].load(Ordering::Relaxed)
    }

    /// Returns the number of requests that were received since the start.
    pub fn received_in_all(&self) -> u64 {
        RequestClass::ALL
            .into_iter()
            .map(|class| self.received(class))
            .sum()
    }

    /// Requests received and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.counts.in_flight.load(Ordering::Relaxed)
    }

    /// Returns the largest number of requests in flight at a time.
    pub fn most_in_flight(&self) -> usize {
        self.counts.most_in_flight.load(Ordering::Relaxed)
    }

    /// Returns the number of open connections.
    pub fn open_connections(&self) -> usize {
        self.door.open_connections()
    }

    /// Connections accepted since the first start.
    pub fn connections_accepted(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Catalog reloads begun.
    pub fn catalog_reloads(&self) -> u64 {
        self.counts.catalog_reloads.load(Ordering::Relaxed)
    }

    /// Whether the catalog is empty because a reload is reading it.
    pub fn is_reloading(&self) -> bool {
        self.counts.is_reloading.load(Ordering::Acquire)
    }

    /// Returns the number of reloads of the security configuration.
    pub fn security_reloads(&self) -> u64 {
        self.counts.security_reloads.load(Ordering::Relaxed)
    }

    /// Returns the number of reloads of the GeoWebCache configuration.
    pub fn gwc_reloads(&self) -> u64 {
        self.counts.gwc_reloads.load(Ordering::Relaxed)
    }

    /// Returns the number of store resets.
    pub fn resets(&self) -> u64 {
        self.counts.resets.load(Ordering::Relaxed)
    }

    /// Metatiles rendered.
    pub fn metatiles(&self) -> u64 {
        self.counts.metatiles.load(Ordering::Relaxed)
    }

    /// Returns the number of truncations of the tile cache that were ordered and carried out.
    pub fn truncations(&self) -> u64 {
        self.counts.truncations.load(Ordering::Relaxed)
    }

    /// Returns the number of starts of the instance.
    pub fn starts(&self) -> u64 {
        self.counts.starts.load(Ordering::Relaxed)
    }
}

impl Counts {
    fn new() -> Self {
        Self {
            received: PerClass::from_fn(|_| AtomicU64::new(0)),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            connections: AtomicU64::new(0),
            catalog_reloads: AtomicU64::new(0),
            security_reloads: AtomicU64::new(0),
            gwc_reloads: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            metatiles: AtomicU64::new(0),
            truncations: AtomicU64::new(0),
            starts: AtomicU64::new(0),
            is_reloading: AtomicBool::new(false),
        }
    }

    /// Counts a request in flight until the result is dropped.
    pub(super) fn enter(&self) -> InFlight<'_> {
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_in_flight.fetch_max(now, Ordering::Relaxed);
        InFlight(self)
    }
}

pub(super) struct InFlight<'a>(&'a Counts);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

const PORT_IS_OURS: &str = "the port is reserved for this instance";

/// Timeout of [`eventually`].
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `condition` to hold. Panics, naming `what` was waited for, when it does not within a
/// generous time.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}
