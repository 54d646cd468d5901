//! What plug-ins answer: addresses and name servers, in every form that the specification has had.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::super::dns::Dns;

/// What is wanted of an answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Answer {
    /// The container's addresses in the network.
    pub(super) addresses: Vec<IpAddr>,
    /// How names are looked up in it.
    pub(super) dns: Dns,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Wire {
    ips: Vec<Address>,
    /// Before version 0.3.
    ip4: Option<Old>,
    ip6: Option<Old>,
    dns: Dns,
}

#[derive(Deserialize)]
struct Address {
    address: String,
}

#[derive(Deserialize)]
struct Old {
    ip: String,
}

/// Reads an answer. One without addresses is an answer too.
pub(super) fn read(answer: &Value) -> Result<Answer, String> {
    if answer.is_null() {
        return Ok(Answer::default());
    }
    let wire = Wire::deserialize(answer).map_err(|error| error.to_string())?;
    let old = [wire.ip4, wire.ip6].into_iter().flatten().map(|old| old.ip);
    let texts = wire.ips.into_iter().map(|it| it.address).chain(old);
    let addresses = texts.map(|text| {
        let address = text.split('/').next().unwrap_or_default().parse();
        address.map_err(|_| format!("'{text}' is no address"))
    });
    Ok(Answer { addresses: addresses.collect::<Result<_, _>>()?, dns: wire.dns })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_read_in_old_and_new_form() {
        let new = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}],
            "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}, {"address": "fd00::5/64"}],
            "dns": {"nameservers": ["10.1.0.1"], "search": ["cluster"]}});
        let answer = read(&new).expect("an answer");
        let expected: Vec<IpAddr> =
            ["10.1.0.5", "fd00::5"].map(|text| text.parse().expect("an address")).to_vec();
        assert_eq!(answer.addresses, expected);
        assert_eq!(answer.dns.nameservers, ["10.1.0.1"]);
        assert_eq!(answer.dns.search, ["cluster"]);
        let old = json!({"ip4": {"ip": "10.1.0.5/16"}, "ip6": {"ip": "fd00::5/64"}});
        assert_eq!(read(&old).expect("an answer").addresses, expected);
        assert_eq!(read(&Value::Null), Ok(Answer::default()));
        let error = read(&json!({"ips": [{"address": "here"}]})).expect_err("no address");
        assert_eq!(error, "'here' is no address");
    }
}
