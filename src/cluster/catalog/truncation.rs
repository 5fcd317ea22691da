//! The tiles that are to be dropped from a tile cache.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Concern;

/// Longest time that one truncation may take, and that a reloaded replica waits for it.
pub const TRUNCATION_LIMIT: Duration = Duration::from_secs(30);

/// Tiles that are to be dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truncation {
    /// Those of every layer.
    All,
    /// Those of the layers and groups of these workspaces, by hashes of their names, and of all
    /// groups without a workspace, because these may contain layers of any workspace.
    Workspaces(Vec<u64>),
    /// Those of the tile layer of this name alone.
    TileLayer(String),
    /// Those of a layer whose features changed, and of the groups that may contain it.
    Features { workspace: String, layer: String },
    /// Those that this call is about, which another upstream answered with success.
    Repeat(Arc<TruncationCall>),
}

/// A client's order to truncate tiles, to be repeated as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruncationCall {
    /// Path and query.
    pub target: String,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

impl Truncation {
    /// True if it follows an edit of features. Editors cause many of them, so only their failures
    /// are events.
    pub(super) fn is_of_an_edit(&self) -> bool {
        match self {
            Self::Features { .. } => true,
            Self::All | Self::Workspaces(_) | Self::TileLayer(_) | Self::Repeat(_) => false,
        }
    }
}

impl From<Concern> for Truncation {
    fn from(concern: Concern) -> Self {
        match concern {
            Concern::Everything => Self::All,
            Concern::Workspaces(workspaces) => Self::Workspaces(workspaces),
        }
    }
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all tiles"),
            Self::Workspaces(_) => f.write_str("the tiles of the workspaces that changed"),
            Self::TileLayer(name) => write!(f, "the tiles of {name}"),
            Self::Features { workspace, layer } => write!(f, "the tiles of {workspace}:{layer}"),
            Self::Repeat(_) => f.write_str("the tiles that a client ordered to truncate"),
        }
    }
}
