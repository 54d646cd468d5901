//! Label selectors: `key`, `key==v`, `key!=v`, `key in (a,b)`, `key notin (a,b)`, joined by commas.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Terms that must all hold.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Selector(Vec<Term>);

#[derive(Debug, Eq, PartialEq)]
struct Term {
    key: String,
    test: Test,
}

#[derive(Debug, Eq, PartialEq)]
enum Test {
    Exists,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    /// Reads one, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { chars: text.chars().peekable() };
        let mut terms = Vec::new();
        loop {
            terms.push(reader.term()?);
            reader.skip_blanks();
            match reader.chars.next() {
                None => return Ok(Self(terms)),
                Some(',') => {}
                Some(other) => return Err(format!("a comma is expected, not '{other}'")),
            }
        }
    }

    /// Whether all terms hold. Terms that exclude values hold only where the label is.
    pub(super) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|term| {
            labels.get(&term.key).is_some_and(|value| match &term.test {
                Test::Exists => true,
                Test::In(values) => values.contains(value),
                Test::NotIn(values) => !values.contains(value),
            })
        })
    }
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn term(&mut self) -> Result<Term, String> {
        let key = self.word("a label")?;
        self.skip_blanks();
        let test = match self.chars.peek() {
            None | Some(',') => Test::Exists,
            Some('=') => {
                self.symbol("==")?;
                Test::In(vec![self.word("a value")?])
            }
            Some('!') => {
                self.symbol("!=")?;
                Test::NotIn(vec![self.word("a value")?])
            }
            Some(_) => match self.word("an operator")?.as_str() {
                "in" => Test::In(self.list()?),
                "notin" => Test::NotIn(self.list()?),
                other => return Err(format!("'{other}' is none of ==, !=, in and notin")),
            },
        };
        Ok(Term { key, test })
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        self.skip_blanks();
        self.symbol("(")?;
        let mut values = Vec::new();
        loop {
            values.push(self.word("a value")?);
            self.skip_blanks();
            match self.chars.next() {
                Some(',') => {}
                Some(')') => return Ok(values),
                _ => return Err("a list must end with ')'".to_owned()),
            }
        }
    }

    fn symbol(&mut self, symbol: &str) -> Result<(), String> {
        if symbol.chars().all(|wanted| self.chars.next() == Some(wanted)) {
            return Ok(());
        }
        Err(format!("'{symbol}' is expected"))
    }

    /// Up to a blank or a character with a meaning. A backslash takes that meaning away.
    fn word(&mut self, what: &str) -> Result<String, String> {
        self.skip_blanks();
        let mut word = String::new();
        while let Some(&next) = self.chars.peek() {
            if next.is_whitespace() || matches!(next, ',' | '=' | '!' | '(' | ')') {
                break;
            }
            self.chars.next();
            if next == '\\' {
                word.extend(self.chars.next());
            } else {
                word.push(next);
            }
        }
        if word.is_empty() { Err(format!("{what} is missing")) } else { Ok(word) }
    }

    fn skip_blanks(&mut self) {
        while self.chars.next_if(|next| next.is_whitespace()).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_must_all_hold() {
        let labels = BTreeMap::from([
            ("env".to_owned(), "test".to_owned()),
            ("a=b".to_owned(), "c,d".to_owned()),
        ]);
        for (text, expected) in [
            ("env", true),
            ("other", false),
            ("env==test", true),
            (" env == test , env", true),
            ("env==live", false),
            ("env!=live", true),
            ("other!=live", false),
            ("env in (live, test)", true),
            ("env notin (live, test)", false),
            ("env,other", false),
            (r"a\=b==c\,d", true),
        ] {
            let selector = Selector::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(selector.selects(&labels), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for text in ["", "a,", "a=b", "a==", "a in b", "a in (b", "a like b", "a b"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
