//! Containers that operators and executors launch themselves: in a container that runs, or standalone.
//!
//! Their sandboxes lie in those of the containers that they are in, which belong to somebody who may
//! put links there; so they are made and removed by descriptors, and no link is followed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use model::acl::Action;
use model::amount::Ranges;
use model::ids::ContainerId;
use proto::mesos::v1::{CommandInfo, ContainerInfo, Resource, value};
use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use transport::auth::Asker;

use crate::containerizer::{
    Class, CommandLine, Kind, LaunchSpec, Limits, Networks, Outer, PersistentVolume, Termination,
    Wanted,
};
use crate::images::{Given, Provisioned};
use crate::launcher::{Identity, Io, Rootfs, VolumeSource, Window};
use crate::limits::MIB;
use crate::real::{PATH, Real, uri};
use crate::starting::NotStarted;
use crate::wanted;
use crate::whom::Whom;

/// The directory of a sandbox in which those of nested containers lie, and that of the work directory
/// for standalone ones.
const CONTAINERS: &str = "containers";

/// A container to be launched.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// Its id, which also says where it is.
    pub(crate) container: ContainerId,
    pub(crate) command: CommandInfo,
    pub(crate) info: Option<ContainerInfo>,
    /// What it may use, if that is not what the one it is in may use.
    pub(crate) resources: Vec<Resource>,
    /// The most it may use of a resource, where that is not as much as it asked for.
    pub(crate) limits: BTreeMap<String, f64>,
    /// Whether it is somebody's look into the container that it is in.
    pub(crate) is_session: bool,
    /// Added to the environment, if the command does not say otherwise.
    pub(crate) environment: Vec<(String, String)>,
    /// Persistent volumes of the executor that it is directly in, by their places in that one's sandbox.
    pub(crate) persistent: Vec<PersistentVolume>,
    /// By whose right its image may say whom it runs as. Absent: the image may in any case.
    pub(crate) by: Option<ByRight>,
}

/// Somebody, and what they must be allowed to have a container run as a user.
#[derive(Clone, Debug)]
pub(crate) struct ByRight {
    pub(crate) asker: Asker,
    pub(crate) action: Action,
}

impl Real {
    /// Launches a container in another one, or a standalone one.
    pub(crate) async fn launch_wish(&self, wish: Wish) -> Result<(), NotStarted> {
        let container = wish.container.clone();
        self.start_prepared(&container, self.prepare_wish(wish)).await
    }

    async fn prepare_wish(&self, mut wish: Wish) -> Result<LaunchSpec, String> {
        self.around.secrets.reveal(&mut wish.command)?;
        let outer = match wish.container.parent() {
            None => None,
            Some(parent) => {
                // An executor may ask as soon as it runs, and that is before all here know that it does.
                let _ = self.containerizer.opened(&parent).await;
                let outer = self.containerizer.outer(&parent);
                Some(outer.ok_or_else(|| format!("container {parent} does not run"))?)
            }
        };
        let mut wanted = wanted::read(wish.info.as_ref())?;
        if let Some(info) = &wish.info {
            wanted.secrets = self.around.secrets.volumes(info)?;
        }
        if wish.is_session {
            has_nothing_of_its_own(&wish, &wanted)?;
        }
        share_persistent(&wish.persistent, &mut wanted)?;
        let image = self.image(wanted.image.as_ref()).await?;
        let whom = self.owner(&wish, image.as_ref(), outer.as_ref())?;
        let Whom { identity: owner, home, known_as } = whom;
        let sandbox = match outer.as_ref().filter(|_| wish.is_session) {
            Some(outer) => outer.sandbox.clone(),
            None => self.sandbox_for(&wish, owner.as_ref(), outer.as_ref()).await?,
        };
        Ok(LaunchSpec {
            environment: environment(&wish, &sandbox, image.as_ref(), home),
            command: command_line(&wish.command, image.as_ref())?,
            limits: limits(&wish),
            ports: ports(&wish.resources),
            hostname: wish.info.as_ref().and_then(|info| info.hostname.clone()),
            kind: Kind {
                class: if wish.is_session { Class::Debug } else { Class::Default },
                is_standalone: outer.is_none(),
                io: io_of(wish.info.as_ref(), wish.is_session),
            },
            container: wish.container,
            sandbox,
            user: None,
            identity: owner,
            known_as,
            workdir: image.as_ref().and_then(Provisioned::workdir),
            image,
            image_volumes: self.image_volumes(&wanted).await?,
            shown: self.shown(wanted.networks != Networks::Host),
            wanted,
        })
    }

    /// Makes the sandbox of a container, with what its command wants in it.
    async fn sandbox_for(
        &self,
        wish: &Wish,
        owner: Option<&Identity>,
        outer: Option<&Outer>,
    ) -> Result<PathBuf, String> {
        let (base, sandbox) = self.place_of(&wish.container, outer);
        let made = {
            let (name, owner) = (wish.container.name().to_owned(), owner.cloned());
            tokio::task::spawn_blocking(move || make(&base, &name, owner.as_ref()))
        };
        let made = made.await.map_err(|error| error.to_string())?;
        let made = made.map_err(|error| format!("cannot make {}: {error}", sandbox.display()))?;
        let uris: Vec<_> = wish.command.uris.iter().map(uri).collect();
        if !uris.is_empty() {
            // By its descriptor: on the way there may be a link by now.
            let path = PathBuf::from(format!("/proc/self/fd/{}", made.as_raw_fd()));
            let fetched = self.fetcher.fetch(&uris, &path, owner).await;
            fetched.map_err(|error| format!("Failed to fetch all URIs: {error}"))?;
        }
        Ok(sandbox)
    }

    /// Whom a container runs as: its command says, else its image, else the container around it.
    fn owner(
        &self,
        wish: &Wish,
        image: Option<&Provisioned>,
        outer: Option<&Outer>,
    ) -> Result<Whom, String> {
        let of_machine = |user: &str| Identity::of(user).map_err(|error| error.to_string());
        let asked = wish.command.user.as_deref().filter(|user| !user.is_empty());
        let around = outer.and_then(|outer| outer.identity.clone());
        let own = || outer.is_none().then(Identity::own_name);
        let Some(image) = image.filter(|_| self.around.switch_user) else {
            let other = asked.filter(|_| self.around.switch_user);
            let identity = other.map(of_machine).transpose()?;
            let identity = identity.or(around.filter(|_| self.around.switch_user));
            let known_as = asked.map(str::to_owned).or_else(own);
            return Ok(Whom { identity, home: None, known_as });
        };
        let user = match (asked, image.config.user.as_deref()) {
            (Some(user), _) => user,
            (None, Some(user)) => {
                may_become(wish, user)?;
                user
            }
            // Whoever may not be root does not become it by an image.
            (None, None) if around.is_some() => {
                return Ok(Whom { identity: around, home: None, known_as: None });
            }
            (None, None) => "0",
        };
        let known_as = asked.or(image.config.user.as_deref()).map(str::to_owned).or_else(own);
        match image.user(user) {
            Ok(found) => Ok(Whom { identity: Some(found.identity), home: found.home, known_as }),
            // Somebody the image does not name may still be known here.
            Err(_) if asked.is_some() => {
                Ok(Whom { identity: Some(of_machine(user)?), home: None, known_as })
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The directory in which the directory [`CONTAINERS`] for a container is, and its sandbox.
    fn place_of(&self, container: &ContainerId, outer: Option<&Outer>) -> (PathBuf, PathBuf) {
        let base =
            outer.map_or_else(|| self.around.work_dir.clone(), |outer| outer.sandbox.clone());
        let sandbox = base.join(CONTAINERS).join(container.name());
        (base, sandbox)
    }

    /// Removes a container that is over with all it has left behind. One that is not there is as good.
    pub(crate) async fn remove(&self, container: &ContainerId) -> Result<(), StillRuns> {
        if self.preparing.lock().contains_key(container) || self.containerizer.runs(container) {
            return Err(StillRuns);
        }
        if self.containerizer.knows(container) {
            let outer = container.parent().map(|parent| self.containerizer.outer(&parent));
            // A parent that is over takes the record with it, and keeps the sandbox like its own.
            if outer.as_ref().is_none_or(Option::is_some) {
                let (base, _) = self.place_of(container, outer.flatten().as_ref());
                let name = container.name().to_owned();
                let cleared = tokio::task::spawn_blocking(move || clear(&base, &name));
                if let Ok(Err(error)) = cleared.await {
                    tracing::warn!(%container, %error, "a sandbox cannot be removed");
                }
            }
        }
        self.forget_now(container).await;
        Ok(())
    }

    /// Waits for the end of a container that is known here; absent for others.
    pub(crate) async fn end_of(&self, container: &ContainerId) -> Option<Termination> {
        if !self.containerizer.knows(container) {
            return None;
        }
        Some(self.containerizer.wait(container).await)
    }
}

/// A container that runs is not removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct StillRuns;

/// Refuses a container whose image says that it runs as `user`, as whom whoever asks may run none.
fn may_become(wish: &Wish, user: &str) -> Result<(), String> {
    match &wish.by {
        Some(ByRight { asker, action }) if !asker.may_to_user(*action, Some(user)) => {
            let refused = asker.refused(&format!("run containers as user '{user}'"));
            Err(format!("its image is run as user '{user}': {}; name another user", refused.text))
        }
        Some(_) | None => Ok(()),
    }
}

/// A session has nothing but its command.
fn has_nothing_of_its_own(wish: &Wish, wanted: &Wanted) -> Result<(), String> {
    let refused =
        |what: &str| Err(format!("a session sees what its container sees; leave the {what} out"));
    if wanted.image.is_some() {
        return refused("image");
    }
    if !(wanted.volumes.is_empty() && wanted.secrets.is_empty() && wanted.image_volumes.is_empty())
    {
        return refused("volumes");
    }
    if !wish.command.uris.is_empty() {
        return refused("URIs");
    }
    Ok(())
}

/// How input and output are handed on: for a session always, else where a terminal is asked for.
fn io_of(info: Option<&ContainerInfo>, is_session: bool) -> Option<Io> {
    let terminal = info.and_then(terminal);
    (is_session || terminal.is_some()).then_some(Io { terminal, is_session })
}

/// The size of the terminal that a container is to have, if any.
pub(crate) fn terminal(info: &ContainerInfo) -> Option<Window> {
    let tty = info.tty_info.as_ref()?;
    Some(tty.window_size.map_or_else(Window::default, window))
}

/// A size as the kernel takes it.
pub(crate) fn window(size: proto::mesos::v1::tty_info::WindowSize) -> Window {
    let number = |size: u32| u16::try_from(size).unwrap_or(u16::MAX);
    Window { rows: number(size.rows), columns: number(size.columns) }
}

/// What is executed of `command` and what the image says.
pub(crate) fn in_image(command: &CommandInfo, image: &Provisioned) -> Result<CommandLine, String> {
    let (shell, arguments) = (command.shell(), command.arguments.as_slice());
    let given = Given { shell, value: command.value(), arguments };
    let (path, arguments) = image.start().command_line(given)?;
    Ok(CommandLine::Program { path, arguments })
}

fn command_line(command: &CommandInfo, image: Option<&Provisioned>) -> Result<CommandLine, String> {
    if let Some(image) = image {
        return in_image(command, image);
    }
    let value = command.value().to_owned();
    if value.is_empty() {
        return Err("the command has no value; say what to execute".to_owned());
    }
    if command.shell() {
        return Ok(CommandLine::Shell(value));
    }
    let mut arguments = command.arguments.clone();
    if arguments.is_empty() {
        arguments.push(value.clone());
    }
    Ok(CommandLine::Program { path: value, arguments })
}

/// Takes volumes at a place where the executor around has a persistent one for those themselves: what
/// is mounted for an executor is seen by nobody else. What is below such a place is no part of the
/// executor's sandbox, and is refused: what was written there would be lost.
fn share_persistent(theirs: &[PersistentVolume], wanted: &mut Wanted) -> Result<(), String> {
    let mut left = Vec::new();
    for volume in std::mem::take(&mut wanted.volumes) {
        let VolumeSource::Around(path) = &volume.source else {
            left.push(volume);
            continue;
        };
        let path: PathBuf = path.components().filter(|it| *it != Component::CurDir).collect();
        if let Some(found) = theirs.iter().find(|it| it.container_path == path) {
            wanted.persistent.push(PersistentVolume {
                container_path: volume.container_path,
                read_only: found.read_only || volume.read_only,
                ..found.clone()
            });
        } else if let Some(found) = theirs.iter().find(|it| path.starts_with(&it.container_path)) {
            return Err(format!(
                "volume '{}': '{}' is in the persistent volume '{}', which can only be shared as a \
                 whole",
                volume.container_path.display(),
                path.display(),
                found.container_path.display()
            ));
        } else {
            left.push(volume);
        }
    }
    wanted.volumes = left;
    Ok(())
}

fn environment(
    wish: &Wish,
    sandbox: &Path,
    image: Option<&Provisioned>,
    home: Option<String>,
) -> Vec<(String, String)> {
    // As it is seen from inside.
    let inside =
        image.map_or_else(|| sandbox.display().to_string(), |_| Rootfs::SANDBOX.to_owned());
    // One that is a session has those of the container it looks into.
    let mut all = Vec::new();
    if !wish.is_session {
        all.push(("MESOS_SANDBOX".to_owned(), inside));
        all.push(("PATH".to_owned(), PATH.to_owned()));
    }
    if image.is_some() {
        all.push(("HOME".to_owned(), home.unwrap_or_else(|| "/".to_owned())));
    }
    let mut set = |name: &str, value: String| {
        all.retain(|(known, _)| known != name);
        all.push((name.to_owned(), value));
    };
    for (name, value) in image.into_iter().flat_map(|image| &image.config.env) {
        set(name, value.clone());
    }
    for (name, value) in &wish.environment {
        set(name, value.clone());
    }
    for variable in wish.command.environment.iter().flat_map(|it| &it.variables) {
        set(&variable.name, variable.value().to_owned());
    }
    all
}

/// What a container may use: what was asked for, and limits where they are named.
fn limits(wish: &Wish) -> Limits {
    let asked = |name: &str| -> f64 {
        let scalars = wish.resources.iter().filter(|it| it.name == name);
        scalars.filter_map(|it| it.scalar.as_ref()).map(|it| it.value).sum()
    };
    let limit = |name: &str, unit: f64| wish.limits.get(name).map(|most| amount(*most, unit));
    let disk = amount(asked("disk"), MIB);
    Limits {
        cpus_milli: amount(asked("cpus"), 1_000.0),
        cpus_limit_milli: limit("cpus", 1_000.0),
        mem_bytes: amount(asked("mem"), MIB),
        mem_limit_bytes: limit("mem", MIB),
        disk_bytes: Some(disk).filter(|bytes| *bytes > 0),
        gpus: amount(asked("gpus"), 1.0),
        ..Limits::default()
    }
}

/// The ports among resources.
fn ports(resources: &[Resource]) -> Ranges {
    let ports = resources.iter().filter(|it| it.name == "ports");
    let ranges = ports.filter_map(|it| it.ranges.as_ref()).flat_map(|it| &it.range);
    ranges.map(|range| (range.begin, range.end)).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "infinity is no limit, and the cast saturates"
)]
fn amount(value: f64, unit: f64) -> u64 {
    if value.is_infinite() { Limits::UNLIMITED } else { (value * unit) as u64 }
}

/// The amount of a scalar among resources, if there is one.
pub(crate) fn scalar(resources: &[Resource], name: &str) -> Option<f64> {
    let scalars =
        resources.iter().filter(|it| it.name == name && it.r#type() == value::Type::Scalar);
    scalars.filter_map(|it| it.scalar.as_ref()).map(|it| it.value).reduce(|sum, it| sum + it)
}

/// Makes `containers/<name>` in `base` with empty `stdout` and `stderr`; what is there is kept. Gives the
/// directory. Blocks.
fn make(base: &Path, name: &str, owner: Option<&Identity>) -> io::Result<OwnedFd> {
    let all = enter_containers(base, true)?;
    // Nobody but the user looks in: output may tell secrets.
    made(rustix::fs::mkdirat(&all, name, Mode::from_raw_mode(0o750)))?;
    let sandbox = directory(&all, name)?;
    let give = |file: &OwnedFd| match owner {
        None => Ok(()),
        Some(owner) => {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            rustix::fs::fchown(file, Some(uid), Some(gid))
        }
    };
    for log in ["stdout", "stderr"] {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o644);
        give(&rustix::fs::openat(&sandbox, log, flags | OFlags::CLOEXEC, mode)?)?;
    }
    give(&sandbox)?;
    Ok(sandbox)
}

/// Removes `containers/<name>` in `base`. Blocks.
fn clear(base: &Path, name: &str) -> io::Result<()> {
    let all = match enter_containers(base, false) {
        Err(Errno::NOENT) => return Ok(()),
        entered => entered?,
    };
    match fs::remove_dir_all(format!("/proc/self/fd/{}/{name}", all.as_raw_fd())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The directory of containers in `base`, made if `makes` says so.
fn enter_containers(base: &Path, makes: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = rustix::fs::openat2(CWD, base, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    if makes {
        made(rustix::fs::mkdirat(&base, CONTAINERS, Mode::from_raw_mode(0o755)))?;
    }
    directory(&base, CONTAINERS)
}

fn directory(at: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

fn made(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::EXIST) { Ok(()) } else { result }
}

/// Why a wait was in vain, for people.
pub(crate) fn words(end: &Termination) -> Option<Arc<str>> {
    if !end.leftovers.is_empty() {
        return Some(format!("not all of it is cleared away: {}", end.leftovers).into());
    }
    end.destroyed.then(|| "Container destroyed".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::Volume;

    #[test]
    fn a_part_of_a_persistent_volume_is_refused_and_all_of_it_is_that_volume() {
        let own = PersistentVolume {
            directory: "/volumes/v1".into(),
            container_path: "data".into(),
            read_only: true,
            is_shared: false,
            bytes: 1 << 20,
        };
        let shared = |path: &str| {
            let (source, container_path) = (VolumeSource::Around(path.into()), "at".into());
            let volumes = vec![Volume { source, container_path, read_only: false }];
            let mut wanted = Wanted { volumes, ..Wanted::default() };
            share_persistent(std::slice::from_ref(&own), &mut wanted).map(|()| wanted)
        };
        let whole = PersistentVolume { container_path: "at".into(), ..own.clone() };
        for path in ["data", "./data", "data/."] {
            let wanted = shared(path).expect("it is the volume");
            assert_eq!((wanted.volumes.len(), &wanted.persistent[..]), (0, &[whole.clone()][..]));
        }
        let wanted = shared("database").expect("it is another place");
        assert_eq!((wanted.volumes.len(), wanted.persistent.len()), (1, 0));
        let why = shared("./data/deep").map(drop);
        let says = "volume 'at': 'data/deep' is in the persistent volume 'data', which can only be \
                    shared as a whole";
        assert_eq!(why, Err(says.to_owned()));
    }

    #[test]
    fn a_sandbox_is_made_and_removed_and_links_lead_nowhere() {
        let base = tempfile::tempdir().expect("a directory");
        let elsewhere = tempfile::tempdir().expect("a directory");
        make(base.path(), "c1", None).expect("nothing is in the way");
        make(base.path(), "c1", None).expect("it is there already");
        assert!(base.path().join("containers/c1/stdout").is_file());
        fs::write(elsewhere.path().join("kept"), "").expect("a file");
        std::os::unix::fs::symlink(elsewhere.path(), base.path().join("containers/c1/link"))
            .expect("a link");
        clear(base.path(), "c1").expect("it can go");
        clear(base.path(), "c1").expect("it is gone");
        assert!(!base.path().join("containers/c1").exists());

        std::os::unix::fs::symlink(elsewhere.path(), base.path().join("containers/c2"))
            .expect("a link");
        make(base.path(), "c2", None).expect_err("it is a link");
        fs::remove_dir_all(base.path().join("containers")).expect("it can go");
        std::os::unix::fs::symlink(elsewhere.path(), base.path().join("containers"))
            .expect("a link");
        make(base.path(), "c3", None).expect_err("it is a link");
        clear(base.path(), "kept").expect_err("it is a link");
        assert!(elsewhere.path().join("kept").exists());
        assert_eq!(fs::read_dir(elsewhere.path()).expect("it is there").count(), 1);
    }
}
