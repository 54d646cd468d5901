//! Isolators on cgroups: what a container may use, and what it has used.

mod bpf;
mod cpu;
mod cpuset;
mod devices;
mod grouped;
mod head_start;
pub(crate) mod hierarchy;
mod memory;
mod pids;
mod rules;
mod tracking;
mod v1;
mod v2;
mod v2_tree;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

pub(super) use self::cpu::Cpu;
pub(super) use self::cpuset::Cpuset;
pub(super) use self::devices::Devices;
pub use self::devices::{Access, AllowedDevice, BadDevices, DeviceKind};
pub(super) use self::grouped::Grouped;
pub(super) use self::head_start::HeadStart;
pub(super) use self::memory::Memory;
pub(super) use self::pids::Pids;
pub(super) use self::tracking::Tracking;

/// How often a CPU quota is renewed: the kernel's own default. Shorter costs more switches, longer
/// makes a throttled task stutter.
const PERIOD: Duration = Duration::from_millis(100);

/// The least quota the kernel takes.
const QUOTA_MICROS_MIN: u64 = 1_000;

/// The least and the most shares the kernel takes.
const SHARES: (u64, u64) = (2, 262_144);

/// 1024 shares for a core.
fn shares(milli: u64) -> u64 {
    (milli * 1_024 / 1_000).clamp(SHARES.0, SHARES.1)
}

/// The time a period holds for so many thousandths of a core.
fn quota_micros(milli: u64) -> u64 {
    (milli * 100).max(QUOTA_MICROS_MIN)
}

/// The only number in a file.
fn number(file: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    text.trim().parse().map_err(|_| {
        io::Error::other(format!("{} has no number in it: {}", file.display(), text.trim()))
    })
}

/// The number after `name` in a table of names and numbers, or 0.
fn table(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(key, value)| (key == name).then(|| value.trim().parse().ok()).flatten())
        .unwrap_or(0)
}
