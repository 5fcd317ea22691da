//! What a number was measured on: the head of every report.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::place::find;

/// Machine, commit and versions, a line each.
pub(crate) fn print() {
    println!("\nmachine   {}", machine());
    println!(
        "commit    {}",
        said("git", &["describe", "--always", "--dirty"])
    );
    println!(
        "versions  {}; {}",
        said("haproxy", &["-v"]),
        said("nginx", &["-v"])
    );
}

fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cores = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    format!("{model}, {cores} cores, Linux {}", said("uname", &["-r"]))
}

/// The first line that `program` prints.
fn said(program: &str, arguments: &[&str]) -> String {
    let program = find(program).unwrap_or_else(|_| program.into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output();
    let text = output
        .map(|output| [output.stdout, output.stderr].concat())
        .unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .unwrap_or("unknown")
        .trim()
        .to_owned()
}
