//! One GeoServer: a port, a thread that serves it, and the controls over both.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::behaviour::Behaviour;
use super::connection;
use super::controls::Controls;
use super::data_directory::DataDirectory;
use super::door::{Door, DoorState};
use super::fault::Outage;
use super::life::Life;
use super::request::Request;
use super::wire::reset_on_close;
use crate::ogc::RequestClass;

/// A simulated GeoServer on a port of its own. Dropping it ends it.
///
/// It runs in a thread with a runtime of its own: plain tests and async ones use it alike, a kill
/// ends everything it had in memory, and a bench can pin it.
pub struct Instance {
    name: String,
    behaviour: Behaviour,
    data: Arc<DataDirectory>,
    controls: Arc<Controls>,
    running: Mutex<Option<Running>>,
}

struct Running {
    life: Arc<Life>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Instance {
    /// Starts an instance on a port that the kernel chooses. It answers by the time this returns,
    /// unless its behaviour has a startup time.
    pub fn start(name: &str, data: &Arc<DataDirectory>, behaviour: Behaviour) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), name, data, behaviour)
            .expect("loopback has free ports")
    }

    /// As [`start`](Self::start), on this address.
    pub fn start_at(
        address: SocketAddr,
        name: &str,
        data: &Arc<DataDirectory>,
        behaviour: Behaviour,
    ) -> io::Result<Self> {
        let door = Arc::new(Door::bind(address)?);
        let controls = Arc::new(Controls::new(door, &behaviour));
        let instance = Self {
            name: name.to_owned(),
            behaviour,
            data: Arc::clone(data),
            controls,
            running: Mutex::default(),
        };
        instance.run()?;
        Ok(instance)
    }

    fn run(&self) -> io::Result<()> {
        let door = &self.controls.door;
        door.reset_connections_on_close(false);
        if self.behaviour.startup_time.is_zero() {
            door.open()?;
        } else {
            door.leave_unattended()?;
        }
        *self.running.lock() = Some(self.begin_life()?);
        Ok(())
    }

    fn begin_life(&self) -> io::Result<Running> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (send_life, receive_life) = mpsc::sync_channel(1);
        let (name, behaviour) = (self.name.clone(), self.behaviour.clone());
        let (data, controls) = (Arc::clone(&self.data), Arc::clone(&self.controls));
        let thread = std::thread::Builder::new()
            .name(format!("geosim-{name}"))
            .spawn(move || {
                run_life(&runtime, stopped, || {
                    let life = Arc::new(Life::begin(&name, &behaviour, &data, &controls));
                    send_life
                        .send(Arc::clone(&life))
                        .expect("the starter waits for it");
                    life
                });
            })?;
        let life = receive_life
            .recv()
            .expect("the thread begins with sending it");
        Ok(Running { life, stop, thread })
    }

    /// Returns the name of the instance.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address where it listens.
    pub fn address(&self) -> SocketAddr {
        self.controls.door.address()
    }

    /// `http://127.0.0.1:PORT`, as in the configuration of an upstream; `https` with TLS.
    pub fn url(&self) -> String {
        let scheme = match self.behaviour.tls {
            None => "http",
            Some(_) => "https",
        };
        format!("{scheme}://{}", self.address())
    }

    /// Returns its data directory.
    pub fn data(&self) -> &Arc<DataDirectory> {
        &self.data
    }

    /// Returns the controls of its behaviour.
    pub fn control(&self) -> &Arc<Controls> {
        &self.controls
    }

    /// See [`Controls::suffers`].
    pub fn suffers(&self, outage: impl Into<Outage>) {
        self.controls.suffers(outage);
    }

    /// Ends the faults; see [`Controls::heals`]. A killed instance stays dead until
    /// [`restart`](Self::restart).
    pub fn heals(&self) {
        if self.is_running() {
            self.controls.heals();
        }
    }

    /// See [`Controls::requests`].
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.controls.requests()
    }

    /// See [`Controls::received`].
    pub fn received(&self, class: RequestClass) -> u64 {
        self.controls.received(class)
    }

    /// True if it listens.
    pub fn is_running(&self) -> bool {
        self.running.lock().is_some()
    }

    /// The number this instance believes, from its memory; `None` when it does not run.
    pub fn update_sequence(&self) -> Option<u64> {
        self.running
            .lock()
            .as_ref()
            .map(|running| running.life.catalog().update_sequence)
    }

    /// Returns the number of edits of the data directory that this instance has loaded; `None` when
    /// it does not run.
    pub fn epoch(&self) -> Option<u64> {
        self.running
            .lock()
            .as_ref()
            .map(|running| running.life.catalog().contents.edits)
    }

    /// Publishes a layer as an administrator does in the web interface: five to eight steps of
    /// `updateSequence`.
    pub fn publish(&self, layer: &str) {
        self.running
            .lock()
            .as_ref()
            .expect("an instance that does not run publishes nothing")
            .life
            .publish(layer);
    }

    /// Kills the instance like `kill -9`. The kernel closes every connection at once: in good order
    /// where it had read everything, else with a reset. Then connections are refused, and the
    /// contents of memory are gone.
    pub fn kill(&self) {
        self.end(false);
    }

    /// As a machine that went down and came back: every connection is reset, then connections are
    /// refused.
    pub fn crash(&self) {
        self.end(true);
    }

    fn end(&self, resets: bool) {
        let Some(running) = self.running.lock().take() else {
            return;
        };
        let door = &self.controls.door;
        door.reset_connections_on_close(resets);
        door.close();
        // A thread that has ended already does not listen any more.
        running.stop.send(()).ok();
        running
            .thread
            .join()
            .expect("an instance ends in good order");
    }

    /// Starts again on the same port, healthy, from what is in the data directory. Does nothing if
    /// it runs.
    pub fn restart(&self) {
        if !self.is_running() {
            self.controls.heal_quietly();
            self.run().expect("the port is reserved for this instance");
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// Runs one life until it is stopped. Ending the runtime ends everything in it: connections,
/// timers, work in progress.
fn run_life(runtime: &Runtime, stopped: oneshot::Receiver<()>, begin: impl FnOnce() -> Arc<Life>) {
    runtime.block_on(async {
        let life = begin();
        tokio::spawn(finish_start(Arc::clone(&life)));
        tokio::select! {
            // The sender is dropped only together with the instance, which is a stop as well.
            _ = stopped => {}
            failed = accept_for_ever(&life) => panic!("the listening socket of {}: {failed}", life.name),
        }
    });
}

async fn finish_start(life: Arc<Life>) {
    if !life.behaviour.startup_time.is_zero() {
        sleep(life.behaviour.startup_time).await;
        life.controls
            .door
            .open()
            .expect("the port is reserved for this instance");
    }
}

/// Accepts whenever the door is open. Returns only if the listening socket cannot be used at all.
async fn accept_for_ever(life: &Arc<Life>) -> io::Error {
    let door = &life.controls.door;
    let mut state = door.state();
    loop {
        let open = state
            .wait_for(|state| matches!(state, DoorState::Open | DoorState::Slamming))
            .await;
        let is_slamming = matches!(open.as_deref(), Ok(DoorState::Slamming));
        drop(open);
        match door.listener() {
            Ok(listener) => accept_until_change(&listener, &mut state, is_slamming, life).await,
            Err(error) => return error,
        }
    }
}

async fn accept_until_change(
    listener: &TcpListener,
    state: &mut watch::Receiver<DoorState>,
    is_slamming: bool,
    life: &Arc<Life>,
) {
    loop {
        tokio::select! {
            biased;
            _ = state.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if is_slamming => reset_on_close(&stream),
                Ok((stream, _)) => admit(stream, life),
                // The socket is being closed, or the process is out of descriptors: look again in a
                // moment.
                Err(_) => tokio::task::yield_now().await,
            },
        }
    }
}

fn admit(stream: tokio::net::TcpStream, life: &Arc<Life>) {
    let door = &life.controls.door;
    let guest = door.admit();
    let (number, activity) = (guest.number, Arc::clone(&guest.activity));
    let task = tokio::spawn(connection::serve(stream, guest, Arc::clone(life)));
    door.note(number, activity, task.abort_handle());
}
