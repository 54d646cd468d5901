//! The view that reads are answered from, without ever holding up the core.
//!
//! Readers have a copy that stays as it is. The copies share their tables, so making one costs what has changed
//! since the one before, however much there is and however long somebody reads an old one.

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
    /// What is changed, and copied when it is to be seen.
    view: View,
}

impl Publisher {
    pub(crate) fn new(view: View) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(view.clone())), view }
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader(self.current.clone())
    }

    /// Makes `changes` visible, all at once.
    pub(crate) fn publish(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        for change in changes {
            self.view.apply(change);
        }
        self.current.store(Arc::new(self.view.clone()));
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
    fn what_is_read_stays_as_it_is_while_changes_become_visible() {
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
