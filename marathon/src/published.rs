//! The view that reads are answered from, without ever holding up the core.
//!
//! There are two copies. Readers have one; changes are made to the other, then they are swapped. The
//! one that was swapped out is brought up to date the next time, so a change costs what it changes,
//! twice, and not the size of the view. Only if a reader still holds the old copy is it made anew.

use std::sync::Arc;

use arc_swap::ArcSwap;
use marathon_core::view::{Change, View};

/// Where readers find the latest view. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader(Arc<ArcSwap<View>>);

impl Reader {
    /// The latest view. It stays as it is for as long as it is held.
    pub(crate) fn load(&self) -> Arc<View> {
        self.0.load_full()
    }
}

/// The writer's end.
pub(crate) struct Publisher {
    current: Arc<ArcSwap<View>>,
    spare: Arc<View>,
    /// What the spare copy has not seen.
    missed: Vec<Change>,
}

impl Publisher {
    pub(crate) fn new(view: View) -> Self {
        let spare = Arc::new(view.clone());
        Self { current: Arc::new(ArcSwap::from_pointee(view)), spare, missed: Vec::new() }
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader(self.current.clone())
    }

    /// Makes `changes` visible, all at once.
    pub(crate) fn publish(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        if Arc::get_mut(&mut self.spare).is_none() {
            self.spare = Arc::new(View::clone(&self.current.load()));
            self.missed.clear();
        }
        let spare = Arc::get_mut(&mut self.spare).expect("nobody else has it");
        for change in self.missed.drain(..) {
            spare.apply(change);
        }
        for change in &changes {
            spare.apply(change.clone());
        }
        self.spare = self.current.swap(self.spare.clone());
        self.missed = changes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::FrameworkId;

    fn framework(id: &str) -> Change {
        Change::Framework(FrameworkId::new(id).expect("an id"))
    }

    fn seen(view: &View) -> (bool, Option<String>) {
        (view.is_leading, view.framework.as_ref().map(ToString::to_string))
    }

    #[test]
    fn both_copies_see_every_change_whether_somebody_reads_or_not() {
        let mut publisher = Publisher::new(View::new("*".into()));
        let reader = publisher.reader();
        publisher.publish(vec![Change::Clear { is_leading: true }]);
        let held = reader.load();
        assert_eq!(seen(&held), (true, None));
        publisher.publish(vec![framework("f1")]);
        publisher.publish(vec![framework("f2")]);
        assert_eq!(seen(&reader.load()), (true, Some("f2".into())));
        assert_eq!(seen(&held), (true, None), "what is held does not change");
        publisher.publish(vec![Change::Clear { is_leading: false }]);
        assert_eq!(seen(&reader.load()), (false, None));
    }
}
