//! Ends the wait for an upstream that does not answer, so that another may be tried.
//!
//! Pingora waits for an answer's first byte and for the client at the same time, and stops when
//! either reports an error. So each client connection has an [`Interrupt`], which its stream looks
//! at when it is read: raised, the read fails, Pingora gives the attempt up, and the retry goes to
//! another upstream. A wait is interrupted only while it is armed: from the end of the request to
//! the answer's head, for requests that may be repeated.
//!
//! The cost for a request is two locks that no other thread takes. Arming writes to the
//! connection's own memory, and only the loss of an upstream causes a search over all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use std::{array, io};

use parking_lot::Mutex;

use crate::cluster::{Tried, UpstreamId};
use crate::config::UpstreamName;
use crate::ogc::RequestClass;

/// Parts of the registry, so that connections that come and go at the same time do not wait for
/// each other.
const SHARDS: usize = 16;

/// One client connection's interrupt.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Interrupt {
    /// The stream has to check the interrupt.
    is_armed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    wait: Option<Wait>,
    is_raised: bool,
    /// The stream has failed a read for it.
    is_delivered: bool,
    waker: Option<Waker>,
}

/// A wait for an upstream's first byte.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Wait {
    /// The cluster of the upstream, of several: each numbers its own upstreams.
    pub(in crate::proxy) cluster: Option<UpstreamName>,
    pub(in crate::proxy) upstream: UpstreamId,
    pub(in crate::proxy) class: RequestClass,
    /// The upstreams that the request has tried, this one included.
    pub(in crate::proxy) tried: Tried,
    /// When the attempt began.
    pub(in crate::proxy) since: Instant,
}

/// A wait that can be interrupted; until dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Armed(Arc<Interrupt>);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum WaitEnd {
    ByItself,
    /// By the interrupt.
    Interrupted,
    /// By itself, when the interrupt had been raised.
    Overtaken,
}

impl Interrupt {
    /// Allows `wait` to be interrupted until the result is dropped.
    pub(in crate::proxy) fn arm(self: &Arc<Self>, wait: Wait) -> Armed {
        *self.state.lock() = State {
            wait: Some(wait),
            ..State::default()
        };
        self.is_armed.store(true, Ordering::Relaxed);
        Armed(Arc::clone(self))
    }

    /// For each read of the client's stream: fails it if the wait is to end, and has `cx` woken
    /// when that comes later.
    #[inline]
    pub(in crate::proxy) fn poll(&self, cx: &Context<'_>) -> Poll<io::Error> {
        // Read by the task that arms.
        if self.is_armed.load(Ordering::Relaxed) {
            self.poll_armed(cx)
        } else {
            Poll::Pending
        }
    }

    fn poll_armed(&self, cx: &Context<'_>) -> Poll<io::Error> {
        let mut state = self.state.lock();
        if state.is_raised {
            state.is_delivered = true;
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Interrupts the wait that is armed, if `may` returns true for it. Returns whether it did.
    fn raise(&self, may: impl FnOnce(&Wait) -> bool) -> bool {
        let mut state = self.state.lock();
        if state.is_raised || !state.wait.as_ref().is_some_and(may) {
            return false;
        }
        state.is_raised = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    fn disarm(&self) -> WaitEnd {
        self.is_armed.store(false, Ordering::Relaxed);
        let state = std::mem::take(&mut *self.state.lock());
        match (state.is_raised, state.is_delivered) {
            (_, true) => WaitEnd::Interrupted,
            (true, false) => WaitEnd::Overtaken,
            (false, false) => WaitEnd::ByItself,
        }
    }
}

impl Armed {
    /// Ends the wait, and returns how it ended.
    pub(in crate::proxy) fn end(self) -> WaitEnd {
        self.0.disarm()
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.0.disarm();
    }
}

/// Connections by their numbers.
type Shard = Mutex<Vec<(u64, Arc<Interrupt>)>>;

/// The interrupts of all client connections.
#[derive(Debug)]
pub(in crate::proxy) struct Interrupts {
    next: AtomicU64,
    shards: [Shard; SHARDS],
}

/// A connection's entry in the registry; until dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Registered {
    number: u64,
    registry: Arc<Interrupts>,
    pub(in crate::proxy) interrupt: Arc<Interrupt>,
}

impl Default for Interrupts {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            shards: array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Interrupts {
    /// Registers a new connection.
    pub(in crate::proxy) fn register(self: &Arc<Self>) -> Registered {
        let (number, interrupt) = (
            self.next.fetch_add(1, Ordering::Relaxed),
            Arc::new(Interrupt::default()),
        );
        self.shard(number)
            .lock()
            .push((number, Arc::clone(&interrupt)));
        Registered {
            number,
            registry: Arc::clone(self),
            interrupt,
        }
    }

    /// Interrupts every wait for which `may` returns true; returns their number.
    pub(in crate::proxy) fn raise(&self, mut may: impl FnMut(&Wait) -> bool) -> usize {
        let mut raised = 0;
        for shard in &self.shards {
            // Looked at outside the lock: connections come and go meanwhile.
            let connections: Vec<_> = shard
                .lock()
                .iter()
                .map(|(_, interrupt)| Arc::clone(interrupt))
                .collect();
            raised += connections
                .iter()
                .filter(|interrupt| interrupt.raise(&mut may))
                .count();
        }
        raised
    }

    fn shard(&self, number: u64) -> &Shard {
        &self.shards[number as usize % SHARDS]
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut shard = self.registry.shard(self.number).lock();
        // In order of the numbers but for those that were late with their entry.
        if let Some(at) = shard.iter().position(|(number, _)| *number == self.number) {
            shard.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wait(upstream: u32) -> Wait {
        let class = RequestClass::Map;
        Wait {
            cluster: None,
            upstream: UpstreamId(upstream),
            class,
            tried: Tried::default(),
            since: Instant::now(),
        }
    }

    fn fails(interrupt: &Interrupt, woken: &Arc<Woken>) -> bool {
        let waker = Waker::from(Arc::clone(woken));
        interrupt.poll(&Context::from_waker(&waker)).is_ready()
    }

    #[test]
    fn a_raised_interrupt_wakes_the_reader_and_fails_its_read() {
        let (registry, woken) = (Arc::new(Interrupts::default()), Arc::new(Woken::default()));
        let connection = registry.register();
        let armed = connection.interrupt.arm(wait(1));
        assert!(!fails(&connection.interrupt, &woken));
        assert_eq!(registry.raise(|wait| wait.upstream == UpstreamId(1)), 1);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(fails(&connection.interrupt, &woken));
        assert_eq!(armed.end(), WaitEnd::Interrupted);
        assert!(!fails(&connection.interrupt, &woken), "once");
    }

    #[test]
    fn only_waits_for_the_lost_upstream_are_interrupted_and_only_while_they_last() {
        let registry = Arc::new(Interrupts::default());
        let (idle, other, gone) = (
            registry.register(),
            registry.register(),
            registry.register(),
        );
        let _other = other.interrupt.arm(wait(2));
        drop(gone.interrupt.arm(wait(1)));
        assert_eq!(registry.raise(|wait| wait.upstream == UpstreamId(1)), 0);
        let armed = idle.interrupt.arm(wait(1));
        assert_eq!(registry.raise(|wait| wait.upstream == UpstreamId(1)), 1);
        assert_eq!(
            registry.raise(|wait| wait.upstream == UpstreamId(1)),
            0,
            "once"
        );
        assert_eq!(
            armed.end(),
            WaitEnd::Overtaken,
            "the answer was there first"
        );
        assert_eq!(idle.interrupt.arm(wait(1)).end(), WaitEnd::ByItself);
    }

    #[test]
    fn a_connection_that_ended_leaves_nothing_behind() {
        let registry = Arc::new(Interrupts::default());
        let connections: Vec<_> = (0..100).map(|_| registry.register()).collect();
        drop(connections);
        assert!(registry.shards.iter().all(|shard| shard.lock().is_empty()));
    }
}
