//! Hands on what is typed for a container's command and what it prints, while the launcher waits for
//! its end.
//!
//! What is held back has a limit each way. A session prints for whoever is connected: if nobody reads,
//! the command waits, as it would for a pipe. Any other container prints into its log, and waits for
//! nobody.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

use super::frames::{Decoder, Frame, PAYLOAD_MAX};
use super::{Channel, child, kill_children, reap_all, streams};

/// Bytes that wait for the reader of a session before nothing more is taken from the command.
const PRINTED_MAX: usize = 4 * PAYLOAD_MAX;

/// What ends the input of somebody at a terminal: the character for it.
const END_OF_INPUT: u8 = 4;

/// An end on which something is printed.
pub(super) struct Printed {
    channel: Channel,
    from: File,
    /// Whether nothing more comes.
    is_over: bool,
}

impl Printed {
    pub(super) fn new(channel: Channel, from: OwnedFd) -> Self {
        Self { channel, from: from.into(), is_over: false }
    }
}

/// Who gets what is printed, and where what is typed comes from.
pub(super) enum Reader {
    /// Whoever has the session: both, by this connection. It lives as long as that.
    Session(UnixStream),
    /// A file. What is typed comes by connections to the socket, one after the other.
    Log(File, UnixListener),
}

/// What is between a command and others.
pub(super) struct Relay {
    /// Absent: nothing more is typed.
    typed: Option<File>,
    is_terminal: bool,
    printed: Vec<Printed>,
    /// Typed and not yet taken by the command.
    waiting: Vec<u8>,
    /// Whether the input is to end once that is taken.
    ends: bool,
    /// The agent's connection.
    peer: Option<Peer>,
    /// Absent: it is a session.
    log: Option<(File, UnixListener)>,
}

struct Peer {
    socket: UnixStream,
    decoder: Decoder,
    /// Printed and not yet taken by the agent.
    outgoing: Vec<u8>,
}

impl Peer {
    fn new(socket: UnixStream) -> Self {
        Self { socket, decoder: Decoder::default(), outgoing: Vec::new() }
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    Signals,
    Printed(usize),
    Typed,
    Peer,
    Door,
}

/// What the launcher is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    GoOn,
    /// End the container: it is asked for, or nobody is there for it any more.
    End,
}

impl Relay {
    pub(super) fn new(
        typed: OwnedFd,
        is_terminal: bool,
        printed: Vec<Printed>,
        reader: Reader,
    ) -> Result<Self, String> {
        let (peer, log) = match reader {
            Reader::Session(socket) => (Some(Peer::new(socket)), None),
            Reader::Log(file, door) => (None, Some((file, door))),
        };
        let typed = File::from(typed);
        for end in printed.iter().map(|it| it.from.as_fd()).chain([typed.as_fd()]) {
            rustix::io::ioctl_fionbio(end, true)
                .map_err(|errno| format!("cannot set up its input and output: {errno}"))?;
        }
        let (waiting, ends) = (Vec::new(), false);
        Ok(Self { typed: Some(typed), is_terminal, printed, waiting, ends, peer, log })
    }

    /// The numbers of all that is the launcher's alone.
    pub(super) fn numbers(&self) -> Vec<i32> {
        let ends = self.printed.iter().map(|it| it.from.as_fd());
        let sockets = self.peer.iter().map(|peer| peer.socket.as_fd());
        let log = self.log.iter().flat_map(|(file, door)| [file.as_fd(), door.as_fd()]);
        let typed = self.typed.iter().map(AsFd::as_fd);
        ends.chain(sockets).chain(log).chain(typed).map(|fd| fd.as_raw_fd()).collect()
    }

    /// Waits until `first` and all that came of it have ended and what they printed is handed on; gives
    /// the wait status of `first`.
    pub(super) fn serve(&mut self, first: Pid, signals: &SigSet) -> i32 {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let Ok(signal_fd) = SignalFd::with_flags(signals, flags) else {
            return super::wait(first, signals);
        };
        let mut status = None;
        loop {
            if status.is_none() {
                status = reaped(first);
                if status.is_some() {
                    (self.typed, self.peer) =
                        (None, self.peer.take().filter(|_| self.is_session()));
                    self.waiting.clear();
                }
            }
            if let Some(status) = status {
                self.take_rest();
                if self.printed.is_empty() && !self.is_owing() {
                    return status;
                }
            }
            if self.turn(&signal_fd) == Next::End {
                // Nobody is waited for any more either.
                self.peer = None;
                if status.is_none() {
                    child::kill(first);
                    kill_children();
                }
            }
        }
    }

    fn is_session(&self) -> bool {
        self.log.is_none()
    }

    fn is_owing(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| !peer.outgoing.is_empty())
    }

    /// Whether more may be taken from the command.
    fn has_room(&self) -> bool {
        self.peer.as_ref().is_none_or(|peer| peer.outgoing.len() < PRINTED_MAX)
    }

    /// Waits until something happens, and deals with it.
    fn turn(&mut self, signals: &SignalFd) -> Next {
        let mut next = Next::GoOn;
        for (source, happened) in self.ready(signals) {
            match source {
                Source::Signals if is_told_to_end(signals) => next = Next::End,
                Source::Printed(at) => {
                    self.take_printed(at);
                }
                Source::Typed => {
                    self.give_typed();
                    if !self.hear() {
                        self.peer = None;
                    }
                }
                Source::Peer if self.talk(happened) == Next::End => next = Next::End,
                Source::Signals | Source::Peer => {}
                Source::Door => self.admit(),
            }
        }
        // They are named by their places, so none goes before all are dealt with.
        self.printed.retain(|printed| !printed.is_over);
        next
    }

    /// What there is something to do with.
    fn ready(&self, signals: &SignalFd) -> Vec<(Source, PollFlags)> {
        let mut all: Vec<(Source, BorrowedFd<'_>, PollFlags)> =
            vec![(Source::Signals, signals.as_fd(), PollFlags::IN)];
        // What cannot be dealt with is not looked at, or its end would be told again and again.
        if self.has_room() {
            let printed = self.printed.iter().enumerate();
            all.extend(
                printed.map(|(at, it)| (Source::Printed(at), it.from.as_fd(), PollFlags::IN)),
            );
        }
        if let Some(typed) = self.typed.as_ref().filter(|_| !self.waiting.is_empty()) {
            all.push((Source::Typed, typed.as_fd(), PollFlags::OUT));
        }
        if let Some(peer) = &self.peer {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, self.waiting.is_empty());
            flags.set(PollFlags::OUT, !peer.outgoing.is_empty());
            if self.is_session() || !flags.is_empty() {
                all.push((Source::Peer, peer.socket.as_fd(), flags));
            }
        }
        if let Some((_, door)) = &self.log {
            all.push((Source::Door, door.as_fd(), PollFlags::IN));
        }
        let mut fds: Vec<_> =
            all.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        // An interruption is as good as nothing.
        let _ = poll(&mut fds, None);
        let happened = all.iter().zip(&fds).map(|((source, ..), fd)| (*source, fd.revents()));
        happened.filter(|(_, happened)| !happened.is_empty()).collect()
    }

    /// Takes what is printed on one end and hands it on. Says whether there was something.
    fn take_printed(&mut self, at: usize) -> bool {
        let Some(printed) = self.printed.get_mut(at) else { return false };
        let mut buffer = [0; PAYLOAD_MAX];
        let length = match (&printed.from).read(&mut buffer) {
            Ok(length) if length > 0 => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            // That is also how a terminal tells that nobody has it open any more.
            Ok(_) | Err(_) => {
                printed.is_over = true;
                return false;
            }
        };
        let (channel, bytes) = (printed.channel, &buffer[..length]);
        if let Some((log, _)) = &mut self.log {
            // A full disk is the command's loss, and no reason to stop it.
            let _ = log.write_all(bytes);
        } else if let Some(peer) = &mut self.peer {
            peer.outgoing.extend(Frame::Printed(channel, bytes.to_vec()).encode());
            peer.send();
        }
        true
    }

    /// Takes what was printed up to now by a command that is over. What has left processes behind that
    /// still could print is not waited for.
    fn take_rest(&mut self) {
        for at in 0..self.printed.len() {
            while self.has_room() && self.take_printed(at) {}
            if self.has_room() {
                self.printed[at].is_over = true;
            }
        }
        self.printed.retain(|printed| !printed.is_over);
    }

    /// Gives the command what was typed, as much as it takes.
    fn give_typed(&mut self) {
        let Some(typed) = &self.typed else { return };
        while !self.waiting.is_empty() {
            match (&mut &*typed).write(&self.waiting) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    // It reads no more.
                    self.typed = None;
                    self.waiting.clear();
                    return;
                }
            }
        }
        if self.ends {
            self.typed = None;
        }
    }

    /// Hears what the agent has to say, and tells it what is left to be told.
    fn talk(&mut self, happened: PollFlags) -> Next {
        let Some(peer) = &mut self.peer else { return Next::GoOn };
        let mut is_there = true;
        if happened.contains(PollFlags::OUT) {
            is_there = peer.send();
        }
        if happened.contains(PollFlags::IN) {
            is_there &= peer.receive();
        }
        is_there &= self.hear();
        // What came before the end of a connection was heard; whatever is left on it counts no more
        // for a session, which is over with it.
        let hung_up = happened.intersects(PollFlags::HUP | PollFlags::ERR);
        if is_there && !(hung_up && self.is_session()) {
            return Next::GoOn;
        }
        self.peer = None;
        if self.is_session() { Next::End } else { Next::GoOn }
    }

    /// Does what was received, until there is something that the command has not taken yet. Says
    /// whether it made sense.
    fn hear(&mut self) -> bool {
        while self.waiting.is_empty() {
            let Some(peer) = &mut self.peer else { return true };
            match peer.decoder.next() {
                Ok(None) => return true,
                Ok(Some(Frame::Typed(bytes))) if self.typed.is_some() => self.waiting = bytes,
                Ok(Some(Frame::Typed(_))) => {}
                Ok(Some(Frame::End)) if self.is_terminal => self.waiting = vec![END_OF_INPUT],
                Ok(Some(Frame::End)) => self.ends = true,
                Ok(Some(Frame::Resized(window))) => {
                    if let Some(terminal) = self.typed.as_ref().filter(|_| self.is_terminal) {
                        let _ = streams::resize(terminal, window);
                    }
                }
                Ok(Some(Frame::Printed(..) | Frame::Taken | Frame::Busy)) | Err(_) => return false,
            }
            self.give_typed();
        }
        true
    }

    /// Lets somebody bring input, if nobody does.
    fn admit(&mut self) {
        let Some((_, door)) = &self.log else { return };
        let Ok((mut socket, _)) = door.accept() else { return };
        let answer = if self.peer.is_some() { Frame::Busy } else { Frame::Taken };
        // A new connection has room for so little.
        let told = socket.set_nonblocking(true).and_then(|()| socket.write_all(&answer.encode()));
        if told.is_ok() && self.peer.is_none() {
            self.peer = Some(Peer::new(socket));
        }
    }
}

impl Peer {
    /// Sends what waits, as much as is taken. Says whether the other end is there.
    fn send(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Receives something. Says whether there may be more.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; PAYLOAD_MAX];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.decoder.push(&buffer[..length]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock),
        }
    }
}

/// Whether `first` is over, and with what status. Whatever else has ended is put away.
fn reaped(first: Pid) -> Option<i32> {
    loop {
        match child::reap(first, WaitPidFlag::WNOHANG) {
            child::Reaped::First(status) => {
                reap_all(first);
                return Some(status);
            }
            child::Reaped::Other => {}
            child::Reaped::Nobody => return Some(libc::SIGKILL),
            child::Reaped::NotYet => return None,
        }
    }
}

/// Takes the signals that have come. Says whether one of them asks for a quick end.
fn is_told_to_end(signals: &SignalFd) -> bool {
    let mut is_told = false;
    while let Ok(Some(signal)) = signals.read_signal() {
        is_told |= i32::try_from(signal.ssi_signo) == Ok(Signal::SIGTERM as i32);
    }
    is_told
}
