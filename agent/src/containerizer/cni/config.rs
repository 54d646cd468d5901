//! Networks as operators describe them: files in the form of the CNI specification, one network a
//! file.
//!
//! A `.conflist` has a list of plug-ins, a `.conf` one plug-in; `.json` may be either. A file in the
//! form of Mesos's own port mapper, which wraps another plug-in, is read as the list it amounts to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Bytes of a file that are read. A network takes a few lines.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The version of the specification that files mean which name none.
const VERSION_DEFAULT: &str = "0.1.0";

/// The plug-in of Mesos that maps ports for the one it wraps.
const MESOS_PORT_MAPPER: &str = "mesos-cni-port-mapper";

/// A network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Network {
    /// What containers call it.
    pub(super) name: String,
    /// The version of the specification that its plug-ins are spoken to in.
    pub(super) version: String,
    /// Its plug-ins, in the order in which they add a container. Each has a `type`.
    pub(super) plugins: Vec<Map<String, Value>>,
}

impl Network {
    /// The names of its plug-ins.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().filter_map(|plugin| plugin.get("type")?.as_str())
    }

    /// Whether one of its plug-ins takes `capability` at run time.
    pub(super) fn can(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| has(plugin, capability))
    }
}

/// Whether a plug-in takes `capability` at run time.
pub(super) fn has(plugin: &Map<String, Value>, capability: &str) -> bool {
    plugin.get("capabilities").and_then(|all| all.get(capability)) == Some(&Value::Bool(true))
}

/// What was found in a directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By name.
    pub(super) networks: BTreeMap<String, Network>,
    /// Files that are none, and why.
    pub(super) problems: Vec<String>,
}

/// Reads all networks of a directory, in the order of the files' names.
pub(super) fn read_all(dir: &Path) -> io::Result<Found> {
    let is_one = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        matches!(ending, Some("conf" | "conflist" | "json"))
    };
    let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(is_one).collect();
    files.sort();
    let mut found = Found::default();
    for file in files {
        match read(&file) {
            Ok(network) if found.networks.contains_key(&network.name) => {
                let name = &network.name;
                found.problems.push(format!(
                    "{}: an earlier file describes network '{name}' already",
                    file.display()
                ));
            }
            Ok(network) => {
                found.networks.insert(network.name.clone(), network);
            }
            Err(why) => found.problems.push(format!("{}: {why}", file.display())),
        }
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Network, String> {
    let mut text = String::new();
    let opened = fs::File::open(file).map_err(|error| error.to_string())?;
    opened.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    parse(&text)
}

fn parse(text: &str) -> Result<Network, String> {
    let mut all: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("it is not a JSON object: {error}"))?;
    let text = |all: &Map<String, Value>, name: &str| {
        all.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let name = text(&all, "name").ok_or("it has no 'name'")?;
    let version = text(&all, "cniVersion").unwrap_or_else(|| VERSION_DEFAULT.to_owned());
    let plugins = match all.remove("plugins") {
        Some(Value::Array(plugins)) => {
            let objects = plugins.into_iter().map(serde_json::from_value);
            let objects = objects.collect::<Result<Vec<_>, _>>();
            objects.map_err(|_| "'plugins' is not a list of objects")?
        }
        Some(_) => return Err("'plugins' is not a list".to_owned()),
        None => match text(&all, "type").as_deref() {
            Some(MESOS_PORT_MAPPER) => unwrapped(&all)?,
            _ => vec![all],
        },
    };
    if plugins.is_empty() {
        return Err("it has no plug-ins".to_owned());
    }
    for plugin in &plugins {
        let kind = text(plugin, "type").ok_or("a plug-in has no 'type'")?;
        if kind.contains('/') {
            return Err(format!(
                "plug-in '{kind}' is named by a path; name a file in \
                                --network_cni_plugins_dir"
            ));
        }
    }
    Ok(Network { name, version, plugins })
}

/// The plug-in that the port mapper wraps, and the common one for ports behind it.
fn unwrapped(wrapper: &Map<String, Value>) -> Result<Vec<Map<String, Value>>, String> {
    let Some(Value::Object(delegate)) = wrapper.get("delegate") else {
        return Err(format!("'{MESOS_PORT_MAPPER}' has no 'delegate'"));
    };
    let mut portmap = Map::new();
    portmap.insert("type".to_owned(), json!("portmap"));
    portmap.insert("capabilities".to_owned(), json!({"portMappings": true}));
    Ok(vec![delegate.clone(), portmap])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(network: &Network) -> Vec<&str> {
        network.plugins.iter().filter_map(|plugin| plugin["type"].as_str()).collect()
    }

    #[test]
    fn one_plugin_a_list_and_a_wrapped_one_are_networks() {
        let one = parse(r#"{"name": "a", "type": "bridge", "mtu": 9000}"#).expect("a network");
        assert_eq!((one.version.as_str(), types(&one)), ("0.1.0", vec!["bridge"]));
        assert_eq!(one.plugins[0]["mtu"], 9_000);
        let list = r#"{"cniVersion": "1.0.0", "name": "b", "plugins": [
            {"type": "ptp"}, {"type": "portmap", "capabilities": {"portMappings": true}}]}"#;
        let list = parse(list).expect("a network");
        assert_eq!((list.version.as_str(), types(&list)), ("1.0.0", vec!["ptp", "portmap"]));
        assert!(list.can("portMappings") && !list.can("ips") && !one.can("portMappings"));
        let wrapped = r#"{"name": "c", "type": "mesos-cni-port-mapper", "chain": "X",
            "delegate": {"type": "bridge", "bridge": "br0"}}"#;
        let wrapped = parse(wrapped).expect("a network");
        assert_eq!(types(&wrapped), ["bridge", "portmap"]);
        assert!(wrapped.can("portMappings"));
    }

    #[test]
    fn a_file_that_is_no_network_says_why_and_hides_no_other() {
        for (text, why) in [
            ("[]", "it is not a JSON object"),
            (r#"{"type": "bridge"}"#, "it has no 'name'"),
            (r#"{"name": "a"}"#, "a plug-in has no 'type'"),
            (r#"{"name": "a", "plugins": []}"#, "it has no plug-ins"),
            (r#"{"name": "a", "plugins": ["b"]}"#, "'plugins' is not a list of objects"),
            (r#"{"name": "a", "type": "../sh"}"#, "plug-in '../sh' is named by a path"),
            (r#"{"name": "a", "type": "mesos-cni-port-mapper"}"#, "'mesos-cni-port-mapper' has no"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(why), "{error}");
        }
        let dir = tempfile::tempdir().expect("a directory");
        for (file, text) in [
            ("1.conf", "junk"),
            ("2.conf", r#"{"name": "a", "type": "first"}"#),
            ("3.json", r#"{"name": "a", "type": "second"}"#),
            ("4.txt", "not looked at"),
        ] {
            fs::write(dir.path().join(file), text).expect("a file");
        }
        let found = read_all(dir.path()).expect("it can be read");
        assert_eq!(types(&found.networks["a"]), ["first"]);
        assert_eq!(found.problems.len(), 2, "{:?}", found.problems);
        assert!(found.problems[1].ends_with("an earlier file describes network 'a' already"));
    }
}
