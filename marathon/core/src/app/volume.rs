//! Volumes of an app that outlive its tasks.

use super::App;
use model::amount::Milli;
use model::disk::SourceKind;
use serde_json::Value;

/// A volume that is made for each instance and kept for the tasks that come after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PersistentVolume {
    /// Where tasks see it, in their sandbox.
    pub container_path: String,
    /// How large it is at least, in MiB.
    pub size: Milli,
    /// The most that is taken, of a disk that comes whole; absent means any.
    pub size_max: Option<Milli>,
    /// What kind of disk it is made of; absent means the one of the agent's work directory.
    pub on: Option<SourceKind>,
    /// Rules on the path of that disk.
    pub constraints: Vec<PathRule>,
}

/// A rule on the path of a disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathRule {
    /// Whether the path must match, and not must not.
    pub is_like: bool,
    /// A regular expression for all of it.
    pub pattern: String,
}

impl App {
    /// Its volumes that outlive tasks, in order.
    pub fn persistent_volumes(&self) -> impl Iterator<Item = PersistentVolume> + '_ {
        let volumes = self.container.iter().flat_map(|container| &container.volumes);
        volumes.filter_map(persistent)
    }

    /// Whether its instances stay where their volumes are.
    pub fn is_resident(&self) -> bool {
        let mut volumes = self.container.iter().flat_map(|container| &container.volumes);
        volumes.any(|volume| volume.get("persistent").is_some())
    }
}

/// What `volume`, which was found to be right, says of a persistent one.
fn persistent(volume: &Value) -> Option<PersistentVolume> {
    let given = volume.get("persistent")?;
    let size = |name: &str| given.get(name).and_then(Value::as_i64).map(Milli::units);
    let rule = |rule: &Value| {
        Some(PathRule {
            is_like: rule.get(1)?.as_str()? == "LIKE",
            pattern: rule.get(2)?.as_str()?.to_owned(),
        })
    };
    let rules = given.get("constraints").and_then(Value::as_array).into_iter().flatten();
    Some(PersistentVolume {
        container_path: volume.get("containerPath")?.as_str()?.to_owned(),
        size: size("size")?,
        size_max: size("maxSize"),
        on: match given.get("type").and_then(Value::as_str) {
            Some("path") => Some(SourceKind::Path),
            Some("mount") => Some(SourceKind::Mount),
            _ => None,
        },
        constraints: rules.filter_map(rule).collect(),
    })
}
