//! Files of their own for containers: where what they write to an image's files is kept.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::dns::Dns;
use super::isolator::{Container, Step, StepError, failed, refused};
use crate::launcher::{Files, Plan, Rootfs, Volume, VolumeSource};

/// Files in `/etc` that say where a machine is. Each container has a copy of its own.
const WHEREABOUTS: [&str; 2] = ["hosts", "resolv.conf"];

/// One directory per container that is made of an image.
#[derive(Debug)]
pub(super) struct Rootfses {
    dir: PathBuf,
}

impl Rootfses {
    /// Keeps them in `dir`. What is there of containers that are not in `containers` is removed: a
    /// machine that goes down may forget the one and keep the other.
    pub(super) fn new(dir: PathBuf, containers: &Path) -> Self {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !containers.join(entry.file_name()).is_dir()
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                tracing::warn!(path = %entry.path().display(), %error, "cannot remove a container's files");
            }
        }
        Self { dir }
    }

    /// Makes the directories of a container that is made of `layers`, the topmost first, and has `plan`
    /// say so. `dns` being absent, names are looked up as the machine does.
    pub(super) fn make(
        &self,
        isolator: &'static str,
        container: &Container,
        (layers, dns): (&[PathBuf], Option<&Dns>),
        plan: &mut Plan,
    ) -> Result<(), StepError> {
        let dir = self.dir.join(container.id.as_str());
        let rootfs = Rootfs { layers: layers.to_vec(), dir };
        let made = || -> io::Result<Vec<Volume>> {
            make_directories(&rootfs)?;
            whereabouts(&rootfs.dir, plan.hostname.as_deref(), dns)
        };
        let files = made().map_err(failed(isolator, Step::Prepare, &rootfs.dir))?;
        for file in files {
            // Its networks may know better.
            if !plan.shown.iter().any(|each| each.container_path == file.container_path) {
                plan.shown.push(file);
            }
        }
        add_hosts(plan, &container.wanted.hosts).map_err(failed(
            isolator,
            Step::Prepare,
            &rootfs.dir,
        ))?;
        plan.rootfs = Some(rootfs);
        Ok(())
    }

    /// Makes the directories of a container's volume of an image, one of several by `number`.
    pub(super) fn make_volume(
        &self,
        isolator: &'static str,
        container: &Container,
        number: usize,
        layers: &[PathBuf],
    ) -> Result<Rootfs, StepError> {
        let dir = self.dir.join(container.id.as_str()).join(format!("volumes/{number}"));
        let rootfs = Rootfs { layers: layers.to_vec(), dir };
        make_directories(&rootfs).map_err(failed(isolator, Step::Prepare, &rootfs.dir))?;
        Ok(rootfs)
    }

    pub(super) fn remove(&self, isolator: &'static str, container: &str) -> Result<(), StepError> {
        let dir = self.dir.join(container);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(isolator, Step::Cleanup, &dir)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Makes what layers are mounted with.
fn make_directories(rootfs: &Rootfs) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(&rootfs.dir)?;
    for directory in [rootfs.upper(), rootfs.work(), rootfs.merged()] {
        // What is on top is the root itself, which everybody is to see into.
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Adds names to a container's own list of them, whoever made that.
fn add_hosts(plan: &Plan, hosts: &[(String, IpAddr)]) -> io::Result<()> {
    use std::io::Write;
    let is_list = |each: &&Volume| each.container_path == Path::new("/etc/hosts");
    let Some(list) = plan.shown.iter().find(is_list) else { return Ok(()) };
    if let VolumeSource::Host(path) = &list.source
        && !hosts.is_empty()
    {
        let mut file = fs::File::options().append(true).open(path)?;
        for (name, address) in hosts {
            writeln!(file, "{address} {name}")?;
        }
    }
    Ok(())
}

/// Copies what tells where the machine is, for a container that may change it for itself.
fn whereabouts(dir: &Path, hostname: Option<&str>, dns: Option<&Dns>) -> io::Result<Vec<Volume>> {
    let mut files = Vec::new();
    let mut add = |name: &str, text: Vec<u8>| -> io::Result<()> {
        let source = dir.join(name);
        fs::write(&source, text)?;
        fs::set_permissions(&source, fs::Permissions::from_mode(0o644))?;
        files.push(Volume {
            source: VolumeSource::Host(source),
            container_path: Path::new("/etc").join(name),
            read_only: false,
        });
        Ok(())
    };
    for name in WHEREABOUTS {
        let ours = dns.filter(|_| name == "resolv.conf").map(|dns| dns.text().into_bytes());
        let machines = || fs::read(Path::new("/etc").join(name)).ok();
        let Some(mut text) = ours.or_else(machines) else { continue };
        if let (Some(hostname), "hosts") = (hostname, name) {
            // Programs look up what they are called.
            text.extend(format!("\n127.0.1.1 {hostname}\n").bytes());
        }
        add(name, text)?;
    }
    let own = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hostname = hostname.map_or_else(own, |name| format!("{name}\n"));
    add("hostname", hostname.into_bytes())?;
    Ok(files)
}

/// Refuses a container of an image if nobody here gives it its files: to run on the machine's would be
/// something else than what was asked for.
pub(super) fn taken(container: &Container, plan: &Plan) -> Result<(), StepError> {
    if container.layers.is_none() || plan.rootfs.is_some() {
        return Ok(());
    }
    let why = "it is not in this agent's --isolation".to_owned();
    Err(refused("filesystem/linux", "an image", why))
}

/// The directories of layers that containers are made of. Blocks.
pub(super) fn layers_in_use(containers: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    let entries = match fs::read_dir(containers) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
        other => other?,
    };
    for entry in entries {
        let files = Files::new(entry?.path());
        let text = match fs::read(files.plan()) {
            // Not planned yet: whoever launches it holds its layers.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let plan: Sketch = serde_json::from_slice(&text)
            .map_err(|error| io::Error::other(format!("{}: {error}", files.plan().display())))?;
        all.extend(plan.rootfs.into_iter().flat_map(|rootfs| rootfs.layers));
        let volumes = plan.shown.into_iter().filter_map(|volume| volume.source.image);
        all.extend(volumes.flat_map(|rootfs| rootfs.layers));
    }
    Ok(all)
}

/// What matters here of a plan, which may be of an older agent.
#[derive(Deserialize)]
struct Sketch {
    rootfs: Option<SketchRootfs>,
    #[serde(default)]
    shown: Vec<SketchVolume>,
}

#[derive(Deserialize)]
struct SketchVolume {
    source: SketchSource,
}

#[derive(Deserialize)]
struct SketchSource {
    #[serde(rename = "Image")]
    image: Option<SketchRootfs>,
}

#[derive(Deserialize)]
struct SketchRootfs {
    layers: Vec<PathBuf>,
}
