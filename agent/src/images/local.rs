//! Images of this machine: what `docker save`, `skopeo`, `umoci` and `buildah` write, as archives
//! or as directories.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageIndex};
use serde::Deserialize;

use super::layer::Packed;
use super::manifest::{self, CONFIG_BYTES_MAX, MANIFEST_BYTES_MAX, Manifest};
use super::{Reason, config, digest};

/// Entries that an archive of an image may have: a few for each layer.
const ENTRIES_MAX: usize = 10_000;

/// How many archive entries may be links to each other before one is a file.
const LINKS_MAX: usize = 8;

/// Lists in lists that are followed to find a manifest.
const DEPTH_MAX: usize = 4;

/// What an index calls an image.
const NAME: &str = "org.opencontainers.image.ref.name";

/// What containerd and buildkit call an image in an index besides that.
const FULL_NAME: &str = "io.containerd.image.name";

/// An image that was found.
pub(super) struct Found {
    pub(super) manifest: String,
    pub(super) config: Vec<u8>,
    pub(super) layers: Vec<Packed>,
}

/// Finds an image below `dir`: as an archive or a layout that has the name of the reference, or in
/// `dir` itself if that is a layout. Blocks.
pub(super) fn find(dir: &Path, reference: &Reference) -> Result<Found, Reason> {
    if dir.join("oci-layout").is_file() {
        return of_index(&Files::Directory(dir.to_owned()), reference);
    }
    let names = names(reference);
    for name in &names {
        let layout = dir.join(name);
        if layout.join("oci-layout").is_file() {
            return of_index(&Files::Directory(layout), reference);
        }
        let archive = dir.join(format!("{name}.tar"));
        if archive.is_file() {
            let files = Files::archive(&archive)?;
            let is_dockers = files.open("manifest.json")?.is_some();
            return if is_dockers {
                of_docker(&files, reference)
            } else {
                of_index(&files, reference)
            };
        }
    }
    let looked = names.iter().map(|name| format!("'{name}.tar'")).collect::<Vec<_>>().join(", ");
    let text =
        format!("in {}, where {looked} or a layout of such a name was looked for", dir.display());
    Err(Reason::NotFound(text))
}

/// What files of an image may be called, the most exact first.
fn names(reference: &Reference) -> Vec<String> {
    let mut names = vec![reference.whole(), familiar(reference)];
    if reference.tag() == Some("latest") {
        let untagged = |name: &String| name.strip_suffix(":latest").unwrap_or(name).to_owned();
        names.extend(names.iter().map(untagged).collect::<Vec<_>>());
    }
    // With slashes it would be a path of several directories, which few want to make.
    let flat = names.iter().filter(|name| name.contains('/')).map(|name| name.replace('/', "_"));
    names.extend(flat.collect::<Vec<_>>());
    names
}

/// A reference as people write it.
pub(super) fn familiar(reference: &Reference) -> String {
    let whole = reference.whole();
    let short = whole.strip_prefix("docker.io/").unwrap_or(&whole);
    short.strip_prefix("library/").unwrap_or(short).to_owned()
}

/// What is read of a file.
type Content = Box<dyn Read + Send>;

/// Where an image's files are.
enum Files {
    Directory(PathBuf),
    Archive { path: PathBuf, entries: BTreeMap<PathBuf, Entry> },
}

enum Entry {
    /// Where its content begins, and how much it is.
    File { at: u64, size: u64 },
    /// Another name.
    Link(PathBuf),
}

impl Files {
    fn archive(path: &Path) -> Result<Self, Reason> {
        let failed = |source| Reason::Read { path: path.to_owned(), source };
        let mut entries = BTreeMap::new();
        let mut archive = tar::Archive::new(File::open(path).map_err(failed)?);
        for entry in archive.entries_with_seek().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entries.len() == ENTRIES_MAX {
                return Err(Reason::Manifest(format!("it has more than {ENTRIES_MAX} files")));
            }
            let name = clean(&entry.path().map_err(failed)?);
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let (at, size) = (entry.raw_file_position(), entry.size());
                entries.insert(name, Entry::File { at, size });
            } else if let Some(target) = entry.link_name().map_err(failed)? {
                let base = name.parent().filter(|_| kind.is_symlink()).unwrap_or(Path::new(""));
                let target = clean(&base.join(target));
                entries.insert(name, Entry::Link(target));
            }
        }
        Ok(Self::Archive { path: path.to_owned(), entries })
    }

    /// The content of a file, if it is there.
    fn open(&self, name: &str) -> Result<Option<Content>, Reason> {
        match self {
            Self::Directory(dir) => {
                let path = dir.join(clean(Path::new(name)));
                match File::open(&path) {
                    Ok(file) => Ok(Some(Box::new(file))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(Reason::Read { path, source }),
                }
            }
            Self::Archive { path, entries } => {
                let mut name = clean(Path::new(name));
                for _ in 0..LINKS_MAX {
                    match entries.get(&name) {
                        None => return Ok(None),
                        Some(Entry::Link(target)) => name.clone_from(target),
                        Some(&Entry::File { at, size }) => {
                            let opened = File::open(path).and_then(|mut file| {
                                file.seek(SeekFrom::Start(at))?;
                                Ok(file)
                            });
                            let file = opened
                                .map_err(|source| Reason::Read { path: path.clone(), source })?;
                            return Ok(Some(Box::new(file.take(size))));
                        }
                    }
                }
                Ok(None)
            }
        }
    }

    fn must_open(&self, name: &str) -> Result<Content, Reason> {
        self.open(name)?.ok_or_else(|| Reason::Manifest(format!("its file '{name}' is missing")))
    }

    /// All of a small file.
    fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, Reason> {
        let mut bytes = Vec::new();
        let read = self.must_open(name)?.take(most + 1).read_to_end(&mut bytes);
        read.map_err(|source| Reason::Read { path: name.into(), source })?;
        if bytes.len() as u64 > most {
            return Err(Reason::TooLarge { what: format!("'{name}'"), most });
        }
        Ok(bytes)
    }

    /// All of a small blob, which is what it is called.
    fn blob(&self, digest: &str, most: u64) -> Result<Vec<u8>, Reason> {
        let bytes = self.read(&blob_name(digest), most)?;
        digest::verify("a blob", &bytes, digest)?;
        Ok(bytes)
    }
}

fn blob_name(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// A path without dots; what would lead up and out leads nowhere.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir
            | std::path::Component::RootDir
            | std::path::Component::Prefix(_) => {}
        }
    }
    clean
}

/// An image of an OCI layout.
fn of_index(files: &Files, reference: &Reference) -> Result<Found, Reason> {
    let bytes = files.read("index.json", MANIFEST_BYTES_MAX)?;
    let Manifest::Index(index) = manifest::read(&bytes)? else {
        return Err(Reason::Manifest("its index.json is no index".to_owned()));
    };
    let mut digest = match reference.digest() {
        Some(digest) => digest::parse(digest)?.to_string(),
        None => named(&index, reference)?.digest().to_string(),
    };
    for _ in 0..DEPTH_MAX {
        match manifest::read(&files.blob(&digest, MANIFEST_BYTES_MAX)?)? {
            Manifest::Index(inner) => {
                digest = manifest::for_this_machine(&inner)?.digest().to_string();
            }
            Manifest::Image(image) => {
                let config = files.blob(image.config().digest().as_ref(), CONFIG_BYTES_MAX)?;
                let stored = image.layers().iter().map(|it| it.digest().to_string());
                let layers = packed(
                    files,
                    &config,
                    stored.map(|digest| (blob_name(&digest), Some(digest))),
                )?;
                return Ok(Found { manifest: digest, config, layers });
            }
        }
    }
    Err(Reason::Manifest(format!("its index has indexes in it, more than {DEPTH_MAX} deep")))
}

/// The entry of a layout's index that a reference means.
fn named<'a>(index: &'a ImageIndex, reference: &Reference) -> Result<&'a Descriptor, Reason> {
    let (whole, familiar) = (reference.whole(), familiar(reference));
    let wanted = [Some(whole.as_str()), Some(familiar.as_str()), reference.tag()];
    for wanted in wanted.into_iter().flatten() {
        let is_it = |each: &&Descriptor| {
            let notes = each.annotations().as_ref();
            let names = [NAME, FULL_NAME].map(|name| notes.and_then(|notes| notes.get(name)));
            names.into_iter().flatten().any(|name| name == wanted)
        };
        if let Some(found) = index.manifests().iter().find(is_it) {
            return Ok(found);
        }
    }
    let is_named = |each: &Descriptor| {
        each.annotations().as_ref().is_some_and(|notes| notes.contains_key(NAME))
    };
    match index.manifests().as_slice() {
        [only] if !is_named(only) => Ok(only),
        all if !all.iter().any(is_named) => manifest::for_this_machine(index),
        _ => Err(Reason::NotFound("among those that its index names".to_owned())),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An image that `docker save` wrote.
fn of_docker(files: &Files, reference: &Reference) -> Result<Found, Reason> {
    let bytes = files.read("manifest.json", MANIFEST_BYTES_MAX)?;
    let all: Vec<Saved> = serde_json::from_slice(&bytes)
        .map_err(|error| Reason::Manifest(format!("its manifest.json cannot be read: {error}")))?;
    let names = [reference.whole(), familiar(reference)];
    let has_name = |saved: &&Saved| saved.repo_tags.iter().flatten().any(|tag| names.contains(tag));
    let saved = match (all.iter().find(has_name), all.as_slice()) {
        (Some(saved), _) => saved,
        // Whoever named the file says what is in it.
        (None, [only]) => only,
        (None, _) => {
            return Err(Reason::NotFound("among those that its manifest.json names".to_owned()));
        }
    };
    if saved.layers.len() > manifest::LAYERS_MAX {
        return Err(Reason::Manifest(format!("it has more than {} layers", manifest::LAYERS_MAX)));
    }
    let config = files.read(&saved.config, CONFIG_BYTES_MAX)?;
    let digest = digest::of(&config);
    let layers = packed(files, &config, saved.layers.iter().map(|name| (name.clone(), None)))?;
    Ok(Found { manifest: digest, config, layers })
}

/// Layers to be unpacked: their files, with the digests that the configuration has of them.
fn packed(
    files: &Files,
    config: &[u8],
    stored: impl ExactSizeIterator<Item = (String, Option<String>)>,
) -> Result<Vec<Packed>, Reason> {
    let (_, diff_ids) = config::read(config)?;
    let open = |((name, digest), diff_id): ((String, Option<String>), String)| {
        Ok(Packed { content: files.must_open(&name)?, digest, diff_id })
    };
    super::as_many(stored.len(), &diff_ids)?;
    stored.zip(diff_ids).map(open).collect()
}
