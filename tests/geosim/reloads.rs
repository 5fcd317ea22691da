//! An instance in the middle of a catalog reload.

use std::thread;
use std::time::Duration;

use geofront::geosim::{BASIC, Behaviour, DataDirectory, Instance, eventually};

use crate::client::{as_admin, try_send};

pub(crate) const RELOAD: &str = "/geoserver/rest/reload";
/// Longer than any test takes.
pub(crate) const VERY_LONG: Duration = Duration::from_secs(60);

/// Does this after a reload has begun, and lets the reload end.
pub(crate) fn in_a_reload(instance: &Instance, during: impl FnOnce()) {
    thread::scope(|scope| {
        let already = instance.control().catalog_reloads();
        let reload = scope.spawn(|| as_admin(instance, "POST", RELOAD, ""));
        eventually("it reloads", || {
            instance.control().catalog_reloads() > already
        });
        during();
        assert_eq!(reload.join().unwrap().status, 200);
    });
}

/// Runs `ask` against an instance that reloads without end, until the instance is killed.
pub(crate) fn in_an_endless_reload(behaviour: Behaviour, ask: impl FnOnce(&Instance)) {
    let behaviour = Behaviour {
        reload_time: VERY_LONG,
        ..behaviour
    };
    let instance = Instance::start("replica1", &DataDirectory::new(), behaviour);
    thread::scope(|scope| {
        // It ends without an answer when the instance is killed.
        scope.spawn(|| try_send(&instance, "POST", RELOAD, &[("Authorization", BASIC)], ""));
        eventually("it reloads", || instance.control().is_reloading());
        ask(&instance);
        assert!(instance.control().is_reloading());
        instance.kill();
    });
}
