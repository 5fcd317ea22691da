//! The table, and what it was measured with.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::contenders::find;
use crate::{BODY, CLIENTS, IDLE_CLIENTS, REQUESTS, ROUNDS};

/// One contender's numbers.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// For a request, round by round.
    pub(crate) cpu: Vec<Duration>,
    /// KiB, with no client.
    pub(crate) idle: u64,
    /// KiB for each idle client.
    pub(crate) per_client: f64,
}

pub(crate) fn print(rows: &[Row]) {
    println!("\nmachine   {}", machine());
    println!("commit    {}", said("git", &["describe", "--always", "--dirty"]));
    println!("versions  {}; {}", said("haproxy", &["-v"]), said("nginx", &["-v"]));
    println!("load      {CLIENTS} clients on kept-alive connections, {} KiB answers, access log on", BODY / 1024);
    println!("rounds    {ROUNDS} of {REQUESTS} requests for each, interleaved; medians\n");
    println!("{:<26}{:>14}{:>12}{:>12}{:>18}", "", "CPU/request", "x HAProxy", "idle RSS", "each idle client");
    for row in rows {
        let cpu = median(row.cpu.iter().map(Duration::as_secs_f64));
        let ratio = median(row.cpu.iter().zip(&rows[0].cpu).map(|(own, first)| own.as_secs_f64() / first.as_secs_f64()));
        let (name, idle, per_client) = (row.name, row.idle as f64 / 1024.0, row.per_client);
        println!("{name:<26}{:>11.1} us{ratio:>12.2}{idle:>9.1} MB{per_client:>15.1} KB", cpu * 1e6);
    }
    println!("\nIdle clients: {IDLE_CLIENTS}, each after one request.");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    format!("{model}, {cores} cores, Linux {}", said("uname", &["-r"]))
}

/// The first line that `program` prints.
fn said(program: &str, arguments: &[&str]) -> String {
    let program = find(program).unwrap_or_else(|_| program.into());
    let output = Command::new(program).args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
}
