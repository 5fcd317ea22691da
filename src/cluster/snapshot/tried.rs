//! The upstreams that a request has tried, and those that it may not use.

use std::sync::Arc;

use crate::cluster::{Upstream, UpstreamId};
use crate::config::UpstreamGroup;
use crate::ogc::RequestClass;

/// The upstreams that one request has tried. Their number is bounded because attempts are.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    ids: [UpstreamId; Self::MAX],
    len: usize,
    /// The upstreams of the rule that the request follows: it may use no others.
    group: Option<Arc<UpstreamGroup>>,
    /// The request may use the main alone, whichever upstreams serve its class.
    is_for_main: bool,
}

impl Tried {
    /// Most attempts of one request.
    pub const MAX: usize = 8;

    /// Nothing tried yet, by a request that may use the upstreams of `group`.
    pub fn of_group(group: Arc<UpstreamGroup>) -> Self {
        Self {
            group: Some(group),
            ..Self::default()
        }
    }

    /// Nothing tried yet, by a request that may use the main alone.
    pub fn of_main() -> Self {
        Self {
            is_for_main: true,
            ..Self::default()
        }
    }

    /// True if the request may use the main alone, whichever upstreams serve its class.
    #[inline]
    pub fn is_for_main(&self) -> bool {
        self.is_for_main
    }

    /// The class whose upstreams serve the request.
    #[inline]
    pub(in crate::cluster) fn class_served(&self, class: RequestClass) -> RequestClass {
        if self.is_for_main {
            // The main alone serves this class, whatever the configuration.
            RequestClass::Transaction
        } else {
            class
        }
    }

    /// The same without the limit to a group, if the group allows it. For a request that found no
    /// upstream of its group.
    pub fn beyond_group(&self) -> Option<Self> {
        let group = self.group.as_ref()?;
        (!group.only).then_some(Self {
            ids: self.ids,
            len: self.len,
            group: None,
            is_for_main: self.is_for_main,
        })
    }

    /// True if `test` holds for the upstreams of the group, or for those beyond it where the
    /// request may use them.
    pub fn or_beyond_group(&self, test: impl Fn(&Self) -> bool) -> bool {
        test(self) || self.beyond_group().is_some_and(|beyond| test(&beyond))
    }

    /// True if the request may use only the upstreams of a group.
    #[inline]
    pub fn has_group(&self) -> bool {
        self.group.is_some()
    }

    /// Records an upstream. Attempts beyond [`Self::MAX`] are not recorded.
    pub fn add(&mut self, id: UpstreamId) {
        if let Some(free) = self.ids.get_mut(self.len) {
            *free = id;
            self.len += 1;
        }
    }

    /// Removes an upstream after an attempt that is no evidence about it, so that it may be tried
    /// again.
    pub fn remove(&mut self, id: UpstreamId) {
        if let Some(at) = self.ids[..self.len].iter().position(|tried| *tried == id) {
            self.ids.copy_within(at + 1..self.len, at);
            self.len -= 1;
        }
    }

    /// True if the request has tried this upstream.
    pub fn contains(&self, id: UpstreamId) -> bool {
        self.ids[..self.len].contains(&id)
    }

    /// True if the request may not use `upstream`, or has tried it.
    #[inline]
    pub fn excludes(&self, upstream: &Upstream) -> bool {
        let is_outside = |group: &Arc<UpstreamGroup>| !group.has(&upstream.name);
        (self.len > 0 && self.contains(upstream.id)) || self.group.as_ref().is_some_and(is_outside)
    }

    /// Returns how many upstreams the request has tried.
    pub fn count(&self) -> usize {
        self.len
    }

    /// True if the request has tried no upstream.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
