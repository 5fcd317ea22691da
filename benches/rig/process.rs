//! A program under measurement: pinned to one core, its CPU time and memory read from the kernel,
//! killed when dropped.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A tick of `/proc/PID/stat`: `USER_HZ`, which is 100 on every Linux.
const TICK: Duration = Duration::from_millis(10);

pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Runs `program` on `core`, with its output in the file `log`.
    pub(crate) fn start(
        core: usize,
        program: &Path,
        arguments: &[&str],
        log: &Path,
    ) -> io::Result<Self> {
        let log = File::create(log)?;
        let child = Command::new("prlimit")
            .args([&most_files(), "taskset", "-c", &core.to_string()])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child })
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .map_or(true, |status| status.is_some())
    }

    /// Of all its threads, the ended ones too.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = self.read("stat");
        // The second field is the program's name in brackets, and may contain anything; utime and
        // stime are the 14th and 15th.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u32 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u32>().unwrap_or(0))
            .sum();
        TICK * ticks
    }

    /// Resident memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|value| value.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
            .expect("a child not waited for has its files in /proc")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// For `prlimit`: as many open files as this user may have. Thousands of clients need two each.
fn most_files() -> String {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let hard = files
        .and_then(|columns| columns.split_whitespace().nth(1))
        .unwrap_or("1024");
    format!("--nofile={hard}:{hard}")
}

/// Pins this process to `core`, and lets it have as many clients as its subjects.
pub(crate) fn pin_self(core: usize) -> io::Result<()> {
    let (pid, files) = (std::process::id().to_string(), most_files());
    for (program, arguments) in [
        (
            "taskset",
            ["-a", "-p", "-c", &core.to_string(), &pid].to_vec(),
        ),
        ("prlimit", vec!["--pid", &pid, &files]),
    ] {
        let status = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("{program}: {status}")));
        }
    }
    Ok(())
}
