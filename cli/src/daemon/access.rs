//! Flags that say who must prove to be who they are, and by what.

use super::given;
use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use model::acl::Acls;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use transport::auth::{Credential, Credentials, TokenKey};
use transport::identity::Identity;
use transport::tls::Tls;

/// A way to prove who one is, by Mesos's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Authenticator {
    /// Name and secret by HTTP's Basic scheme
    Basic,
}

/// What a master asks of those who call it.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one flag")]
pub(crate) struct OfMaster {
    /// File of names with their secrets, JSON {"credentials": [{"principal": ..., "secret": ...}]} or a
    /// line of both for each; also as file:///path
    #[arg(long, env = "AGORA_CREDENTIALS", value_parser = given::path)]
    credentials: Option<PathBuf>,
    /// Whether frameworks must authenticate, over HTTP and gRPC
    #[arg(long, env = "AGORA_AUTHENTICATE_HTTP_FRAMEWORKS", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    authenticate_http_frameworks: bool,
    /// The same by its older name
    #[arg(long, env = "AGORA_AUTHENTICATE_FRAMEWORKS", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    authenticate_frameworks: bool,
    /// How frameworks authenticate
    #[arg(long, env = "AGORA_HTTP_FRAMEWORK_AUTHENTICATORS", value_enum, default_value_t = Authenticator::Basic)]
    http_framework_authenticators: Authenticator,
    /// Whether those must authenticate who only read
    #[arg(long, env = "AGORA_AUTHENTICATE_HTTP_READONLY", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    authenticate_http_readonly: bool,
    /// Whether those must authenticate who change something, and callers of the operator API
    #[arg(long, env = "AGORA_AUTHENTICATE_HTTP_READWRITE", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    authenticate_http_readwrite: bool,
    /// Whether agents must authenticate
    #[arg(long, env = "AGORA_AUTHENTICATE_AGENTS", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    authenticate_agents: bool,
    /// Whether other masters must authenticate; each then needs a credential
    #[arg(long, env = "AGORA_AUTHENTICATE_MASTERS", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    authenticate_masters: bool,
    /// File with the name and the secret that this master shows the others, in the forms of credentials;
    /// also as file:///path
    #[arg(long, env = "AGORA_CREDENTIAL", value_parser = given::path)]
    credential: Option<PathBuf>,
    /// Who may do what: rules in JSON, or a file with them, also as file:///path
    #[arg(long, env = "AGORA_ACLS")]
    acls: Option<String>,
    /// Whether what no rule speaks of is allowed; by default as the rules say, or else it is
    #[arg(long, env = "AGORA_PERMISSIVE", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    permissive: Option<bool>,
    /// How many calls a second each principal may make: limits in JSON, or a file with them, also as
    /// file:///path
    ///
    /// Such as {"limits": [{"principal": "web", "qps": 50, "capacity": 1000}, {"principal": "ops"}],
    /// "aggregate_default_qps": 10, "aggregate_default_capacity": 100}. Calls that come faster wait for
    /// their turn, up to capacity of them; the others are answered 429.
    #[arg(long, env = "AGORA_RATE_LIMITS")]
    rate_limits: Option<String>,
    /// Endpoints that nobody is answered on: rules in JSON, or a file with them, also as file:///path
    ///
    /// They are {"disabled_endpoints": {"paths": [...]}}, with paths such as "/files/browse". These are
    /// answered 403, whichever way they are written.
    #[arg(long, env = "AGORA_FIREWALL_RULES")]
    firewall_rules: Option<String>,
}

impl OfMaster {
    /// Sets these in `options`.
    pub(crate) fn apply(
        self,
        options: &mut master::Options,
        tls: Option<&Tls>,
    ) -> anyhow::Result<()> {
        let settings = master::Authentication {
            credentials: credentials(self.credentials.as_deref())?,
            frameworks: self.authenticate_http_frameworks || self.authenticate_frameworks,
            readonly: self.authenticate_http_readonly,
            readwrite: self.authenticate_http_readwrite,
            agents: self.authenticate_agents,
            masters: self.authenticate_masters,
        };
        let flags = [
            ("authenticate_http_frameworks", settings.frameworks),
            ("authenticate_http_readonly", settings.readonly),
            ("authenticate_http_readwrite", settings.readwrite),
            ("authenticate_agents", settings.agents),
            ("authenticate_masters", settings.masters),
        ];
        check(&flags, "credentials", settings.credentials.is_some(), tls)?;
        options.authentication = settings;
        options.acls = acls(self.acls.as_deref(), self.permissive)?;
        options.rate_limits = read_json("rate_limits", self.rate_limits.as_deref())?;
        options.firewall = read_json("firewall_rules", self.firewall_rules.as_deref())?;
        options.identity = identity(self.credential.as_deref())?.with_tls(tls.cloned());
        Ok(())
    }
}

/// What an agent asks of those who call it, and what it shows the masters.
#[derive(Args, Clone, Debug)]
pub(crate) struct OfAgent {
    /// File with the name and the secret that this agent shows the masters, JSON {"principal": ...,
    /// "secret": ...} or a line of both; also as file:///path
    #[arg(long, env = "AGORA_CREDENTIAL", value_parser = given::path)]
    credential: Option<PathBuf>,
    /// File of names with their secrets for those who call this agent, JSON {"credentials":
    /// [{"principal": ..., "secret": ...}]} or a line of both for each; also as file:///path
    #[arg(long, env = "AGORA_HTTP_CREDENTIALS", value_parser = given::path)]
    http_credentials: Option<PathBuf>,
    /// Whether those must authenticate who only read
    #[arg(long, env = "AGORA_AUTHENTICATE_HTTP_READONLY", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    authenticate_http_readonly: bool,
    /// Whether those must authenticate who change something, and callers of the operator API
    #[arg(long, env = "AGORA_AUTHENTICATE_HTTP_READWRITE", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    authenticate_http_readwrite: bool,
    /// Whether executors must authenticate; each is started with a token for that
    #[arg(long, env = "AGORA_AUTHENTICATE_HTTP_EXECUTORS", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    authenticate_http_executors: bool,
    /// File with the key that these tokens are signed with, at least 32 random bytes; keep it over
    /// restarts of the agent; also as file:///path
    #[arg(long, env = "AGORA_JWT_SECRET_KEY", value_parser = given::path)]
    jwt_secret_key: Option<PathBuf>,
    /// Who may do what: rules in JSON, or a file with them, also as file:///path
    #[arg(long, env = "AGORA_ACLS")]
    acls: Option<String>,
    /// Whether what no rule speaks of is allowed; by default as the rules say, or else it is
    #[arg(long, env = "AGORA_PERMISSIVE", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    permissive: Option<bool>,
    /// Endpoints that nobody is answered on: rules in JSON, or a file with them, also as
    /// file:///path
    ///
    /// They are {"disabled_endpoints": {"paths": [...]}}, with paths such as "/files/browse". These are
    /// answered 403, whichever way they are written.
    #[arg(long, env = "AGORA_FIREWALL_RULES")]
    firewall_rules: Option<String>,
}

impl OfAgent {
    /// Sets these in `options`.
    pub(crate) fn apply(
        self,
        options: &mut agent::Options,
        tls: Option<&Tls>,
    ) -> anyhow::Result<()> {
        let settings = agent::Authentication {
            credentials: credentials(self.http_credentials.as_deref())?,
            readonly: self.authenticate_http_readonly,
            readwrite: self.authenticate_http_readwrite,
            executors: self
                .jwt_secret_key
                .as_deref()
                .map(TokenKey::load)
                .transpose()?
                .map(Arc::new),
        };
        ensure!(
            self.authenticate_http_executors == settings.executors.is_some(),
            "--authenticate_http_executors and --jwt_secret_key go together: give both or none"
        );
        let flags = [
            ("authenticate_http_readonly", settings.readonly),
            ("authenticate_http_readwrite", settings.readwrite),
        ];
        check(&flags, "http_credentials", settings.credentials.is_some(), tls)?;
        options.authentication = settings;
        options.acls = acls(self.acls.as_deref(), self.permissive)?;
        options.firewall = read_json("firewall_rules", self.firewall_rules.as_deref())?;
        options.identity = identity(self.credential.as_deref())?.with_tls(tls.cloned());
        Ok(())
    }
}

/// What Marathon asks of those who call it, and what it shows the masters.
#[derive(Args, Clone, Debug)]
pub(crate) struct OfMarathon {
    /// user:password for all of the API but /ping; others on this machine can read it here, so rather
    /// give it by environment or in a file
    #[arg(long, env = "AGORA_HTTP_CREDENTIALS", hide_env_values = true)]
    http_credentials: Option<String>,
    /// File of names with their secrets for those who call Marathon, instead of http_credentials
    #[arg(long, env = "AGORA_HTTP_CREDENTIALS_FILE", conflicts_with = "http_credentials")]
    http_credentials_file: Option<PathBuf>,
    /// Name that Marathon shows the masters; also the principal of its framework
    #[arg(long, env = "AGORA_MESOS_AUTHENTICATION_PRINCIPAL")]
    mesos_authentication_principal: Option<String>,
    /// File with the secret that goes with it
    #[arg(
        long,
        env = "AGORA_MESOS_AUTHENTICATION_SECRET_FILE",
        requires = "mesos_authentication_principal"
    )]
    mesos_authentication_secret_file: Option<PathBuf>,
}

impl OfMarathon {
    /// Sets these in `options`.
    pub(crate) fn apply(
        self,
        options: &mut marathon::Options,
        tls: Option<&Tls>,
    ) -> anyhow::Result<()> {
        options.http_credentials = match self.http_credentials.as_deref() {
            None => credentials(self.http_credentials_file.as_deref())?,
            Some(pair) => {
                let pair = pair.split_once(':').filter(|(user, _)| !user.is_empty());
                let (user, password) = pair.context("--http_credentials is user:password")?;
                Some(Arc::new(Credentials::new([Credential::new(user, password)])))
            }
        };
        let principal = self.mesos_authentication_principal;
        if let (Some(principal), Some(path)) = (&principal, self.mesos_authentication_secret_file) {
            let secret = std::fs::read_to_string(&path);
            let secret = secret.with_context(|| {
                format!("--mesos_authentication_secret_file: cannot read {}", path.display())
            })?;
            // An editor ends a file with a line break.
            let secret = secret.trim_end_matches(['\r', '\n']);
            options.identity = Identity::of(Some(Credential::new(principal, secret)));
        }
        options.identity = options.identity.clone().with_tls(tls.cloned());
        options.principal = principal;
        Ok(())
    }
}

/// The identity that a file says.
pub(crate) fn identity(credential: Option<&Path>) -> anyhow::Result<Identity> {
    let credential = credential.map(Credential::load).transpose().context("--credential")?;
    Ok(Identity::of(credential))
}

fn credentials(path: Option<&Path>) -> anyhow::Result<Option<Arc<Credentials>>> {
    Ok(path.map(Credentials::load).transpose()?.map(Arc::new))
}

/// The rules that a flag says or names.
fn acls(text: Option<&str>, permissive: Option<bool>) -> anyhow::Result<Arc<Acls>> {
    let acls: Acls = read_json("acls", text)?;
    Ok(Arc::new(match permissive {
        Some(permissive) => acls.with_permissive(permissive),
        None => acls,
    }))
}

/// What the flag of this name says, in JSON, or the file that it names.
fn read_json<T: DeserializeOwned + Default>(flag: &str, text: Option<&str>) -> anyhow::Result<T> {
    match text {
        None => Ok(T::default()),
        Some(given) => {
            let text = given::text(given).with_context(|| format!("--{flag}"))?;
            serde_json::from_str(&text).with_context(|| format!("--{flag}"))
        }
    }
}

/// What is required must be possible: by a name and its secret, or by a certificate.
fn check(
    flags: &[(&str, bool)],
    source: &str,
    is_given: bool,
    tls: Option<&Tls>,
) -> anyhow::Result<()> {
    let is_possible = is_given || tls.is_some_and(Tls::asks_for_certificates);
    for (name, is_set) in flags {
        ensure!(
            !is_set || is_possible,
            "--{name} lets nobody in without --{source}: give a file with names and secrets, or have \
             certificates shown by --tls_client_certs"
        );
    }
    Ok(())
}
