//! The terminal: a screen of its own, keys without Enter, and everything as before at the end.

use std::io::{IsTerminal, Read, Write};
use std::sync::mpsc::{self, Receiver, Sender};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use super::super::exit::Failure;

/// Switches to the other screen and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";

/// Shows the cursor and switches back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Moves to the upper left corner.
const HOME: &str = "\x1b[H";

/// Erases the rest of a line.
pub(super) const ERASE_LINE: &str = "\x1b[K";

/// Erases everything below.
const ERASE_BELOW: &str = "\x1b[J";

/// The size of a terminal that does not report its own.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// The order of a key or a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TerminalKey {
    Quit,
    Hold,
    Other,
}

/// The terminal while frames are drawn on it.
pub(super) struct TerminalScreen {
    keys: Receiver<TerminalKey>,
    /// The settings of the keyboard as they were; `None` if standard input is no terminal.
    before: Option<Termios>,
}

impl TerminalScreen {
    /// Takes the terminal over.
    pub(super) fn enter(out: &mut dyn Write) -> Result<Self, Failure> {
        let (sender, keys) = mpsc::channel();
        listen_for_signals(sender.clone())?;
        let before = std::io::stdin()
            .is_terminal()
            .then(|| tcgetattr(std::io::stdin()).ok())
            .flatten();
        if let Some(before) = &before {
            let mut raw = before.clone();
            cfmakeraw(&mut raw);
            tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)
                .map_err(|error| Failure::new(format!("cannot set the terminal up: {error}")))?;
            std::thread::spawn(move || read_keys(&sender));
        }
        let screen = Self { keys, before };
        out.write_all(ENTER.as_bytes())?;
        Ok(screen)
    }

    pub(super) fn keys(&self) -> &Receiver<TerminalKey> {
        &self.keys
    }

    /// Draws a frame whose lines end in [`ERASE_LINE`] and CR LF.
    pub(super) fn draw(
        &self,
        frame: &str,
        is_held: bool,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let note = if is_held {
            "held: the space bar goes on"
        } else {
            ""
        };
        write!(out, "{HOME}{frame}{ERASE_BELOW}{note}")?;
        Ok(out.flush()?)
    }

    /// Gives the terminal back.
    pub(super) fn leave(self, out: &mut dyn Write) -> Result<(), Failure> {
        drop(self);
        out.write_all(LEAVE.as_bytes())?;
        Ok(out.flush()?)
    }
}

/// The keyboard is as before, whatever ends the frames.
impl Drop for TerminalScreen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs no settings.
            tcsetattr(std::io::stdin(), SetArg::TCSANOW, before).ok();
        }
    }
}

/// Columns and rows.
pub(super) fn size() -> (usize, usize) {
    terminal_size::terminal_size().map_or(USUAL_SIZE, |(width, height)| {
        (usize::from(width.0.max(20)), usize::from(height.0.max(5)))
    })
}

/// A text on the screen, cut to its size.
pub(super) fn fitted(text: &str, width: usize, height: usize) -> String {
    text.lines()
        .take(height.saturating_sub(1))
        .map(|line| {
            let line: String = line.chars().take(width).collect();
            format!("{line}{ERASE_LINE}\r\n")
        })
        .collect()
}

fn read_keys(sender: &Sender<TerminalKey>) {
    let mut bytes = [0; 16];
    let mut input = std::io::stdin();
    while let Ok(read) = input.read(&mut bytes) {
        if read == 0 || sender.send(key(&bytes[..read])).is_err() {
            return;
        }
    }
}

/// Bytes that arrive together are one key: arrows begin with the byte of Esc.
fn key(bytes: &[u8]) -> TerminalKey {
    match bytes {
        b"q" | b"Q" | b"\x1b" | b"\x03" | b"\x04" => TerminalKey::Quit,
        b" " => TerminalKey::Hold,
        _ => TerminalKey::Other,
    }
}

/// Signals end the frames like a key, so that the terminal is given back.
fn listen_for_signals(sender: Sender<TerminalKey>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let kinds = [
                SignalKind::interrupt(),
                SignalKind::terminate(),
                SignalKind::hangup(),
            ];
            let Ok([mut interrupt, mut terminate, mut hangup]) = listened(kinds) else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            // The receiver is gone if the frames have ended already.
            sender.send(TerminalKey::Quit).ok();
        });
    });
    Ok(())
}

fn listened(kinds: [SignalKind; 3]) -> std::io::Result<[tokio::signal::unix::Signal; 3]> {
    let [first, second, third] = kinds;
    Ok([signal(first)?, signal(second)?, signal(third)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esc_ends_and_an_arrow_does_not() {
        for (bytes, expected) in [
            (&b"q"[..], TerminalKey::Quit),
            (b"\x1b", TerminalKey::Quit),
            (b"\x03", TerminalKey::Quit),
            (b"\x1b[A", TerminalKey::Other),
            (b" ", TerminalKey::Hold),
            (b"x", TerminalKey::Other),
        ] {
            assert_eq!(key(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_text_is_cut_to_the_screen() {
        let shown = fitted("abcdef\nb\nc\nd", 3, 3);
        assert_eq!(shown, format!("abc{ERASE_LINE}\r\nb{ERASE_LINE}\r\n"));
    }
}
