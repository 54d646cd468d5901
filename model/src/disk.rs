//! Disks: what they are parts of, and the volumes on them that outlive tasks.

use crate::ids::PersistenceId;
use crate::payload::Payload;
use std::cmp::Ordering;
use std::sync::Arc;

/// What sets a disk resource apart from plain space in the agent's work directory.
///
/// Two are the same if source and persistence id are. How a task wants a volume mounted is each task's
/// own matter, and who made it changes nothing about it: neither tells disks apart.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Present on a persistent volume.
    pub persistence: Option<Persistence>,
    /// Where a task sees it; present on a persistent volume.
    pub volume: Option<Volume>,
    /// What it is a part of; absent: the disk that the agent's work directory is on.
    pub source: Option<Source>,
}

/// What makes a volume outlive its tasks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Persistence {
    /// Its id, unique among the volumes of one role on one agent. It names a directory.
    pub id: PersistenceId,
    /// Who made it, where that is known.
    pub principal: Option<Arc<str>>,
}

/// Where a task sees a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Volume {
    /// In the sandbox if it is relative.
    pub container_path: Arc<str>,
    /// Whether the task may only read there.
    pub is_read_only: bool,
    /// Encoded `mesos.v1.Volume`, all of it.
    pub info: Payload,
}

/// What a disk is a part of.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Source {
    /// Of which kind it is.
    pub kind: SourceKind,
    /// Where it is on the agent, relative to its work directory unless absolute. Absent where nobody
    /// has said so.
    pub root: Option<Arc<str>>,
    /// Encoded `mesos.v1.Resource.DiskInfo.Source`, all of it.
    pub info: Payload,
}

/// Kinds of what a disk is a part of.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SourceKind {
    /// A directory, of which each gets a part.
    Path,
    /// A mounted file system, which one has to itself.
    Mount,
    /// A block device, which one has to itself.
    Block,
    /// What a storage plug-in has and has not made a disk of yet.
    Raw,
}

impl Disk {
    /// Whether parts of it can be had.
    pub fn is_divisible(&self) -> bool {
        let comes_whole = self.source.as_ref().is_some_and(|source| match source.kind {
            SourceKind::Path => false,
            SourceKind::Mount | SourceKind::Block | SourceKind::Raw => true,
        });
        self.persistence.is_none() && !comes_whole
    }

    /// The space that a volume is made of; absent if that is nothing special.
    #[must_use]
    pub fn without_volume(&self) -> Option<Self> {
        let source = self.source.clone()?;
        Some(Self { persistence: None, volume: None, source: Some(source) })
    }

    fn identity(&self) -> (Option<&PersistenceId>, Option<&Source>) {
        (self.persistence.as_ref().map(|it| &it.id), self.source.as_ref())
    }
}

impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Disk {}

impl PartialOrd for Disk {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Disk {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}
