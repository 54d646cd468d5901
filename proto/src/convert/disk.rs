//! Disks and the volumes on them: `Resource.DiskInfo`.

use std::sync::Arc;

use model::disk::{Disk, Persistence, Source, SourceKind, Volume};
use model::ids::PersistenceId;

use super::{Malformed, payload, unpack_own};
use crate::mesos::v1::resource::DiskInfo;
use crate::mesos::v1::resource::disk_info::{self, source};
use crate::mesos::v1::{self, volume};

/// Reads what sets a disk apart. A volume that is there and is not persistent is none.
pub(super) fn from_wire(info: &DiskInfo) -> Result<Disk, Malformed> {
    let persistence = info.persistence.as_ref().map(persistence).transpose()?;
    let volume = match (&info.volume, &persistence) {
        (Some(volume), Some(_)) => Some(volume_from_wire(volume)?),
        (None, Some(_)) => {
            return Err(Malformed::new("A persistent volume needs 'volume' to be set"));
        }
        (Some(_), None) => {
            return Err(Malformed::new("A disk with 'volume' needs 'persistence' to be set"));
        }
        (None, None) if info.source.is_none() => {
            return Err(Malformed::new("DiskInfo is set but empty"));
        }
        (None, None) => None,
    };
    Ok(Disk { persistence, volume, source: info.source.as_ref().map(source).transpose()? })
}

fn persistence(wire: &disk_info::Persistence) -> Result<Persistence, Malformed> {
    let id = PersistenceId::new(wire.id.as_str())
        .map_err(|bad| Malformed(format!("Invalid persistence ID for persistent volume: {bad}")))?;
    Ok(Persistence { id, principal: wire.principal.as_deref().map(Arc::from) })
}

fn volume_from_wire(wire: &v1::Volume) -> Result<Volume, Malformed> {
    if wire.host_path.is_some() {
        return Err(Malformed::new("A persistent volume must not have a 'host_path'"));
    }
    if wire.container_path.is_empty() {
        return Err(Malformed::new("A persistent volume needs a 'container_path'"));
    }
    Ok(Volume {
        container_path: wire.container_path.as_str().into(),
        is_read_only: wire.mode() == volume::Mode::Ro,
        info: payload(wire),
    })
}

fn source(wire: &disk_info::Source) -> Result<Source, Malformed> {
    let kind = match source::Type::try_from(wire.r#type) {
        Ok(source::Type::Path) => SourceKind::Path,
        Ok(source::Type::Mount) => SourceKind::Mount,
        Ok(source::Type::Block) => SourceKind::Block,
        Ok(source::Type::Raw) => SourceKind::Raw,
        Ok(source::Type::Unknown) | Err(_) => {
            return Err(Malformed::new("Unsupported 'DiskInfo.Source.Type'"));
        }
    };
    let path = wire.path.as_ref().and_then(|path| path.root.as_deref());
    let mount = wire.mount.as_ref().and_then(|mount| mount.root.as_deref());
    let root = if kind == SourceKind::Path { path } else { mount };
    Ok(Source { kind, root: root.map(Arc::from), info: payload(wire) })
}

/// Writes what sets a disk apart.
pub(super) fn to_wire(disk: &Disk) -> DiskInfo {
    DiskInfo {
        persistence: disk.persistence.as_ref().map(|it| disk_info::Persistence {
            id: it.id.to_string(),
            principal: it.principal.as_deref().map(str::to_owned),
        }),
        volume: disk.volume.as_ref().map(|volume| unpack_own(&volume.info)),
        source: disk.source.as_ref().map(|source| unpack_own(&source.info)),
    }
}
