//! Persistent volumes: directories that outlive the tasks that write to them.
//!
//! They come with whichever isolator is for the file system: mounted by `filesystem/linux`, and as
//! links in the sandbox by `filesystem/posix`. They come and go also while a container runs, as the
//! tasks of its executor do.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use model::ids::ContainerId;
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};

use super::isolator::{Container, Step, StepError, failed, refused};
use super::spec::PersistentVolume;
use super::supervise::first_process;
use super::{Containerizer, read_plan};
use crate::beneath::Root;
use crate::launcher::{self, Files, Identity, Plan, Volume, VolumeSource, write_atomically};

/// What a container shows, as it is written down in its runtime directory.
const RECORD: &str = "volumes";

/// Has the launcher mount the container's volumes.
pub(super) fn mount(
    isolator: &'static str,
    files: &Files,
    container: &Container,
    plan: &mut Plan,
) -> Result<(), StepError> {
    let all = &container.wanted.persistent;
    for volume in all {
        give(isolator, volume, plan.identity.as_ref())?;
        plan.shown.push(mounted(volume));
    }
    note_first(isolator, files, all)
}

/// Mounts in a running container what it is to show and does not, and unmounts what it is not to show
/// any more.
pub(super) fn remount(
    isolator: &'static str,
    files: &Files,
    all: &[PersistentVolume],
) -> Result<(), StepError> {
    let Some(change) = Change::of(files, all) else { return Ok(()) };
    // One that has ended meanwhile shows nothing to anybody.
    let Some((plan, process)) = read_plan(files).zip(first_process(files)) else { return Ok(()) };
    for volume in change.coming(all) {
        give(isolator, volume, plan.identity.as_ref())?;
    }
    let new: Vec<Volume> = change.coming(all).map(mounted).collect();
    let kept: Vec<Volume> = change.now.iter().filter(|it| !new.contains(it)).cloned().collect();
    let exchange = launcher::Exchange { gone: &change.gone, kept: &kept, new: &new };
    match launcher::exchange(&plan, process, exchange) {
        Err(why) if process.is_there() => {
            let what = Path::new("persistent volumes");
            Err(failed(isolator, Step::Change, what)(io::Error::other(why)))
        }
        Ok(()) | Err(_) => note(isolator, files, &change.now),
    }
}

/// Makes links to the container's volumes in its sandbox.
pub(super) fn link(
    isolator: &'static str,
    files: &Files,
    container: &Container,
    plan: &Plan,
) -> Result<(), StepError> {
    let all = &container.wanted.persistent;
    all.iter().try_for_each(|volume| link_one(isolator, volume, plan))?;
    note_first(isolator, files, all)
}

/// Makes links in the sandbox of a running container to what it is to show, and removes those to what it
/// is not to show any more.
pub(super) fn relink(
    isolator: &'static str,
    files: &Files,
    all: &[PersistentVolume],
) -> Result<(), StepError> {
    let Some(change) = Change::of(files, all) else { return Ok(()) };
    // With mounts of its own they are mounted.
    let Some(plan) = read_plan(files).filter(|plan| plan.masked.is_empty()) else { return Ok(()) };
    for volume in &change.gone {
        let path = &volume.container_path;
        let unlinked = || -> io::Result<()> {
            let VolumeSource::Host(directory) = &volume.source else { return Ok(()) };
            Root::open(&plan.sandbox, plan.identity.as_ref())?.remove_link(path, directory)
        };
        unlinked().map_err(failed(isolator, Step::Change, path))?;
    }
    change.coming(all).try_for_each(|volume| link_one(isolator, volume, &plan))?;
    note(isolator, files, &change.now)
}

fn link_one(
    isolator: &'static str,
    volume: &PersistentVolume,
    plan: &Plan,
) -> Result<(), StepError> {
    let path = &volume.container_path;
    let what = format!("persistent volume '{}'", path.display());
    if volume.read_only || path.components().any(|it| !matches!(it, Component::Normal(_))) {
        let why = "read-only ones and absolute paths take filesystem/linux, which is not in this \
                   agent's --isolation";
        return Err(refused(isolator, &what, why.to_owned()));
    }
    give(isolator, volume, plan.identity.as_ref())?;
    let linked = || {
        let sandbox = Root::open(&plan.sandbox, plan.identity.as_ref())?;
        sandbox.symlink(path, &volume.directory)
    };
    linked().map_err(failed(isolator, Step::Prepare, Path::new(&what)))
}

fn mounted(volume: &PersistentVolume) -> Volume {
    Volume {
        source: VolumeSource::Host(volume.directory.clone()),
        container_path: volume.container_path.clone(),
        read_only: volume.read_only,
    }
}

/// From what a container shows to what it is to show.
struct Change {
    before: Vec<Volume>,
    now: Vec<Volume>,
    gone: Vec<Volume>,
}

impl Change {
    /// Absent: there is none.
    fn of(files: &Files, all: &[PersistentVolume]) -> Option<Self> {
        let before = shown(files);
        let now: Vec<Volume> = all.iter().map(mounted).collect();
        let gone: Vec<Volume> = before.iter().filter(|it| !now.contains(it)).cloned().collect();
        let change = Self { before, now, gone };
        let is_none = change.gone.is_empty() && change.coming(all).next().is_none();
        (!is_none).then_some(change)
    }

    fn coming<'a>(
        &'a self,
        all: &'a [PersistentVolume],
    ) -> impl Iterator<Item = &'a PersistentVolume> {
        all.iter().filter(|volume| !self.before.contains(&mounted(volume)))
    }
}

/// What a container shows.
fn shown(files: &Files) -> Vec<Volume> {
    let text = fs::read(files.dir().join(RECORD)).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// What a container may go on showing of what it shows, if `all` is what the one around it has; absent:
/// all of it.
fn still_theirs(files: &Files, all: &[PersistentVolume]) -> Option<Vec<PersistentVolume>> {
    let shown = shown(files);
    let theirs = |volume: &Volume| {
        let is_it = |it: &&PersistentVolume| mounted(it).source == volume.source;
        let found = all.iter().find(is_it)?.clone();
        let (container_path, read_only) = (volume.container_path.clone(), volume.read_only);
        Some(PersistentVolume { container_path, read_only, ..found })
    };
    let left: Vec<_> = shown.iter().filter_map(theirs).collect();
    (left.len() < shown.len()).then_some(left)
}

impl Containerizer {
    /// Has a container show these persistent volumes and no others, and the containers in it none that it
    /// does not have itself. One that is about to run is waited for; one that is over has no need of it.
    pub async fn show_volumes(
        &self,
        container: &ContainerId,
        volumes: Vec<PersistentVolume>,
    ) -> Result<(), StepError> {
        for inside in self.directly_in(container) {
            let all = volumes.clone();
            self.show_only(&inside, move |files| still_theirs(files, &all)).await?;
        }
        self.show_only(container, move |_| Some(volumes)).await
    }

    /// Has a container show the persistent volumes that `wanted` makes of its files and no others; absent:
    /// what it shows.
    async fn show_only(
        &self,
        container: &ContainerId,
        wanted: impl FnOnce(&Files) -> Option<Vec<PersistentVolume>> + Send + 'static,
    ) -> Result<(), StepError> {
        let runs = self.opened(container).await.map_err(|_| {
            let why = io::Error::other("the container is being started and does not get on");
            failed("persistent volumes", Step::Change, Path::new(container.as_str()))(why)
        })?;
        if !runs {
            return Ok(());
        }
        let container = container.clone();
        self.blocking(move |inner| {
            let wanted = wanted(&inner.files(container.as_str()));
            let Some(volumes) = wanted else { return Ok(()) };
            let all = &mut inner.isolators.iter();
            all.try_for_each(|each| each.show_volumes(container.as_str(), &volumes))
        })
        .await
    }
}

/// Writes down what a container shows from its beginning, if it is anything.
fn note_first(
    isolator: &'static str,
    files: &Files,
    all: &[PersistentVolume],
) -> Result<(), StepError> {
    if all.is_empty() { Ok(()) } else { note(isolator, files, &all.iter().map(mounted).collect()) }
}

fn note(isolator: &'static str, files: &Files, all: &Vec<Volume>) -> Result<(), StepError> {
    let file = files.dir().join(RECORD);
    let text = serde_json::to_vec(all).expect("paths and flags");
    write_atomically(&file, &text).map_err(failed(isolator, Step::Change, &file))
}

/// Gives a volume to the task's user, itself and not what is in it. One that several may have stays
/// whose it became first.
fn give(
    isolator: &'static str,
    volume: &PersistentVolume,
    user: Option<&Identity>,
) -> Result<(), StepError> {
    let given = || -> io::Result<()> {
        let directory = opened(&volume.directory)?;
        let Some(user) = user else { return Ok(()) };
        let there = rustix::fs::fstat(&directory)?;
        let is_agents = there.st_uid == nix::unistd::geteuid().as_raw();
        let is_users = (there.st_uid, there.st_gid) == (user.uid, user.gid);
        if is_users || volume.is_shared && !is_agents {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        Ok(rustix::fs::fchown(&directory, Some(uid), Some(gid))?)
    };
    given().map_err(failed(isolator, Step::Prepare, &volume.directory))
}

/// A volume's directory itself: a link in its place is not what was made there.
fn opened(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, directory, flags, Mode::empty());
    opened.map_err(|errno| match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            io::Error::other("it is not there; its disk may not be mounted")
        }
        _ => errno.into(),
    })
}
