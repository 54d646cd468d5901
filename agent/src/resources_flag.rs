//! What `--resources` says: the short text, or a JSON array of `mesos.v1.Resource`, in place or in a file.
//!
//! Only the array can name disks besides the one that the work directory is on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::disk::SourceKind;
use model::resources::{BadResources, Resources};
use model::role::Role;
use proto::convert;
use proto::mesos::v1::resource::disk_info::source;
use proto::mesos::v1::resource::reservation_info;
use proto::mesos::v1::value::{self, Type};
use proto::mesos::v1::{Resource, resource};

use crate::detect;
use crate::launcher::mount_points;

/// The most of a file that is read: more than any machine has resources to tell of.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most elements of an array: every disk of a machine, in parts for many roles.
const ELEMENTS_MAX: usize = 1_000;

/// Names whose type is not the operator's to choose.
const KNOWN: [(&str, Type); 5] = [
    ("cpus", Type::Scalar),
    ("mem", Type::Scalar),
    ("disk", Type::Scalar),
    ("gpus", Type::Scalar),
    ("ports", Type::Ranges),
];

/// What was given.
#[derive(Debug)]
pub(crate) struct Given {
    /// Of what there is something.
    pub(crate) resources: Resources,
    /// All names, also of what there is nothing: then nothing is what was meant.
    pub(crate) names: BTreeSet<Arc<str>>,
}

/// Why `--resources` cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ResourcesError {
    /// The short text is not well formed.
    #[error(transparent)]
    Text(#[from] BadResources),
    /// There is no such file, or it is too long.
    #[error("cannot read {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// It begins as an array of JSON and is none.
    #[error("it is not a JSON array of resources: {0}")]
    Json(String),
    /// A resource cannot be as it is written.
    #[error("element {number} ('{name}'): {why}")]
    Element {
        /// Which of the array; the first is 1.
        number: usize,
        /// The name of the resource, as far as there is one.
        name: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The machine does not tell what is mounted.
    #[error("{0}")]
    Mounts(String),
}

/// Reads the flag. Disks must be there: what is written to one that is not mounted would be lost.
pub(crate) fn read(
    flag: &str,
    default_role: &Role,
    work_dir: &Path,
) -> Result<Given, ResourcesError> {
    let flag = flag.trim();
    let path = flag.strip_prefix("file://").or_else(|| flag.starts_with('/').then_some(flag));
    let text = match path {
        Some(path) => content(Path::new(path))?,
        None => flag.to_owned(),
    };
    if text.trim_start().starts_with('[') {
        return read_json(&text, default_role, work_dir);
    }
    let name = |part: &str| part.split([':', '(']).next().unwrap_or_default().trim().into();
    let names = text.split(';').map(name).filter(|name: &Arc<str>| !name.is_empty()).collect();
    Ok(Given { resources: Resources::parse(&text, default_role)?, names })
}

fn content(path: &Path) -> Result<String, ResourcesError> {
    let read = || {
        let mut text = String::new();
        fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other("it is longer than 1 MB"));
        }
        Ok(text)
    };
    read().map_err(|why| ResourcesError::File { path: path.to_owned(), why })
}

fn read_json(text: &str, default_role: &Role, work_dir: &Path) -> Result<Given, ResourcesError> {
    let elements: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|error| ResourcesError::Json(error.to_string()))?;
    if elements.len() > ELEMENTS_MAX {
        let why =
            format!("it has {} elements, and {ELEMENTS_MAX} at most are read", elements.len());
        return Err(ResourcesError::Json(why));
    }
    let mut all = Vec::with_capacity(elements.len());
    let mut types = BTreeMap::from(KNOWN.map(|(name, kind)| (name.to_owned(), kind)));
    let mut disks = Disks::new(work_dir);
    for (at, element) in elements.iter().enumerate() {
        let name = element["name"].as_str().unwrap_or_default();
        let bad =
            |why: String| ResourcesError::Element { number: at + 1, name: name.to_owned(), why };
        let json = element.to_string();
        let mut wire: Resource =
            proto::json::from_slice(json.as_bytes()).map_err(|why| bad(why.to_string()))?;
        check_type(&wire, &mut types).map_err(bad)?;
        check_static(&wire).map_err(bad)?;
        if wire.role.is_none() && wire.reservations.is_empty() {
            wire.role = Some(default_role.as_str().to_owned());
        }
        if wire.disk.is_some() {
            disks.check(at + 1, &mut wire)?.map_err(bad)?;
        }
        check_amount(&wire).map_err(bad)?;
        let alone = convert::resources::from_wire(std::slice::from_ref(&wire));
        alone.map_err(|why| bad(why.to_string()))?;
        all.push(wire);
    }
    disks.check_apart()?;
    // Each of them can be, and all together may still be more than can be counted.
    let resources = convert::resources::from_wire(&all)
        .map_err(|why| ResourcesError::Json(format!("all elements together: {why}")))?;
    Ok(Given { resources, names: all.iter().map(|it| it.name.as_str().into()).collect() })
}

fn check_type(wire: &Resource, types: &mut BTreeMap<String, Type>) -> Result<(), String> {
    model::ids::check_id(&wire.name).map_err(|why| format!("'name': {why}"))?;
    let wanted = *types.entry(wire.name.clone()).or_insert(wire.r#type());
    if wire.r#type() == wanted {
        return Ok(());
    }
    let field = if wanted == Type::Ranges { "ranges" } else { "scalar" };
    Err(match KNOWN.iter().find(|(name, _)| *name == wire.name) {
        Some(_) => format!("its 'type' must be {}, with '{field}'", wanted.as_str_name()),
        None => format!(
            "an element before it is of type {}; all of one name must be of one type",
            wanted.as_str_name()
        ),
    })
}

/// Refuses what only comes to be at run time, or takes what agents here do not have.
fn check_static(wire: &Resource) -> Result<(), String> {
    let dynamic = "reservations here are STATIC, by 'role' or by one of 'reservations'; those of type \
                   DYNAMIC are made at run time (RESERVE)";
    if wire.reservation.is_some()
        || wire.reservations.iter().any(|it| it.r#type() == reservation_info::Type::Dynamic)
    {
        return Err(dynamic.to_owned());
    }
    if wire.reservations.len() > 1 {
        return Err("only one of 'reservations' can be STATIC; leave one".to_owned());
    }
    let unwanted = [
        ("allocation_info", wire.allocation_info.is_some(), "masters set it"),
        ("provider_id", wire.provider_id.is_some(), "there are no resource providers here"),
        ("revocable", wire.revocable.is_some(), "what an agent is given it keeps"),
        ("shared", wire.shared.is_some(), "only volumes are shared, which CREATE makes"),
    ];
    match unwanted.iter().find(|(_, is_there, _)| *is_there) {
        Some((field, _, why)) => Err(format!("leave '{field}' away: {why}")),
        None => Ok(()),
    }
}

fn check_amount(wire: &Resource) -> Result<(), String> {
    let Some(amount) = wire.scalar.as_ref().map(|scalar| scalar.value) else { return Ok(()) };
    if amount < 0.0 {
        return Err(format!("{amount} is less than nothing; give what there is, or 0"));
    }
    // What has an identity of its own is there or not.
    if wire.disk.is_some() && amount < 0.001 {
        return Err("a disk of nothing; give its size in MB, or leave the element away".to_owned());
    }
    Ok(())
}

/// The disks that were named up to here.
struct Disks {
    work_dir: PathBuf,
    /// Read when first asked for.
    mounts: Option<BTreeSet<PathBuf>>,
    seen: Vec<SeenDisk>,
}

struct SeenDisk {
    number: usize,
    kind: SourceKind,
    /// Where it really is.
    root: PathBuf,
    /// By what it is reserved: of a PATH disk, parts may be for different roles.
    role: Option<String>,
}

impl Disks {
    fn new(work_dir: &Path) -> Self {
        Self { work_dir: work_dir.to_owned(), mounts: None, seen: Vec::new() }
    }

    /// Checks a disk, and finds out its size if it does not say one. The outer error is the machine's.
    fn check(
        &mut self,
        number: usize,
        wire: &mut Resource,
    ) -> Result<Result<(), String>, ResourcesError> {
        let (kind, root) = match root_of(wire) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        if kind == SourceKind::Mount && !self.mounts()?.contains(&root) {
            return Ok(Err(format!(
                "nothing is mounted at {}; mount the disk there, or make it one of type PATH",
                root.display()
            )));
        }
        let role = wire.reservations.first().and_then(|it| it.role.clone());
        let role = role.or_else(|| wire.role.clone()).filter(|role| role != "*");
        let same = |it: &&SeenDisk| {
            it.root == root && (it.role == role || it.kind != kind || kind == SourceKind::Mount)
        };
        if let Some(other) = self.seen.iter().find(same) {
            return Ok(Err(format!(
                "element {} is the disk at {} already; name each disk once",
                other.number,
                root.display()
            )));
        }
        if wire.scalar.is_none() {
            let Ok(bytes) = detect::disk_bytes(&root) else {
                return Ok(Err("its size is not to be found out; give 'scalar'".to_owned()));
            };
            let megabytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
            wire.scalar = Some(value::Scalar { value: megabytes.into() });
        }
        self.seen.push(SeenDisk { number, kind, root, role });
        Ok(Ok(()))
    }

    fn mounts(&mut self) -> Result<&BTreeSet<PathBuf>, ResourcesError> {
        if self.mounts.is_none() {
            self.mounts = Some(mount_points().map_err(ResourcesError::Mounts)?);
        }
        Ok(self.mounts.get_or_insert_default())
    }

    /// A MOUNT disk is somebody's as a whole, and all that is in it goes with its volume.
    fn check_apart(&self) -> Result<(), ResourcesError> {
        for disk in self.seen.iter().filter(|disk| disk.kind == SourceKind::Mount) {
            let bad = |what: &str| ResourcesError::Element {
                number: disk.number,
                name: "disk".to_owned(),
                why: format!("a MOUNT disk is given away whole, and {what} is in it"),
            };
            if self.work_dir.starts_with(&disk.root) {
                return Err(bad("the work directory of the agent"));
            }
            let is_in =
                |it: &&SeenDisk| it.number != disk.number && it.root.starts_with(&disk.root);
            if let Some(other) = self.seen.iter().find(is_in) {
                return Err(bad(&format!("the disk of element {}", other.number)));
            }
        }
        Ok(())
    }
}

/// Of which kind the disk of a resource is, and where it really is.
fn root_of(wire: &Resource) -> Result<(SourceKind, PathBuf), String> {
    let disk: &resource::DiskInfo = wire.disk.as_ref().ok_or("it has no 'disk'")?;
    if wire.name != "disk" {
        return Err("'disk' is for resources of that name only".to_owned());
    }
    if disk.persistence.is_some() || disk.volume.is_some() {
        return Err("leave 'persistence' and 'volume' away: volumes are made at run time (CREATE)"
            .to_owned());
    }
    let source = disk
        .source
        .as_ref()
        .ok_or("'disk' needs a 'source' with 'type' and 'root', or leave it away")?;
    let (kind, field, root) = match source.r#type() {
        source::Type::Path => {
            (SourceKind::Path, "path", source.path.as_ref().and_then(|it| it.root.as_deref()))
        }
        source::Type::Mount => {
            (SourceKind::Mount, "mount", source.mount.as_ref().and_then(|it| it.root.as_deref()))
        }
        source::Type::Block | source::Type::Raw | source::Type::Unknown => {
            return Err("the 'type' of a 'source' is PATH or MOUNT; others take a resource \
                        provider, which agents here do not have"
                .to_owned());
        }
    };
    let root = root.filter(|root| Path::new(root).is_absolute()).ok_or_else(|| {
        format!("its 'source' needs {{\"{field}\": {{\"root\": \"/…\"}}}} with an absolute path")
    })?;
    // A task's volume is never looked for behind a link.
    if fs::symlink_metadata(root).is_ok_and(|it| it.is_symlink()) {
        return Err(format!("'root' {root} is a link; name the directory that it leads to"));
    }
    let there = fs::canonicalize(root)
        .and_then(|at| if at.is_dir() { Ok(at) } else { Err(io::ErrorKind::NotADirectory.into()) })
        .map_err(|why| format!("'root' {root}: {why}; make the directory or name another"))?;
    Ok((kind, there))
}

#[cfg(test)]
#[path = "resources_flag_tests.rs"]
mod tests;
