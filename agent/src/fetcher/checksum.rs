//! What a URI says its content must be: `…#sha256:<64 hexadecimal digits>`.

use std::fmt::Write;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// How the part of a URI begins that names a checksum.
const MARK: &str = "#sha256:";

/// Digits of a checksum.
const DIGITS: usize = 64;

/// A URI without its checksum, and that; an error is what stands there instead.
pub(super) fn split(uri: &str) -> Result<(&str, Option<String>), &str> {
    let Some((uri, digits)) = uri.rsplit_once(MARK) else { return Ok((uri, None)) };
    if digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        Ok((uri, Some(digits.to_ascii_lowercase())))
    } else {
        Err(digits)
    }
}

/// The checksum of all that comes.
pub(super) fn of(mut content: impl Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match content.read(&mut buffer)? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    let mut digits = String::with_capacity(DIGITS);
    for byte in digest.finalize() {
        write!(digits, "{byte:02x}").expect("a string takes any text");
    }
    Ok(digits)
}
