//! The catalog in memory, and what a reload does to those who ask meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use geofront::geosim::{BASIC, Behaviour, DataDirectory, Instance, ServiceTime, eventually};
use geofront::ogc::{PerClass, RequestClass};

use crate::client::{self, GET_MAP};

/// Longer than any test takes.
const VERY_LONG: Duration = Duration::from_secs(60);

#[test]
fn a_reloading_instance_answers_wrongly_and_at_once() {
    let mut service_time = PerClass::default();
    service_time[RequestClass::Map] = ServiceTime::Fixed(VERY_LONG);
    let behaviour = Behaviour { reload_time: VERY_LONG, service_time, ..Behaviour::default() };
    let instance = Instance::start("slave1", &DataDirectory::new(), behaviour);
    thread::scope(|scope| {
        // It ends without an answer when the instance is killed.
        scope.spawn(|| client::try_send(&instance, "POST", "/geoserver/rest/reload", &[("Authorization", BASIC)], ""));
        eventually("it reloads", || instance.control().is_reloading());
        let asked = Instant::now();
        let reply = client::get(&instance, GET_MAP);
        assert!(reply.status == 200 && reply.text().contains("LayerNotDefined"), "{reply:?}");
        assert!(asked.elapsed() < VERY_LONG / 3, "nothing is rendered from an empty catalog");
        instance.kill();
    });
}
