//! The state file as JSON.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::balance::LearnedCap;
use crate::cluster::{
    LearnedLimit, Memory, Mode, ModeOrigin, OrderedMode, OwedTiles, Remembered, Truncation,
    TruncationCall,
};

/// Version 1 held catalogs only.
pub(super) const VERSION: u32 = 2;

/// Part of the file that the owed truncations may take, before their texts are escaped.
const MAX_TILES_BYTES: usize = 512 << 10;

#[derive(Serialize, Deserialize)]
pub(super) struct Document {
    /// The version of this layout.
    version: u32,
    upstreams: Vec<Entry>,
    modes: Vec<ModeEntry>,
    limits: Vec<LimitEntry>,
    #[serde(default)]
    tiles: Vec<TilesEntry>,
    chosen_layer: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    address: SocketAddr,
    main_number: Option<u64>,
    is_reloading: bool,
}

#[derive(Serialize, Deserialize)]
struct ModeEntry {
    name: String,
    mode: String,
    by: String,
    /// Seconds since 1970, UTC.
    at: u64,
}

#[derive(Serialize, Deserialize)]
struct LimitEntry {
    address: SocketAddr,
    limit: u32,
    has_extra: bool,
}

#[derive(Serialize, Deserialize)]
struct TilesEntry {
    name: String,
    address: SocketAddr,
    truncations: Vec<TruncationEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "tiles", rename_all = "kebab-case")]
enum TruncationEntry {
    Workspaces {
        /// Hashes of their names.
        workspaces: Vec<u64>,
    },
    TileLayer {
        layer: String,
    },
    Features {
        workspace: String,
        layer: String,
    },
    Repeat {
        target: String,
        content_type: Option<String>,
        body: String,
    },
    /// All tiles, and whatever another version writes here.
    #[serde(other)]
    All,
}

impl TruncationEntry {
    /// The truncation as it is stored. One with a body that is no text becomes one of all tiles.
    fn of(truncation: &Truncation) -> Self {
        match truncation {
            Truncation::All => Self::All,
            Truncation::Workspaces(workspaces) => Self::Workspaces {
                workspaces: workspaces.clone(),
            },
            Truncation::TileLayer(layer) => Self::TileLayer {
                layer: layer.clone(),
            },
            Truncation::Features { workspace, layer } => Self::Features {
                workspace: workspace.clone(),
                layer: layer.clone(),
            },
            Truncation::Repeat(call) => match String::from_utf8(call.body.clone()) {
                Ok(body) => Self::Repeat {
                    target: call.target.clone(),
                    content_type: call.content_type.clone(),
                    body,
                },
                Err(_) => Self::All,
            },
        }
    }

    fn into_truncation(self) -> Truncation {
        match self {
            Self::Workspaces { workspaces } => Truncation::Workspaces(workspaces),
            Self::TileLayer { layer } => Truncation::TileLayer(layer),
            Self::Features { workspace, layer } => Truncation::Features { workspace, layer },
            Self::Repeat {
                target,
                content_type,
                body,
            } => Truncation::Repeat(Arc::new(TruncationCall {
                target,
                content_type,
                body: body.into_bytes(),
            })),
            Self::All => Truncation::All,
        }
    }

    /// About the bytes that it takes in the file.
    fn size(&self) -> usize {
        let text = match self {
            Self::All => 0,
            Self::Workspaces { workspaces } => workspaces.len() * 24,
            Self::TileLayer { layer } => layer.len(),
            Self::Features { workspace, layer } => workspace.len() + layer.len(),
            Self::Repeat {
                target,
                content_type,
                body,
            } => target.len() + content_type.as_ref().map_or(0, String::len) + body.len(),
        };
        128 + text
    }
}

impl TilesEntry {
    /// The entry within `room` bytes: beyond them the tile cache owes all tiles.
    fn of(owed: &OwedTiles, room: &mut usize) -> Self {
        let entries = owed.truncations.iter().map(TruncationEntry::of);
        let mut truncations: Vec<TruncationEntry> = entries.collect();
        let size = truncations.iter().map(TruncationEntry::size).sum();
        match room.checked_sub(size) {
            Some(rest) => *room = rest,
            None => truncations = vec![TruncationEntry::All],
        }
        Self {
            name: owed.name.clone(),
            address: owed.address,
            truncations,
        }
    }

    fn into_owed(self) -> OwedTiles {
        let truncations = self.truncations.into_iter();
        OwedTiles {
            name: self.name,
            address: self.address,
            truncations: truncations.map(TruncationEntry::into_truncation).collect(),
        }
    }
}

/// The version alone. It is read first, because a file of another version may lack everything else.
#[derive(Deserialize)]
pub(super) struct VersionOnly {
    pub(super) version: u32,
}

impl Document {
    pub(super) fn of(memory: &Memory) -> Self {
        let entry = |Remembered {
                         name,
                         address,
                         main_update_sequence,
                         is_reloading,
                     }: &Remembered| Entry {
            name: name.clone(),
            address: *address,
            main_number: *main_update_sequence,
            is_reloading: *is_reloading,
        };
        let mode = |OrderedMode { name, mode, origin }: &OrderedMode| ModeEntry {
            name: name.clone(),
            mode: mode.as_str().to_owned(),
            by: origin.by.clone(),
            at: origin.at,
        };
        let limit = |LearnedLimit { address, limit }: &LearnedLimit| LimitEntry {
            address: *address,
            limit: limit.cap,
            has_extra: limit.has_extra,
        };
        let mut room = MAX_TILES_BYTES;
        let tiles = memory.tiles.iter();
        Self {
            version: VERSION,
            upstreams: memory.upstreams.iter().map(entry).collect(),
            modes: memory.modes.iter().map(mode).collect(),
            limits: memory.limits.iter().map(limit).collect(),
            tiles: tiles.map(|owed| TilesEntry::of(owed, &mut room)).collect(),
            chosen_layer: memory.chosen_layer.clone(),
        }
    }

    pub(super) fn into_memory(self) -> io::Result<Memory> {
        let remembered = |Entry {
                              name,
                              address,
                              main_number,
                              is_reloading,
                          }| Remembered {
            name,
            address,
            main_update_sequence: main_number,
            is_reloading,
        };
        let ordered = |ModeEntry { name, mode, by, at }| {
            let mode = Mode::named(&mode)
                .ok_or_else(|| io::Error::other(format!("there is no mode `{mode}`")))?;
            Ok(OrderedMode {
                name,
                mode,
                origin: ModeOrigin { by, at },
            })
        };
        // An upstream with a limit of zero would never be used.
        let learned = |LimitEntry {
                           address,
                           limit,
                           has_extra,
                       }| {
            (limit > 0).then_some(LearnedLimit {
                address,
                limit: LearnedCap {
                    cap: limit,
                    has_extra,
                    heavy: 0,
                },
            })
        };
        Ok(Memory {
            upstreams: self.upstreams.into_iter().map(remembered).collect(),
            modes: self
                .modes
                .into_iter()
                .map(ordered)
                .collect::<io::Result<_>>()?,
            limits: self.limits.into_iter().filter_map(learned).collect(),
            tiles: self.tiles.into_iter().map(TilesEntry::into_owed).collect(),
            chosen_layer: self.chosen_layer,
        })
    }
}
