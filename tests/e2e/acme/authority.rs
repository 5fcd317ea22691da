//! A small certificate authority that speaks ACME (RFC 8555) over TLS: it checks signatures and
//! nonces, verifies challenges over real sockets, and signs what was requested.

mod http;
mod verification;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use geofront::certificates::Authorities;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType, SignatureAlgorithm,
};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use http::{Answer, HttpRequest, whole_request};
use verification::{verify_http, verify_tls};

pub(crate) const DAY: i64 = 24 * 60 * 60;

/// The faults of the authority, and its refusals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Good,
    /// Refuses each order with this type, sentence and `Retry-After`.
    Refuses(&'static str, &'static str, Option<&'static str>),
    /// Answers an order with something else than JSON.
    Babbles,
    /// Issues certificates for another name.
    IssuesForOthers,
    /// Issues certificates that have expired.
    IssuesExpired,
}

/// The state of the authority, and the requests that it received.
#[derive(Default)]
struct Memory {
    nonces: BTreeSet<String>,
    made: u64,
    /// The public keys of the accounts, as uncompressed points.
    accounts: Vec<Account>,
    orders: Vec<OrderRecord>,
    mood: Mood,
    /// Requests that arrived.
    requests: usize,
}

#[derive(Clone)]
struct Account {
    point: Vec<u8>,
    thumbprint: String,
}

#[derive(Clone)]
struct OrderRecord {
    domains: Vec<String>,
    thumbprint: String,
    /// By domain, with the reason if the verification failed.
    verified: Vec<Option<Result<(), String>>>,
    chain: Option<String>,
}

/// Where the names of the certificates lead to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// Port 80.
    pub(crate) http: SocketAddr,
    /// Port 443.
    pub(crate) tls: SocketAddr,
}

/// A running authority.
pub(crate) struct Authority {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    memory: Mutex<Memory>,
    issuer: Issuer<'static, KeyPair>,
    issuer_pem: String,
    base: String,
    /// Challenges wait until the route is known.
    route: watch::Sender<Option<Route>>,
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Authority {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// Starts at an address that may have been another authority's.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "a test authority");
        let key = KeyPair::generate().unwrap();
        let issuer_pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let acceptor = TlsAcceptor::from(server_config(&issuer));
        let shared = Arc::new(Shared {
            memory: Mutex::default(),
            issuer,
            issuer_pem,
            base: format!("https://localhost:{}", address.port()),
            route: watch::Sender::new(None),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&serving));
                tokio::spawn(async move { shared.serve(acceptor, stream).await });
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) fn directory(&self) -> String {
        format!("{}/directory", self.shared.base)
    }

    /// The authority's own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.shared.issuer_pem
    }

    pub(crate) fn roots(&self) -> rustls::RootCertStore {
        let authorities = Authorities::from_pem(self.pem()).unwrap();
        rustls::RootCertStore::clone(authorities.roots())
    }

    /// Challenges are verified at these addresses from now on.
    pub(crate) fn route_to(&self, route: Route) {
        self.shared.route.send_replace(Some(route));
    }

    /// Challenges wait for the next route.
    pub(crate) fn forget_route(&self) {
        self.shared.route.send_replace(None);
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.shared.memory.lock().mood = mood;
    }

    pub(crate) fn orders(&self) -> usize {
        self.shared.memory.lock().orders.len()
    }

    pub(crate) fn accounts(&self) -> usize {
        self.shared.memory.lock().accounts.len()
    }

    pub(crate) fn requests(&self) -> usize {
        self.shared.memory.lock().requests
    }

    /// The accounts are unknown from now on.
    pub(crate) fn forget_accounts(&self) {
        self.shared.memory.lock().accounts.clear();
    }

    /// A certificate with its key that is `age` days old, for `left` more days.
    pub(crate) fn issue(&self, domains: &[&str], age: i64, left: i64) -> String {
        let key = KeyPair::generate().unwrap();
        let chain = self.shared.sign(domains, &key, age * DAY, left * DAY);
        format!("{chain}{}", key.serialize_pem())
    }
}

impl Shared {
    async fn serve(&self, acceptor: TlsAcceptor, stream: TcpStream) -> Option<()> {
        let mut stream = acceptor.accept(stream).await.ok()?;
        let mut read = Vec::new();
        let request = loop {
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
            if let Some(request) = whole_request(&read) {
                break request;
            }
        };
        self.memory.lock().requests += 1;
        let answer = self.answer(&request).await;
        let nonce = self.fresh("nonce");
        self.memory.lock().nonces.insert(nonce.clone());
        let mut wire = format!("HTTP/1.1 {} X\r\nReplay-Nonce: {nonce}\r\n", answer.status);
        for (name, value) in &answer.fields {
            wire.push_str(&format!("{name}: {value}\r\n"));
        }
        wire.push_str(&format!("Content-Length: {}\r\n\r\n", answer.body.len()));
        stream.write_all(wire.as_bytes()).await.ok()?;
        if request.method != "HEAD" {
            stream.write_all(&answer.body).await.ok()?;
        }
        stream.shutdown().await.ok()
    }

    fn fresh(&self, what: &str) -> String {
        let mut memory = self.memory.lock();
        memory.made += 1;
        format!("{what}-{}", memory.made)
    }

    async fn answer(&self, request: &HttpRequest) -> Answer {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/directory") => {
                let base = &self.base;
                Answer::json(
                    200,
                    &json!({
                        "newNonce": format!("{base}/nonce"),
                        "newAccount": format!("{base}/account"),
                        "newOrder": format!("{base}/order"),
                    }),
                )
            }
            ("HEAD", "/nonce") => Answer {
                status: 200,
                fields: Vec::new(),
                body: Vec::new(),
            },
            ("POST", path) => match self.signed(request) {
                Ok(signed) => self.posted(path, signed).await,
                Err(answer) => *answer,
            },
            _ => Answer::problem(404, "malformed", "no such resource"),
        }
    }

    /// Checks nonce, url and signature, and returns the account and the payload.
    fn signed(&self, request: &HttpRequest) -> Result<Signed, Box<Answer>> {
        let malformed = |detail: &str| Box::new(Answer::problem(400, "malformed", detail));
        let envelope: Value =
            serde_json::from_slice(&request.body).map_err(|_| malformed("no JSON"))?;
        let part = |name: &str| envelope[name].as_str().unwrap_or_default().to_owned();
        let (protected, payload) = (part("protected"), part("payload"));
        let decoded = |text: &str| BASE64.decode(text).map_err(|_| malformed("no Base64"));
        let header: Value = serde_json::from_slice(&decoded(&protected)?)
            .map_err(|_| malformed("no protected header"))?;
        let nonce = header["nonce"].as_str().unwrap_or_default();
        if !self.memory.lock().nonces.remove(nonce) {
            return Err(Box::new(Answer::problem(
                400,
                "badNonce",
                "the nonce is not known",
            )));
        }
        if header["url"] != format!("{}{}", self.base, request.path) || header["alg"] != "ES256" {
            return Err(malformed("another url or algorithm"));
        }
        let account = if header["jwk"].is_object() {
            account_of(&header["jwk"])
        } else {
            let number = header["kid"]
                .as_str()
                .and_then(|kid| kid.rsplit('/').next()?.parse().ok());
            let accounts = self.memory.lock().accounts.clone();
            number.and_then(|number: usize| accounts.get(number).cloned())
        };
        let account = account.ok_or_else(|| {
            Box::new(Answer::problem(
                400,
                "accountDoesNotExist",
                "no such account",
            ))
        })?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &account.point);
        let signature = decoded(&part("signature"))?;
        key.verify(format!("{protected}.{payload}").as_bytes(), &signature)
            .map_err(|_| malformed("a wrong signature"))?;
        let payload = serde_json::from_slice(&decoded(&payload)?).unwrap_or(Value::Null);
        Ok(Signed { account, payload })
    }

    async fn posted(&self, path: &str, signed: Signed) -> Answer {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let number = |text: &str| text.parse::<usize>().unwrap_or(usize::MAX);
        match parts[..] {
            ["account"] => {
                let mut memory = self.memory.lock();
                memory.accounts.push(signed.account);
                let id = format!("{}/account/{}", self.base, memory.accounts.len() - 1);
                Answer::json(201, &json!({ "status": "valid" })).with("Location", id)
            }
            ["order"] => self.new_order(&signed),
            ["order", order] => self.show_order(number(order)),
            ["authz", order, index] => self.show_authorization(number(order), number(index)),
            ["challenge", kind, order, index] => {
                self.verify(kind, number(order), number(index)).await
            }
            ["finalize", order] => self.finalize(number(order), &signed.payload),
            ["cert", order] => {
                let chain = self.order(number(order)).and_then(|order| order.chain);
                Answer {
                    status: 200,
                    fields: Vec::new(),
                    body: chain.unwrap_or_default().into_bytes(),
                }
            }
            _ => Answer::problem(404, "malformed", "no such resource"),
        }
    }

    fn order(&self, number: usize) -> Option<OrderRecord> {
        self.memory.lock().orders.get(number).cloned()
    }

    fn new_order(&self, signed: &Signed) -> Answer {
        let names = signed.payload["identifiers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let domains: Vec<String> = names
            .iter()
            .filter_map(|name| Some(name["value"].as_str()?.to_owned()))
            .collect();
        let number = {
            let mut memory = self.memory.lock();
            memory.orders.push(OrderRecord {
                verified: vec![None; domains.len()],
                domains,
                thumbprint: signed.account.thumbprint.clone(),
                chain: None,
            });
            memory.orders.len() - 1
        };
        match self.memory.lock().mood.clone() {
            Mood::Refuses(kind, detail, retry_after) => {
                let answer = Answer::problem(403, kind, detail);
                return match retry_after {
                    Some(wait) => answer.with("Retry-After", wait.to_owned()),
                    None => answer,
                };
            }
            Mood::Babbles => {
                return Answer {
                    status: 201,
                    fields: Vec::new(),
                    body: b"<html>a captive portal</html>".to_vec(),
                };
            }
            Mood::Good | Mood::IssuesForOthers | Mood::IssuesExpired => {}
        }
        let url = format!("{}/order/{number}", self.base);
        Answer {
            status: 201,
            ..self.show_order(number).with("Location", url)
        }
    }

    fn show_order(&self, number: usize) -> Answer {
        let Some(order) = self.order(number) else {
            return Answer::problem(404, "malformed", "no such order");
        };
        let is_ready = order
            .verified
            .iter()
            .all(|done| matches!(done, Some(Ok(()))));
        let is_invalid = order
            .verified
            .iter()
            .any(|done| matches!(done, Some(Err(_))));
        let status = match (&order.chain, is_ready, is_invalid) {
            (Some(_), _, _) => "valid",
            (None, true, _) => "ready",
            (None, false, true) => "invalid",
            (None, false, false) => "pending",
        };
        let authorizations: Vec<String> = (0..order.domains.len())
            .map(|index| format!("{}/authz/{number}/{index}", self.base))
            .collect();
        let mut shown = json!({
            "status": status,
            "authorizations": authorizations,
            "finalize": format!("{}/finalize/{number}", self.base),
        });
        if order.chain.is_some() {
            shown["certificate"] = json!(format!("{}/cert/{number}", self.base));
        }
        Answer::json(200, &shown)
    }

    fn show_authorization(&self, number: usize, index: usize) -> Answer {
        let Some(order) = self.order(number) else {
            return Answer::problem(404, "malformed", "no such order");
        };
        let challenge = |kind: &str| {
            let mut shown = json!({
                "type": kind,
                "url": format!("{}/challenge/{kind}/{number}/{index}", self.base),
                "token": token(number, index),
                "status": "pending",
            });
            if let Some(Err(why)) = &order.verified[index] {
                shown["status"] = json!("invalid");
                let kind = "urn:ietf:params:acme:error:unauthorized";
                shown["error"] = json!({ "type": kind, "detail": why });
            }
            shown
        };
        let status = match &order.verified[index] {
            None => "pending",
            Some(Ok(())) => "valid",
            Some(Err(_)) => "invalid",
        };
        Answer::json(
            200,
            &json!({
                "status": status,
                "identifier": { "type": "dns", "value": order.domains[index] },
                "challenges": [challenge("http-01"), challenge("tls-alpn-01")],
            }),
        )
    }

    async fn verify(&self, kind: &str, number: usize, index: usize) -> Answer {
        let Some(order) = self.order(number) else {
            return Answer::problem(404, "malformed", "no such order");
        };
        let mut known = self.route.subscribe();
        let route = *known.wait_for(Option::is_some).await.unwrap();
        let route = route.unwrap();
        let token = token(number, index);
        let expected = format!("{token}.{}", order.thumbprint);
        let domain = &order.domains[index];
        let verified = match kind {
            "http-01" => verify_http(route.http, domain, &token, &expected).await,
            _ => verify_tls(route.tls, domain, &expected).await,
        };
        self.memory.lock().orders[number].verified[index] = Some(verified);
        let url = format!("{}/challenge/{kind}/{number}/{index}", self.base);
        let shown = json!({ "type": kind, "url": url, "token": token, "status": "processing" });
        Answer::json(200, &shown)
    }

    fn finalize(&self, number: usize, payload: &Value) -> Answer {
        let Some(order) = self.order(number) else {
            return Answer::problem(404, "malformed", "no such order");
        };
        let request = BASE64
            .decode(payload["csr"].as_str().unwrap_or_default())
            .unwrap();
        let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
        let mut names: Vec<String> = Vec::new();
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(found) = extension {
                names.extend(found.general_names.iter().filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                }));
            }
        }
        if names != order.domains {
            return Answer::problem(400, "badCSR", "other names than ordered");
        }
        let point = &request
            .certification_request_info
            .subject_pki
            .subject_public_key
            .data;
        let key = Point(point.to_vec());
        let domains: Vec<&str> = match self.memory.lock().mood {
            Mood::IssuesForOthers => vec!["elsewhere.example"],
            _ => names.iter().map(String::as_str).collect(),
        };
        let left = if self.memory.lock().mood == Mood::IssuesExpired {
            -DAY
        } else {
            90 * DAY
        };
        let chain = self.sign(&domains, &key, 10 * DAY, left);
        self.memory.lock().orders[number].chain = Some(chain);
        self.show_order(number)
    }

    /// A chain for these names, `age` seconds old and valid for `left` seconds.
    fn sign(&self, domains: &[&str], key: &impl PublicKeyData, age: i64, left: i64) -> String {
        let mut params = CertificateParams::default();
        params.subject_alt_names = domains
            .iter()
            .map(|domain| SanType::DnsName((*domain).try_into().unwrap()))
            .collect();
        let now = SystemTime::now();
        let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
        params.not_before = (now - seconds(age)).into();
        params.not_after = if left < 0 {
            (now - seconds(left)).into()
        } else {
            (now + seconds(left)).into()
        };
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        format!("{}{}", certificate.pem(), self.issuer_pem)
    }
}

/// The public key of a request.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

struct Signed {
    account: Account,
    payload: Value,
}

fn token(order: usize, index: usize) -> String {
    format!("token-{order}-{index}")
}

/// The account of a key, with its thumbprint (RFC 7638).
fn account_of(key: &Value) -> Option<Account> {
    let (x, y) = (key["x"].as_str()?, key["y"].as_str()?);
    let canonical = format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}");
    let point = [vec![4], BASE64.decode(x).ok()?, BASE64.decode(y).ok()?].concat();
    Some(Account {
        point,
        thumbprint: BASE64.encode(digest(&SHA256, canonical.as_bytes())),
    })
}

fn server_config(issuer: &Issuer<'static, KeyPair>) -> Arc<ServerConfig> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}
