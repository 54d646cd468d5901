//! Reads on in the logs of a container while it writes them.
//!
//! A container that is no session prints into files, whoever looks on. So one who looks on reads those:
//! it costs the container nothing, and whoever is slow misses at most what has been moved away
//! meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::ids::ContainerId;
use rustix::fs::{Mode, OFlags};

use super::logs::{LOGS, is_plain, open_log};
use super::{Containerizer, Entry, read_plan};
use crate::launcher::Channel;

/// Bytes read at once.
const PART_BYTES: usize = 16 << 10;

/// How often it is looked for more. Somebody who types sees each character at the next look.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The same once nothing has come for a while.
const LOOK_SELDOM_EVERY: Duration = Duration::from_millis(250);

/// Looks in vain after which it is looked seldom.
const LOOKS_MAX: u32 = 500;

/// What a container prints from now on.
#[derive(Debug)]
pub struct Following {
    entry: Arc<Entry>,
    logs: Vec<Log>,
    /// Looks in vain since something came.
    looks: u32,
}

/// One of its files.
#[derive(Debug)]
struct Log {
    channel: Channel,
    /// Its place among the logs.
    number: usize,
    file: Arc<File>,
    /// How far it has been read, counted with all that has been cut off at its beginning.
    place: u64,
}

impl Containerizer {
    /// What a container prints from now on. Absent: it does not run.
    pub async fn follow(&self, container: &ContainerId) -> Option<io::Result<Following>> {
        let entry = self.inner.containers.lock().live.get(container).cloned()?;
        let container = container.clone();
        let opened = self.blocking(move |inner| {
            let plan = read_plan(&inner.files(container.as_str()));
            let plan = plan.ok_or_else(|| io::Error::other("it is still being launched"))?;
            open(&plan.sandbox, entry)
        });
        Some(opened.await)
    }
}

/// Opens the logs of a sandbox, to be read from where they end now. Blocks.
fn open(sandbox: &Path, entry: Arc<Entry>) -> io::Result<Following> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(sandbox, flags, Mode::empty())?;
    let mut logs = Vec::new();
    let cut = entry.cut.lock();
    for (number, channel) in [Channel::Stdout, Channel::Stderr].into_iter().enumerate() {
        let Some(log) = open_log(&directory, LOGS[number], OFlags::RDONLY)? else { continue };
        if is_plain(&rustix::fs::fstat(&log)?) {
            let file = Arc::new(File::from(log));
            let place = file.metadata()?.len() + cut[number];
            logs.push(Log { channel, number, file, place });
        }
    }
    drop(cut);
    Ok(Following { entry, logs, looks: 0 })
}

impl Following {
    /// What is printed next; `None` once the container is over and all is read. Nothing is lost if the
    /// wait is given up.
    pub async fn next(&mut self) -> Option<(Channel, Vec<u8>)> {
        let mut end = self.entry.termination.subscribe();
        loop {
            // Asked first: what was written before the end is still read.
            let is_over = end.borrow().is_some();
            for log in &mut self.logs {
                let bytes = log.read(&self.entry).await;
                if !bytes.is_empty() {
                    self.looks = 0;
                    return Some((log.channel, bytes));
                }
            }
            if is_over {
                return None;
            }
            let pause = if self.looks < LOOKS_MAX { LOOK_EVERY } else { LOOK_SELDOM_EVERY };
            self.looks = self.looks.saturating_add(1);
            // Either way it is looked again.
            let _ = tokio::time::timeout(pause, end.wait_for(Option::is_some)).await;
        }
    }
}

impl Log {
    async fn read(&mut self, entry: &Arc<Entry>) -> Vec<u8> {
        let (file, place, number) = (Arc::clone(&self.file), self.place, self.number);
        let entry = Arc::clone(entry);
        let read = tokio::task::spawn_blocking(move || {
            // While this is held nothing is cut off.
            let cut = entry.cut.lock()[number];
            // What was cut off before it was read is gone.
            let place = place.max(cut);
            let mut buffer = vec![0; PART_BYTES];
            let length = file.read_at(&mut buffer, place - cut).unwrap_or(0);
            buffer.truncate(length);
            (place, buffer)
        });
        let Ok((place, bytes)) = read.await else { return Vec::new() };
        self.place = place + bytes.len() as u64;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::super::logs::{LogLimits, rotate};
    use super::*;

    #[tokio::test]
    async fn nothing_is_missed_while_a_log_is_cut() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let mut writer =
            OpenOptions::new().append(true).create(true).open(at("stdout")).expect("a file");
        writer.write_all(b"what was before\n").expect("there is room");
        fs::write(at("stderr"), "").expect("there is room");
        let entry = Entry::new();
        let mut following = open(dir.path(), Arc::clone(&entry)).expect("they are there");
        let limits = LogLimits { bytes_max: 10_000, files_max: 1 };
        let (mut written, mut read) = (String::new(), String::new());
        for number in 0..5_000 {
            let line = format!("line {number}\n");
            writer.write_all(line.as_bytes()).expect("there is room");
            written.push_str(&line);
            if number % 100 == 0 {
                rotate(dir.path(), limits, &mut entry.cut.lock()).expect("it can be cut");
            }
            if number % 50 == 0 {
                let (channel, bytes) = following.next().await.expect("there is more");
                assert_eq!(channel, Channel::Stdout);
                read.push_str(&String::from_utf8(bytes).expect("text"));
            }
        }
        fs::write(at("stderr"), "the end").expect("there is room");
        entry.termination.send_replace(Some(super::super::Termination::default()));
        let mut complaints = String::new();
        while let Some((channel, bytes)) = following.next().await {
            let text = String::from_utf8(bytes).expect("text");
            if channel == Channel::Stdout { read += &text } else { complaints += &text }
        }
        assert!(entry.cut.lock()[0] > 0, "it was cut");
        assert_eq!((read, complaints.as_str()), (written, "the end"));
    }

    #[tokio::test]
    async fn whoever_is_too_slow_misses_what_was_cut_off_and_reads_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("stdout");
        fs::write(&log, "").expect("there is room");
        let entry = Entry::new();
        let mut following = open(dir.path(), Arc::clone(&entry)).expect("it is there");
        let mut writer = OpenOptions::new().append(true).open(&log).expect("it is there");
        writer.write_all(&vec![b'x'; 30_000]).expect("there is room");
        writer.write_all(b"last").expect("there is room");
        let limits = LogLimits { bytes_max: 10_000, files_max: 0 };
        rotate(dir.path(), limits, &mut entry.cut.lock()).expect("it can be cut");
        let left = fs::read(&log).expect("it is there");
        entry.termination.send_replace(Some(super::super::Termination::default()));
        let mut read = Vec::new();
        while let Some((_, bytes)) = following.next().await {
            read.extend(bytes);
        }
        assert_eq!(read, left);
    }
}
