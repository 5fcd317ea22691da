//! `geofront reload`: reloads the configuration from disk.

use std::io::Write;

use super::client::AdminClient;
use super::exit::{Exit, Failure};
use super::humanize::span;
use crate::admin::answers::{LastChange, Reload};

pub(super) fn run(client: &AdminClient, out: &mut dyn Write) -> Result<Exit, Failure> {
    match client.reload_config()? {
        Reload::Applied { revision, changes } => {
            writeln!(out, "configuration {revision} is in force")?;
            for change in changes {
                writeln!(out, "  {change}")?;
            }
            Ok(Exit::Success)
        }
        Reload::Unchanged {
            revision,
            last_change,
        } => {
            writeln!(out, "configuration {revision} is in force already")?;
            if let Some(LastChange {
                ago_seconds,
                changes,
            }) = last_change
            {
                writeln!(
                    out,
                    "geofront noticed the last change {} ago:",
                    span(ago_seconds)
                )?;
                for change in changes {
                    writeln!(out, "  {change}")?;
                }
            }
            Ok(Exit::Success)
        }
        Reload::Refused { error } => Err(Failure::new(format!(
            "the configuration was refused; the previous one stays in force\n\n{}",
            error.trim_end()
        ))),
    }
}
