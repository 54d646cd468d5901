//! One task per container: from its launch, or from when it was found again, to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::ids::ContainerId;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::isolator::StepError;
use super::launchers::OwnLauncher;
use super::nested::Fate;
use super::terminals::Session;
use super::turns::Turn;
use super::{
    ENDED_MAX, Entry, Inner, LaunchError, LaunchSpec, Launched, Recovered, Stage, Termination,
    blocking, logs, nested, read_plan,
};
use crate::launcher::{self, Files, Process, write_atomically};

/// How long a launcher may take to end once nothing runs below it, before it is killed.
const LAUNCHER_GRACE: Duration = Duration::from_secs(5);

/// How long to wait between two looks at whether a launcher has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// How often it is tried to remove a record that somebody is putting something into. A launcher that
/// starts late puts one file there.
const RECORD_REMOVALS_MAX: usize = 8;

/// A launcher that runs, ours or an earlier agent's.
struct Launcher {
    /// Becomes readable when it ends. Absent: it has ended.
    process: Option<AsyncFd<OwnedFd>>,
    /// To be reaped, if it is a child of this agent.
    child: Option<OwnLauncher>,
}

/// Launches a container, and has it supervised if that went well.
pub(super) async fn launch(
    inner: Arc<Inner>,
    spec: LaunchSpec,
    entry: Arc<Entry>,
) -> Result<Launched, LaunchError> {
    let container = spec.container.clone();
    let name = container.clone();
    let destroy = entry.destroy.clone();
    let outcome = blocking(&inner, Turn::Launch, move |inner| {
        if destroy.is_cancelled() {
            return Err((None, LaunchError::Destroyed { container: name }));
        }
        let (mut child, socket) = inner.start(spec).map_err(|error| (None, error))?;
        match inner.answer(name.as_str(), &mut child) {
            Ok(launched) => Ok((child, launched, socket)),
            Err(error) => Err((Some(child), error)),
        }
    })
    .await;
    match outcome {
        Ok((child, launched, socket)) => {
            // One that cannot be taken is closed, which ends the session.
            if let Some(session) = socket.and_then(|socket| Session::new(socket).ok()) {
                let _ = entry.session.set(session);
            }
            // It cannot have been reaped, so the number is its own.
            let parent = Launcher { process: watch(child.id()), child: Some(child) };
            let destroyed = entry.destroy.is_cancelled();
            open(&inner, &entry);
            let supervised = supervise(inner, container.clone(), entry, parent);
            if destroyed {
                // Whoever hears that it failed may forget it at once, so all of it must be gone.
                supervised.await;
                return Err(LaunchError::Destroyed { container });
            }
            tokio::spawn(supervised);
            Ok(launched)
        }
        Err((child, error)) => {
            let taken = matches!(&error, LaunchError::Record { source, .. }
                if source.kind() == io::ErrorKind::AlreadyExists);
            let name = container.clone();
            let leftovers = blocking(&inner, Turn::End, move |inner| {
                if taken {
                    // The record is of an earlier container, which is not ours to undo.
                    return Vec::new();
                }
                let left = inner.undo(name.as_str());
                if let Some(child) = child {
                    child.wait();
                }
                remove_record(&inner.files(name.as_str()));
                left
            })
            .await;
            let destroyed = entry.destroy.is_cancelled();
            let leftovers = leftovers.join("; ");
            let termination = Termination { destroyed, leftovers, ..Termination::default() };
            end(&inner, &container, &entry, termination);
            Err(if destroyed { LaunchError::Destroyed { container } } else { error })
        }
    }
}

/// Lets containers be launched in one that runs.
fn open(inner: &Inner, entry: &Entry) {
    let _table = inner.containers.lock();
    entry.stage.send_replace(Stage::Running);
}

/// Waits for a container's end, or brings it about, and clears up.
async fn supervise(
    inner: Arc<Inner>,
    container: ContainerId,
    entry: Arc<Entry>,
    mut launcher: Launcher,
) {
    let id = container.as_str();
    let watches: Vec<AsyncFd<OwnedFd>> = inner
        .isolators
        .iter()
        .filter_map(|isolator| isolator.watch(id))
        .filter_map(readable)
        .collect();
    tokio::select! {
        () = ended(launcher.process.as_ref()) => {}
        () = entry.destroy.cancelled() => {}
        () = limited(&inner, id, watches) => {}
        () = found_over(&inner, &container, &entry) => {}
        () = inner.stopped.cancelled() => return,
    }
    nested::end_inside(&inner, &container, &entry).await;
    let name = container.clone();
    let asked = entry.destroy.is_cancelled();
    let termination = blocking(&inner, Turn::End, move |inner| {
        let files = inner.files(name.as_str());
        let by_itself = files.exit_status().exists();
        // Asked before anything is killed on purpose, and again after: the last kill may be it.
        let limitation = inner.limitation(name.as_str());
        let mut termination =
            Termination { destroyed: asked && !by_itself, limitation, ..Termination::default() };
        // An agent that dies in the middle of clearing up must not forget what it knew.
        record(&files, &termination);
        inner.options.steps.reached("end recorded");
        let left = inner.undo(name.as_str());
        if let Some(child) = launcher.child.take() {
            child.wait();
        }
        termination.status = status(&files);
        termination.leftovers = left.join("; ");
        record(&files, &termination);
        inner.options.steps.reached("end known");
        nested::forget_inside(inner, &name);
        termination
    })
    .await;
    if !termination.leftovers.is_empty() {
        tracing::error!(%container, leftovers = termination.leftovers, "a container is not cleared away");
    }
    if let Some(forgotten) = end(&inner, &container, &entry, termination) {
        blocking(&inner, Turn::End, move |inner| {
            remove_record(&inner.files(forgotten.as_str()));
        })
        .await;
    }
}

/// Tells everybody who waits that a container is over. Gives the one that is forgotten for that.
fn end(
    inner: &Inner,
    container: &ContainerId,
    entry: &Entry,
    termination: Termination,
) -> Option<ContainerId> {
    let mut table = inner.containers.lock();
    entry.stage.send_replace(Stage::Ending);
    table.live.remove(container);
    table.ended.insert(container.clone(), termination.clone());
    // Of those in another one the other has so many at most, and they go with it.
    if container.parent().is_none() {
        table.ended_order.push_back(container.clone());
    }
    if table.ended_order.len() > ENDED_MAX
        && let Some(oldest) = table.ended_order.pop_front()
    {
        table.ended.remove(&oldest);
    }
    let forgotten = entry.session.get().and_then(|_| nested::session_over(&mut table, container));
    drop(table);
    entry.termination.send_replace(Some(termination));
    forgotten
}

fn record(files: &Files, termination: &Termination) {
    let text = serde_json::to_vec(termination).expect("plain strings and numbers");
    if let Err(error) = write_atomically(&files.termination(), &text) {
        tracing::warn!(path = %files.termination().display(), %error, "cannot record how a container ended");
    }
}

fn status(files: &Files) -> Option<i32> {
    fs::read_to_string(files.exit_status()).ok()?.trim().parse().ok()
}

/// Opens what becomes readable when process `pid` ends. Absent: it has.
fn watch(pid: i32) -> Option<AsyncFd<OwnedFd>> {
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    readable(process)
}

#[expect(deprecated, reason = "an owned descriptor is all that the unsafe successor asks for")]
fn readable(fd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE).ok()
}

async fn ended(process: Option<&AsyncFd<OwnedFd>>) {
    if let Some(process) = process {
        // An error would be the runtime's end, and then nobody waits.
        let _ = process.readable().await;
    }
}

/// How long after the news that memory has run out the kernel's kill is first looked for; twice as long
/// each time.
const KILL_LOOKED_FOR_FIRST: Duration = Duration::from_millis(10);

/// The longest time between two looks, and the last: by then the kernel has found memory.
const KILL_LOOKED_FOR_MAX: Duration = Duration::from_secs(10);

/// Waits until an isolator says that a limit is broken.
async fn limited(inner: &Arc<Inner>, container: &str, watches: Vec<AsyncFd<OwnedFd>>) {
    // Of today's isolators only one watches; with more, the first one speaks for all.
    let Some(watch) = watches.into_iter().next() else {
        return std::future::pending().await;
    };
    // Since the latest news: how long until the kill is looked for again.
    let mut pause = None;
    loop {
        // It may also have been before anybody watched.
        if inner.limitation(container).is_some() {
            return;
        }
        let news = match pause {
            Some(pause) => tokio::time::timeout(pause, watch.readable()).await.ok(),
            None => Some(watch.readable().await),
        };
        match news {
            Some(Ok(mut ready)) => {
                let mut drained = [0; 4_096];
                let _ = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut drained)?));
                // It comes when memory runs out, which is before the kernel kills for it: just before, or
                // some time where the processes get little of a processor. It may not come again.
                pause = Some(KILL_LOOKED_FOR_FIRST);
            }
            Some(Err(_)) => return std::future::pending().await,
            None => pause = pause.map(|it| it * 2).filter(|it| *it <= KILL_LOOKED_FOR_MAX),
        }
    }
}

/// Looks at logs and has isolators look from time to time, until one finds a limit broken.
async fn found_over(inner: &Arc<Inner>, container: &ContainerId, entry: &Arc<Entry>) {
    let logs = inner.options.logs.map(|_| inner.options.disk_watch_interval);
    let every: Vec<_> = inner.isolators.iter().map(|it| it.inspected_every()).collect();
    let Some(pause) = every.iter().chain([&logs]).flatten().min().copied() else {
        return std::future::pending().await;
    };
    // The last one is that of the logs.
    let mut looked = vec![Instant::now(); every.len() + 1];
    loop {
        tokio::time::sleep(pause).await;
        let mut due = vec![false; looked.len()];
        for ((due, looked), every) in
            due.iter_mut().zip(&mut looked).zip(every.iter().chain([&logs]))
        {
            *due = every.is_some_and(|every| looked.elapsed() >= every);
            if *due {
                *looked = Instant::now();
            }
        }
        let (name, entry) = (container.clone(), Arc::clone(entry));
        let broken = blocking(inner, Turn::Other, move |inner| {
            if due.pop() == Some(true) {
                cut_logs(inner, &name, &entry);
            }
            let inspected = inner.isolators.iter().zip(&due).filter(|(_, due)| **due);
            inspected.for_each(|(isolator, _)| isolator.inspect(name.as_str()));
            due.contains(&true) && inner.limitation(name.as_str()).is_some()
        });
        if broken.await {
            return;
        }
    }
}

fn cut_logs(inner: &Inner, container: &ContainerId, entry: &Entry) {
    let Some(limits) = inner.options.logs else { return };
    let Some(plan) = read_plan(&inner.files(container.as_str())) else { return };
    if plan.io.is_some_and(|io| io.is_session) {
        // It has none, and its sandbox is that of the container it looks into.
        return;
    }
    if let Err(error) = logs::rotate(&plan.sandbox, limits, &mut entry.cut.lock()) {
        tracing::warn!(%container, %error, "the logs of a container cannot be cut");
    }
}

/// Kills what runs below a launcher, by `kill` and by asking the launcher, until it has ended.
///
/// Without a launcher there is still what `kill` knows of.
pub(super) fn end_launcher(
    files: &Files,
    within: Duration,
    kill: impl Fn() -> Vec<StepError>,
) -> Vec<String> {
    let until = Instant::now() + within.max(LAUNCHER_GRACE);
    let force_at = Instant::now() + LAUNCHER_GRACE;
    let mut asked = false;
    let mut problems: Vec<String>;
    loop {
        problems = kill().iter().map(ToString::to_string).collect();
        let Some(process) = launcher(files) else { break };
        if !asked {
            first_process_ends(files);
            let _ = pidfd_send_signal(&process, Signal::TERM);
            asked = true;
        } else if Instant::now() >= force_at {
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
        if Instant::now() >= until {
            problems.push("its launcher does not end".to_owned());
            break;
        }
        std::thread::sleep(PAUSE);
    }
    problems
}

/// The process that holds the launcher's lock, if one does.
fn launcher(files: &Files) -> Option<OwnedFd> {
    let pid = launcher::find(files)?;
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // If it still has the lock now, the handle is surely its own and not a later process's.
    (launcher::find(files) == Some(pid)).then_some(process)
}

/// Kills the container's first process, which in a PID namespace is all of them.
fn first_process_ends(files: &Files) {
    let Some(first) = first_process(files) else { return };
    if let Some(pid) = Pid::from_raw(first.pid)
        && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        && first.is_there()
    {
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
}

pub(super) fn first_process(files: &Files) -> Option<Process> {
    serde_json::from_slice(&fs::read(files.pid()).ok()?).ok()
}

/// Takes back what is known, destroys what is not.
pub(super) async fn recover(inner: &Arc<Inner>, known: &[ContainerId]) -> io::Result<Recovered> {
    let dir = inner.containers_dir();
    let (found, strays) = blocking(inner, Turn::Other, move |inner| {
        let strays: Vec<String> = inner.isolators.iter().flat_map(|it| it.strays()).collect();
        list(&dir).map(|found| (found, strays))
    })
    .await?;
    let mut recovered = Recovered::default();
    let mut orphans: BTreeMap<ContainerId, Vec<ContainerId>> = BTreeMap::new();
    // What is set up for a container whose record went with the machine's last boot.
    let strays = strays.into_iter().filter_map(|name| ContainerId::new(name).ok());
    for stray in strays.filter(|stray| !found.contains(stray)) {
        orphans.entry(stray.root()).or_default().push(stray);
    }
    let mut kept = Vec::new();
    let mut running = BTreeSet::new();
    // A container comes after the one that it is in.
    for container in found {
        if inner.containers.lock().live.contains_key(&container) {
            continue;
        }
        let (files, root) = (inner.files(container.as_str()), container.root());
        let is_known = known.contains(&root) || inner.files(root.as_str()).standalone().exists();
        let parent_runs = container.parent().is_none_or(|parent| running.contains(&parent));
        if !is_known
            || nested::fate(&files, known.contains(&container), parent_runs) == Fate::Destroy
        {
            orphans.entry(root).or_default().push(container);
            continue;
        }
        let looked_at = files.clone();
        if blocking(inner, Turn::Other, move |_| runs(&looked_at)).await {
            running.insert(container.clone());
        }
        kept.push(container);
    }
    let mut destroying = Vec::new();
    for (_, mut containers) in orphans {
        // The innermost first.
        containers.sort();
        containers.reverse();
        let all = containers.clone();
        let destroyed = blocking_task(inner, move |inner| {
            all.iter().flat_map(|it| destroy_orphan(inner, it.as_str())).collect::<Vec<_>>()
        });
        destroying.push((containers, destroyed));
    }
    for (containers, destroyed) in destroying {
        let left = destroyed.await.expect("it does not panic");
        let container = containers.last().expect("none is made without one");
        if !left.is_empty() {
            tracing::error!(%container, leftovers = left.join("; "), "an orphan is not cleared away");
        }
        recovered.orphans.extend(containers.into_iter().filter(|it| !known.contains(it)));
    }
    // What is over is cleared away before what it is in.
    let (running, over): (Vec<_>, Vec<_>) = kept.into_iter().partition(|it| running.contains(it));
    for container in over.into_iter().rev().chain(running) {
        take_back(inner, container, &mut recovered).await;
    }
    for list in [&mut recovered.running, &mut recovered.ended] {
        // Those in others, and those that nobody's record tells of, are no executors.
        list.retain(|it| known.contains(it));
        list.sort();
    }
    for container in known {
        let table = inner.containers.lock();
        if !table.live.contains_key(container) && !table.ended.contains_key(container) {
            recovered.missing.push(container.clone());
        }
    }
    Ok(recovered)
}

/// Whether a container was launched and nobody has ended it. Blocks.
fn runs(files: &Files) -> bool {
    launcher(files).is_some() && !files.destroyed().exists() && files.pid().exists()
}

/// Begins to clear something away, beside what else is.
fn blocking_task<T: Send + 'static>(
    inner: &Arc<Inner>,
    work: impl FnOnce(&Inner) -> T + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let inner = Arc::clone(inner);
    tokio::spawn(async move { blocking(&inner, Turn::End, work).await })
}

fn destroy_orphan(inner: &Inner, container: &str) -> Vec<String> {
    let left = inner.undo(container);
    if left.is_empty() {
        // Else the record stays, for the next recovery to try again.
        remove_record(&inner.files(container));
    }
    left
}

async fn take_back(inner: &Arc<Inner>, container: ContainerId, recovered: &mut Recovered) {
    let files = inner.files(container.as_str());
    let ours = files.clone();
    let (process, never_ran) = blocking(inner, Turn::Other, move |_| {
        let process = launcher(&ours);
        (process, !ours.pid().exists())
    })
    .await;
    let entry = Entry::new();
    if process.is_some() && !files.destroyed().exists() && !never_ran {
        let process = process.and_then(readable);
        inner.containers.lock().live.insert(container.clone(), Arc::clone(&entry));
        open(inner, &entry);
        let launcher = Launcher { process, child: None };
        tokio::spawn(supervise(Arc::clone(inner), container.clone(), entry, launcher));
        recovered.running.push(container);
        return;
    }
    // It is over, or was about to be. What could still tell how is read before it is cleared away.
    let name = container.clone();
    let termination = blocking(inner, Turn::End, move |inner| {
        let earlier = fs::read(files.termination()).ok();
        let earlier = earlier.and_then(|text| serde_json::from_slice::<Termination>(&text).ok());
        let mut termination = earlier.unwrap_or_default();
        termination.limitation = termination.limitation.or_else(|| inner.limitation(name.as_str()));
        record(&files, &termination);
        let left = inner.undo(name.as_str());
        termination.status = status(&files).or(termination.status);
        termination.leftovers = left.join("; ");
        record(&files, &termination);
        termination
    })
    .await;
    end(inner, &container, &entry, termination);
    if never_ran { recovered.missing.push(container) } else { recovered.ended.push(container) }
}

/// The containers that have a runtime directory.
fn list(dir: &Path) -> io::Result<Vec<ContainerId>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        if let Some(name) = entry?.file_name().to_str()
            && let Ok(container) = ContainerId::new(name)
        {
            found.push(container);
        }
    }
    found.sort();
    Ok(found)
}

/// Removes all that is known of a container. What stays is found and removed by the next recovery.
pub(super) fn remove_record(files: &Files) {
    // A launcher that starts late may put its lock there meanwhile, and then sees that it is to go.
    for _ in 0..RECORD_REMOVALS_MAX {
        match fs::remove_dir_all(files.dir()) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Ok(()) | Err(_) => return,
        }
    }
}

/// Leaves the time of a container's end on its sandbox, as that of the last change: nobody but root
/// can set it otherwise, and it says from when on the sandbox ages.
pub(super) fn note_end(files: &Files) {
    let Some(plan) = read_plan(files) else { return };
    if let Ok(there) = fs::metadata(&plan.sandbox) {
        // Setting what is set counts as a change.
        let _ = fs::set_permissions(&plan.sandbox, there.permissions());
    }
}
