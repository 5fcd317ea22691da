//! What the proxy prepares once per upstream and finds again without a look-up: its peer and its
//! counters.

use std::any::Any;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora::protocols::TcpKeepalive;
use pingora::upstreams::peer::HttpPeer;

use super::budget::LossAllowance;
use crate::admission::{Answered, AutoCap};
use crate::balance::{LearnedCap, Load};
use crate::cluster::Upstream;
use crate::config::{MaxInFlight, Timeouts};
use crate::metrics::{Metrics, UpstreamMetrics};

/// An upstream that takes nothing of a request for this long is gone.
const UPSTREAM_WRITE: Duration = Duration::from_secs(60);

/// The peer of an upstream whose address is not known. It is never up, so it is never asked for
/// anything.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Names connections that are used once; 0 is the shared pool of each upstream.
static NEXT_FRESH: AtomicU64 = AtomicU64::new(1);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Handles {
    peer: HttpPeer,
    /// What `max_in_flight = "auto"` has learned.
    auto_cap: Mutex<AutoCap>,
    /// Retries that its lost attempts bring with them.
    pub(super) losses: LossAllowance,
    pub(super) metrics: Arc<UpstreamMetrics>,
}

impl Handles {
    /// Those of `upstream`, made on first use.
    pub(super) fn of(upstream: &Upstream, metrics: &Metrics) -> Arc<Self> {
        let attachment = upstream
            .attachment
            .get_or_init(|| Self::attach(upstream, metrics));
        Arc::clone(attachment)
            .downcast()
            .unwrap_or_else(|_| unreachable!("only the proxy attaches to upstreams"))
    }

    fn attach(upstream: &Upstream, metrics: &Metrics) -> Arc<dyn Any + Send + Sync> {
        let mut peer = HttpPeer::new(
            upstream.address.known().unwrap_or(NOWHERE),
            upstream.tls,
            upstream.host.clone(),
        );
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
        let (auto_cap, losses) = (Mutex::new(AutoCap::new(start)), LossAllowance::default());
        Arc::new(Self {
            peer,
            auto_cap,
            losses,
            metrics: metrics.upstream(&upstream.name),
        })
    }

    /// Learns from one answer. True if there is more room than before.
    pub(super) fn learn_cap(&self, answered: &Answered, load: &Load, now: Instant) -> bool {
        let mut auto_cap = self.auto_cap.lock();
        let before = load.learned_cap().unwrap_or_else(|| learned(&auto_cap));
        // Something else may have set another one: a probe that found it busy, or a memory of the
        // process before this one.
        auto_cap.follow(before.cap);
        auto_cap.learn(answered, now);
        let after = learned(&auto_cap);
        load.set_learned_cap(after);
        after.cap > before.cap
            || after.heavy > before.heavy
            || (after.has_extra && !before.has_extra)
    }

    /// The peer for one attempt, which may be silent for `patience`.
    ///
    /// With `is_fresh` the attempt gets a connection of its own. A write must not meet a kept-alive
    /// connection at the moment its other end closes it: it could not be repeated, because nobody
    /// knows whether it was executed.
    pub(super) fn peer(
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

fn learned(auto_cap: &AutoCap) -> LearnedCap {
    LearnedCap {
        cap: auto_cap.cap(),
        has_extra: auto_cap.has_extra(),
        heavy: auto_cap.heavy(),
    }
}
