//! The command line as typed. Each help text states the command's effect on the cluster, with an
//! example.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// The configuration file of the packages.
pub(super) const DEFAULT_CONFIG: &str = "/etc/geofront/geofront.toml";

/// The front door of a GeoServer cluster.
///
/// geofront spreads requests over several GeoServers that share one data directory. It sends
/// administration and writes to the main one and brings changes to the others. It takes faulty
/// instances out of service and back in. Edits of its configuration take effect while it runs.
#[derive(Debug, Parser)]
#[command(
    name = "geofront",
    version,
    max_term_width = 100,
    after_long_help = "\
Try it without any GeoServer:
  geofront demo

First steps with your own:
  geofront check geofront.toml                  is the configuration right?
  geofront run --config geofront.toml           serve
  geofront status --config geofront.toml        is the cluster well?

Bring a change to all replicas that GeoServer does not count (others are noticed):
  geofront sync --wait

Restart one GeoServer without a failed request:
  geofront drain replica1 --wait && ssh replica1 systemctl restart tomcat && geofront ready replica1

Exit codes: 0 done; 1 not done; 64 wrong usage; 78 wrong configuration.
`status` alone: 0 all well; 1 some upstream is not; 2 no request is served."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Run(Run),
    Demo(Demo),
    Check(Check),
    Explain(Explain),
    Import(Import),
    Mapping(Mapping),
    Status(Status),
    Drain(Drain),
    Ready(Ready),
    Maintenance(Maintenance),
    Reload(Reload),
    Sync(Sync),
    Catalog(Catalog),
    Log(Log),
    Top(Top),
    Completions(Completions),
    Man(Man),
}

/// Serve in the foreground until stopped
///
/// Starts the front door and the admin endpoint. Edits of the configuration take effect within a
/// second of being saved. An edit with a mistake is refused, with the reason in the log and in
/// `geofront status`, and the previous configuration stays in force.
///
/// SIGTERM or Ctrl-C: /readyz answers 503 at once, running requests finish, then the process exits.
/// SIGHUP: reloads the configuration.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront run
  geofront run --config /srv/maps/geofront.toml")]
pub(super) struct Run {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(super) config: PathBuf,

    /// Once serving, write the addresses to FILE as JSON (for scripts that let the system choose
    /// ports)
    #[arg(long, value_name = "FILE")]
    pub(super) ports_file: Option<PathBuf>,
}

/// Show everything in one process: simulated GeoServers behind a real front door
///
/// Starts a simulated main GeoServer and replicas (each draws maps in its own colour, with its name
/// on them), the front door before them, the admin endpoint, and a map page with controls over the
/// simulation and a guided tour. Prints commands to try. Ctrl-C ends it; nothing is left behind.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront demo
  geofront demo --replicas 5 --listen 127.0.0.1:8000")]
pub(super) struct Demo {
    /// Number of replicas
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(super) replicas: u16,

    /// Address for clients
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(super) listen: SocketAddr,

    /// Status page, API and metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub(super) admin: SocketAddr,

    /// Map page with controls, on loopback
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    pub(super) map: SocketAddr,
}

/// Check a configuration, and show every problem in it
///
/// Reads the file and the files it includes like `geofront run`, and changes nothing. All problems
/// are shown at once, with file, line and column, and so are settings that a valid configuration
/// still lacks.
///
/// With --probe each upstream is also examined: its health, its catalog's update sequence, its
/// clock, how long it keeps idle connections, and whether it accepts the credentials of
/// [geoserver]. With credentials, versions, modules, settings and the data directory are compared
/// across the cluster. Each finding comes with a remedy. A problem fails the check, a note does
/// not.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront check
  geofront check --probe /srv/maps/geofront.toml
  geofront check --probe --json | jq -r '.findings[] | select(.severity == \"problem\") | .what'

Exit codes: 0 the configuration is right (and with --probe no problem was found);
1 an upstream has a problem; 78 the configuration is wrong.")]
pub(super) struct Check {
    /// The configuration
    #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(super) file: PathBuf,

    /// Also examine each upstream
    #[arg(long)]
    pub(super) probe: bool,

    /// Print the findings as JSON, for scripts
    #[arg(long, requires = "probe")]
    pub(super) json: bool,
}

/// Show how a request is classified, where it would go, and why
///
/// Sends nothing. Shows the class of the request, the rule that decided, the upstreams that serve
/// it, whether it is retried at another upstream, and the limit on its first byte. If the request
/// changes the main's catalog, it also shows the consequences for the replicas. If a rule of
/// [[routes]] applies, it is named. Uses the configuration if there is one, otherwise the defaults.
#[derive(Debug, Args)]
#[command(
    override_usage = "geofront explain [OPTIONS] [METHOD] URL",
    after_long_help = "Examples:
  geofront explain '/geoserver/wms?service=WMS&request=GetMap&layers=geor:roads'
  geofront explain DELETE http://maps.example.org/geoserver/rest/layers/roads
  geofront explain /geoserver/wfs --body transaction.xml
  geofront explain /geoserver/rest --from 192.0.2.7 --header 'X-Team: maps'"
)]
pub(super) struct Explain {
    /// The URL, or its path and query; before it the method, if it is not GET (or POST with --body)
    #[arg(value_name = "URL", num_args = 1..=2, required = true)]
    pub(super) request: Vec<String>,

    /// The body of a POST
    #[arg(long, value_name = "FILE")]
    pub(super) body: Option<PathBuf>,

    /// The Content-Type of the body
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "application/xml",
        requires = "body"
    )]
    pub(super) content_type: String,

    /// The Content-Encoding of the body
    #[arg(long, value_name = "CODING", requires = "body")]
    pub(super) content_encoding: Option<String>,

    /// A header of the request, for rules that depend on it; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(super) headers: Vec<String>,

    /// The client's address, for rules that depend on it
    #[arg(long, value_name = "ADDRESS")]
    pub(super) from: Option<IpAddr>,

    /// The configuration [default: /etc/geofront/geofront.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// The cluster, if the configuration has several [default: by the host and path of the URL]
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Option<String>,
}

/// Convert a balancer's file, or a GeoServer's limits, into configuration
///
/// Reads a file of HAProxy, nginx or Apache (mod_proxy_balancer) and prints an equivalent
/// configuration: listeners, the main and its replicas, timeouts, probes and weights, each with the
/// line that it comes from. Every other line is listed at the end with the reason why it is not
/// carried over. A file that shows no cluster of GeoServers is refused.
///
/// Also reads the controlflow.properties of GeoServer's control-flow extension and prints the
/// equivalent [limits] for the whole cluster. Changes nothing.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront import /etc/haproxy/haproxy.cfg > geofront.toml && geofront check geofront.toml
  nginx -T > all.conf && geofront import all.conf --main 10.0.0.1:8080
  geofront import /opt/geoserver_datadir/controlflow.properties > /etc/geofront/conf.d/limits.toml

Exit codes: 0 the configuration is printed; 1 the file is refused, with the reason.")]
pub(super) struct Import {
    /// The file; its kind is detected from its text
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,

    /// The server that is the main, by name or HOST:PORT, if no rule of the file shows it
    #[arg(long, value_name = "SERVER")]
    pub(super) main: Option<String>,

    /// The group of servers that is the cluster, if the file has several
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
}

/// Print the entries that lead geOrchestra to this front door
///
/// Prints the entry of the security-proxy (both generations) and of the gateway that sends requests
/// for GeoServer here, and whether the identity of their users will reach GeoServer. Changes
/// nothing.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront mapping
  geofront mapping --host 10.0.0.9")]
pub(super) struct Mapping {
    /// The name or address of this machine, with a port if it is not the listener's
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) host: Option<String>,

    /// The configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(super) config: PathBuf,

    /// The cluster, if the configuration has several
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Option<String>,
}

/// Show the state of each upstream on one screen
///
/// For every upstream: health (from probes), mode (ordered by an operator), catalog (whether it has
/// the main's last change), the time since the last change of state, requests in flight, weight,
/// requests and errors since geofront started, and the reason for its last failure. Above them,
/// when the catalog last changed and which replicas have the change.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront status
  geofront status --watch
  geofront status --json | jq '.upstreams[] | select(.eligible | not) | .name'

Exit codes: 0 every upstream gets requests, or will when its catalog reload is over;
1 some upstream gets none, some replica stays stale (its reload failed, none could serve
meanwhile, or there are no credentials to reload it with), a condition needs an operator, or the
configuration on disk was refused;
2 no request is served, or geofront does not answer.")]
pub(super) struct Status {
    /// As JSON, for scripts
    #[arg(long, conflicts_with = "watch")]
    pub(super) json: bool,

    /// Repeat until Ctrl-C
    #[arg(long)]
    pub(super) watch: bool,

    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Send an upstream no new requests, and let running ones finish
///
/// The upstream gets no new request from this moment, running requests finish, and probes continue.
/// `geofront ready` brings it back. The order survives config reloads, and restarts of geofront
/// with a state file (`catalog.state_file`).
///
/// The last upstream that serves requests is not drained without --force.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront drain replica1 --wait && ssh replica1 systemctl restart tomcat && geofront ready replica1
  geofront drain replica1 --wait --timeout 2m || echo 'still busy'

Exit codes: 0 drained (with --wait: and idle); 1 not drained (with --wait: or still busy after the timeout).")]
pub(super) struct Drain {
    #[command(flatten)]
    pub(super) upstream: Named,

    /// Return when no request runs on it any more
    #[arg(long)]
    pub(super) wait: bool,

    /// Maximum time to wait, like 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration, requires = "wait")]
    pub(super) timeout: Duration,

    /// Drain it even if no upstream serves requests then
    #[arg(long)]
    pub(super) force: bool,

    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Bring an upstream back from drain or maintenance
///
/// It gets requests again once it is up: after drain at once, after maintenance when its first
/// probes have passed.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  geofront ready replica1")]
pub(super) struct Ready {
    #[command(flatten)]
    pub(super) upstream: Named,

    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Leave an upstream alone: no requests, no probes
///
/// For an instance under maintenance. Running requests may finish. It is not probed, so it raises
/// no alarm. `geofront ready` brings it back. The order survives config reloads, and restarts of
/// geofront with a state file (`catalog.state_file`).
///
/// The last upstream that serves requests is not taken out without --force.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  geofront maintenance replica2")]
pub(super) struct Maintenance {
    #[command(flatten)]
    pub(super) upstream: Named,

    /// Take it out even if no upstream serves requests then
    #[arg(long)]
    pub(super) force: bool,

    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Put the configuration on disk into force, and show what changed
///
/// geofront notices edits by itself. This command reads the configuration at once, waits, and shows
/// the result. Keys that cannot change while geofront runs (listen addresses, threads) are refused
/// by name. A refused configuration changes nothing.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  geofront reload

Exit codes: 0 in force (or nothing to change); 1 refused, with the reason.")]
pub(super) struct Reload {
    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Reload every replica's catalog now
///
/// geofront notices changes made in GeoServer's web interface or by REST, and reloads one replica
/// after the other while it serves nothing: no client notices. This command is for changes that
/// GeoServer does not count, such as edited files in the data directory, fonts, templates, or a new
/// column in a database table. It also covers users and roles, with `reload_security` under
/// [catalog].
///
/// With --wait it reports the progress of each replica, and ends when all have the main's catalog
/// or the others cannot get it. Replicas in maintenance are left alone. Interrupting the command
/// does not interrupt the roll.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront sync --wait
  geofront sync --wait --timeout 5m || echo 'some replica is stale'

Needs the credentials of a GeoServer administrator under [geoserver].

Exit codes: 0 ordered (with --wait: and every replica has it);
1 refused (with --wait: or some replica does not have it, with the reason for each).")]
pub(super) struct Sync {
    /// Return when every replica has the main's catalog
    #[arg(long)]
    pub(super) wait: bool,

    /// Maximum time to wait, like 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration, requires = "wait")]
    pub(super) timeout: Duration,

    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Show the last rolls, or pause them
///
/// In a roll, one replica after the other reloads its catalog. While rolls are paused, no replica
/// leaves service for its catalog. Changes are still noticed, and brought to the replicas when
/// rolls are resumed. With a state file, a pause survives a restart.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront catalog history
  geofront catalog pause
  geofront catalog resume

Exit codes: 0 done; 1 not done.")]
pub(super) struct Catalog {
    #[command(subcommand)]
    pub(super) order: CatalogOrder,
}

#[derive(Debug, Subcommand)]
pub(super) enum CatalogOrder {
    /// Show the last 100 rolls: time, reason, users, duration, failures
    History(CatalogTarget),
    /// Keep every replica in service despite catalog changes
    Pause(CatalogTarget),
    /// Allow rolls again
    Resume(CatalogTarget),
}

impl CatalogOrder {
    /// The address of the running geofront.
    pub(super) fn endpoint(&self) -> &Endpoint {
        match self {
            Self::History(target) | Self::Pause(target) | Self::Resume(target) => &target.endpoint,
        }
    }
}

/// Explain a request of the access log
///
/// Finds the request with this id and explains its line in sentences: what it was, where it went,
/// where its time went, how it ended, and what to look at. The id stands in the answer's header
/// X-Request-Id, in every refusal, and as `id=` in the access log.
///
/// Without FILE the log that the configuration names is searched. If it goes to standard output,
/// the running geofront is queried, which keeps the last slow and failed requests.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront log --why 4f2a9c1be07d6318
  geofront log --why 4f2a9c1be07d6318 /var/log/geofront/access.log
  journalctl -u geofront -o cat | geofront log --why 4f2a9c1be07d6318 -

Exit codes: 0 found; 1 not found.")]
pub(super) struct Log {
    /// The id of the request
    #[arg(long, value_name = "ID", required = true)]
    pub(super) why: String,

    /// The access log; `-` for standard input
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Watch the cluster live in the terminal
///
/// Once a second: the state in a sentence, requests, errors and waiting requests of the last half
/// minute, every class with its times and its queue, every upstream with its load, and the last
/// slow and failed requests (`geofront log --why ID` explains one). q, Esc and Ctrl-C end it, the
/// space bar holds it. If the output is not a terminal, one frame is printed.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront top
  geofront top | head -5

Exit codes: 0 ended, or all well in a single frame; 1 and 2 as for `geofront status`.")]
pub(super) struct Top {
    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Print the completion script of a shell, for packages
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
}

/// Write the manual pages, for packages
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Man {
    /// An existing directory
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct CatalogTarget {
    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// The upstream that a command applies to.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The upstream, as the configuration calls it
    #[arg(value_name = "NAME")]
    pub(super) name: String,
}

/// Address of the running geofront.
#[derive(Debug, Args)]
#[command(next_help_heading = "Address of the running geofront")]
pub(super) struct Endpoint {
    /// Its admin address [default: from the configuration, else 127.0.0.1:9090]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) admin: Option<String>,

    /// The file with its admin token [default: from the configuration]
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,

    /// Its configuration [default: /etc/geofront/geofront.toml]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// The cluster, if it has several
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Option<String>,
}
