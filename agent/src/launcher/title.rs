//! What a process is called in the lists of people, which is otherwise what it was executed with.
//!
//! Launchers and executors are copies of one process and execute nothing, so each writes its own words
//! over the arguments that it was born with.

#![expect(unsafe_code, reason = "the arguments of a process are written where the kernel put them")]

use std::ffi::CStr;
use std::fs;

/// An argument that makes room for words. It says nothing.
pub(crate) fn room() -> String {
    " ".repeat(ROOM)
}

/// Longer than any path that the kernel takes.
const ROOM: usize = 4_500;

/// The place of this process's arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Title {
    start: usize,
    length: usize,
}

impl Title {
    /// Where the arguments are. Absent: where the kernel does not say, or has no room there.
    ///
    /// To be called in a process whose last argument is [`room`], which nobody reads any more.
    pub(super) fn find() -> Option<Self> {
        let line = fs::read_to_string("/proc/self/stat").ok()?;
        // The name stands in parentheses and may hold anything: the 48th and 49th field are the 46th
        // and 47th after it.
        let (_, rest) = line.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace().skip(45);
        let start = fields.next()?.parse::<usize>().ok()?;
        let end = fields.next()?.parse::<usize>().ok()?;
        let length = end.checked_sub(start).filter(|length| start != 0 && *length >= ROOM)?;
        Some(Self { start, length })
    }

    /// Calls this process `words`, and for the kernel `name`, of which it keeps 15 bytes.
    pub(super) fn set(this: Option<Self>, name: &CStr, words: &[&str]) {
        let _ = nix::sys::prctl::set_name(name);
        let Some(Self { start, length }) = this else { return };
        let mut text = words.join("\0").into_bytes();
        text.truncate(length - 1);
        text.resize(length, 0);
        // SAFETY: the kernel says that the arguments of this process lie there, which may be written to
        // and stay there to its end; it has one thread, which reads none of them any more.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), start as *mut u8, length);
        }
    }
}
