//! Turns [`Raw`] into [`Config`]: checks ranges, and dependencies between keys.
//!
//! Every value goes through [`Check`], which records the value and its origin. A key that is not
//! recorded here has no effect and must not exist. A refused value is replaced by its default, so
//! that each mistake is reported once.

mod access;
mod acme;
mod catalog;
mod check;
mod classes;
mod clients;
mod clusters;
mod compression;
mod cors;
mod geoserver;
mod limits;
mod listeners;
mod public_url;
mod routes;
mod traces;
mod trust;
mod upstream_tls;
mod upstreams;
mod url;

use std::net::SocketAddr;

use super::diagnostics::{Diagnostics, Problem};
use super::environment::Environment;
use super::loaded::Loaded;
use super::parts::Part;
use super::raw::{Raw, RawHealth, RawLog, RawRetry, RawShutdown, RawTimeouts};
use super::source::Sources;
use super::{Config, Health, Listener, Log, Retry, Shutdown, Timeouts, defaults};
use access::Access;
use check::Check;
pub(super) use upstreams::{cannot_resolve, same_address};

/// What was read, with the problems so far.
pub(super) struct ReadFiles<'n> {
    pub(super) raw: Raw,
    pub(super) part: Part<'n>,
    pub(super) sources: Sources,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn validate(
    files: ReadFiles<'_>,
    environment: &dyn Environment,
    running: Option<&Config>,
) -> Result<Loaded, Diagnostics> {
    let ReadFiles {
        raw,
        part,
        sources,
        problems,
    } = files;
    let mut check = Check::new(environment, part, sources, problems);
    let config = check.config(raw, running);
    check.finish(config)
}

/// Our own addresses, each with the words for it.
fn own_addresses(access: &Access, listeners: &[Listener]) -> Vec<(String, SocketAddr)> {
    let plain = access
        .listen
        .iter()
        .map(|own| ("`listen`".to_owned(), *own));
    let named = listeners.iter().filter_map(|listener| {
        let address = listener.address.inet()?;
        Some((format!("listener `{}`", listener.name), address))
    });
    let admin = ("`admin`".to_owned(), access.admin);
    plain.chain(named).chain([admin]).collect()
}

impl Check<'_> {
    fn config(&mut self, raw: Raw, running: Option<&Config>) -> Config {
        let access = self.access(&raw.top, &raw.listeners);
        let clusters = self.clusters(&raw.clusters);
        let folder = self.acme_folder(&raw);
        let listeners = self.listeners(&raw.listeners, folder.as_deref(), running);
        let acme = self.acme(&raw, &access.listen, &listeners, folder, running);
        let trust = self.trust(&raw.top);
        let threads = self.threads(&raw.top.threads);
        let limits = self.limits(&raw.limits.table);
        let names: Vec<String> = raw
            .upstreams
            .iter()
            .map(|upstream| upstream.name.value.clone())
            .collect();
        // A front file has none: each cluster has its own.
        let upstreams = if self.part == Part::Front {
            Vec::new()
        } else {
            self.upstreams(
                &raw.upstreams,
                (limits.max_in_flight, raw.limits.table.max_in_flight.at()),
                &raw.geoserver.table,
                running,
            )
        };
        let ours = match self.part {
            Part::Whole | Part::Front => own_addresses(&access, &listeners),
            Part::Cluster(_) => raw.process_addresses.clone(),
        };
        self.not_ourselves(&raw.upstreams, &upstreams, &ours);
        let geoserver = self.geoserver(&raw.geoserver);
        Config {
            cluster: self.cluster_name(),
            clusters,
            listen: access.listen,
            listeners,
            acme,
            admin: access.admin,
            admin_token: access.admin_token,
            trust,
            threads,
            upstreams,
            health: self.health(&raw.health.table),
            catalog: self.catalog(&raw.catalog.table, &geoserver.credentials),
            timeouts: self.timeouts(&raw.timeouts.table),
            retry: self.retry(&raw.retry.table),
            limits,
            clients: self.clients(&raw.clients.table),
            cors: self.cors(&raw.cors.table),
            compression: self.compression(&raw.compression.table),
            classes: self.classes(&raw.classes, &names),
            routes: self.routes(&raw.routes, &geoserver.context, &names),
            geoserver,
            log: self.log(&raw.log.table),
            traces: self.traces(&raw.traces, running),
            shutdown: self.shutdown(&raw.shutdown.table),
        }
    }

    fn health(&mut self, raw: &RawHealth) -> Health {
        let times = defaults::PROBE_TIMES;
        let health = Health {
            interval: self.within(
                "health.interval",
                &raw.interval,
                defaults::INTERVAL,
                times.clone(),
            ),
            timeout: self.within(
                "health.timeout",
                &raw.timeout,
                defaults::PROBE_TIMEOUT,
                times.clone(),
            ),
            rise: self.count("health.rise", &raw.rise, defaults::RISE, defaults::IN_A_ROW),
            fall: self.count("health.fall", &raw.fall, defaults::FALL, defaults::IN_A_ROW),
            down_interval: self.within(
                "health.down_interval",
                &raw.down_interval,
                defaults::DOWN_INTERVAL,
                times.clone(),
            ),
            slow_start: self.within(
                "health.slow_start",
                &raw.slow_start,
                defaults::SLOW_START,
                defaults::SLOW_START_TIMES,
            ),
            probe_layer: self.layer("health.probe_layer", &raw.probe_layer),
            authenticate: self.value("health.authenticate", &raw.authenticate, false),
            ejection: self.within(
                "health.ejection",
                &raw.ejection,
                defaults::EJECTION,
                times.clone(),
            ),
            ejection_max: self.within(
                "health.ejection_max",
                &raw.ejection_max,
                defaults::EJECTION_MAX,
                times,
            ),
            ejection_failures: self.count(
                "health.ejection_failures",
                &raw.ejection_failures,
                defaults::EJECTION_FAILURES,
                defaults::EJECTION_FAILURES_RANGE,
            ),
        };
        self.ordered(
            ("health.ejection", health.ejection, raw.ejection.at()),
            (
                "health.ejection_max",
                health.ejection_max,
                raw.ejection_max.at(),
            ),
        );
        health
    }

    fn timeouts(&mut self, raw: &RawTimeouts) -> Timeouts {
        let times = defaults::TIMES;
        Timeouts {
            connect: self.within(
                "timeouts.connect",
                &raw.connect,
                defaults::CONNECT,
                times.clone(),
            ),
            client_header: self.within(
                "timeouts.client_header",
                &raw.client_header,
                defaults::CLIENT_HEADER,
                times.clone(),
            ),
            client_body: self.within(
                "timeouts.client_body",
                &raw.client_body,
                defaults::CLIENT_BODY,
                times.clone(),
            ),
            client_write: self.within(
                "timeouts.client_write",
                &raw.client_write,
                defaults::CLIENT_WRITE,
                times.clone(),
            ),
            keep_alive: self.within(
                "timeouts.keep_alive",
                &raw.keep_alive,
                defaults::KEEP_ALIVE,
                times.clone(),
            ),
            upstream_idle: self.within(
                "timeouts.upstream_idle",
                &raw.upstream_idle,
                defaults::UPSTREAM_IDLE,
                times,
            ),
        }
    }

    fn retry(&mut self, raw: &RawRetry) -> Retry {
        let (attempts, budget) = (defaults::ATTEMPTS, defaults::BUDGET_PERCENT);
        Retry {
            attempts: self.count(
                "retry.attempts",
                &raw.attempts,
                attempts,
                defaults::ATTEMPTS_RANGE,
            ),
            window: self.within(
                "retry.window",
                &raw.window,
                defaults::WINDOW,
                defaults::TIMES,
            ),
            budget_percent: self.count(
                "retry.budget_percent",
                &raw.budget_percent,
                budget,
                defaults::BUDGET_RANGE,
            ),
        }
    }

    fn log(&mut self, raw: &RawLog) -> Log {
        Log {
            format: self.value("log.format", &raw.format, defaults::LOG_FORMAT),
            access: self.value("log.access", &raw.access, defaults::ACCESS),
            level: self.value("log.level", &raw.level, defaults::LOG_LEVEL),
        }
    }

    fn shutdown(&mut self, raw: &RawShutdown) -> Shutdown {
        Shutdown {
            delay: self.within(
                "shutdown.delay",
                &raw.delay,
                defaults::DELAY,
                defaults::DELAYS,
            ),
            timeout: self.within(
                "shutdown.timeout",
                &raw.timeout,
                defaults::SHUTDOWN_TIMEOUT,
                defaults::SHUTDOWN_TIMES,
            ),
        }
    }
}
