//! The terminal that somebody sits at: taken over for a while, and always given back.

use std::io::{IsTerminal, Read, stdin, stdout};
use std::os::fd::AsFd;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

/// Bytes read at once of what is typed.
const CHUNK_BYTES: usize = 4 << 10;

/// Chunks that wait to be sent. Somebody at a terminal does not type so much before it is taken.
const CHUNKS_MAX: usize = 64;

/// The size of this terminal as rows and columns, of whichever end is one.
pub(super) fn size() -> Option<(u32, u32)> {
    let of = |fd: &dyn AsFd| tcgetwinsize(fd.as_fd()).ok();
    let size = of(&stdin()).or_else(|| of(&stdout()))?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| (size.ws_row.into(), size.ws_col.into()))
}

/// Whether somebody types, rather than a file or a program.
pub(super) fn is_typed() -> bool {
    stdin().is_terminal()
}

/// Hands on every key as it is, until this is dropped.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Takes the terminal over.
    pub(super) fn enter() -> std::io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // It fails if the terminal is gone, and then nobody misses it.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// What comes from this end.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Typed {
    /// These keys.
    Keys(Vec<u8>),
    /// Nothing more.
    End,
    /// The keys that mean to leave: Enter, `~`, `.`
    Leave,
}

/// What is typed from now on. With `escapes` the keys to leave are looked for.
pub(super) fn typed(escapes: bool) -> mpsc::Receiver<Typed> {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    // A thread of its own, which nobody waits for: whoever reads from a terminal cannot be told to stop.
    std::thread::spawn(move || {
        let mut watch = escapes.then(Escape::default);
        let mut buffer = [0; CHUNK_BYTES];
        loop {
            let told = match stdin().read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => Typed::End,
                Ok(length) => match &mut watch {
                    Some(watch) => watch.keys(&buffer[..length]),
                    None => Typed::Keys(buffer[..length].to_vec()),
                },
            };
            let is_last = !matches!(told, Typed::Keys(_));
            if sender.blocking_send(told).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// An input that is at its end.
pub(super) fn nothing() -> mpsc::Receiver<Typed> {
    let (sender, receiver) = mpsc::channel(1);
    sender.try_send(Typed::End).expect("there is room for one");
    receiver
}

/// Looks for the keys to leave: at the beginning of a line a `~`, and then a `.`; a second `~` is meant
/// as one.
#[derive(Debug)]
struct Escape {
    at_line_start: bool,
    after_tilde: bool,
}

impl Default for Escape {
    fn default() -> Self {
        Self { at_line_start: true, after_tilde: false }
    }
}

impl Escape {
    /// What `keys` come to.
    fn keys(&mut self, keys: &[u8]) -> Typed {
        let mut through = Vec::with_capacity(keys.len() + 1);
        for &key in keys {
            if self.after_tilde {
                self.after_tilde = false;
                match key {
                    b'.' => return Typed::Leave,
                    b'~' => {}
                    _ => through.push(b'~'),
                }
            } else if self.at_line_start && key == b'~' {
                (self.after_tilde, self.at_line_start) = (true, false);
                continue;
            }
            through.push(key);
            self.at_line_start = matches!(key, b'\r' | b'\n');
        }
        Typed::Keys(through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes through of what is typed piece by piece; absent where it means to leave.
    fn through(pieces: &[&str]) -> Option<String> {
        let mut escape = Escape::default();
        let mut all = Vec::new();
        for piece in pieces {
            match escape.keys(piece.as_bytes()) {
                Typed::Keys(keys) => all.extend(keys),
                Typed::Leave => return None,
                Typed::End => panic!("nothing has ended"),
            }
        }
        Some(String::from_utf8(all).expect("text"))
    }

    #[test]
    fn a_tilde_and_a_period_on_a_line_of_their_own_mean_to_leave() {
        for leaving in [&["~."][..], &["~", "."], &["ls\r", "~", "."], &["ls\r~~\r~.x"]] {
            assert_eq!(through(leaving), None, "{leaving:?}");
        }
        for (typed, meant) in [
            ("ls ~.\r", "ls ~.\r"),
            ("~~.\r", "~.\r"),
            ("~/bin\r", "~/bin\r"),
            ("~\r~x", "~\r~x"),
            ("x~.", "x~."),
        ] {
            assert_eq!(through(&[typed]).as_deref(), Some(meant), "{typed:?}");
            let one_by_one: Vec<String> = typed.chars().map(String::from).collect();
            let one_by_one: Vec<&str> = one_by_one.iter().map(String::as_str).collect();
            assert_eq!(through(&one_by_one).as_deref(), Some(meant), "{typed:?}, key by key");
        }
    }
}
