//! What a master says about itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use model::link::FaultDomain;
use model::step::Timestamp;
use model::version::SPOKEN;
use proto::mesos::v1;
use proto::mesos::v1::master_info::capability::Type as Capability;

use crate::options::Options;

/// What clients may count on.
pub(crate) const CAPABILITIES: [Capability; 3] =
    [Capability::AgentUpdate, Capability::AgentDraining, Capability::QuotaV2];

/// What does not change while the master runs.
pub(crate) struct Facts {
    pub started_at: Timestamp,
    pub address: SocketAddr,
    pub hostname: String,
    pub cluster: Option<String>,
    pub flags: BTreeMap<String, String>,
    pub roles: Option<Vec<String>>,
    pub domain: Option<FaultDomain>,
    pub log_file: Option<PathBuf>,
}

impl Facts {
    pub(crate) fn new(options: &Options, address: SocketAddr, started_at: Timestamp) -> Self {
        Self {
            started_at,
            address,
            hostname: options.hostname.clone().unwrap_or_else(|| address.ip().to_string()),
            cluster: options.cluster.clone(),
            flags: options.flags.clone(),
            roles: options.roles.clone(),
            domain: options.domain.clone(),
            // Requests may name it by its whole path.
            log_file: options
                .log_file
                .as_deref()
                .map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned())),
        }
    }

    /// `host:port` as clients should use it.
    pub(crate) fn public_address(&self) -> String {
        if self.hostname.contains(':') && !self.hostname.starts_with('[') {
            // An IPv6 address must be told from its port.
            return format!("[{}]:{}", self.hostname, self.address.port());
        }
        format!("{}:{}", self.hostname, self.address.port())
    }

    pub(crate) fn version_info() -> v1::VersionInfo {
        v1::VersionInfo {
            version: SPOKEN.to_owned(),
            build_date: Some(String::new()),
            build_time: Some(0.0),
            build_user: Some(String::new()),
            git_sha: None,
            git_branch: None,
            git_tag: Some(format!("agora-{}", env!("CARGO_PKG_VERSION"))),
        }
    }

    /// The message that tells clients which master this is. `id` is that of the reign.
    pub(crate) fn master_info(&self, id: String) -> v1::MasterInfo {
        let port = self.address.port();
        v1::MasterInfo {
            id,
            ip: packed(self.address.ip()),
            port: u32::from(port),
            pid: Some(format!("master@{}", self.address)),
            hostname: Some(self.hostname.clone()),
            version: Some(SPOKEN.to_owned()),
            address: Some(v1::Address {
                hostname: Some(self.hostname.clone()),
                ip: Some(self.address.ip().to_string()),
                port: i32::from(port),
            }),
            domain: self.domain.as_ref().map(proto::convert::link::fault_domain_to_wire),
            capabilities: CAPABILITIES
                .map(|kind| v1::master_info::Capability { r#type: Some(kind as i32) })
                .to_vec(),
        }
    }
}

/// An IPv4 address as old clients read it: its bytes in network order, taken as a number.
fn packed(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(ip) => u32::from_le_bytes(ip.octets()),
        IpAddr::V6(_) => 0,
    }
}

/// The wall clock.
pub(crate) fn wall_clock() -> Timestamp {
    let since_1970 =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packed_address_is_the_one_old_clients_know() {
        assert_eq!(packed([127, 0, 0, 1].into()), 16_777_343);
    }
}
