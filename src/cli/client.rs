//! The client of a running geofront's admin endpoint.

use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::endpoint::AdminEndpoint;
use super::exit::Failure;
use super::other_version::{ReadStatus, version_in};
use crate::admin::MARK;
use crate::admin::answers::{
    Failure as Refusal, History, ModeOrder, ModeOrdered, Reload, Requests, Rolls, Status,
    SyncOrdered,
};

const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A little more than the endpoint's own limit.
const ANSWER_LIMIT: Duration = Duration::from_secs(35);

/// The end of the `Via` header of an answer that passed a front door.
const FRONT_DOOR: &[u8] = b" geofront";

/// The remedy where the default configuration, which may have another address or a token, is not
/// for this user.
const HIDDEN: &str = "this user may not read the address and the token in /etc/geofront/geofront.toml: \
    try sudo, or give them with --admin HOST:PORT and --token-file FILE";

/// A client of the admin endpoint.
#[derive(Debug)]
pub(super) struct AdminClient {
    target: AdminEndpoint,
    /// The address, with the cluster if one is named.
    label: String,
    agent: Agent,
}

/// The reason why an order was not carried out.
#[derive(Debug)]
pub(super) enum NotOrdered {
    /// No upstream would be left to serve. `--force` overrides.
    LastServing(String),
    Failed(Failure),
}

impl AdminClient {
    pub(super) fn new(target: AdminEndpoint) -> Self {
        let config = Agent::config_builder()
            // The admin endpoint is reached directly, even if the environment configures a web
            // proxy.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_global(Some(ANSWER_LIMIT))
            .build();
        let label = match &target.cluster {
            Some(cluster) => format!("{}, cluster {cluster}", target.address),
            None => target.address.clone(),
        };
        Self {
            target,
            label,
            agent: Agent::new_with_config(config),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.label
    }

    pub(super) fn status(&self) -> Result<Status, Failure> {
        Ok(self.read_status()?.status)
    }

    /// The status, and what it lacks because geofront is of another version.
    pub(super) fn read_status(&self) -> Result<ReadStatus, Failure> {
        self.parse_status(&self.status_json()?)
    }

    /// The status as the endpoint wrote it.
    pub(super) fn status_json(&self) -> Result<String, Failure> {
        let mut response = self.get("/api/status")?;
        self.success(&mut response)
    }

    pub(super) fn parse_status(&self, json: &str) -> Result<ReadStatus, Failure> {
        ReadStatus::parse(json).ok_or_else(|| self.strange(json))
    }

    pub(super) fn order_mode(
        &self,
        name: &str,
        order: &ModeOrder,
    ) -> Result<ModeOrdered, NotOrdered> {
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let body = serde_json::to_string(order).expect("words and a truth value are JSON");
        let mut response = self
            .post(&format!("/api/upstreams/{name}/mode"), &body)
            .map_err(NotOrdered::Failed)?;
        if response.status() == StatusCode::CONFLICT {
            return Err(NotOrdered::LastServing(
                self.refusal(&mut response).map_err(NotOrdered::Failed)?,
            ));
        }
        self.parse(&mut response).map_err(NotOrdered::Failed)
    }

    pub(super) fn reload_config(&self) -> Result<Reload, Failure> {
        let mut response = self.post("/api/config/reload", "")?;
        if response.status() == StatusCode::UNPROCESSABLE_ENTITY {
            let text = self.text(&mut response)?;
            return serde_json::from_str(&text).map_err(|_| self.strange(&text));
        }
        self.parse(&mut response)
    }

    pub(super) fn order_sync(&self) -> Result<SyncOrdered, Failure> {
        let mut response = self.post("/api/catalog/sync", "")?;
        self.parse(&mut response)
    }

    /// The history of the last five minutes, after sample `after`.
    pub(super) fn history(&self, after: u64) -> Result<History, Failure> {
        let mut response = self.get(&format!("/api/history?minutes=5&after={after}"))?;
        self.parse(&mut response)
    }

    /// The last slow and failed requests after number `after`.
    pub(super) fn requests(&self, after: u64) -> Result<Requests, Failure> {
        let mut response = self.get(&format!("/api/requests?after={after}"))?;
        self.parse(&mut response)
    }

    pub(super) fn rolls(&self) -> Result<Rolls, Failure> {
        let mut response = self.get("/api/catalog/history")?;
        self.parse(&mut response)
    }

    pub(super) fn pause_rolls(&self, is_paused: bool) -> Result<Rolls, Failure> {
        let mut response = self.post(
            if is_paused {
                "/api/catalog/pause"
            } else {
                "/api/catalog/resume"
            },
            "",
        )?;
        self.parse(&mut response)
    }

    fn get(&self, path: &str) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(self.url(path));
        if let Some(credential) = self.credential() {
            request = request.header("Authorization", credential);
        }
        let response = request.call().map_err(|error| self.unanswered(&error))?;
        self.of_admin(response)
    }

    fn post(&self, path: &str, body: &str) -> Result<Response<Body>, Failure> {
        let mut request = self
            .agent
            .post(self.url(path))
            .content_type("application/json")
            // Every request that changes something carries it: see the guard of the endpoint.
            .header(MARK, "cli");
        if let Some(credential) = self.credential() {
            request = request.header("Authorization", credential);
        }
        let response = request
            .send(body)
            .map_err(|error| self.unanswered(&error))?;
        self.of_admin(response)
    }

    /// The answer of the admin endpoint. One that passed a front door comes from an address for
    /// clients.
    fn of_admin(&self, response: Response<Body>) -> Result<Response<Body>, Failure> {
        let mut servers = response.headers().get_all("via").iter();
        if !servers.any(|server| server.as_bytes().ends_with(FRONT_DOOR)) {
            return Ok(response);
        }
        let failure = Failure::new(format!(
            "{} is an address for clients of geofront",
            self.target.address
        ));
        Err(failure.help("commands need the address of `admin`, by default 127.0.0.1:9090"))
    }

    fn url(&self, path: &str) -> String {
        let below = self.target.cluster.as_deref().map(|name| {
            let name =
                percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
            format!("/clusters/{name}")
        });
        let below = below.unwrap_or_default();
        format!("http://{}{below}{path}", self.target.address)
    }

    fn credential(&self) -> Option<String> {
        self.target
            .token
            .as_ref()
            .map(|token| format!("Bearer {token}"))
    }

    fn parse<T: DeserializeOwned>(&self, response: &mut Response<Body>) -> Result<T, Failure> {
        let text = self.success(response)?;
        serde_json::from_str(&text).map_err(|_| self.strange(&text))
    }

    /// The body of an answer that is a success.
    fn success(&self, response: &mut Response<Body>) -> Result<String, Failure> {
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            let failure = Failure::new(format!(
                "geofront on {} requires its admin token",
                self.target.address
            ));
            return Err(failure.help(if self.target.is_config_hidden {
                HIDDEN
            } else {
                "give the file with it: --token-file FILE, or --config FILE with the running configuration"
            }));
        }
        if !status.is_success() {
            return Err(Failure::new(self.refusal(response)?));
        }
        self.text(response)
    }

    fn refusal(&self, response: &mut Response<Body>) -> Result<String, Failure> {
        let text = self.text(response)?;
        serde_json::from_str::<Refusal>(&text)
            .map(|refusal| refusal.error)
            .map_err(|_| self.strange(&text))
    }

    fn text(&self, response: &mut Response<Body>) -> Result<String, Failure> {
        response
            .body_mut()
            .read_to_string()
            .map_err(|error| self.unanswered(&error))
    }

    fn unanswered(&self, error: &ureq::Error) -> Failure {
        let reason = match error {
            ureq::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        };
        Failure::new(format!(
            "geofront does not answer on {}: is it running? ({reason})",
            self.target.address
        ))
        .help(if self.target.is_config_hidden {
            HIDDEN
        } else {
            "--admin HOST:PORT uses another address, --config FILE the one configured there"
        })
    }

    /// The error for an answer that this command cannot read. Every status has the version of the
    /// running process.
    fn strange(&self, text: &str) -> Failure {
        let asked = || {
            let mut response = self.get("/api/status").ok()?;
            version_in(&self.text(&mut response).ok()?)
        };
        let Some(version) = version_in(text).or_else(asked) else {
            let start: String = text.chars().take(80).collect();
            return Failure::new(format!(
                "the server on {} is not geofront: `{start}`",
                self.target.address
            ));
        };
        let ours = env!("CARGO_PKG_VERSION");
        let failure = Failure::new(format!(
            "geofront {version} runs on {}, and this command of version {ours} cannot read its answer",
            self.target.address
        ));
        failure.help(format!(
            "restart geofront, so that {ours} runs, or use the command of version {version}"
        ))
    }
}
