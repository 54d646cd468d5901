//! How many instances of an app have each value of the fields that its constraints compare.

use crate::app::{Constraint, Operator};
use crate::instance::Place;
use crate::matcher::value_of;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Counts of instances, kept as they come and go: to place one nobody looks at ten thousand others.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Spread {
    /// All of them, also those whose agent has no such field.
    count: usize,
    by_field: BTreeMap<String, BTreeMap<Arc<str>, usize>>,
}

impl Spread {
    /// That of no instance.
    pub const NONE: Self = Self { count: 0, by_field: BTreeMap::new() };

    /// That of instances at these places, by the fields that `constraints` compare.
    pub fn of<'a>(constraints: &[Constraint], places: impl Iterator<Item = &'a Place>) -> Self {
        let mut spread = Self::NONE;
        for place in places {
            spread.add(constraints, place);
        }
        spread
    }

    /// Takes in an instance.
    pub fn add(&mut self, constraints: &[Constraint], place: &Place) {
        self.count += 1;
        for (field, value) in compared(constraints, place) {
            if !self.by_field.contains_key(field) {
                self.by_field.insert(field.to_owned(), BTreeMap::new());
            }
            let Some(by_value) = self.by_field.get_mut(field) else { continue };
            *by_value.entry(value.clone()).or_default() += 1;
        }
    }

    /// Takes out an instance that was taken in with the same constraints and place.
    pub fn remove(&mut self, constraints: &[Constraint], place: &Place) {
        self.count -= 1;
        for (field, value) in compared(constraints, place) {
            let Some(by_value) = self.by_field.get_mut(field) else { continue };
            let Some(count) = by_value.get_mut(value) else { continue };
            *count -= 1;
            if *count == 0 {
                by_value.remove(value);
            }
            if by_value.is_empty() {
                self.by_field.remove(field);
            }
        }
    }

    /// How many instances there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many have this value of `field`.
    pub fn with(&self, field: &str, value: &str) -> usize {
        self.by_field.get(field).and_then(|by_value| by_value.get(value)).copied().unwrap_or(0)
    }
}

/// Whether any of `constraints` compares instances with each other.
pub fn are_compared(constraints: &[Constraint]) -> bool {
    constraints.iter().any(|it| compares(it.operator))
}

fn compares(operator: Operator) -> bool {
    match operator {
        Operator::Unique | Operator::Cluster | Operator::GroupBy | Operator::MaxPer => true,
        Operator::Like | Operator::Unlike | Operator::Is => false,
    }
}

/// The fields that are compared, each once, with what `place` has of them.
fn compared<'a>(
    constraints: &'a [Constraint],
    place: &'a Place,
) -> impl Iterator<Item = (&'a str, &'a Arc<str>)> {
    let is_compared = |at: usize| {
        let Constraint { field, operator, .. } = &constraints[at];
        let is_first = |before: &Constraint| before.field != *field || !compares(before.operator);
        compares(*operator) && constraints[..at].iter().all(is_first)
    };
    (0..constraints.len()).filter(move |at| is_compared(*at)).filter_map(move |at| {
        let field = constraints[at].field.as_str();
        value_of(place, field).map(|value| (field, value))
    })
}
