//! Debian's kernel: fetched once, never installed.

use anyhow::{Context, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run_here;

/// The package that depends on the newest kernel's.
const PACKAGE: &str = "linux-image-amd64";

/// What must be loaded before there are files, and what tests of divided disks mount.
const MODULES: [&str; 9] = [
    "virtio_pci",
    "virtio_blk",
    "9pnet_virtio",
    "9p",
    "crc32c_generic",
    "ext4",
    "overlay",
    "loop",
    "xfs",
];

/// What modules may be compressed by: the ends of their names, the program that undoes it and its
/// arguments, and Debian's package that has it.
const COMPRESSED: [(&str, &str, &[&str], &str); 3] = [
    (".ko.xz", "xz", &["--decompress"], "xz-utils"),
    (".ko.zst", "zstd", &["--decompress", "--quiet", "--rm"], "zstd"),
    (".ko.gz", "gzip", &["--decompress"], "gzip"),
];

/// Files that a program is given at a time: their names, of a hundred bytes, have to fit beside the
/// environment.
const FILES_AT_ONCE: usize = 1_000;

/// An unpacked kernel.
pub(super) struct Kernel {
    /// The kernel itself.
    pub(super) image: PathBuf,
    /// The directory with a directory of modules for each version.
    pub(super) modules: PathBuf,
    /// Modules to load, in this order.
    pub(super) order: Vec<PathBuf>,
}

impl Kernel {
    /// That in `<home>/kernel`, which is fetched if it is not there. Remove it to get a newer one.
    pub(super) fn prepare(home: &Path) -> anyhow::Result<Self> {
        let at = home.join("kernel");
        if !at.is_dir() {
            fetch(home, &at)?;
        }
        let modules = at.join("lib/modules");
        let version = only(&modules, "")?;
        let table = fs::read_to_string(modules.join(&version).join("modules.dep"));
        let table = table.context("the kernel's modules are not listed")?;
        let order = order(&table)?;
        let order = order.into_iter().map(|it| modules.join(&version).join(it)).collect();
        let image = at.join("boot").join(only(&at.join("boot"), "vmlinuz-")?);
        Ok(Self { image, modules, order })
    }
}

/// The only entry of a directory whose name starts so.
fn only(directory: &Path, start: &str) -> anyhow::Result<String> {
    let entries = fs::read_dir(directory).context("the kernel is not whole")?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names = names.filter(|name| name.starts_with(start));
    let at = directory.display();
    let name = names.next().with_context(|| format!("there is no {start} in {at}"))?;
    match names.next() {
        Some(other) => {
            bail!("{name} and {other} are both in {at}; remove it, and it is fetched anew")
        }
        None => Ok(name),
    }
}

fn fetch(home: &Path, to: &Path) -> anyhow::Result<()> {
    println!("== fetching the kernel");
    let output = Command::new("apt-cache").args(["depends", PACKAGE]).output();
    let output = output.context("cannot start apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let package = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.with_context(|| {
        format!("apt knows of no package {PACKAGE}; 'apt-get update' makes it look")
    })?;
    // In two steps, so that what is there is whole.
    let fetched = home.join("fetched");
    let _ = fs::remove_dir_all(&fetched);
    fs::create_dir_all(&fetched).context("cannot make a directory")?;
    let mut download = Command::new("apt-get");
    download.args(["download", "-q", package]).current_dir(&fetched);
    run_here(download)?;
    let archive = fetched.join(only(&fetched, "linux-image-")?);
    let unpacked = fetched.join("unpacked");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&archive).arg(&unpacked);
    run_here(unpack)?;
    let version = only(&unpacked.join("lib/modules"), "")?;
    decompress(&unpacked.join("lib/modules"))?;
    let mut list = Command::new("busybox");
    list.arg("depmod").arg("-b").arg(&unpacked).arg(version);
    run_here(list)?;
    fs::rename(&unpacked, to).context("cannot put the kernel in its place")?;
    fs::remove_dir_all(&fetched).context("cannot clear away what was fetched")
}

/// Unpacks each module below `modules` that is compressed: neither what lists them here nor what loads them
/// in the machine knows other than plain ones.
fn decompress(modules: &Path) -> anyhow::Result<()> {
    let mut files = Vec::new();
    collect(modules, &mut files).context("cannot look for the kernel's modules")?;
    for (end, program, arguments, package) in COMPRESSED {
        let compressed: Vec<&PathBuf> =
            files.iter().filter(|file| file.to_string_lossy().ends_with(end)).collect();
        for some in compressed.chunks(FILES_AT_ONCE) {
            let mut command = Command::new(program);
            let status = command.args(arguments).args(some).status().with_context(|| {
                format!("the kernel's modules end in {end}; cannot start {program} (of {package})")
            })?;
            ensure!(status.success(), "{program} cannot unpack the kernel's modules: {status}");
        }
    }
    Ok(())
}

/// Adds all files below a directory; links lead out of it.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The files of [`MODULES`] and of what they need, each after what it needs itself, by the table of
/// a kernel: lines of a module, a colon and all modules that it needs.
fn order(table: &str) -> anyhow::Result<Vec<&str>> {
    let lines = table.lines().filter_map(|line| line.split_once(':'));
    let needs: BTreeMap<&str, Vec<&str>> =
        lines.map(|(file, needed)| (file, needed.split_ascii_whitespace().collect())).collect();
    let mut order = Vec::new();
    for name in MODULES {
        let end = format!("/{name}.ko");
        let file = needs.keys().find(|file| file.ends_with(&end));
        load(file.with_context(|| format!("the kernel has no module {name}"))?, &needs, &mut order);
    }
    ensure!(!order.is_empty(), "the kernel has no modules");
    Ok(order)
}

/// Adds a module after what it needs. No module needs itself.
fn load<'a>(file: &'a str, needs: &BTreeMap<&'a str, Vec<&'a str>>, order: &mut Vec<&'a str>) {
    if order.contains(&file) {
        return;
    }
    for needed in needs.get(file).into_iter().flatten() {
        load(needed, needs, order);
    }
    order.push(file);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_after_what_they_need() {
        let table = "k/virtio.ko:\nk/virtio_ring.ko: k/virtio.ko\n\
                     k/virtio_pci.ko: k/virtio_ring.ko k/virtio.ko\n\
                     k/virtio_blk.ko: k/virtio.ko k/virtio_ring.ko\n\
                     k/9pnet.ko:\nk/9p.ko: k/9pnet.ko\nk/9pnet_virtio.ko: k/9pnet.ko\n\
                     k/crc32c_generic.ko:\nk/ext4.ko:\nk/overlay.ko:\nk/loop.ko:\nk/xfs.ko:\n";
        let expected = [
            "k/virtio.ko",
            "k/virtio_ring.ko",
            "k/virtio_pci.ko",
            "k/virtio_blk.ko",
            "k/9pnet.ko",
            "k/9pnet_virtio.ko",
            "k/9p.ko",
            "k/crc32c_generic.ko",
            "k/ext4.ko",
            "k/overlay.ko",
            "k/loop.ko",
            "k/xfs.ko",
        ];
        assert_eq!(order(table).expect("all are there"), expected);
        let error = order("k/virtio_pci.ko:\n").expect_err("most are missing").to_string();
        assert_eq!(error, "the kernel has no module virtio_blk");
    }

    #[test]
    fn compressed_modules_are_unpacked_however_they_are_compressed() {
        let modules = tempfile::tempdir().expect("a directory");
        let deep = modules.path().join("6.12/kernel/fs");
        fs::create_dir_all(&deep).expect("directories");
        for name in ["a.ko", "b.ko", "c.ko", "d.ko", "other"] {
            fs::write(deep.join(name), name).expect("a file");
        }
        std::os::unix::fs::symlink("/", deep.join("build")).expect("a link");
        for (name, compress) in
            [("b.ko", &["xz"][..]), ("c.ko", &["zstd", "-q", "--rm"]), ("d.ko", &["gzip"])]
        {
            let mut command = Command::new(compress[0]);
            command.args(&compress[1..]).arg(deep.join(name));
            run_here(command).expect("it is installed");
            assert!(!deep.join(name).exists(), "{name} is compressed");
        }
        decompress(modules.path()).expect("all of it can be undone");
        decompress(modules.path()).expect("there is nothing to do");
        let names = fs::read_dir(&deep).expect("it is there").flatten();
        let mut names: Vec<_> = names.map(|it| it.file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.ko", "b.ko", "build", "c.ko", "d.ko", "other"]);
        for name in ["a.ko", "b.ko", "c.ko", "d.ko", "other"] {
            assert_eq!(fs::read_to_string(deep.join(name)).expect("it is there"), name);
        }
    }
}
