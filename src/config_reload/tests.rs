//! Config reloads while files, names and name servers change.

use std::net::IpAddr;
use std::sync::mpsc;

use super::*;
use crate::cluster::{HealthState, Mode};
use crate::config::{Address, MapEnvironment};

const FILE: &str = "geofront.toml";
const MAIN: &str = "[upstreams.main]\nurl = \"http://10.0.0.1:8080\"\nrole = \"main\"\n";
const REPLICA: &str = "[upstreams.slave1]\nurl = \"http://gs1.example.org:8080\"\n";

/// A world that a test changes while it is read.
struct World {
    now: Mutex<MapEnvironment>,
    /// Called before each answer of the name server.
    looking_up: Box<dyn Fn(&Self) + Send + Sync>,
}

impl World {
    fn new(text: &str) -> Arc<Self> {
        Self::looking_up(text, |_| {})
    }

    fn looking_up(text: &str, looking_up: impl Fn(&Self) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            now: Mutex::new(MapEnvironment::new().file(FILE, text)),
            looking_up: Box::new(looking_up),
        })
    }

    fn write(&self, text: &str) {
        let mut now = self.now.lock();
        *now = now.clone().file(FILE, text);
    }

    fn host(&self, name: &str, address: [u8; 4]) {
        let mut now = self.now.lock();
        *now = now.clone().host(name, IpAddr::from(address));
    }

    fn no_hosts(&self) {
        let text = self.now.lock().read(Path::new(FILE)).unwrap();
        *self.now.lock() = MapEnvironment::new().file(FILE, text);
    }
}

impl Environment for World {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.now.lock().read(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.now.lock().list(folder)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.now.lock().variable(name)
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
        (self.looking_up)(self);
        self.now.lock().resolve(host, port)
    }

    fn cores(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }
}

struct Running {
    control: Arc<Control>,
    reload: Arc<ConfigReload>,
}

fn start(world: &Arc<World>) -> Running {
    let shared: SharedEnvironment = Arc::<World>::clone(world);
    let first = load(Path::new(FILE), &shared).unwrap_or_else(|wrong| panic!("{wrong}"));
    let control = Control::new(Arc::new(first.loaded.config.clone()), Instant::now());
    let reload = ConfigReload::new(first, Arc::clone(&control), Metrics::new());
    Running {
        control,
        reload: Arc::new(reload),
    }
}

impl Running {
    fn address(&self, name: &str) -> Address {
        let upstreams = self.control.status(Instant::now()).upstreams;
        upstreams
            .into_iter()
            .find(|upstream| upstream.name.as_str() == name)
            .unwrap()
            .address
    }

    fn known(&self, name: &str) -> Option<String> {
        self.address(name)
            .known()
            .map(|address| address.to_string())
    }

    fn look_up(&self) {
        self.reload.look_up_names(Instant::now());
    }
}

#[test]
fn an_edit_that_is_saved_while_the_configuration_is_read_is_seen_as_another_edit() {
    let (before, after) = (
        format!("{MAIN}{REPLICA}weight = 1\n"),
        format!("{MAIN}{REPLICA}weight = 2\n"),
    );
    let saved = after.clone();
    let world = World::looking_up(&before, move |world| world.write(&saved));
    world.host("gs1.example.org", [10, 0, 0, 2]);
    let running = start(&world);
    assert_eq!(
        running.control.snapshot().config.upstreams[1].weight.get(),
        1
    );
    assert_ne!(
        running.reload.known_fingerprint(),
        running.reload.fingerprint(),
        "the edit is still to be read"
    );
    running.reload.reload(Instant::now());
    assert_eq!(
        running.control.snapshot().config.upstreams[1].weight.get(),
        2
    );
    assert_eq!(
        running.reload.known_fingerprint(),
        running.reload.fingerprint()
    );
}

#[test]
fn a_name_that_does_not_resolve_is_no_reason_to_refuse_an_edit_of_something_else() {
    let world = World::new(&format!("{MAIN}{REPLICA}"));
    let running = start(&world);
    let Address::Unresolved(reason) = running.address("slave1") else {
        panic!("it has an address")
    };
    assert_eq!(
        &*reason,
        "cannot resolve host `gs1.example.org`: it has no address"
    );
    world.write(&format!("{MAIN}{REPLICA}[health]\nrise = 5\n"));
    let outcome = running.reload.reload(Instant::now());
    assert!(
        matches!(&outcome, ReloadOutcome::Applied { changes, .. } if changes == &["health.rise: 2 -> 5"]),
        "{outcome}"
    );
}

#[test]
fn a_name_that_resolves_later_gives_its_upstream_an_address_and_keeps_its_mode() {
    let world = World::new(&format!("{MAIN}{REPLICA}"));
    let running = start(&world);
    running
        .control
        .set_mode("slave1", Mode::Drain, true, Instant::now())
        .unwrap();
    running.look_up();
    assert!(running.known("slave1").is_none() && running.reload.has_unresolved());
    world.host("gs1.example.org", [10, 0, 0, 2]);
    running.look_up();
    assert_eq!(running.known("slave1").as_deref(), Some("10.0.0.2:8080"));
    assert!(!running.reload.has_unresolved());
    let status = running.control.status(Instant::now());
    assert_eq!(
        (
            status.upstreams[1].mode,
            status.upstreams[1].health,
            status.revision
        ),
        (Mode::Drain, HealthState::Unknown, 1)
    );
    assert_eq!(
        running.reload.reload(Instant::now()),
        ReloadOutcome::Unchanged { revision: 1 }
    );
    let address = running
        .reload
        .effective()
        .into_iter()
        .find(|entry| entry.key == "upstreams.slave1.address")
        .unwrap();
    assert_eq!(address.value, "10.0.0.2:8080");
}

#[test]
fn an_upstream_moves_with_its_name_and_stays_while_the_name_server_is_down() {
    let world = World::new(&format!("{MAIN}{REPLICA}"));
    world.host("gs1.example.org", [10, 0, 0, 2]);
    let running = start(&world);
    world.no_hosts();
    running.look_up();
    assert_eq!(running.known("slave1").as_deref(), Some("10.0.0.2:8080"));
    assert_eq!(
        running.reload.reload(Instant::now()),
        ReloadOutcome::Unchanged { revision: 1 },
        "nor does a reload lose it"
    );
    world.host("gs1.example.org", [10, 0, 0, 3]);
    running.look_up();
    assert_eq!(running.known("slave1").as_deref(), Some("10.0.0.3:8080"));
    assert_eq!(
        running.control.snapshot().config.upstreams[1].address,
        running.address("slave1")
    );
}

#[test]
fn a_name_that_comes_to_the_address_of_another_upstream_is_not_that_upstream_twice() {
    let text =
        format!("{MAIN}{REPLICA}[upstreams.slave2]\nurl = \"http://gs2.example.org:8080\"\n");
    let world = World::new(&text);
    world.host("gs1.example.org", [10, 0, 0, 2]);
    let running = start(&world);
    world.host("gs2.example.org", [10, 0, 0, 2]);
    running.look_up();
    let reason = "host `gs2.example.org` resolves to 10.0.0.2:8080, which is `slave1`";
    assert_eq!(
        running.address("slave2"),
        Address::Unresolved(reason.into())
    );
    world.write(&format!("{text}weight = 7\n"));
    assert!(!running.reload.reload(Instant::now()).is_refused());
    assert_eq!(
        running.address("slave2"),
        Address::Unresolved(reason.into())
    );
    assert_eq!(
        start(&world).address("slave2"),
        Address::Unresolved(reason.into()),
        "nor at the next start"
    );
}

#[test]
fn a_hanging_name_server_does_not_block_readers_and_its_late_answer_counts() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let world = World::looking_up(&format!("{MAIN}{REPLICA}"), move |_| {
        gate.lock().recv().unwrap_or_default()
    });
    world.host("gs1.example.org", [10, 0, 0, 2]);
    let began = Instant::now();
    let running = start(&world);
    assert!(
        began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE * 3,
        "{:?}",
        began.elapsed()
    );
    let reason = "cannot resolve host `gs1.example.org`: the name server has not answered yet";
    assert_eq!(
        running.address("slave1"),
        Address::Unresolved(reason.into())
    );
    let reload = Arc::clone(&running.reload);
    let reloading = std::thread::spawn(move || reload.reload(Instant::now()));
    while running.reload.turn.try_lock().is_some() && !reloading.is_finished() {
        std::thread::yield_now();
    }
    let looked = Instant::now();
    drop((
        running.reload.effective(),
        running.reload.known_fingerprint(),
        running.reload.folders(),
        running.reload.last(),
    ));
    assert!(
        looked.elapsed() < PATIENCE / 2 && !reloading.is_finished(),
        "{:?}",
        looked.elapsed()
    );
    go.send(()).unwrap();
    drop(go);
    reloading.join().unwrap();
    assert_eq!(running.known("slave1").as_deref(), Some("10.0.0.2:8080"));
}

#[test]
fn a_file_that_is_larger_than_any_configuration_is_not_read_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.toml");
    // A file of a terabyte, without a block of its own.
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = RealEnvironment.read(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    assert_eq!(RealEnvironment.read(&path).unwrap().len(), 1 << 20);
}

#[test]
fn the_folder_of_a_file_without_one_is_the_current_folder() {
    let listed = RealEnvironment.list(Path::new("")).unwrap();
    assert!(listed.contains(&PathBuf::from("Cargo.toml")), "{listed:?}");
}

/// A pipe that has nothing to read at first.
struct LatePipe {
    pauses: u32,
    rest: &'static [u8],
}

impl Read for LatePipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.pauses > 0 {
            self.pauses -= 1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.rest.read(into)
    }
}

#[test]
fn a_pipe_is_read_to_its_end_and_one_that_nothing_writes_to_is_no_reason_to_wait() {
    let mut bytes = Vec::new();
    let mut late = LatePipe {
        pauses: 3,
        rest: b"a secret",
    };
    read_to_end(&mut late, &mut bytes).unwrap();
    assert_eq!(bytes, b"a secret");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(RealEnvironment.read(&path)));
    let read = receive.recv_timeout(Duration::from_secs(20));
    assert_eq!(read.expect("it does not block").unwrap(), "");
}
