//! What was done, or is about to be done, to join a container to its networks: enough to undo it
//! whatever has become of the networks' descriptions meanwhile.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use proto::mesos::v1::NetworkInfo;
use proto::mesos::v1::network_info::{IpAddress, Protocol};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::Network;
use crate::launcher::write_atomically;

/// The file that holds a container's network namespace, in its directory.
pub(super) const NAMESPACE: &str = "ns";

const RECORD: &str = "networks.json";

/// The networks of a container, in the order in which it joins them.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Record {
    pub(super) networks: Vec<Joined>,
}

/// One of them.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Joined {
    /// As it was described at the time.
    pub(super) network: Network,
    /// The name of the interface in the container.
    pub(super) interface: String,
    /// What was asked for.
    #[serde(with = "in_json")]
    pub(super) wanted: NetworkInfo,
    /// What others are told of it: what was asked for, with the addresses that were given.
    #[serde(with = "in_json")]
    pub(super) info: NetworkInfo,
    /// What the last plug-in answered. Null: it has not.
    pub(super) answer: Value,
}

impl Joined {
    /// The addresses that were asked for by number.
    pub(super) fn asked(&self) -> impl Iterator<Item = &str> {
        let addresses = self.wanted.ip_addresses.iter();
        addresses.filter_map(|address| address.ip_address.as_deref()).filter(|it| !it.is_empty())
    }
}

impl Record {
    /// Reads the record in a container's directory, if there is one.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(RECORD)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        write_atomically(&dir.join(RECORD), &serde_json::to_vec(self)?)
    }
}

/// A wire message in its own JSON form.
mod in_json {
    use proto::mesos::v1::NetworkInfo;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(
        info: &NetworkInfo,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        proto::json::to_value(info).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<NetworkInfo, D::Error> {
        let text = Value::deserialize(deserializer)?.to_string();
        proto::json::from_slice(text.as_bytes()).map_err(D::Error::custom)
    }
}

/// An address in the wire's form.
pub(super) fn address(ip: &IpAddr) -> IpAddress {
    let protocol = if ip.is_ipv6() { Protocol::IPv6 } else { Protocol::IPv4 };
    IpAddress { protocol: Some(protocol.into()), ip_address: Some(ip.to_string()) }
}
