//! Offers.

use model::framework::Capabilities;
use model::ids::ExecutorId;
use model::offer::{InverseOffer, Offer};
use model::payload::Payload;
use model::role::Role;
use model::rules::Unavailability;

use super::{Malformed, payload, resources, unpack_own};
use crate::mesos::v1::resource::AllocationInfo;
use crate::mesos::v1::{self, Address, AgentInfo, Url};

/// Path under which an agent serves, which tools take from an offer to build links to sandboxes.
const AGENT_PATH: &str = "/slave(1)";

/// Writes an offer for a framework of these capabilities.
pub fn to_wire(offer: &Offer, capabilities: Capabilities) -> v1::Offer {
    let info: AgentInfo = unpack_own(&offer.agent_info);
    let form = form(capabilities);
    // Frameworks of one role decode strictly and do not know this field.
    let allocated_to = capabilities.multi_role.then_some(&offer.role);
    v1::Offer {
        id: (&offer.id).into(),
        framework_id: (&offer.framework).into(),
        agent_id: (&offer.agent).into(),
        hostname: offer.hostname.to_string(),
        url: Some(agent_url(&offer.hostname, &offer.agent_address)),
        domain: info.domain,
        resources: resources::to_wire(&offer.resources, form, allocated_to),
        attributes: info.attributes,
        executor_ids: offer.executors.iter().map(Into::into).collect(),
        unavailability: offer.unavailability.map(unavailability_to_wire),
        allocation_info: allocated_to
            .map(|role| AllocationInfo { role: Some(role.as_str().to_owned()) }),
    }
}

/// How reservations are written for a framework of these capabilities.
pub(super) fn form(capabilities: Capabilities) -> resources::Form {
    if capabilities.reservation_refinement { resources::Form::Stack } else { resources::Form::Old }
}

/// Writes an inverse offer: it holds no resources, since all that the framework has there is meant.
pub fn inverse_to_wire(offer: &InverseOffer) -> v1::InverseOffer {
    v1::InverseOffer {
        id: (&offer.id).into(),
        url: Some(agent_url(&offer.hostname, &offer.agent_address)),
        framework_id: (&offer.framework).into(),
        agent_id: Some((&offer.agent).into()),
        unavailability: unavailability_to_wire(offer.unavailability),
        resources: Vec::new(),
    }
}

/// Reads an inverse offer, as a framework does.
pub fn inverse_from_wire(wire: &v1::InverseOffer) -> Result<InverseOffer, Malformed> {
    let bad = |why: model::ids::BadId| Malformed(why.to_string());
    let agent = wire.agent_id.as_ref();
    let agent = agent.ok_or_else(|| Malformed::new("'agent_id' is missing"))?;
    let address = wire.url.as_ref().map(|url| url.address.clone()).unwrap_or_default();
    let host = address.hostname.unwrap_or_default();
    Ok(InverseOffer {
        id: (&wire.id).try_into().map_err(bad)?,
        framework: (&wire.framework_id).try_into().map_err(bad)?,
        agent: agent.try_into().map_err(bad)?,
        agent_address: format!("{host}:{}", address.port).into(),
        hostname: host.into(),
        unavailability: unavailability_from_wire(&wire.unavailability),
    })
}

/// Writes when a machine is to be away.
pub fn unavailability_to_wire(it: Unavailability) -> v1::Unavailability {
    let duration = it.duration_ns.map(|nanoseconds| v1::DurationInfo { nanoseconds });
    v1::Unavailability { start: v1::TimeInfo { nanoseconds: it.start_ns }, duration }
}

/// Reads when a machine is to be away.
pub fn unavailability_from_wire(it: &v1::Unavailability) -> Unavailability {
    let duration_ns = it.duration.as_ref().map(|it| it.nanoseconds);
    Unavailability { start_ns: it.start.nanoseconds, duration_ns }
}

/// Where an agent serves, as clients know it.
pub fn agent_url(hostname: &str, address: &str) -> Url {
    let (host, port) = split_address(address);
    Url {
        scheme: "http".to_owned(),
        address: Address {
            hostname: Some(hostname.to_owned()),
            ip: host.parse::<std::net::IpAddr>().is_ok().then(|| host.to_owned()),
            port: i32::from(port),
        },
        path: Some(AGENT_PATH.to_owned()),
        ..Url::default()
    }
}

/// Host, without brackets, and port. Port 0 where there is none.
pub(super) fn split_address(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (host, port.parse().unwrap_or(0))
}

/// Reads an offer, as a framework does. `role`: its role, if offers do not say for which they are.
pub fn from_wire(wire: v1::Offer, role: &Role) -> Result<Offer, Malformed> {
    let given = wire.allocation_info.and_then(|info| info.role);
    let role = match given {
        Some(role) => Role::new(role).map_err(|why| Malformed(why.to_string()))?,
        None => role.clone(),
    };
    let address = wire.url.map(|url| url.address).unwrap_or_default();
    let agent_info = AgentInfo {
        hostname: wire.hostname.clone(),
        port: Some(address.port),
        attributes: wire.attributes,
        id: Some(wire.agent_id.clone()),
        domain: wire.domain,
        ..AgentInfo::default()
    };
    let agent_info: Payload = payload(&agent_info);
    let host = address.ip.or(address.hostname).unwrap_or_else(|| wire.hostname.clone());
    let agent_address = if host.contains(':') {
        format!("[{host}]:{}", address.port)
    } else {
        format!("{host}:{}", address.port)
    };
    Ok(Offer {
        id: (&wire.id).try_into()?,
        framework: (&wire.framework_id).try_into()?,
        role,
        agent: (&wire.agent_id).try_into()?,
        hostname: wire.hostname.into(),
        resources: resources::from_wire(&wire.resources)?,
        executors: wire.executor_ids.iter().map(ExecutorId::try_from).collect::<Result<_, _>>()?,
        agent_info,
        agent_address: agent_address.into(),
        unavailability: wire.unavailability.as_ref().map(unavailability_from_wire),
    })
}

#[cfg(test)]
mod tests {
    use model::ids::{AgentId, FrameworkId, OfferId};
    use model::resources::{Attributes, Resources};

    use super::*;

    fn offer() -> Offer {
        let role = Role::new("web").expect("a role");
        let attributes = Attributes::parse("rack:r1").expect("well formed");
        let info = AgentInfo {
            hostname: "host.example".into(),
            port: Some(5051),
            id: Some(v1::AgentId { value: "a".into() }),
            attributes: resources::attributes_to_wire(&attributes),
            ..AgentInfo::default()
        };
        Offer {
            id: OfferId::new("o").expect("an id"),
            framework: FrameworkId::new("f").expect("an id"),
            role: role.clone(),
            agent: AgentId::new("a").expect("an id"),
            hostname: "host.example".into(),
            resources: Resources::parse("cpus:2;mem(web):64;ports:[1-3]", &Role::any())
                .expect("well formed"),
            executors: [ExecutorId::new("e").expect("an id")].into(),
            agent_info: payload(&info),
            agent_address: "10.0.0.7:5051".into(),
            unavailability: Some(Unavailability { start_ns: 5, duration_ns: None }),
        }
    }

    #[test]
    fn an_offer_survives() {
        let (offer, any) = (offer(), Role::any());
        let all = Capabilities {
            multi_role: true,
            reservation_refinement: true,
            ..Capabilities::default()
        };
        assert_eq!(from_wire(to_wire(&offer, all), &any), Ok(offer.clone()));
        let old = to_wire(&offer, Capabilities::default());
        assert_eq!(from_wire(old, &offer.role), Ok(offer));
    }

    #[test]
    fn frameworks_of_one_role_see_nothing_newer() {
        let wire = to_wire(&offer(), Capabilities::default());
        assert_eq!(wire.allocation_info, None);
        for resource in &wire.resources {
            assert_eq!(resource.allocation_info, None);
            assert_eq!(resource.reservations, []);
            assert!(resource.role.is_some());
        }
    }

    #[test]
    fn the_url_leads_to_the_agent() {
        let url = agent_url("host.example", "10.0.0.7:5051");
        assert_eq!(url.address.ip.as_deref(), Some("10.0.0.7"));
        assert_eq!((url.address.port, url.path.as_deref()), (5051, Some("/slave(1)")));
        assert_eq!(agent_url("h", "[::1]:80").address.ip.as_deref(), Some("::1"));
        assert_eq!(agent_url("h", "h:80").address.ip, None);
    }
}
