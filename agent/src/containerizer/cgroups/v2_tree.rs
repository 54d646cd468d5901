//! What is where in the v2 tree, and what its controllers are called.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::hierarchy::processes;

/// Where the agent goes that is where its containers' limits are to be handed down.
const ASIDE: &str = "agora-agent";

/// What every group does without being told to, and that is therefore not handed down.
const IN_EVERY_GROUP: [&str; 2] = ["devices", "perf_event"];

/// How what is `controller` in v1 is called here. Absent: it is not there at all.
fn name_of(controller: &str) -> Option<&str> {
    match controller {
        "blkio" => Some("io"),
        // Packets are told apart by their group itself, which needs no number for it.
        "net_cls" | "net_prio" => None,
        other => Some(other),
    }
}

/// Whether the tree at `mount` has what is `controller` in v1.
pub(super) fn has(mount: &Path, controller: &str) -> bool {
    let Some(name) = name_of(controller) else { return false };
    match name {
        "devices" => super::bpf::is_there(),
        "perf_event" => true,
        name => {
            let has = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
            has.split_ascii_whitespace().any(|it| it == name)
        }
    }
}

/// What must be handed down for groups to have what is `controller` in v1.
pub(super) fn handed_down(controller: &str) -> Option<&str> {
    name_of(controller).filter(|name| !IN_EVERY_GROUP.contains(name))
}

/// Makes `root` in the tree at `mount`, with `controller` handed down to what is in it.
pub(super) fn root(mount: &Path, root: &str, controller: Option<&str>) -> io::Result<PathBuf> {
    let mut at = mount.to_owned();
    let hand_down = |at: &Path| controller.map_or(Ok(()), |name| hand_down(at, name));
    hand_down(&at)?;
    for part in Path::new(root) {
        at.push(part);
        fs::create_dir_all(&at)?;
        hand_down(&at)?;
    }
    Ok(at)
}

/// Lets the groups in `group` have `controller`, for which nobody may be in `group` itself.
fn hand_down(group: &Path, controller: &str) -> io::Result<()> {
    // The root of the whole tree may have processes, and is the only one without a type. Elsewhere
    // some controllers would be handed down all the same, and what is below be of no use.
    if group.join("cgroup.type").exists() {
        step_aside(group)?;
        if !processes(group)?.is_empty() {
            return Err(io::Error::other(format!(
                "other processes than the agent are in {}, and the kernel sets no limits beside \
                 them; start the agent in a cgroup of its own",
                group.display()
            )));
        }
    }
    fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"))
}

/// Moves this process to a group in `group` if it is in `group`, as it is in a container of another
/// system or as a unit to which its cgroup is delegated.
fn step_aside(group: &Path) -> io::Result<()> {
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    if !processes(group)?.contains(&own) {
        return Ok(());
    }
    let aside = group.join(ASIDE);
    fs::create_dir_all(&aside)?;
    fs::write(aside.join("cgroup.procs"), own.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_have_other_names_or_are_everywhere() {
        let mount = tempfile::tempdir().expect("a directory");
        fs::write(mount.path().join("cgroup.controllers"), "cpu io memory\n").expect("a file");
        for (controller, is_there, handed) in [
            ("cpu", true, Some("cpu")),
            ("blkio", true, Some("io")),
            ("perf_event", true, None),
            ("hugetlb", false, Some("hugetlb")),
            ("net_cls", false, None),
        ] {
            assert_eq!(has(mount.path(), controller), is_there, "{controller}");
            assert_eq!(handed_down(controller), handed, "{controller}");
        }
    }
}
