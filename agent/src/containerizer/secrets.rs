//! `volume/secret`: secrets as files that are on no disk.
//!
//! They are in a file system in memory, one for each container, which goes with it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::isolator::{Container, Isolator, Step, StepError, failed};
use crate::launcher::{Plan, Volume, VolumeSource};

/// Its name in `--isolation`.
pub(super) const NAME: &str = "volume/secret";

/// The isolator.
#[derive(Debug)]
pub(super) struct Secrets {
    /// Holds a directory for each container that has secrets.
    pub(super) root: PathBuf,
}

impl Isolator for Secrets {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        if container.wanted.secrets.is_empty() {
            return Ok(());
        }
        let dir = self.root.join(container.id.as_str());
        let step = || failed(NAME, Step::Prepare, &dir);
        fs::create_dir_all(&dir).map_err(step())?;
        in_memory(&dir).map_err(|errno| step()(errno.into()))?;
        let owner = plan.identity.as_ref().map(|identity| (identity.uid, identity.gid));
        for (number, secret) in container.wanted.secrets.iter().enumerate() {
            let file = dir.join(number.to_string());
            write(&file, &secret.data.0, owner).map_err(step())?;
            plan.shown.push(Volume {
                source: VolumeSource::Host(file),
                container_path: secret.container_path.clone(),
                read_only: secret.read_only,
            });
        }
        // Nobody else is to see them.
        plan.namespaces.mount = true;
        Ok(())
    }

    fn strays(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        let dir = self.root.join(container);
        // What is no mount says so.
        while umount2(&dir, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
        match fs::remove_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(NAME, Step::Cleanup, &dir)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Puts a file system in memory at `dir`, if the kernel can one that is never swapped out.
fn in_memory(dir: &Path) -> Result<(), Errno> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let tried = |options: &str| mount(Some("tmpfs"), dir, Some("tmpfs"), flags, Some(options));
    tried("mode=700,noswap").or_else(|_| tried("mode=700"))
}

fn write(file: &Path, data: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o400).open(file)?.write_all(data)?;
    owner.map_or(Ok(()), |(uid, gid)| chown(file, Some(uid), Some(gid)))
}
