//! Addresses and access: the keys above the first header.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use super::check::Check;
use super::listeners::{EVERY_ADDRESS, overlap};
use crate::config::diagnostics::Problem;
use crate::config::raw::{Named, RawListener, RawTop, Slot};
use crate::config::source::At;
use crate::config::{Secret, defaults};

pub(super) struct Access {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) admin: SocketAddr,
    pub(super) admin_token: Option<Secret>,
}

impl Check<'_> {
    pub(super) fn access(&mut self, raw: &RawTop, listeners: &[Named<RawListener>]) -> Access {
        // The default is for a file that names no address at all.
        let default = if listeners.is_empty() {
            vec![defaults::LISTEN]
        } else {
            Vec::new()
        };
        let listen = self.list("listen", &raw.listen, default);
        let admin = self.value("admin", &raw.admin, defaults::ADMIN);
        let file = ("admin_token_file", &raw.admin_token_file);
        let admin_token = self.secret(
            "admin token",
            file,
            ("admin_token_env", &raw.admin_token_env),
        );
        self.distinct_listeners(raw, admin, listeners.is_empty());
        let plain = listen.iter().map(|address| ("listen", *address));
        let others: Vec<_> = plain.chain([("admin", admin)]).collect();
        self.distinct_addresses_of_listeners(listeners, &others);
        self.guarded(raw, admin);
        self.list("include", &raw.include, Vec::new());
        Access {
            listen,
            admin,
            admin_token,
        }
    }

    /// The default is the number of cores: any fixed number would be wrong on every second machine.
    pub(super) fn threads(&mut self, slot: &Slot<i64>) -> NonZeroUsize {
        let cores = self.environment.cores();
        let written = self.within(
            "threads",
            slot,
            i64::try_from(cores.get()).unwrap_or(1),
            defaults::THREADS,
        );
        usize::try_from(written)
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(cores)
    }

    fn distinct_listeners(&mut self, raw: &RawTop, admin: SocketAddr, is_all: bool) {
        let Some(listen) = raw.listen.given() else {
            if let Some(at) = raw.admin.at().filter(|_| is_all) {
                self.distinct_from_admin(defaults::LISTEN, admin, at);
            }
            return;
        };
        if listen.value.is_empty() && is_all {
            let help = format!("leave `listen` out for {}", defaults::LISTEN);
            self.refuse(
                Problem::new("`listen` is empty: no client could connect")
                    .at(listen.at)
                    .help(help),
            );
        }
        for (i, written) in listen.value.iter().enumerate() {
            // With port 0 the system chooses, so two of them are two ports.
            if written.value.port() == 0 {
                continue;
            }
            if listen.value[..i]
                .iter()
                .any(|other| other.value == written.value)
            {
                self.refuse(
                    Problem::new(format!("`listen` has {} twice", written.value)).at(written.at),
                );
            }
            let before = listen.value[..i].iter();
            if let Some(other) = before
                .map(|other| other.value)
                .find(|other| overlap(*other, written.value))
            {
                let title = format!("`listen` has {other} and {}", written.value);
                self.refuse(Problem::new(title).at(written.at).help(EVERY_ADDRESS));
            }
            self.distinct_from_admin(written.value, admin, written.at);
        }
    }

    fn distinct_from_admin(&mut self, listen: SocketAddr, admin: SocketAddr, at: At) {
        if listen == admin && admin.port() != 0 {
            let problem = Problem::new(format!("`listen` and `admin` are both {admin}")).at(at);
            self.refuse(problem.help("the status page and the API have an address of their own"));
        } else if overlap(listen, admin) {
            let problem = Problem::new(format!("`listen` is {listen}, and `admin` is {admin}"));
            self.refuse(problem.at(at).help(EVERY_ADDRESS));
        }
    }

    /// Requires a token beyond loopback, because every client of the admin address can drain
    /// upstreams.
    fn guarded(&mut self, raw: &RawTop, admin: SocketAddr) {
        let has_token = !(raw.admin_token_file.is_absent() && raw.admin_token_env.is_absent());
        let Some(at) = raw.admin.at() else { return };
        if !admin.ip().to_canonical().is_loopback() && !has_token {
            let problem = Problem::new(format!(
                "`admin` is {admin}, which others can reach: it needs a token"
            ))
            .at(at);
            self.refuse(problem.help(
                "name a file that holds a token with `admin_token_file`, or an environment variable with `admin_token_env`; or use \
                 127.0.0.1",
            ));
        }
    }
}
