//! `geofront reload`: reloads the configuration from disk.

use std::io::Write;

use super::client::AdminClient;
use super::exit::{Exit, Failure};
use crate::admin::answers::Reload;

pub(super) fn run(client: &AdminClient, out: &mut dyn Write) -> Result<Exit, Failure> {
    match client.reload_config()? {
        Reload::Applied { revision, changes } => {
            writeln!(out, "configuration {revision} is in force")?;
            for change in changes {
                writeln!(out, "  {change}")?;
            }
            Ok(Exit::Success)
        }
        Reload::Unchanged { revision } => {
            writeln!(
                out,
                "nothing to change: configuration {revision} is the same"
            )?;
            Ok(Exit::Success)
        }
        Reload::Refused { error } => Err(Failure::new(format!(
            "the configuration was refused; the previous one stays in force\n\n{}",
            error.trim_end()
        ))),
    }
}
