//! What operators decide about a cluster: weights, quotas, agents taken out of service, maintenance.

use crate::amount::Milli;
use crate::step::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How much of its parent's share a role is due, against its siblings. In millionths.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Weight(u64);

impl Weight {
    /// The weight of a role that none was set for.
    pub const ONE: Self = Self(1_000_000);

    /// The nearest weight; absent unless it is a positive, finite number of a sensible size.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    pub fn from_f64(value: f64) -> Option<Self> {
        let millionths = (value * 1e6).round();
        (1.0..=1e15).contains(&millionths).then_some(Self(millionths as u64))
    }

    /// The weight as the wire writes it.
    #[expect(clippy::cast_precision_loss, reason = "at most 1e15, which fits in 53 bits")]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// In millionths.
    pub fn millionths(self) -> u64 {
        self.0
    }

    /// The weight of so many millionths; absent for none.
    pub fn from_millionths(millionths: u64) -> Option<Self> {
        (millionths > 0).then_some(Self(millionths))
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

/// What a role is guaranteed and what it may have at most, by the names of scalars.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Quota {
    /// Kept for it, whoever else wants it.
    pub guarantees: BTreeMap<Arc<str>, Milli>,
    /// The most it gets. What is not named has no limit.
    pub limits: BTreeMap<Arc<str>, Milli>,
}

impl Quota {
    /// Whether it says nothing: the same as none.
    pub fn is_empty(&self) -> bool {
        self.guarantees.is_empty() && self.limits.is_empty()
    }
}

/// How an agent is to be emptied.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Drain {
    /// The longest a task may take to end; absent: as it says itself.
    pub grace_max: Option<Duration>,
    /// Whether the agent is declared dead once nothing runs there.
    pub marks_gone: bool,
}

/// Whether an agent serves, by its operators' word.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Standing {
    /// It does.
    #[default]
    Active,
    /// It is offered to nobody; what runs there goes on.
    Deactivated,
    /// It is offered to nobody, and what runs there is being ended.
    Draining {
        /// How.
        drain: Drain,
        /// Since when.
        since: Timestamp,
    },
    /// It was emptied.
    Drained {
        /// How.
        drain: Drain,
        /// Since when it was being emptied.
        since: Timestamp,
    },
}

impl Standing {
    /// Whether its resources may be offered.
    pub fn is_active(self) -> bool {
        self == Self::Active
    }
}

/// A machine, by name, address, or both. At least one of them is not empty.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Machine {
    /// Its host name in small letters; empty: any.
    hostname: Arc<str>,
    /// Its IP address; empty: any.
    ip: Arc<str>,
}

impl Machine {
    /// A machine; absent if nothing is said of it. Case does not matter in names of hosts.
    pub fn new(hostname: &str, ip: &str) -> Option<Self> {
        let says_something = !hostname.is_empty() || !ip.is_empty();
        says_something.then(|| Self { hostname: hostname.to_lowercase().into(), ip: ip.into() })
    }

    /// Its host name in small letters; empty: any.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Its IP address; empty: any.
    pub fn ip(&self) -> &str {
        &self.ip
    }

    /// Whether a host of this name and address is meant.
    pub fn is(&self, hostname: &str, ip: &str) -> bool {
        (self.hostname.is_empty() || *self.hostname == *hostname.to_lowercase())
            && (self.ip.is_empty() || *self.ip == *ip)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.hostname, &*self.ip) {
            (name, "") => f.write_str(name),
            ("", ip) => f.write_str(ip),
            (name, ip) => write!(f, "{name} ({ip})"),
        }
    }
}

/// When a machine is not available. Both may lie in the past.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Unavailability {
    /// From when on, in nanoseconds since 1970, as operators give it.
    pub start_ns: i64,
    /// For how long; absent: nobody knows.
    pub duration_ns: Option<i64>,
}

/// Machines that are to be away at the same time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Window {
    /// Which. Not empty.
    pub machines: Vec<Machine>,
    /// When.
    pub unavailability: Unavailability,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_positive() {
        assert_eq!(Weight::from_f64(1.0), Some(Weight::ONE));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Weight::from_f64(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_machine_is_meant_by_what_is_said_of_it() {
        assert_eq!(Machine::new("", ""), None);
        let by_name = Machine::new("Web-1", "").expect("a name");
        assert!(by_name.is("web-1", "10.0.0.1") && by_name.is("WEB-1", "10.0.0.2"));
        let by_both = Machine::new("web-1", "10.0.0.1").expect("both");
        assert!(by_both.is("web-1", "10.0.0.1") && !by_both.is("web-1", "10.0.0.2"));
        let by_ip = Machine::new("", "10.0.0.1").expect("an address");
        assert!(by_ip.is("anything", "10.0.0.1") && !by_ip.is("anything", "10.0.0.2"));
    }
}
