//! The command line as typed. Help texts say what a command does to the cluster, and show it in
//! use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Where packages put the configuration.
pub(super) const DEFAULT_CONFIG: &str = "/etc/geofront/geofront.toml";

/// The front door of a GeoServer cluster.
///
/// geofront spreads requests over several GeoServers that share one data directory, sends
/// administration and writes to the main one, brings what is changed there to all others, takes
/// instances that do not work out of service and back in, and puts edits of its configuration into
/// force while it runs.
#[derive(Debug, Parser)]
#[command(
    name = "geofront",
    version,
    max_term_width = 100,
    after_long_help = "\
Try it without any GeoServer:
  geofront demo

First steps with your own:
  geofront check geofront.toml             is the configuration right?
  geofront run --config geofront.toml      serve
  geofront status                          how are they?

Bring a change to all replicas that GeoServer does not count (others are noticed):
  geofront sync --wait

Restart one GeoServer without an error for anyone:
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
    Status(Status),
    Drain(Drain),
    Ready(Ready),
    Maintenance(Maintenance),
    Reload(Reload),
    Sync(Sync),
    Catalog(Catalog),
}

/// Serve, in the foreground, until stopped
///
/// Starts the front door and the admin endpoint. Edits of the configuration take effect within a
/// second of being saved; one with a mistake is refused, with the reason in the log and in
/// `geofront status`, while the one before stays in force.
///
/// SIGTERM or Ctrl-C: /readyz answers 503 at once, running requests finish, then the process exits.
/// SIGHUP: reads the configuration anew.
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

/// Show it all in one process: simulated GeoServers behind a real front door
///
/// Starts a main GeoServer and replicas that only pretend (they draw maps in a colour of their own,
/// with their name on them), the front door before them, and the admin endpoint. Prints what to
/// try. Ctrl-C ends it; nothing is left behind.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront demo
  geofront demo --replicas 5 --listen 127.0.0.1:8000")]
pub(super) struct Demo {
    /// How many replicas
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(super) replicas: u16,

    /// Where clients come in
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(super) listen: SocketAddr,

    /// Status page, API and metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub(super) admin: SocketAddr,
}

/// Say whether a configuration is right, and show every problem if not
///
/// Reads the file and those it includes as `geofront run` would, and changes nothing. All problems
/// are shown at once, with file, line and column; and what a right configuration lacks for all that
/// geofront could do. With --probe each upstream is also asked the way its health is checked later,
/// for its catalog's number, and whether it accepts the credentials of [geoserver].
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront check
  geofront check --probe /srv/maps/geofront.toml

Exit codes: 0 the configuration is right (and with --probe every upstream answered well and accepted the credentials);
1 some upstream did not; 78 the configuration is wrong.")]
pub(super) struct Check {
    /// The configuration
    #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(super) file: PathBuf,

    /// Also ask each upstream once
    #[arg(long)]
    pub(super) probe: bool,
}

/// Say how a request is classified, where it would go, and why
///
/// Sends nothing. Shows the class of the request, the rule that decided, who serves it, whether
/// another upstream is tried when one fails, how long its first byte may take, and what follows for
/// the replicas if it changes the main's catalog: the configuration's values where there is one,
/// else the defaults.
#[derive(Debug, Args)]
#[command(
    override_usage = "geofront explain [OPTIONS] [METHOD] URL",
    after_long_help = "Examples:
  geofront explain '/geoserver/wms?service=WMS&request=GetMap&layers=geor:roads'
  geofront explain DELETE http://maps.example.org/geoserver/rest/layers/roads
  geofront explain /geoserver/wfs --body transaction.xml"
)]
pub(super) struct Explain {
    /// The URL, or its path and query; before it the method, where it is not GET (or POST with
    /// --body)
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

    /// The configuration [default: /etc/geofront/geofront.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Print limits from a GeoServer's controlflow.properties as configuration
///
/// Reads the rules of GeoServer's control-flow extension and prints the [limits] that do the same
/// for the whole cluster. What has no counterpart becomes a comment that says why. Changes nothing.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  geofront import /opt/geoserver_datadir/controlflow.properties > /etc/geofront/conf.d/limits.toml")]
pub(super) struct Import {
    /// The controlflow.properties
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
}

/// Show on one screen how each upstream is
///
/// For every upstream: health (what probes found), mode (what an operator ordered), catalog
/// (whether it has the main's last change), since when, requests in flight, weight, requests and
/// errors since geofront started, and why it last changed for the worse. Above them, when the
/// catalog last changed and who has the change.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  geofront status
  geofront status --watch
  geofront status --json | jq '.upstreams[] | select(.eligible | not) | .name'

Exit codes: 0 every upstream gets requests, or will when its catalog reload is over;
1 some upstream gets none, or some replica stays stale (its reload failed, nobody could serve
meanwhile, or there are no credentials to reload it with);
2 no request is served, or geofront does not answer.")]
pub(super) struct Status {
    /// As JSON, for scripts
    #[arg(long, conflicts_with = "watch")]
    pub(super) json: bool,

    /// Keep showing, until Ctrl-C
    #[arg(long)]
    pub(super) watch: bool,

    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Give an upstream nothing new, and let what runs finish
///
/// The upstream gets no new request from this moment; requests it is working on finish; it is still
/// probed. `geofront ready` brings it back. The order survives config reloads, and restarts of
/// geofront where it has a state file (`catalog.state_file`).
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

    /// Return when it works on nothing any more
    #[arg(long)]
    pub(super) wait: bool,

    /// How long to wait, like 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration, requires = "wait")]
    pub(super) timeout: Duration,

    /// Even if nothing serves requests then
    #[arg(long)]
    pub(super) force: bool,

    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Bring an upstream back from drain or maintenance
///
/// It gets requests again once it is up: at once after drain, after its first passed probes after
/// maintenance.
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
/// For an instance that is being worked on. What it is working on may finish. It is not probed, so
/// it raises no alarm. `geofront ready` brings it back. The order survives config reloads, and
/// restarts of geofront where it has a state file (`catalog.state_file`).
///
/// The last upstream that serves requests is not taken out without --force.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  geofront maintenance replica2")]
pub(super) struct Maintenance {
    #[command(flatten)]
    pub(super) upstream: Named,

    /// Even if nothing serves requests then
    #[arg(long)]
    pub(super) force: bool,

    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Put the configuration as it is on disk into force, and say what changed
///
/// geofront notices edits by itself; this makes it look now, waits, and says how it ended. What
/// cannot change while it runs (listen addresses, threads) is refused by name. A refused
/// configuration changes nothing.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  geofront reload

Exit codes: 0 in force (or nothing to change); 1 refused, with the reason.")]
pub(super) struct Reload {
    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Bring every replica to the main's catalog, now
///
/// geofront notices by itself what is changed in GeoServer's web interface or by REST, and reloads
/// one replica after the other, each while it serves nothing: no client sees the reload. This
/// command is for changes that GeoServer does not count: files edited in the data directory, fonts,
/// templates, a database table that got another column; and users and roles, with `reload_security`
/// under [catalog].
///
/// With --wait it says what happens to each replica, and ends when all have the main's catalog or
/// the rest cannot get it. Replicas in maintenance are left alone. Whoever interrupts it interrupts
/// the telling only: the roll goes on.
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

    /// How long to wait, like 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration, requires = "wait")]
    pub(super) timeout: Duration,

    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Show the last rolls, or pause them
///
/// A roll is one replica after the other reloading its catalog. While rolls are paused no replica
/// leaves service for its catalog; changes are noticed all the same, and brought when rolls are
/// resumed. With a state file, a pause outlives a restart.
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
    /// The last 100 rolls: when, why, who, how long, what failed
    History(CatalogTarget),
    /// No replica leaves service for its catalog
    Pause(CatalogTarget),
    /// Rolls go on
    Resume(CatalogTarget),
}

impl CatalogOrder {
    /// Where the running geofront is asked.
    pub(super) fn endpoint(&self) -> &Endpoint {
        match self {
            Self::History(target) | Self::Pause(target) | Self::Resume(target) => &target.endpoint,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct CatalogTarget {
    #[command(flatten)]
    pub(super) endpoint: Endpoint,
}

/// Which upstream.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The upstream, as the configuration calls it
    #[arg(value_name = "NAME")]
    pub(super) name: String,
}

/// Where the running geofront answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where the running geofront answers")]
pub(super) struct Endpoint {
    /// Its admin address [default: as the configuration says, else 127.0.0.1:9090]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) admin: Option<String>,

    /// The file with its admin token [default: as the configuration says]
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,

    /// Its configuration [default: /etc/geofront/geofront.toml]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}
