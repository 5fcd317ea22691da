//! The command line: dispatches commands and prints their results.
//!
//! `run`, `demo`, `check`, `explain`, `import` and `mapping` work on their own; the other commands
//! call the running geofront through its admin endpoint. Results go to standard output, errors to
//! standard error, and the exit code distinguishes the outcomes ([`exit::Exit`]).

mod advice;
mod args;
mod catalog;
mod check;
mod client;
mod completions;
mod demo;
mod endpoint;
mod exit;
mod explain;
#[cfg(test)]
mod fixture;
mod freshness;
mod humanize;
mod import;
mod log;
mod mapping;
mod mode;
mod other_version;
mod properties;
mod refused_reload;
mod reload;
mod status;
mod sync;
mod table;
mod top;
mod usage;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use args::{Arguments, Command};
use client::AdminClient;
use exit::{Exit, Failure};

use crate::app::{self, RunOptions};
use crate::config::{Config, Loaded};
use crate::config_reload::{self, FirstLoad, RealEnvironment, SharedEnvironment};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(Arguments {
            command: Command::Run(options),
        }) => app::run(&RunOptions {
            config: options.config,
            ports_file: options.ports_file,
        }),
        Ok(arguments) => finish(dispatch(&arguments.command, &mut std::io::stdout().lock())),
        Err(error) => {
            let command = std::env::args().nth(1).unwrap_or_default();
            let error = usage::with_tip(error, &command);
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            };
            match error.print() {
                Ok(()) => exit.into(),
                Err(_) => Exit::Failure.into(),
            }
        }
    }
}

fn dispatch(command: &Command, out: &mut dyn Write) -> Result<Exit, Failure> {
    let client = |endpoint| endpoint::find(endpoint).map(AdminClient::new);
    match command {
        Command::Run(_) => unreachable!("serving prints no result: it is not dispatched"),
        Command::Demo(options) => demo::run(options, out),
        Command::Check(options) => check::run(options, out),
        Command::Explain(options) => explain::run(options, out),
        Command::Import(options) => import::run(options, out),
        Command::Mapping(options) => mapping::run(options, out),
        Command::Status(options) => status::run(options, &client(&options.endpoint)?, out),
        Command::Drain(options) => mode::drain(options, &client(&options.endpoint)?, out),
        Command::Ready(options) => mode::ready(options, &client(&options.endpoint)?, out),
        Command::Maintenance(options) => {
            mode::maintenance(options, &client(&options.endpoint)?, out)
        }
        Command::Reload(options) => reload::run(&client(&options.endpoint)?, out),
        Command::Sync(options) => sync::run(options, &client(&options.endpoint)?, out),
        Command::Log(options) => log::run(options, out),
        Command::Top(options) => top::run(options, &client(&options.endpoint)?, out),
        Command::Completions(options) => completions::completions(options, out),
        Command::Man(options) => completions::manual(options),
        Command::Catalog(options) => {
            catalog::run(&options.order, &client(options.order.endpoint())?, out)
        }
    }
}

/// The configuration at `path`, or all of its problems.
fn load_config(path: &Path) -> Result<Loaded, Failure> {
    Ok(load_all(path)?.loaded)
}

/// The configuration at `path` with those of its clusters, or all of their problems.
fn load_all(path: &Path) -> Result<FirstLoad, Failure> {
    let environment: SharedEnvironment = Arc::new(RealEnvironment);
    config_reload::load(path, &environment).map_err(|diagnostics| Failure::config(&diagnostics))
}

/// The configuration of one cluster: the named one, or the only one.
fn of_cluster(first: FirstLoad, name: Option<&str>) -> Result<Config, Failure> {
    let front = first.loaded.config;
    let Some(name) = name else {
        if front.clusters.is_empty() {
            return Ok(front);
        }
        let names = front.clusters.names();
        return Err(Failure::usage(format!(
            "the configuration has several clusters: {names}; name one with --cluster NAME"
        )));
    };
    let mut clusters = first.clusters.into_iter();
    match (front.clusters.position(name), front.clusters.is_empty()) {
        (Some(at), _) => Ok(clusters
            .nth(at)
            .expect("every cluster of the front file is loaded")
            .loaded
            .config),
        (None, true) => Err(Failure::usage(
            "the configuration has one cluster without a name: leave --cluster out",
        )),
        (None, false) => {
            let names = front.clusters.names();
            Err(Failure::usage(format!(
                "there is no cluster `{name}`: there are {names}"
            )))
        }
    }
}

fn finish(ended: Result<Exit, Failure>) -> ExitCode {
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) if failure.exit == Exit::Success => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}
