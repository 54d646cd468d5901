//! `/files/*`: what lies in sandboxes, and nothing else.
//!
//! A path names a sandbox, by the path people see in Mesos
//! (`/frameworks/…/executors/…/runs/latest`) or by the one on disk, and something in it. The names of
//! the sandbox are checked one by one. What is in it was made by tasks and is opened beneath the
//! sandbox by the kernel's own rules: no link in it can lead out of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::ids::{ContainerId, ExecutorId, FrameworkId};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use serde_json::{Map, Value, json};
use tokio_util::io::ReaderStream;
use transport::http::Refused;

use super::Api;
use super::read::{Parameters, rendered};
use crate::sandbox::{LATEST, Run, agent_dir};

/// The most bytes one read gives; whoever wants more reads on. It keeps one request's memory small.
const READ_BYTES_MAX: u64 = 64 << 10;

/// The most entries of a directory that are listed. Whoever makes more does not want a list.
const ENTRIES_MAX: usize = 65_536;

/// One entry of a directory.
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) nlink: u64,
    pub(super) size: u64,
    pub(super) mtime_secs: i64,
    pub(super) mode: u32,
    pub(super) user: String,
    pub(super) group: String,
}

/// A part of a file.
pub(super) struct Part {
    pub(super) size: u64,
    pub(super) data: Vec<u8>,
}

fn bad(text: impl Into<String>) -> Refused {
    Refused::bad_request(text)
}

fn path_of(parameters: &std::collections::HashMap<String, String>) -> Result<String, Refused> {
    let path = parameters.get("path").filter(|path| !path.is_empty());
    path.cloned().ok_or_else(|| bad("Expecting 'path=value' in query.\n"))
}

pub(super) async fn browse(State(api): State<Api>, Query(parameters): Parameters) -> Response {
    let listed = async {
        let entries = list(&api, path_of(&parameters)?).await?;
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

pub(super) async fn read(State(api): State<Api>, Query(parameters): Parameters) -> Response {
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
            let part = part(&api, path, 0, Some(0)).await?;
            json!({"data": "", "offset": part.size})
        } else {
            let offset = offset.unsigned_abs();
            let part = part(&api, path, offset, u64::try_from(length).ok()).await?;
            json!({"data": String::from_utf8_lossy(&part.data), "offset": offset})
        };
        Ok::<_, Refused>(rendered(&value, &parameters))
    };
    answer.await.unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn download(State(api): State<Api>, Query(parameters): Parameters) -> Response {
    let answer = async {
        let path = path_of(&parameters)?;
        let name =
            path.rsplit('/').next().unwrap_or_default().replace(['"', '\\', '\r', '\n'], "_");
        let file = on_disk(&api, path, |found| {
            if found.metadata()?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok(found)
        });
        let file = file.await.map_err(|error| {
            if error.text.is_empty() {
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

/// Which paths lead where.
pub(super) async fn debug(State(api): State<Api>, Query(parameters): Parameters) -> Response {
    let mirror = api.shared.mirror.read();
    let mut all = Map::new();
    if let Some(agent) = &mirror.agent {
        for framework in mirror.frameworks.values().chain(&mirror.completed_frameworks) {
            let executors = framework.executors.values().map(|it| (it, true));
            for (it, is_live) in
                executors.chain(framework.completed_executors.iter().map(|it| (it, false)))
            {
                let run = Run {
                    agent: agent.clone(),
                    framework: framework.id.clone(),
                    executor: it.spec.id.clone(),
                    container: it.container.clone(),
                };
                let real = run.sandbox(&api.shared.options.work_dir).display().to_string();
                all.insert(run.virtual_path(), json!(real));
                if is_live {
                    let latest = format!(
                        "/frameworks/{}/executors/{}/runs/{LATEST}",
                        run.framework, run.executor
                    );
                    all.insert(latest, json!(real));
                }
                all.insert(real.clone(), json!(real));
            }
        }
    }
    drop(mirror);
    rendered(&Value::Object(all), &parameters)
}

/// What lies in a directory, in order of names.
pub(super) async fn list(api: &Api, path: String) -> Result<Vec<Entry>, Refused> {
    let shown = path.trim_end_matches('/').to_owned();
    on_disk(api, path, move |found| {
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
pub(super) async fn part(
    api: &Api,
    path: String,
    offset: u64,
    length: Option<u64>,
) -> Result<Part, Refused> {
    on_disk(api, path, move |mut found| {
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
    api: &Api,
    path: String,
    work: impl FnOnce(File) -> io::Result<T> + Send + 'static,
) -> Result<T, Refused> {
    let located = locate(api, &path)?;
    let done = tokio::task::spawn_blocking(move || work(located.open()?)).await;
    done.map_err(|_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, ""))?
        .map_err(|error| refusal(&error, &path))
}

fn refusal(error: &io::Error, path: &str) -> Refused {
    use rustix::io::Errno;
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound {
        return Refused::new(StatusCode::NOT_FOUND, "");
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

/// A sandbox and something in it.
#[derive(Debug)]
struct Located {
    sandbox: PathBuf,
    inside: PathBuf,
}

impl Located {
    /// Opens it. Nothing is waited for: a pipe that a task has made must not hold up a thread.
    fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let sandbox = rustix::fs::open(
            &self.sandbox,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let opened = rustix::fs::openat2(
            &sandbox,
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

fn locate(api: &Api, path: &str) -> Result<Located, Refused> {
    let not_found = || Refused::new(StatusCode::NOT_FOUND, "");
    let shared = &api.shared;
    let agent = shared.mirror.read().agent.clone();
    let agents_dir = agent.as_ref().map(|agent| agent_dir(&shared.options.work_dir, agent));
    located(path, &shared.slaves, agents_dir.as_deref()).ok_or_else(not_found)
}

/// Finds the sandbox in a path. `slaves`: where all sandboxes are on disk; `agents_dir`: that of this
/// agent's registration, which virtual paths are below.
fn located(path: &str, slaves: &Path, agents_dir: Option<&Path>) -> Option<Located> {
    let (mut sandbox, rest) = match Path::new(path).strip_prefix(slaves) {
        Ok(below) => {
            let mut parts = below.to_str()?.splitn(2, '/');
            let agent = model::ids::AgentId::new(parts.next()?).ok()?;
            (slaves.join(agent.as_str()), parts.next()?.to_owned())
        }
        Err(_) => (agents_dir?.to_owned(), path.trim_start_matches('/').to_owned()),
    };
    let mut parts = rest.splitn(7, '/').filter(|part| !part.is_empty());
    let mut named = |word: &str| (parts.next() == Some(word)).then(|| parts.next()).flatten();
    // Ids are names of directories and can lead nowhere else: that is part of being an id.
    let framework = FrameworkId::new(named("frameworks")?).ok()?;
    let executor = ExecutorId::new(named("executors")?).ok()?;
    let run = named("runs")?;
    let inside = parts.next().unwrap_or(".").trim_start_matches('/');
    sandbox.extend(["frameworks", framework.as_str(), "executors", executor.as_str(), "runs"]);
    let run = if run == LATEST {
        // The link is the agent's own, and only the last name in it counts.
        let target = std::fs::read_link(sandbox.join(LATEST)).ok()?;
        target.file_name()?.to_str()?.to_owned()
    } else {
        run.to_owned()
    };
    sandbox.push(ContainerId::new(run).ok()?.as_str());
    let inside = if inside.is_empty() { "." } else { inside };
    Some(Located { sandbox, inside: inside.into() })
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
