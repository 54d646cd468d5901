//! By which servers containers look up names where their networks do not say.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proto::mesos::v1::NetworkInfo;
use serde::Deserialize;

use super::spec::{Networks, Wanted};
use crate::images::Way;

/// How names are looked up.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub struct Dns {
    /// Addresses of servers.
    pub nameservers: Vec<String>,
    /// The domain that this is in. Empty: none.
    pub domain: String,
    /// Domains in which short names are looked up.
    pub search: Vec<String>,
    /// As in `resolv.conf`.
    pub options: Vec<String>,
}

impl Dns {
    /// What stands in `resolv.conf`.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if !self.domain.is_empty() {
            let _ = writeln!(text, "domain {}", self.domain);
        }
        for (word, values) in [("search", &self.search), ("options", &self.options)] {
            if !values.is_empty() {
                let _ = writeln!(text, "{word} {}", values.join(" "));
            }
        }
        for server in &self.nameservers {
            let _ = writeln!(text, "nameserver {server}");
        }
        text
    }

    /// A word with a line break in it would be more than a word.
    fn is_plain(&self) -> bool {
        let words = [&self.nameservers, &self.search, &self.options].into_iter().flatten();
        let mut all = words.chain([&self.domain]);
        !self.nameservers.is_empty() && all.all(|word| !word.contains(char::is_whitespace))
    }
}

/// Which network a container is in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "UPPERCASE")]
enum Mode {
    /// Of containers of type MESOS: a network that its description names.
    Cni,
    /// The machine's.
    Host,
    /// Of containers of type DOCKER: Docker's own.
    Bridge,
    /// Of containers of type DOCKER: a network that its description names.
    User,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
struct Entry {
    network_mode: Mode,
    /// Absent: all that no other entry names.
    network_name: Option<String>,
    dns: Dns,
}

/// What counts for which containers (`--default_container_dns`).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerDns {
    mesos: Vec<Entry>,
    docker: Vec<Entry>,
}

/// Why a text does not say it.
#[derive(Debug, thiserror::Error)]
pub enum BadDns {
    /// It is not of the known form.
    #[error(
        "it is written as {{\"mesos\": [{{\"network_mode\": \"CNI\", \"network_name\": \"net1\", \
         \"dns\": {{\"nameservers\": [\"10.0.0.1\"]}}}}]}}, and likewise for \"docker\": {0}"
    )]
    Form(#[from] serde_json::Error),
    /// A kind of container has no such networks.
    #[error("'{kind}' has no network_mode {mode}; it has {has}")]
    Mode {
        /// `mesos` or `docker`.
        kind: &'static str,
        /// As it was given.
        mode: String,
        /// Those that there are.
        has: &'static str,
    },
    /// Two say something about the same.
    #[error("'{0}' has two entries for the same networks; leave one out")]
    Twice(&'static str),
    /// A name is of no use.
    #[error("'{0}' has a network_name where the mode names its network already; leave it out")]
    Named(&'static str),
    /// The servers are none.
    #[error("'{0}' has an entry without nameservers, or with spaces in its words")]
    Servers(&'static str),
}

impl ContainerDns {
    /// Reads it in the form that Mesos has.
    pub fn parse(text: &str) -> Result<Self, BadDns> {
        let read: Self = serde_json::from_str(text)?;
        check("mesos", &read.mesos, &[Mode::Cni, Mode::Host], "CNI and HOST")?;
        let modes = [Mode::Bridge, Mode::User, Mode::Host];
        check("docker", &read.docker, &modes, "BRIDGE, USER and HOST")?;
        Ok(read)
    }

    /// What counts for a container of which nobody else says it.
    pub(super) fn of(&self, wanted: &Wanted) -> Option<&Dns> {
        let is_docker = wanted.image.as_ref().is_some_and(|image| image.way == Way::Docker);
        let first = match &wanted.networks {
            Networks::Host => None,
            Networks::Own(networks) => Some(networks.first().map(NetworkInfo::name)?),
        };
        let (entries, mode) = match (is_docker, first) {
            (false, None) => (&self.mesos, Mode::Host),
            (false, Some(_)) => (&self.mesos, Mode::Cni),
            (true, None) => (&self.docker, Mode::Host),
            (true, Some(Networks::BRIDGE)) => (&self.docker, Mode::Bridge),
            (true, Some(_)) => (&self.docker, Mode::User),
        };
        let of_mode = || entries.iter().filter(|it| it.network_mode == mode);
        let named =
            of_mode().find(|it| it.network_name.is_some() && it.network_name.as_deref() == first);
        named.or_else(|| of_mode().find(|it| it.network_name.is_none())).map(|it| &it.dns)
    }
}

fn check(
    kind: &'static str,
    entries: &[Entry],
    modes: &[Mode],
    has: &'static str,
) -> Result<(), BadDns> {
    let mut seen = BTreeSet::new();
    for entry in entries {
        if !modes.contains(&entry.network_mode) {
            let mode = format!("{:?}", entry.network_mode).to_uppercase();
            return Err(BadDns::Mode { kind, mode, has });
        }
        let is_named = matches!(entry.network_mode, Mode::Cni | Mode::User);
        if !is_named && entry.network_name.is_some() {
            return Err(BadDns::Named(kind));
        }
        if !seen.insert((entry.network_mode, &entry.network_name)) {
            return Err(BadDns::Twice(kind));
        }
        if !entry.dns.is_plain() {
            return Err(BadDns::Servers(kind));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{Credentials, Overrides, WantedImage};

    fn entry(mode: &str, name: Option<&str>, server: &str) -> serde_json::Value {
        let dns = serde_json::json!({"nameservers": [server]});
        match name {
            Some(name) => {
                serde_json::json!({"network_mode": mode, "network_name": name, "dns": dns})
            }
            None => serde_json::json!({"network_mode": mode, "dns": dns}),
        }
    }

    fn parsed(
        mesos: &[serde_json::Value],
        docker: &[serde_json::Value],
    ) -> Result<ContainerDns, String> {
        let text = serde_json::json!({"mesos": mesos, "docker": docker}).to_string();
        ContainerDns::parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn each_kind_of_container_has_the_servers_of_its_networks() {
        let dns = parsed(
            &[entry("CNI", Some("blue"), "1"), entry("CNI", None, "2"), entry("HOST", None, "3")],
            &[entry("BRIDGE", None, "4"), entry("USER", Some("blue"), "5")],
        )
        .expect("it makes sense");
        let of = |is_docker: bool, network: Option<&str>| {
            let image = is_docker.then(|| WantedImage {
                reference: "x".to_owned(),
                cached: true,
                way: Way::Docker,
                credentials: Credentials::default(),
                overrides: Overrides::default(),
            });
            let networks = network.map_or(Networks::Host, |name| {
                let name = Some(name.to_owned());
                Networks::Own(vec![NetworkInfo { name, ..NetworkInfo::default() }])
            });
            let found = dns.of(&Wanted { networks, image, ..Wanted::default() }).cloned();
            found.map(|dns| dns.nameservers.concat())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!([of(false, Some("blue")), of(false, Some("red"))], [some("1"), some("2")]);
        assert_eq!([of(false, None), of(true, Some("mesos-bridge"))], [some("3"), some("4")]);
        assert_eq!([of(true, Some("blue")), of(true, Some("red"))], [some("5"), None]);
        assert_eq!(of(true, None), None);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let cni = || entry("CNI", Some("a"), "1");
        let twice = parsed(&[cni(), cni()], &[]).expect_err("one too many");
        assert!(twice.starts_with("'mesos' has two entries"), "{twice}");
        let mode = parsed(&[], &[cni()]).expect_err("Docker has no such mode");
        assert_eq!(mode, "'docker' has no network_mode CNI; it has BRIDGE, USER and HOST");
        let named = parsed(&[entry("HOST", Some("a"), "1")], &[]).expect_err("there is one host");
        assert!(named.starts_with("'mesos' has a network_name"), "{named}");
        let words = parsed(&[entry("HOST", None, "1\nsearch x")], &[]).expect_err("two lines");
        assert!(words.starts_with("'mesos' has an entry without nameservers"), "{words}");
        let form = ContainerDns::parse("10.0.0.1").expect_err("an address").to_string();
        assert!(form.starts_with("it is written as {\"mesos\""), "{form}");
    }
}
