//! Has the kernel begin early with what the first process of a container would wait for.
//!
//! Before a process is moved into a v1 group the kernel waits until all processors have noticed that nobody may be
//! forked for a moment, for some five to ten milliseconds. Meanwhile it makes no groups either. Moves
//! that follow within some ten milliseconds do not wait. So as soon as a container is going to be launched this process
//! is moved to where it is, which changes nothing, while all that takes no groups goes on: the launch is
//! written down and its sandbox is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::hierarchy::{Mounts, processes};

/// After a move the next one does not wait for at least so long.
const LASTS: Duration = Duration::from_millis(10);

/// Where the kernel says which groups a process is in.
const OWN: &str = "/proc/self/cgroup";

/// What a process that is to be moved is called by itself.
const SELF: &str = "0";

/// Moves this process to where it is.
#[derive(Debug)]
pub(in super::super) struct HeadStart {
    /// Wakes the thread that moves. That ends with this.
    asked: SyncSender<()>,
}

/// Where this process is in one of the v1 hierarchies.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Place {
    /// The line that says so.
    line: String,
    /// The directory that it means.
    group: PathBuf,
}

impl HeadStart {
    /// Absent: this process cannot be moved to where it is, or there is no v1 hierarchy.
    pub(in super::super) fn new(mounts: &Mounts) -> Option<Self> {
        let place = place(mounts, &fs::read_to_string(OWN).ok()?)?;
        let (asked, asks) = sync_channel(1);
        let thread = std::thread::Builder::new().name("cgroup-moves".to_owned());
        thread.spawn(move || move_when_asked(&place, &asks)).ok()?;
        Some(Self { asked })
    }

    /// Has the kernel begin, if the last move was too long ago. Waits for nothing.
    pub(in super::super) fn take(&self) {
        // If another one is waited for, that one will do.
        let _ = self.asked.try_send(());
    }
}

/// Where this process is in some v1 hierarchy that it can be moved in. `own` is what the kernel says of it.
fn place(mounts: &Mounts, own: &str) -> Option<Place> {
    let pid = i32::try_from(std::process::id()).ok()?;
    own.lines().find_map(|line| {
        // A number, controllers, and the path from the root of their hierarchy.
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let mount = mounts.v1.get(controllers.split(',').next()?)?;
        let group = mount.join(path.trim_start_matches('/'));
        // Only a part of the hierarchy may be mounted, and then the path does not lead there.
        let is_in = processes(&group).is_ok_and(|inside| inside.contains(&pid));
        is_in.then(|| Place { line: line.to_owned(), group })
    })
}

fn move_when_asked(place: &Place, asks: &Receiver<()>) {
    let mut moved: Option<Instant> = None;
    while asks.recv().is_ok() {
        if moved.is_some_and(|at| at.elapsed() < LASTS) {
            continue;
        }
        // Somebody may have moved this process since, and it is to stay there.
        if !is_there(place, Path::new(OWN)) {
            return;
        }
        // If that fails the container's process waits as it would have.
        let _ = fs::write(place.group.join("cgroup.procs"), SELF);
        moved = Some(Instant::now());
    }
}

fn is_there(place: &Place, own: &Path) -> bool {
    fs::read_to_string(own).is_ok_and(|own| own.lines().any(|line| line == place.line))
}
