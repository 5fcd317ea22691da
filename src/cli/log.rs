//! `geofront log --why ID`: finds a request in the access log and explains its line in sentences.
//!
//! The line comes from a file or standard input, from the file that the configuration names, or
//! from the running geofront, which keeps the last slow and failed requests.

pub(super) mod line;
mod sentences;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args;
use super::client::AdminClient;
use super::endpoint;
use super::exit::{Exit, Failure};
use super::load_config;
use crate::config::AccessLogDestination;
use line::LogLine;

/// Longer lines are no lines of the access log: its longest fields are cut.
const MAX_LINE: u64 = 64 << 10;

/// Time after which every line is in the file, while geofront writes many.
const WRITTEN_AFTER: Duration = Duration::from_millis(150);

/// Lines that are shown if an id is not unique.
const MAX_SHOWN: usize = 5;

/// The lines of a request, and of those that shared its answer.
#[derive(Debug, Default)]
struct FoundLines {
    /// The last ones with the id, oldest first.
    own: Vec<LogLine>,
    /// Number of lines with the id.
    count: u64,
    /// Number of requests that shared its answer.
    sharers: u64,
}

impl FoundLines {
    fn take(&mut self, line: LogLine, id: &str) {
        if line.text("coalesced") == Some(id) {
            self.sharers += 1;
        }
        if line.text("id") == Some(id) {
            self.count += 1;
            if self.own.len() == MAX_SHOWN {
                self.own.remove(0);
            }
            self.own.push(line);
        }
    }
}

pub(super) fn run(options: &args::Log, out: &mut dyn Write) -> Result<Exit, Failure> {
    let id = options.why.trim();
    if id.is_empty() {
        return Err(Failure::usage("--why needs the id of a request").help(
            "it stands in the answer's header X-Request-Id, and as `id=` in the access log",
        ));
    }
    let (found, place) = match options.file.clone().or_else(|| log_file(options)) {
        Some(file) if file == Path::new("-") => {
            let found = search(io::stdin().lock(), id)
                .map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
            (found, "standard input".to_owned())
        }
        Some(file) => {
            let read = || {
                open(&file)
                    .and_then(|file| search(file, id))
                    .map_err(|error| unreadable(&file, &error))
            };
            let mut found = read()?;
            if found.own.is_empty() && options.file.is_none() {
                // The running geofront may be about to write it.
                std::thread::sleep(WRITTEN_AFTER);
                found = read()?;
            }
            (found, file.display().to_string())
        }
        None => {
            let client = AdminClient::new(endpoint::find(&options.endpoint)?);
            (
                kept_by(&client, id)?,
                format!("geofront on {}", client.address()),
            )
        }
    };
    if found.own.is_empty() {
        return Err(not_found(id, &place, options.file.is_none()));
    }
    let earlier = found.count - found.own.len() as u64;
    if found.count > 1 {
        writeln!(
            out,
            "{} lines of {place} have this id, which a trusted proxy may send again.{}\n",
            found.count,
            if earlier > 0 {
                format!(" The last {MAX_SHOWN} are shown.")
            } else {
                String::new()
            }
        )?;
    }
    for (at, line) in found.own.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        for sentence in sentences::sentences(line, found.sharers) {
            writeln!(out, "{sentence}")?;
        }
    }
    Ok(Exit::Success)
}

/// The file of the access log, if the configuration can be read and names one. While it has a
/// mistake, the running geofront is queried.
fn log_file(options: &args::Log) -> Option<PathBuf> {
    let path = match &options.endpoint.config {
        Some(path) => path,
        None if options.endpoint.admin.is_some() => return None,
        None => Path::new(args::DEFAULT_CONFIG),
    };
    match load_config(path).ok()?.config.log.access {
        AccessLogDestination::File(path) => Some(path),
        AccessLogDestination::Stdout | AccessLogDestination::Off => None,
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("cannot read {}: {error}", file.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            failure.help("the access log is readable for geofront's user: try sudo")
        }
        _ => failure,
    }
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    File::open(path).map(BufReader::new)
}

/// The lines of `log` that concern the request.
fn search(mut log: impl BufRead, id: &str) -> io::Result<FoundLines> {
    let mut found = FoundLines::default();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = log.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(found);
        }
        // Nearly all lines are of other requests.
        let mentions = bytes
            .windows(id.len().max(1))
            .any(|window| window == id.as_bytes());
        if mentions && let Some(line) = LogLine::parse(&String::from_utf8_lossy(&bytes)) {
            found.take(line, id);
        }
    }
}

/// The lines among the slow and failed requests that the running geofront keeps.
fn kept_by(client: &AdminClient, id: &str) -> Result<FoundLines, Failure> {
    let mut found = FoundLines::default();
    for request in client.requests(0)?.requests {
        if let Some(line) = LogLine::of_json(request) {
            found.take(line, id);
        }
    }
    Ok(found)
}

fn not_found(id: &str, place: &str, is_default: bool) -> Failure {
    let failure = Failure::new(format!("no request `{id}` is in {place}"));
    if is_default && place.starts_with("geofront on") {
        return failure.help(
            "it keeps the last slow and failed requests only. The access log has all: \
             journalctl -u geofront -o cat | geofront log --why ID -",
        );
    }
    failure.help(
        "the id stands in the answer's header X-Request-Id; for a rotated file: zcat FILE.gz | geofront log --why ID -",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
        time=2026-03-01T09:12:03.353Z id=a1 client=192.0.2.7 peer=192.0.2.7 method=GET path=/a status=200 class=map end=ok user=-\n\
        not a line with a1\n\
        Mar 01 09:12:03 host geofront[7]: time=2026-03-01T09:12:04.000Z id=b2 path=\"/a b\" coalesced=a1 class=map end=ok user=-\n\
        {\"time\":\"2026-03-01T09:12:05.000Z\",\"id\":\"c3\",\"status\":503,\"class\":\"map\",\"end\":\"refused:queue-full\"}\n\
        time=2026-03-01T09:13:00.000Z id=a11 coalesced=- class=map end=ok user=-\n";

    #[test]
    fn a_request_is_found_in_both_formats_and_after_a_prefix() {
        for (id, count, sharers) in [("a1", 1, 1), ("b2", 1, 0), ("c3", 1, 0), ("a", 0, 0)] {
            let found = search(LOG.as_bytes(), id).unwrap();
            assert_eq!((found.count, found.sharers), (count, sharers), "{id}");
        }
    }

    #[test]
    fn the_last_lines_of_an_id_that_is_not_unique_are_kept() {
        let line = "time=2026-03-01T09:12:03.353Z id=x class=map end=ok\n";
        let found = search(line.repeat(9).as_bytes(), "x").unwrap();
        assert_eq!((found.count, found.own.len()), (9, MAX_SHOWN));
    }

    #[test]
    fn a_line_without_end_is_read_in_bounded_parts() {
        let mut log = vec![b'x'; 300 << 10];
        log.extend_from_slice(b"\ntime=2026-03-01T09:12:03.353Z id=x class=map end=ok\n");
        assert_eq!(search(log.as_slice(), "x").unwrap().count, 1);
    }
}
