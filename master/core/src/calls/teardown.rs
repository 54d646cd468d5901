//! TEARDOWN: a framework ends, and all it runs. Done when the masters have agreed on it.

use crate::io::Done;
use crate::state::{Books, Turn};
use model::ids::{FrameworkId, RequestId};

/// Has a framework ended. Whoever asks is answered by `done` when it is over.
pub(crate) fn apply(
    books: &mut Books,
    request: RequestId,
    framework: &FrameworkId,
    done: Done,
    turn: &mut Turn<'_>,
) {
    let known = books.frameworks.get_mut(framework).expect("the caller has looked it up");
    known.teardowns.push((request, done));
    books.propose_end(framework, turn);
}
