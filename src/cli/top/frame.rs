//! One frame of `geofront top`: the state in a sentence, the numbers of the last half minute, the
//! classes, the upstreams, and the last slow and failed requests.

use serde_json::Value;

use super::super::freshness::{self, first_line};
use super::super::log::line::LogLine;
use super::super::refused_reload::refused_reloads;
use super::super::status;
use super::super::table::{Side, aligned};
use super::screen::ERASE_LINE;
use crate::admin::answers::{
    ClassHistory, Health, History, Mode, Status, Upstream, UpstreamLately,
};

/// Width of the bar of requests in flight.
const BAR: usize = 12;

/// The contents of a frame.
#[derive(Debug)]
pub(super) struct TopReading {
    pub(super) status: Status,
    pub(super) history: History,
    /// The last slow and failed requests, oldest first.
    pub(super) requests: Vec<Value>,
}

/// The look of a line on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Heading => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Warning => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// The lines of a frame.
pub(super) struct Frame {
    /// Everything above the requests.
    lines: Vec<(Tone, String)>,
    requests: Vec<(Tone, String)>,
}

impl Frame {
    pub(super) fn new(reading: &TopReading, address: &str) -> Self {
        let TopReading {
            status, history, ..
        } = reading;
        let mut lines = vec![
            (state(status), status::headline(status, address)),
            (Tone::Plain, freshness::headline(status)),
            (Tone::Plain, numbers(status, history)),
        ];
        for condition in &status.conditions {
            lines.push((Tone::Warning, status::condition(condition)));
        }
        lines.extend(
            refused_reloads(status)
                .into_iter()
                .map(|line| (Tone::Warning, line)),
        );
        lines.push((Tone::Plain, String::new()));
        lines.extend(classes(status, history));
        lines.push((Tone::Plain, String::new()));
        lines.extend(upstreams(status, history));
        Self {
            lines,
            requests: requests(&reading.requests),
        }
    }

    /// The frame for a file or a pipe.
    pub(super) fn plain(&self, requests: usize) -> String {
        let mut text = String::new();
        for (_, line) in &self.lines {
            text = text + line.trim_end() + "\n";
        }
        if self.requests.len() > 1 {
            text.push('\n');
            for (_, line) in self.requests.iter().take(requests + 1) {
                text = text + line.trim_end() + "\n";
            }
        }
        text
    }

    /// The frame for a terminal of this size: each line cut, with its tone. The last row stays
    /// free.
    pub(super) fn drawn(&self, width: usize, height: usize) -> String {
        let blank = [(Tone::Plain, String::new())];
        let has_requests = self.requests.len() > 1;
        let rest =
            blank
                .iter()
                .chain(&self.requests)
                .take(if has_requests { usize::MAX } else { 0 });
        let mut text = String::new();
        for (tone, line) in self.lines.iter().chain(rest).take(height.saturating_sub(1)) {
            let line: String = line.chars().take(width).collect();
            let end = if *tone == Tone::Plain { "" } else { "\x1b[0m" };
            text = text + tone.code() + &line + end + ERASE_LINE + "\r\n";
        }
        text
    }
}

fn state(status: &Status) -> Tone {
    if !status.ready {
        Tone::Bad
    } else if status.conditions.is_empty()
        && status.upstreams.iter().all(|u| u.eligible)
        && refused_reloads(status).is_empty()
    {
        Tone::Good
    } else {
        Tone::Warning
    }
}

/// The numbers of the last half minute.
fn numbers(status: &Status, history: &History) -> String {
    let lately = &history.lately;
    let in_flight: u32 = status.upstreams.iter().map(|u| u.in_flight).sum();
    let limits: Option<u32> = status
        .upstreams
        .iter()
        .filter(|u| u.eligible)
        .map(|u| u.max_in_flight)
        .sum();
    let of = limits.map(|most| format!(" of {most}")).unwrap_or_default();
    format!(
        "requests {}/s, p50 {}, p95 {}, p99 {}; errors {}, refused {} in {:.0} s; in flight {in_flight}{of}; waiting {} of {}",
        amount(lately.rate),
        millis(lately.p50_ms),
        millis(lately.p95_ms),
        millis(lately.p99_ms),
        lately.errors,
        lately.refused,
        lately.seconds,
        status.queue.waiting,
        status.queue.most
    )
}

fn classes(status: &Status, history: &History) -> Vec<(Tone, String)> {
    let headings = [
        ("CLASS", Side::Left),
        ("REQ/S", Side::Right),
        ("P50", Side::Right),
        ("P95", Side::Right),
        ("P99", Side::Right),
        ("WAITING", Side::Right),
        ("USERS", Side::Right),
        ("LONGEST", Side::Right),
    ];
    let row = |class: &ClassHistory| {
        let waiting = status
            .queue
            .classes
            .iter()
            .find(|waiting| waiting.class == class.class);
        let of_waiting = |value: fn(&crate::admin::answers::ClassWaiting) -> String| {
            waiting.map(value).unwrap_or_default()
        };
        vec![
            class.class.clone(),
            amount(mean(&class.rate)),
            last(&class.latency.p50_ms),
            last(&class.latency.p95_ms),
            last(&class.latency.p99_ms),
            of_waiting(|waiting| waiting.waiting.to_string()),
            of_waiting(|waiting| waiting.users.to_string()),
            of_waiting(|waiting| millis(Some(waiting.longest_ms as f64))),
        ]
    };
    let mut shown: Vec<&ClassHistory> = history.classes.iter().collect();
    shown.sort_by(|a, b| mean(&b.rate).total_cmp(&mean(&a.rate)));
    let rows: Vec<Vec<String>> = shown.into_iter().map(row).collect();
    if rows.is_empty() {
        return vec![(
            Tone::Plain,
            "no requests in the last half minute".to_owned(),
        )];
    }
    titled(aligned(&headings, &rows), |_| Tone::Plain)
}

fn upstreams(status: &Status, history: &History) -> Vec<(Tone, String)> {
    let headings = [
        ("UPSTREAM", Side::Left),
        ("ROLE", Side::Left),
        ("HEALTH", Side::Left),
        ("MODE", Side::Left),
        ("CATALOG", Side::Left),
        ("LOAD", Side::Left),
        ("IN FLIGHT", Side::Right),
        ("REQ/S", Side::Right),
        ("P50", Side::Right),
        ("P95", Side::Right),
        ("ERRORS", Side::Right),
        ("LAST CAUSE", Side::Left),
    ];
    let row = |upstream: &Upstream| {
        let lately: Option<&UpstreamLately> = history
            .lately
            .upstreams
            .iter()
            .find(|other| other.upstream == upstream.name);
        vec![
            upstream.name.clone(),
            upstream.role.to_string(),
            status::health(upstream),
            upstream.mode.to_string(),
            freshness::word(upstream).to_owned(),
            bar(upstream),
            match upstream.max_in_flight {
                Some(most) => format!("{} of {most}", upstream.in_flight),
                None => upstream.in_flight.to_string(),
            },
            lately.map(|one| amount(one.rate)).unwrap_or_default(),
            millis(lately.and_then(|one| one.p50_ms)),
            millis(lately.and_then(|one| one.p95_ms)),
            lately.map(|one| one.errors.to_string()).unwrap_or_default(),
            upstream
                .last_cause
                .as_deref()
                .map(first_line)
                .unwrap_or_default()
                .to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = status.upstreams.iter().map(row).collect();
    titled(aligned(&headings, &rows), |at| {
        tone_of(&status.upstreams[at])
    })
}

fn tone_of(upstream: &Upstream) -> Tone {
    if upstream.mode == Mode::Maintenance {
        Tone::Plain
    } else if upstream.health == Health::Down {
        Tone::Bad
    } else if upstream.eligible {
        Tone::Plain
    } else {
        Tone::Warning
    }
}

/// Requests in flight of the limit; `#` for those that run, `.` for free slots.
fn bar(upstream: &Upstream) -> String {
    let Some(most) = upstream.max_in_flight.filter(|most| *most > 0) else {
        return String::new();
    };
    let share = f64::from(upstream.in_flight) / f64::from(most);
    let full = ((share * BAR as f64).ceil() as usize).min(BAR);
    format!("{}{}", "#".repeat(full), ".".repeat(BAR - full))
}

/// The last slow and failed requests, newest first.
fn requests(requests: &[Value]) -> Vec<(Tone, String)> {
    let headings = [
        ("SLOW OR FAILED", Side::Left),
        ("ID", Side::Left),
        ("CLASS", Side::Left),
        ("STATUS", Side::Right),
        ("TOOK", Side::Right),
        ("UPSTREAM", Side::Left),
        ("END", Side::Left),
        ("PATH", Side::Left),
    ];
    let lines: Vec<LogLine> = requests
        .iter()
        .rev()
        .filter_map(|request| LogLine::of_json(request.clone()))
        .collect();
    let row = |line: &LogLine| {
        let text = |key: &str| printable(line.text(key).unwrap_or("-"));
        let time = text("time");
        let clock = time.split('T').nth(1).unwrap_or(&time);
        vec![
            clock.split('.').next().unwrap_or(clock).to_owned(),
            text("id"),
            text("class"),
            text("status"),
            millis(line.millis("total_ms")),
            text("upstream"),
            text("end"),
            text("path"),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    titled(aligned(&headings, &rows), |at| {
        let is_failed = lines[at]
            .number("status")
            .is_none_or(|status| status >= 500);
        if is_failed { Tone::Bad } else { Tone::Warning }
    })
}

/// The API's JSON holds the client's own text, which must not control the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// A table with its heading, and a tone for each row.
fn titled(lines: Vec<String>, tone: impl Fn(usize) -> Tone) -> Vec<(Tone, String)> {
    let tone = |at: usize| match at {
        0 => Tone::Heading,
        at => tone(at - 1),
    };
    lines
        .into_iter()
        .enumerate()
        .map(|(at, line)| (tone(at), line))
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / values.len() as f64
}

/// The last measured value.
fn last(values: &[Option<f64>]) -> String {
    millis(values.iter().rev().find_map(|value| *value))
}

fn amount(number: f64) -> String {
    match number {
        number if number <= 0.0 => "0".to_owned(),
        number if number < 10.0 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{fresh, status};
    use super::*;
    use crate::admin::answers::{ClassWaiting, Lately, LatencyHistory};

    fn reading() -> TopReading {
        let mut status = status(vec![fresh("a"), fresh("b")]);
        status.queue.classes = vec![ClassWaiting {
            class: "map".to_owned(),
            waiting: 3,
            users: 2,
            longest_ms: 1400,
        }];
        status.queue.waiting = 3;
        let class = |name: &str, rate: f64| ClassHistory {
            class: name.to_owned(),
            rate: vec![rate, rate],
            latency: LatencyHistory {
                p50_ms: vec![Some(40.0), None],
                p95_ms: vec![Some(90.0), Some(95.0)],
                p99_ms: vec![None, None],
            },
        };
        let history = History {
            classes: vec![class("map", 2.0), class("tile", 30.0)],
            lately: Lately {
                seconds: 30.0,
                rate: 32.0,
                p50_ms: Some(12.0),
                p95_ms: Some(1400.0),
                errors: 1,
                ..Lately::default()
            },
            ..History::default()
        };
        let request = serde_json::json!({
            "time": "2026-03-01T09:12:03.353Z", "id": "4f2a", "class": "map", "status": 503, "total_ms": 1.5,
            "upstream": null, "end": "refused:queue-full", "path": "/geoserver/wms\u{1b}[31m",
        });
        TopReading {
            status,
            history,
            requests: vec![request],
        }
    }

    #[test]
    fn a_piped_frame_has_everything_and_no_control_characters() {
        let frame = Frame::new(&reading(), "127.0.0.1:9090").plain(20);
        assert!(!frame.contains('\x1b'), "{frame}");
        for part in [
            "serving, configuration 3",
            "requests 32/s, p50 12 ms, p95 1.4 s, p99 -; errors 1, refused 0 in 30 s",
            "waiting 3 of",
            "map      2.0",
            "1.4 s",
            "09:12:03",
            "refused:queue-full",
            "/geoserver/wms?[31m",
        ] {
            assert!(frame.contains(part), "`{part}` is not in:\n{frame}");
        }
        let (tile, map) = (frame.find("\ntile"), frame.find("\nmap"));
        assert!(tile < map, "the busiest class comes first:\n{frame}");
    }

    #[test]
    fn a_drawn_frame_fits_the_terminal() {
        let frame = Frame::new(&reading(), "127.0.0.1:9090").drawn(40, 8);
        let lines: Vec<&str> = frame.lines().collect();
        assert_eq!(lines.len(), 7);
        for line in lines {
            let mut visible = line.replace(ERASE_LINE, "");
            for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
                visible = visible.replace(code, "");
            }
            assert!(
                visible.chars().count() <= 40 && !visible.contains('\x1b'),
                "{visible:?}"
            );
        }
    }

    #[test]
    fn the_bar_shows_the_used_part_of_the_limit() {
        let with = |in_flight, most| {
            let mut upstream = fresh("a");
            (upstream.in_flight, upstream.max_in_flight) = (in_flight, most);
            bar(&upstream)
        };
        assert_eq!(with(0, Some(10)), "............");
        assert_eq!(with(1, Some(100)), "#...........");
        assert_eq!(with(5, Some(10)), "######......");
        assert_eq!(with(20, Some(10)), "############");
        assert_eq!(with(20, None), "");
    }
}
