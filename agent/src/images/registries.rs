//! Which registry a reference leads to, and by which addresses it is reached.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use oci_spec::distribution::Reference;

use super::credentials::Credentials;

/// What references without a registry mean.
const DOCKER_HUB: &str = "docker.io";

/// Where Docker's own registry is.
const DOCKER_HUB_ADDRESS: &str = "https://registry-1.docker.io";

/// Where images come from, and who this agent is there.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// Where references lead that name no registry (`--docker_registry`).
    pub default: Registry,
    /// Addresses that are asked before a registry's own (`--docker_registry_mirrors`).
    pub mirrors: Vec<Mirror>,
    /// Registries, `host:port`, that may be spoken to without TLS (`--docker_insecure_registries`).
    /// Those of this machine may in any case.
    pub insecure: BTreeSet<String>,
    /// What registries are shown (`--docker_config`).
    pub credentials: Credentials,
}

/// Where references lead that name no registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Registry {
    /// To a directory of this machine with archives or layouts in it, and so do all others.
    Directory(PathBuf),
    /// To a registry at `http(s)://host:port`.
    Address(String),
}

impl Default for Registry {
    fn default() -> Self {
        Self::Address(DOCKER_HUB_ADDRESS.to_owned())
    }
}

/// An address that is asked before the registry itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mirror {
    /// The registry, as references name it.
    pub registry: String,
    /// `http(s)://host:port`.
    pub address: String,
}

/// A flag that makes no sense.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadRegistry {
    /// Neither a path nor an address.
    #[error(
        "'{0}' is neither an absolute path nor an address such as https://registry.example.com:5000"
    )]
    Registry(String),
    /// Not of the form of a mirror.
    #[error("'{0}' is not of the form 'docker.io=https://mirror.example.com'")]
    Mirror(String),
}

impl Registry {
    /// Reads the flag: an address, a host, or an absolute path.
    pub fn parse(text: &str) -> Result<Self, BadRegistry> {
        if let Some(path) =
            text.strip_prefix("file://").or(Some(text)).filter(|it| it.starts_with('/'))
        {
            return Ok(Self::Directory(path.into()));
        }
        let address =
            if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let wrong = || BadRegistry::Registry(text.to_owned());
        parse_address(&address).map(Self::Address).ok_or_else(wrong)
    }
}

impl Mirror {
    /// Reads `registry=address`; without a registry it is Docker's own.
    pub fn parse(text: &str) -> Result<Self, BadRegistry> {
        let (registry, address) = text.split_once('=').unwrap_or((DOCKER_HUB, text));
        let wrong = || BadRegistry::Mirror(text.to_owned());
        if registry.is_empty() || registry.contains('/') {
            return Err(wrong());
        }
        let address = parse_address(address).ok_or_else(wrong)?;
        Ok(Self { registry: registry.to_owned(), address })
    }
}

/// An address without what does not belong to it.
fn parse_address(text: &str) -> Option<String> {
    let text = text.trim_end_matches('/');
    let text = text.strip_suffix("/v2").unwrap_or(text);
    let url: reqwest::Url = text.parse().ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (plain && bare).then(|| text.to_owned())
}

/// One place to ask for an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Endpoint {
    /// What it is called to people, and what credentials are kept under.
    pub(super) host: String,
    /// Where it is reached; the second is tried when nobody speaks TLS at the first.
    pub(super) addresses: Vec<String>,
}

impl Registries {
    /// The places to ask for an image, the first first.
    pub(super) fn endpoints(&self, reference: &Reference) -> Vec<Endpoint> {
        let registry = reference.registry();
        let mirrors = self.mirrors.iter().filter(|mirror| mirror.registry == registry);
        let mut all: Vec<Endpoint> =
            mirrors.map(|mirror| Endpoint::at(&mirror.address, host_of(&mirror.address))).collect();
        all.push(match &self.default {
            Registry::Address(address) if registry == DOCKER_HUB => {
                Endpoint::at(address, host_of(address))
            }
            Registry::Address(_) | Registry::Directory(_) => {
                let mut addresses = vec![format!("https://{registry}")];
                if self.insecure.contains(registry) || is_loopback(registry) {
                    addresses.push(format!("http://{registry}"));
                }
                Endpoint { host: registry.to_owned(), addresses }
            }
        });
        all
    }
}

impl Endpoint {
    fn at(address: &str, host: String) -> Self {
        Self { host, addresses: vec![address.to_owned()] }
    }
}

fn host_of(address: &str) -> String {
    address.split_once("://").map_or(address, |(_, host)| host).to_owned()
}

fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(registries: &Registries, reference: &str) -> Vec<String> {
        let reference = reference.parse().expect("a reference");
        let endpoints = registries.endpoints(&reference);
        endpoints.into_iter().flat_map(|endpoint| endpoint.addresses).collect()
    }

    #[test]
    fn references_lead_to_their_registry_by_way_of_its_mirrors() {
        let mut registries = Registries::default();
        for name in ["busybox", "library/busybox:1", "docker.io/a/b", "index.docker.io/a/b"] {
            assert_eq!(asked(&registries, name), ["https://registry-1.docker.io"], "{name}");
        }
        assert_eq!(asked(&registries, "quay.io/a/b"), ["https://quay.io"]);
        let both = ["https://localhost:5000", "http://localhost:5000"];
        assert_eq!(asked(&registries, "localhost:5000/a"), both);
        assert_eq!(asked(&registries, "10.0.0.1:5000/a"), ["https://10.0.0.1:5000"]);
        registries.insecure.insert("10.0.0.1:5000".to_owned());
        assert_eq!(asked(&registries, "10.0.0.1:5000/a").len(), 2);
        registries.default = Registry::parse("registry.example:5000").expect("a host");
        registries.mirrors = vec![Mirror::parse("http://mirror:80/").expect("an address")];
        assert_eq!(asked(&registries, "a"), ["http://mirror:80", "https://registry.example:5000"]);
        assert_eq!(asked(&registries, "quay.io/a"), ["https://quay.io"]);
    }

    #[test]
    fn flags_are_read_or_refused_with_their_text() {
        let directory = |path: &str| Ok(Registry::Directory(path.into()));
        assert_eq!(Registry::parse("/srv/images"), directory("/srv/images"));
        assert_eq!(Registry::parse("file:///srv/images"), directory("/srv/images"));
        let address = Registry::Address("https://h:1/prefix".to_owned());
        assert_eq!(Registry::parse("https://h:1/prefix/v2/"), Ok(address));
        for text in ["ftp://h", "https://", "https://u:p@h", "https://h?x", ""] {
            assert_eq!(
                Registry::parse(text),
                Err(BadRegistry::Registry(text.to_owned())),
                "{text}"
            );
        }
        for text in ["quay.io=ftp://h", "=https://h", "a/b=https://h"] {
            assert_eq!(Mirror::parse(text), Err(BadRegistry::Mirror(text.to_owned())), "{text}");
        }
    }
}
