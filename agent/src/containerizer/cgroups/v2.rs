//! Cgroup v2 files: one tree for all controllers.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{XattrFlags, inotify};

use super::hierarchy::{CpuSetting, CpuTime, Interface, MemorySetting, members};
use super::rules::{self, Rule};
use super::{PERIOD, bpf, number, quota_micros, shares, table};

/// What a group is marked with: the devices that may be opened from it. The kernel has them as a
/// program only, out of which they cannot be read.
const DEVICES: &str = "trusted.agora.devices";

/// The most that the kernel takes as such a mark.
const DEVICES_BYTES_MAX: usize = 64 << 10;

/// The v2 interface.
#[derive(Debug)]
pub(super) struct V2;

impl Interface for V2 {
    fn set_cpu(&self, group: &Path, cpu: CpuSetting) -> io::Result<()> {
        fs::write(group.join("cpu.weight"), weight(cpu.share_milli).to_string())?;
        let quota =
            cpu.quota_milli.map_or_else(|| "max".to_owned(), |m| quota_micros(m).to_string());
        fs::write(group.join("cpu.max"), format!("{quota} {}", PERIOD.as_micros()))
    }

    fn cpu_time(&self, group: &Path) -> io::Result<CpuTime> {
        let stat = fs::read_to_string(group.join("cpu.stat"))?;
        let micros = |name| Duration::from_micros(table(&stat, name));
        Ok(CpuTime {
            user: micros("user_usec"),
            system: micros("system_usec"),
            periods: table(&stat, "nr_periods"),
            throttled_periods: table(&stat, "nr_throttled"),
            throttled: micros("throttled_usec"),
        })
    }

    fn set_memory(&self, group: &Path, memory: MemorySetting) -> io::Result<()> {
        fs::write(group.join("memory.low"), memory.soft.to_string())?;
        let hard = memory.hard.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
        fs::write(group.join("memory.max"), hard)?;
        // A task that has lost one of its processes is not the task any more: all of it goes.
        write_if_there(&group.join("memory.oom.group"), "1")?;
        // Swap would be memory beyond the limit, and slow down the neighbours' disks.
        write_if_there(&group.join("memory.swap.max"), "0")
    }

    fn memory_bytes(&self, group: &Path) -> io::Result<u64> {
        number(&group.join("memory.current"))
    }

    fn memory_kills(&self, group: &Path) -> io::Result<u64> {
        let events = fs::read_to_string(group.join("memory.events"))?;
        // Those of the groups below are counted too, and their limits are theirs. Kernels before 5.2
        // do not tell them apart.
        let own = fs::read_to_string(group.join("memory.events.local"));
        let own = own.as_ref().unwrap_or(&events);
        // Without reaching the limit it was the whole machine that had no memory left.
        Ok(if table(own, "oom") == 0 { 0 } else { table(&events, "oom_kill") })
    }

    fn watch_memory(&self, group: &Path) -> io::Result<OwnedFd> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, group.join("memory.events"), inotify::WatchFlags::MODIFY)?;
        Ok(watch)
    }

    fn set_pids(&self, group: &Path, most: u64) -> io::Result<()> {
        fs::write(group.join("pids.max"), most.to_string())
    }

    fn pids(&self, group: &Path) -> io::Result<u64> {
        number(&group.join("pids.current"))
    }

    fn set_devices(&self, group: &Path, allowed: &[String]) -> io::Result<()> {
        let rules: Result<Vec<Rule>, _> = allowed.iter().map(|line| line.parse()).collect();
        // Written down first: should this end in between, what is written is asked next time.
        let lines = allowed.join("\n");
        rustix::fs::setxattr(group, DEVICES, lines.as_bytes(), XattrFlags::empty())?;
        bpf::filter(group, &rules::program(&rules?))
    }

    fn change_devices(&self, group: &Path, more: &[String], fewer: &[String]) -> io::Result<()> {
        let mut text = vec![0; DEVICES_BYTES_MAX];
        let length = rustix::fs::getxattr(group, DEVICES, &mut text)?;
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        let mut allowed: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        allowed.retain(|line| !fewer.contains(line) && !more.contains(line));
        allowed.extend_from_slice(more);
        self.set_devices(group, &allowed)
    }

    fn kill(&self, group: &Path) -> io::Result<()> {
        // One write, and nothing in the group escapes it. Kernels before 5.14 lack the file.
        match fs::OpenOptions::new().write(true).open(group.join("cgroup.kill")) {
            Ok(file) => io::Write::write_all(&mut &file, b"1"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _ = write_if_there(&group.join("cgroup.freeze"), "1");
                for pid in members(group)? {
                    let pid = nix::unistd::Pid::from_raw(pid);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                }
                write_if_there(&group.join("cgroup.freeze"), "0")
            }
            Err(error) => Err(error),
        }
    }
}

/// Maps v1 shares (2 to 262144) to v2 weights (1 to 10000), as container runtimes do, so that
/// neighbours started by others compare.
fn weight(share_milli: u64) -> u64 {
    1 + (shares(share_milli) - 2) * 9_999 / 262_142
}

fn write_if_there(file: &Path, text: &str) -> io::Result<()> {
    if file.exists() { fs::write(file, text) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn written(group: &tempfile::TempDir, file: &str) -> String {
        fs::read_to_string(group.path().join(file)).expect("the file was written")
    }

    #[test]
    fn cpu_is_a_weight_and_a_quota_per_period() {
        let group = group();
        let cpu = CpuSetting { share_milli: 1_000, quota_milli: Some(1_500) };
        V2.set_cpu(group.path(), cpu).expect("plain files");
        assert_eq!(written(&group, "cpu.weight"), "39");
        assert_eq!(written(&group, "cpu.max"), "150000 100000");
        V2.set_cpu(group.path(), CpuSetting { share_milli: 0, quota_milli: None }).expect("files");
        assert_eq!(written(&group, "cpu.weight"), "1");
        assert_eq!(written(&group, "cpu.max"), "max 100000");
    }

    #[test]
    fn memory_has_both_limits_no_swap_and_dies_as_a_whole() {
        let group = group();
        for file in ["memory.oom.group", "memory.swap.max"] {
            fs::write(group.path().join(file), "").expect("a file");
        }
        let memory = MemorySetting { soft: 64 << 20, hard: Some(128 << 20) };
        V2.set_memory(group.path(), memory).expect("plain files");
        assert_eq!(written(&group, "memory.low"), "67108864");
        assert_eq!(written(&group, "memory.max"), "134217728");
        assert_eq!(written(&group, "memory.oom.group"), "1");
        assert_eq!(written(&group, "memory.swap.max"), "0");
    }

    #[test]
    fn only_kills_at_the_own_limit_count() {
        let group = group();
        let events = |text: &str| {
            fs::write(group.path().join("memory.events"), text).expect("a file");
            V2.memory_kills(group.path()).expect("it can be read")
        };
        assert_eq!(events("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n"), 1);
        assert_eq!(events("low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\n"), 0);
    }

    #[test]
    fn statistics_are_read_by_name() {
        let group = group();
        let stat = "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 5\nnr_throttled 2\n\
                    throttled_usec 900\n";
        fs::write(group.path().join("cpu.stat"), stat).expect("a file");
        let time = V2.cpu_time(group.path()).expect("it can be read");
        assert_eq!(time.user, Duration::from_micros(20));
        assert_eq!((time.periods, time.throttled_periods), (5, 2));
        fs::write(group.path().join("memory.current"), "4096\n").expect("a file");
        assert_eq!(V2.memory_bytes(group.path()).ok(), Some(4_096));
    }
}
