//! The thread that writes the lines.
//!
//! Requests append to one buffer under a lock held for the copy; the writer swaps it for an empty
//! one. A line that comes [`LINGER`] or more after the last write is written at once. Under load a
//! timer, not the requests, decides when: one wake-up for a batch of lines, and at most [`LINGER`]
//! until a line is on disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::{info, warn};

/// Lines that have not reached the writer: about ten thousand.
const MAX_PENDING: usize = 4 << 20;

/// The writer does not wait for its timer when this much is pending.
const HURRY: usize = MAX_PENDING / 4;

/// Minimum interval between two writes, during which a line waits for further lines.
const LINGER: Duration = Duration::from_millis(100);

/// Interval between checks whether a log file was moved away.
const ROTATION_CHECK: Duration = Duration::from_secs(1);

/// A stuck output delays the end of the process no longer.
pub(super) const FINISH: Duration = Duration::from_secs(2);

/// Buffers that a burst made larger than this are let go. What is written at full speed fits:
/// growing again for each batch would cost more than the lines do.
const KEPT_CAPACITY: usize = 2 * HURRY;

#[derive(Debug)]
pub(super) struct Writer {
    pending: Mutex<Pending>,
    /// Lines came, or the end.
    woken: Condvar,
    finished: Condvar,
    /// Lines that came while too many waited.
    overflowed: AtomicU64,
    /// Lines that the output did not take.
    lost: AtomicU64,
    /// Lines go to a file, which can be opened anew.
    is_file: bool,
    wants_reopening: AtomicBool,
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    is_closing: bool,
    is_finished: bool,
}

impl Writer {
    pub(super) fn start(sink: Sink) -> Arc<Self> {
        let writer = Self::idle(matches!(sink.output, Output::File { .. }));
        let thread = Arc::clone(&writer);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || thread.run(sink))
            .expect("the system has a thread left for us at the start");
        writer
    }

    fn idle(is_file: bool) -> Arc<Self> {
        Arc::new(Self {
            pending: Mutex::default(),
            woken: Condvar::new(),
            finished: Condvar::new(),
            overflowed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            is_file,
            wants_reopening: AtomicBool::new(false),
        })
    }

    /// Takes a line, or drops it when too many wait.
    pub(super) fn push(&self, line: &[u8]) {
        let mut pending = self.pending.lock();
        let before = pending.lines.len();
        let after = before + line.len();
        if after > MAX_PENDING {
            drop(pending);
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        pending.lines.extend_from_slice(line);
        drop(pending);
        if before == 0 || (before < HURRY && after >= HURRY) {
            self.woken.notify_one();
        }
    }

    /// Has the file opened anew before the next line; false if there is no file.
    pub(super) fn reopen(&self) -> bool {
        self.wants_reopening.store(self.is_file, Ordering::Relaxed);
        self.is_file
    }

    pub(super) fn dropped(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, but no longer than `limit`.
    pub(super) fn finish(&self, limit: Duration) {
        let mut pending = self.pending.lock();
        pending.is_closing = true;
        self.woken.notify_one();
        self.finished
            .wait_while_for(&mut pending, |pending| !pending.is_finished, limit);
    }

    fn run(&self, mut sink: Sink) {
        let mut lines = Vec::new();
        let mut overflow = Overflow::default();
        let mut taken = None;
        loop {
            let is_closing = self.take(&mut lines, taken);
            taken = Some(Instant::now());
            overflow.report(self.overflowed.load(Ordering::Relaxed));
            if self.wants_reopening.swap(false, Ordering::Relaxed) {
                sink.close();
            }
            self.lost.fetch_add(sink.write(&lines), Ordering::Relaxed);
            lines.clear();
            lines.shrink_to(KEPT_CAPACITY);
            if is_closing {
                break;
            }
        }
        self.pending.lock().is_finished = true;
        self.finished.notify_all();
    }

    /// Swaps `lines` for those that came, when it is time after those that were `taken` last; true
    /// when they are the last.
    fn take(&self, lines: &mut Vec<u8>, taken: Option<Instant>) -> bool {
        let mut pending = self.pending.lock();
        self.woken.wait_while(&mut pending, |pending| {
            pending.lines.is_empty() && !pending.is_closing
        });
        let since = taken.map_or(LINGER, |taken| taken.elapsed());
        self.woken.wait_while_for(
            &mut pending,
            |pending| pending.lines.len() < HURRY && !pending.is_closing,
            LINGER.saturating_sub(since),
        );
        std::mem::swap(&mut pending.lines, lines);
        pending.is_closing
    }
}

/// Reports each time that lines begin to be dropped, not each line.
#[derive(Default)]
struct Overflow {
    seen: u64,
    is_overflowing: bool,
}

impl Overflow {
    fn report(&mut self, overflowed: u64) {
        let began = overflowed > self.seen && !self.is_overflowing;
        if began {
            warn!(
                dropped = overflowed,
                "the access log is slower than the requests: lines are dropped"
            );
        }
        self.is_overflowing = overflowed > self.seen;
        self.seen = overflowed;
    }
}

/// Where lines end.
#[derive(Debug)]
pub(super) struct Sink {
    output: Output,
    /// The last write stopped within a line.
    is_torn: bool,
    is_failing: bool,
}

#[derive(Debug)]
enum Output {
    Stdout,
    File {
        path: PathBuf,
        file: Option<File>,
        checked: Option<Instant>,
        check_every: Duration,
    },
}

impl Output {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::File { path, .. } => Some(path),
        }
    }
}

impl Sink {
    pub(super) fn stdout() -> Self {
        Self {
            output: Output::Stdout,
            is_torn: false,
            is_failing: false,
        }
    }

    pub(super) fn file(path: PathBuf) -> Self {
        let output = Output::File {
            path,
            file: None,
            checked: None,
            check_every: ROTATION_CHECK,
        };
        Self {
            output,
            is_torn: false,
            is_failing: false,
        }
    }

    /// The next write opens the file anew.
    fn close(&mut self) {
        if let Output::File { file, .. } = &mut self.output {
            *file = None;
            self.is_torn = false;
        }
    }

    /// Writes as many lines as possible, and returns the number of the others.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        let (written, result) = self.try_write(lines);
        if written > 0 {
            self.is_torn = lines[written - 1] != b'\n';
        }
        match result {
            Ok(()) if self.is_failing => info!("the access log is written again"),
            Err(error) if !self.is_failing => {
                let file = self
                    .output
                    .path()
                    .map(Path::display)
                    .map(tracing::field::display);
                warn!(file, %error, "the access log cannot be written: lines are dropped")
            }
            Ok(()) | Err(_) => {}
        }
        self.is_failing = written < lines.len();
        lines[written..].iter().filter(|b| **b == b'\n').count() as u64
    }

    fn try_write(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        let mut stdout;
        let output: &mut dyn Write = match &mut self.output {
            Output::Stdout => {
                stdout = io::stdout().lock();
                &mut stdout
            }
            Output::File {
                path,
                file,
                checked,
                check_every,
            } => {
                if checked.is_none_or(|at| at.elapsed() >= *check_every) {
                    *checked = Some(Instant::now());
                    if file.as_ref().is_some_and(|file| !is_at(file, path)) {
                        *file = None;
                        self.is_torn = false;
                    }
                }
                match opened(file, path) {
                    Ok(file) => file,
                    Err(error) => return (0, Err(error)),
                }
            }
        };
        if self.is_torn {
            match output.write_all(b"\n") {
                Ok(()) => self.is_torn = false,
                Err(error) => return (0, Err(error)),
            }
        }
        write_all(output, lines)
    }
}

/// Like `Write::write_all`, but returns how far it came.
fn write_all(output: &mut dyn Write, lines: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < lines.len() {
        match output.write(&lines[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, output.flush())
}

fn opened<'a>(file: &'a mut Option<File>, path: &Path) -> io::Result<&'a mut File> {
    match file {
        Some(file) => Ok(file),
        None => Ok(file.insert(OpenOptions::new().create(true).append(true).open(path)?)),
    }
}

/// Whether `path` still names `file`: logrotate moves it away, and later lines would go to the
/// wrong file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        (_, Err(_)) | (Err(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(path: &Path) -> Sink {
        let mut sink = Sink::file(path.to_owned());
        if let Output::File { check_every, .. } = &mut sink.output {
            *check_every = Duration::ZERO;
        }
        sink
    }

    #[test]
    fn a_log_that_was_moved_away_or_deleted_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut sink = sink(&path);
        sink.write(b"one\n");
        std::fs::rename(&path, &old).unwrap();
        sink.write(b"two\n");
        std::fs::remove_file(&path).unwrap();
        sink.write(b"three\n");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_log_that_was_copied_and_emptied_goes_on_at_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut sink = sink(&path);
        sink.write(b"one\n");
        File::options()
            .write(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        sink.write(b"two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn a_directory_that_appears_later_is_used_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/log");
        let mut sink = sink(&path);
        assert_eq!(sink.write(b"one\ntwo\n"), 2);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        assert_eq!(sink.write(b"three\n"), 0);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_line_after_a_torn_one_starts_on_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut sink = sink(&path);
        sink.write(b"who");
        assert!(sink.is_torn);
        sink.write(b"le\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "who\nle\n");
    }

    #[test]
    fn lines_beyond_the_bound_are_dropped_and_counted() {
        let writer = Writer::idle(true);
        let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
        let fit = MAX_PENDING / line.len();
        (0..fit + 7).for_each(|_| writer.push(&line));
        assert_eq!(writer.dropped(), 7);
        assert_eq!(writer.pending.lock().lines.len(), fit * line.len());
    }

    #[test]
    fn a_line_after_a_pause_is_taken_at_once_and_the_next_ones_wait_for_each_other() {
        let writer = Writer::idle(true);
        let mut lines = Vec::new();
        writer.push(b"one\n");
        let long_ago = Instant::now().checked_sub(LINGER);
        let began = Instant::now();
        writer.take(&mut lines, long_ago);
        writer.push(b"two\n");
        writer.take(&mut lines, None);
        assert!(began.elapsed() < LINGER, "{:?}", began.elapsed());
        assert_eq!(lines, b"two\n");
        writer.push(b"three\n");
        let taken = Instant::now();
        writer.take(&mut lines, Some(taken));
        assert!(taken.elapsed() >= LINGER, "{:?}", taken.elapsed());
    }

    #[test]
    fn a_stuck_output_does_not_keep_the_process_from_ending() {
        let writer = Writer::idle(true);
        let limit = Duration::from_millis(50);
        let before = Instant::now();
        writer.finish(limit);
        assert!(before.elapsed() >= limit);
    }
}
