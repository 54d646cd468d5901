//! The master knows this agent again, and says what it expects here.

use crate::agent::Agent;
use crate::master_messages::{registered, shutdown_framework};
use crate::operations;
use crate::output::{Change, Event, Output};
use crate::record::{Identity, Record};
use crate::state::End;
use crate::updates;
use model::ids::{AgentId, FrameworkId, TaskId};
use model::operation::Operation;
use model::step::Now;
use model::task::{Reason, TaskState};
use std::time::Duration;

pub(crate) struct Answer {
    pub(crate) agent: AgentId,
    pub(crate) ping_timeout: Duration,
    pub(crate) expected: Vec<(FrameworkId, TaskId)>,
    pub(crate) completed: Vec<FrameworkId>,
    pub(crate) operations: Vec<Operation>,
}

pub(crate) fn apply(agent: &mut Agent, answer: Answer, now: Now, out: &mut Vec<Output>) {
    if agent.id.as_ref() != Some(&answer.agent) {
        return;
    }
    let identity = Identity { agent: answer.agent.clone(), term: agent.term };
    out.push(Output::Append(Record::Identity(identity)));
    registered::connected(agent, answer.ping_timeout, now);
    out.push(Output::Note(Event::Reregistered { agent: answer.agent, term: agent.term }));
    out.push(Output::View(Change::Connected(true)));
    for framework in &answer.completed {
        shutdown_framework::apply(agent, framework, now, out);
    }
    updates::resume(agent, now, out);
    operations::resume(agent, now, out);
    operations::drop_unknown(agent, answer.operations, now, out);
    for (framework, task) in answer.expected {
        if answer.completed.contains(&framework) {
            continue;
        }
        let state = agent.frameworks.get(&framework);
        let is_known = state.is_some_and(|state| state.tasks.contains_key(&task))
            || updates::line(agent, &framework, &task).is_some();
        if is_known {
            continue;
        }
        let word = state.map_or(TaskState::Dropped, |state| state.word(TaskState::Dropped));
        let end = End::new(word, Reason::Reconciliation, "Task is unknown to the agent");
        out.push(Output::Note(Event::TaskDropped {
            framework: framework.clone(),
            task: task.clone(),
            reason: end.reason,
        }));
        let status = updates::own(agent, &task, &end, now);
        updates::report(agent, &framework, status, now, out);
    }
}
