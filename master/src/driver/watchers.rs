//! Those who watch what happens. None of them holds up the core: who falls too far behind is let go,
//! and knows it.

use std::sync::Arc;

use master_core::Note;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::connections::{Queue, queue};
use crate::leadership::Standing;

/// All who watch.
pub(super) struct Watchers {
    all: Vec<Watcher>,
    /// Notes that may wait for one of them.
    waiting_max: usize,
    standing: Standing,
}

struct Watcher {
    notes: mpsc::Sender<Arc<Note>>,
    overrun: CancellationToken,
}

/// What one of them hears.
pub(crate) struct Notes {
    notes: Queue<Arc<Note>>,
    overrun: CancellationToken,
}

/// It has fallen behind, and there is a gap after what it has heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FellBehind;

impl Watchers {
    pub(super) fn new(waiting_max: usize, standing: Standing) -> Self {
        Self { all: Vec::new(), waiting_max, standing }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One more, if `hand_over` finds somebody who takes what is heard.
    pub(super) fn admit(&mut self, hand_over: impl FnOnce(Notes) -> bool) {
        let (to_watcher, notes) = queue(self.waiting_max, &self.standing);
        let overrun = CancellationToken::new();
        if hand_over(Notes { notes, overrun: overrun.clone() }) {
            self.all.push(Watcher { notes: to_watcher, overrun });
        }
    }

    /// Tells all of them.
    pub(super) fn tell(&mut self, note: Note) {
        let note = Arc::new(note);
        self.all.retain(|watcher| match watcher.notes.try_send(note.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                watcher.overrun.cancel();
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }

    /// Nothing more is told to anybody.
    pub(super) fn end(&mut self) {
        self.all.clear();
    }
}

impl Notes {
    /// The next note; `None` at the end.
    ///
    /// # Errors
    ///
    /// When there were too many to wait for this reader, after the last that could.
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<Note>>, FellBehind> {
        match self.notes.next().await {
            None if self.overrun.is_cancelled() => Err(FellBehind),
            note => Ok(note),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leadership::tests::leading;

    fn watched(watchers: &mut Watchers) -> Notes {
        let mut notes = None;
        watchers.admit(|of| {
            notes = Some(of);
            true
        });
        notes.expect("admitted")
    }

    fn note() -> Note {
        Note::ReignEnded
    }

    #[tokio::test]
    async fn who_falls_behind_knows_it_and_others_hear_all() {
        let (standing, _answer) = leading();
        let mut watchers = Watchers::new(2, standing);
        let (mut slow, mut quick) = (watched(&mut watchers), watched(&mut watchers));
        for _ in 0..3 {
            watchers.tell(note());
            assert_eq!(quick.next().await, Ok(Some(Arc::new(note()))));
        }
        assert!(slow.next().await.is_ok_and(|it| it.is_some()), "what could wait is heard");
        assert!(slow.next().await.is_ok_and(|it| it.is_some()));
        assert_eq!(slow.next().await, Err(FellBehind));
        drop(slow);
        watchers.tell(note());
        assert!(quick.next().await.is_ok_and(|it| it.is_some()));
        watchers.end();
        assert_eq!(quick.next().await, Ok(None), "an end is no gap");
        assert!(watchers.is_empty());
    }
}
