//! Offer constraints: which agents a framework wants to hear of at all.

use crate::facts::AgentFacts;
use model::constraints::{Constraint, Predicate, Selector};
use model::resources::AttributeValue;
use regex::{Regex, RegexBuilder};
use std::sync::Arc;

/// How many constraints one role may have: all may be asked of each agent in each pass.
pub const CONSTRAINTS_MAX: usize = 256;

/// How long a pattern may be: longer ones are lists of agents, for which there are attributes.
pub const PATTERN_BYTES_MAX: usize = 4_096;

/// How many bytes a pattern may take once it is read, unless operators say otherwise: room for a few
/// classes such as `\w`, while a role full of constraints stays below some tens of megabytes.
pub const PATTERN_BYTES_DEFAULT: usize = 128 << 10;

/// One constraint, its pattern read. What is there but no text passes every predicate about text.
pub type AttributeConstraint = Constraint<Pattern>;

/// The constraints of one role: an agent is wanted if it meets all of any one group.
///
/// Invariant: there is a group, and none is empty. Cloning is cheap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OfferConstraints(Arc<[Vec<AttributeConstraint>]>);

/// A regular expression that a whole text must match.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    whole: Regex,
}

/// Why constraints cannot be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum BadConstraints {
    /// Then no agent would ever do.
    #[error("offer constraints must have at least one group")]
    NoGroups,
    /// Then every agent would do.
    #[error("a group of offer constraints must have at least one constraint")]
    EmptyGroup,
    /// More than [`CONSTRAINTS_MAX`].
    #[error("{count} constraints for one role, at most {CONSTRAINTS_MAX}")]
    TooMany { count: usize },
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("a pattern of {bytes} bytes, at most {PATTERN_BYTES_MAX}")]
    PatternTooLong { bytes: usize },
    /// Not a pattern, or one that takes too much memory.
    #[error("pattern '{pattern}': {why}")]
    Pattern { pattern: Arc<str>, why: String },
}

impl Pattern {
    /// Reads a pattern in the syntax of RE2: no look-around, no references back. Read, it takes at most
    /// `bytes_max`.
    pub fn new(text: impl Into<Arc<str>>, bytes_max: usize) -> Result<Self, BadConstraints> {
        let text = text.into();
        if text.len() > PATTERN_BYTES_MAX {
            return Err(BadConstraints::PatternTooLong { bytes: text.len() });
        }
        let compile = |pattern: &str| {
            let mut builder = RegexBuilder::new(pattern);
            builder.size_limit(bytes_max).dfa_size_limit(bytes_max);
            let why = |why: regex::Error| why.to_string();
            builder
                .build()
                .map_err(|it| BadConstraints::Pattern { pattern: text.clone(), why: why(it) })
        };
        // First by itself: `a)|(b` is none, though it would be one within brackets.
        compile(&text)?;
        let whole = compile(&format!(r"\A(?:{text})\z"))?;
        Ok(Self { text, whole })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl OfferConstraints {
    /// Checks what a framework asks for in one role.
    pub fn new(groups: Vec<Vec<AttributeConstraint>>) -> Result<Self, BadConstraints> {
        if groups.is_empty() {
            return Err(BadConstraints::NoGroups);
        }
        if groups.iter().any(Vec::is_empty) {
            return Err(BadConstraints::EmptyGroup);
        }
        let count = groups.iter().map(Vec::len).sum();
        if count > CONSTRAINTS_MAX {
            return Err(BadConstraints::TooMany { count });
        }
        Ok(Self(groups.into()))
    }

    /// The groups, of which one must hold.
    pub fn groups(&self) -> &[Vec<AttributeConstraint>] {
        &self.0
    }

    /// Whether an agent is wanted.
    pub fn are_met_by(&self, agent: &AgentFacts) -> bool {
        self.0.iter().any(|group| group.iter().all(|one| is_met(one, agent)))
    }
}

/// What a selector finds.
enum Found<'a> {
    Nothing,
    Text(&'a str),
    Other,
}

fn is_met(constraint: &AttributeConstraint, agent: &AgentFacts) -> bool {
    match (&constraint.predicate, find(&constraint.selector, agent)) {
        (Predicate::Exists, found) => !matches!(found, Found::Nothing),
        (Predicate::NotExists, found) => matches!(found, Found::Nothing),
        (Predicate::TextEquals(_) | Predicate::TextMatches(_), Found::Nothing) => false,
        (Predicate::TextNotEquals(_) | Predicate::TextNotMatches(_), Found::Nothing)
        | (
            Predicate::TextEquals(_)
            | Predicate::TextNotEquals(_)
            | Predicate::TextMatches(_)
            | Predicate::TextNotMatches(_),
            Found::Other,
        ) => true,
        (Predicate::TextEquals(wanted), Found::Text(text)) => text == &**wanted,
        (Predicate::TextNotEquals(unwanted), Found::Text(text)) => text != &**unwanted,
        (Predicate::TextMatches(pattern), Found::Text(text)) => pattern.matches(text),
        (Predicate::TextNotMatches(pattern), Found::Text(text)) => !pattern.matches(text),
    }
}

fn find<'a>(selector: &Selector, agent: &'a AgentFacts) -> Found<'a> {
    let domain = agent.domain.as_ref();
    let text = |text: Option<&'a Arc<str>>| text.map_or(Found::Nothing, |it| Found::Text(it));
    match selector {
        Selector::Hostname => Found::Text(&agent.hostname),
        Selector::Region => text(domain.map(|domain| &domain.region)),
        Selector::Zone => text(domain.map(|domain| &domain.zone)),
        Selector::Attribute(name) => match agent.attributes.get(name) {
            None => Found::Nothing,
            Some(AttributeValue::Text(text)) => Found::Text(text),
            Some(AttributeValue::Scalar(_) | AttributeValue::Ranges(_)) => Found::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::link::FaultDomain;
    use model::resources::Attributes;

    fn agent() -> AgentFacts {
        AgentFacts {
            hostname: "web-12.example".into(),
            attributes: Attributes::parse("rack:r1;level:10;rack:r2").expect("well formed"),
            domain: Some(FaultDomain { region: "north".into(), zone: "n1".into() }),
            ..AgentFacts::default()
        }
    }

    fn attribute(name: &str) -> Selector {
        Selector::Attribute(name.into())
    }

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text, PATTERN_BYTES_DEFAULT).expect("a pattern")
    }

    fn decided(selector: Selector, predicate: Predicate<Pattern>) -> bool {
        is_met(&AttributeConstraint { selector, predicate }, &agent())
    }

    /// Exists, not exists, equals `x`, not equals `x`, matches `x`, not matches `x`.
    fn all(selector: &Selector, x: &str) -> [bool; 6] {
        [
            Predicate::Exists,
            Predicate::NotExists,
            Predicate::TextEquals(x.into()),
            Predicate::TextNotEquals(x.into()),
            Predicate::TextMatches(pattern(x)),
            Predicate::TextNotMatches(pattern(x)),
        ]
        .map(|predicate| decided(selector.clone(), predicate))
    }

    #[test]
    fn every_predicate_is_decided_for_text_for_other_things_and_for_nothing() {
        let (yes, no) = (true, false);
        assert_eq!(all(&attribute("rack"), "r1"), [yes, no, yes, no, yes, no], "the first counts");
        assert_eq!(all(&attribute("rack"), "r2"), [yes, no, no, yes, no, yes]);
        assert_eq!(all(&attribute("level"), "10"), [yes, no, yes, yes, yes, yes], "no text");
        assert_eq!(all(&attribute("none"), "r1"), [no, yes, no, yes, no, yes]);
        assert_eq!(all(&Selector::Hostname, "web-12.example"), [yes, no, yes, no, yes, no]);
        assert_eq!(all(&Selector::Region, "north"), [yes, no, yes, no, yes, no]);
        assert_eq!(all(&Selector::Zone, "n2"), [yes, no, no, yes, no, yes]);
        let nowhere = AgentFacts::default();
        let exists = |selector| AttributeConstraint { selector, predicate: Predicate::Exists };
        assert!(!is_met(&exists(Selector::Region), &nowhere));
        assert!(!is_met(&exists(Selector::Zone), &nowhere));
    }

    #[test]
    fn a_pattern_is_for_the_whole_text() {
        let matches =
            |text: &str| decided(Selector::Hostname, Predicate::TextMatches(pattern(text)));
        assert!(matches(r"web-\d+\.example"));
        assert!(matches(r"db-.*|web-.*"));
        assert!(matches(r"\w+-\d+\.\w+"));
        assert!(!matches("web-12"));
        assert!(!matches("web|example"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in ["(", "a)|(b", "(?=a)", r"(a)\1", r"\w{1000}", "((a{100}){100}){100}"] {
            let why = Pattern::new(bad, PATTERN_BYTES_DEFAULT).expect_err(bad);
            assert!(matches!(why, BadConstraints::Pattern { .. }), "{why}");
        }
        let long = "a".repeat(PATTERN_BYTES_MAX + 1);
        let why = Pattern::new(long, PATTERN_BYTES_DEFAULT).expect_err("too long").to_string();
        assert_eq!(why, "a pattern of 4097 bytes, at most 4096");
        let small = 8 << 10;
        assert!(Pattern::new("web-[0-9]+", small).is_ok());
        assert!(Pattern::new(r"\w+", small).is_err(), "all letters of all scripts are many");
        let one = AttributeConstraint { selector: Selector::Zone, predicate: Predicate::Exists };
        let new = OfferConstraints::new;
        assert_eq!(new(vec![]), Err(BadConstraints::NoGroups));
        assert_eq!(new(vec![vec![one.clone()], vec![]]), Err(BadConstraints::EmptyGroup));
        let many = vec![vec![one; CONSTRAINTS_MAX + 1]];
        assert_eq!(new(many), Err(BadConstraints::TooMany { count: 257 }));
    }

    #[test]
    fn any_group_will_do_but_all_of_it_must_hold() {
        let constraint =
            |name: &str, predicate| AttributeConstraint { selector: attribute(name), predicate };
        let rack = constraint("rack", Predicate::TextEquals("r1".into()));
        let other = constraint("gpu", Predicate::Exists);
        let met = |groups| OfferConstraints::new(groups).expect("well formed").are_met_by(&agent());
        assert!(met(vec![vec![rack.clone()]]));
        assert!(!met(vec![vec![rack.clone(), other.clone()]]));
        assert!(met(vec![vec![other.clone()], vec![rack]]));
        assert!(!met(vec![vec![other]]));
    }
}
