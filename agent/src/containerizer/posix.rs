//! `posix/cpu` and `posix/mem`: no limit on anything, only a look at what is used.
//!
//! They need no rights. What they count is the processes below the launcher at that moment: those
//! that have ended are counted by their parents.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Usage;
use super::isolator::{Container, Isolator, StepError};
use crate::launcher::{Files, Plan, Process};

/// `posix/cpu`.
#[derive(Debug)]
pub(super) struct Cpu {
    /// Where the containers' runtime directories are.
    pub(super) containers: PathBuf,
}

impl Isolator for Cpu {
    fn name(&self) -> &'static str {
        "posix/cpu"
    }

    fn prepare(&self, _container: &Container, _plan: &mut Plan) -> Result<(), StepError> {
        Ok(())
    }

    fn usage(&self, container: &str, usage: &mut Usage) {
        for stat in below(&self.containers, container) {
            usage.cpus_user += stat.user;
            usage.cpus_system += stat.system;
        }
    }
}

/// `posix/mem`.
#[derive(Debug)]
pub(super) struct Memory {
    /// Where the containers' runtime directories are.
    pub(super) containers: PathBuf,
}

impl Isolator for Memory {
    fn name(&self) -> &'static str {
        "posix/mem"
    }

    fn prepare(&self, _container: &Container, _plan: &mut Plan) -> Result<(), StepError> {
        Ok(())
    }

    fn usage(&self, container: &str, usage: &mut Usage) {
        let stats = below(&self.containers, container);
        usage.mem_bytes = Some(stats.iter().map(|stat| stat.memory_bytes).sum());
        usage.pids = Some(stats.len() as u64);
    }
}

/// One process, as `/proc/<pid>/stat` has it.
struct Stat {
    parent: i32,
    user: Duration,
    system: Duration,
    memory_bytes: u64,
}

/// The container's first process and all that descend from it.
fn below(containers: &Path, container: &str) -> Vec<Stat> {
    let files = Files::new(containers.join(container));
    let first = fs::read(files.pid()).ok();
    let first = first.and_then(|text| serde_json::from_slice::<Process>(&text).ok());
    let Some(first) = first.filter(|process| process.is_there()) else { return Vec::new() };

    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut all: BTreeMap<i32, Stat> = numbers.filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let mut found = Vec::new();
    let mut parents = vec![first.pid];
    found.extend(all.remove(&first.pid));
    while let Some(parent) = parents.pop() {
        let children: Vec<i32> =
            all.iter().filter(|(_, stat)| stat.parent == parent).map(|(&pid, _)| pid).collect();
        for child in children {
            found.extend(all.remove(&child));
            parents.push(child);
        }
    }
    found
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Counted from the state, which is the third field. Times are in hundredths of a second.
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        user: Duration::from_millis(10 * number(11)?),
        system: Duration::from_millis(10 * number(12)?),
        memory_bytes: number(21)? * rustix::param::page_size() as u64,
    })
}
