//! Speaks the registry protocol, version 2: manifests and blobs, tokens and passwords.
//!
//! Registries are not trusted. What they send is limited, and taken only if it has the digest that it
//! was asked for by; what the agent shows them goes to the registry it is for and to where that sends
//! the agent for a token, over TLS if the registry is spoken to over TLS.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use oci_spec::distribution::Reference;
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, RANGE, WWW_AUTHENTICATE};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::Reason;
use super::challenge::Challenge;
use super::credentials::{Credential, Credentials};
use super::digest::{self, Hashing};
use super::manifest::{self, CONFIG_BYTES_MAX, LAYER_BYTES_MAX, MANIFEST_BYTES_MAX, Manifest};
use super::registries::Endpoint;
use crate::fetcher::REDIRECTS_MAX;

/// Kinds of manifests that are understood.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The most bytes of a token's answer. Tokens are a few kilobytes.
const TOKEN_BYTES_MAX: u64 = 1 << 20;

/// The most bytes read of a registry's words about an error.
const ERROR_BYTES_MAX: u64 = 16 << 10;

/// How long a registry may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a transfer that breaks off is taken up again. A registry that fails as often is out of
/// order, and whoever launches decides what then.
const TRIES_MAX: u32 = 5;

/// How long to wait before the second try; it doubles.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Pieces of a download that wait for the disk.
const PIECES_MAX: usize = 16;

/// An image in a registry: what it is made of.
pub(super) struct Found {
    pub(super) manifest: String,
    pub(super) config: Vec<u8>,
    /// Digests and sizes of the layers as they are stored.
    pub(super) layers: Vec<(String, u64)>,
}

/// One repository of a registry, reached by one address.
#[derive(Debug)]
pub(super) struct Repository {
    client: reqwest::Client,
    host: String,
    address: String,
    name: String,
    credential: Option<Credential>,
    /// What it wants to be shown, once it has said so.
    shown: Mutex<Option<HeaderValue>>,
    stall_timeout: Duration,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: Option<String>,
    message: Option<String>,
}

/// Finds an image in the first place that has it.
pub(super) async fn find(
    endpoints: &[Endpoint],
    reference: &Reference,
    credentials: &Credentials,
    stall_timeout: Duration,
) -> Result<(Repository, Found), Reason> {
    let client = client()?;
    let mut last = Reason::NotFound("anywhere".to_owned());
    for endpoint in endpoints {
        for address in &endpoint.addresses {
            let repository = Repository {
                client: client.clone(),
                host: endpoint.host.clone(),
                address: address.clone(),
                name: reference.repository().to_owned(),
                credential: credentials.of(&endpoint.host).cloned(),
                shown: Mutex::default(),
                stall_timeout,
            };
            match repository.find(reference).await {
                Ok(found) => return Ok((repository, found)),
                Err(reason) => {
                    let is_unreachable = matches!(reason, Reason::Transfer { .. });
                    tracing::debug!(address, error = %reason, "an image is not to be had there");
                    last = reason;
                    if !is_unreachable {
                        break;
                    }
                }
            }
        }
    }
    Err(last)
}

impl Repository {
    /// Whose it is, for telling it from others.
    pub(super) fn origin(&self) -> String {
        format!("{}/{}", self.address, self.name)
    }

    async fn find(&self, reference: &Reference) -> Result<Found, Reason> {
        let by_digest = reference.digest().map(digest::parse).transpose()?;
        let wanted = by_digest.as_ref().map(ToString::to_string);
        let name = wanted.clone().or_else(|| reference.tag().map(str::to_owned));
        let name = name.unwrap_or_else(|| "latest".to_owned());
        let (digest, bytes) = self.manifest(&name, wanted).await?;
        let (digest, image) = match manifest::read(&bytes)? {
            Manifest::Image(image) => (digest, image),
            Manifest::Index(index) => {
                let wanted = manifest::for_this_machine(&index)?.digest().to_string();
                let (digest, bytes) = self.manifest(&wanted, Some(wanted.clone())).await?;
                match manifest::read(&bytes)? {
                    Manifest::Image(image) => (digest, image),
                    Manifest::Index(_) => {
                        return Err(Reason::Manifest("its index leads to another one".to_owned()));
                    }
                }
            }
        };
        let wanted = image.config().digest().to_string();
        let response = self.get(&format!("blobs/{wanted}"), "*/*", None).await?;
        let config = self.limited(response, "its configuration", CONFIG_BYTES_MAX).await?;
        digest::verify("its configuration", &config, &wanted)?;
        let layers = image.layers().iter().map(|it| (it.digest().to_string(), it.size()));
        Ok(Found { manifest: digest, config, layers: layers.collect() })
    }

    /// A manifest with its digest, which is `wanted` if anything is.
    async fn manifest(
        &self,
        name: &str,
        wanted: Option<String>,
    ) -> Result<(String, Vec<u8>), Reason> {
        let response = self.get(&format!("manifests/{name}"), MANIFESTS, None).await?;
        let said = response.headers().get("docker-content-digest");
        let said = said.and_then(|said| said.to_str().ok()).map(str::to_owned);
        let bytes = self.limited(response, "its manifest", MANIFEST_BYTES_MAX).await?;
        let found = digest::of(&bytes);
        let said = said.filter(|said| said.starts_with("sha256:"));
        if let Some(wanted) = wanted.or(said) {
            digest::compare("its manifest", &wanted, found.clone())?;
        }
        Ok((found, bytes))
    }

    /// Downloads a blob into a new file. What breaks off is taken up where it broke off.
    pub(super) async fn download(
        &self,
        wanted: &str,
        size: u64,
        path: &Path,
    ) -> Result<(), Reason> {
        let file =
            File::create(path).map_err(|source| Reason::Store { path: path.to_owned(), source })?;
        let (pieces, written) = mpsc::channel::<Vec<u8>>(PIECES_MAX);
        let owned = path.to_owned();
        let writer = tokio::task::spawn_blocking(move || write(file, written, &owned));
        let transferred = self.transfer(wanted, size, pieces).await;
        // The writer may have had to give up, which then is why the transfer did.
        let found = writer.await.expect("it does not panic")?;
        transferred?;
        digest::compare("a layer", wanted, found)
    }

    async fn transfer(
        &self,
        wanted: &str,
        size: u64,
        pieces: mpsc::Sender<Vec<u8>>,
    ) -> Result<(), Reason> {
        let mut taken = 0;
        let mut tries = 0;
        let mut wait = TRY_AGAIN_AFTER;
        loop {
            tries += 1;
            let before = taken;
            let outcome = self.transfer_from(&mut taken, wanted, size, &pieces).await;
            match outcome {
                Ok(()) => return Ok(()),
                Err(Reason::Transfer { error, .. }) if tries < TRIES_MAX => {
                    tracing::info!(
                        registry = self.host,
                        layer = wanted,
                        taken,
                        size,
                        error,
                        "a transfer broke off"
                    );
                }
                Err(Reason::Stalled { .. }) if tries < TRIES_MAX => {
                    tracing::info!(
                        registry = self.host,
                        layer = wanted,
                        taken,
                        size,
                        "a transfer stands still"
                    );
                }
                Err(reason) => return Err(reason),
            }
            if taken > before {
                // It gets on, if slowly.
                (tries, wait) = (1, TRY_AGAIN_AFTER);
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    /// Downloads what is missing, once.
    async fn transfer_from(
        &self,
        taken: &mut u64,
        wanted: &str,
        size: u64,
        pieces: &mpsc::Sender<Vec<u8>>,
    ) -> Result<(), Reason> {
        let from = Some(*taken).filter(|taken| *taken > 0);
        let mut response = self.get(&format!("blobs/{wanted}"), "*/*", from).await?;
        // Who knows nothing of parts sends all again.
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
        let mut skipped = if is_part { 0 } else { from.unwrap_or(0) };
        while let Some(piece) = self.piece(&mut response).await? {
            let skip = usize::try_from(skipped).unwrap_or(usize::MAX).min(piece.len());
            skipped -= skip as u64;
            let piece = piece[skip..].to_vec();
            *taken += piece.len() as u64;
            if *taken > size.min(LAYER_BYTES_MAX) {
                return Err(Reason::TooLarge { what: "a layer".to_owned(), most: size });
            }
            if pieces.send(piece).await.is_err() {
                // What the writer says counts.
                return Ok(());
            }
        }
        if *taken == size {
            return Ok(());
        }
        Err(self.failed(format!("it ended after {taken} of {size} bytes")))
    }

    /// Asks for something of the repository, and shows who asks if that is wanted.
    async fn get(&self, path: &str, accept: &str, from: Option<u64>) -> Result<Response, Reason> {
        let url = format!("{}/v2/{}/{path}", self.address, self.name);
        let shown = self.shown.lock().clone();
        let response = self.ask(&url, accept, from, shown).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.accepted(response, path).await;
        }
        let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let mut challenges = challenges.filter_map(|it| Challenge::read(it.to_str().ok()?));
        let Some(challenge) = challenges.next() else {
            return self.accepted(response, path).await;
        };
        let shown = self.answer(challenge).await?;
        *self.shown.lock() = Some(shown.clone());
        let response = self.ask(&url, accept, from, Some(shown)).await?;
        self.accepted(response, path).await
    }

    async fn ask(
        &self,
        url: &str,
        accept: &str,
        from: Option<u64>,
        shown: Option<HeaderValue>,
    ) -> Result<Response, Reason> {
        let mut request = self.client.get(url).header(ACCEPT, accept);
        if let Some(shown) = shown {
            request = request.header(AUTHORIZATION, shown);
        }
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        self.sent(request).await
    }

    async fn sent(&self, request: reqwest::RequestBuilder) -> Result<Response, Reason> {
        let within = self.stall_timeout + CONNECT_TIMEOUT;
        let answered = tokio::time::timeout(within, request.send()).await;
        let answered = answered.map_err(|_| self.stalled())?;
        answered.map_err(|error| self.failed(told(&error)))
    }

    /// What the registry wants to be shown.
    async fn answer(&self, challenge: Challenge) -> Result<HeaderValue, Reason> {
        let header = match (challenge, &self.credential) {
            (Challenge::Basic, Some(Credential::Basic { user, password })) => basic(user, password),
            (Challenge::Basic, _) => return Err(self.unauthorised("it wants a user and password")),
            (Challenge::Bearer { realm, service, scope }, credential) => {
                let token = self.token(&realm, service, scope, credential.as_ref()).await?;
                format!("Bearer {token}")
            }
        };
        let header = HeaderValue::from_str(&header);
        let mut header = header.map_err(|_| self.unauthorised("its token is none"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
        credential: Option<&Credential>,
    ) -> Result<String, Reason> {
        let url = reqwest::Url::parse(realm).ok();
        let is_safe = |url: &reqwest::Url| {
            url.scheme() == "https" || url.scheme() == "http" && self.address.starts_with("http://")
        };
        let Some(mut url) = url.filter(is_safe) else {
            return Err(self.unauthorised("it wants a token from where none can safely be had"));
        };
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.name));
        let service = service.unwrap_or_default();
        let request = if let Some(Credential::Refresh(token)) = credential {
            let mut form = reqwest::Url::parse("form:").expect("it is one");
            form.query_pairs_mut()
                .append_pair("grant_type", "refresh_token")
                .append_pair("service", &service)
                .append_pair("scope", &scope)
                .append_pair("client_id", "agora")
                .append_pair("refresh_token", token);
            let form = form.query().unwrap_or_default().to_owned();
            let kind = "application/x-www-form-urlencoded";
            self.client.post(url).header("content-type", kind).body(form)
        } else {
            url.query_pairs_mut().append_pair("service", &service).append_pair("scope", &scope);
            let request = self.client.get(url);
            match credential {
                Some(Credential::Basic { user, password }) => {
                    request.basic_auth(user, Some(password))
                }
                Some(Credential::Refresh(_)) | None => request,
            }
        };
        let response = self.sent(request).await?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(self.unauthorised("no token is given for its credentials"));
        }
        if !status.is_success() {
            return Err(self.failed(format!("{status} when asked for a token")));
        }
        let bytes = self.limited(response, "a token", TOKEN_BYTES_MAX).await?;
        let token = serde_json::from_slice::<Token>(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        token.ok_or_else(|| self.unauthorised("it answered without a token"))
    }

    /// A response that is what was asked for, or why there is none.
    async fn accepted(&self, response: Response, path: &str) -> Result<Response, Reason> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.limited(response, "an error", ERROR_BYTES_MAX).await.unwrap_or_default();
        let words = serde_json::from_slice::<Errors>(&bytes).ok();
        let words = words.and_then(|it| it.errors.into_iter().next());
        let words = words.and_then(|it| it.code.or(it.message)).unwrap_or_default();
        let words: String = words.chars().flat_map(char::escape_debug).take(100).collect();
        let answer = format!("{status} {words}").trim_end().to_owned();
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorised(&answer),
            StatusCode::NOT_FOUND if path.starts_with("manifests/") => {
                Reason::NotFound(format!("at {}", self.host))
            }
            _ => self.failed(format!("it answered {answer}")),
        })
    }

    async fn piece(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Reason> {
        let piece = tokio::time::timeout(self.stall_timeout, response.chunk()).await;
        let piece = piece.map_err(|_| self.stalled())?;
        piece.map_err(|error| self.failed(told(&error)))
    }

    /// All of a small answer.
    async fn limited(
        &self,
        mut response: Response,
        what: &str,
        most: u64,
    ) -> Result<Vec<u8>, Reason> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece(&mut response).await? {
            all.extend_from_slice(&piece);
            if all.len() as u64 > most {
                return Err(Reason::TooLarge { what: what.to_owned(), most });
            }
        }
        Ok(all)
    }

    fn failed(&self, error: String) -> Reason {
        Reason::Transfer { registry: self.host.clone(), error }
    }

    fn stalled(&self) -> Reason {
        Reason::Stalled { registry: self.host.clone(), within: self.stall_timeout }
    }

    fn unauthorised(&self, answer: &str) -> Reason {
        Reason::Unauthorised { registry: self.host.clone(), answer: answer.to_owned() }
    }
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

/// Writes pieces to a file until there are no more, and gives the digest of all. Blocks.
fn write(file: File, mut pieces: mpsc::Receiver<Vec<u8>>, path: &Path) -> Result<String, Reason> {
    let (mut file, passed) = Hashing::new(file);
    while let Some(piece) = pieces.blocking_recv() {
        file.write_all(&piece).map_err(|source| Reason::Store { path: path.to_owned(), source })?;
    }
    Ok(passed.digest())
}

/// One client for all registries.
fn client() -> Result<reqwest::Client, Reason> {
    static CLIENT: OnceLock<Result<reqwest::Client, String>> = OnceLock::new();
    let made = CLIENT.get_or_init(|| {
        transport::install_tls_provider();
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(Policy::custom(redirected))
            .user_agent("agora")
            .build()
            .map_err(|error| error.to_string())
    });
    made.clone().map_err(|error| Reason::Transfer { registry: "TLS".to_owned(), error })
}

/// Follows a registry to where it keeps its blobs, but not out of TLS.
fn redirected(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let was_safe = attempt.previous().last().is_some_and(|from| from.scheme() == "https");
    if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("it redirects too often")
    } else if was_safe && attempt.url().scheme() != "https" {
        attempt.error("it redirects to where there is no TLS")
    } else {
        attempt.follow()
    }
}

/// An error with its causes, but without the address: that may have a signature in it.
fn told(error: &reqwest::Error) -> String {
    use std::error::Error;
    let kind = if error.is_connect() { "no connection" } else { "the transfer failed" };
    let mut text = kind.to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
