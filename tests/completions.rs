//! Shell completions and manual pages of the real binary, as the package generates them.

#[path = "cli/binary.rs"]
mod binary;

use std::process::Command;

use binary::{Files, geofront};

/// The commands that the help of `geofront` lists.
fn listed_commands() -> Vec<String> {
    let help = geofront(&["--help"]).out;
    let commands = help
        .split("Commands:\n")
        .nth(1)
        .expect("a list of commands");
    let lines = commands.lines().take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn completions_of_each_shell_offer_every_command_and_none_that_is_for_packages() {
    let commands = listed_commands();
    assert!(commands.len() >= 12, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let output = geofront(&["completions", shell]);
        assert_eq!((output.code, output.err.as_str()), (0, ""));
        for command in &commands {
            assert!(
                output.out.contains(command),
                "{shell} does not offer {command}"
            );
        }
        for option in ["token-file", "watch", "force", "replicas"] {
            assert!(
                output.out.contains(option),
                "{shell} does not offer --{option}"
            );
        }
        assert!(
            !output.out.contains("completions"),
            "{shell} offers a hidden command"
        );
    }
}

#[test]
fn bash_accepts_its_completions_and_completes_a_command() {
    let files = Files::new(&[("geofront", &geofront(&["completions", "bash"]).out)]);
    let script = format!(
        "source {} && COMP_WORDS=(geofront mainte) COMP_CWORD=1 && \
         _geofront geofront mainte geofront && echo \"${{COMPREPLY[@]}}\"",
        files.text("geofront")
    );
    let bash = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&bash.stdout).trim(),
        "maintenance",
        "{}",
        String::from_utf8_lossy(&bash.stderr)
    );
}

#[test]
fn each_command_and_the_configuration_have_a_manual_page() {
    let files = Files::new(&[]);
    let output = geofront(&["man", &files.text("")]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    let page = |name: &str| std::fs::read_to_string(files.path(name)).expect(name);
    for command in listed_commands() {
        let text = page(&format!("geofront-{command}.1"));
        assert!(
            text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"),
            "{text}"
        );
        assert!(
            page("geofront.1").contains(&command.replace('-', "\\-")),
            "{command}"
        );
    }
    assert!(page("geofront-drain.1").contains("Exit codes"));
    assert!(page("geofront-catalog-history.1").contains("rolls"));
    assert!(page("geofront.toml.5").contains("[upstreams."));
    assert!(
        !files.path("geofront-man.1").exists(),
        "a page of a hidden command"
    );
}

#[test]
fn a_manual_that_cannot_be_written_is_an_error() {
    let output = geofront(&["man", "/nonexistent"]);
    assert!(
        output.code == 1 && output.err.contains("/nonexistent"),
        "{} {}",
        output.code,
        output.err
    );
}
