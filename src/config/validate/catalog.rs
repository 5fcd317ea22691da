//! `[catalog]`: how replicas follow the main's catalog.

use std::path::PathBuf;

use super::check::Check;
use crate::config::diagnostics::Problem;
use crate::config::raw::{RawCatalog, Slot};
use crate::config::{Catalog, Credentials, TileCaches, defaults};

/// The directory that systemd provides for a service's persistent state (`StateDirectory=`).
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
const STATE_FILE: &str = "catalog.json";

impl Check<'_> {
    pub(super) fn catalog(&mut self, raw: &RawCatalog, credentials: &Credentials) -> Catalog {
        let (times, long) = (defaults::PROBE_TIMES, defaults::TIMES);
        let catalog = Catalog {
            poll: self.within("catalog.poll", &raw.poll, defaults::POLL, times),
            watch: self.whole_path("catalog.watch", &raw.watch, "the data directory"),
            settle: self.within(
                "catalog.settle",
                &raw.settle,
                defaults::SETTLE,
                defaults::SETTLE_TIMES,
            ),
            settle_max: self.within(
                "catalog.settle_max",
                &raw.settle_max,
                defaults::SETTLE_MAX,
                defaults::SETTLE_TIMES,
            ),
            canary_layer: self.layer("catalog.canary_layer", &raw.canary_layer),
            roll: self.value("catalog.roll", &raw.roll, true),
            roll_share: self.count(
                "catalog.roll_share",
                &raw.roll_share,
                defaults::ROLL_SHARE,
                defaults::SHARES,
            ),
            main_helps: self.value("catalog.main_helps", &raw.main_helps, true),
            parallel: self.count(
                "catalog.parallel",
                &raw.parallel,
                defaults::PARALLEL,
                defaults::PARALLEL_RANGE,
            ),
            drain_timeout: self.within(
                "catalog.drain_timeout",
                &raw.drain_timeout,
                defaults::DRAIN_TIMEOUT,
                long.clone(),
            ),
            reload_timeout: self.within(
                "catalog.reload_timeout",
                &raw.reload_timeout,
                defaults::RELOAD_TIMEOUT,
                long,
            ),
            reload_security: self.value("catalog.reload_security", &raw.reload_security, false),
            reload_main: self.value("catalog.reload_main", &raw.reload_main, false),
            reload_gwc: self.value("catalog.reload_gwc", &raw.reload_gwc, false),
            tile_caches: self.value(
                "catalog.tile_caches",
                &raw.tile_caches,
                defaults::TILE_CACHES,
            ),
            stale: self.value("catalog.stale", &raw.stale, defaults::STALE),
            read_your_writes: self.within(
                "catalog.read_your_writes",
                &raw.read_your_writes,
                defaults::READ_YOUR_WRITES,
                defaults::SETTLE_TIMES,
            ),
            state_file: self.state_file(&raw.state_file),
        };
        if catalog.tile_caches == TileCaches::Own && *credentials == Credentials::None {
            self.tiles_need_credentials(&raw.tile_caches);
        }
        self.ordered(
            ("catalog.settle", catalog.settle, raw.settle.at()),
            (
                "catalog.settle_max",
                catalog.settle_max,
                raw.settle_max.at(),
            ),
        );
        catalog
    }

    fn whole_path(&mut self, key: &str, slot: &Slot<String>, what: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.optional(key, slot)?);
        if let Some(at) = slot.at().filter(|_| !path.is_absolute()) {
            let title = format!(
                "`{key}` is \"{}\": must be the whole path of {what}",
                path.display()
            );
            self.refuse(Problem::new(title).at(at).label("it begins with /"));
        }
        Some(path)
    }

    fn tiles_need_credentials(&mut self, slot: &Slot<TileCaches>) {
        let problem = Problem::new(
            "`catalog.tile_caches` is \"own\": GeoServer truncates tiles for administrators only",
        )
        .help("set `username` with `password_file`, or `headers`, under [geoserver]");
        self.refuse(match slot.at() {
            Some(at) => problem.at(at),
            None => problem,
        });
    }

    fn state_file(&mut self, slot: &Slot<String>) -> Option<PathBuf> {
        if !slot.is_absent() {
            return self.whole_path("catalog.state_file", slot, "a file");
        }
        let file = self.state_file_unnoted(slot);
        match &file {
            Some(path) => self.note_derived(
                "catalog.state_file",
                path.display().to_string(),
                "$STATE_DIRECTORY",
            ),
            None => self.note("catalog.state_file", String::new(), None),
        }
        file
    }

    /// Returns the state file, written or of the service manager, without a check of its path.
    pub(super) fn state_file_unnoted(&self, slot: &Slot<String>) -> Option<PathBuf> {
        if let Some(written) = slot.given() {
            return Some(PathBuf::from(&written.value));
        }
        let folders = self
            .environment
            .variable(STATE_DIRECTORY)
            .unwrap_or_default();
        let folder = folders
            .split(':')
            .next()
            .filter(|folder| folder.starts_with('/'));
        // Each cluster has its own.
        let file = self.cluster_name().map_or_else(
            || STATE_FILE.to_owned(),
            |cluster| format!("catalog-{cluster}.json"),
        );
        folder.map(|folder| PathBuf::from(folder).join(file))
    }
}
