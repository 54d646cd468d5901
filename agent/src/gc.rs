//! Sandboxes of runs that are over: kept for a while to be looked at, then removed. The fuller the
//! disk is the shorter they are kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::ids::ContainerId;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::meters::Meters;
use crate::real::Real;
use crate::sandbox::LATEST;

/// How long sandboxes are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// On an empty disk.
    pub(crate) delay: Duration,
    /// Thousandths of the disk that count as used in any case.
    pub(crate) headroom_milli: u64,
    /// How often to look.
    pub(crate) interval: Duration,
}

/// Removes what is too old, again and again.
pub(crate) async fn run(
    real: Arc<Real>,
    work_dir: PathBuf,
    rules: Rules,
    meters: Arc<Meters>,
    stop: CancellationToken,
) {
    loop {
        let (real, work_dir) = (Arc::clone(&real), work_dir.clone());
        let told = Arc::clone(&meters);
        let collected = tokio::task::spawn_blocking(move || {
            let age_max = age_max(rules, used_milli(&work_dir)?);
            told.sandboxes_are_kept_for(age_max);
            let in_use = |container: &ContainerId| real.in_use(container);
            let now = SystemTime::now();
            let collected = collect(&work_dir, age_max, now, &in_use, &real.sandboxes);
            real.containerizer.reclaim();
            Ok::<_, io::Error>(collected)
        });
        match collected.await.expect("it does not panic") {
            Ok(Collected { removed, failed, kept }) => {
                meters.sandboxes_were_looked_at(removed.len(), failed, kept);
                if !removed.is_empty() {
                    let count = removed.len();
                    tracing::info!(count, "removed sandboxes of runs that are over");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot see how full the disk is"),
        }
        tokio::select! {
            () = tokio::time::sleep(rules.interval) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// How old a sandbox may become when so many thousandths of the disk are used.
fn age_max(rules: Rules, used_milli: u64) -> Duration {
    let left = 1_000_u64.saturating_sub(rules.headroom_milli).saturating_sub(used_milli);
    rules.delay * u32::try_from(left).unwrap_or(0) / 1_000
}

/// Thousandths of a file system that nobody but root can use any more.
pub(crate) fn used_milli(at: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(at)?;
    let free = u128::from(disk.f_bavail) * 1_000 / u128::from(disk.f_blocks.max(1));
    Ok(1_000_u64.saturating_sub(u64::try_from(free).unwrap_or(1_000)))
}

/// What came of a look.
#[derive(Debug, Default)]
struct Collected {
    removed: Vec<PathBuf>,
    /// How many could not be removed.
    failed: usize,
    /// How many are of runs that are over and not old enough.
    kept: usize,
}

/// Removes the sandboxes whose run has been over for `age_max`, and directories that are empty then.
/// `making` is held by whoever makes sandboxes. Blocks.
fn collect(
    work_dir: &Path,
    age_max: Duration,
    now: SystemTime,
    in_use: &dyn Fn(&ContainerId) -> bool,
    making: &Mutex<()>,
) -> Collected {
    let mut collected = Collected::default();
    for agent in directories(&work_dir.join("slaves")) {
        for framework in directories(&agent.join("frameworks")) {
            for executor in directories(&framework.join("executors")) {
                let runs = executor.join("runs");
                for run in directories(&runs) {
                    match is_old(&run, age_max, now, in_use) {
                        None => {}
                        Some(false) => collected.kept += 1,
                        Some(true) if remove(&run) => collected.removed.push(run),
                        Some(true) => collected.failed += 1,
                    }
                }
                clear_executor(&runs, making);
            }
        }
    }
    collected
}

/// Whether nothing has run there for `age_max`; absent if something does, or may.
fn is_old(
    run: &Path,
    age_max: Duration,
    now: SystemTime,
    in_use: &dyn Fn(&ContainerId) -> bool,
) -> Option<bool> {
    use std::os::unix::fs::MetadataExt;
    let container = ContainerId::new(run.file_name()?.to_str()?).ok()?;
    if in_use(&container) {
        return None;
    }
    // When the directory itself was changed last, which is at the run's end: unlike the time of its
    // content, its owner cannot set that.
    let seconds = u64::try_from(fs::metadata(run).ok()?.ctime()).ok()?;
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    Some(now.duration_since(changed).is_ok_and(|age| age >= age_max))
}

fn remove(run: &Path) -> bool {
    match fs::remove_dir_all(run) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(path = %run.display(), %error, "cannot remove a sandbox");
            false
        }
    }
}

/// Removes the directories around runs of which there are none left, up to the agent's.
fn clear_executor(runs: &Path, making: &Mutex<()>) {
    let _held = making.blocking_lock();
    if !directories(runs).is_empty() {
        return;
    }
    let _ = fs::remove_file(runs.join(LATEST));
    // Up to and with the directory of one registration; the first that is not empty ends it.
    for directory in runs.ancestors().take(6) {
        if fs::remove_dir(directory).is_err() {
            return;
        }
    }
}

/// The directories in a directory, without following links.
fn directories(at: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(at).into_iter().flatten().flatten();
    let real = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    real.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Run;
    use model::ids::{AgentId, ExecutorId, FrameworkId};

    const DAY: Duration = Duration::from_secs(24 * 3_600);

    #[test]
    fn the_fuller_the_disk_the_shorter_are_sandboxes_kept() {
        let rules = Rules { delay: 10 * DAY, headroom_milli: 100, interval: DAY };
        assert_eq!(age_max(rules, 0), 9 * DAY);
        assert_eq!(age_max(rules, 500), 4 * DAY);
        assert_eq!(age_max(rules, 900), Duration::ZERO);
        assert_eq!(age_max(rules, 1_000), Duration::ZERO);
        let used = used_milli(Path::new("/")).expect("there is a disk");
        assert!(used <= 1_000);
    }

    fn run(executor: &str, container: &str) -> Run {
        Run {
            agent: AgentId::new("r-S0").expect("an id"),
            framework: FrameworkId::new("r-0001").expect("an id"),
            executor: ExecutorId::new(executor).expect("an id"),
            container: ContainerId::new(container).expect("an id"),
        }
    }

    #[test]
    fn old_sandboxes_go_and_those_in_use_stay() {
        let work_dir = tempfile::tempdir().expect("a directory");
        let at = work_dir.path();
        let make = |executor, container| run(executor, container).create(at, None).expect("made");
        let (first, second, other) = (make("e1", "c1"), make("e1", "c2"), make("e2", "c3"));
        let later = |days: u32| SystemTime::now() + DAY * days;
        let making = Mutex::new(());
        let collect = |now, running: &str| {
            let in_use = |container: &ContainerId| container.as_str() == running;
            let Collected { mut removed, failed, kept } =
                collect(at, 7 * DAY, now, &in_use, &making);
            removed.sort();
            assert_eq!(failed, 0);
            (removed, kept)
        };
        assert_eq!(collect(later(6), "c2"), (Vec::new(), 2));
        assert_eq!(collect(later(8), "c2"), (vec![first.clone(), other], 0));
        assert!(!first.exists() && second.join("stdout").exists());
        assert!(!run("e2", "c3").runs(at).exists(), "nothing is left of an executor without runs");
        assert!(run("e1", "c2").latest(at).exists());
        // A clock that was set back makes nothing old.
        assert_eq!(collect(SystemTime::UNIX_EPOCH, ""), (Vec::new(), 1));
        assert_eq!(collect(later(8), ""), (vec![second], 0));
        assert_eq!(directories(&at.join("slaves")), Vec::<PathBuf>::new());
    }
}
