//! The table, and what it was measured with.

use std::time::Duration;

use crate::rig::machine;
use crate::{BODY, CLIENTS, IDLE_CLIENTS, REQUESTS, ROUNDS};

/// One contender's numbers.
pub(crate) struct Row {
    pub(crate) name: String,
    /// For a request, round by round.
    pub(crate) cpu: Vec<Duration>,
    /// KiB, with no client.
    pub(crate) idle: u64,
    /// KiB for each idle client.
    pub(crate) per_client: f64,
}

pub(crate) fn print(rows: &[Row]) {
    machine::print();
    println!(
        "load      {CLIENTS} clients on kept-alive connections, {} KiB answers, access log on",
        BODY / 1024
    );
    println!("rounds    {ROUNDS} of {REQUESTS} requests for each, interleaved; medians\n");
    println!(
        "{:<26}{:>14}{:>12}{:>12}{:>18}",
        "", "CPU/request", "x HAProxy", "idle RSS", "each idle client"
    );
    for row in rows {
        let cpu = median(row.cpu.iter().map(Duration::as_secs_f64));
        let ratio = median(
            row.cpu
                .iter()
                .zip(&rows[0].cpu)
                .map(|(own, first)| own.as_secs_f64() / first.as_secs_f64()),
        );
        let (name, idle, per_client) = (&row.name, row.idle as f64 / 1024.0, row.per_client);
        println!(
            "{name:<26}{:>11.1} us{ratio:>12.2}{idle:>9.1} MB{per_client:>15.1} KB",
            cpu * 1e6
        );
    }
    println!("\nIdle clients: {IDLE_CLIENTS}, each after one request.");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
