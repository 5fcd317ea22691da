//! Errors of the command line, with a tip where the mistake is a likely one.

use std::path::Path;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error};

use super::args::Arguments;

/// Adds a tip to the error of a command that was given its configuration as an argument: `check`
/// takes it so, and all other commands by `--config`.
pub(super) fn with_tip(mut error: Error, command: &str) -> Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let is_file = argument.ends_with(".toml") || Path::new(argument).is_file();
    if error.kind() != ErrorKind::UnknownArgument || !is_file || !takes_config(command) {
        return error;
    }
    let tip = format!("the configuration is given with '--config {argument}'");
    let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
    error.insert(ContextKind::Suggested, tips);
    error
}

fn takes_config(command: &str) -> bool {
    let arguments = Arguments::command();
    arguments.find_subcommand(command).is_some_and(|command| {
        let mut options = command.get_arguments();
        options.any(|option| option.get_long() == Some("config"))
    })
}
