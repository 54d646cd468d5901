//! The agent's socket in the file system, by which executors reach it whatever network they are in.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Where an executor finds the socket, as Mesos calls it. A relative path is one from the sandbox,
/// in which executors start: an absolute one may be longer than the system lets sockets' names be.
pub(crate) const SOCKET_VARIABLE: &str = "MESOS_DOMAIN_SOCKET";

/// Where it is in a sandbox. The directory around it is what is mounted there, so that the socket of
/// the next run of the agent is seen as well.
pub(crate) const SEEN_AT: &str = ".agent/agent.sock";

/// The name of the socket in its directory.
pub(crate) const NAME: &str = "agent.sock";

/// The directory of the socket: where `location` is, or below the runtime directory.
pub(crate) fn dir(location: Option<&Path>, runtime_dir: &Path) -> PathBuf {
    let given = location.and_then(Path::parent).map(Path::to_owned);
    given.unwrap_or_else(|| runtime_dir.join("socket"))
}

/// Where the socket of this directory is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Whether the socket can be at `location` (`--domain_socket_location`). Containers see its directory,
/// so nothing else is to be in there. An error says what to do.
pub(crate) fn check(location: &Path) -> Result<(), String> {
    if !location.is_absolute() || location.file_name() != Some(NAME.as_ref()) {
        return Err(format!(
            "it must be the absolute path of a file '{NAME}', in a directory for it alone, as \
             /run/agora/socket/{NAME}"
        ));
    }
    let directory = location.parent().into_iter().flat_map(fs::read_dir).flatten();
    match directory.flatten().find(|entry| entry.file_name() != NAME) {
        Some(other) => Err(format!(
            "containers see its directory, and '{}' is in there too; give it a directory of its own",
            other.path().display()
        )),
        None => Ok(()),
    }
}

/// Makes the socket in `dir`, in the place of an earlier run's.
///
/// Everybody who sees it may connect, as everybody on this machine may to the agent's port.
pub(crate) fn listen(dir: &Path) -> io::Result<UnixListener> {
    // Everybody may enter it. Below the runtime directory nobody sees it but where it is mounted.
    DirBuilder::new().recursive(true).mode(0o700).create(dir.parent().unwrap_or(dir))?;
    DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    // The name of a socket is short; that of its directory may be long.
    let handle = fs::File::open(dir)?;
    let path = format!("/proc/self/fd/{}/{NAME}", std::os::fd::AsRawFd::as_raw_fd(&handle));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_a_directory_to_itself() {
        let dir = tempfile::tempdir().expect("a directory");
        let location = dir.path().join("socket/agent.sock");
        assert_eq!(check(&location), Ok(()), "it is made");
        assert_eq!(super::dir(Some(&location), dir.path()), dir.path().join("socket"));
        fs::create_dir(dir.path().join("socket")).expect("a directory");
        fs::write(&location, "").expect("a file");
        assert_eq!(check(&location), Ok(()), "an earlier run's");
        fs::write(dir.path().join("socket/other"), "").expect("a file");
        let error = check(&location).expect_err("containers would see it");
        assert!(error.contains("socket/other' is in there too"), "{error}");
        for wrong in ["agent.sock", "/run/other.sock", "systemd:agora"] {
            let error = check(Path::new(wrong)).expect_err("it is no such place");
            assert!(error.starts_with("it must be the absolute path of a file"), "{error}");
        }
    }
}
