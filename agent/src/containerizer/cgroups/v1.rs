//! Cgroup v1 files: one hierarchy per controller.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::hierarchy::{CpuSetting, CpuTime, Interface, MemorySetting, processes};
use super::{PERIOD, number, quota_micros, shares, table};

/// How long the freezer may take before killing goes on without it. A process in an
/// uninterruptible wait cannot be frozen.
const FREEZE_WITHIN: Duration = Duration::from_millis(500);

/// What a group may have in swap. Not nothing, so that the limit without swap is the one that is
/// met: only that one counts its refusals on every kernel. The kernel charges 256 KiB at once.
const SWAP_BYTES_MAX: u64 = 1 << 20;

/// Writes lines to a file that takes one with each write.
fn write_each(file: &Path, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = fs::OpenOptions::new().write(true).open(file)?;
    lines.iter().try_for_each(|line| file.write_all(line.as_bytes()))
}

/// The v1 interface.
#[derive(Debug)]
pub(super) struct V1;

impl Interface for V1 {
    fn set_cpu(&self, group: &Path, cpu: CpuSetting) -> io::Result<()> {
        fs::write(group.join("cpu.shares"), shares(cpu.share_milli).to_string())?;
        let quota =
            cpu.quota_milli.map_or_else(|| "-1".to_owned(), |m| quota_micros(m).to_string());
        let file = group.join("cpu.cfs_quota_us");
        if cpu.quota_milli.is_none() && !file.exists() {
            // A kernel without bandwidth control has no quota to lift.
            return Ok(());
        }
        fs::write(group.join("cpu.cfs_period_us"), PERIOD.as_micros().to_string())?;
        fs::write(file, quota)
    }

    fn cpu_time(&self, group: &Path) -> io::Result<CpuTime> {
        let mut time = CpuTime::default();
        // Which of the two files is here depends on whether cpu and cpuacct are mounted together.
        if let Ok(stat) = fs::read_to_string(group.join("cpuacct.stat")) {
            // In ticks of a hundredth of a second, on every Linux that there is. They are counted by
            // looking who runs from time to time, which misses whoever runs in between: only the
            // sum of nanoseconds is exact, and the ticks say how it is divided.
            let (user, system) = (table(&stat, "user"), table(&stat, "system"));
            let sum = number(&group.join("cpuacct.usage"))?;
            let of_user = u128::from(sum) * u128::from(user) / u128::from((user + system).max(1));
            let of_user = u64::try_from(of_user).unwrap_or(sum);
            time.user = Duration::from_nanos(of_user);
            time.system = Duration::from_nanos(sum - of_user);
        }
        if let Ok(stat) = fs::read_to_string(group.join("cpu.stat")) {
            time.periods = table(&stat, "nr_periods");
            time.throttled_periods = table(&stat, "nr_throttled");
            time.throttled = Duration::from_nanos(table(&stat, "throttled_time"));
        }
        Ok(time)
    }

    fn set_memory(&self, group: &Path, memory: MemorySetting) -> io::Result<()> {
        fs::write(group.join("memory.soft_limit_in_bytes"), memory.soft.to_string())?;
        let file = group.join("memory.limit_in_bytes");
        let raised = memory.hard.is_none_or(|bytes| number(&file).is_ok_and(|now| now < bytes));
        let hard = memory.hard.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string());
        // With swap in nearly the same limit there is none to be had. Not every kernel counts it.
        let file_with_swap = group.join("memory.memsw.limit_in_bytes");
        let with_swap = memory.hard.map_or_else(
            || "-1".to_owned(),
            |bytes| bytes.saturating_add(SWAP_BYTES_MAX).to_string(),
        );
        let swap = || match fs::write(&file_with_swap, &with_swap) {
            Err(_) if !file_with_swap.exists() => Ok(()),
            written => written,
        };
        // The one without must never be above the one with.
        if raised {
            swap()?;
        }
        fs::write(file, &hard)?;
        if raised { Ok(()) } else { swap() }
    }

    fn memory_bytes(&self, group: &Path) -> io::Result<u64> {
        number(&group.join("memory.usage_in_bytes"))
    }

    fn memory_kills(&self, group: &Path) -> io::Result<u64> {
        // Without a refusal at the limit it was the whole machine that had no memory left.
        if number(&group.join("memory.failcnt"))? == 0 {
            return Ok(0);
        }
        Ok(table(&fs::read_to_string(group.join("memory.oom_control"))?, "oom_kill"))
    }

    fn watch_memory(&self, group: &Path) -> io::Result<OwnedFd> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let watched = fs::File::open(group.join("memory.oom_control"))?;
        let line = format!("{} {}", event.as_raw_fd(), watched.as_raw_fd());
        fs::write(group.join("cgroup.event_control"), line)?;
        Ok(event.into())
    }

    fn set_pids(&self, group: &Path, most: u64) -> io::Result<()> {
        fs::write(group.join("pids.max"), most.to_string())
    }

    fn pids(&self, group: &Path) -> io::Result<u64> {
        number(&group.join("pids.current"))
    }

    fn set_devices(&self, group: &Path, allowed: &[String]) -> io::Result<()> {
        fs::write(group.join("devices.deny"), "a")?;
        write_each(&group.join("devices.allow"), allowed)
    }

    fn change_devices(&self, group: &Path, more: &[String], fewer: &[String]) -> io::Result<()> {
        write_each(&group.join("devices.deny"), fewer)?;
        write_each(&group.join("devices.allow"), more)
    }

    fn kill(&self, group: &Path) -> io::Result<()> {
        let freezer = group.join("freezer.state");
        // Frozen, they cannot multiply while they are being killed.
        let _ = fs::write(&freezer, "FROZEN");
        let until = Instant::now() + FREEZE_WITHIN;
        while Instant::now() < until
            && fs::read_to_string(&freezer).is_ok_and(|state| state.trim() == "FREEZING")
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        for pid in processes(group)? {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        // The frozen die only when they are let go.
        match fs::write(&freezer, "THAWED") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
