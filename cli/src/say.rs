//! What verbs print: the one place that writes it, and that knows what to do when nobody reads on.

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write};

/// What shells exit with when the one that reads their output is gone: 128 and SIGPIPE.
pub(crate) const UNREAD: u8 = 128 + 13;

/// Prints a line to stdout, like `println!`, but ends the program if nobody reads it.
macro_rules! say {
    ($($line:tt)*) => { $crate::say::line(format_args!($($line)*)) };
}

/// Prints a line to stderr, like `eprintln!`, but goes on if nobody reads it.
macro_rules! complain {
    ($($line:tt)*) => { $crate::say::complaint(format_args!($($line)*)) };
}

pub(crate) use {complain, say};

/// Writes a line to stdout. Does not return if that cannot be done.
pub(crate) fn line(line: Arguments<'_>) {
    or_end(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Writes `text` to stdout at once, as it is. Does not return if that cannot be done.
pub(crate) fn raw(text: &str) {
    let mut out = std::io::stdout().lock();
    or_end(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Writes a line to stderr, if that can be done.
pub(crate) fn complaint(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Ends the program if `written` failed: quietly where the reader has gone, as with `| head`.
///
/// It ends here rather than by an error that every caller hands on: nobody could do anything else, and
/// what has been asked of the cluster is done already. Verbs that change the terminal do not print here.
fn or_end(written: Result<(), Error>) {
    let Err(error) = written else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(UNREAD.into());
    }
    complain!("error: cannot write to stdout: {error}");
    std::process::exit(1);
}
