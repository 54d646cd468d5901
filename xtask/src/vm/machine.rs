//! One run of the virtual machine.

use super::kernel::Kernel;
use crate::command::run_here;
use anyhow::{Context, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What runs first in it.
const INIT: &str = include_str!("init");

/// What it becomes when there are files.
const SECOND: &str = include_str!("second");

/// The size of its disk. The file takes only what is written.
const DISK_BYTES: u64 = 8 << 30;

/// How long a machine that is not emulated may take to get to its first program. It takes less than a
/// second.
const PROBE_WITHIN: Duration = Duration::from_secs(20);

/// How often it is looked whether the machine is off.
const PAUSE: Duration = Duration::from_millis(100);

/// A machine to run.
pub(super) struct Machine<'a> {
    /// Where its files are.
    pub(super) home: &'a Path,
    pub(super) kernel: &'a Kernel,
    /// Whether its processor is not this machine's.
    pub(super) is_emulated: bool,
    pub(super) memory_mib: u32,
}

/// Whether virtual machines run by this machine's processor. That the kernel offers it does not mean
/// that they get anywhere, so one is started.
pub(super) fn probe(kernel: &Kernel, home: &Path, memory_mib: u32) -> anyhow::Result<bool> {
    if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(false);
    }
    let machine = Machine { home, kernel, is_emulated: false, memory_mib };
    let files = machine.first_files(&[("probe", "")])?;
    let mut command = machine.command(&files, "probed");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let is_off = wait(&mut start(command)?, PROBE_WITHIN)?;
    Ok(is_off && machine.ended("probed").is_ok_and(|status| status == 0))
}

impl Machine<'_> {
    /// Runs a command of the shell, with its output shown. Returns its exit status.
    pub(super) fn run(&self, task: &str, within: Duration) -> anyhow::Result<u8> {
        println!("== starting the virtual machine, for {} s at most", within.as_secs());
        let task = format!("{}\n{task}\n", environment());
        let order: Vec<String> = self.kernel.order.iter().map(|file| name(file)).collect();
        let modules = self.kernel.modules.display().to_string();
        let files = self.first_files(&[
            ("task", &task),
            ("modules.order", &(order.join("\n") + "\n")),
            ("modules.at", &modules),
        ])?;
        let disk = self.home.join("disk");
        let sized = fs::File::create(&disk).and_then(|file| file.set_len(DISK_BYTES));
        sized.context("cannot make the machine's disk")?;
        let mut format = Command::new("mke2fs");
        format.args(["-q", "-F", "-t", "ext4"]).arg(&disk);
        run_here(format)?;
        let mut command = self.command(&files, "ended");
        command.arg("-drive").arg(format!("file={},format=raw,if=virtio", disk.display()));
        command.args([
            "-fsdev",
            "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device",
            "virtio-9p-pci,fsdev=host,mount_tag=host",
        ]);
        let is_off = wait(&mut start(command)?, within);
        fs::remove_file(&disk).context("cannot remove the machine's disk")?;
        ensure!(is_off?, "it took longer than {} s; --seconds gives it more", within.as_secs());
        self.ended("ended")
    }

    /// QEMU with what every machine has. It says in the file `ended` how it did.
    fn command(&self, files: &Path, ended: &str) -> Command {
        // What an earlier one has said is nothing to this one.
        let _ = fs::remove_file(self.home.join(ended));
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"]);
        command.args(["-smp", "2", "-m"]).arg(self.memory_mib.to_string());
        // Where the emulator does what it claims of the newest instructions wrongly, cryptography that is
        // written for them crashes: QEMU 7.2 does so of those after this processor.
        let (accelerator, processor) =
            if self.is_emulated { ("tcg", "Nehalem") } else { ("kvm", "max") };
        command.args(["-accel", accelerator, "-cpu", processor]);
        command.args(["-device", "virtio-rng-pci", "-serial", "stdio", "-serial"]);
        command.arg(format!("file:{}", self.home.join(ended).display()));
        command.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(files);
        command.args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/init"]);
        command.stdin(Stdio::null());
        command
    }

    /// Packs the files that are there before there is a disk.
    fn first_files(&self, more: &[(&str, &str)]) -> anyhow::Result<PathBuf> {
        let (directory, archive) = (self.home.join("first"), self.home.join("first.cpio"));
        let _ = fs::remove_dir_all(&directory);
        let made = || -> std::io::Result<()> {
            for name in ["bin", "proc", "sys", "dev", "modules"] {
                fs::create_dir_all(directory.join(name))?;
            }
            fs::copy(which_busybox(), directory.join("bin/busybox"))?;
            fs::write(directory.join("second"), SECOND)?;
            fs::write(directory.join("init"), INIT)?;
            fs::set_permissions(directory.join("init"), fs::Permissions::from_mode(0o755))?;
            for module in &self.kernel.order {
                fs::copy(module, directory.join("modules").join(name(module)))?;
            }
            more.iter().try_for_each(|(name, text)| fs::write(directory.join(name), text))
        };
        made().context("cannot put together the machine's first files")?;
        let pack = format!(
            "cd '{}' && find . | busybox cpio -o -H newc >'{}' 2>/dev/null",
            directory.display(),
            archive.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &pack]);
        run_here(command)?;
        fs::remove_dir_all(&directory).context("cannot clear away the machine's first files")?;
        Ok(archive)
    }

    /// The exit status that the machine told.
    fn ended(&self, file: &str) -> anyhow::Result<u8> {
        let text = fs::read_to_string(self.home.join(file)).unwrap_or_default();
        let status = text.trim().strip_prefix("ended ").and_then(|status| status.parse().ok());
        match status {
            Some(status) => Ok(status),
            None => bail!("the virtual machine did not say how it ended"),
        }
    }
}

/// Settings of the shell that runs the task. Tests that need quotas of XFS find them here.
fn environment() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("export PATH='{path}:/usr/sbin:/sbin' HOME=/root TMPDIR=/scratch AGORA_TEST_XFS=1")
}

fn which_busybox() -> &'static str {
    ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|at| Path::new(at).exists())
        .unwrap_or("/bin/busybox")
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn start(mut command: Command) -> anyhow::Result<Child> {
    command.spawn().context("cannot start qemu-system-x86_64")
}

/// Waits until the machine is off, and turns it off if that takes too long. Says whether it was off.
fn wait(child: &mut Child, within: Duration) -> anyhow::Result<bool> {
    let until = Instant::now() + within;
    while child.try_wait().context("cannot wait for the machine")?.is_none() {
        if Instant::now() >= until {
            child.kill().context("cannot turn off the machine")?;
            child.wait().context("cannot wait for the machine")?;
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}
