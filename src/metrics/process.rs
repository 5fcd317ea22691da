//! The process as Linux accounts for it, under the names that every Prometheus client library uses.
//!
//! Each scrape reads three small files below `/proc`. A value that cannot be read has no sample.

use std::fs;

use prometheus::proto::MetricFamily;

use super::sample::{COUNTER, GAUGE, family, float_counter_sample, gauge_sample};

/// The unit of times in `/proc`: 100 per second on every architecture that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields of `/proc/self/stat` after the command name in brackets, counted from 0.
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;
const START_TIME: usize = 19;

/// The process metrics that can be read here.
pub(super) fn families() -> Vec<MetricFamily> {
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory of the process.",
            resident_bytes(),
        ),
        (
            "process_open_fds",
            "Open file descriptors of the process.",
            open_descriptors(),
        ),
        (
            "process_max_fds",
            "Limit of open file descriptors.",
            max_descriptors(),
        ),
        (
            "process_start_time_seconds",
            "Start of the process, in seconds since 1970.",
            start_time(),
        ),
    ];
    let mut families: Vec<MetricFamily> = gauges
        .into_iter()
        .filter_map(|(name, help, value)| {
            Some(family(name, help, GAUGE, [gauge_sample(&[], value?)]))
        })
        .collect();
    families.extend(cpu_seconds().map(|seconds| {
        family(
            "process_cpu_seconds_total",
            "CPU time of the process, user and system.",
            COUNTER,
            [float_counter_sample(&[], seconds)],
        )
    }));
    families
}

fn resident_bytes() -> Option<f64> {
    let kibibytes = number_after(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")?;
    Some(kibibytes * 1024.0)
}

/// The descriptor that lists the others is not counted.
fn open_descriptors() -> Option<f64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(listed.saturating_sub(1) as f64)
}

fn max_descriptors() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    number_after(&limits, "Max open files")
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Some((stat_field(&stat, USER_TIME)? + stat_field(&stat, SYSTEM_TIME)?) / TICKS_PER_SECOND)
}

fn start_time() -> Option<f64> {
    let boot = number_after(&fs::read_to_string("/proc/stat").ok()?, "btime")?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Some(boot + stat_field(&stat, START_TIME)? / TICKS_PER_SECOND)
}

/// The first number of the line that begins with `label`.
fn number_after(text: &str, label: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The command name may hold spaces and brackets, so fields are counted from its end.
fn stat_field(stat: &str, index: usize) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_end_of_a_command_name_with_spaces_and_brackets() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 4 0 12345 999";
        assert_eq!(stat_field(stat, USER_TIME), Some(250.0));
        assert_eq!(stat_field(stat, SYSTEM_TIME), Some(50.0));
        assert_eq!(stat_field(stat, START_TIME), Some(12345.0));
        assert_eq!(stat_field("7 (a", START_TIME), None);
    }

    #[test]
    fn an_unlimited_or_missing_value_has_no_number() {
        assert_eq!(
            number_after("Max open files  unlimited  x", "Max open files"),
            None
        );
        assert_eq!(number_after("VmSize: 5 kB", "VmRSS:"), None);
        assert_eq!(number_after("VmRSS:\t  5 kB", "VmRSS:"), Some(5.0));
    }

    #[test]
    fn this_process_is_measured() {
        let held: Vec<_> = (0..20).map(|_| fs::File::open("/proc/self/stat")).collect();
        let open = open_descriptors().expect("Linux lists descriptors");
        assert!(open >= held.len() as f64, "{open}");
        assert!(max_descriptors().is_some_and(|most| most >= open));
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1_000_000.0));
        let age = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map(|now| now.as_secs_f64() - start_time().unwrap_or(0.0));
        assert!(age.is_ok_and(|age| (-2.0..3600.0).contains(&age)));
        assert!(cpu_seconds().is_some_and(|seconds| seconds < 3600.0));
    }
}
