//! The requirements of a request on the upstreams of a snapshot.

use crate::cluster::About;
use crate::config::Effort;
use crate::ogc::RequestClass;

/// The properties of a request on which the choice of its upstream depends.
#[derive(Clone, Copy, Debug)]
pub(in crate::cluster) struct Need {
    pub(in crate::cluster) class: RequestClass,
    pub(in crate::cluster) effort: Effort,
    /// Shared by the requests that one upstream should answer.
    pub(in crate::cluster) key: Option<u64>,
    pub(in crate::cluster) about: About,
}

impl Need {
    /// The need of a request of this class with nothing particular about it.
    pub(in crate::cluster) fn of(class: RequestClass) -> Self {
        Self {
            class,
            effort: Effort::OfClass,
            key: None,
            about: About::Anything,
        }
    }
}
