//! What seals secrets before they are stored and opens them to launch with.
//!
//! A value is sealed with ChaCha20-Poly1305 under the key of a file, and bound to where it is kept: what
//! was sealed for one path opens at no other.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use marathon_core::secret::Sealed;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// The form that is sealed today: this byte, the nonce, and the value with its tag.
const FORM: u8 = 1;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key file {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others could read it too.
    #[error("the key file {} can be read by others; 'chmod 600' it", .0.display())]
    Open(PathBuf),
    /// It holds no key.
    #[error(
        "the key file {} holds neither {KEY_BYTES} bytes nor as many in hexadecimal digits; \
         'openssl rand -hex {KEY_BYTES}' makes some",
        .0.display()
    )]
    Length(PathBuf),
}

/// A key, and what is done with it.
pub(crate) struct Vault {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Vault {
    /// The vault of the key in a file.
    pub(crate) fn of_file(path: &Path) -> Result<Self, KeyError> {
        let read = |source| KeyError::Read { path: path.to_owned(), source };
        let meta = std::fs::metadata(path).map_err(read)?;
        if meta.mode() & 0o077 != 0 {
            return Err(KeyError::Open(path.to_owned()));
        }
        let bytes = std::fs::read(path).map_err(read)?;
        let key = key(&bytes).ok_or_else(|| KeyError::Length(path.to_owned()))?;
        Ok(Self::new(&key))
    }

    fn new(key: &[u8; KEY_BYTES]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has its length");
        Self { key: LessSafeKey::new(key), random: SystemRandom::new() }
    }

    /// Seals `value` for `path`. Absent if the machine has no randomness.
    pub(crate) fn seal(&self, path: &str, value: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = value.to_vec();
        let once = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(once, Aad::from(path.as_bytes()), &mut sealed).ok()?;
        Some([&[FORM][..], &nonce, &sealed].concat())
    }

    /// The value of a secret; absent if it was sealed with another key, for another path, or is damaged.
    pub(crate) fn open(&self, sealed: &Sealed) -> Option<Bytes> {
        let rest = sealed.bytes.strip_prefix(&[FORM])?;
        let (nonce, rest) = rest.split_at_checked(NONCE_LEN)?;
        let once = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut value = rest.to_vec();
        let length = {
            let aad = Aad::from(sealed.path.as_bytes());
            self.key.open_in_place(once, aad, &mut value).ok()?.len()
        };
        value.truncate(length);
        Some(value.into())
    }
}

/// The key in a file: as it is, or written out.
fn key(bytes: &[u8]) -> Option<[u8; KEY_BYTES]> {
    if let Ok(key) = bytes.try_into() {
        return Some(key);
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let digits: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect();
    digits?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    fn sealed(path: &str, bytes: Vec<u8>) -> Sealed {
        Sealed { path: path.into(), bytes: Arc::from(bytes) }
    }

    #[test]
    fn a_value_opens_where_it_was_sealed_for_and_nowhere_else() {
        let vault = Vault::new(&[7; KEY_BYTES]);
        let bytes = vault.seal("shop/key", b"value").expect("sealed");
        assert!(!bytes.windows(5).any(|part| part == b"value"));
        let open = |path: &str, bytes: &[u8]| vault.open(&sealed(path, bytes.to_vec()));
        assert_eq!(open("shop/key", &bytes).as_deref(), Some(&b"value"[..]));
        assert_eq!(open("other", &bytes), None);
        assert_eq!(Vault::new(&[8; KEY_BYTES]).open(&sealed("shop/key", bytes.clone())), None);
        let mut damaged = bytes.clone();
        *damaged.last_mut().expect("not empty") ^= 1;
        assert_eq!(open("shop/key", &damaged), None);
        for short in [&[][..], &[FORM], &bytes[..NONCE_LEN]] {
            assert_eq!(open("shop/key", short), None);
        }
        assert_ne!(vault.seal("shop/key", b"value"), Some(bytes), "never alike");
    }

    #[test]
    fn a_key_file_is_nobody_elses() {
        let path = std::env::temp_dir().join(format!("agora-key-{}", std::process::id()));
        let write = |bytes: &[u8], mode| {
            std::fs::write(&path, bytes).expect("written");
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("set");
            Vault::of_file(&path).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(write(&[1; KEY_BYTES], 0o600), Ok(()));
        assert_eq!(write(format!("{}\n", "0f".repeat(KEY_BYTES)).as_bytes(), 0o400), Ok(()));
        assert!(write(&[1; KEY_BYTES], 0o640).expect_err("open").contains("chmod 600"));
        assert!(write(b"short", 0o600).expect_err("short").contains("openssl"));
        std::fs::remove_file(&path).expect("removed");
        assert!(Vault::of_file(&path).is_err());
    }
}
