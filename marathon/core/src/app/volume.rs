//! Volumes of an app or a pod that outlive its tasks.

use super::App;
use super::pod::VolumeSource;
use model::amount::Milli;
use model::disk::SourceKind;
use serde_json::Value;

/// A volume that is made for each instance and kept for the tasks that come after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PersistentVolume {
    /// Where it is in the sandbox: of the task or, by its name, of the executor of a pod.
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
        self.persistent().filter_map(|(path, given)| persistent(path, given))
    }

    /// Whether its instances stay where their volumes are.
    pub fn is_resident(&self) -> bool {
        self.persistent().next().is_some()
    }

    /// Volumes of Docker's drivers that nobody may share, with where each of them is in the container.
    pub fn unshared_volumes(&self) -> impl Iterator<Item = (usize, &str)> {
        let volumes = self.container.iter().flat_map(|container| &container.volumes);
        volumes.enumerate().filter_map(|(index, volume)| {
            let external = volume.get("external")?;
            let is_shared = external.get("shared").and_then(Value::as_bool).unwrap_or(false);
            let is_drivers = external.get("provider")?.as_str() == Some("dvdi");
            let found = Some((index, external.get("name")?.as_str()?));
            found.filter(|_| is_drivers && !is_shared)
        })
    }

    /// Where each persistent volume is, and what was said of it.
    fn persistent(&self) -> impl Iterator<Item = (&str, &Value)> {
        let of_app = self.container.iter().flat_map(|container| &container.volumes);
        let of_app = of_app.filter_map(|volume| {
            Some((volume.get("containerPath")?.as_str()?, volume.get("persistent")?))
        });
        let of_pod = self.pod.iter().flat_map(|pod| &pod.volumes);
        let of_pod = of_pod.filter_map(|volume| match &volume.source {
            VolumeSource::Persistent(given) => Some((volume.name.as_str(), given)),
            VolumeSource::Ephemeral | VolumeSource::Host(_) | VolumeSource::Secret(_) => None,
        });
        of_app.chain(of_pod)
    }
}

/// The persistent volume at `path` of which `given` was said, and found to be right.
fn persistent(path: &str, given: &Value) -> Option<PersistentVolume> {
    let size = |name: &str| given.get(name).and_then(Value::as_i64).map(Milli::units);
    let rule = |rule: &Value| {
        Some(PathRule {
            is_like: rule.get(1)?.as_str()? == "LIKE",
            pattern: rule.get(2)?.as_str()?.to_owned(),
        })
    };
    let rules = given.get("constraints").and_then(Value::as_array).into_iter().flatten();
    Some(PersistentVolume {
        container_path: path.to_owned(),
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
