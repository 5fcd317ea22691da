//! Listening sockets that systemd opened and passed on (`LISTEN_FDS`, `geofront.socket`).
//!
//! They outlive the process: while no geofront runs, the kernel holds new connections, and the next
//! process accepts them. A socket belongs to the address of the configuration that it listens on.
//! Addresses without one are bound as usual.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;

use crate::config::ListenAddress;

/// A socket that the service manager opened.
#[derive(Debug)]
enum PassedSocket {
    Inet(TcpListener),
    Unix(UnixListener),
}

/// The passed sockets that no address has taken yet.
#[derive(Debug, Default)]
pub(super) struct PassedSockets(Vec<(ListenAddress, PassedSocket)>);

impl PassedSockets {
    /// Takes over the sockets that the service manager passed to this process, if any.
    pub(super) fn from_environment() -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            // A socket of another kind stays in its place.
            if let Ok(Some(socket)) = passed.take_unix_listener(index) {
                let address = unix_address(&socket)?;
                sockets.push((address, PassedSocket::Unix(socket)));
            } else if let Some(socket) = passed.take_tcp_listener(index)? {
                let address = socket.local_addr()?;
                sockets.push((address.into(), PassedSocket::Inet(socket)));
            }
        }
        Ok(Self(sockets))
    }

    /// True if a socket that listens on `address` was passed on.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.position(&address.into()).is_some()
    }

    /// Takes the socket that listens on `address`, ready for use in a runtime.
    pub(super) fn take(&mut self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let Some(PassedSocket::Inet(socket)) = self.take_any(&address.into()) else {
            return Ok(None);
        };
        socket.set_nonblocking(true)?;
        Ok(Some(socket))
    }

    /// Takes the unix socket at `path`, ready for use in a runtime.
    pub(super) fn take_unix(&mut self, path: &Path) -> io::Result<Option<UnixListener>> {
        let address = ListenAddress::Unix(path.into());
        let Some(PassedSocket::Unix(socket)) = self.take_any(&address) else {
            return Ok(None);
        };
        socket.set_nonblocking(true)?;
        Ok(Some(socket))
    }

    fn take_any(&mut self, address: &ListenAddress) -> Option<PassedSocket> {
        let index = self.position(address)?;
        Some(self.0.swap_remove(index).1)
    }

    fn position(&self, address: &ListenAddress) -> Option<usize> {
        self.0.iter().position(|(passed, _)| passed == address)
    }

    /// Warns about sockets that no address of the configuration has taken.
    pub(super) fn warn_of_the_rest(&self) {
        for (address, _) in &self.0 {
            tracing::warn!(%address, "the service manager passed a socket whose address is neither in `listen` nor `admin` nor that of a listener: it is not served");
        }
    }
}

/// The address of a unix socket. One without a file has none that the configuration could name.
fn unix_address(socket: &UnixListener) -> io::Result<ListenAddress> {
    let address = socket.local_addr()?;
    let path = address.as_pathname().unwrap_or_else(|| Path::new(""));
    Ok(ListenAddress::Unix(path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_taken_once_and_by_its_own_address_alone() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let other = SocketAddr::new(address.ip(), address.port() ^ 1);
        let mut passed = PassedSockets(vec![(address.into(), PassedSocket::Inet(socket))]);
        assert!(passed.take(other).unwrap().is_none());
        assert!(passed.take(address).unwrap().is_some());
        assert!(passed.take(address).unwrap().is_none());
    }
}
