//! Frameworks' streams that end from the other side.

use crate::state::{Books, Turn};
use model::ids::ConnectionId;

/// A stream has ended: its framework is disconnected, or never was connected.
pub(crate) fn gone(books: &mut Books, connection: ConnectionId, turn: &mut Turn<'_>) {
    for waiting in books.subscribing.values_mut().flatten() {
        if waiting.connection == connection {
            waiting.is_gone = true;
        }
    }
    if let Some(framework) = books.streams.get(&connection).cloned() {
        books.disconnect_framework(&framework, turn);
    }
}
