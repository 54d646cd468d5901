//! `gpu/nvidia`: whole graphics processors, each for one container at a time.
//!
//! A container can open the device files of those that it was given, and with them the files of the
//! driver that belong to none. What is in it shares them, or has some of them for itself. It takes the isolator `cgroups/devices`, which forbids all others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::cgroups::hierarchy::Hierarchy;
use super::cgroups::{AllowedDevice, DeviceKind};
use super::devices;
use super::isolator::{Container, Isolator, Step, StepError, failed, refused};
use super::{Access, Limits};
use crate::launcher::{Plan, write_atomically};

/// Its name in `--isolation`.
pub(super) const NAME: &str = "gpu/nvidia";

/// How the device file of a processor is called before its number.
const DEVICE: &str = "nvidia";

/// Files of the driver that everybody needs who has a processor, as far as they are there.
const DRIVER: [&str; 3] = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"];

/// Which processors there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GpuOptions {
    /// Where device files are.
    pub dir: PathBuf,
    /// Those to use by number (`--nvidia_gpu_devices`). Absent: all.
    pub devices: Option<Vec<u32>>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self { dir: "/dev".into(), devices: None }
    }
}

impl GpuOptions {
    /// The numbers of the processors that can be used. An error says which one is not there.
    pub fn found(&self) -> Result<Vec<u32>, String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let number = |name: &str| name.strip_prefix(DEVICE)?.parse::<u32>().ok();
        let there: BTreeSet<u32> =
            entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect();
        let Some(wanted) = &self.devices else { return Ok(there.into_iter().collect()) };
        let missing = wanted.iter().find(|number| !there.contains(number));
        match missing {
            Some(number) => Err(format!("there is no {}/{DEVICE}{number}", self.dir.display())),
            None => Ok(wanted.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()),
        }
    }
}

/// The isolator.
#[derive(Debug)]
pub(super) struct Gpus {
    /// Where the containers' runtime directories are.
    containers: PathBuf,
    dir: PathBuf,
    hierarchy: Hierarchy,
    /// All that can be given.
    all: Vec<u32>,
    /// Who has which.
    given: Mutex<BTreeMap<String, BTreeSet<u32>>>,
}

impl Gpus {
    /// Finds out what there is, and who of an earlier agent's containers has what.
    pub(super) fn new(
        containers: PathBuf,
        options: &GpuOptions,
        hierarchy: Hierarchy,
    ) -> Result<Self, String> {
        let all = options.found()?;
        let mut given = BTreeMap::new();
        for entry in fs::read_dir(&containers).into_iter().flatten().flatten() {
            if let Ok(name) = entry.file_name().into_string()
                && let Ok(text) = fs::read_to_string(record(&containers, &name))
            {
                given.insert(
                    name,
                    text.split_whitespace().filter_map(|it| it.parse().ok()).collect(),
                );
            }
        }
        let dir = options.dir.clone();
        Ok(Self { containers, dir, hierarchy, all, given: Mutex::new(given) })
    }

    /// Gives a container as many as it is to have, and takes from it what it has beyond that. One in
    /// another is given some of the other's.
    fn give(&self, container: &str, wanted: usize) -> Result<(), StepError> {
        let mut given = self.given.lock();
        let mut own = given.get(container).cloned().unwrap_or_default();
        let before = own.clone();
        while own.len() > wanted {
            let inside = held(&given, |it| is_inside(it, container));
            let spare = own.difference(&inside).last().or(own.last()).copied();
            spare.map(|number| own.remove(&number));
        }
        let is_nested = around(container).next().is_some();
        // The nearest that has limits of its own has what those have that share them.
        let pool: Vec<u32> = match around(container).find_map(|it| given.get(it)) {
            Some(theirs) => theirs.iter().copied().collect(),
            None if is_nested => Vec::new(),
            None => self.all.clone(),
        };
        let is_other =
            |it: &str| it != container && !is_inside(it, container) && !is_inside(container, it);
        let taken = held(&given, is_other);
        let free = pool.iter().filter(|number| !taken.contains(number) && !before.contains(number));
        own.extend(free.take(wanted - own.len()));
        if own.len() < wanted {
            let who = if is_nested { "the container around it" } else { "this agent" };
            let why = format!(
                "{who} has {} of them, and {} are in use",
                pool.len(),
                pool.iter().filter(|number| taken.contains(number)).count()
            );
            return Err(refused(NAME, &format!("{wanted} graphics processors"), why));
        }
        if own == before {
            return Ok(());
        }
        // Written down before it is so: what is nobody's by the record may be given to another.
        let file = record(&self.containers, container);
        let all: BTreeSet<u32> = own.union(&before).copied().collect();
        let write = |numbers: &BTreeSet<u32>| {
            let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            write_atomically(&file, words.join(" ").as_bytes())
        };
        write(&all).map_err(failed(NAME, Step::Limit, &file))?;
        given.insert(container.to_owned(), all);
        self.open(container, &before, &own)?;
        write(&own).map_err(failed(NAME, Step::Limit, &file))?;
        given.insert(container.to_owned(), own);
        Ok(())
    }

    /// The driver's own files that are there.
    fn driver(&self) -> impl Iterator<Item = PathBuf> {
        DRIVER.iter().map(|name| self.dir.join(name)).filter(|file| file.exists())
    }

    /// Has the kernel let the container open what it has `now`, and nothing else of `before`.
    fn open(
        &self,
        container: &str,
        before: &BTreeSet<u32>,
        now: &BTreeSet<u32>,
    ) -> Result<(), StepError> {
        let group = self.hierarchy.group(container);
        let rule = |path: &Path| -> io::Result<String> {
            let access = Access { read: true, write: true, mknod: false };
            match AllowedDevice::at(path, access) {
                Some(device) if device.kind == DeviceKind::Character => Ok(device.to_string()),
                _ => Err(io::Error::other(format!("{} is no device", path.display()))),
            }
        };
        let of = |number: &u32| self.dir.join(format!("{DEVICE}{number}"));
        let set = || -> io::Result<()> {
            let mut fewer: Vec<PathBuf> = before.difference(now).map(of).collect();
            let mut more: Vec<PathBuf> = now.difference(before).map(of).collect();
            match (before.is_empty(), now.is_empty()) {
                (true, false) => more.extend(self.driver()),
                (false, true) => fewer.extend(self.driver()),
                _ => {}
            }
            let rules = |paths: &[PathBuf]| paths.iter().map(|path| rule(path)).collect();
            let (more, fewer): (io::Result<Vec<_>>, io::Result<Vec<_>>) =
                (rules(&more), rules(&fewer));
            self.hierarchy.interface().change_devices(&group, &more?, &fewer?)
        };
        set().map_err(failed(NAME, Step::Limit, &group))
    }
}

/// What those have of whom `is_meant` says so.
fn held(given: &BTreeMap<String, BTreeSet<u32>>, is_meant: impl Fn(&str) -> bool) -> BTreeSet<u32> {
    let meant = given.iter().filter(|(container, _)| is_meant(container));
    meant.flat_map(|(_, numbers)| numbers).copied().collect()
}

/// The containers that one is in, the innermost first.
fn around(container: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(container), |it| it.rsplit_once('.').map(|(outer, _)| outer)).skip(1)
}

fn is_inside(container: &str, outer: &str) -> bool {
    around(container).any(|it| it == outer)
}

/// The file that says what a container has. It outlives the agent, as the container does.
fn record(containers: &Path, container: &str) -> PathBuf {
    containers.join(container).join("gpus")
}

impl Isolator for Gpus {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        let id = container.id.as_str();
        let given = |it: &str| self.given.lock().get(it).cloned();
        let own = if container.has_own_limits() {
            self.update(id, &container.limits)?;
            given(id)
        } else {
            around(id).find_map(given)
        };
        let own = own.unwrap_or_default();
        // A container with the machine's files sees them all, and opens its own.
        if container.layers.is_some() && !own.is_empty() {
            let files = own.iter().map(|number| self.dir.join(format!("{DEVICE}{number}")));
            plan.shown.extend(files.chain(self.driver()).map(|file| {
                let place = Path::new("/dev").join(file.file_name().unwrap_or_default());
                devices::shown(file, place)
            }));
        }
        Ok(())
    }

    fn update(&self, container: &str, limits: &Limits) -> Result<(), StepError> {
        self.give(container, usize::try_from(limits.gpus).unwrap_or(usize::MAX))
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        // All its processes have ended, and the rules went with its group.
        self.given.lock().remove(container);
        match fs::remove_file(record(&self.containers, container)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(NAME, Step::Cleanup, Path::new(container))(error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_found_by_their_device_files() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm", "null"] {
            fs::write(dir.path().join(name), "").expect("a file");
        }
        let mut options = GpuOptions { dir: dir.path().to_owned(), devices: None };
        assert_eq!(options.found(), Ok(vec![0, 1]));
        options.devices = Some(vec![1, 1]);
        assert_eq!(options.found(), Ok(vec![1]));
        options.devices = Some(vec![1, 7]);
        let error = options.found().expect_err("there is none");
        assert!(error.starts_with("there is no /") && error.ends_with("/nvidia7"), "{error}");
    }
}
