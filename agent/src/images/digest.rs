//! Digests: whether content is what it is called by.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::Arc;

use oci_spec::image::{Digest, DigestAlgorithm};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::Reason;

/// The digest of some bytes, as `sha256:…`.
pub(super) fn of(bytes: &[u8]) -> String {
    named(Sha256::digest(bytes).as_slice())
}

fn named(hash: &[u8]) -> String {
    let mut name = "sha256:".to_owned();
    for byte in hash {
        write!(name, "{byte:02x}").expect("a string takes any text");
    }
    name
}

/// Reads a digest, which must be of the one kind that is checked here.
pub(super) fn parse(text: &str) -> Result<Digest, Reason> {
    let wrong = || Reason::Manifest(format!("'{}' is no sha256 digest", text.escape_debug()));
    let digest: Digest = text.parse().map_err(|_| wrong())?;
    if *digest.algorithm() == DigestAlgorithm::Sha256 { Ok(digest) } else { Err(wrong()) }
}

/// Refuses bytes that are not what they are called. `what` they are, for people.
pub(super) fn verify(what: &str, bytes: &[u8], wanted: &str) -> Result<(), Reason> {
    compare(what, wanted, of(bytes))
}

/// Refuses `found` if another digest was `wanted`.
pub(super) fn compare(what: &str, wanted: &str, found: String) -> Result<(), Reason> {
    if wanted == found {
        return Ok(());
    }
    Err(Reason::Digest { what: what.to_owned(), wanted: wanted.to_owned(), found })
}

/// Passes on what is read or written through it, and knows its digest.
#[derive(Debug)]
pub(super) struct Hashing<T> {
    inner: T,
    hash: Arc<Mutex<Sha256>>,
}

/// Tells the digest of all that has passed.
#[derive(Clone, Debug)]
pub(super) struct Passed(Arc<Mutex<Sha256>>);

impl<T> Hashing<T> {
    pub(super) fn new(inner: T) -> (Self, Passed) {
        let hash = Arc::<Mutex<Sha256>>::default();
        (Self { inner, hash: Arc::clone(&hash) }, Passed(hash))
    }
}

impl Passed {
    pub(super) fn digest(&self) -> String {
        named(self.0.lock().clone().finalize().as_slice())
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.lock().update(&buffer[..count]);
        Ok(count)
    }
}

impl<T: io::Write> io::Write for Hashing<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hash.lock().update(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
