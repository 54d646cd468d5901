//! Deprecated ways to say things, brought into the present form.

use super::Invalid;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Endings of files that the fetcher unpacks.
const ARCHIVES: [&str; 7] = [".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip"];

/// Rewrites what is deprecated in `fields`, or says what contradicts itself.
pub(super) fn translate(mut fields: Map<String, Value>) -> Result<Map<String, Value>, Invalid> {
    // Without effect for long: what has persistent volumes is resident whatever is said here.
    fields.remove("residency");
    uris(&mut fields)?;
    docker_network(&mut fields)?;
    ip_address(&mut fields)?;
    ports(&mut fields)?;
    Ok(fields)
}

fn is_full(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_some_and(|items| !items.is_empty())
}

fn uris(fields: &mut Map<String, Value>) -> Result<(), Invalid> {
    let Some(uris) = fields.get("uris") else { return Ok(()) };
    let Some(uris) = uris.as_array() else {
        return Err(Invalid::wrong_type("/uris", "error.expected.jsarray"));
    };
    if is_full(fields.get("fetch")) && !uris.is_empty() {
        return Err(Invalid::one("/uris", "may not be set in conjunction with fetch"));
    }
    let fetch: Vec<Value> = uris
        .iter()
        .map(|uri| {
            let extract =
                uri.as_str().is_some_and(|uri| ARCHIVES.iter().any(|ending| uri.ends_with(ending)));
            json!({"uri": uri, "extract": extract})
        })
        .collect();
    fields.remove("uris");
    if !fetch.is_empty() || !fields.contains_key("fetch") {
        fields.insert("fetch".to_owned(), fetch.into());
    }
    Ok(())
}

fn docker_network(fields: &mut Map<String, Value>) -> Result<(), Invalid> {
    let has_networks = fields.contains_key("networks");
    let ip_address = fields.get("ipAddress").cloned();
    let Some(Value::Object(container)) = fields.get_mut("container") else { return Ok(()) };
    let is_mesos = container.get("type").and_then(Value::as_str) == Some("MESOS");
    let Some(Value::Object(docker)) = container.get_mut("docker") else { return Ok(()) };
    let mappings = docker.remove("portMappings");
    let network = docker.remove("network");
    if mappings.as_ref().is_some_and(|it| !it.is_array()) {
        let path = "/container/docker/portMappings";
        return Err(Invalid::wrong_type(path, "error.expected.jsarray"));
    }
    if network.as_ref().is_some_and(|it| !it.is_string()) {
        let path = "/container/docker/network";
        return Err(Invalid::wrong_type(path, "error.expected.jsstring"));
    }
    if is_mesos && network.is_some() {
        let error = "not allowed with the Mesos containerizer";
        return Err(Invalid::one("/container/docker/network", error));
    }
    if let Some(mappings) = mappings
        && !container.contains_key("portMappings")
        && network.as_ref().and_then(Value::as_str) != Some("HOST")
    {
        container.insert("portMappings".to_owned(), mappings);
    }
    let Some(network) = network else { return Ok(()) };
    if has_networks {
        let error = "must not specify both networks and container.docker.network";
        return Err(Invalid::one("/container/docker/network", error));
    }
    let networks = match network.as_str() {
        Some("BRIDGE") => json!([{"mode": "container/bridge"}]),
        Some("HOST") => json!([{"mode": "host"}]),
        Some("USER") => {
            fields.remove("ipAddress");
            let mut entry = json!({"mode": "container"});
            if let Some(name) = ip_address.as_ref().and_then(|it| it.get("networkName")) {
                entry["name"] = name.clone();
            }
            json!([entry])
        }
        Some(_) | None => {
            let error = "must be one of BRIDGE, HOST, USER";
            return Err(Invalid::one("/container/docker/network", error));
        }
    };
    fields.insert("networks".to_owned(), networks);
    Ok(())
}

fn ip_address(fields: &mut Map<String, Value>) -> Result<(), Invalid> {
    let Some(given) = fields.remove("ipAddress") else { return Ok(()) };
    if !given.is_object() {
        return Err(Invalid::wrong_type("/ipAddress", "error.expected.jsobject"));
    }
    let is_docker = fields.get("container").is_some_and(|container| {
        container.get("type").is_none_or(|kind| kind.as_str() == Some("DOCKER"))
    });
    if is_docker && given.get("discovery").is_some() {
        let error = "not allowed for a Docker container";
        return Err(Invalid::one("/ipAddress/discovery", error));
    }
    if fields.contains_key("networks") {
        let error = "must not specify both networks and ipAddress";
        return Err(Invalid::one("/ipAddress", error));
    }
    if is_full(fields.get("ports")) || is_full(fields.get("portDefinitions")) {
        return Err(Invalid::one("/ipAddress", "cannot specify both an IP address and port"));
    }
    fields.remove("ports");
    fields.remove("portDefinitions");
    let mut network = json!({"mode": "container"});
    for (theirs, ours) in [("networkName", "name"), ("labels", "labels")] {
        if let Some(value) = given.get(theirs) {
            network[ours] = value.clone();
        }
    }
    fields.insert("networks".to_owned(), json!([network]));
    let discovery = given.get("discovery").and_then(|it| it.get("ports")).and_then(Value::as_array);
    if let Some(ports) = discovery {
        let mappings: Vec<Value> = ports
            .iter()
            .map(|port| {
                let mut mapping = port.clone();
                if let Value::Object(mapping) = &mut mapping {
                    let number = mapping.remove("number").unwrap_or_else(|| json!(0));
                    mapping.insert("containerPort".to_owned(), number);
                }
                mapping
            })
            .collect();
        let container =
            fields.entry("container").or_insert_with(|| json!({"type": "MESOS", "volumes": []}));
        if let Value::Object(container) = container {
            container.entry("portMappings").or_insert_with(|| mappings.into());
        }
    }
    Ok(())
}

fn ports(fields: &mut Map<String, Value>) -> Result<(), Invalid> {
    let Some(given) = fields.remove("ports") else { return Ok(()) };
    let Value::Array(ports) = given else {
        return Err(Invalid::wrong_type("/ports", "error.expected.jsarray"));
    };
    let mut wrong = Invalid::default();
    for (index, port) in ports.iter().enumerate() {
        let at = format!("/ports({index})");
        if !port.is_number() {
            wrong.absorb(Invalid::wrong_type(&at, "error.expected.jsnumber"));
        } else if port.as_u64().and_then(|port| u16::try_from(port).ok()).is_none() {
            wrong.absorb(Invalid::one(&at, format!("got {port}, expected 0 to 65535")));
        }
    }
    let fixed = || ports.iter().filter(|port| port.as_u64() != Some(0));
    if fixed().map(Value::to_string).collect::<BTreeSet<_>>().len() < fixed().count() {
        wrong.absorb(Invalid::one("/ports", "Ports must be unique"));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    if let Some(Value::Array(definitions)) = fields.get("portDefinitions") {
        let number = |it: &Value| it.get("port").cloned().unwrap_or_else(|| json!(0));
        let numbers: Vec<Value> = definitions.iter().map(number).collect();
        if !ports.is_empty() && numbers != ports {
            return Err(Invalid::one("/ports", "cannot specify both ports and port definitions"));
        }
        return Ok(());
    }
    let is_host = match fields.get("networks") {
        None => true,
        networks => super::is_host(networks),
    };
    if is_host {
        let definitions: Value =
            ports.iter().map(|port| json!({"port": port, "protocol": "tcp"})).collect();
        fields.insert("portDefinitions".to_owned(), definitions);
    }
    Ok(())
}
