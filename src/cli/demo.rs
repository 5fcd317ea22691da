//! `geofront demo`.

use std::io::Write;
use std::time::Duration;

use super::args::Demo;
use super::exit::{Exit, Failure};
use crate::demo;

/// Runs the demo until Ctrl-C.
pub(super) fn run(options: &Demo, out: &mut dyn Write) -> Result<Exit, Failure> {
    let options = demo::Options {
        replicas: options.replicas,
        listen: options.listen,
        admin: options.admin,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let ended = runtime.block_on(async {
        let demo = demo::start(options).await.map_err(|error| {
            Failure::new(format!(
                "{error}\n  = help: choose other addresses with --listen and --admin"
            ))
        })?;
        writeln!(out, "{}", demo.instructions())
            .and_then(|()| out.flush())
            .map_err(Failure::new)?;
        tokio::signal::ctrl_c().await.map_err(Failure::new)?;
        demo.app.stop().await;
        Ok(Exit::Success)
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}
