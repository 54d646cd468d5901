//! MESSAGE: bytes of an executor for its scheduler.

use crate::agent::{Agent, Link};
use crate::output::{Event, Output};
use model::call::Message;
use model::ids::{ExecutorId, FrameworkId, RequestId};
use model::link::FromAgent;
use model::payload::Payload;

pub(crate) fn apply(
    agent: &mut Agent,
    request: RequestId,
    framework: FrameworkId,
    executor: ExecutorId,
    data: Payload,
    out: &mut Vec<Output>,
) {
    let answer = super::check(agent, &framework, &executor);
    out.push(Output::AnswerExecutor { request, answer });
    if answer.is_err() {
        return;
    }
    match (&agent.link, &agent.id) {
        (Link::Registered { .. }, Some(id)) => {
            let message = Message { agent: id.clone(), executor: executor.clone(), data };
            let message = FromAgent::Message { framework: framework.clone(), message };
            out.push(Output::ToMaster(message));
            out.push(Output::Note(Event::MessageRelayed { framework, executor }));
        }
        (Link::Registered { .. } | Link::Down | Link::Asking { .. }, _) => {
            out.push(Output::Note(Event::MessageDropped { framework, executor }));
        }
    }
}
