//! `network/cni`: containers in networks of their own, joined to them by plug-ins that conform to the
//! specification of the Container Network Interface.
//!
//! What is done for a container is written down before it is done, in a directory of its own that may
//! outlive the machine's boot. So whoever finds that can undo it: leases of addresses and rules of
//! firewalls are not undone by the end of processes.

mod config;
mod files;
mod namespace;
mod plugin;
mod record;
mod result;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use proto::mesos::v1::NetworkInfo;
use serde_json::{Map, Value, json};

use self::plugin::{Order, Verb};
use self::record::{Joined, Record};
use self::result::Answer;
use super::dns::{ContainerDns, Dns};
use super::isolator::{Container, Isolator, Step, StepError, failed, refused};
use super::spec::Networks;
use crate::launcher::{Plan, Volume, VolumeSource};

const NAME: &str = "network/cni";

/// The capability of plug-ins that lead ports of the machine into a container.
const PORTS: &str = "portMappings";

/// The capability of plug-ins that give the addresses asked for.
const ADDRESSES: &str = "ips";

/// The key that plug-ins written for Mesos find a container's wishes at.
const MESOS_ARGS: &str = "org.apache.mesos";

/// The isolator.
#[derive(Debug)]
pub(super) struct Cni {
    /// Holds a directory for each container.
    root: PathBuf,
    /// Where networks are described. Absent: there are none.
    configs: Option<PathBuf>,
    /// Where plug-ins are.
    plugins: Vec<PathBuf>,
    /// What counts for names where no network says it.
    dns: ContainerDns,
}

impl Cni {
    /// Makes `root`, and reads `configs` once to tell of what is wrong there.
    pub(super) fn new(
        root: PathBuf,
        configs: Option<PathBuf>,
        plugins: Vec<PathBuf>,
        dns: ContainerDns,
    ) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        if let Some(configs) = &configs {
            let found = config::read_all(configs).map_err(|error| {
                let dir = configs.display();
                io::Error::new(error.kind(), format!("--network_cni_config_dir={dir}: {error}"))
            })?;
            for problem in &found.problems {
                tracing::error!(
                    problem,
                    "a network is not there: its description is not understood"
                );
            }
            let names: Vec<&str> = found.networks.keys().map(String::as_str).collect();
            tracing::info!(networks = names.join(","), "containers can join these networks");
        }
        Ok(Self { root, configs, plugins, dns })
    }

    fn dir(&self, container: &str) -> PathBuf {
        self.root.join(container)
    }

    /// The networks that a container is to join, and how. All that can be wrong is found here.
    fn plan(&self, wanted: &[NetworkInfo]) -> Result<Vec<Joined>, StepError> {
        let known = match &self.configs {
            // Read anew, so that operators add networks while the agent runs.
            Some(dir) => config::read_all(dir).map_err(failed(NAME, Step::Prepare, dir))?.networks,
            None => std::collections::BTreeMap::new(),
        };
        let join = |(number, info): (usize, &NetworkInfo)| {
            let name = info.name();
            let refused = |why: String| refused(NAME, &format!("network '{name}'"), why);
            let network = known.get(name).ok_or_else(|| refused(unknown(known.keys())))?;
            if wanted[..number].iter().any(|other| other.name() == name) {
                return Err(refused("it is named twice".to_owned()));
            }
            for kind in network.kinds() {
                // One that is not there could not undo anything either.
                plugin::find(&self.plugins, kind)
                    .map_err(|why| refused(format!("plug-in '{kind}': {why}")))?;
            }
            if !info.port_mappings.is_empty() && !network.can(PORTS) {
                let why = format!(
                    "it leads no ports into containers: none of its plug-ins has the capability \
                     '{PORTS}'; add the plug-in portmap to it"
                );
                return Err(refused(why));
            }
            Ok(Joined {
                network: network.clone(),
                interface: format!("eth{number}"),
                wanted: info.clone(),
                info: info.clone(),
                answer: Value::Null,
            })
        };
        wanted.iter().enumerate().map(join).collect()
    }

    /// Has each plug-in of a network add the container; gives the last one's answer.
    fn join(&self, container: &str, joined: &Joined) -> Result<Value, StepError> {
        let mut answer = Value::Null;
        for plugin in &joined.network.plugins {
            answer = self.execute(Verb::Add, container, joined, plugin, answer)?;
        }
        Ok(answer)
    }

    /// Has each plug-in of a network let go of the container, the last one first.
    fn leave(&self, container: &str, joined: &Joined) -> Result<(), StepError> {
        for plugin in joined.network.plugins.iter().rev() {
            self.execute(Verb::Del, container, joined, plugin, joined.answer.clone())?;
        }
        Ok(())
    }

    fn execute(
        &self,
        verb: Verb,
        container: &str,
        joined: &Joined,
        plugin: &Map<String, Value>,
        before: Value,
    ) -> Result<Value, StepError> {
        let kind = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
        let config = configured(joined, plugin, before);
        let order = Order {
            verb,
            container,
            namespace: &self.dir(container).join(record::NAMESPACE),
            interface: &joined.interface,
            dirs: &self.plugins,
        };
        plugin::execute(order, kind, &config).map_err(|why| {
            let step = if verb == Verb::Add { Step::Prepare } else { Step::Cleanup };
            let what = format!("network '{}'", joined.network.name);
            let why = io::Error::other(format!("plug-in '{kind}': {why}"));
            failed(NAME, step, Path::new(&what))(why)
        })
    }

    /// Makes the namespace and joins it to the networks of `record`, which is on disk.
    fn connect(&self, container: &str, record: &mut Record) -> Result<Vec<Answer>, StepError> {
        let dir = self.dir(container);
        let namespace = dir.join(record::NAMESPACE);
        namespace::create(&namespace).map_err(failed(NAME, Step::Prepare, &namespace))?;
        let mut answers = Vec::new();
        for number in 0..record.networks.len() {
            let joined = &record.networks[number];
            let answer = self.join(container, joined)?;
            let read = result::read(&answer).map_err(|why| {
                let what = format!("network '{}'", joined.network.name);
                failed(NAME, Step::Prepare, Path::new(&what))(io::Error::other(why))
            })?;
            let joined = &mut record.networks[number];
            joined.answer = answer;
            joined.info.ip_addresses = read.addresses.iter().map(record::address).collect();
            record.write(&dir).map_err(failed(NAME, Step::Prepare, &dir))?;
            answers.push(read);
        }
        Ok(answers)
    }
}

impl Isolator for Cni {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        let Networks::Own(wanted) = &container.wanted.networks else { return Ok(()) };
        let id = container.id.as_str();
        let mut record = Record { networks: self.plan(wanted)? };
        let dir = self.dir(id);
        let step = || failed(NAME, Step::Prepare, &dir);
        fs::create_dir_all(&dir).map_err(step())?;
        record.write(&dir).map_err(step())?;
        let answers = self.connect(id, &mut record)?;

        let addresses: Vec<IpAddr> =
            answers.iter().flat_map(|answer| &answer.addresses).copied().collect();
        let dns = answers.into_iter().map(|answer| answer.dns);
        let dns = dns.into_iter().find(|dns| !dns.nameservers.is_empty());
        let dns = dns.or_else(|| self.dns.of(&container.wanted).cloned()).unwrap_or_default();
        self.furnish(container, &addresses, &dns, plan)
    }

    fn networks(&self, container: &str) -> Option<Vec<NetworkInfo>> {
        let record = Record::read(&self.dir(container)).ok().flatten()?;
        Some(record.networks.into_iter().map(|joined| joined.info).collect())
    }

    fn strays(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        let dir = self.dir(container);
        let step = || failed(NAME, Step::Cleanup, &dir);
        // Without a record nothing was joined yet.
        let record = Record::read(&dir).map_err(step())?.unwrap_or_default();
        for joined in record.networks.iter().rev() {
            self.leave(container, joined)?;
        }
        namespace::remove(&dir.join(record::NAMESPACE)).map_err(step())?;
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(step()(error)),
            _ => Ok(()),
        }
    }
}

impl Cni {
    /// Has the container started in its namespace, with the files that go with it.
    fn furnish(
        &self,
        container: &Container,
        addresses: &[IpAddr],
        dns: &Dns,
        plan: &mut Plan,
    ) -> Result<(), StepError> {
        let id = container.id.as_str();
        let dir = self.dir(id);
        let hostname = plan.hostname.get_or_insert_with(|| id.to_owned());
        files::write(&dir, hostname, addresses, dns).map_err(failed(NAME, Step::Prepare, &dir))?;
        for (source, container_path) in files::all(&dir) {
            // Where the machine has no such file there is nothing to mount it over. In an image it is
            // made.
            if container.layers.is_some() || container_path.exists() {
                let source = VolumeSource::Host(source);
                plan.shown.push(Volume { source, container_path, read_only: false });
            }
        }
        plan.namespaces.uts = true;
        plan.namespaces.mount = true;
        plan.network = Some(dir.join(record::NAMESPACE));
        // Where it is, is not where its agent is.
        set(plan, "LIBPROCESS_IP", "0.0.0.0".to_owned());
        if let Some(first) = addresses.first() {
            set(plan, "MESOS_CONTAINER_IP", first.to_string());
        }
        Ok(())
    }
}

/// Whether what a container sees at a path tells of its network.
pub(super) fn is_of_network(path: &Path) -> bool {
    files::SEEN_AT.iter().any(|(_, at)| path == Path::new(at))
}

fn set(plan: &mut Plan, name: &str, value: String) {
    plan.environment.retain(|(known, _)| known != name);
    plan.environment.push((name.to_owned(), value));
}

fn unknown<'a>(known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    if known.is_empty() {
        "this agent has no networks; describe them in --network_cni_config_dir".to_owned()
    } else {
        format!("this agent has no network of this name; it has {}", known.join(", "))
    }
}

/// What a plug-in is told on its standard input.
fn configured(joined: &Joined, plugin: &Map<String, Value>, before: Value) -> Value {
    let (network, info) = (&joined.network, &joined.wanted);
    let mut config = plugin.clone();
    config.insert("name".to_owned(), network.name.clone().into());
    config.insert("cniVersion".to_owned(), network.version.clone().into());
    if !before.is_null() {
        config.insert("prevResult".to_owned(), before);
    }
    let asked: Vec<&str> = joined.asked().collect();
    let mut at_run_time = Map::new();
    if config::has(plugin, PORTS) && !info.port_mappings.is_empty() {
        let port = |mapping: &proto::mesos::v1::network_info::PortMapping| {
            json!({
                "hostPort": mapping.host_port,
                "containerPort": mapping.container_port,
                "protocol": mapping.protocol.as_deref().unwrap_or("tcp").to_lowercase(),
            })
        };
        at_run_time.insert(PORTS.to_owned(), info.port_mappings.iter().map(port).collect());
    }
    if config::has(plugin, ADDRESSES) && !asked.is_empty() {
        at_run_time.insert(ADDRESSES.to_owned(), json!(asked));
    }
    if !at_run_time.is_empty() {
        config.insert("runtimeConfig".to_owned(), at_run_time.into());
    }
    let args = config.entry("args").or_insert_with(|| json!({}));
    if let Some(args) = args.as_object_mut() {
        args.insert(
            MESOS_ARGS.to_owned(),
            json!({"network_info": proto::json::to_value(&joined.wanted)}),
        );
        if !asked.is_empty() {
            args.insert("cni".to_owned(), json!({"ips": asked}));
        }
    }
    config.into()
}
