//! `geofront top`: the cluster live on a terminal.
//!
//! Everything comes from the admin API, once a second. A terminal gets a screen of its own, which
//! is left as it was; a pipe gets one frame. `q`, Esc and Ctrl-C end it, the space bar holds it.

mod frame;
mod screen;

use std::io::{IsTerminal, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::args;
use super::client::AdminClient;
use super::exit::{Exit, Failure};
use super::status::judge;
use crate::admin::answers::{History, Requests, Status};
use frame::{Frame, TopReading};
use screen::{TerminalKey, TerminalScreen};

/// Interval between two frames.
const REFRESH: Duration = Duration::from_secs(1);

/// Samples of the history that a frame needs: those of the last half minute.
const SAMPLES: u64 = 15;

/// Slow and failed requests that are kept for the frame.
const MAX_REQUESTS: usize = 100;

/// Requests shown where there is no screen to fill.
const PIPED_REQUESTS: usize = 20;

pub(super) fn run(
    _options: &args::Top,
    client: &AdminClient,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut source = ReadingSource::new(client);
    if !std::io::stdout().is_terminal() {
        let reading = source
            .read()
            .map_err(|failure| failure.exit(Exit::Critical))?;
        let frame = Frame::new(&reading, client.address());
        write!(out, "{}", frame.plain(PIPED_REQUESTS))?;
        return Ok(judge(&reading.status));
    }
    let screen = TerminalScreen::enter(out)?;
    let ended = live(&mut source, client.address(), &screen, out);
    screen.leave(out)?;
    ended
}

/// Draws frames until a key ends it. An error is shown and does not end it: geofront may be
/// restarting.
fn live(
    source: &mut ReadingSource<'_>,
    address: &str,
    screen: &TerminalScreen,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut is_held = false;
    let mut shown = String::new();
    loop {
        let began = Instant::now();
        if !is_held {
            let (width, height) = screen::size();
            shown = match source.read() {
                Ok(reading) => Frame::new(&reading, address).drawn(width, height),
                Err(failure) => screen::fitted(&format!("{failure}"), width, height),
            };
        }
        screen.draw(&shown, is_held, out)?;
        match screen
            .keys()
            .recv_timeout(REFRESH.saturating_sub(began.elapsed()))
        {
            Ok(TerminalKey::Quit) | Err(RecvTimeoutError::Disconnected) => {
                return Ok(Exit::Success);
            }
            Ok(TerminalKey::Hold) => is_held = !is_held,
            Ok(TerminalKey::Other) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Reads the contents of a frame, of the history and the requests only the new ones.
struct ReadingSource<'c> {
    client: &'c AdminClient,
    history: u64,
    requests: Requests,
}

impl<'c> ReadingSource<'c> {
    fn new(client: &'c AdminClient) -> Self {
        Self {
            client,
            history: 0,
            requests: Requests::default(),
        }
    }

    fn read(&mut self) -> Result<TopReading, Failure> {
        let status: Status = self.client.status()?;
        let after = self.history.saturating_sub(SAMPLES);
        let history: History = self.client.history(after)?;
        self.history = history.sequence;
        let new = self.client.requests(self.requests.sequence)?;
        if new.sequence < self.requests.sequence {
            // Another geofront answers there: its numbers begin anew.
            self.requests = Requests::default();
        }
        self.requests.sequence = new.sequence;
        self.requests.left_out = new.left_out;
        self.requests.requests.extend(new.requests);
        let surplus = self.requests.requests.len().saturating_sub(MAX_REQUESTS);
        self.requests.requests.drain(..surplus);
        Ok(TopReading {
            status,
            history,
            requests: self.requests.requests.clone(),
        })
    }
}
