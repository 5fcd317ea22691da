//! Breaking and healing an instance by URL, for the demo and for people: outside the webapp, and
//! only where the behaviour allows it.

use std::time::Duration;

use serde_json::json;

use super::answer::Answer;
use super::fault::{Fault, When};
use super::kvp::Kvp;
use super::life::Life;
use super::request::Request;

const HELP: &str = "\
POST /geosim/fault?kind=KIND   the instance is broken in this way (more than one may hold):
                               oom, hang, refuse, starting, reset, truncate, undeployed, busy, 500, slow
POST /geosim/heal              all faults end (not for kind=refuse: nobody hears it)
POST /geosim/publish?layer=NAME  an administrator publishes a layer
POST /geosim/speed?factor=0.1  it works at a tenth of its speed
GET  /geosim/status            what it has been doing
";

/// A fault by URL that cannot be healed by URL ends by itself.
const REFUSAL: Duration = Duration::from_secs(30);

pub(super) fn answer(life: &Life, request: &Request) -> Answer {
    if !life.behaviour.control_url {
        return Answer::not_found();
    }
    let path = String::from_utf8_lossy(request.raw_path()).into_owned();
    let kvp = Kvp::new(request.query(), b"");
    match (request.method(), path.as_str()) {
        ("POST", "/geosim/fault") => break_it(life, &kvp),
        ("POST", "/geosim/heal") => {
            life.controls.heals();
            sentence(format!("{} is well again", life.name))
        }
        ("POST", "/geosim/publish") => {
            let layer = kvp
                .get("layer")
                .unwrap_or(std::borrow::Cow::Borrowed("geor:new_layer"));
            life.publish(&layer);
            sentence(format!(
                "{layer} is published on {}; updateSequence is {}",
                life.name,
                life.catalog().update_sequence
            ))
        }
        ("POST", "/geosim/speed") => set_speed(life, &kvp),
        ("GET", "/geosim/status") => status(life),
        _ => Answer::ok("text/plain", HELP),
    }
}

fn break_it(life: &Life, kvp: &Kvp<'_>) -> Answer {
    let kind = kvp.get("kind").unwrap_or_default();
    let Some(fault) = fault_called(&kind) else {
        return Answer::new(
            400,
            "text/plain",
            format!("no fault is called `{kind}`\n\n{HELP}"),
        );
    };
    if fault.is_of_the_door() {
        let controls = std::sync::Arc::clone(&life.controls);
        tokio::spawn(async move {
            tokio::time::sleep(REFUSAL).await;
            controls.heals();
        });
    }
    life.controls.suffers(fault);
    sentence(format!("{} is broken: {kind}", life.name))
}

/// The name of a fault on the command line and in URLs.
pub fn fault_called(name: &str) -> Option<Fault> {
    Some(match name {
        "oom" => Fault::OutOfMemory,
        "hang" => Fault::Hang,
        "refuse" => Fault::Refuse,
        "starting" => Fault::Starting,
        "reset" => Fault::Reset(When::BeforeAnswer),
        "truncate" => Fault::Truncate,
        "undeployed" => Fault::Undeployed,
        "busy" => Fault::Busy,
        "500" => Fault::Status(500),
        "slow" => Fault::Slow(Duration::from_secs(3)),
        _ => return None,
    })
}

fn set_speed(life: &Life, kvp: &Kvp<'_>) -> Answer {
    let factor = kvp
        .get("factor")
        .and_then(|factor| factor.parse::<f64>().ok());
    match factor.filter(|factor| *factor > 0.0 && factor.is_finite()) {
        Some(factor) => {
            life.controls.set_speed(factor);
            sentence(format!("{} works at {factor} of its speed", life.name))
        }
        None => Answer::new(400, "text/plain", "factor: must be a number above 0\n"),
    }
}

fn status(life: &Life) -> Answer {
    let (controls, catalog) = (&life.controls, life.catalog());
    let status = json!({
        "name": life.name, "updateSequence": catalog.update_sequence, "epoch": catalog.contents.edits,
        "inFlight": controls.in_flight(), "received": controls.received_in_all(), "catalogReloads": controls.catalog_reloads(),
    });
    Answer::ok("application/json", format!("{status}\n"))
}

fn sentence(text: String) -> Answer {
    Answer::ok("text/plain", text + "\n")
}
