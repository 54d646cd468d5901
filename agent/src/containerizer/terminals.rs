//! What is typed for containers, and what those print that are there for whoever has them.
//!
//! The launcher is at the other end: see [`crate::launcher`]. A session has one connection, which this
//! agent has from its launch on. Others that take input have a socket, so that the next run of the
//! agent finds it again.

use std::fs::File;
use std::io;
use std::sync::Arc;

use model::ids::ContainerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, OwnedMutexGuard, broadcast};

use super::{Containerizer, read_plan};
use crate::launcher::frames::{Decoder, Frame, PAYLOAD_MAX};
use crate::launcher::{Channel, Files, Window, streams};

/// Pieces of what a session prints that wait for those who look on. Whoever is slower misses some.
const WATCHED_MAX: usize = 64;

/// A session's connection, as the agent has it.
#[derive(Debug)]
pub(super) struct Session {
    output: parking_lot::Mutex<Option<OwnedReadHalf>>,
    input: Arc<Mutex<OwnedWriteHalf>>,
    /// Told what was printed when it is read.
    watched: broadcast::Sender<(Channel, Vec<u8>)>,
}

impl Session {
    /// Takes this end of a connection. To be called where the runtime is.
    pub(super) fn new(socket: std::os::unix::net::UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let (output, input) = UnixStream::from_std(socket)?.into_split();
        let output = parking_lot::Mutex::new(Some(output));
        let watched = broadcast::Sender::new(WATCHED_MAX);
        Ok(Self { output, input: Arc::new(Mutex::new(input)), watched })
    }
}

/// What a session prints. It is read by one only.
#[derive(Debug)]
pub struct Printed {
    from: OwnedReadHalf,
    decoder: Decoder,
    watched: broadcast::Sender<(Channel, Vec<u8>)>,
}

impl Printed {
    /// What is printed next; `None` once all is over. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Option<(Channel, Vec<u8>)> {
        let mut buffer = vec![0; PAYLOAD_MAX];
        loop {
            match self.decoder.next() {
                Ok(Some(Frame::Printed(channel, bytes))) => {
                    // An error means that nobody looks on.
                    if self.watched.receiver_count() > 0 {
                        let _ = self.watched.send((channel, bytes.clone()));
                    }
                    return Some((channel, bytes));
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return None,
            }
            match self.from.read(&mut buffer).await {
                Ok(length) if length > 0 => self.decoder.push(&buffer[..length]),
                Ok(_) | Err(_) => return None,
            }
        }
    }
}

/// What a session prints, for somebody who looks on: it is told when whoever has the session reads it.
#[derive(Debug)]
pub struct Watching(broadcast::Receiver<(Channel, Vec<u8>)>);

impl Watching {
    /// What was printed next; `None` once all is over. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Option<(Channel, Vec<u8>)> {
        loop {
            match self.0.recv().await {
                Ok(printed) => return Some(printed),
                // Nobody waits for those who look on.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Why nobody can type for a container.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoInput {
    /// There is none, or it is over.
    #[error("Container {0} cannot be found")]
    Unknown(ContainerId),
    /// It has neither a terminal nor is it a session.
    #[error(
        "Container {0} takes no input: it is neither a session nor has it a terminal; launch it with \
         'tty_info', or look into it with a session"
    )]
    Deaf(ContainerId),
    /// Somebody else does.
    #[error("Somebody else types for container {0}; end that connection first")]
    Busy(ContainerId),
    /// Its launcher does not answer.
    #[error("Container {container} cannot be reached: {why}")]
    Unreachable {
        /// Which one.
        container: ContainerId,
        /// Why.
        why: String,
    },
}

/// A way to type for a container. While it is held nobody else has one.
#[derive(Debug)]
pub struct Input(Way);

#[derive(Debug)]
enum Way {
    Session(OwnedMutexGuard<OwnedWriteHalf>),
    Socket(UnixStream),
}

impl Input {
    /// Types something. Waits until there is room for it.
    pub async fn typed(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(PAYLOAD_MAX) {
            self.send(&Frame::Typed(part.to_vec())).await?;
        }
        Ok(())
    }

    /// Says that nothing more is typed.
    pub async fn end(&mut self) -> io::Result<()> {
        self.send(&Frame::End).await
    }

    /// Gives the terminal another size, if there is one.
    pub async fn resized(&mut self, window: Window) -> io::Result<()> {
        self.send(&Frame::Resized(window)).await
    }

    async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        match &mut self.0 {
            Way::Session(to) => to.write_all(&frame.encode()).await,
            Way::Socket(to) => to.write_all(&frame.encode()).await,
        }
    }
}

impl Containerizer {
    /// What a session prints. Absent: it is none, or somebody has that already.
    pub fn printed(&self, container: &ContainerId) -> Option<Printed> {
        let entry = self.inner.containers.lock().live.get(container).cloned()?;
        let session = entry.session.get()?;
        let from = session.output.lock().take()?;
        Some(Printed { from, decoder: Decoder::default(), watched: session.watched.clone() })
    }

    /// What a session prints from now on, for somebody who looks on. Absent: it is none.
    pub fn watch(&self, container: &ContainerId) -> Option<Watching> {
        let entry = self.inner.containers.lock().live.get(container).cloned()?;
        Some(Watching(entry.session.get()?.watched.subscribe()))
    }

    /// A way to type for a container.
    pub async fn input(&self, container: &ContainerId) -> Result<Input, NoInput> {
        let entry = self.inner.containers.lock().live.get(container).cloned();
        let entry = entry.ok_or_else(|| NoInput::Unknown(container.clone()))?;
        if let Some(session) = entry.session.get() {
            let held = Arc::clone(&session.input).try_lock_owned();
            let held = held.map_err(|_| NoInput::Busy(container.clone()))?;
            return Ok(Input(Way::Session(held)));
        }
        let files = self.inner.files(container.as_str());
        if read_plan(&files).is_none_or(|plan| plan.io.is_none()) {
            return Err(NoInput::Deaf(container.clone()));
        }
        let unreachable = |why: String| NoInput::Unreachable { container: container.clone(), why };
        let mut socket = connect(&files).await.map_err(|error| unreachable(error.to_string()))?;
        let mut answer = vec![0; Frame::Taken.encode().len()];
        let read = socket.read_exact(&mut answer).await;
        read.map_err(|error| unreachable(error.to_string()))?;
        let mut decoder = Decoder::default();
        decoder.push(&answer);
        match decoder.next() {
            Ok(Some(Frame::Taken)) => Ok(Input(Way::Socket(socket))),
            Ok(Some(Frame::Busy)) => Err(NoInput::Busy(container.clone())),
            other => Err(unreachable(format!("its launcher answers {other:?}"))),
        }
    }
}

async fn connect(files: &Files) -> io::Result<UnixStream> {
    let directory = File::open(files.dir())?;
    UnixStream::connect(streams::by_handle(&directory, &files.io())).await
}
