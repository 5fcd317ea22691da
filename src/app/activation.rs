//! Listening sockets that systemd opened and passed on (`LISTEN_FDS`, `geofront.socket`).
//!
//! They outlive the process: while no geofront runs, the kernel holds new connections, and the next
//! process accepts them. A socket belongs to the address of the configuration that it listens on.
//! Addresses without one are bound as usual.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// The passed sockets that no address has taken yet.
#[derive(Debug, Default)]
pub(super) struct PassedSockets(Vec<(SocketAddr, TcpListener)>);

impl PassedSockets {
    /// Takes over the sockets that the service manager passed to this process, if any.
    pub(super) fn from_environment() -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            if let Some(socket) = passed.take_tcp_listener(index)? {
                sockets.push((socket.local_addr()?, socket));
            }
        }
        Ok(Self(sockets))
    }

    /// True if a socket that listens on `address` was passed on.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.0.iter().any(|(passed, _)| *passed == address)
    }

    /// Takes the socket that listens on `address`, ready for use in a runtime.
    pub(super) fn take(&mut self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let Some(index) = self.0.iter().position(|(passed, _)| *passed == address) else {
            return Ok(None);
        };
        let (_, socket) = self.0.swap_remove(index);
        socket.set_nonblocking(true)?;
        Ok(Some(socket))
    }

    /// Warns about sockets that no address of the configuration has taken.
    pub(super) fn warn_of_the_rest(&self) {
        for (address, _) in &self.0 {
            tracing::warn!(%address, "the service manager passed a socket whose address is neither in `listen` nor `admin`: it is not served");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_taken_once_and_by_its_own_address_alone() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let other = SocketAddr::new(address.ip(), address.port() ^ 1);
        let mut passed = PassedSockets(vec![(address, socket)]);
        assert!(passed.take(other).unwrap().is_none());
        assert!(passed.take(address).unwrap().is_some());
        assert!(passed.take(address).unwrap().is_none());
    }
}
