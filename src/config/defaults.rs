//! The default of every key with its reason, and the range of accepted values.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::units::Size;
use super::{
    AccessLogDestination, Coalesce, LogFormat, LogLevel, MainReads, MaxInFlight, PerUser, Priority,
    Share, StalePolicy, TileCaches,
};
use crate::ogc::RequestClass;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

// ---- top level

/// All interfaces on Tomcat's port: geofront takes the place of a GeoServer.
pub(super) const LISTEN: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 8080));
/// Loopback, because any client of the admin address can drain upstreams.
pub(super) const ADMIN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9090));
pub(super) const THREADS: RangeInclusive<i64> = 1..=1024;
/// Every field of every request is compared with each of them.
pub(super) const MAX_IDENTITY_HEADERS: usize = 32;

// ---- [clusters.NAME]

/// Every request is compared with each host of each cluster.
pub(super) const MAX_CLUSTER_HOSTS: usize = 1000;

// ---- [listeners.NAME]

/// On, because a browser then requests all the tiles of a map at once.
pub(super) const HTTP2: bool = true;

/// Whether a listener without TLS serves HTTP/2. Off, because geofront would have to read the first
/// bytes of each connection to detect it.
pub(super) const HTTP2_WITHOUT_TLS: bool = false;
/// Zero turns HSTS off. The preload lists of browsers require a year.
pub(super) const HSTS_TIMES: RangeInclusive<Duration> = Duration::ZERO..=seconds(63_115_200);
pub(super) const PORTS: RangeInclusive<i64> = 1..=65_535;

// ---- [acme]

/// Let's Encrypt, which issues certificates for every public host name whose control is proved.
pub(super) const ACME_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Let's Encrypt's maximum for one certificate.
pub(super) const MAX_ACME_DOMAINS: usize = 100;

// ---- [upstreams.NAME]

/// The main has its own work: administration. It serves reads only when no replica can.
pub(super) const READS: MainReads = MainReads::Backup;

// ---- [geoserver]

/// The name of the war file.
pub(super) const CONTEXT: &str = "/geoserver";
/// Tomcat's default. GeoServer sees no fields of a longer form, because Tomcat does not read them.
pub(super) const MAX_POST_SIZE: Size = Size(2 << 20);
/// With a lower bound, forms could not be read completely. With a higher one, the forms of a
/// hundred clients would fill the memory.
pub(super) const POST_SIZES: RangeInclusive<Size> = Size(8 << 10)..=Size(16 << 20);

// ---- [health]

/// Range for all timers of the health checks. More frequent probes would be a load of their own;
/// rarer ones would notice faults too late.
pub(super) const PROBE_TIMES: RangeInclusive<Duration> = Duration::from_millis(10)..=minutes(60);
/// A dead upstream is noticed after three intervals at the latest. The GetMap of a probe costs a
/// few milliseconds.
pub(super) const INTERVAL: Duration = seconds(5);
/// A GeoServer that needs longer for a tiny map should not serve users.
pub(super) const PROBE_TIMEOUT: Duration = seconds(4);
/// One passed probe can be luck while a JVM starts.
pub(super) const RISE: u32 = 2;
/// One failed probe can be a garbage collection.
pub(super) const FALL: u32 = 3;
pub(super) const IN_A_ROW: RangeInclusive<i64> = 1..=100;
/// A recovered upstream should return soon, and a probe costs it nothing.
pub(super) const DOWN_INTERVAL: Duration = seconds(2);
/// A JVM that has just started has compiled and cached nothing: its first maps take many times as
/// long.
pub(super) const SLOW_START: Duration = seconds(30);
pub(super) const SLOW_START_TIMES: RangeInclusive<Duration> = Duration::ZERO..=minutes(60);
/// Two probe intervals: by then the probes know more than the failed requests did.
pub(super) const EJECTION: Duration = seconds(10);
/// An upstream that keeps failing is tried again at least this often.
pub(super) const EJECTION_MAX: Duration = minutes(5);
/// A healthy GeoServer with one broken layer shows fewer failures in a row.
pub(super) const EJECTION_FAILURES: u32 = 5;
pub(super) const EJECTION_FAILURES_RANGE: RangeInclusive<i64> = 0..=1000;

// ---- [catalog]

/// A change that bypasses geofront is noticed this soon. Reading an update sequence costs a
/// GeoServer a few milliseconds.
pub(super) const POLL: Duration = seconds(15);
/// Publishing a layer makes five to eight changes within a second or two. Reloading for each would
/// multiply the outage by five to eight.
pub(super) const SETTLE: Duration = seconds(3);
pub(super) const SETTLE_TIMES: RangeInclusive<Duration> = Duration::ZERO..=minutes(60);
/// During an hour of continuous publishing, some of the changes should appear.
pub(super) const SETTLE_MAX: Duration = seconds(30);
/// With continuous publishing, changes appear after at most three times the length of a roll, and
/// the cluster has all its replicas for two thirds of the time.
pub(super) const ROLL_SHARE: u32 = 33;
/// All other replicas serve while one is reloaded.
pub(super) const PARALLEL: u32 = 1;
pub(super) const PARALLEL_RANGE: RangeInclusive<i64> = 1..=100;
/// Longer than any map. A longer export would delay the change for all users.
pub(super) const DRAIN_TIMEOUT: Duration = minutes(2);
/// Catalogs of a hundred thousand layers on a slow share take minutes, and a second reload would
/// double the outage.
pub(super) const RELOAD_TIMEOUT: Duration = minutes(10);
/// The data directory is shared, and GeoWebCache keeps its tiles there unless it is configured
/// otherwise.
pub(super) const TILE_CACHES: TileCaches = TileCaches::Shared;
/// An old map is better than none, and better than all maps from the one main.
pub(super) const STALE: StalePolicy = StalePolicy::Serve;
/// Longer than a roll usually takes. A publisher wants to see the change at once.
pub(super) const READ_YOUR_WRITES: Duration = minutes(2);

// ---- [timeouts]

pub(super) const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=minutes(24 * 60);
/// Upstreams are close: a slower connection has lost packets or met a full backlog, and another
/// upstream is faster.
pub(super) const CONNECT: Duration = seconds(2);
/// The head of a request fits into a few packets. A client that takes longer only occupies a
/// connection.
pub(super) const CLIENT_HEADER: Duration = seconds(10);
/// Uploads may come over slow lines, but they keep coming.
pub(super) const CLIENT_BODY: Duration = seconds(60);
/// The same for downloads: some desktop clients pause while they draw.
pub(super) const CLIENT_WRITE: Duration = seconds(60);
/// Longer than a user looks at a map before panning.
pub(super) const KEEP_ALIVE: Duration = seconds(75);
/// Below the 20 s after which Tomcat by default closes an idle connection, so that no request meets
/// a closed one.
pub(super) const UPSTREAM_IDLE: Duration = seconds(15);

// ---- [retry]

/// The first attempt, one after a lost connection, and one more.
pub(super) const ATTEMPTS: u32 = 3;
/// With more upstreams per request, every fault would spread over the whole cluster.
pub(super) const ATTEMPTS_RANGE: RangeInclusive<i64> = 1..=8;
/// A user who has waited this long has clicked again.
pub(super) const WINDOW: Duration = seconds(30);
/// If more than a fifth of the requests fail, retries only add load.
pub(super) const BUDGET_PERCENT: u32 = 20;
pub(super) const BUDGET_RANGE: RangeInclusive<i64> = 0..=100;

// ---- [limits]

/// No number fits every machine, and a number that is too high gains nothing. So the limit is
/// learned from latencies.
pub(super) const MAX_IN_FLIGHT: MaxInFlight = MaxInFlight::Auto;
/// Range of an upstream's limit and of one user's slots.
pub(super) const PLACES: RangeInclusive<i64> = 1..=10_000;
/// Several times the concurrency of a cluster: enough for a few hundred users panning their maps at
/// the same time.
pub(super) const QUEUE: u32 = 400;
/// A waiter costs a connection and some kilobytes. 0 turns waiting off.
pub(super) const QUEUES: RangeInclusive<i64> = 0..=100_000;
/// A user who has waited this long has given up. It is longer than three steps of ageing, so that
/// the lowest class is served before its timeout.
pub(super) const QUEUE_TIMEOUT: Duration = seconds(20);
pub(super) const QUEUE_TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=minutes(60);
/// Several times the size of cookies, tokens and a long filter together. nginx and HAProxy allow
/// half of it or less.
pub(super) const HEAD_SIZE: Size = Size(64 << 10);
/// Pingora reads at most one MiB.
pub(super) const HEAD_SIZES: RangeInclusive<Size> = Size(4 << 10)..=Size(512 << 10);
/// Browsers send 20 fields, and proxies add some.
pub(super) const HEAD_FIELDS: u32 = 200;
/// Pingora reads at most 256 fields.
pub(super) const HEAD_FIELD_COUNTS: RangeInclusive<i64> = 20..=250;
/// Limits users that a trusted proxy identifies, but no address that may stand for many users.
pub(super) const PER_USER: PerUser = PerUser::Auto;
/// Off, because reserved slots stay idle on a cluster without tiles.
pub(super) const QUICK_RESERVE: u32 = 0;
pub(super) const QUICK_RESERVES: RangeInclusive<i64> = 0..=90;
/// Leaves three of four slots to light requests while heavy ones run for minutes.
pub(super) const HEAVY_SHARE: u32 = 25;
pub(super) const SHARES: RangeInclusive<i64> = 1..=100;
/// More than any screen (4K has 8.3 million), because a map on a screen must not wait behind
/// exports. GeoServer itself refuses more than 16 million by default (65 536 KB of memory for an
/// image).
pub(super) const HEAVY_MAP_PIXELS: u32 = 10_000_000;
pub(super) const MAP_PIXELS: RangeInclusive<i64> = 0..=1_000_000_000;

// ---- [clients]

/// From none to the memory of a large machine.
pub(super) const MEMORIES: RangeInclusive<Size> = Size(0)..=Size(1 << 40);
/// Nearly every request but uploads of data.
pub(super) const BODY_MEMORY: Size = Size(1 << 20);
/// Thirty-two of the longest forms, or a thousand bodies of 64 KiB.
pub(super) const ALL_BODY_MEMORY: Size = Size(64 << 20);
/// The slowest line on which an upload makes sense.
pub(super) const MIN_UPLOAD_RATE: Size = Size(1 << 10);
/// Nearly every map, tile and list of features.
pub(super) const ANSWER_MEMORY: Size = Size(2 << 20);
/// A hundred slow readers of large answers.
pub(super) const ALL_ANSWER_MEMORY: Size = Size(256 << 20);
/// The slowest mobile lines that still draw maps are faster.
pub(super) const MIN_DOWNLOAD_RATE: Size = Size(4 << 10);
/// Six connections each of seven hundred users behind one address.
pub(super) const MAX_PER_ADDRESS: u32 = 4096;
/// More than a proxy without keep-alive opens, and a few percent of a core.
pub(super) const NEW_PER_SECOND: u32 = 1000;
/// A head arrives in one packet, or two.
pub(super) const HEADS_PER_ADDRESS: u32 = 256;
/// 0 turns a limit off.
pub(super) const PER_ADDRESS: RangeInclusive<i64> = 0..=1_000_000;
pub(super) const RATES: RangeInclusive<Size> = Size(0)..=Size(1 << 30);

// ---- [cors]

/// The methods of map viewers. DELETE and PUT are for administration.
pub(super) const CORS_METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
/// The headers that viewers set for OGC requests, beside those that every page may set.
pub(super) const CORS_HEADERS: [&str; 3] = ["accept", "content-type", "x-requested-with"];
/// Browsers keep it for two hours at most.
pub(super) const CORS_MAX_AGE: Duration = Duration::from_secs(3600);
pub(super) const CORS_MAX_AGES: RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(86_400);
/// Each request is compared with every origin.
pub(super) const MAX_ORIGINS: usize = 256;

// ---- [compression]

/// One packet: a shorter body would arrive no sooner.
pub(super) const COMPRESSION_MIN_SIZE: Size = Size(1024);
pub(super) const COMPRESSION_MIN_SIZES: RangeInclusive<Size> = Size(0)..=Size(1 << 30);

/// Administration has pages and documents with secrets in them, which compression can leak
/// (BREACH).
pub(super) fn compressed_classes() -> Vec<RequestClass> {
    let mut classes = RequestClass::ALL.to_vec();
    classes.retain(|class| !matches!(class, RequestClass::Admin | RequestClass::Ui));
    classes
}

// ---- [classes.NAME]

/// The default priority of `class`, from the table of classes.
pub(super) const fn priority(class: RequestClass) -> Priority {
    Priority::new(class.row().default_priority).expect("0 to 3")
}

pub(super) const BODY_SIZES: RangeInclusive<Size> = Size(1)..=Size(1 << 50);

/// Without affinity every replica renders every metatile.
pub(super) const AFFINITY: bool = true;
/// The metatiles of one user's map differ by about this much when they are spread over three
/// replicas.
pub(super) const AFFINITY_LOAD_PERCENT: u32 = 125;
/// Below the mean load some requests would find no replica. Ten times the mean is no bound at all.
pub(super) const AFFINITY_LOADS: RangeInclusive<i64> = 100..=1000;

/// If a hundred users of one address open a map at once, it is rendered once. Rules by address (as
/// in GeoFence) still work.
pub(super) const COALESCE: Coalesce = Coalesce::SameAddress;

// ---- [log]

/// Readable and greppable without tools.
pub(super) const LOG_FORMAT: LogFormat = LogFormat::Logfmt;
/// Systemd and containers collect it there.
pub(super) const ACCESS: AccessLogDestination = AccessLogDestination::Stdout;
/// Transitions and configuration changes, nothing per request.
pub(super) const LOG_LEVEL: LogLevel = LogLevel::Info;

// ---- [traces]

/// One request in a hundred: a busy door does not flood its receiver.
pub(super) fn sample() -> Share {
    Share::new(0.01).expect("from 0 to 1")
}
pub(super) const SERVICE_NAME: &str = "geofront";
/// They are sent with every message.
pub(super) const MAX_ATTRIBUTES: usize = 64;

// ---- [shutdown]

/// Zero, because by default no load balancer needs time to notice the shutdown.
pub(super) const DELAY: Duration = Duration::ZERO;
pub(super) const DELAYS: RangeInclusive<Duration> = Duration::ZERO..=minutes(60);
/// Longer than a map takes, and shorter than service managers wait. An idle process exits at once.
pub(super) const SHUTDOWN_TIMEOUT: Duration = minutes(2);
pub(super) const SHUTDOWN_TIMES: RangeInclusive<Duration> = Duration::ZERO..=minutes(24 * 60);

// ---- the files themselves

/// Maximum number of tables of one family. Benchmarks cover clusters of this size.
pub(super) const MAX_NAMED: usize = 1000;
/// Maximum size of one configuration file or secret.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Maximum number of files that `include` may add in total.
pub(super) const MAX_INCLUDED: usize = 1000;
