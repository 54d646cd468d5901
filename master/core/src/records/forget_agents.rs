//! Former agents are forgotten: what is asked of them from now on is unknown.

use crate::due::registry_gc;
use crate::note::Note;
use crate::state::{Books, Turn};
use crate::view::ViewChange;
use model::ids::AgentId;
use std::sync::Arc;

/// Shows them no longer, and looks for more of them.
pub(crate) fn apply(books: &mut Books, agents: &[AgentId], turn: &mut Turn<'_>) {
    if books.rules.forget(books.members.strangers(agents)) {
        turn.view(ViewChange::SetRules(Arc::new(books.rules.clone())));
    }
    let strangers: Vec<AgentId> = books.members.strangers(agents).cloned().collect();
    for agent in strangers {
        books.forget_ended_on(&agent);
        turn.view(ViewChange::RemoveAgent(agent));
    }
    turn.note(Note::AgentsForgotten { count: agents.len() });
    registry_gc::apply(books, turn);
}
