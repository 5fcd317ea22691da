//! The state that the proxy keeps for each upstream: its peer, its counters and the limit learned
//! from its answers.
//!
//! The table is read without a lock, once for each attempt. It is written when an attempt meets an
//! upstream for the first time, or anew after a config reload that changed it: then the entries go
//! of upstreams that are no longer in use.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora::protocols::TcpKeepalive;
use pingora::upstreams::peer::HttpPeer;

use super::retry_budget::LossAllowance;
use crate::admission::{AdaptiveLimit, Answered};
use crate::balance::{LearnedCap, Load};
use crate::cluster::Upstream;
use crate::config::{MaxInFlight, Timeouts};
use crate::metrics::{Metrics, UpstreamMetrics};
use crate::upstream_peer::http_peer;

/// An upstream that takes nothing of a request for this long is gone.
const UPSTREAM_WRITE: Duration = Duration::from_secs(60);

/// The address of an upstream without a known one. It is never up, so no request goes there.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Names connections that are used once; those of each upstream's shared pool are named by
/// [`http_peer`].
static NEXT_FRESH: AtomicU64 = AtomicU64::new(1);

/// One upstream, as the proxy uses it.
#[derive(Debug)]
pub(in crate::proxy) struct UpstreamPeer {
    peer: HttpPeer,
    /// The limit that `max_in_flight = "auto"` has learned.
    adaptive_limit: Mutex<AdaptiveLimit>,
    /// Retries that its lost attempts bring with them.
    pub(in crate::proxy) losses: LossAllowance,
    pub(in crate::proxy) metrics: Arc<UpstreamMetrics>,
}

/// The peers of all upstreams in use. See the module's documentation.
#[derive(Debug)]
pub(in crate::proxy) struct UpstreamPeers {
    metrics: Arc<Metrics>,
    /// Ordered by the upstream's id. Two versions of an upstream have the same id.
    table: ArcSwap<Vec<Entry>>,
    /// Held while the table is written.
    writing: Mutex<()>,
}

#[derive(Clone, Debug)]
struct Entry {
    upstream: Arc<Upstream>,
    peer: Arc<UpstreamPeer>,
}

impl UpstreamPeers {
    pub(in crate::proxy) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            table: ArcSwap::default(),
            writing: Mutex::new(()),
        }
    }

    /// Returns the peer of this version of an upstream, which is made on first use.
    pub(in crate::proxy) fn of(&self, upstream: &Arc<Upstream>) -> Arc<UpstreamPeer> {
        match find(&self.table.load(), upstream) {
            Some(peer) => Arc::clone(peer),
            None => self.add(upstream),
        }
    }

    fn add(&self, upstream: &Arc<Upstream>) -> Arc<UpstreamPeer> {
        let _writing = self.writing.lock();
        let table = self.table.load();
        // Another attempt may have added it since.
        if let Some(peer) = find(&table, upstream) {
            return Arc::clone(peer);
        }
        let peer = Arc::new(UpstreamPeer::new(upstream, &self.metrics));
        // One reference is the table's own: no snapshot and no attempt has the others.
        let is_in_use = |entry: &&Entry| Arc::strong_count(&entry.upstream) > 1;
        let mut next: Vec<Entry> = table.iter().filter(is_in_use).cloned().collect();
        let at = next.partition_point(|entry| entry.upstream.id <= upstream.id);
        let entry = Entry {
            upstream: Arc::clone(upstream),
            peer: Arc::clone(&peer),
        };
        next.insert(at, entry);
        self.table.store(Arc::new(next));
        peer
    }
}

fn find<'t>(table: &'t [Entry], upstream: &Arc<Upstream>) -> Option<&'t Arc<UpstreamPeer>> {
    let from = table.partition_point(|entry| entry.upstream.id < upstream.id);
    table[from..]
        .iter()
        .take_while(|entry| entry.upstream.id == upstream.id)
        .find(|entry| Arc::ptr_eq(&entry.upstream, upstream))
        .map(|entry| &entry.peer)
}

impl UpstreamPeer {
    fn new(upstream: &Upstream, metrics: &Metrics) -> Self {
        let mut peer = http_peer(upstream, upstream.address.known().unwrap_or(NOWHERE));
        peer.options.write_timeout = Some(UPSTREAM_WRITE);
        // Notices a host that vanished without a word under a download that may be silent for
        // minutes.
        peer.options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(30),
            interval: Duration::from_secs(10),
            count: 3,
            user_timeout: Duration::from_secs(60),
        });
        let start = upstream
            .load
            .learned_cap()
            .map_or(MaxInFlight::AUTO_START, |learned| learned.cap);
        let (adaptive_limit, losses) = (
            Mutex::new(AdaptiveLimit::new(start)),
            LossAllowance::default(),
        );
        Self {
            peer,
            adaptive_limit,
            losses,
            metrics: metrics.upstream(&upstream.name),
        }
    }

    /// Learns from one answer. Returns whether the limit has risen.
    pub(in crate::proxy) fn learn_cap(
        &self,
        answered: &Answered,
        load: &Load,
        now: Instant,
    ) -> bool {
        let mut adaptive_limit = self.adaptive_limit.lock();
        let before = load
            .learned_cap()
            .unwrap_or_else(|| learned(&adaptive_limit));
        // Something else may have set another one: a probe that found it busy, or a memory of the
        // process before this one.
        adaptive_limit.follow(before.cap);
        adaptive_limit.learn(answered, now);
        let after = learned(&adaptive_limit);
        load.set_learned_cap(after);
        after.cap > before.cap
            || after.heavy > before.heavy
            || (after.has_extra && !before.has_extra)
    }

    /// Returns the peer for one attempt, which may be silent for `patience`.
    ///
    /// With `is_fresh` the attempt gets a connection of its own. A write must not meet a kept-alive
    /// connection at the moment its other end closes it: it could not be repeated, because it
    /// may have been executed.
    pub(in crate::proxy) fn http_peer(
        &self,
        timeouts: &Timeouts,
        patience: Duration,
        is_fresh: bool,
    ) -> Box<HttpPeer> {
        let mut peer = Box::new(self.peer.clone());
        let options = &mut peer.options;
        options.connection_timeout = Some(timeouts.connect);
        // With TLS: as much again for its handshake.
        options.total_connection_timeout = Some(timeouts.connect * 2);
        options.read_timeout = Some(patience);
        options.idle_timeout = Some(timeouts.upstream_idle);
        if is_fresh {
            peer.group_key = NEXT_FRESH.fetch_add(1, Ordering::Relaxed);
            peer.options.idle_timeout = Some(Duration::ZERO);
        }
        peer
    }
}

fn learned(adaptive_limit: &AdaptiveLimit) -> LearnedCap {
    LearnedCap {
        cap: adaptive_limit.cap(),
        has_extra: adaptive_limit.has_extra(),
        heavy: adaptive_limit.heavy(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cluster::Event;
    use crate::config::{Config, MapEnvironment};
    use crate::control::Control;

    const ONE: &str = "[upstreams.main]\nurl = 'http://10.0.0.1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://10.0.0.2'";

    fn config(text: &str) -> Arc<Config> {
        let environment = MapEnvironment::new().file("f", text);
        Arc::new(
            Config::load(Path::new("f"), &environment)
                .unwrap_or_else(|wrong| panic!("{wrong}"))
                .config,
        )
    }

    fn upstream(control: &Control, name: &str) -> Arc<Upstream> {
        let name = control
            .snapshot()
            .config
            .upstreams
            .iter()
            .map(|upstream| upstream.name.clone())
            .find(|known| known.as_str() == name);
        control.upstream(&name.unwrap()).unwrap()
    }

    #[test]
    fn an_upstream_keeps_its_peer_and_two_upstreams_have_two() {
        let control = Control::new(config(ONE), Instant::now());
        let peers = UpstreamPeers::new(Metrics::new());
        let (main, a) = (upstream(&control, "main"), upstream(&control, "a"));
        let first = peers.of(&a);
        assert!(!Arc::ptr_eq(&first, &peers.of(&main)));
        assert!(Arc::ptr_eq(&first, &peers.of(&a)));
    }

    #[test]
    fn an_upstream_that_a_config_reload_changes_gets_a_new_peer_and_the_old_one_is_dropped() {
        let now = Instant::now();
        let control = Control::new(config(ONE), now);
        let peers = UpstreamPeers::new(Metrics::new());
        let before = upstream(&control, "a");
        let old = peers.of(&before);
        let renamed = ONE.replace("upstreams.a", "upstreams.b");
        control.handle(Event::Configured(config(&renamed)), now);
        let after = upstream(&control, "b");
        assert_eq!(before.id, after.id, "it is the same upstream");
        assert!(!Arc::ptr_eq(&old, &peers.of(&after)));
        assert!(
            Arc::ptr_eq(&old, &peers.of(&before)),
            "an attempt from before finds its own"
        );
        drop(before);
        peers.of(&upstream(&control, "main"));
        assert_eq!(peers.table.load().len(), 2, "only what is in use is kept");
    }
}
