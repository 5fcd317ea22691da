//! One order of a certificate: account, order, challenges, certificate (RFC 8555 section 7).

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::authority::{AuthorityClient, NotReached, RetryAfter};
use crate::acme::challenges::{self, PendingChallenge};
use crate::acme::files;
use crate::acme::schedule::{OrderFailure, OrderFault};
use crate::certificates::ServerCertificate;
use crate::config::{Acme, AcmeCertificate, AcmeChallenge};
use crate::driver::wall_clock::seconds_since_1970;

/// Time for a whole order.
const WHOLE: Duration = Duration::from_secs(10 * 60);

/// The polling of the authority, until it has verified the names and until it has issued the
/// certificate.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(3 * 60));

/// Maximum number of characters of an authority's sentence that are shown.
const MAX_SENTENCE: usize = 400;

const ACCOUNT_FILE: &str = "account.json";

const NO_SUCH_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";

/// Orders the certificate and writes it into its file.
pub(super) async fn order(acme: &Acme, wanted: &AcmeCertificate) -> Result<(), OrderFailure> {
    let ordered = timeout(WHOLE, with_account(acme, wanted)).await;
    // Also after a failure: nothing may be answered for an order that has ended.
    let withdrawn = in_background(&acme.folder, |folder| challenges::withdraw(&folder)).await;
    match ordered {
        Ok(ordered) => ordered.and(withdrawn),
        Err(_) => Err(failure(
            OrderFault::BadAnswer,
            "the order did not end in time".to_owned(),
        )),
    }
}

/// An account that the authority has forgotten is replaced once.
async fn with_account(acme: &Acme, wanted: &AcmeCertificate) -> Result<(), OrderFailure> {
    let first = Attempt::new(acme, wanted)?;
    match first.run().await {
        Err(Fault::Acme(error)) if is_problem(&error, NO_SUCH_ACCOUNT) => {
            tracing::warn!(
                directory = acme.directory,
                "the authority does not know the account: another one is made"
            );
            in_background(&acme.folder, |folder| {
                files::remove(&folder.join(ACCOUNT_FILE))
            })
            .await?;
            let second = Attempt::new(acme, wanted)?;
            second.run().await.map_err(|fault| second.failure(fault))
        }
        outcome => outcome.map_err(|fault| first.failure(fault)),
    }
}

/// The fault that ends an attempt.
enum Fault {
    Acme(Error),
    Other(OrderFailure),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Acme(error)
    }
}

impl From<OrderFailure> for Fault {
    fn from(failure: OrderFailure) -> Self {
        Self::Other(failure)
    }
}

fn failure(fault: OrderFault, why: String) -> OrderFailure {
    OrderFailure {
        fault,
        why,
        retry_after: None,
    }
}

/// An order with one account.
struct Attempt<'a> {
    acme: &'a Acme,
    wanted: &'a AcmeCertificate,
    retry_after: RetryAfter,
    client: parking_lot::Mutex<Option<AuthorityClient>>,
}

impl<'a> Attempt<'a> {
    fn new(acme: &'a Acme, wanted: &'a AcmeCertificate) -> Result<Self, OrderFailure> {
        let client = AuthorityClient::new(acme)
            .map_err(|NotReached(why)| failure(OrderFault::Unreachable, why))?;
        Ok(Self {
            acme,
            wanted,
            retry_after: client.retry_after(),
            client: parking_lot::Mutex::new(Some(client)),
        })
    }

    async fn run(&self) -> Result<(), Fault> {
        let account = self.account().await?;
        let names: Vec<Identifier> = self
            .wanted
            .domains
            .iter()
            .cloned()
            .map(Identifier::Dns)
            .collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        self.answer_challenges(&mut order).await?;
        if order.poll_ready(&POLLING).await? == OrderStatus::Invalid {
            return Err(self.refused_challenge(&mut order).await);
        }
        let (key, request) = self.signing_request()?;
        order.finalize_csr(&request).await?;
        let chain = order.poll_certificate(&POLLING).await?;
        self.keep(&chain, &key).await
    }

    /// Returns the account in the folder, or a new one.
    async fn account(&self) -> Result<Account, Fault> {
        let Some(client) = self.client.lock().take() else {
            return Err(
                failure(OrderFault::BadAnswer, "an attempt is used once".to_owned()).into(),
            );
        };
        let builder = Account::builder_with_http(Box::new(client));
        let path = self.acme.folder.join(ACCOUNT_FILE);
        let text = in_background(&path, |path| files::read(&path)).await?;
        if let Some(credentials) = text.and_then(|text| self.known(&text, &path)) {
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contact = self
            .acme
            .contact
            .as_ref()
            .map(|address| format!("mailto:{address}"));
        let contact: Vec<&str> = contact.as_deref().into_iter().collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.acme.directory.clone();
        let (account, credentials) = builder.create(&new, directory, None).await?;
        let file = AccountFile {
            directory: self.acme.directory.clone(),
            contact: self.acme.contact.clone(),
            credentials,
        };
        let text = serde_json::to_string_pretty(&file).map_err(Error::Json)?;
        in_background(&path, move |path| files::replace(&path, &text)).await?;
        Ok(account)
    }

    /// The credentials in a file; `None` if they are of another authority or contact, or torn.
    fn known(&self, text: &str, path: &Path) -> Option<AccountCredentials> {
        match serde_json::from_str::<AccountFile>(text) {
            Ok(file) => {
                let is_ours =
                    file.directory == self.acme.directory && file.contact == self.acme.contact;
                is_ours.then_some(file.credentials)
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot understand the account at the authority: another one is made");
                None
            }
        }
    }

    /// Publishes the answers for the authority, and lets it begin.
    async fn answer_challenges(&self, order: &mut Order) -> Result<(), Fault> {
        let kind = match self.acme.challenge {
            AcmeChallenge::Http01 => ChallengeType::Http01,
            AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let mut pending = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let domain = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Pending => {}
                // Verified before, and still remembered.
                AuthorizationStatus::Valid => continue,
                status => {
                    let why = format!("the authorization of {domain} is {status:?} at once");
                    return Err(failure(OrderFault::BadAnswer, why).into());
                }
            }
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                let why = format!("the authority offers no {kind:?} challenge for {domain}");
                return Err(failure(OrderFault::Refused, why).into());
            };
            let answer = challenge.key_authorization();
            pending.push(PendingChallenge {
                domain,
                token: challenge.token.clone(),
                key_authorization: answer.as_str().to_owned(),
                digest: BASE64_STANDARD.encode(answer.digest()),
            });
            let published = pending.clone();
            in_background(&self.acme.folder, move |folder| {
                challenges::publish(&folder, &published)
            })
            .await?;
            challenge.set_ready().await?;
        }
        Ok(())
    }

    /// The reason why the authority did not accept a challenge.
    async fn refused_challenge(&self, order: &mut Order) -> Fault {
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let domain = authorization.identifier().to_string();
            let Ok(state) = authorization.refresh().await else {
                continue;
            };
            let problem = state
                .challenges
                .iter()
                .find_map(|challenge| challenge.error.as_ref());
            if let Some(problem) = problem {
                let why = format!(
                    "the authority could not verify {domain}: {}",
                    sentence(problem)
                );
                return failure(OrderFault::Challenge, why).into();
            }
        }
        let why = "the authority could not verify a name, and gave no reason".to_owned();
        failure(OrderFault::Challenge, why).into()
    }

    /// A new key, and the request to sign it.
    fn signing_request(&self) -> Result<(String, Vec<u8>), Fault> {
        let made = || -> Result<(String, Vec<u8>), rcgen::Error> {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            for domain in &self.wanted.domains {
                params
                    .subject_alt_names
                    .push(SanType::DnsName(domain.as_str().try_into()?));
            }
            let key = KeyPair::generate()?;
            let request = params.serialize_request(&key)?;
            Ok((key.serialize_pem(), request.der().to_vec()))
        };
        made().map_err(|error| failure(OrderFault::BadAnswer, error.to_string()).into())
    }

    /// Writes the certificate, if it is the one that was ordered.
    async fn keep(&self, chain: &str, key: &str) -> Result<(), Fault> {
        let unusable = |why: &str| {
            failure(
                OrderFault::BadAnswer,
                format!("the authority's certificate cannot be used: {why}"),
            )
        };
        let issued = ServerCertificate::from_pem(chain, key)
            .map_err(|fault| unusable(&fault.to_string()))?;
        if let Some(domain) = self
            .wanted
            .domains
            .iter()
            .find(|domain| !issued.names().contains(domain))
        {
            return Err(unusable(&format!("it is not for {domain}")).into());
        }
        if issued.not_after() <= seconds_since_1970() {
            return Err(unusable("it has expired").into());
        }
        let text = format!("{}\n{key}", chain.trim_end());
        in_background(&self.wanted.file, move |file| files::replace(&file, &text)).await?;
        Ok(())
    }

    fn failure(&self, fault: Fault) -> OrderFailure {
        let error = match fault {
            Fault::Other(failure) => return failure,
            Fault::Acme(error) => error,
        };
        let (fault, why) = match &error {
            Error::Api(problem) if is_problem(&error, RATE_LIMITED) => {
                (OrderFault::RateLimited, sentence(problem))
            }
            Error::Api(problem) => (OrderFault::Refused, sentence(problem)),
            Error::Other(cause) => match cause.downcast_ref() {
                Some(NotReached(why)) => (OrderFault::Unreachable, why.clone()),
                None => (OrderFault::BadAnswer, cause.to_string()),
            },
            Error::Timeout(_) => (
                OrderFault::BadAnswer,
                "the authority did not complete the order in time".to_owned(),
            ),
            other => (OrderFault::BadAnswer, other.to_string()),
        };
        OrderFailure {
            fault,
            why: shortened(&why),
            retry_after: self.retry_after.get(),
        }
    }
}

/// The account as it is stored.
#[derive(Serialize, Deserialize)]
struct AccountFile {
    directory: String,
    contact: Option<String>,
    credentials: AccountCredentials,
}

fn is_problem(error: &Error, kind: &str) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some(kind))
}

/// The authority's own words on one line.
fn sentence(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or("no type");
    let kind = kind
        .strip_prefix("urn:ietf:params:acme:error:")
        .unwrap_or(kind);
    let detail = problem.detail.as_deref().unwrap_or("no detail");
    let parts = problem
        .subproblems
        .iter()
        .filter_map(|part| part.detail.as_deref());
    let all: Vec<&str> = [detail].into_iter().chain(parts).collect();
    shortened(&format!("{} ({kind})", all.join("; ")))
}

/// Text of the authority in a form for the log and the status.
fn shortened(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.take(MAX_SENTENCE).collect()
}

/// Works on a file on a thread that may block.
async fn in_background<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(PathBuf) -> std::io::Result<T> + Send + 'static,
) -> Result<T, OrderFailure> {
    let owned = path.to_owned();
    let done = tokio::task::spawn_blocking(move || work(owned)).await;
    let done = done.unwrap_or_else(|_| Err(std::io::Error::other("the process ends")));
    done.map_err(|error| failure(OrderFault::Folder, format!("{}: {error}", path.display())))
}
