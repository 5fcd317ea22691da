//! Sessions whose view of secured layers only the main gives.
//!
//! A user that logged in to the web interface has a session on the main. Replicas do not know it:
//! they refuse its requests for secured layers, or do not name those layers at all. Then the main
//! gives a second opinion, and if it serves the request, the next ones of this session for the same
//! workspace prefer the main for a while. Public layers are never refused, so the maps of a
//! logged-in administrator stay on the replicas. Bounded in number and in time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cluster::About;
use crate::proxy::client::identity::IdentityHash;

/// Sessions and workspaces that are remembered.
const MAX_VIEWS: usize = 4096;

/// Time for which a view is remembered after the main gave it.
const KEPT: Duration = Duration::from_secs(300);

/// A session, and the workspace of its request; none if the request is about several or names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct View {
    session: IdentityHash,
    workspace: Option<u64>,
}

impl View {
    pub(in crate::proxy) fn new(session: IdentityHash, about: About) -> Self {
        let workspace = match about {
            About::Workspace(workspace) => Some(workspace),
            About::Anything => None,
        };
        Self { session, workspace }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::proxy) struct SessionViews {
    /// Of `until`; written with its lock held.
    count: AtomicUsize,
    until: Mutex<HashMap<View, Instant>>,
}

impl SessionViews {
    /// Whether no view is remembered, so that no request needs to be looked at.
    pub(in crate::proxy) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Remembers that the main gave this view after another upstream refused it. Beyond the bound,
    /// new views are not remembered.
    pub(in crate::proxy) fn note(&self, view: View, now: Instant) {
        let mut until = self.until.lock();
        if until.len() >= MAX_VIEWS {
            until.retain(|_, until| now < *until);
        }
        if until.len() < MAX_VIEWS || until.contains_key(&view) {
            until.insert(view, now + KEPT);
        }
        self.count.store(until.len(), Ordering::Relaxed);
    }

    /// Whether the main is preferred for this view. Forgets it after its time.
    pub(in crate::proxy) fn is_of_main(&self, view: View, now: Instant) -> bool {
        let mut until = self.until.lock();
        let is_known = until.get(&view).is_some_and(|until| now < *until);
        if !is_known {
            until.remove(&view);
            self.count.store(until.len(), Ordering::Relaxed);
        }
        is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(session: u8, workspace: Option<u64>) -> View {
        View::new(
            IdentityHash::of_test(0, session),
            workspace.map_or(About::Anything, About::Workspace),
        )
    }

    #[test]
    fn a_view_is_of_one_session_and_one_workspace_and_ends() {
        let (views, now) = (SessionViews::default(), Instant::now());
        assert!(views.is_empty());
        views.note(view(1, Some(7)), now);
        assert!(!views.is_empty() && views.is_of_main(view(1, Some(7)), now));
        for other in [view(2, Some(7)), view(1, Some(8)), view(1, None)] {
            assert!(!views.is_of_main(other, now));
        }
        assert!(!views.is_of_main(view(1, Some(7)), now + KEPT));
        assert!(views.is_empty());
    }

    #[test]
    fn no_more_views_are_remembered_than_the_bound() {
        let (views, now) = (SessionViews::default(), Instant::now());
        for workspace in 0..MAX_VIEWS as u64 + 10 {
            views.note(view(1, Some(workspace)), now);
        }
        assert_eq!(views.until.lock().len(), MAX_VIEWS);
        views.note(view(1, None), now + KEPT);
        assert!(views.is_of_main(view(1, None), now + KEPT));
    }
}
