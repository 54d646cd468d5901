//! Rate limits as they are written down: the JSON form of Mesos's `RateLimits`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{CAPACITY_DEFAULT, Rate, RateLimits};

/// Why limits mean nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadLimits {
    /// The rate of one is none.
    #[error("{qps} calls a second is no rate for {whom}; give a number above 0")]
    Rate {
        /// Whose.
        whom: String,
        /// What was given.
        qps: f64,
    },
    /// How many may wait is told, but not what for.
    #[error("{whom} has a capacity and no rate, so nobody would ever wait; give {rate} too")]
    CapacityAlone {
        /// Whose.
        whom: String,
        /// The field that is missing.
        rate: &'static str,
    },
    /// One principal is limited twice.
    #[error("principal '{0}' has two limits; give one")]
    Twice(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    limits: Vec<Written>,
    aggregate_default_qps: Option<f64>,
    aggregate_default_capacity: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    principal: Arc<str>,
    qps: Option<f64>,
    capacity: Option<u64>,
}

impl<'de> Deserialize<'de> for RateLimits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let file = File::deserialize(deserializer)?;
        read(file).map_err(serde::de::Error::custom)
    }
}

fn read(file: File) -> Result<RateLimits, BadLimits> {
    let mut named = BTreeMap::new();
    for Written { principal, qps, capacity } in file.limits {
        let rate = rate(|| format!("principal '{principal}'"), ("qps", qps), capacity)?;
        if named.insert(principal.clone(), rate).is_some() {
            return Err(BadLimits::Twice(principal.to_string()));
        }
    }
    let qps = ("aggregate_default_qps", file.aggregate_default_qps);
    let whom = || "everybody else".to_owned();
    let others = rate(whom, qps, file.aggregate_default_capacity)?;
    Ok(RateLimits { named, others })
}

fn rate(
    whom: impl Fn() -> String,
    (name, qps): (&'static str, Option<f64>),
    capacity: Option<u64>,
) -> Result<Option<Rate>, BadLimits> {
    match (qps, capacity) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(BadLimits::CapacityAlone { whom: whom(), rate: name }),
        (Some(qps), capacity) => {
            let rate = Rate::per_second(qps, capacity.unwrap_or(CAPACITY_DEFAULT));
            rate.map(Some).ok_or_else(|| BadLimits::Rate { whom: whom(), qps })
        }
    }
}
