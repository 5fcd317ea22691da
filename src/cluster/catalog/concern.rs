//! The parts of the catalog concerned by changes that some replicas lack: everything, or a few
//! workspaces.
//!
//! Requests about other workspaces need no fresh replica. This is a preference among replicas that
//! may all serve, never a reason to serve a request. If the subject of a change is not known, the
//! change concerns everything.

/// Workspaces that are distinguished; changes in more of them concern everything.
const MAX_WORKSPACES: usize = 8;

/// The difference between a stale replica and the main, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concern {
    Everything,
    /// Only these workspaces, by [`workspace`].
    Workspaces(Vec<u64>),
}

/// The subject of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum About {
    /// No known subject, or several workspaces.
    #[default]
    Anything,
    /// Only this workspace, by [`workspace`].
    Workspace(u64),
}

impl Default for Concern {
    fn default() -> Self {
        Self::Workspaces(Vec::new())
    }
}

impl Concern {
    /// Adds a changed workspace; `None` if the subject of the change is not known.
    pub(super) fn add(&mut self, changed: Option<u64>) {
        match (&mut *self, changed) {
            (Self::Everything, _) => {}
            (Self::Workspaces(known), Some(workspace)) if known.contains(&workspace) => {}
            (Self::Workspaces(known), Some(workspace)) if known.len() < MAX_WORKSPACES => {
                known.push(workspace)
            }
            (Self::Workspaces(_), _) => *self = Self::Everything,
        }
    }

    /// True if the answer to a request about `about` may depend on the missing changes.
    pub fn touches(&self, about: About) -> bool {
        match (self, about) {
            (Self::Everything, _) => true,
            (Self::Workspaces(changed), About::Workspace(workspace)) => {
                changed.contains(&workspace)
            }
            (Self::Workspaces(changed), About::Anything) => !changed.is_empty(),
        }
    }

    /// True if it is worth finding out the workspace of a request.
    pub fn is_narrow(&self) -> bool {
        matches!(self, Self::Workspaces(changed) if !changed.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_one_workspace_concerns_requests_about_it_and_those_of_which_nothing_is_known() {
        let mut concern = Concern::default();
        assert!(!concern.touches(About::Anything) && !concern.is_narrow());
        concern.add(Some(7));
        assert!(
            concern.touches(About::Workspace(7))
                && concern.touches(About::Anything)
                && concern.is_narrow()
        );
        assert!(!concern.touches(About::Workspace(8)));
    }

    #[test]
    fn an_unknown_workspace_or_too_many_of_them_concern_every_request() {
        let mut unknown = Concern::default();
        unknown.add(None);
        let mut many = Concern::default();
        (0..=MAX_WORKSPACES as u64).for_each(|workspace| many.add(Some(workspace)));
        assert_eq!((unknown, many), (Concern::Everything, Concern::Everything));
    }
}
