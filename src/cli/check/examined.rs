//! An upstream with the facts that it reports about itself.

use std::sync::Arc;

use crate::cluster::Upstream;
use crate::driver::examination::Examination;

/// One upstream, and the facts that it reports about itself.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) upstream: Arc<Upstream>,
    pub(super) found: Examination,
}
