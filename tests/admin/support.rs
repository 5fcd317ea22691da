//! A cluster without sockets behind a real admin endpoint, and a client that can send anything.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use geofront::admin::answers::Requests;
use geofront::admin::{self, AdminState, Capacity};
use geofront::admission::{ClassWaiting, QueueStatus, UserWaiting};
use geofront::balance::Lease;
use geofront::cluster::{Action, Cause, Event, Outcome, ProbeReport, Selection, Tried};
use geofront::config::{Environment, MapEnvironment};
use geofront::config_reload::{self, ConfigReload, SharedEnvironment};
use geofront::control::Control;
use geofront::metrics::Metrics;
use geofront::ogc::RequestClass;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

/// Timeout of every wait: a hundred times what it takes.
const DEADLINE: Duration = Duration::from_secs(20);

const FILE: &str = "geofront.toml";

pub(crate) const CLUSTER: &str = "[upstreams.main]\nurl = 'http://127.0.0.1:1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://127.0.0.1:2'\n\
    [upstreams.b]\nurl = 'http://127.0.0.1:3'\n[health]\nrise = 1\n";

/// Credentials with which a replica can be reloaded.
pub(crate) const CREDENTIALS: &str = "[geoserver]\nheaders = { sec-username = 'geofront' }\n";

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it happens in time")
}

/// A configuration in memory that a test can edit.
pub(crate) struct World(Mutex<MapEnvironment>);

impl World {
    fn new(text: String) -> Self {
        Self(Mutex::new(Self::with(text)))
    }

    fn with(text: String) -> MapEnvironment {
        MapEnvironment::new()
            .file(FILE, text)
            .environment_variable("TOKEN", "s3cret")
    }

    /// Replaces the configuration: the cluster of [`CLUSTER`] with `more` behind it.
    pub(crate) fn append(&self, more: &str) {
        *self.0.lock() = Self::with(format!("{CLUSTER}{more}"));
    }
}

impl Environment for World {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.lock().read(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.lock().list(folder)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.0.lock().variable(name)
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
        self.0.lock().resolve(host, port)
    }

    fn cores(&self) -> NonZeroUsize {
        Environment::cores(&*self.0.lock())
    }
}

pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    control: Arc<Control>,
    pub(crate) world: Arc<World>,
    pub(crate) stopping: Arc<AtomicBool>,
    shutdown: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    /// Lower case except for the values.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let code = head
            .split(' ')
            .nth(1)
            .expect("a status line has a code")
            .parse()
            .expect("a code is a number");
        let body = if head.contains("transfer-encoding: chunked") {
            unchunk(body)
        } else {
            body.to_owned()
        };
        Self {
            code,
            head: head.to_owned(),
            body,
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"]
            .as_str()
            .unwrap_or_else(|| panic!("no error: {self:?}"))
            .to_owned()
    }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size is hexadecimal");
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// Two users wait for maps.
fn queue_status() -> QueueStatus {
    let waiting = ClassWaiting {
        class: RequestClass::Map,
        waiting: 3,
        users: 2,
        longest: Duration::from_millis(1250),
    };
    QueueStatus {
        classes: vec![waiting],
        users: vec![UserWaiting {
            user: "alice".to_owned(),
            waiting: 2,
            longest: Duration::from_millis(1250),
        }],
        max_waiting: 400,
        per_second: 7.25,
    }
}

/// One request was refused.
fn failed_requests(after: u64) -> Requests {
    let requests = if after == 0 {
        vec![json!({"id": "7f3a", "end": "refused:queue-full"})]
    } else {
        Vec::new()
    };
    Requests {
        sequence: 1,
        left_out: 3,
        requests,
    }
}

impl Admin {
    /// Starts the endpoint. `top` stands before the tables of the cluster.
    pub(crate) async fn start(top: &str) -> Self {
        let world = Arc::new(World::new(format!("{top}{CLUSTER}")));
        let environment: SharedEnvironment = Arc::<World>::clone(&world);
        let first = config_reload::load(Path::new(FILE), &environment)
            .unwrap_or_else(|problems| panic!("{problems}"));
        let control = Control::new(Arc::new(first.loaded.config.clone()), Instant::now());
        let metrics = Metrics::new();
        let reload = ConfigReload::new(first, Arc::clone(&control), Arc::clone(&metrics));
        let stopping = Arc::new(AtomicBool::new(false));
        let capacity = Capacity::default();
        let state = AdminState::new(
            Arc::clone(&control),
            Arc::new(reload),
            metrics,
            queue_status,
            failed_requests,
            Arc::clone(&stopping),
            capacity,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (shutdown, stopped) = watch::channel(false);
        let serving = tokio::spawn(admin::serve(listener, state, stopped));
        let admin = Self {
            address,
            control,
            world,
            stopping,
            shutdown,
            serving,
        };
        // Once it answers, it receives every transition.
        assert_eq!(admin.get("/healthz").await.code, 200);
        admin
    }

    /// Every upstream passes the probe that is due.
    pub(crate) fn pass_probes(&self) {
        let now = Instant::now();
        while let Some(action) = self.control.poll_action(now) {
            let Action::Probe(upstream) = action else {
                continue;
            };
            let report = ProbeReport {
                outcome: Outcome::Success,
                took: Duration::from_millis(7),
            };
            self.control.handle(
                Event::Probed {
                    upstream: upstream.id,
                    report,
                },
                now,
            );
        }
    }

    /// Carries out all due actions at once, like the driver; `reload` is the outcome of each
    /// reload.
    pub(crate) fn drive(&self, reload: impl Fn(&str) -> Result<(), Cause>) {
        let now = Instant::now();
        while let Some(action) = self.control.poll_action(now) {
            let update_sequence = Some(70);
            let event = match action {
                Action::Probe(upstream) => {
                    let report = ProbeReport {
                        outcome: Outcome::Success,
                        took: Duration::from_millis(7),
                    };
                    Event::Probed {
                        upstream: upstream.id,
                        report,
                    }
                }
                Action::TryCanary(_) => Event::CanaryTried {
                    sent_at: now,
                    outcome: Outcome::Success,
                },
                Action::TryCredentials(upstream) => Event::CredentialsTried {
                    upstream: upstream.id,
                    sent_at: now,
                    outcome: Ok(()),
                },
                Action::ReadUpdateSequence(upstream) => Event::UpdateSequenceRead {
                    upstream: upstream.id,
                    sent_at: now,
                    update_sequence,
                },
                Action::ReloadCatalog(upstream) => {
                    let outcome = reload(upstream.name.as_str());
                    Event::CatalogReloaded {
                        upstream: upstream.id,
                        sent_at: now,
                        outcome,
                    }
                }
                Action::ChooseLayer(_) => Event::LayerChosen {
                    sent_at: now,
                    layer: Ok("geor:chosen".to_owned()),
                },
                Action::ReloadMain(upstream) => Event::MainReloaded {
                    upstream: upstream.id,
                    sent_at: now,
                    outcome: Ok(()),
                },
                Action::TruncateTiles { upstream, .. } => Event::TilesTruncated {
                    upstream: upstream.id,
                    sent_at: now,
                    outcome: Ok(()),
                },
                Action::TestCanary(upstream) => Event::CanaryTested {
                    upstream: upstream.id,
                    sent_at: now,
                    outcome: Outcome::Success,
                    update_sequence,
                },
            };
            self.control.handle(event, now);
        }
    }

    /// Carries out due actions again and again, until dropped.
    pub(crate) async fn keep_driving(&self, reload: impl Fn(&str) -> Result<(), Cause>) {
        let mut looks = interval(Duration::from_millis(5));
        loop {
            looks.tick().await;
            self.drive(&reload);
        }
    }

    /// Holds a request in flight at `name`.
    pub(crate) fn hold(&self, name: &str) -> Lease {
        let mut tried = Tried::default();
        loop {
            let selection =
                self.control
                    .snapshot()
                    .select(RequestClass::Map, &tried, Instant::now());
            let Selection {
                upstream, lease, ..
            } = selection.unwrap_or_else(|none| panic!("{name} gets no requests: {none:?}"));
            if upstream.name.as_str() == name {
                return lease;
            }
            tried.add(upstream.id);
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Geofront: 1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(&(head + body)).await
    }

    pub(crate) async fn send(&self, request: &str) -> Answer {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address)
                .await
                .expect("the endpoint accepts");
            // The answer may arrive and the connection close before a body that is too large was
            // sent.
            drop(stream.write_all(request.as_bytes()).await);
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer).await);
            Answer::parse(&String::from_utf8(answer).expect("answers are text"))
        };
        timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| panic!("no answer to {request}"))
    }

    pub(crate) async fn listen(&self, last_seen: Option<u64>) -> Events {
        let mut stream = TcpStream::connect(self.address)
            .await
            .expect("the endpoint accepts");
        let last_seen = last_seen
            .map(|id| format!("Last-Event-ID: {id}\r\n"))
            .unwrap_or_default();
        stream
            .write_all(
                format!("GET /api/events HTTP/1.1\r\nHost: localhost\r\n{last_seen}\r\n")
                    .as_bytes(),
            )
            .await
            .expect("the endpoint reads");
        let mut events = Events {
            reader: BufReader::new(stream),
        };
        while !events.line().await.trim().is_empty() {}
        events
    }

    pub(crate) async fn stop(self) {
        self.shutdown.send_replace(true);
        timeout(DEADLINE, self.serving)
            .await
            .expect("it stops in time")
            .expect("it does not panic");
    }
}

/// A listener to server-sent events.
pub(crate) struct Events {
    reader: BufReader<TcpStream>,
}

impl Events {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(DEADLINE, self.reader.read_line(&mut line))
            .await
            .expect("an event in time")
            .expect("events are text");
        assert!(!line.is_empty(), "the stream of events ended");
        line
    }

    /// The data of the next event about this upstream.
    pub(crate) async fn next_about(&mut self, upstream: &str) -> Value {
        loop {
            let event = self.next().await;
            if event["upstream"] == upstream {
                return event;
            }
        }
    }

    /// The data of the next event.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let line = self.line().await;
            let Some(data) = line.strip_prefix("data: ") else {
                continue;
            };
            return serde_json::from_str(data).expect("events are JSON");
        }
    }

    /// The rest without the marks of chunks.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut rest = String::new();
        timeout(DEADLINE, self.reader.read_to_string(&mut rest))
            .await
            .expect("it ends in time")
            .expect("events are text");
        unchunk(&rest)
    }
}
