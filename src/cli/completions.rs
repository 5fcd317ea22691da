//! Completion scripts and manual pages, generated from the command line's own definition.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap::builder::StyledStr;

use super::args::{Arguments, Completions, Man};
use super::exit::{Exit, Failure};

/// Every key of the configuration, with its default and an explanation.
const EXAMPLE: &str = include_str!("../../config/example.toml");

/// Prints the script that completes `geofront` in a shell.
pub(super) fn completions(options: &Completions, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut public(), "geofront", &mut script);
    out.write_all(&script).map_err(Failure::new)?;
    Ok(Exit::Success)
}

/// Writes a page for `geofront`, for each of its commands, and for the configuration file.
pub(super) fn manual(options: &Man) -> Result<Exit, Failure> {
    let directory: &Path = &options.directory;
    let failed = |error| Failure::new(format!("{}: {error}", directory.display()));
    clap_mangen::generate_to(public(), directory).map_err(failed)?;
    let page = directory.join("geofront.toml.5");
    fs::write(page, configuration_page(EXAMPLE)).map_err(failed)?;
    Ok(Exit::Success)
}

/// The command line without the commands that only packages use.
fn public() -> clap::Command {
    let whole = Arguments::command();
    let shown: Vec<clap::Command> = whole
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .cloned()
        .collect();
    let bare = clap::Command::new("geofront")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .subcommands(shown);
    let text = |shown: Option<&StyledStr>| shown.cloned().unwrap_or_default();
    bare.about(text(whole.get_about()))
        .long_about(text(whole.get_long_about()))
        .after_long_help(text(whole.get_after_long_help()))
}

/// The example file as it is, in the format of manual pages.
fn configuration_page(example: &str) -> String {
    let mut page = format!(
        ".TH geofront.toml 5 \"\" \"geofront {version}\"\n\
         .SH NAME\ngeofront.toml \\- configuration of geofront\n\
         .SH DESCRIPTION\n\
         The file is TOML. Unknown keys are errors. An edit takes effect when the file is saved, or\n\
         is refused as a whole. \\fBgeofront check\\fR shows every problem. This is a file with every\n\
         key, its default and its meaning:\n.PP\n.nf\n",
        version = env!("CARGO_PKG_VERSION")
    );
    for line in example.lines() {
        let escaped = line.replace('\\', "\\e").replace('-', "\\-");
        // A line that begins with a dot or an apostrophe is a request of the format.
        let guard = if escaped.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        page.push_str(guard);
        page.push_str(&escaped);
        page.push('\n');
    }
    page.push_str(
        ".fi\n.SH FILES\n.TP\n/etc/geofront/geofront.toml\nThe default path.\n\
         .SH SEE ALSO\n\\fBgeofront\\fR(1), \\fBgeofront\\-check\\fR(1), /usr/share/doc/geofront/docs\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_example_are_no_requests_of_the_manual_format() {
        let page = configuration_page(".hidden\n'quoted'\na = \"b\\n\"\n# 1-2");
        for line in ["\\&.hidden", "\\&'quoted'", "a = \"b\\en\"", "# 1\\-2"] {
            assert!(
                page.lines().any(|shown| shown == line),
                "no {line} in {page}"
            );
        }
    }
}
