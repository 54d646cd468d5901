//! `cgroups/devices`: which device files a container may open, whoever its user is.
//!
//! Where the v1 controller is, by its files; in the v2 tree by a program that the kernel asks.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::isolator::{Container, Isolator, Step, StepError, failed};
use super::hierarchy::{Hierarchy, Mounts, NoController};
use crate::launcher::Plan;

/// What every container may use. Making device files is left to the capability for it: one that
/// cannot be opened is nothing but a name.
const ALWAYS: [&str; 14] = [
    "c *:* m",
    "b *:* m",
    "c 5:1 rwm",    // console
    "c 4:0 rwm",    // tty0
    "c 4:1 rwm",    // tty1
    "c 136:* rwm",  // pts/*
    "c 5:2 rwm",    // ptmx
    "c 10:200 rwm", // net/tun
    "c 1:3 rwm",    // null
    "c 1:5 rwm",    // zero
    "c 1:7 rwm",    // full
    "c 5:0 rwm",    // tty
    "c 1:9 rwm",    // urandom
    "c 1:8 rwm",    // random
];

/// What device files there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeviceKind {
    /// For streams of bytes.
    Character,
    /// For disks.
    Block,
}

/// What may be done with a device.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub struct Access {
    /// Opened for reading.
    pub read: bool,
    /// Opened for writing.
    pub write: bool,
    /// A file for it made.
    pub mknod: bool,
}

/// A device that every container of the agent may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowedDevice {
    /// The file that it was named by. Absent: it was named by its numbers.
    pub path: Option<PathBuf>,
    /// Which kind of file.
    pub kind: DeviceKind,
    /// The kernel's number of its driver.
    pub major: u64,
    /// The driver's number of it.
    pub minor: u64,
    /// What may be done with it.
    pub access: Access,
}

/// Why a list of devices is none.
#[derive(Debug, thiserror::Error)]
pub enum BadDevices {
    /// It is not of the known form.
    #[error(
        "devices are listed as {{\"allowed_devices\": [{{\"device\": {{\"path\": \"/dev/fuse\"}}, \
         \"access\": {{\"read\": true, \"write\": true}}}}]}}: {0}"
    )]
    Form(#[from] serde_json::Error),
    /// A path is that of no device.
    #[error("{path} is no device file of this machine")]
    NoDevice {
        /// Which.
        path: String,
    },
}

impl AllowedDevice {
    /// Reads a list in the form that Mesos has. A device is named by its path, or by its numbers,
    /// which stand for a character device.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, BadDevices> {
        #[derive(Deserialize)]
        struct List {
            allowed_devices: Vec<Listed>,
        }
        #[derive(Deserialize)]
        struct Listed {
            device: Device,
            access: Access,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Device {
            Path { path: String },
            Number { number: Number },
        }
        #[derive(Deserialize)]
        struct Number {
            major_number: u64,
            minor_number: u64,
        }
        let list: List = serde_json::from_str(text)?;
        let read = |Listed { device, access }| match device {
            Device::Path { path } => {
                Self::at(Path::new(&path), access).ok_or(BadDevices::NoDevice { path })
            }
            Device::Number { number } => Ok(Self {
                path: None,
                kind: DeviceKind::Character,
                major: number.major_number,
                minor: number.minor_number,
                access,
            }),
        };
        list.allowed_devices.into_iter().map(read).collect()
    }
}

impl AllowedDevice {
    /// The device that the file `path` stands for.
    pub(in super::super) fn at(path: &Path, access: Access) -> Option<Self> {
        let (kind, major, minor) = at(path.to_str()?)?;
        Some(Self { path: Some(path.to_owned()), kind, major, minor, access })
    }
}

/// The device that a file stands for.
fn at(path: &str) -> Option<(DeviceKind, u64, u64)> {
    let there = fs::metadata(path).ok()?;
    let kind = if there.file_type().is_char_device() {
        DeviceKind::Character
    } else if there.file_type().is_block_device() {
        DeviceKind::Block
    } else {
        return None;
    };
    let number = there.rdev();
    Some((kind, libc::major(number).into(), libc::minor(number).into()))
}

impl fmt::Display for AllowedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Character => 'c',
            DeviceKind::Block => 'b',
        };
        write!(f, "{kind} {}:{} ", self.major, self.minor)?;
        let Access { read, write, mknod } = self.access;
        for (allowed, letter) in [(read, "r"), (write, "w"), (mknod, "m")] {
            f.write_str(if allowed { letter } else { "" })?;
        }
        Ok(())
    }
}

/// The isolator.
#[derive(Debug)]
pub(in super::super) struct Devices {
    hierarchy: Hierarchy,
    /// Lines for the kernel.
    allowed: Vec<String>,
}

impl Devices {
    pub(in super::super) fn new(
        mounts: &Mounts,
        root: &str,
        more: &[AllowedDevice],
    ) -> Result<Self, NoController> {
        let more = more.iter().filter(|device| device.access != Access::default());
        let allowed = ALWAYS.iter().map(ToString::to_string).chain(more.map(ToString::to_string));
        Ok(Self { hierarchy: mounts.hierarchy("devices", root)?, allowed: allowed.collect() })
    }
}

impl Isolator for Devices {
    fn name(&self) -> &'static str {
        "cgroups/devices"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        if !super::tracking::enter(self.name(), &self.hierarchy, container, plan)? {
            return Ok(());
        }
        let group = self.hierarchy.group(container.id.as_str());
        let set = self.hierarchy.interface().set_devices(&group, &self.allowed);
        set.map_err(failed(self.name(), Step::Limit, &group))
    }

    fn joins(&self) -> bool {
        true
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        super::tracking::leave(self.name(), &self.hierarchy, container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_by_path_or_number() {
        let list = AllowedDevice::parse_list(
            r#"{"allowed_devices": [
                {"device": {"path": "/dev/null"}, "access": {"read": true, "mknod": true}},
                {"device": {"number": {"major_number": 10, "minor_number": 229}},
                 "access": {"read": true, "write": true}}]}"#,
        );
        let lines: Vec<String> = list.expect("a list").iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["c 1:3 rm", "c 10:229 rw"]);
        let text = r#"{"allowed_devices": [{"device": {"path": "/etc"}, "access": {}}]}"#;
        let error = AllowedDevice::parse_list(text).expect_err("a directory");
        assert_eq!(error.to_string(), "/etc is no device file of this machine");
        let error = AllowedDevice::parse_list("/dev/fuse").expect_err("no list").to_string();
        assert!(error.starts_with("devices are listed as {\"allowed_devices\""), "{error}");
    }
}
