//! Asking masters, agents and Marathon over HTTP, and saying well what went wrong.

use crate::tls::ClientTls;
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use transport::auth::Credential;
use transport::identity::Identity;

/// The longest a cluster may take to answer one question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Redirections followed for one question: from one that does not lead to one that did, and on.
const HOPS_MAX: usize = 4;

/// Which cluster is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// Masters, as host:port with commas between them; any one that is up will do
    #[arg(long, env = "AGORA_MASTER", default_value = "127.0.0.1:5050", global = true)]
    pub(crate) master: String,
    /// Marathon, as host:port with commas between them
    #[arg(long, env = "AGORA_MARATHON", default_value = "127.0.0.1:8080", global = true)]
    pub(crate) marathon: String,
    /// File with the name and the secret to show masters and agents, JSON {"principal": ..., "secret":
    /// ...} or a line of both
    #[arg(long, env = "AGORA_CREDENTIAL", global = true)]
    pub(crate) credential: Option<PathBuf>,
    /// The same for Marathon; by default as for the masters
    #[arg(long, env = "AGORA_MARATHON_CREDENTIAL", global = true)]
    pub(crate) marathon_credential: Option<PathBuf>,
    #[command(flatten)]
    tls: ClientTls,
    /// Print JSON for programs instead of tables for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Why a verb could not be carried out. Each kind has its own exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answered: exit code 3.
    #[error(
        "no {role} answers at {tried}: {cause}\nIs it running? Name it with --{flag} or AGORA_{env}."
    )]
    Unreachable {
        role: &'static str,
        flag: &'static str,
        env: String,
        tried: String,
        cause: String,
    },
    /// The cluster said no: exit code 1.
    #[error("{0}")]
    Refused(String),
    /// It said no because of how things stand: exit code 1.
    #[error("{0}")]
    Conflict(String),
    /// What was named is not there: exit code 4.
    #[error("{0}")]
    NotFound(String),
    /// The cluster answered what cannot be understood: exit code 1.
    #[error("cannot read the answer of {url}: {cause}")]
    Answer { url: String, cause: String },
    /// Something on this machine failed: exit code 1.
    #[error("{0}")]
    Local(String),
}

impl Failure {
    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Conflict(_) | Self::Answer { .. } | Self::Local(_) => 1,
            Self::Unreachable { .. } => 3,
            Self::NotFound(_) => 4,
        }
    }
}

/// A cluster to ask.
pub(crate) struct Cluster {
    client: reqwest::Client,
    marathon_client: reqwest::Client,
    /// For what goes on as long as it likes.
    streams: reqwest::Client,
    identity: Identity,
    masters: Vec<String>,
    marathons: Vec<String>,
    /// Whether answers are for programs.
    pub(crate) json: bool,
}

/// An id as it goes on in a path.
pub(super) fn bare(id: &str) -> &str {
    id.trim_start_matches('/')
}

impl Cluster {
    /// A cluster by its addresses. Nothing is asked yet.
    pub(crate) fn new(args: &ClusterArgs) -> Result<Self, Failure> {
        let tls = args.tls.load().map_err(|error| Failure::Local(format!("{error:#}")))?;
        let identity = match &args.credential {
            Some(path) => identity_of(path)?,
            None => Identity::default(),
        };
        let identity = identity.with_tls(tls.clone());
        let at_marathon = match &args.marathon_credential {
            Some(path) => identity_of(path)?.with_tls(tls),
            None => identity.clone(),
        };
        let list = |text: &str| text.split(',').map(|one| one.trim().to_owned()).collect();
        Ok(Self {
            client: client(&identity, Some(ANSWER_TIMEOUT))?,
            marathon_client: client(&at_marathon, Some(ANSWER_TIMEOUT))?,
            streams: client(&identity, None)?,
            identity,
            masters: list(&args.master),
            marathons: list(&args.marathon),
            json: args.json,
        })
    }

    /// What is shown to masters.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The masters, as they were named.
    pub(crate) fn masters(&self) -> &[String] {
        &self.masters
    }

    /// Reads `path` of the leading master; redirects are followed.
    pub(crate) async fn master(&self, path: &str) -> Result<Value, Failure> {
        let (url, answer) = self
            .first(&self.client, &self.masters, "master", "master", |client, base| {
                client.get(format!("{base}{path}"))
            })
            .await?;
        read(&url, answer).await
    }

    /// Has the leading master carry out a call of its operator API.
    pub(crate) async fn operate(&self, call: &Value) -> Result<Value, Failure> {
        let (url, answer) = self
            .first(&self.client, &self.masters, "master", "master", |client, base| {
                client.post(format!("{base}/api/v1")).json(call)
            })
            .await?;
        read(&url, answer).await
    }

    /// Reads `path` of Marathon.
    pub(crate) async fn marathon(&self, path: &str) -> Result<Value, Failure> {
        self.change(reqwest::Method::GET, path, None).await
    }

    /// Asks Marathon to change something.
    pub(crate) async fn change(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.deploy(method, path, body).await.map(|(answer, _)| answer)
    }

    /// The same, with the id of the deployment that carries the change out.
    pub(crate) async fn deploy(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(Value, Option<String>), Failure> {
        let (url, answer) = self
            .first(
                &self.marathon_client,
                &self.marathons,
                "Marathon",
                "marathon",
                |client, base| {
                    let request = client.request(method.clone(), format!("{base}{path}"));
                    match body {
                        Some(body) => request.json(body),
                        None => request,
                    }
                },
            )
            .await?;
        let id = answer.headers().get("marathon-deployment-id");
        let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok((read(&url, answer).await?, id))
    }

    /// Has Marathon keep `bytes` at `path`.
    pub(crate) async fn put_bytes(&self, path: &str, bytes: Vec<u8>) -> Result<Value, Failure> {
        let (url, answer) = self
            .first(
                &self.marathon_client,
                &self.marathons,
                "Marathon",
                "marathon",
                |client, base| client.put(format!("{base}{path}")).body(bytes.clone()),
            )
            .await?;
        read(&url, answer).await
    }

    /// Reads `url` of an agent.
    pub(crate) async fn agent(&self, address: &str, path: &str) -> Result<Value, Failure> {
        let bases = [address.to_owned()];
        let (url, answer) = self
            .first(&self.client, &bases, "agent", "master", |client, base| {
                client.get(format!("{base}{path}"))
            })
            .await?;
        read(&url, answer).await
    }

    /// Has an agent carry out a call of its operator API.
    pub(crate) async fn operate_agent(
        &self,
        address: &str,
        call: &Value,
    ) -> Result<Value, Failure> {
        let bases = [address.to_owned()];
        let (url, answer) = self
            .first(&self.client, &bases, "agent", "master", |client, base| {
                client.post(format!("{base}/api/v1")).json(call)
            })
            .await?;
        read(&url, answer).await
    }

    /// Makes a call of an agent's operator API that goes on for as long as it likes, and gives the answer
    /// when it begins.
    pub(crate) async fn stream(
        &self,
        address: &str,
        request: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, Failure> {
        let url = format!("{}://{address}/api/v1", self.identity.scheme());
        let answer = request(self.streams.post(&url)).send().await.map_err(|error| {
            Failure::Unreachable {
                role: "agent",
                flag: "master",
                env: "MASTER".to_owned(),
                tried: address.to_owned(),
                cause: root_cause(&error),
            }
        })?;
        if answer.status() == reqwest::StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        Err(match read(&url, answer).await {
            Err(failure) => failure,
            Ok(_) => Failure::Refused(format!("{url} answered {status}")),
        })
    }

    /// The first of `addresses` that takes a connection answers.
    async fn first(
        &self,
        client: &reqwest::Client,
        addresses: &[String],
        role: &'static str,
        flag: &'static str,
        request: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> Result<(String, reqwest::Response), Failure> {
        let mut cause = "no address given".to_owned();
        for address in addresses {
            let mut base = if address.contains("://") {
                address.trim_end_matches('/').to_owned()
            } else {
                format!("{}://{address}", self.identity.scheme())
            };
            let mut answer = request(client, &base).send().await;
            // Followed here, since the library keeps credentials from whoever leads.
            for _ in 0..HOPS_MAX {
                let Some(leader) = answer.as_ref().ok().and_then(leader_of) else { break };
                base = format!("{}://{leader}", self.identity.scheme());
                answer = request(client, &base).send().await;
            }
            match answer {
                Ok(answer) if answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE => {
                    cause = answer.text().await.unwrap_or_default();
                }
                Ok(answer) => return Ok((base, answer)),
                Err(error) => cause = root_cause(&error),
            }
        }
        let tried = addresses.join(", ");
        Err(Failure::Unreachable { role, flag, env: flag.to_uppercase(), tried, cause })
    }
}

/// Where an answer says who leads.
fn leader_of(answer: &reqwest::Response) -> Option<String> {
    if !answer.status().is_redirection() {
        return None;
    }
    let location = answer.headers().get(reqwest::header::LOCATION)?.to_str().ok()?;
    transport::client::location_address(location)
}

fn identity_of(path: &Path) -> Result<Identity, Failure> {
    let credential = Credential::load(path).map_err(|error| Failure::Local(error.to_string()))?;
    Ok(Identity::of(Some(credential)))
}

fn client(identity: &Identity, timeout: Option<Duration>) -> Result<reqwest::Client, Failure> {
    let builder = identity.http().connect_timeout(ANSWER_TIMEOUT);
    let builder = match timeout {
        Some(timeout) => builder.timeout(timeout),
        None => builder,
    };
    builder
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("agora/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Failure::Local(format!("cannot set up an HTTP client: {error}")))
}

async fn read(url: &str, answer: reqwest::Response) -> Result<Value, Failure> {
    let status = answer.status();
    let text = answer
        .text()
        .await
        .map_err(|error| Failure::Answer { url: url.to_owned(), cause: root_cause(&error) })?;
    if status.is_success() {
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        return serde_json::from_str(&text)
            .map_err(|error| Failure::Answer { url: url.to_owned(), cause: error.to_string() });
    }
    let mut message = said(&text).unwrap_or_else(|| format!("{url} answered {status}"));
    if status == reqwest::StatusCode::UNAUTHORIZED {
        message.push_str(
            "\nGive a file with a name and its secret by --credential, or a certificate by \
             --tls_cert_file and --tls_key_file.",
        );
    }
    if status == reqwest::StatusCode::NOT_FOUND {
        return Err(Failure::NotFound(message));
    }
    if status == reqwest::StatusCode::CONFLICT {
        return Err(Failure::Conflict(message));
    }
    Err(Failure::Refused(message))
}

/// The message of an error body: Marathon's JSON with its details, or the bare text.
fn said(body: &str) -> Option<String> {
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        let text = body.trim();
        return (!text.is_empty()).then(|| text.to_owned());
    };
    let mut text = value.get("message")?.as_str()?.to_owned();
    if let Some(details) = value.get("details").and_then(Value::as_array) {
        for detail in details {
            let path = detail.get("path").and_then(Value::as_str).unwrap_or("/");
            for error in detail.get("errors").and_then(Value::as_array).into_iter().flatten() {
                text.push_str("\n  ");
                text.push_str(path);
                text.push_str(": ");
                text.push_str(error.as_str().unwrap_or_default());
            }
        }
    }
    Some(text)
}

fn root_cause(error: &reqwest::Error) -> String {
    if let Some(why) = transport::tls::explain(error) {
        return why;
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_a_refusal_are_shown_by_path() {
        let body = r#"{"message":"Object is not valid","details":[{"path":"/cpus","errors":["must be positive"]}]}"#;
        assert_eq!(said(body).as_deref(), Some("Object is not valid\n  /cpus: must be positive"));
        assert_eq!(said("No leader elected\n").as_deref(), Some("No leader elected"));
        assert_eq!(said(""), None);
    }
}
