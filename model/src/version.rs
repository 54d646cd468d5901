//! Versions of the protocol that masters, agents and clients speak with each other.

use std::str::FromStr;

/// The version that is shown to clients: they compare it to decide what can be done, and this is whose
/// API is spoken. Our own version is told beside it.
pub const SPOKEN: &str = "1.11.0";

/// The oldest that an agent may speak.
pub const AGENT_OLDEST: Version = Version { numbers: [1, 0, 0], is_release: true };

/// A version, as far as it decides what can be done.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version {
    /// Major, minor and patch.
    numbers: [u32; 3],
    /// What is tried out before a release comes before it.
    is_release: bool,
}

/// Why a text is no version.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("'{0}' is no version: one to three numbers with points between them, such as 1.11.0")]
pub struct BadVersion(String);

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.to_owned());
        // What stands behind a plus says only how it was built.
        let (named, _) = text.split_once('+').unwrap_or((text, ""));
        let (release, label) = named.split_once('-').map_or((named, None), |(a, b)| (a, Some(b)));
        let mut numbers = [0; 3];
        let mut parts = release.split('.');
        for (number, part) in numbers.iter_mut().zip(&mut parts) {
            *number = part.parse().map_err(|_| bad())?;
        }
        if parts.next().is_some() || label == Some("") {
            return Err(bad());
        }
        Ok(Self { numbers, is_release: label.is_none() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect(text)
    }

    #[test]
    fn versions_have_an_order() {
        let ordered = ["0.28.2", "1.0.0-rc1", "1", "1.0.1", "1.2", "1.11.0-dev", SPOKEN, "2.0.0"];
        assert!(ordered.map(version).is_sorted_by(|a, b| a < b));
        assert_eq!(version("1.0"), AGENT_OLDEST);
        assert_eq!(version("1.0.0+git-1.2-3"), AGENT_OLDEST);
    }

    #[test]
    fn what_is_no_version_is_told() {
        for bad in ["", "one", "1.", "1.2.3.4", "1.-1", "1.0.0-", "v1.0.0", "1..0"] {
            let why = Version::from_str(bad).expect_err(bad).to_string();
            assert!(why.starts_with(&format!("'{bad}' is no version")), "{why}");
        }
    }
}
