//! The listening socket and the connections that came through it: open, closed or unattended, at
//! once and from any thread.
//!
//! The port stays the instance's own for its whole life, over refusals, kills and restarts: a
//! second socket is bound to it and never listens. Closing is `shutdown` on the listening socket,
//! which the kernel does before the call returns. When a test orders a refusal, the very next
//! connection is refused. (Dropping the socket would only send a request to another thread.)

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Number of connections that the kernel keeps for an instance that does not accept them.
const BACKLOG: i32 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoorState {
    Open,
    /// The socket listens, but no connection is accepted: a starting servlet container looks like
    /// this.
    Unattended,
    /// Accepting, and resetting at once.
    Slamming,
    Closed,
}

#[derive(Debug)]
pub(super) struct Door {
    socket: Socket,
    /// Holds the port while `socket` does not listen.
    _reserve: Socket,
    address: SocketAddr,
    state: watch::Sender<DoorState>,
    connections: Mutex<Connections>,
    resets_on_close: AtomicBool,
}

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    task: AbortHandle,
    activity: Arc<AtomicU8>,
}

/// The current activity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Activity {
    Idle,
    Busy,
    Hung,
}

impl Door {
    /// Binds `address` (port 0: any), closed.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let reserve = socket_for(address)?;
        let address = reserve.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self {
            socket: socket_for(address)?,
            _reserve: reserve,
            address,
            state: watch::Sender::new(DoorState::Closed),
            connections: Mutex::default(),
            resets_on_close: AtomicBool::new(false),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn state(&self) -> watch::Receiver<DoorState> {
        self.state.subscribe()
    }

    pub(super) fn open(&self) -> io::Result<()> {
        self.listen(DoorState::Open)
    }

    pub(super) fn leave_unattended(&self) -> io::Result<()> {
        self.listen(DoorState::Unattended)?;
        self.end(Activity::Idle);
        Ok(())
    }

    pub(super) fn slam(&self) -> io::Result<()> {
        self.listen(DoorState::Slamming)?;
        self.end(Activity::Idle);
        Ok(())
    }

    fn listen(&self, state: DoorState) -> io::Result<()> {
        if *self.state.borrow() == DoorState::Closed {
            self.socket.listen(BACKLOG)?;
        }
        self.state.send_replace(state);
        Ok(())
    }

    pub(super) fn close(&self) {
        if self.state.send_replace(DoorState::Closed) != DoorState::Closed {
            // It fails only when the socket does not listen, which is the intended state.
            self.socket.shutdown(Shutdown::Both).ok();
        }
        self.end(Activity::Idle);
    }

    /// The listening socket for one runtime: registered there afresh, because a registration does
    /// not survive [`close`].
    ///
    /// [`close`]: Self::close
    pub(super) fn listener(&self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(TcpListener::from(self.socket.try_clone()?))
    }

    /// From now on connections that end are reset instead of closed.
    pub(super) fn reset_connections_on_close(&self, resets: bool) {
        self.resets_on_close.store(resets, Ordering::Relaxed);
    }

    pub(super) fn resets_on_close(&self) -> bool {
        self.resets_on_close.load(Ordering::Relaxed)
    }

    pub(super) fn open_connections(&self) -> usize {
        self.connections.lock().open.len()
    }

    /// Ends the connections that are doing this.
    pub(super) fn end(&self, activity: Activity) {
        for connection in self.connections.lock().open.values() {
            if connection.activity.load(Ordering::Relaxed) == activity as u8 {
                connection.task.abort();
            }
        }
    }

    /// A place for a connection that is about to be served.
    pub(super) fn admit(self: &Arc<Self>) -> Guest {
        let mut connections = self.connections.lock();
        connections.next += 1;
        Guest {
            door: Arc::clone(self),
            number: connections.next,
            activity: Arc::new(AtomicU8::new(Activity::Busy as u8)),
        }
    }

    /// Notes the task that serves `number`. Its guest cannot have left yet: tasks of one runtime
    /// thread start after this.
    pub(super) fn note(&self, number: u64, activity: Arc<AtomicU8>, task: AbortHandle) {
        self.connections
            .lock()
            .open
            .insert(number, Connection { task, activity });
    }
}

/// One connection's entry at the door, given back when its task ends.
#[derive(Debug)]
pub(super) struct Guest {
    door: Arc<Door>,
    pub(super) number: u64,
    pub(super) activity: Arc<AtomicU8>,
}

impl Guest {
    pub(super) fn is_now(&self, activity: Activity) {
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    /// Whether the connection should go on to another request.
    pub(super) fn may_stay(&self) -> bool {
        *self.door.state.borrow() == DoorState::Open
    }

    pub(super) fn is_reset_on_close(&self) -> bool {
        self.door.resets_on_close()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.door.connections.lock().open.remove(&self.number);
    }
}

fn socket_for(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
