//! Unpacks archives that nobody has looked at before.
//!
//! Refused are entries that would land or point outside the sandbox, device nodes and pipes, and
//! archives that unpack to more than the limits. An archive that is refused half way leaves what was
//! unpacked before: the launch fails, and the sandbox is there to be looked at.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::beneath::Root;

/// What an archive is, by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    /// Many files, perhaps packed as a whole.
    Tar(Option<Packing>),
    /// One file, packed.
    Packed(Packing),
    Zip,
}

/// How bytes are packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Packing {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// Memory that unpacking may take. `xz -9` wants 65 MiB; a header that asks for gigabytes is no
/// reason to give them.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// Why an archive is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// An entry has a name that leads out of the sandbox.
    #[error("it has an entry '{entry}', which leads out of the sandbox")]
    Escapes {
        /// The entry.
        entry: String,
    },
    /// A link points out of the sandbox.
    #[error("its entry '{entry}' is a link to '{target}', out of the sandbox")]
    LinkEscapes {
        /// The entry.
        entry: String,
        /// Where the link points.
        target: String,
    },
    /// A device, a pipe or something unknown.
    #[error("its entry '{entry}' is neither file, directory nor link")]
    Special {
        /// The entry.
        entry: String,
    },
    /// More data than allowed.
    #[error(
        "it unpacks to more than {most} bytes; raise the limit, or fetch it with 'extract' set to false"
    )]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// More entries than allowed.
    #[error(
        "it has more than {most} entries; raise the limit, or fetch it with 'extract' set to false"
    )]
    TooMany {
        /// The limit.
        most: u64,
    },
    /// It is broken, or the disk is.
    #[error("it cannot be unpacked: {0}")]
    Failed(#[from] io::Error),
}

impl Format {
    /// What a file of this name is, if it is an archive.
    pub(super) fn of(name: &str) -> Option<Self> {
        const BY_SUFFIX: [(&str, Format); 14] = [
            (".tar", Format::Tar(None)),
            (".tgz", Format::Tar(Some(Packing::Gzip))),
            (".tar.gz", Format::Tar(Some(Packing::Gzip))),
            (".tbz2", Format::Tar(Some(Packing::Bzip2))),
            (".tar.bz2", Format::Tar(Some(Packing::Bzip2))),
            (".txz", Format::Tar(Some(Packing::Xz))),
            (".tar.xz", Format::Tar(Some(Packing::Xz))),
            (".tzst", Format::Tar(Some(Packing::Zstd))),
            (".tar.zst", Format::Tar(Some(Packing::Zstd))),
            (".gz", Format::Packed(Packing::Gzip)),
            (".bz2", Format::Packed(Packing::Bzip2)),
            (".xz", Format::Packed(Packing::Xz)),
            (".zst", Format::Packed(Packing::Zstd)),
            (".zip", Format::Zip),
        ];
        let found = BY_SUFFIX.into_iter().find(|(suffix, _)| name.ends_with(suffix));
        found.map(|(_, format)| format)
    }
}

/// What an archive may still unpack to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    bytes: u64,
    bytes_most: u64,
    entries: u64,
    entries_most: u64,
}

impl Budget {
    pub(crate) fn new(bytes: u64, entries: u64) -> Self {
        Self { bytes, bytes_most: bytes, entries, entries_most: entries }
    }

    pub(crate) fn entry(&mut self) -> Result<(), ExtractError> {
        self.entries =
            self.entries.checked_sub(1).ok_or(ExtractError::TooMany { most: self.entries_most })?;
        Ok(())
    }

    /// Copies everything, or what is allowed and one byte, which is too much.
    pub(crate) fn copy(
        &mut self,
        from: impl Read,
        to: &mut impl Write,
    ) -> Result<(), ExtractError> {
        let copied = io::copy(&mut from.take(self.bytes.saturating_add(1)), to)?;
        self.bytes = self
            .bytes
            .checked_sub(copied)
            .ok_or(ExtractError::TooLarge { most: self.bytes_most })?;
        Ok(())
    }
}

/// Unpacks `archive`, called `name`, into `root`. Blocks.
pub(super) fn extract(
    format: Format,
    archive: File,
    name: &Path,
    root: &Root,
    budget: &mut Budget,
) -> Result<(), ExtractError> {
    match format {
        Format::Tar(None) => tar(archive, root, budget),
        Format::Tar(Some(packing)) => tar(unpack(packing, archive)?, root, budget),
        Format::Packed(packing) => {
            let mut file = root.file(&name.with_extension(""), 0o644)?;
            budget.copy(unpack(packing, archive)?, &mut file)
        }
        Format::Zip => zip(archive, root, budget),
    }
}

/// What is packed in `packed`. Several packed files behind each other are one.
fn unpack(packing: Packing, packed: File) -> io::Result<Box<dyn Read>> {
    let packed = io::BufReader::new(packed);
    Ok(match packing {
        Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
        Packing::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(MEMORY_BYTES_MAX, flags)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream))
        }
        Packing::Zstd => {
            let mut unpacked = zstd::stream::read::Decoder::with_buffer(packed)?;
            // As a power of two.
            unpacked.window_log_max(MEMORY_BYTES_MAX.ilog2())?;
            Box::new(unpacked)
        }
    })
}

fn tar(archive: impl Read, root: &Root, budget: &mut Budget) -> Result<(), ExtractError> {
    for entry in ::tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        budget.entry()?;
        let named = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let path = inside(&named)?;
        // Neither set-user-ID nor set-group-ID: the files may be the agent's own user's.
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
        if kind.is_dir() {
            root.directory(&path)?;
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            let mut file = root.file(&path, mode)?;
            budget.copy(&mut entry, &mut file)?;
        } else if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name()?.unwrap_or_default().into_owned();
            if kind.is_symlink() {
                symlink(root, &path, &target)?;
            } else {
                root.hard_link(&path, &inside(&target).map_err(|_| link_escapes(&path, &target))?)?;
            }
        } else {
            return Err(ExtractError::Special { entry: shown(&named) });
        }
    }
    Ok(())
}

fn zip(archive: impl Read + Seek, root: &Root, budget: &mut Budget) -> Result<(), ExtractError> {
    const KIND: u32 = 0o170_000;
    let mut archive = ::zip::ZipArchive::new(archive).map_err(io::Error::other)?;
    for at in 0..archive.len() {
        budget.entry()?;
        let mut entry = archive.by_index(at).map_err(io::Error::other)?;
        let named = PathBuf::from(entry.name());
        let path = inside(&named)?;
        let mode = entry.unix_mode().unwrap_or(0o644);
        if entry.is_dir() {
            root.directory(&path)?;
        } else if entry.is_symlink() {
            let mut target = Vec::new();
            budget.copy(&mut entry, &mut target)?;
            let target = String::from_utf8(target).map_err(io::Error::other)?;
            symlink(root, &path, Path::new(&target))?;
        } else if matches!(mode & KIND, 0 | 0o100_000) {
            let mut file = root.file(&path, mode & 0o777)?;
            budget.copy(&mut entry, &mut file)?;
        } else {
            return Err(ExtractError::Special { entry: shown(&named) });
        }
    }
    Ok(())
}

/// Makes a link if its target, seen from where it lies, is in the sandbox.
fn symlink(root: &Root, path: &Path, target: &Path) -> Result<(), ExtractError> {
    let mut depth = path.components().count().saturating_sub(1);
    for component in target.components() {
        depth = match component {
            Component::CurDir => depth,
            Component::Normal(_) => depth + 1,
            Component::ParentDir => {
                depth.checked_sub(1).ok_or_else(|| link_escapes(path, target))?
            }
            Component::RootDir | Component::Prefix(_) => return Err(link_escapes(path, target)),
        };
    }
    Ok(root.symlink(path, target)?)
}

fn link_escapes(path: &Path, target: &Path) -> ExtractError {
    ExtractError::LinkEscapes { entry: shown(path), target: shown(target) }
}

/// The path without dots, if it stays inside.
pub(crate) fn inside(path: &Path) -> Result<PathBuf, ExtractError> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(ExtractError::Escapes { entry: shown(path) });
            }
        }
    }
    Ok(clean)
}

/// A name from outside as it may stand in a message: one line, not endless.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().flat_map(char::escape_debug).take(200).collect()
}
