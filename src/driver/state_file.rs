//! Stores the cluster's memory in a file, so that a running roll, the operators' orders, the
//! truncations that tile caches owe and the learned limits survive a restart.
//!
//! The file carries the version of its layout. A torn file or one of another version is reported
//! and ignored.

mod document;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::kept_file::{self, FileContent, KeptFile};
use crate::cluster::Memory;
use document::{Document, VERSION, VersionOnly};

/// Minimum interval for changes of learned limits alone, which move all the time.
const LIMITS_EVERY: Duration = Duration::from_secs(30);

/// Minimum interval for changes of owed truncations alone: each edit of features adds one, and most
/// of them are done in a moment.
const TILES_EVERY: Duration = Duration::from_secs(1);

impl FileContent for Memory {
    const NAME: &'static str = "state file";

    fn to_text(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(&Document::of(self))?)
    }
}

/// Writes the memory whenever it changes.
#[derive(Debug, Default)]
pub(super) struct StateFile(KeptFile<Memory>);

impl StateFile {
    /// True if the memory should be written now. An empty memory should not: the file on disk holds
    /// more.
    pub(super) fn is_news(&self, path: &Path, memory: &Memory, now: Instant) -> bool {
        let state = self.0.state();
        if memory.is_empty() || state.waits_to_retry(now) {
            return false;
        }
        let is_due = |interval: Duration| {
            state
                .written
                .is_none_or(|at| now.saturating_duration_since(at) >= interval)
        };
        let is_moving_only = Memory {
            limits: memory.limits.clone(),
            tiles: memory.tiles.clone(),
            ..state.last.clone()
        } == *memory;
        let have_limits_moved = state.last.limits != memory.limits && is_due(LIMITS_EVERY);
        let have_tiles_moved = state.last.tiles != memory.tiles && is_due(TILES_EVERY);
        !state.is_at(path) || !is_moving_only || have_limits_moved || have_tiles_moved
    }

    /// Writes the memory if it differs from the file.
    pub(super) async fn keep(&self, path: &Path, memory: Memory) {
        if !memory.is_empty() {
            self.0.keep(path.to_owned(), memory).await;
        }
    }
}

/// Reads the memory; empty if there is no file. An unusable file is an error that the caller
/// reports before it continues.
pub fn load(path: &Path) -> io::Result<Memory> {
    let Some(text) = kept_file::read(path)? else {
        return Ok(Memory::default());
    };
    let version = serde_json::from_str::<VersionOnly>(&text)?.version;
    if version != VERSION {
        return Err(io::Error::other(format!(
            "it is of version {version}, not {VERSION}"
        )));
    }
    serde_json::from_str::<Document>(&text)?.into_memory()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::kept_file::{RETRY, save};
    use super::*;
    use crate::balance::LearnedCap;
    use crate::cluster::{
        LearnedLimit, Mode, ModeOrigin, OrderedMode, OwedTiles, Remembered, Truncation,
        TruncationCall,
    };

    const ADDRESS: SocketAddr = SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 11)),
        8080,
    );

    fn memory() -> Memory {
        let of = |name: &str, main_update_sequence: Option<u64>| Remembered {
            name: name.to_owned(),
            address: ADDRESS,
            main_update_sequence,
            is_reloading: main_update_sequence.is_none(),
        };
        let origin = ModeOrigin {
            by: "alice from 10.0.0.9".to_owned(),
            at: 1_700_000_000,
        };
        Memory {
            upstreams: vec![of("slave1", Some(7)), of("slave2", None)],
            modes: vec![OrderedMode {
                name: "slave2".to_owned(),
                mode: Mode::Maintenance,
                origin,
            }],
            limits: vec![with_limit(12)],
            tiles: vec![owed(vec![
                repeat(b"<truncateAll/>"),
                Truncation::Workspaces(vec![u64::MAX, 7]),
                Truncation::TileLayer("geor:roads".to_owned()),
                Truncation::Features {
                    workspace: "geor".to_owned(),
                    layer: "roads".to_owned(),
                },
            ])],
            chosen_layer: Some("geor:public_layer".to_owned()),
        }
    }

    fn owed(truncations: Vec<Truncation>) -> OwedTiles {
        OwedTiles {
            name: "slave1".to_owned(),
            address: ADDRESS,
            truncations,
        }
    }

    fn repeat(body: &[u8]) -> Truncation {
        Truncation::Repeat(Arc::new(TruncationCall {
            target: "/geoserver/gwc/rest/masstruncate".to_owned(),
            content_type: Some("text/xml".to_owned()),
            body: body.to_vec(),
        }))
    }

    fn with_limit(cap: u32) -> LearnedLimit {
        LearnedLimit {
            address: ADDRESS,
            limit: LearnedCap {
                cap,
                has_extra: true,
                heavy: 0,
            },
        }
    }

    #[test]
    fn saved_memory_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        assert_eq!(load(&path).unwrap(), Memory::default());
        save(&path, &memory()).unwrap();
        assert_eq!(load(&path).unwrap(), memory());
    }

    /// The tile caches of a memory that was saved and loaded.
    fn saved_tiles(tiles: Vec<OwedTiles>) -> Vec<OwedTiles> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        let memory = Memory { tiles, ..memory() };
        save(&path, &memory).unwrap();
        load(&path).unwrap().tiles
    }

    #[test]
    fn an_order_that_is_no_text_is_remembered_as_one_of_all_tiles() {
        let tiles = saved_tiles(vec![owed(vec![repeat(b"\xff")])]);
        assert_eq!(tiles, [owed(vec![Truncation::All])]);
    }

    #[test]
    fn owed_truncations_that_are_too_long_for_the_file_become_all_tiles() {
        // Control characters are the longest in JSON.
        let long = |at: usize| owed(vec![repeat(&[0x01; 8 << 10]); 20 + at]);
        let tiles = saved_tiles((0..9).map(long).collect());
        assert_eq!(tiles[0], long(0));
        assert_eq!(tiles[8], owed(vec![Truncation::All]));
    }

    #[test]
    fn a_truncation_that_another_version_knows_is_one_of_all_tiles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        save(&path, &memory()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"tile-layer\"", "\"tile-set\"")).unwrap();
        assert_eq!(
            load(&path).unwrap().tiles[0].truncations[2],
            Truncation::All
        );
        let without = text.replace("\"tiles\": [", "\"other\": [");
        fs::write(&path, without).unwrap();
        assert_eq!(load(&path).unwrap().tiles, []);
    }

    #[test]
    fn a_torn_file_is_an_error_wherever_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        save(&path, &memory()).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(load(&path).is_err(), "{length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn a_file_of_another_version_is_an_error_that_names_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        for (text, version) in [
            ("{\"version\": 1, \"upstreams\": []}", 1),
            ("{\"version\": 9}", 9),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(
                load(&path).unwrap_err().to_string(),
                format!("it is of version {version}, not 2")
            );
        }
    }

    #[tokio::test]
    async fn learned_limits_alone_are_written_now_and_then_and_orders_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        let file = StateFile::default();
        file.keep(&path, memory()).await;
        let (now, moved) = (
            Instant::now(),
            Memory {
                limits: vec![with_limit(13)],
                ..memory()
            },
        );
        assert!(!file.is_news(&path, &memory(), now) && !file.is_news(&path, &moved, now));
        assert!(file.is_news(&path, &moved, now + LIMITS_EVERY));
        let truncated = Memory {
            tiles: Vec::new(),
            ..memory()
        };
        assert!(
            !file.is_news(&path, &truncated, now)
                && file.is_news(&path, &truncated, now + TILES_EVERY)
        );
        assert!(file.is_news(
            &path,
            &Memory {
                modes: Vec::new(),
                ..moved
            },
            now
        ));
        assert!(
            !file.is_news(&path, &Memory::default(), now),
            "what is on disk knows more"
        );
    }

    #[tokio::test]
    async fn a_disk_that_cannot_be_written_is_tried_again_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("catalog.json");
        let file = StateFile::default();
        file.keep(&path, memory()).await;
        let now = Instant::now();
        assert!(
            !file.is_news(&path, &memory(), now) && file.is_news(&path, &memory(), now + RETRY)
        );
    }
}
