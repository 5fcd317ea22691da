//! An administrator's change on its way to every replica, under load: `make bench-catalog`.
//!
//! The cluster is a main and three replicas that take 3 s to reload. Clients send requests for
//! everything without pause and check every answer. An administrator publishes a layer through the
//! front door. The front doors are HAProxy and nginx, with the script that geOrchestra's guide
//! recommends after a change, and geofront, which needs none. That script, refresh.py, reloads each
//! replica in turn, in the middle of its work.
//!
//! ```text
//!   core 1: clients, administrator  -->  core 0: HAProxy | nginx | geofront  -->  core 1: its own geosim cluster
//! ```
//!
//! ```text
//! cargo bench --bench catalog -- --full      for figures; two minutes
//! cargo bench --bench catalog                for seeing that it works; half a minute
//! ```

mod contenders;
mod load;
mod measure;
mod report;
#[path = "../rig/mod.rs"]
mod rig;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use contenders::Front;
use geofront::geosim::{Cluster, Flavour};
use measure::{Day, Outcome};
use rig::machine;
use rig::place::{Contender, Place, is_understood};
use rig::process;

const PROXY_CORE: usize = 0;
const OTHER_CORE: usize = 1;

/// The configuration of geofront that the bench sets; its other keys have their defaults.
const SETTLE: Duration = Duration::from_secs(3);
const CATALOG: &str = "settle = \"3s\"\ncanary_layer = \"geor:public_layer\"";

/// An administrator's change on its way to every replica, under load.
#[derive(Parser)]
struct Arguments {
    /// Long enough for figures.
    #[arg(long)]
    full: bool,
    /// Only contenders whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// More lines for geofront's [catalog], separated by `;`.
    #[arg(long, default_value = "")]
    catalog: String,
    /// Another geofront than the one that was built with this bench.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_geofront"))]
    geofront: PathBuf,
    /// `cargo bench` passes this option.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> io::Result<()> {
    process::pin_self(OTHER_CORE)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let day = if arguments.full {
        Day {
            calm: Duration::from_secs(15),
            changes: 3,
        }
    } else {
        Day {
            calm: Duration::from_secs(3),
            changes: 1,
        }
    };
    let folder = tempfile::tempdir()?;
    let place = Place {
        folder: folder.path(),
        core: PROXY_CORE,
    };
    let fronts = fronts(arguments, &place)?;
    machine::print();
    let stand = |front: &Front| -> io::Result<(Cluster, Contender)> {
        let cluster = measure::cluster(front);
        let contender = front.start(&place, &cluster)?;
        Ok((cluster, contender))
    };
    let stands = fronts.iter().map(stand).collect::<io::Result<Vec<_>>>()?;
    // All run at the same time, so that other load of the machine affects all alike.
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let start = |(front, (cluster, contender)): (&'_ Front, &'_ (Cluster, Contender))| {
            measure::day(front, contender, cluster, day, &runtime)
        };
        let days: Vec<_> = fronts
            .iter()
            .zip(&stands)
            .map(|pair| scope.spawn(move || start(pair)))
            .collect();
        days.into_iter()
            .map(|day| day.join().expect("a day does not panic"))
            .collect()
    });
    report::print(&outcomes, SETTLE);
    Ok(())
}

fn fronts(arguments: &Arguments, place: &Place<'_>) -> io::Result<Vec<Front>> {
    let geofront = |catalog, flavour| Front::geofront(arguments.geofront.clone(), catalog, flavour);
    let catalog = format!("{CATALOG}\n{}", arguments.catalog.replace(';', "\n"));
    let mut fronts = vec![
        Front::haproxy(),
        Front::haproxy_with_map_check(),
        Front::nginx(),
    ];
    if is_understood(
        place,
        &arguments.geofront,
        &format!("[catalog]\n{catalog}\n"),
    )? {
        let flavours = [
            Flavour::GeOrchestra,
            Flavour::Vanilla,
            Flavour::VanillaRewriting,
        ];
        fronts.extend(flavours.map(|flavour| geofront(Some(catalog.clone()), flavour)));
    } else {
        fronts.push(geofront(None, Flavour::GeOrchestra));
    }
    fronts.retain(|front| front.name.contains(&arguments.only));
    Ok(fronts)
}
