//! `network/ports`: a container in the machine's network listens on no ports but those it was given.
//!
//! Nothing tells when somebody begins to listen, so it is looked from time to time. Containers in
//! networks of their own listen where nobody else is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::amount::Ranges;
use parking_lot::Mutex;

use super::Limitation;
use super::isolator::{Container, Isolator, Step, StepError, failed};
use crate::executor::process::descendants;
use crate::launcher::{self, Files, Plan, write_atomically};

/// Its name in `--isolation`.
pub(super) const NAME: &str = "network/ports";

/// The kernel's number for a socket that listens.
const LISTENS: &str = "0A";

/// How the ports of containers are watched.
#[derive(Clone, Debug)]
pub struct PortOptions {
    /// Whether a container that listens elsewhere is ended (`--enforce_container_ports`). If not, it
    /// is told of in the log.
    pub enforced: bool,
    /// How often it is looked (`--container_ports_watch_interval`).
    pub interval: Duration,
    /// The ports that count. Absent: all.
    pub only: Option<Ranges>,
}

impl Default for PortOptions {
    fn default() -> Self {
        Self { enforced: false, interval: Duration::from_secs(30), only: None }
    }
}

/// The isolator.
#[derive(Debug)]
pub(super) struct Ports {
    /// Where the containers' runtime directories are.
    containers: PathBuf,
    options: PortOptions,
    /// The first port that the last look found a container on without its being its own.
    foreign: Mutex<BTreeMap<String, u16>>,
}

impl Ports {
    pub(super) fn new(containers: PathBuf, options: PortOptions) -> Self {
        Self { containers, options, foreign: Mutex::default() }
    }

    /// Outlives the agent, as the container does.
    fn file(&self, container: &str) -> PathBuf {
        self.containers.join(container).join("ports")
    }

    fn is_foreign(&self, own: &Ranges, port: u16) -> bool {
        let counts = self.options.only.as_ref().is_none_or(|only| has(only, port));
        counts && !has(own, port)
    }
}

impl Isolator for Ports {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, container: &Container, _plan: &mut Plan) -> Result<(), StepError> {
        if container.is_nested() {
            // It has those of the container around it.
            return Ok(());
        }
        self.update_ports(container.id.as_str(), &container.ports)
    }

    fn update_ports(&self, container: &str, ports: &Ranges) -> Result<(), StepError> {
        let file = self.file(container);
        let lines = ports.iter().map(|(begin, end)| format!("{begin}-{end}\n"));
        let text: String = lines.collect();
        write_atomically(&file, text.as_bytes()).map_err(failed(NAME, Step::Limit, &file))
    }

    fn limitation(&self, container: &str) -> Option<Limitation> {
        let foreign = self.foreign.lock().get(container).copied();
        foreign.filter(|_| self.options.enforced).map(Limitation::Port)
    }

    fn inspected_every(&self) -> Option<Duration> {
        Some(self.options.interval)
    }

    fn inspect(&self, container: &str) {
        let files = Files::new(self.containers.join(container));
        let is_in_machines =
            super::read_plan(&files).is_some_and(|plan: Plan| plan.network.is_none());
        let Some(launcher) = launcher::find(&files).filter(|_| is_in_machines) else { return };
        // A container whose ports are not known is one of an agent that did not watch them.
        let root = container.split('.').next().unwrap_or(container);
        let Ok(own) = fs::read_to_string(self.file(root)) else { return };
        let own = ranges(&own);
        let sockets = listening();
        let held = descendants(launcher).into_iter().flat_map(sockets_of);
        let ports: BTreeSet<u16> =
            held.filter_map(|socket| sockets.get(&socket).copied()).collect();
        let found = ports.into_iter().find(|port| self.is_foreign(&own, *port));
        let mut foreign = self.foreign.lock();
        let before = foreign.get(container).copied();
        match found {
            Some(port) => foreign.insert(container.to_owned(), port),
            None => foreign.remove(container),
        };
        if let Some(port) = found.filter(|port| before != Some(*port)) {
            tracing::warn!(container, port, "a container listens on a port that it was not given");
        }
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        self.foreign.lock().remove(container);
        Ok(())
    }
}

fn has(ranges: &Ranges, port: u16) -> bool {
    ranges.iter().any(|(begin, end)| (begin..=end).contains(&u64::from(port)))
}

fn ranges(text: &str) -> Ranges {
    let range = |line: &str| {
        let (begin, end) = line.split_once('-')?;
        Some((begin.parse().ok()?, end.parse().ok()?))
    };
    text.lines().filter_map(range).collect()
}

/// Sockets that listen in the machine's network: their numbers and ports.
fn listening() -> BTreeMap<u64, u16> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let texts: Vec<String> =
        tables.iter().map(|table| fs::read_to_string(table).unwrap_or_default()).collect();
    texts.iter().flat_map(|text| text.lines()).filter_map(listener).collect()
}

/// Reads a line of a table of sockets, if it is of one that listens.
fn listener(line: &str) -> Option<(u64, u16)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTENS {
        return None;
    }
    let (_, port) = fields.get(1)?.rsplit_once(':')?;
    Some((fields.get(9)?.parse().ok()?, u16::from_str_radix(port, 16).ok()?))
}

/// The sockets that a process has open.
fn sockets_of(pid: i32) -> Vec<u64> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let number = |path: PathBuf| {
        let link = fs::read_link(path).ok()?;
        let text = Path::to_str(&link)?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
        text.parse().ok()
    };
    open.filter_map(|entry| number(entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_found_in_the_kernels_table() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
                    1000        0 4711 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listener(line), Some((4_711, 8_080)));
        assert_eq!(listener(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(listener("  sl  local_address rem_address   st tx_queue"), None);
        let server = std::net::TcpListener::bind("[::1]:0").expect("a port");
        let port = server.local_addr().expect("it is bound").port();
        let all = listening();
        let own = i32::try_from(std::process::id()).expect("pids are small");
        assert!(sockets_of(own).iter().any(|socket| all.get(socket) == Some(&port)));
    }

    #[test]
    fn a_port_is_foreign_if_it_counts_and_is_not_given() {
        let ports = |only: Option<&str>| {
            let options = PortOptions { only: only.map(ranges), ..PortOptions::default() };
            Ports::new(PathBuf::new(), options)
        };
        let own = ranges("31000-31001\n31005-31005\n");
        let foreign =
            |ports: &Ports| [80, 31_001, 31_004, 31_005].map(|port| ports.is_foreign(&own, port));
        assert_eq!(foreign(&ports(None)), [true, false, true, false]);
        assert_eq!(foreign(&ports(Some("31000-32000"))), [false, false, true, false]);
    }
}
