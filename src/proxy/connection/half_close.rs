//! A client that has closed its side of the connection while its answer is under way.
//!
//! The client may be waiting for the answer, or it may have gone: TCP shows the same for both. The
//! two differ when something is sent: the host of a client that has gone answers with a reset. So a
//! client of HTTP/1.1 gets an interim answer (`100 Continue`), which every client must ignore that
//! does not wait for one (RFC 9110 section 15.2.1), and then its connection is looked at now and
//! then. HTTP/1.0 has no interim answers. A client of HTTP/1.0 counts as gone, as nginx and HAProxy
//! treat all clients.
//!
//! A unix socket shows the difference at once.

use std::os::fd::RawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, send};
use pingora::protocols::l4::ext::get_tcp_info;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes to which the host of a client that has gone answers with a reset.
pub(super) const PROBE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Interval at which the connection is checked: first, and later.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The state of a socket that was reset (`TCP_CLOSE` of the kernel).
const CLOSED: u8 = 7;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct HalfClose {
    pause: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl HalfClose {
    /// The client has just closed its side.
    pub(super) fn new() -> Self {
        Self {
            pause: FIRST_LOOK,
            sleep: Box::pin(sleep(FIRST_LOOK)),
        }
    }

    /// Ready when the client has gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>, fd: RawFd) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if has_gone(fd) {
                return Poll::Ready(());
            }
            self.pause = (self.pause * 2).min(MAX_PAUSE);
            self.sleep.as_mut().reset(Instant::now() + self.pause);
        }
    }
}

fn has_gone(fd: RawFd) -> bool {
    match get_tcp_info(fd) {
        Ok(info) => info.tcpi_state == CLOSED,
        // A unix socket: writing nothing fails if the other end is closed, and not if it only sends
        // no more. A TCP connection without a state is none any more, and fails too.
        Err(_) => send(fd, &[], MsgFlags::MSG_NOSIGNAL).is_err(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_unix_socket_shows_whether_its_client_has_gone_or_waits() {
        let (client, ours) = UnixStream::pair().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(!has_gone(ours.as_raw_fd()));
        drop(client);
        assert!(has_gone(ours.as_raw_fd()));
        assert!(has_gone(-1));
    }
}
