//! The listening sockets. geofront binds them itself, so that a port in use is reported by name,
//! and the port that the kernel chose for 0 is known.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::protocols::TcpKeepalive;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::{Fds, ListenFds};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

use super::StartError;
use super::activation::PassedSockets;
use crate::config::ListenAddress;

/// Connections that the kernel holds while all workers are busy; limited by `somaxconn`.
pub(super) const BACKLOG: u32 = 65_535;

/// The sockets on which Pingora serves.
pub(super) struct Sockets {
    pub(super) addresses: Vec<SocketAddr>,
    /// Pingora's table of inherited sockets, by name.
    pub(super) table: ListenFds,
    names: Vec<String>,
}

/// Binds all of them, or none. `all` are the addresses of the whole process.
pub(super) fn bind(
    addresses: &[SocketAddr],
    all: &[SocketAddr],
    passed: &mut PassedSockets,
) -> Result<Sockets, StartError> {
    let mut fds = Fds::new();
    let mut sockets = Sockets {
        addresses: Vec::new(),
        table: Arc::new(Mutex::new(Fds::new())),
        names: Vec::new(),
    };
    let bound: Vec<TcpListener> = addresses
        .iter()
        .map(|&address| listen(address, all, passed))
        .collect::<Result<_, _>>()?;
    for (listener, &wanted) in bound.into_iter().zip(addresses) {
        let name_error = |error| StartError::Listen {
            address: wanted.into(),
            error,
        };
        let address = listener.local_addr().map_err(name_error)?;
        let socket = listener.into_std().map_err(name_error)?;
        fds.add(address.to_string(), socket.into_raw_fd());
        sockets.addresses.push(address);
        sockets.names.push(address.to_string());
    }
    *sockets.table.lock() = fds;
    Ok(sockets)
}

/// Binds the address of the admin endpoint. The last value is true if its socket was passed on.
pub(super) fn bind_admin(
    address: SocketAddr,
    all: &[SocketAddr],
    passed: &mut PassedSockets,
) -> Result<(TcpListener, SocketAddr, bool), StartError> {
    let is_passed = passed.has(address);
    let listener = listen(address, all, passed)?;
    let bound = listener.local_addr().map_err(|error| StartError::Listen {
        address: address.into(),
        error,
    })?;
    Ok((listener, bound, is_passed))
}

/// The remedy for the usual reasons, to follow the error. The errors of unix sockets name theirs.
pub(super) fn remedy(address: &ListenAddress, error: &io::Error) -> &'static str {
    match error.kind() {
        _ if matches!(address, ListenAddress::Unix(_)) => "",
        io::ErrorKind::AddrInUse => "; `ss -ltnp` shows the process that has the port",
        io::ErrorKind::AddrNotAvailable => "; `ip address` shows the addresses of this machine",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 are for root and services with CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}

/// A socket that was passed on, or else a new one.
fn listen(
    address: SocketAddr,
    all: &[SocketAddr],
    passed: &mut PassedSockets,
) -> Result<TcpListener, StartError> {
    let mut listen = || {
        if let Some(socket) = passed.take(address)? {
            return TcpListener::from_std(socket);
        }
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        if leaves_ipv4_to_another(address, all) {
            SockRef::from(&socket).set_only_v6(true)?;
        }
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| StartError::Listen {
        address: address.into(),
        error,
    })
}

/// True for `[::]` beside 0.0.0.0 with the same port. Alone, `[::]` serves clients of IPv4 too.
fn leaves_ipv4_to_another(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let every_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let is_every_ipv6 = address.is_ipv6() && address.ip().is_unspecified();
    is_every_ipv6 && address.port() != 0 && all.contains(&every_ipv4)
}

impl Sockets {
    /// The same sockets in Pingora's description, in the same order.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = ListenerConfig> {
        self.names.iter().map(|name| {
            let mut options = TcpSocketOptions::default();
            // Detects clients that vanished without closing, which no write would reveal.
            options.tcp_keepalive = Some(TcpKeepalive {
                idle: Duration::from_secs(60),
                interval: Duration::from_secs(10),
                count: 3,
                user_timeout: Duration::from_secs(90),
            });
            ListenerConfig::tcp(name.as_str())
                .tcp_socket_options(options)
                // No buffers: every connection would have them, idle ones too, and the proxy does
                // not need them.
                .l4_buffer(L4BufferSettings::unbuffered())
        })
    }
}

/// Writes the file as a whole, so that no reader sees half of it.
pub(super) fn write_ports_file(path: &Path, ports: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, ports)?;
    std::fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen_at(address: SocketAddr, all: &[SocketAddr]) -> Result<TcpListener, StartError> {
        listen(address, all, &mut PassedSockets::default())
    }

    #[tokio::test]
    async fn every_address_of_ipv4_and_of_ipv6_may_have_one_port() {
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            // A machine without IPv6.
            return;
        }
        let ipv4 = listen_at("0.0.0.0:0".parse().unwrap(), &[]).unwrap();
        let ipv4_address = ipv4.local_addr().unwrap();
        let ipv6_address: SocketAddr = ([0_u16; 8], ipv4_address.port()).into();
        listen_at(ipv6_address, &[ipv4_address, ipv6_address]).unwrap();
    }

    #[tokio::test]
    async fn every_address_of_ipv6_alone_serves_ipv4_too() {
        let Ok(both) = listen_at("[::]:0".parse().unwrap(), &[]) else {
            return;
        };
        let port = both.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port));
        assert!(client.is_ok());
    }
}
