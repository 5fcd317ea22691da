//! `geofront demo`.

use std::io::Write;
use std::time::{Duration, Instant};

use super::args::Demo;
use super::exit::{Exit, Failure};
use crate::demo;

/// Runs the demo until Ctrl-C.
pub(super) fn run(options: &Demo, out: &mut dyn Write) -> Result<Exit, Failure> {
    let began = Instant::now();
    let options = demo::Options {
        replicas: options.replicas,
        listen: options.listen,
        admin: options.admin,
        map: options.map,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let ended = runtime.block_on(async {
        let demo = demo::start(options).await.map_err(|error| {
            Failure::new(format!(
                "{error}\n  = help: choose other addresses with --listen, --admin and --map"
            ))
        })?;
        writeln!(out, "{}", demo.instructions()).map_err(Failure::new)?;
        let seconds = |began: Instant| began.elapsed().as_secs_f64();
        if demo.is_ready().await {
            let (page, took) = (demo.addresses.map, seconds(began));
            writeln!(out, "Ready after {took:.1} s: open http://{page}/")
        } else {
            let took = seconds(began);
            writeln!(
                out,
                "Not every GeoServer serves after {took:.0} s; see the status page"
            )
        }
        .and_then(|()| out.flush())
        .map_err(Failure::new)?;
        tokio::signal::ctrl_c().await.map_err(Failure::new)?;
        demo.stop().await;
        Ok(Exit::Success)
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}
