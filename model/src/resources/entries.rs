//! Values by key, which copies share until one of them changes.

use std::sync::Arc;

use super::{Key, Value};

/// Values by key, in order of the keys. A copy costs a pointer: amounts are copied about far more
/// often than they change, and are of few keys.
///
/// Invariant: without entries there is nothing to share, so that equal entries compare equal.
#[derive(Clone, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Entries(Option<Arc<Vec<(Key, Value)>>>);

impl Entries {
    fn all(&self) -> &[(Key, Value)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    fn find(&self, key: &Key) -> Result<usize, usize> {
        self.all().binary_search_by(|(have, _)| have.cmp(key))
    }

    fn all_mut(&mut self) -> &mut Vec<(Key, Value)> {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.all().iter().map(|(key, value)| (key, value))
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.find(key).ok().map(|at| &self.all()[at].1)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Value> {
        self.find(key).ok().map(|at| &mut self.all_mut()[at].1)
    }

    /// Puts a value in, instead of the one that is there.
    pub(super) fn insert(&mut self, key: Key, value: Value) {
        match self.find(&key) {
            Ok(at) => self.all_mut()[at].1 = value,
            Err(at) => self.all_mut().insert(at, (key, value)),
        }
    }

    /// Keeps those that `keep` says yes to.
    pub(super) fn filtered(&self, keep: impl Fn(&Key, &Value) -> bool) -> Self {
        // Mostly it is all of them, or none.
        if self.iter().all(|(key, value)| keep(key, value)) {
            return self.clone();
        }
        let kept = self.all().iter().filter(|(key, value)| keep(key, value));
        let kept: Vec<_> = kept.cloned().collect();
        Self((!kept.is_empty()).then(|| kept.into()))
    }

    pub(super) fn remove(&mut self, key: &Key) {
        let Ok(at) = self.find(key) else { return };
        if self.all().len() == 1 {
            self.0 = None;
        } else {
            self.all_mut().remove(at);
        }
    }
}
