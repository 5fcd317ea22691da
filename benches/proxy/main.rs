//! The cost of a request and of an idle client, beside HAProxy and nginx: `make bench`.
//!
//! Every contender has one core for itself; clients and upstreams share the other. Rounds are
//! interleaved, so that other load of the machine affects all alike; each number is a median, each
//! ratio a median of ratios within a round.
//!
//! ```text
//!   core 1: clients  -->  core 0: geofront | HAProxy | nginx  -->  core 1: nginx with a 20 KB map
//! ```

mod contenders;
mod load;
mod report;
#[path = "../rig/mod.rs"]
mod rig;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use contenders::Setting;
use load::Client;
use report::Row;
use rig::place::{Contender, Place, free_address};
use rig::process;

/// The answer: a map tile of usual size.
const BODY: usize = 20 * 1024;
/// At once, each on a kept-alive connection.
const CLIENTS: usize = 16;
const ROUNDS: usize = 7;
/// In a round: about a second of CPU time, so that the kernel's ticks of 10 ms are a percent.
const REQUESTS: usize = 20_000;
/// Before the first round: caches, pools and branch predictors of all.
const WARM_UP: usize = 4_000;
/// Clients that keep a connection open and send nothing.
const IDLE_CLIENTS: usize = 2_000;

const PROXY_CORE: usize = 0;
const OTHER_CORE: usize = 1;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    process::pin_self(OTHER_CORE)?;
    let upstreams = [free_address()?, free_address()?, free_address()?];
    let setting = Setting {
        place: Place {
            folder: folder.path(),
            core: PROXY_CORE,
        },
        upstreams,
        body: BODY,
    };
    let _upstream = setting.upstream(OTHER_CORE)?;

    let contenders = contenders(&setting)?;
    let mut rows = contenders
        .iter()
        .map(memory)
        .collect::<io::Result<Vec<Row>>>()?;
    for contender in &contenders {
        load::run(contender.address, CLIENTS, WARM_UP, BODY)?;
    }
    for _ in 0..ROUNDS {
        for (contender, row) in contenders.iter().zip(&mut rows) {
            row.cpu.push(cpu_per_request(contender)?);
        }
    }
    report::print(&rows);
    Ok(())
}

/// HAProxy first: the others are compared to it.
fn contenders(setting: &Setting<'_>) -> io::Result<Vec<Contender>> {
    let mut contenders = vec![setting.haproxy()?, setting.nginx()?];
    let ordinary = Path::new(env!("CARGO_BIN_EXE_geofront"));
    contenders.push(setting.geofront("geofront", ordinary, "")?);
    contenders.push(setting.geofront(
        "geofront, no limits",
        ordinary,
        "max_in_flight = \"off\"\nper_user = \"off\"",
    )?);
    contenders.push(setting.geofront(
        "geofront, every request traced",
        ordinary,
        &format!(
            "[traces]\nendpoint = \"http://{}\"\nsample = 1.0",
            setting.upstreams[0]
        ),
    )?);
    let guided = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pgo/geofront");
    if guided.is_file() {
        contenders.push(setting.geofront("geofront (make release)", &guided, "")?);
    }
    Ok(contenders)
}

fn memory(contender: &Contender) -> io::Result<Row> {
    let idle = contender.process.memory();
    let mut clients = Vec::with_capacity(IDLE_CLIENTS);
    for number in 0..IDLE_CLIENTS {
        let mut client = Client::connect(contender.address, number)?;
        client.ask(BODY)?;
        client.rest();
        clients.push(client);
    }
    let grown = contender.process.memory().saturating_sub(idle);
    Ok(Row {
        name: contender.name.clone(),
        cpu: Vec::new(),
        idle,
        per_client: grown as f64 / IDLE_CLIENTS as f64,
    })
}

fn cpu_per_request(contender: &Contender) -> io::Result<Duration> {
    let before = contender.process.cpu_time();
    load::run(contender.address, CLIENTS, REQUESTS, BODY)?;
    Ok((contender.process.cpu_time() - before) / REQUESTS as u32)
}
