//! A text that is not for everybody.

use std::fmt;
use std::hint::black_box;

/// A secret. It can be compared and used, but not printed by accident.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` for a secret from now on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `guess` is it. How long that takes tells nothing of where the two differ.
    pub fn is(&self, guess: &str) -> bool {
        let (own, guess) = (self.0.as_bytes(), guess.as_bytes());
        // One step for each byte of the guess, whatever the secret is.
        let differing = guess.iter().enumerate().fold(0, |differing, (at, byte)| {
            let own = own.get(at % own.len().max(1)).copied().unwrap_or_default();
            black_box(differing | (own ^ *byte))
        });
        differing == 0 && own.len() == guess.len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<hidden>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_is_the_secret() {
        let secret = Secret::new("open sesame");
        assert!(secret.is("open sesame"));
        for guess in ["", "open", "open sesamf", "open sesameopen sesame", "Open sesame"] {
            assert!(!secret.is(guess), "{guess}");
        }
        assert!(Secret::new("").is(""));
        assert!(!Secret::new("").is("x"));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("open sesame")), "<hidden>");
    }
}
