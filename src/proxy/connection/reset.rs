//! Ends a connection with a reset, where a clean end would make half an answer look whole.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use socket2::Socket;

/// Makes the end of the connection with this descriptor a reset, at once and without the bytes that
/// the kernel still holds.
pub(super) fn end_with_reset(fd: RawFd) -> io::Result<()> {
    Socket::from(duplicate(fd)?).set_linger(Some(Duration::ZERO))
}

/// Returns another descriptor of the same connection. Pingora shows its sockets as bare numbers. A
/// number becomes a descriptor without `unsafe` code where the kernel passes it on.
fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    let (from, to) = UnixStream::pair()?;
    let (byte, fds) = ([IoSlice::new(&[0])], [fd]);
    let passed = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(from.as_raw_fd(), &byte, &passed, MsgFlags::empty(), None)?;

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut received = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut byte = [IoSliceMut::new(&mut byte)];
    recvmsg(&to, &mut byte, &mut received, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = received.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_other_end_sees_a_reset_and_no_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        end_with_reset(ours.as_raw_fd()).unwrap();
        drop(ours);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_number_that_is_no_descriptor_is_an_error() {
        assert!(end_with_reset(-1).is_err());
    }
}
