//! Test fixture: a cluster whose probes end as a test needs it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Control;
use crate::cluster::{Action, Event, Outcome, ProbeReport};
use crate::config::{Config, MapEnvironment};

/// A cluster with this configuration. All its upstreams are up.
pub(crate) fn control_up(config: &str, now: Instant) -> Arc<Control> {
    let file = "/geofront.toml";
    let environment = MapEnvironment::new().file(file, config);
    let loaded =
        Config::load(Path::new(file), &environment).unwrap_or_else(|problems| panic!("{problems}"));
    let control = Control::new(Arc::new(loaded.config), now);
    end_probes(&control, &Outcome::Success, now);
    control
}

/// Ends all probes that are due, each with this outcome.
pub(crate) fn end_probes(control: &Control, outcome: &Outcome, now: Instant) {
    while let Some(action) = control.poll_action(now) {
        let Action::Probe(upstream) = action else {
            continue;
        };
        let report = ProbeReport {
            outcome: outcome.clone(),
            took: Duration::ZERO,
        };
        control.handle(
            Event::Probed {
                upstream: upstream.id,
                report,
            },
            now,
        );
    }
}
