//! File descriptors: raising the limit, and sharing it out.
//!
//! A process without descriptors cannot probe, reload or answer its administrator, and would blame
//! others for that. So clients are counted, and refused before they use up the descriptors for
//! those tasks.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::admin::Capacity;

/// Reserved for probes, catalog reloads, name look-ups, the log, the state file, and what the
/// standard library opens for a moment.
const KEPT: usize = 32;

/// The limit if the system does not report it.
const USUAL_LIMIT: usize = 1024;

/// Maximum limit to use: more descriptors are of no use, and a hard limit may be infinite.
const MAX_LIMIT: u64 = 1 << 20;

/// Minimum number of clients, even with almost no descriptors.
const MIN_CLIENTS: usize = 4;

/// Raises the soft limit to the hard limit; returns the limit in force. A failure to raise it has
/// no other effect.
pub(super) fn raise_limit() -> usize {
    let raised = raise().unwrap_or_else(|error| {
        tracing::debug!(%error, "the limit of file descriptors cannot be read or raised");
        limit_in_proc().unwrap_or(USUAL_LIMIT)
    });
    tracing::debug!(limit = raised, "file descriptors");
    raised
}

fn raise() -> io::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(MAX_LIMIT).max(soft);
    let is_raised = wanted > soft && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok();
    let limit = if is_raised { wanted } else { soft };
    Ok(usize::try_from(limit.min(MAX_LIMIT)).unwrap_or(USUAL_LIMIT))
}

/// The soft limit from `/proc`, for systems whose call filter denies the query.
fn limit_in_proc() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line["Max open files".len()..]
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The number of open descriptors of this process.
pub(super) fn open_now() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(KEPT, Iterator::count)
}

/// The shares of the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Client connections. Each may need another connection to an upstream.
    pub(super) clients: usize,
    pub(super) admin: Capacity,
    /// Idle upstream connections of each thread.
    pub(super) idle_per_thread: usize,
}

/// The threads that serve clients, and the idle connections that each may keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workers {
    pub(super) threads: usize,
    /// Maximum number of idle upstream connections of each thread.
    pub(super) idle_connections: usize,
}

impl Budget {
    /// Shares out `limit` descriptors, of which `open` are permanently in use.
    pub(super) fn new(limit: usize, open: usize, workers: Workers) -> Self {
        let threads = workers.threads;
        let usable = limit.saturating_sub(open + KEPT);
        let most = Capacity::default();
        let admin_all = (usable / 8).clamp(8, most.all);
        let admin = Capacity {
            all: admin_all,
            per_address: (admin_all * 3 / 4).min(most.per_address),
            reserve: (admin_all / 4).min(most.reserve),
        };
        let idle_per_thread = workers
            .idle_connections
            .min((usable / 8).div_ceil(threads.max(1)))
            .max(1);
        let rest = usable.saturating_sub(admin.all + admin.reserve + idle_per_thread * threads);
        Self {
            clients: (rest / 2).max(MIN_CLIENTS),
            admin,
            idle_per_thread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(threads: usize) -> Workers {
        Workers {
            threads,
            idle_connections: 512,
        }
    }

    fn total(budget: Budget, threads: usize) -> usize {
        budget.clients * 2
            + budget.admin.all
            + budget.admin.reserve
            + budget.idle_per_thread * threads
    }

    #[test]
    fn all_shares_together_leave_descriptors_for_probes_and_reloads() {
        for limit in [128, 200, 256, 1024, 4096, 262_144, 1 << 20] {
            for threads in [1, 2, 4] {
                let budget = Budget::new(limit, 30, workers(threads));
                assert!(
                    total(budget, threads) + 30 + KEPT <= limit,
                    "{limit}: {budget:?}"
                );
            }
        }
    }

    #[test]
    fn large_limits_are_for_clients_and_small_ones_still_serve_some() {
        let large = Budget::new(262_144, 30, workers(4));
        assert!(
            large.clients > 129_000
                && large.admin == Capacity::default()
                && large.idle_per_thread == 512,
            "{large:?}"
        );
        assert_eq!(Budget::new(40, 30, workers(2)).clients, MIN_CLIENTS);
    }

    #[test]
    fn the_limit_that_the_kernel_shows_is_the_one_in_force() {
        assert_eq!(Some(raise_limit()), limit_in_proc());
    }
}
