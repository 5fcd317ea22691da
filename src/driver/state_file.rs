//! Stores the cluster's memory in a file, so that a running roll, the operators' orders and the
//! learned limits survive a restart.
//!
//! The file is replaced as a whole, and reaches the disk before its name does. A reader, or
//! geofront after a crash or power failure, finds either the old or the new file. It carries the
//! version of its layout. A torn file or one of another version is reported and ignored.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::balance::LearnedCap;
use crate::cluster::{LearnedLimit, Memory, Mode, ModeOrigin, OrderedMode, Remembered};

/// Minimum interval for changes of learned limits alone, which move all the time.
const LIMITS_EVERY: Duration = Duration::from_secs(30);

/// Time until the next attempt after a failed write.
const RETRY: Duration = Duration::from_secs(10);

/// Writes the memory whenever it changes.
#[derive(Debug, Default)]
pub(super) struct StateFile {
    /// Locked while writing, so that no older memory replaces a newer one.
    kept: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The content on disk, as far as this process wrote it.
    last: Memory,
    written: Option<Instant>,
    failed: Option<Instant>,
}

impl StateFile {
    /// True if the memory should be written now. An empty memory should not: the file on disk holds
    /// more.
    pub(super) fn is_news(&self, memory: &Memory, now: Instant) -> bool {
        let state = self.state.lock();
        let is_recent = |at: Option<Instant>, limit| {
            at.is_some_and(|at| now.saturating_duration_since(at) < limit)
        };
        if memory.is_empty() || is_recent(state.failed, RETRY) {
            return false;
        }
        let limits_only = Memory {
            limits: memory.limits.clone(),
            ..state.last.clone()
        } == *memory;
        if limits_only {
            state.last.limits != memory.limits && !is_recent(state.written, LIMITS_EVERY)
        } else {
            true
        }
    }

    /// Writes the memory if it differs from the file. A failure to write is reported and has no
    /// other effect.
    pub(super) async fn keep(&self, path: Option<&Path>, memory: Memory) {
        let Some(path) = path.map(Path::to_owned) else {
            return;
        };
        let _one_at_a_time = self.kept.lock().await;
        if memory.is_empty() || self.state.lock().last == memory {
            return;
        }
        let to_write = memory.clone();
        let written = tokio::task::spawn_blocking(move || {
            save(&path, &to_write).map_err(|error| (path, error))
        })
        .await;
        let now = Instant::now();
        match written {
            Ok(Ok(())) => {
                *self.state.lock() = State {
                    last: memory,
                    written: Some(now),
                    failed: None,
                }
            }
            Ok(Err((path, error))) => {
                self.state.lock().failed = Some(now);
                tracing::warn!(path = %path.display(), %error, "cannot write the state file: a restart would forget");
            }
            // The runtime is shutting down.
            Err(_) => {}
        }
    }
}

/// Maximum size of the file: ten times the need of a thousand upstreams.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Document {
    /// The version of this layout.
    version: u32,
    upstreams: Vec<Entry>,
    modes: Vec<ModeEntry>,
    limits: Vec<LimitEntry>,
    chosen_layer: Option<String>,
}

/// The version alone. It is read first, because a file of another version may lack everything else.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
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

/// Version 1 held catalogs only.
const VERSION: u32 = 2;

/// Reads the memory; empty if there is no file. An unusable file is an error that the caller
/// reports before it continues.
pub fn load(path: &Path) -> io::Result<Memory> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > MAX_BYTES => {
            return Err(io::Error::other("it is too large to be geofront's"));
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(path)?;
    let version = serde_json::from_str::<VersionOnly>(&text)?.version;
    if version != VERSION {
        return Err(io::Error::other(format!(
            "it is of version {version}, not {VERSION}"
        )));
    }
    serde_json::from_str::<Document>(&text)?.into_memory()
}

/// Replaces the file as a whole. When this returns, the new file survives a power failure.
pub(super) fn save(path: &Path, memory: &Memory) -> io::Result<()> {
    let text = serde_json::to_string_pretty(&Document::of(memory))?;
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

impl Document {
    fn of(memory: &Memory) -> Self {
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
        Self {
            version: VERSION,
            upstreams: memory.upstreams.iter().map(entry).collect(),
            modes: memory.modes.iter().map(mode).collect(),
            limits: memory.limits.iter().map(limit).collect(),
            chosen_layer: memory.chosen_layer.clone(),
        }
    }

    fn into_memory(self) -> io::Result<Memory> {
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
            chosen_layer: self.chosen_layer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            chosen_layer: Some("geor:public_layer".to_owned()),
        }
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

    #[test]
    fn a_save_that_fails_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        save(&path, &memory()).unwrap();
        // A folder occupies the name of the unfinished file.
        fs::create_dir(path.with_extension("new")).unwrap();
        assert!(save(&path, &Memory::default()).is_err());
        assert_eq!(load(&path).unwrap(), memory());
    }

    #[tokio::test]
    async fn learned_limits_alone_are_written_now_and_then_and_orders_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        let file = StateFile::default();
        file.keep(Some(&path), memory()).await;
        let (now, moved) = (
            Instant::now(),
            Memory {
                limits: vec![with_limit(13)],
                ..memory()
            },
        );
        assert!(!file.is_news(&memory(), now) && !file.is_news(&moved, now));
        assert!(file.is_news(&moved, now + LIMITS_EVERY));
        assert!(file.is_news(
            &Memory {
                modes: Vec::new(),
                ..moved
            },
            now
        ));
        assert!(
            !file.is_news(&Memory::default(), now),
            "what is on disk knows more"
        );
    }

    #[tokio::test]
    async fn a_disk_that_cannot_be_written_is_tried_again_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("catalog.json");
        let file = StateFile::default();
        file.keep(Some(&path), memory()).await;
        let now = Instant::now();
        assert!(!file.is_news(&memory(), now) && file.is_news(&memory(), now + RETRY));
    }
}
