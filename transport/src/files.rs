//! `/files/*`, LIST_FILES and READ_FILE: reading what a daemon lets others read, and nothing else.
//!
//! The daemon turns a path of a request into a [`Located`]: a directory of its own and something in it.
//! What is in it may have been made by anybody and is opened beneath that directory by the kernel's own
//! rules: no link in it can lead out of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use proto::mesos::v1::{FileInfo, TimeInfo};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use crate::http::{Parameters, Refused, rendered};

/// The most bytes one read gives; whoever wants more reads on. It keeps one request's memory small.
const READ_BYTES_MAX: u64 = 64 << 10;

/// The most entries of a directory that are listed. Whoever makes more does not want a list.
const ENTRIES_MAX: usize = 65_536;

/// One entry of a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The path that was asked for, and the entry's name.
    pub path: String,
    /// How many names it has.
    pub nlink: u64,
    /// In bytes.
    pub size: u64,
    /// When it was last written, in seconds since 1970.
    pub mtime_secs: i64,
    /// Its kind and permissions, as `stat` has them.
    pub mode: u32,
    /// Whose it is; the number of a user without a name.
    pub user: String,
    /// Whose group it is; the number of a group without a name.
    pub group: String,
}

impl From<Entry> for FileInfo {
    fn from(entry: Entry) -> Self {
        Self {
            path: entry.path,
            nlink: Some(entry.nlink.try_into().unwrap_or(i32::MAX)),
            size: Some(entry.size),
            mtime: Some(TimeInfo { nanoseconds: entry.mtime_secs.saturating_mul(1_000_000_000) }),
            mode: Some(entry.mode),
            uid: Some(entry.user),
            gid: Some(entry.group),
        }
    }
}

/// A part of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// Of the whole file, in bytes.
    pub size: u64,
    /// What was read.
    pub data: Vec<u8>,
}

fn bad(text: impl Into<String>) -> Refused {
    Refused::bad_request(text)
}

fn path_of(parameters: &Parameters) -> Result<String, Refused> {
    let path = parameters.get("path").filter(|path| !path.is_empty());
    path.cloned().ok_or_else(|| bad("Expecting 'path=value' in query.\n"))
}

/// Answers `/files/browse`.
pub async fn browse(parameters: Parameters, locate: impl Locate) -> Response {
    let listed = async {
        let entries = list(locate, path_of(&parameters)?).await?;
        let all: Vec<Value> = entries
            .into_iter()
            .map(|it| {
                json!({
                    "path": it.path, "nlink": it.nlink, "size": it.size, "mtime": it.mtime_secs,
                    "mode": mode(it.mode), "uid": it.user, "gid": it.group,
                })
            })
            .collect();
        Ok::<_, Refused>(rendered(&Value::Array(all), &parameters))
    };
    listed.await.unwrap_or_else(IntoResponse::into_response)
}

/// Answers `/files/read`.
pub async fn read(parameters: Parameters, locate: impl Locate) -> Response {
    let answer = async {
        let path = path_of(&parameters)?;
        let number = |name: &str| -> Result<Option<i64>, Refused> {
            let Some(text) = parameters.get(name).filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            text.parse().map(Some).map_err(|_| {
                bad(format!("Failed to parse {name}: Failed to convert '{text}' to number.\n"))
            })
        };
        // -1 asks for the size alone; so do all clients that follow a file.
        let offset = number("offset")?.unwrap_or(-1);
        if offset < -1 {
            return Err(bad(format!("Negative offset provided: {offset}.\n")));
        }
        let length = number("length")?.unwrap_or(-1);
        if length < -1 {
            return Err(bad(format!("Negative length provided: {length}.\n")));
        }
        let value = if offset == -1 {
            let part = part(locate, path, 0, Some(0)).await?;
            json!({"data": "", "offset": part.size})
        } else {
            let offset = offset.unsigned_abs();
            let part = part(locate, path, offset, u64::try_from(length).ok()).await?;
            json!({"data": String::from_utf8_lossy(&part.data), "offset": offset})
        };
        Ok::<_, Refused>(rendered(&value, &parameters))
    };
    answer.await.unwrap_or_else(IntoResponse::into_response)
}

/// Answers `/files/download`.
pub async fn download(parameters: Parameters, locate: impl Locate) -> Response {
    let answer = async {
        let path = path_of(&parameters)?;
        let name =
            path.rsplit('/').next().unwrap_or_default().replace(['"', '\\', '\r', '\n'], "_");
        let file = on_disk(locate, path, |found| {
            if found.metadata()?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok(found)
        });
        let file = file.await.map_err(|error| {
            // What is not allowed is told in words of whoever decided that.
            if error.status == StatusCode::FORBIDDEN {
                error
            } else {
                Refused { text: error.text.replace("read", "download"), ..error }
            }
        })?;
        let size = file.metadata().map(|it| it.len()).unwrap_or_default();
        // A log that grows meanwhile is cut at the length that was announced.
        let file = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), size);
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_LENGTH, size.to_string()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        ];
        Ok::<_, Refused>(
            (StatusCode::OK, headers, Body::from_stream(ReaderStream::new(file))).into_response(),
        )
    };
    answer.await.unwrap_or_else(IntoResponse::into_response)
}

/// What lies in a directory, in order of names.
pub async fn list(locate: impl Locate, path: String) -> Result<Vec<Entry>, Refused> {
    let shown = path.trim_end_matches('/').to_owned();
    on_disk(locate, path, move |found| {
        if !found.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let found = OwnedFd::from(found);
        let mut entries = Vec::new();
        for entry in Dir::read_from(&found)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // One that has gone since is not listed.
            let Ok(stat) = rustix::fs::statat(&found, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            entries.push(Entry {
                path: format!("{shown}/{}", name.to_string_lossy()),
                nlink: stat.st_nlink,
                size: u64::try_from(stat.st_size).unwrap_or(0),
                mtime_secs: stat.st_mtime,
                mode: stat.st_mode,
                user: user(stat.st_uid),
                group: group(stat.st_gid),
            });
            if entries.len() == ENTRIES_MAX {
                break;
            }
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    })
    .await
}

/// Up to `length` bytes from `offset` on. Past the end there are none.
pub async fn part(
    locate: impl Locate,
    path: String,
    offset: u64,
    length: Option<u64>,
) -> Result<Part, Refused> {
    on_disk(locate, path, move |mut found| {
        let about = found.metadata()?;
        if about.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (size, mut data) = (about.len(), Vec::new());
        let length = length.unwrap_or(READ_BYTES_MAX).min(READ_BYTES_MAX);
        if offset < size && length > 0 {
            found.seek(SeekFrom::Start(offset))?;
            found.take(length).read_to_end(&mut data)?;
        }
        Ok(Part { size, data })
    })
    .await
}

/// Opens what `path` names and works with it where that may block.
async fn on_disk<T: Send + 'static>(
    locate: impl Locate,
    path: String,
    work: impl FnOnce(File) -> io::Result<T> + Send + 'static,
) -> Result<T, Refused> {
    let located = locate(&path)?;
    let done = tokio::task::spawn_blocking(move || work(located.open()?)).await;
    done.map_err(|_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, ""))?
        .map_err(|error| refusal(&error, &path))
}

fn refusal(error: &io::Error, path: &str) -> Refused {
    use rustix::io::Errno;
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound {
        return not_found();
    }
    if kind == io::ErrorKind::PermissionDenied {
        return Refused::new(StatusCode::FORBIDDEN, "");
    }
    if kind == io::ErrorKind::IsADirectory {
        return bad("Cannot read a directory.\n");
    }
    match Errno::from_io_error(error) {
        // A part of the path is a file, or the path names one where a directory is due.
        None | Some(Errno::NOTDIR) if kind == io::ErrorKind::NotADirectory => {
            bad(format!("'{path}' is not a directory.\n"))
        }
        // A link or `..` that would lead out, a link of the kernel's own, or links in a circle.
        Some(Errno::XDEV | Errno::LOOP) => {
            bad(format!("Resolved path '{path}' is inaccessible.\n"))
        }
        Some(Errno::NAMETOOLONG) => bad(format!("'{path}' is too long.\n")),
        _ => Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("Failed to read '{path}': {error}\n"),
        ),
    }
}

/// What somebody hears whose path leads nowhere.
pub fn not_found() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "")
}

/// Where a path of a request leads, if anywhere and if whoever asks may go there. Called once; may look
/// at the disk.
pub trait Locate: FnOnce(&str) -> Result<Located, Refused> {}

impl<F: FnOnce(&str) -> Result<Located, Refused>> Locate for F {}

/// A directory of the daemon's own, and something in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Located {
    /// Trusted: every name in its path was checked.
    pub root: PathBuf,
    /// Not trusted: it is followed only as long as it stays in `root`.
    pub inside: PathBuf,
}

impl Located {
    /// A file of the daemon's own. None: the path is none of a file.
    pub fn file(path: &Path) -> Option<Self> {
        Some(Self { root: path.parent()?.to_owned(), inside: path.file_name()?.into() })
    }

    /// Opens it. Nothing is waited for: a pipe that a task has made must not hold up a thread.
    fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let root = rustix::fs::open(
            &self.root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let opened = rustix::fs::openat2(
            &root,
            &self.inside,
            flags,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
        if matches!(kind, FileType::RegularFile | FileType::Directory) {
            Ok(opened.into())
        } else {
            // Devices and pipes are not for reading from afar.
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

/// A mode as `ls -l` writes it.
fn mode(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::RegularFile | FileType::Unknown => '-',
    };
    let mut text = String::from(kind);
    for (at, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & (0o400 >> at) != 0 { letter } else { '-' });
    }
    text
}

fn user(uid: u32) -> String {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

fn group(gid: u32) -> String {
    let group = nix::unistd::Group::from_gid(gid.into()).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| group.name)
}
