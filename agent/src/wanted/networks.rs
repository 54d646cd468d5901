//! Which networks a container is asked to be in.

use proto::mesos::v1::container_info::docker_info::Network;
use proto::mesos::v1::container_info::{DockerInfo, Type};
use proto::mesos::v1::{ContainerInfo, NetworkInfo, network_info};

use crate::containerizer::Networks;

/// Reads the networks of a container. An error says what makes no sense.
pub(crate) fn read(container: &ContainerInfo) -> Result<Networks, String> {
    let named = container.network_infos.iter().filter(|info| !info.name().is_empty());
    let named: Vec<NetworkInfo> = named.cloned().collect();
    let docker = container.docker.as_ref().filter(|_| container.r#type() == Type::Docker);
    let Some(docker) = docker else {
        return if named.is_empty() { Ok(Networks::Host) } else { checked(named) };
    };
    match docker.network() {
        Network::Host => Ok(Networks::Host),
        Network::None => Ok(Networks::Own(Vec::new())),
        Network::Bridge => {
            let bridge =
                NetworkInfo { name: Some(Networks::BRIDGE.to_owned()), ..NetworkInfo::default() };
            checked(with_ports(vec![bridge], docker))
        }
        Network::User if named.is_empty() => {
            let why = "the container wants to be in a network of the user's and names none in \
                       network_infos";
            Err(why.to_owned())
        }
        Network::User => checked(with_ports(named, docker)),
    }
}

/// With the ports of Docker's own form added to the first network.
fn with_ports(mut networks: Vec<NetworkInfo>, docker: &DockerInfo) -> Vec<NetworkInfo> {
    let ports = docker.port_mappings.iter().map(|port| network_info::PortMapping {
        host_port: port.host_port,
        container_port: port.container_port,
        protocol: port.protocol.clone(),
    });
    if let Some(first) = networks.first_mut() {
        for port in ports {
            if !first.port_mappings.contains(&port) {
                first.port_mappings.push(port);
            }
        }
    }
    networks
}

fn checked(networks: Vec<NetworkInfo>) -> Result<Networks, String> {
    let is_port = |port: u32| u16::try_from(port).is_ok_and(|port| port > 0);
    let mut ports = networks.iter().flat_map(|network| &network.port_mappings);
    match ports.find(|it| !is_port(it.host_port) || !is_port(it.container_port)) {
        Some(bad) => Err(format!(
            "the mapping of port {} of the machine to port {} of the container has a number that is \
             no port",
            bad.host_port, bad.container_port
        )),
        None => Ok(Networks::Own(networks)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> NetworkInfo {
        NetworkInfo { name: Some(name.to_owned()), ..NetworkInfo::default() }
    }

    fn names(networks: Result<Networks, String>) -> Option<Vec<String>> {
        match networks.expect("it makes sense") {
            Networks::Host => None,
            Networks::Own(all) => Some(all.iter().map(|info| info.name().to_owned()).collect()),
        }
    }

    #[test]
    fn a_container_is_in_the_networks_it_names_or_in_the_machines() {
        let mut container =
            ContainerInfo { r#type: Type::Mesos.into(), ..ContainerInfo::default() };
        assert_eq!(names(read(&container)), None);
        container.network_infos = vec![NetworkInfo::default()];
        assert_eq!(names(read(&container)), None, "one without a name is the machine's");
        container.network_infos = vec![named("blue"), named("green")];
        assert_eq!(names(read(&container)), Some(vec!["blue".to_owned(), "green".to_owned()]));
        let bad = network_info::PortMapping { host_port: 0, container_port: 80, protocol: None };
        container.network_infos[1].port_mappings = vec![bad];
        let error = read(&container).expect_err("no port");
        assert!(error.starts_with("the mapping of port 0 of the machine to port 80"), "{error}");
    }

    #[test]
    fn the_networks_of_docker_are_networks_too() {
        let port = proto::mesos::v1::container_info::docker_info::PortMapping {
            host_port: 31_000,
            container_port: 80,
            protocol: Some("tcp".to_owned()),
        };
        let of = |network: Network, infos: Vec<NetworkInfo>| {
            read(&ContainerInfo {
                r#type: Type::Docker.into(),
                docker: Some(DockerInfo {
                    network: Some(network.into()),
                    port_mappings: vec![port.clone()],
                    ..DockerInfo::default()
                }),
                network_infos: infos,
                ..ContainerInfo::default()
            })
        };
        assert_eq!(names(of(Network::Host, vec![named("blue")])), None);
        assert_eq!(names(of(Network::None, Vec::new())), Some(Vec::new()));
        let bridged = of(Network::Bridge, Vec::new()).expect("it makes sense");
        let Networks::Own(bridged) = bridged else { unreachable!("it has a network") };
        assert_eq!(bridged[0].name(), Networks::BRIDGE);
        assert_eq!(bridged[0].port_mappings[0].container_port, 80);
        assert_eq!(names(of(Network::User, vec![named("blue")])), Some(vec!["blue".to_owned()]));
        assert!(of(Network::User, Vec::new()).is_err());
    }
}
