//! Sandboxes: the directory that each run of an executor has, and where it lies.
//!
//! The layout is that of Mesos, since people and tools look for it:
//! `<work_dir>/slaves/<agent>/frameworks/<framework>/executors/<executor>/runs/<container>`, with a
//! link `latest` beside the runs.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use model::ids::{AgentId, ContainerId, ExecutorId, FrameworkId};

use crate::launcher::Identity;

/// The name of the link to the newest run.
pub const LATEST: &str = "latest";

/// Where one run of an executor belongs. The ids are checked, so none of them can lead elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run {
    /// Whose registration it is under.
    pub agent: AgentId,
    /// The executor's framework.
    pub framework: FrameworkId,
    /// The executor.
    pub executor: ExecutorId,
    /// This run of it.
    pub container: ContainerId,
}

/// Why a sandbox could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct SandboxError {
    /// What was tried.
    pub action: &'static str,
    /// Upon what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl Run {
    /// The sandbox of this run.
    pub fn sandbox(&self, work_dir: &Path) -> PathBuf {
        self.runs(work_dir).join(self.container.as_str())
    }

    /// The link that leads to the newest run of this executor.
    pub fn latest(&self, work_dir: &Path) -> PathBuf {
        self.runs(work_dir).join(LATEST)
    }

    /// The directory of all runs of this executor.
    pub fn runs(&self, work_dir: &Path) -> PathBuf {
        agent_dir(work_dir, &self.agent)
            .join("frameworks")
            .join(self.framework.as_str())
            .join("executors")
            .join(self.executor.as_str())
            .join("runs")
    }

    /// The path under which the sandbox is shown by the files endpoints.
    pub fn virtual_path(&self) -> String {
        format!(
            "/frameworks/{}/executors/{}/runs/{}",
            self.framework, self.executor, self.container
        )
    }

    /// Makes the sandbox with empty `stdout` and `stderr`, owned by `owner` if given, and points
    /// `latest` at it. What exists already is kept.
    pub fn create(
        &self,
        work_dir: &Path,
        owner: Option<&Identity>,
    ) -> Result<PathBuf, SandboxError> {
        let sandbox = self.sandbox(work_dir);
        let runs = self.runs(work_dir);
        // Others may pass through down to the sandbox, whose own mode then decides.
        make_dirs(&runs, 0o755).map_err(failed("create directory", &runs))?;
        // Nobody but the task's user looks in: output may tell secrets.
        make_dirs(&sandbox, 0o750).map_err(failed("create directory", &sandbox))?;
        for name in ["stdout", "stderr"] {
            let path = sandbox.join(name);
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(0o644).custom_flags(libc::O_NOFOLLOW);
            options.open(&path).map_err(failed("create", &path))?;
            give(&path, owner)?;
        }
        give(&sandbox, owner)?;
        self.point_latest(&runs)?;
        Ok(sandbox)
    }

    fn point_latest(&self, runs: &Path) -> Result<(), SandboxError> {
        // A link cannot be changed, so a new one takes the old one's place.
        let latest = runs.join(LATEST);
        let new = runs.join(format!(".{LATEST}-{}", self.container));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &new)(error));
            }
            Ok(()) | Err(_) => {}
        }
        symlink(runs.join(self.container.as_str()), &new).map_err(failed("create link", &new))?;
        fs::rename(&new, &latest).map_err(failed("create link", &latest))
    }
}

/// The directory that holds all sandboxes of one registration.
pub fn agent_dir(work_dir: &Path, agent: &AgentId) -> PathBuf {
    work_dir.join("slaves").join(agent.as_str())
}

fn make_dirs(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

fn give(path: &Path, owner: Option<&Identity>) -> Result<(), SandboxError> {
    let Some(owner) = owner else { return Ok(()) };
    chown(path, Some(owner.uid), Some(owner.gid)).map_err(failed("change the owner of", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    let path = path.to_owned();
    move |source| SandboxError { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(container: &str) -> Run {
        Run {
            agent: AgentId::new("r-S0").expect("an id"),
            framework: FrameworkId::new("r-0001").expect("an id"),
            executor: ExecutorId::new("web.1").expect("an id"),
            container: ContainerId::new(container).expect("an id"),
        }
    }

    #[test]
    fn a_sandbox_lies_where_mesos_has_it_and_latest_leads_to_it() {
        let work_dir = tempfile::tempdir().expect("a directory");
        let first = run("c1").create(work_dir.path(), None).expect("a sandbox");
        let tail = "slaves/r-S0/frameworks/r-0001/executors/web.1/runs/c1";
        assert_eq!(first, work_dir.path().join(tail));
        assert!(first.join("stdout").is_file() && first.join("stderr").is_file());

        let second = run("c2").create(work_dir.path(), None).expect("a sandbox");
        let latest = run("c2").latest(work_dir.path());
        assert_eq!(fs::canonicalize(latest).ok(), fs::canonicalize(&second).ok());
        assert!(first.is_dir());
        run("c2").create(work_dir.path(), None).expect("making it again keeps it");
    }
}
