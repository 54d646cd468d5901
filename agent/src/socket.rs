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

/// The directory of the socket, below the runtime directory.
pub(crate) fn dir(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("socket")
}

/// Makes the socket in `dir`, in the place of an earlier run's.
///
/// Everybody who sees it may connect, as everybody on this machine may to the agent's port.
pub(crate) fn listen(dir: &Path) -> io::Result<UnixListener> {
    // Everybody may enter it, but only where it is mounted does anybody see it.
    DirBuilder::new().recursive(true).mode(0o700).create(dir.parent().unwrap_or(dir))?;
    DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    // The name of a socket is short; that of its directory may be long.
    let handle = fs::File::open(dir)?;
    let path = format!("/proc/self/fd/{}/agent.sock", std::os::fd::AsRawFd::as_raw_fd(&handle));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    Ok(listener)
}
