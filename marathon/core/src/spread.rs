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
    values: Tally,
}

/// How many have each value of some fields.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally(BTreeMap<String, BTreeMap<Arc<str>, usize>>);

impl Tally {
    /// That of nobody.
    pub const NONE: Self = Self(BTreeMap::new());

    /// One more has this value of `field`.
    pub fn add(&mut self, field: &str, value: &Arc<str>) {
        if !self.0.contains_key(field) {
            self.0.insert(field.to_owned(), BTreeMap::new());
        }
        let Some(values) = self.0.get_mut(field) else { return };
        *values.entry(value.clone()).or_default() += 1;
    }

    /// One less has this value of `field`.
    pub fn remove(&mut self, field: &str, value: &str) {
        let Some(values) = self.0.get_mut(field) else { return };
        let Some(count) = values.get_mut(value) else { return };
        *count -= 1;
        if *count == 0 {
            values.remove(value);
        }
        if values.is_empty() {
            self.0.remove(field);
        }
    }

    /// How many have this value of `field`.
    pub fn with(&self, field: &str, value: &str) -> usize {
        self.0.get(field).and_then(|values| values.get(value)).copied().unwrap_or(0)
    }

    /// The values of `field` that somebody has.
    pub fn values(&self, field: &str) -> impl Iterator<Item = &Arc<str>> {
        self.0.get(field).into_iter().flat_map(BTreeMap::keys)
    }
}

impl Spread {
    /// That of no instance.
    pub const NONE: Self = Self { count: 0, values: Tally::NONE };

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
            self.values.add(field, value);
        }
    }

    /// Takes out an instance that was taken in with the same constraints and place.
    pub fn remove(&mut self, constraints: &[Constraint], place: &Place) {
        self.count -= 1;
        for (field, value) in compared(constraints, place) {
            self.values.remove(field, value);
        }
    }

    /// How many instances there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many have this value of `field`.
    pub fn with(&self, field: &str, value: &str) -> usize {
        self.values.with(field, value)
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
