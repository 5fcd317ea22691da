//! What holds when the file does not say, each with its reason, and the range within which it may
//! say something else.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::units::Size;
use super::{
    AccessLog, Coalesce, LogFormat, LogLevel, MainReads, MaxInFlight, PerUser, Priority,
    StalePolicy,
};
use crate::ogc::RequestClass;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

const fn megabytes(megabytes: u64) -> Size {
    Size(megabytes * 1_000_000)
}

// ---- top level

/// All interfaces, the port Tomcat has: geofront takes the place of a GeoServer.
pub(super) const LISTEN: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 8080));
/// Loopback: whoever can reach it can drain upstreams.
pub(super) const ADMIN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9090));
pub(super) const THREADS: RangeInclusive<i64> = 1..=1024;

// ---- [upstreams.NAME]

/// The main has its own work: administration. It serves reads only when no replica can.
pub(super) const READS: MainReads = MainReads::Backup;

// ---- [geoserver]

/// What the war file is called.
pub(super) const CONTEXT: &str = "/geoserver";
/// Tomcat's own: of a longer form it reads no fields, and GeoServer sees none.
pub(super) const MAX_POST_SIZE: Size = Size(2 << 20);
/// Below, forms would be guessed at; above, a hundred clients' forms would be a process's memory.
pub(super) const POST_SIZES: RangeInclusive<Size> = Size(8 << 10)..=Size(16 << 20);

// ---- [health]

/// Every timer of the health checks: below, probes would be a load of their own; above, an upstream
/// is forgotten.
pub(super) const PROBE_TIMES: RangeInclusive<Duration> = Duration::from_millis(10)..=minutes(60);
/// A dead upstream is seen after three of these at the latest, and a probe's GetMap costs a few
/// milliseconds.
pub(super) const INTERVAL: Duration = seconds(5);
/// A GeoServer that needs longer for a tiny map is not one to send users to.
pub(super) const PROBE_TIMEOUT: Duration = seconds(4);
/// One passed probe can be luck while a JVM starts.
pub(super) const RISE: u32 = 2;
/// One failed probe can be a garbage collection.
pub(super) const FALL: u32 = 3;
pub(super) const IN_A_ROW: RangeInclusive<i64> = 1..=100;
/// An upstream that is down should be back soon after it is well; a probe costs it nothing.
pub(super) const DOWN_INTERVAL: Duration = seconds(2);
/// A JVM that has just started has compiled nothing and cached nothing: its first maps take many
/// times as long.
pub(super) const SLOW_START: Duration = seconds(30);
pub(super) const SLOW_START_TIMES: RangeInclusive<Duration> = Duration::ZERO..=minutes(60);
/// As long as two probes: by then they know more than the requests did.
pub(super) const EJECTION: Duration = seconds(10);
/// An upstream that comes back and fails again and again is tried at least this often.
pub(super) const EJECTION_MAX: Duration = minutes(5);
/// Fewer are seen on a healthy GeoServer when one layer is broken.
pub(super) const EJECTION_FAILURES: u32 = 5;
pub(super) const EJECTION_FAILURES_RANGE: RangeInclusive<i64> = 0..=1000;

// ---- [catalog]

/// A change that does not come through geofront is seen this soon; reading a number costs a
/// GeoServer a few milliseconds.
pub(super) const POLL: Duration = seconds(15);
/// Publishing a layer is five to eight changes within a second or two, and a reload each would be
/// five to eight times the outage.
pub(super) const SETTLE: Duration = seconds(3);
pub(super) const SETTLE_TIMES: RangeInclusive<Duration> = Duration::ZERO..=minutes(60);
/// Whoever publishes for an hour without a pause shall see some of it meanwhile.
pub(super) const SETTLE_MAX: Duration = seconds(30);
/// A publisher who works all day sees changes at the latest after three times the length of a roll,
/// and the cluster has all of its replicas for two thirds of the day.
pub(super) const ROLL_SHARE: u32 = 33;
/// All others serve while one is reloaded.
pub(super) const PARALLEL: u32 = 1;
pub(super) const PARALLEL_RANGE: RangeInclusive<i64> = 1..=100;
/// Longer than any map; an export that takes longer would keep everybody from seeing the change.
pub(super) const DRAIN_TIMEOUT: Duration = minutes(2);
/// Catalogs of a hundred thousand layers on a slow share take minutes, and asking again would
/// double the outage.
pub(super) const RELOAD_TIMEOUT: Duration = minutes(10);
/// An old map is better than none, and than all of them from one main.
pub(super) const STALE: StalePolicy = StalePolicy::Serve;
/// Longer than a roll usually takes; who publishes wants to see it at once.
pub(super) const READ_YOUR_WRITES: Duration = minutes(2);

// ---- [timeouts]

pub(super) const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=minutes(24 * 60);
/// Upstreams are near: a connection that takes longer has lost packets or a full backlog, and
/// another upstream is quicker.
pub(super) const CONNECT: Duration = seconds(2);
/// The head of a request fits into a few packets. Whoever takes longer is holding a connection.
pub(super) const CLIENT_HEADER: Duration = seconds(10);
/// Uploads come over slow lines, but they come.
pub(super) const CLIENT_BODY: Duration = seconds(60);
/// As above, for downloads: some desktop clients pause while they draw.
pub(super) const CLIENT_WRITE: Duration = seconds(60);
/// Longer than a user looks at a map before panning on.
pub(super) const KEEP_ALIVE: Duration = seconds(75);
/// Below the 20 s after which Tomcat, in its default configuration, closes an idle connection under
/// our hands.
pub(super) const UPSTREAM_IDLE: Duration = seconds(15);

// ---- [retry]

/// The first try, one after a lost connection, and one more for the unlucky.
pub(super) const ATTEMPTS: u32 = 3;
/// More upstreams than this in one request would make every fault a fault of the whole cluster.
pub(super) const ATTEMPTS_RANGE: RangeInclusive<i64> = 1..=8;
/// By then a user has clicked again.
pub(super) const WINDOW: Duration = seconds(30);
/// When more than a fifth of the requests fail, retries are load, not help.
pub(super) const BUDGET_PERCENT: u32 = 20;
pub(super) const BUDGET_RANGE: RangeInclusive<i64> = 0..=100;

// ---- [limits]

/// No number fits every machine, and one that is too high gains nothing: learned from how long
/// requests take.
pub(super) const MAX_IN_FLIGHT: MaxInFlight = MaxInFlight::Auto;
/// Of a cap, and of one user's places.
pub(super) const PLACES: RangeInclusive<i64> = 1..=10_000;
/// Several times what a cluster works on: enough for the maps of a few hundred users who all pan at
/// once.
pub(super) const QUEUE: u32 = 400;
/// A waiter costs a connection and some kilobytes. With 0 nobody waits.
pub(super) const QUEUES: RangeInclusive<i64> = 0..=100_000;
/// By then a user has given up. Above three times the step of ageing, so that the lowest class is
/// served before.
pub(super) const QUEUE_TIMEOUT: Duration = seconds(20);
pub(super) const QUEUE_TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=minutes(60);
/// Several times what cookies, tokens and a long filter take together; nginx and HAProxy allow half
/// of it or less.
pub(super) const HEAD_SIZE: Size = Size(64 << 10);
/// What Pingora reads at most is a MiB.
pub(super) const HEAD_SIZES: RangeInclusive<Size> = Size(4 << 10)..=Size(512 << 10);
/// Browsers send 20, proxies add some.
pub(super) const HEAD_FIELDS: u32 = 200;
/// Pingora reads 256.
pub(super) const HEAD_FIELD_COUNTS: RangeInclusive<i64> = 20..=250;
/// Limits people whom somebody vouches for, and nobody who may be many.
pub(super) const PER_USER: PerUser = PerUser::Auto;
/// A browser draws a map with six connections, and leaves some for a second window. geOrchestra's
/// data directory has the same.
pub(super) const AUTO_PER_USER: u32 = 10;
/// What is kept for tiles lies idle where only maps come; who has both knows it.
pub(super) const QUICK_RESERVE: u32 = 0;
pub(super) const QUICK_RESERVES: RangeInclusive<i64> = 0..=90;
/// Light requests find three of four renderers free of jobs that take minutes.
pub(super) const HEAVY_SHARE: u32 = 25;
pub(super) const SHARES: RangeInclusive<i64> = 1..=100;

// ---- [classes.NAME]

/// Who goes first when places are scarce. Two and three are heavy.
pub(super) const fn priority(class: RequestClass) -> Priority {
    let priority = match class {
        // Milliseconds each, and a map is nothing without them.
        RequestClass::Tile | RequestClass::Info | RequestClass::Static => 0,
        // What somebody looks at and waits for; and changes, which must not get lost.
        RequestClass::Map
        | RequestClass::Capabilities
        | RequestClass::Transaction
        | RequestClass::Admin
        | RequestClass::Ui
        | RequestClass::Unknown => 1,
        // Downloads: seconds to minutes.
        RequestClass::Feature | RequestClass::Coverage => 2,
        // Computations.
        RequestClass::Process => 3,
    };
    Priority::new(priority).expect("0 to 3")
}

pub(super) const BODY_SIZES: RangeInclusive<Size> = Size(1)..=Size(1 << 50);

/// How long the first byte may take.
pub(super) const fn first_byte(class: RequestClass) -> Duration {
    match class {
        // Files and configuration: no computing.
        RequestClass::Static => seconds(30),
        // One feature, one legend: seconds even on a loaded machine.
        RequestClass::Info => seconds(60),
        // GeoServer itself gives up rendering after 60 s, and a tile may wait for its metatile.
        RequestClass::Tile | RequestClass::Map => seconds(90),
        // Thousands of layers take a minute to list. Pages of the web UI that list stores may, too.
        RequestClass::Capabilities | RequestClass::Ui | RequestClass::Unknown => minutes(2),
        // No limit of GeoServer's own: exports, processes and imports that compute before they
        // answer.
        RequestClass::Feature
        | RequestClass::Coverage
        | RequestClass::Process
        | RequestClass::Transaction
        | RequestClass::Admin => minutes(20),
    }
}

/// How large the body of a request may be.
pub(super) const fn max_body(class: RequestClass) -> Size {
    match class {
        // A read's body is a query: the largest are filters with a polygon of many points, or a
        // style sent along with a GetMap.
        RequestClass::Tile
        | RequestClass::Info
        | RequestClass::Map
        | RequestClass::Capabilities
        | RequestClass::Feature
        | RequestClass::Coverage
        | RequestClass::Static => megabytes(16),
        // Inputs and features inline, files in the UI's forms; and what we cannot tell.
        RequestClass::Process
        | RequestClass::Transaction
        | RequestClass::Ui
        | RequestClass::Unknown => megabytes(500),
        // Coverages are uploaded over REST as whole files.
        RequestClass::Admin => megabytes(10_000),
    }
}

/// Without it every replica renders every metatile.
pub(super) const AFFINITY: bool = true;
/// The metatiles of one user's map, spread over three replicas, differ by about this much.
pub(super) const AFFINITY_LOAD_PERCENT: u32 = 125;
/// With less than the mean for everybody there would be requests for nobody; with ten times the
/// mean there is no bound.
pub(super) const AFFINITY_LOADS: RangeInclusive<i64> = 100..=1000;

/// A hundred users who open one map at once are one map; but rules by address (GeoFence has them)
/// are kept.
pub(super) const COALESCE: Coalesce = Coalesce::SameAddress;

// ---- [log]

/// Readable and greppable as it is.
pub(super) const LOG_FORMAT: LogFormat = LogFormat::Logfmt;
/// Where systemd and containers collect it.
pub(super) const ACCESS: AccessLog = AccessLog::Stdout;
/// Transitions and configuration changes, nothing per request.
pub(super) const LOG_LEVEL: LogLevel = LogLevel::Info;

// ---- [shutdown]

/// Nothing in front of geofront needs warning, until somebody says so.
pub(super) const DELAY: Duration = Duration::ZERO;
pub(super) const DELAYS: RangeInclusive<Duration> = Duration::ZERO..=minutes(60);
/// Longer than a map takes, shorter than the patience of whoever restarts us. An idle process exits
/// at once.
pub(super) const SHUTDOWN_TIMEOUT: Duration = minutes(2);
pub(super) const SHUTDOWN_TIMES: RangeInclusive<Duration> = Duration::ZERO..=minutes(24 * 60);

// ---- the files themselves

/// Tables of one family: benchmarks go up to a cluster of so many upstreams.
pub(super) const MOST_NAMED: usize = 1000;
/// Of one file of configuration, or one secret.
pub(super) const MOST_FILE_BYTES: usize = 1 << 20;
/// Files that `include` may bring in all together.
pub(super) const MOST_INCLUDED: usize = 1000;
