//! Where persistent volumes are on this machine, and how they come and go.
//!
//! A volume is removed in two steps, so that a crash between them neither brings old data back nor takes
//! new data away: its directory is put aside under the name of the operation, and deleted when it is on
//! record that this was done. What is put aside already is not put aside again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use model::disk::{Disk, SourceKind};
use model::ids::OperationUuid;
use model::resources::{Key, Resources, Value};

use crate::containerizer::PersistentVolume;
use crate::limits::bytes;

/// The directory of a persistent volume: `volumes/roles/<role>/<persistence id>` in the work directory, or
/// in the root of the PATH disk that it is on; all of a MOUNT disk. Slashes of the role are spaces. Absent
/// for what is no persistent volume, or has no directory.
pub(crate) fn directory_of(work_dir: &Path, volume: &Key) -> Option<PathBuf> {
    let disk = volume.kind.disk.as_ref()?;
    let id = disk.persistence.as_ref()?.id.as_str();
    let role = volume.kind.reserved_for()?.as_str().replace('/', " ");
    match kind_of(disk) {
        None | Some(SourceKind::Path) => {
            Some(volumes_in(&root_of(work_dir, disk)).join("roles").join(role).join(id))
        }
        Some(SourceKind::Mount) => Some(root_of(work_dir, disk)),
        Some(SourceKind::Block | SourceKind::Raw) => None,
    }
}

/// The volumes among the resources of an executor and of tasks. Each says for itself where it sees one.
pub(crate) fn seen_by<'a>(
    work_dir: &Path,
    all: impl Iterator<Item = &'a Resources>,
) -> Vec<PersistentVolume> {
    let mut volumes: Vec<PersistentVolume> = Vec::new();
    for (key, value) in all.flat_map(Resources::iter) {
        let seen = key.kind.disk.as_ref().and_then(|disk| disk.volume.as_ref());
        let (Some(seen), Some(directory), Value::Scalar(size)) =
            (seen, directory_of(work_dir, key), value)
        else {
            continue;
        };
        let volume = PersistentVolume {
            directory,
            container_path: PathBuf::from(&*seen.container_path),
            read_only: seen.is_read_only,
            is_shared: key.kind.is_shared,
            bytes: bytes(*size),
        };
        if !volumes.iter().any(|it| it.container_path == volume.container_path) {
            volumes.push(volume);
        }
    }
    volumes
}

fn kind_of(disk: &Disk) -> Option<SourceKind> {
    disk.source.as_ref().map(|source| source.kind)
}

/// Where the disk is. A path in the work directory unless it is absolute.
fn root_of(work_dir: &Path, disk: &Disk) -> PathBuf {
    let root = disk.source.as_ref().and_then(|source| source.root.as_deref());
    root.map_or_else(|| work_dir.to_owned(), |root| work_dir.join(root))
}

/// Where volumes are, on all disks: what a container sees of that is given to it.
pub(crate) fn places(work_dir: &Path, total: &Resources) -> BTreeSet<PathBuf> {
    let disks = total.iter().filter_map(|(key, _)| key.kind.disk.as_ref());
    let others = disks.filter_map(|disk| match kind_of(disk)? {
        SourceKind::Path => Some(volumes_in(&root_of(work_dir, disk))),
        SourceKind::Mount => Some(root_of(work_dir, disk)),
        SourceKind::Block | SourceKind::Raw => None,
    });
    others.chain([volumes_in(work_dir)]).collect()
}

/// The work directory, and the roots of PATH disks: whatever volumes are made on but for MOUNT disks.
pub(crate) fn roots(work_dir: &Path, total: &Resources) -> impl Iterator<Item = PathBuf> {
    let disks = total.iter().filter_map(|(key, _)| key.kind.disk.as_ref());
    let disks = disks.filter(|disk| kind_of(disk) == Some(SourceKind::Path));
    std::iter::once(work_dir.to_owned()).chain(disks.map(|disk| root_of(work_dir, disk)))
}

fn volumes_in(root: &Path) -> PathBuf {
    root.join("volumes")
}

fn put_aside_in(root: &Path) -> PathBuf {
    volumes_in(root).join("removed")
}

/// Makes the directories of volumes, where they are not there. Blocks.
pub(crate) fn make(work_dir: &Path, volumes: &Resources) -> io::Result<()> {
    for (key, _) in volumes.iter() {
        if let Some(directory) = directory_of(work_dir, key) {
            made(&directory)?;
        }
    }
    Ok(())
}

fn made(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)
}

/// Puts the directories of volumes aside. Blocks; on a MOUNT disk, which cannot be put aside, until all
/// that is in it is deleted.
pub(crate) fn remove(
    work_dir: &Path,
    operation: OperationUuid,
    volumes: &Resources,
) -> io::Result<()> {
    for (number, (key, _)) in volumes.iter().enumerate() {
        let (Some(directory), Some(disk)) = (directory_of(work_dir, key), &key.kind.disk) else {
            continue;
        };
        let is_mount = kind_of(disk) == Some(SourceKind::Mount);
        let root = if is_mount { work_dir.to_owned() } else { root_of(work_dir, disk) };
        let aside = aside(&root, operation, number);
        if aside.exists() {
            continue;
        }
        made(&put_aside_in(&root))?;
        if is_mount {
            empty(&directory)?;
            give_back(&directory)?;
            fs::create_dir(&aside)?;
        } else {
            match fs::rename(&directory, &aside) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&aside)?,
                renamed => renamed?,
            }
        }
    }
    Ok(())
}

fn aside(root: &Path, operation: OperationUuid, number: usize) -> PathBuf {
    put_aside_in(root).join(format!("{operation}.{number}"))
}

/// Deletes all that is in a directory. Links are not followed.
fn empty(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // What one makes of a MOUNT disk is not what its file system keeps there for itself.
        if entry.file_name() == "lost+found" {
            continue;
        }
        delete(&entry.path())?;
    }
    Ok(())
}

/// Makes an emptied disk the agent's again: whose it was is nothing to the next.
fn give_back(directory: &Path) -> io::Result<()> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    chown(directory, Some(user.as_raw()), Some(group.as_raw()))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

fn delete(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Deletes what was put aside. Blocks, for as long as that takes.
pub(crate) fn purge(
    work_dir: &Path,
    operation: OperationUuid,
    volumes: &Resources,
) -> io::Result<()> {
    for (number, (key, _)) in volumes.iter().enumerate() {
        delete(&aside(work_dir, operation, number))?;
        if let Some(disk) = &key.kind.disk {
            delete(&aside(&root_of(work_dir, disk), operation, number))?;
        }
    }
    Ok(())
}

/// Deletes what was put aside by an earlier run of the agent, but not what `doomed` operations still need
/// to know. Blocks, for as long as that takes.
pub(crate) fn purge_leftovers(
    work_dir: &Path,
    total: &Resources,
    doomed: &[OperationUuid],
) -> io::Result<()> {
    for root in roots(work_dir, total) {
        let Ok(entries) = fs::read_dir(put_aside_in(&root)) else { continue };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !doomed.iter().any(|operation| name.starts_with(&operation.to_string())) {
                delete(&entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use model::disk::{Persistence, Source};
    use model::ids::PersistenceId;
    use model::payload::Payload;
    use model::resources::Kind;
    use model::role::Role;

    const FIRST: OperationUuid = OperationUuid([1; 16]);
    const SECOND: OperationUuid = OperationUuid([2; 16]);

    fn volume(role: &str, id: &str, source: Option<(SourceKind, &Path)>) -> Resources {
        let persistence =
            Persistence { id: PersistenceId::new(id).expect("an id"), principal: None };
        let source = source.map(|(kind, root)| Source {
            kind,
            root: Some(root.to_string_lossy().into()),
            info: Payload::default(),
        });
        let mut kind = Kind::of_role(&Role::new(role).expect("a role"));
        kind.disk = Some(Disk { persistence: Some(persistence), volume: None, source });
        let key = Key { name: "disk".into(), kind: Arc::new(kind) };
        [(key, Value::Scalar(model::amount::Milli::units(1)))].into_iter().collect()
    }

    fn path(work_dir: &Path, volume: &Resources) -> PathBuf {
        let (key, _) = volume.iter().next().expect("one");
        directory_of(work_dir, key).expect("a directory")
    }

    #[test]
    fn tasks_see_volumes_where_they_say() {
        let seen = |path: &str, is_read_only| model::disk::Volume {
            container_path: path.into(),
            is_read_only,
            info: Payload::default(),
        };
        let with = |resources: &Resources, seen: model::disk::Volume| -> Resources {
            let (key, value) = resources.iter().next().expect("one");
            let mut kind = Kind::clone(&key.kind);
            kind.is_shared = true;
            kind.disk.as_mut().expect("it is a volume").volume = Some(seen);
            let key = Key { name: "disk".into(), kind: Arc::new(kind) };
            [(key, value.clone())].into_iter().collect()
        };
        let work_dir = Path::new("/agora");
        let data = volume("eng/web", "data", None);
        let disk = volume("web", "disk", Some((SourceKind::Mount, Path::new("/mnt/d1"))));
        let all = [
            with(&data, seen("data", false)),
            with(&data, seen("again", true)),
            with(&disk, seen("disk", false)),
            with(&data, seen("data", false)),
            [(model::resources::unreserved("disk"), Value::Scalar(model::amount::Milli::units(9)))]
                .into_iter()
                .collect(),
        ];
        let volumes = seen_by(work_dir, all.iter());
        let told: Vec<_> = volumes
            .iter()
            .map(|it| {
                let directory = it.directory.to_str().unwrap_or_default();
                (directory, it.container_path.to_str().unwrap_or_default(), it.read_only)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("/agora/volumes/roles/eng web/data", "data", false),
                ("/agora/volumes/roles/eng web/data", "again", true),
                ("/mnt/d1", "disk", false),
            ]
        );
        assert!(volumes.iter().all(|it| it.is_shared && it.bytes == 1 << 20));
    }

    #[test]
    fn a_volume_comes_and_goes_with_what_is_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = volume("eng/web", "data", None);
        let place = path(dir.path(), &data);
        assert_eq!(place, dir.path().join("volumes/roles/eng web/data"));
        make(dir.path(), &data).expect("made");
        fs::write(place.join("file"), "old").expect("written");
        make(dir.path(), &data).expect("there");
        assert!(place.join("file").exists(), "what is there stays");

        remove(dir.path(), FIRST, &data).expect("removed");
        assert!(!place.exists());
        make(dir.path(), &data).expect("made anew");
        fs::write(place.join("file"), "new").expect("written");
        // As after a crash that came before it was on record.
        remove(dir.path(), FIRST, &data).expect("removed before");
        assert_eq!(fs::read_to_string(place.join("file")).expect("there"), "new");
        purge(dir.path(), FIRST, &data).expect("deleted");
        assert_eq!(fs::read_dir(put_aside_in(dir.path())).expect("there").count(), 0);
    }

    #[test]
    fn what_an_earlier_run_put_aside_is_deleted_unless_it_is_needed() {
        let dir = tempfile::tempdir().expect("a directory");
        let other = tempfile::tempdir().expect("a directory");
        let all =
            volume("a", "x", None).plus(&volume("a", "y", Some((SourceKind::Path, other.path()))));
        for operation in [FIRST, SECOND] {
            make(dir.path(), &all).expect("made");
            remove(dir.path(), operation, &all).expect("removed");
        }
        purge_leftovers(dir.path(), &all, &[SECOND]).expect("deleted");
        for root in [dir.path(), other.path()] {
            let left = fs::read_dir(put_aside_in(root)).expect("there");
            let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
            assert!(left.len() == 1 && left[0].to_string_lossy().starts_with("02"), "{left:?}");
        }
    }

    #[test]
    fn a_mounted_disk_is_emptied_and_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let mount = tempfile::tempdir().expect("a directory");
        let outside = tempfile::tempdir().expect("a directory");
        let data = volume("a", "x", Some((SourceKind::Mount, mount.path())));
        assert_eq!(path(dir.path(), &data), mount.path());
        fs::create_dir(mount.path().join("lost+found")).expect("made");
        fs::create_dir_all(mount.path().join("a/b")).expect("made");
        fs::write(outside.path().join("kept"), "").expect("written");
        std::os::unix::fs::symlink(outside.path(), mount.path().join("link")).expect("linked");
        remove(dir.path(), FIRST, &data).expect("removed");
        let left = fs::read_dir(mount.path()).expect("there").count();
        assert_eq!(left, 1, "lost+found");
        assert!(outside.path().join("kept").exists(), "links are not followed");
    }
}
