//! Sets of capabilities: the parts that the kernel divides root's power into.

use std::fmt;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
};
use serde::{Deserialize, Serialize};

/// All names, without `CAP_`, each at the place of its bit.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What is added to a bit's number in messages.
const WIRE_BASE: i32 = 1_000;

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Capabilities(u64);

/// What is not a list of capabilities.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no capability '{name}'; there are {}", NAMES.join(", "))]
pub struct UnknownCapability {
    /// The name, as it was given.
    pub name: String,
}

impl Capabilities {
    /// What root in a container has when nobody says otherwise: what it takes to install files and
    /// to run services that change their user. Not what reaches the machine around it: no raw
    /// sockets, no device nodes.
    pub const DEFAULT: &'static str =
        "CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,NET_BIND_SERVICE,SETGID,SETPCAP,SETUID";

    /// Every capability.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// Reads names with commas between them, or the form that Mesos has:
    /// `{"capabilities": ["NET_RAW"]}`.
    pub fn parse(text: &str) -> Result<Self, UnknownCapability> {
        #[derive(Deserialize)]
        struct Listed {
            capabilities: Vec<String>,
        }
        match serde_json::from_str::<Listed>(text) {
            Ok(listed) => Self::of_names(listed.capabilities.iter().map(String::as_str)),
            Err(_) => Self::of_names(text.split(',')),
        }
    }

    fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, UnknownCapability> {
        let mut set = Self::default();
        for name in names.map(str::trim).filter(|name| !name.is_empty()) {
            let bare = name.strip_prefix("CAP_").unwrap_or(name);
            let bit = NAMES.iter().position(|known| *known == bare);
            set.0 |= 1 << bit.ok_or_else(|| UnknownCapability { name: name.to_owned() })?;
        }
        Ok(set)
    }

    /// Reads the numbers of messages.
    pub fn of_wire(numbers: &[i32]) -> Result<Self, UnknownCapability> {
        let mut set = Self::default();
        for number in numbers {
            let bit = usize::try_from(number - WIRE_BASE).ok().filter(|bit| *bit < NAMES.len());
            set.0 |= 1 << bit.ok_or_else(|| UnknownCapability { name: number.to_string() })?;
        }
        Ok(set)
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is here or in `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is here and in `other`.
    #[must_use]
    pub fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the capability of this name is here.
    pub fn has(self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|it| it.1)
    }

    fn each(self) -> impl Iterator<Item = CapabilitySet> {
        let bits = (0..NAMES.len()).filter(move |bit| self.0 >> bit & 1 == 1);
        bits.map(|bit| CapabilitySet::from_bits_retain(1 << bit))
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

/// Takes from this process, and all that come of it, the chance to ever have more than `bounding`.
pub(super) fn bound(bounding: Capabilities) -> Result<(), Errno> {
    for capability in Capabilities::ALL.without(bounding).each() {
        match remove_capability_from_bounding_set(capability) {
            // An older kernel that does not know it cannot grant it either.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Makes [`become_exactly`] possible after a change of user, and true for root.
pub(super) fn keep_over_change_of_user() -> Result<(), Errno> {
    // Without the first root would have all that is in the bounding set after the next exec,
    // without the second others would have lost all by then.
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::KEEP_CAPS,
    )
}

/// Leaves this process, and the programs it executes, exactly `effective`.
pub(super) fn become_exactly(effective: Capabilities) -> Result<(), Errno> {
    let set = CapabilitySet::from_bits_retain(effective.0);
    set_capabilities(None, CapabilitySets { effective: set, permitted: set, inheritable: set })?;
    effective.each().try_for_each(|each| configure_capability_in_ambient_set(each, true))
}

/// Leaves this process none; programs that root executes get theirs anew.
pub(super) fn drop_all() -> Result<(), Errno> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_the_form_of_mesos_say_the_same() {
        let set = Capabilities::parse("NET_RAW, CAP_CHOWN").expect("names");
        assert_eq!(set.to_string(), "CHOWN,NET_RAW");
        let json = r#"{"capabilities": ["CHOWN", "NET_RAW"]}"#;
        assert_eq!(Capabilities::parse(json), Ok(set));
        assert_eq!(Capabilities::of_wire(&[1_000, 1_013]), Ok(set));
        assert_eq!(Capabilities::parse(""), Ok(Capabilities::default()));
        assert_eq!(Capabilities::parse(&Capabilities::ALL.to_string()), Ok(Capabilities::ALL));
    }

    #[test]
    fn what_is_no_capability_is_refused_with_the_list() {
        let text = Capabilities::parse("FLY").expect_err("nobody can").to_string();
        assert!(text.starts_with("there is no capability 'FLY'; there are CHOWN, "), "{text}");
        Capabilities::of_wire(&[0]).expect_err("that is UNKNOWN");
        Capabilities::of_wire(&[1_041]).expect_err("not known yet");
    }

    #[test]
    fn the_default_reaches_nothing_outside() {
        let set = Capabilities::parse(Capabilities::DEFAULT).expect("names");
        for name in ["SYS_ADMIN", "NET_RAW", "MKNOD", "SYS_PTRACE", "SYS_MODULE", "NET_ADMIN"] {
            assert!(!set.has(name), "{name}");
        }
    }
}
