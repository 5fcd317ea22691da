//! Listeners on unix sockets.
//!
//! Pingora's own remove any file at the path, and set the permissions of a socket by its path,
//! also of one that belongs to the service manager. So geofront binds and accepts itself.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use pingora::server::ShutdownWatch;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::StartError;
use super::activation::PassedSockets;
use super::listeners::BACKLOG;
use crate::config::{ListenAddress, SocketMode, UNIX_PEER};
use crate::proxy::Connections;

/// Pause after a connection could not be accepted, for example because there are too many open
/// files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening unix socket. A socket that geofront made is removed when this is dropped.
#[derive(Debug)]
pub(super) struct UnixSocket {
    /// Removed before the socket is closed: until then no other process makes way for its own.
    /// `None` if the socket was passed on: it stays for the next process.
    _file: Option<SocketFile>,
    listener: UnixListener,
}

/// A socket's file that geofront made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.into(),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    fn is(&self, found: &Metadata) -> bool {
        (self.device, self.inode) == (found.dev(), found.ino())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own there.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| self.is(&found)) {
            // One that stays is no obstacle: the next start removes it.
            fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

/// Takes over the socket at `path` that was passed on, or else makes one.
pub(super) fn bind(
    path: &Path,
    mode: SocketMode,
    passed: &mut PassedSockets,
) -> Result<UnixSocket, StartError> {
    let mut bind = || {
        if let Some(listener) = passed.take_unix(path)? {
            return Ok(UnixSocket {
                listener: UnixListener::from_std(listener)?,
                _file: None,
            });
        }
        make(path, mode)
    };
    bind().map_err(|error| StartError::Listen {
        address: ListenAddress::Unix(path.into()),
        error,
    })
}

fn make(path: &Path, mode: SocketMode) -> io::Result<UnixSocket> {
    make_way(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&SockAddr::unix(path)?)
        .map_err(in_folder(path))?;
    let file = SocketFile::new(path)?;
    // Before it listens, so that no process connects which later may not.
    fs::set_permissions(path, Permissions::from_mode(mode.bits()))?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    Ok(UnixSocket {
        listener: UnixListener::from_std(socket.into())?,
        _file: Some(file),
    })
}

/// Removes a socket that a process left behind, and nothing else.
fn make_way(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other(
            "there is a file that is not a socket, and geofront removes none: move it away, or choose another path",
        ));
    }
    let has_listener = has_listener(path).map_err(|error| {
        let why =
            format!("there is a socket, and whether a process listens on it is unknown ({error})");
        io::Error::other(why)
    })?;
    if has_listener {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens on it",
        ));
    }
    tracing::info!(path = %path.display(), "removing a socket that no process listens on");
    fs::remove_file(path)
}

/// True if a process accepts connections to the socket at `path`.
fn has_listener(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue must not delay the start.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Ok(true),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(false),
            _ => Err(error),
        },
    }
}

/// Names the folder where the system reports that something is missing.
fn in_folder(path: &Path) -> impl Fn(io::Error) -> io::Error {
    let folder = path.parent().unwrap_or(path).to_owned();
    move |error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no folder {}", folder.display()),
        ),
        io::ErrorKind::PermissionDenied => io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("geofront may not write to the folder {}", folder.display()),
        ),
        _ => error,
    }
}

impl UnixSocket {
    /// Accepts connections until `stop`; they go on afterwards.
    pub(super) async fn serve<A>(self, connections: Arc<Connections<A>>, stop: ShutdownWatch)
    where
        A: HttpServerApp + Send + Sync + 'static,
    {
        let mut stopped = stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stopped.wait_for(|is_stopped| *is_stopped) => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let stream = Box::new(with_address(stream));
                    connections.process_new(stream, &stop).await;
                }
                Err(error) => {
                    tracing::error!(%error, "a connection to a unix socket cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The connection as that of [`UNIX_PEER`].
fn with_address(stream: UnixStream) -> Stream {
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    // It is new, so the address is not set yet.
    digest
        .peer_addr
        .set(Some(std::net::SocketAddr::new(UNIX_PEER, 0).into()))
        .unwrap_or_default();
    let mut stream = Stream::from(stream);
    stream.set_socket_digest(digest);
    stream
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener as StdUnixListener, UnixStream};

    use super::*;

    fn bound(path: &Path) -> Result<UnixSocket, String> {
        let mode = SocketMode::DEFAULT;
        bind(path, mode, &mut PassedSockets::default()).map_err(|error| error.to_string())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_has_its_mode_and_is_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let socket = bound(&path).unwrap();
        assert_eq!(mode(&path), 0o660);
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_no_process_listens_on_makes_way_and_one_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as after a crash");
        let socket = bound(&path).unwrap();
        let error = bound(&path).unwrap_err();
        assert!(
            error.ends_with("a.sock: another process listens on it"),
            "{error}"
        );
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
    }

    #[tokio::test]
    async fn files_that_are_no_sockets_and_sockets_of_another_kind_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (file, datagrams) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&file, "precious").unwrap();
        let error = bound(&file).unwrap_err();
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(bound(&link).is_err() && link.exists());

        let _receiver = UnixDatagram::bind(&datagrams).unwrap();
        let error = bound(&datagrams).unwrap_err();
        assert!(error.contains("is unknown"), "{error}");
        assert!(datagrams.exists());
    }

    #[tokio::test]
    async fn a_missing_folder_is_named() {
        let error = bound(Path::new("/nowhere/a.sock")).unwrap_err();
        assert_eq!(
            error,
            "cannot listen on unix:/nowhere/a.sock: there is no folder /nowhere"
        );
    }

    #[tokio::test]
    async fn the_socket_of_another_process_is_not_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let socket = bound(&path).unwrap();
        // Beside the first, so that the file system does not reuse its number.
        let other = folder.path().join("b.sock");
        let _other = StdUnixListener::bind(&other).unwrap();
        fs::rename(&other, &path).unwrap();
        drop(socket);
        assert!(UnixStream::connect(&path).is_ok());
    }
}
