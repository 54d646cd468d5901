//! What an agent says of itself: where it is reached, and what it has.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use model::amount::{Milli, Ranges};
use model::link::AgentDescription;
use model::resources::{PORTS_DEFAULT, Resources, Value, unreserved};
use proto::convert;
use proto::mesos::v1::AgentInfo;

use crate::detect::Machine;
use crate::options::{Options, StartError};
use crate::resources_flag;

/// Where others reach this agent.
pub(crate) fn advertised(options: &Options, bound: SocketAddr) -> SocketAddr {
    let ip = options.advertise_ip.unwrap_or_else(|| {
        if bound.ip().is_unspecified() { outward_ip(&options.masters) } else { bound.ip() }
    });
    SocketAddr::new(ip, options.advertise_port.unwrap_or(bound.port()))
}

/// The address from which this machine would speak to a master. Nothing is sent for it.
fn outward_ip(masters: &[String]) -> IpAddr {
    let ask = |master: &String| -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(master)?;
        Ok(socket.local_addr()?.ip())
    };
    let found = masters.iter().find_map(|master| ask(master).ok());
    found.filter(|ip| !ip.is_unspecified()).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// How many graphics processors can be given to containers, if any are given at all.
fn gpus(options: &Options) -> Result<Option<i64>, StartError> {
    let isolation = options.isolation.as_deref().unwrap_or_default();
    if !isolation.split(',').any(|name| name.trim() == "gpu/nvidia") {
        return Ok(None);
    }
    let found = options.gpus.found().map_err(StartError::Gpus)?;
    Ok(i64::try_from(found.len()).ok())
}

/// What is offered: as the flag says, and what it does not name as detected.
fn resources(options: &Options, machine: &Machine) -> Result<Resources, StartError> {
    let given = options.resources.as_deref().unwrap_or_default();
    let given = resources_flag::read(given, &options.default_role, &options.work_dir)
        .map_err(StartError::Resources)?;
    let (mut all, names) = (given.resources, given.names);
    let mebibytes =
        |bytes: u64| Milli::units(i64::try_from(bytes >> 20).unwrap_or(i64::MAX / 1_000));
    let (gpus, all_given) = (gpus(options)?, all.scalar("gpus"));
    let mut key = |name: &str, value: Value| {
        let mut key = unreserved(name);
        if !options.default_role.is_any() {
            key.kind = Arc::new(model::resources::Kind::of_role(&options.default_role));
        }
        all.insert(key, value);
    };
    let missing: Vec<&str> = ["cpus", "mem", "disk", "ports"]
        .into_iter()
        .filter(|name| !names.contains(*name))
        .collect();
    if let Some(found) = gpus {
        if !names.contains("gpus") && found > 0 {
            key("gpus", Value::Scalar(Milli::units(found)));
        } else if all_given > Milli::units(found) {
            let offered = all_given.as_f64();
            let why = format!("{offered} are in --resources, and there are {found}");
            return Err(StartError::Gpus(why));
        }
    }
    for name in missing {
        match name {
            "cpus" => {
                let cpus = i64::try_from(machine.cpus).unwrap_or(1);
                key(name, Value::Scalar(Milli::units(cpus)));
            }
            "mem" => key(name, Value::Scalar(mebibytes(machine.memory_offered()))),
            "disk" => key(name, Value::Scalar(mebibytes(machine.disk_offered()))),
            _ => {
                let (begin, end) = PORTS_DEFAULT;
                key(name, Value::Ranges(Ranges::from_iter([(begin, end)])));
            }
        }
    }
    Ok(all)
}

/// The agent as frameworks are shown it.
pub(crate) fn describe(
    options: &Options,
    machine: &Machine,
    address: SocketAddr,
) -> Result<AgentInfo, StartError> {
    let resources = resources(options, machine)?;
    Ok(AgentInfo {
        hostname: options.hostname.clone().unwrap_or_else(|| machine.hostname.clone()),
        port: Some(address.port().into()),
        resources: convert::resources::to_wire(&resources, convert::resources::Form::Stack, None),
        attributes: convert::resources::attributes_to_wire(&options.attributes),
        domain: options.domain.as_ref().map(convert::link::fault_domain_to_wire),
        ..AgentInfo::default()
    })
}

/// The agent as its master books it.
pub(crate) fn description(info: &AgentInfo, address: SocketAddr) -> AgentDescription {
    convert::link::describe(info, address.to_string(), model::version::SPOKEN)
        .expect("it was made of resources that are well formed")
}
