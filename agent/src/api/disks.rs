//! What persistent volumes take, told with what they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proto::convert;
use proto::convert::resources::Form;
use proto::mesos::v1::DiskStatistics;
use proto::mesos::v1::resource::DiskInfo;

use super::Api;
use crate::containerizer::Usage;
use crate::persistent_volumes::directory_of;

/// What the volumes of a container take and may take. One that was destroyed meanwhile is left out.
pub(super) fn statistics(api: &Api, usage: &Usage) -> Vec<DiskStatistics> {
    if usage.volumes.is_empty() {
        return Vec::new();
    }
    let mut known = volumes(api);
    let each = usage.volumes.iter().filter_map(|volume| {
        // One that is seen at two places is told of once.
        let disk = known.remove(&volume.directory)?;
        Some(DiskStatistics {
            source: disk.source,
            persistence: disk.persistence,
            limit_bytes: Some(volume.limit_bytes),
            used_bytes: Some(volume.used_bytes),
        })
    });
    each.collect()
}

/// The persistent volumes of this agent, by their directories.
fn volumes(api: &Api) -> BTreeMap<PathBuf, DiskInfo> {
    let mirror = api.shared.mirror.read();
    let total = mirror.total.as_ref().unwrap_or(&api.shared.description.resources);
    let volumes = total.iter().filter_map(|(key, value)| {
        let directory = directory_of(&api.shared.options.work_dir, key)?;
        let one = [(key.clone(), value.clone())].into_iter().collect();
        let wire = convert::resources::to_wire(&one, Form::Both, None).pop()?;
        Some((directory, *wire.disk?))
    });
    volumes.collect()
}
