//! An agent is back and brings what it runs.

use super::{DOWN, is_down, misplaced, outdated, turn_away, unregister};
use crate::io::CloseReason;
use crate::note::Note;
use crate::state::agents::{Agent, Executor, Link, Reach};
use crate::state::frameworks::Framework;
use crate::state::operations::Operation as Known;
use crate::state::tasks::Task;
use crate::state::{Admission, Books, Brings, Turn};
use model::framework::Framework as Description;
use model::ids::{AgentId, ConnectionId, ExecutorId, FrameworkId, OperationUuid, TaskId};
use model::link::{LiveExecutor, LiveTask, Reregister, ToAgent, ip_of};
use model::operation::Operation;
use model::registry::{AgentEntry, Record};
use model::rules::Standing;
use model::task::{Reason, RunsBy, Status, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Lets the agent in, at once if the registry knows it just so, else when it does.
pub(crate) fn apply(
    books: &mut Books,
    connection: ConnectionId,
    link: &Link,
    back: Box<Reregister>,
    turn: &mut Turn<'_>,
) {
    let id = back.agent.clone();
    match link {
        Link::Admitting(_) => return,
        Link::Agent(other) if *other != id => {
            super::gone::apply(books, connection, turn);
            turn.close_agent(connection, CloseReason::Confused);
            return;
        }
        Link::Unnamed | Link::Agent(_) => {}
    }
    if books.members.gone.contains_key(&id) {
        let why = "The agent was marked gone by an operator".to_owned();
        turn_away(books, connection, Some(id), why, turn);
        return;
    }
    if is_down(books, &back.description) {
        turn_away(books, connection, Some(id), DOWN.to_owned(), turn);
        return;
    }
    let known = books.agents.get(&id);
    if known.is_some_and(|known| known.is_leaving) {
        books.links.remove(&connection);
        turn.close_agent(connection, CloseReason::InTransition);
        return;
    }
    if let Some(known) = known
        && known.description.hostname != back.description.hostname
    {
        let before = &known.description.hostname;
        let why =
            format!("The agent's host name was {before} and is {}", back.description.hostname);
        turn_away(books, connection, Some(id), why, turn);
        return;
    }
    if let Some(known) = known
        && ip_of(&known.description.address) != ip_of(&back.description.address)
    {
        let before = ip_of(&known.description.address);
        let why =
            format!("The agent's IP was {before} and is {}", ip_of(&back.description.address));
        turn_away(books, connection, Some(id), why, turn);
        return;
    }
    if let Some(why) = outdated(&back.description).or_else(|| misplaced(books, &back.description)) {
        turn_away(books, connection, Some(id), why, turn);
        return;
    }
    unregister::replace(books, &back.description.address, &id, turn);
    let known = books.agents.get(&id);
    let is_written = known.is_some_and(|known| *known.description == back.description);
    if is_written && !books.admissions.contains_key(&id) {
        admit(books, connection, *back, Was::Here, turn);
        return;
    }
    let away = books.members.unreachable.get(&id).map(|away| away.entry.registered_at);
    let registered_at = known.map(|known| known.registered_at).or(away).unwrap_or(turn.now.wall);
    let description = back.description.clone();
    turn.propose(vec![Record::PutAgent(AgentEntry { id: id.clone(), description, registered_at })]);
    books.links.insert(connection, Link::Admitting(id.clone()));
    let admission = Admission { connection, brings: Brings::Back(back) };
    books.admissions.entry(id).or_default().push_back(admission);
}

/// Where an agent was before it came back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Was {
    /// Among the agents, connected or not, or not yet.
    Here,
    /// Out of contact, or not known at all.
    Away,
}

/// Lets an agent in that the registry knows.
pub(crate) fn admit(
    books: &mut Books,
    connection: ConnectionId,
    back: Reregister,
    was: Was,
    turn: &mut Turn<'_>,
) {
    let id = back.agent.clone();
    let before = books.agents.get(&id).map(|agent| agent.reach);
    if let Some(Reach::Connected(old)) = before
        && old != connection
    {
        books.links.remove(&old);
        turn.close_agent(old, CloseReason::Replaced);
    }
    books.rescind_offers_on(&id, turn);
    describe(books, &back, turn);
    let lost = take_over_operations(books, &back, turn);
    let completed = recover_frameworks(books, &back, turn);
    let outdated = newer_descriptions(books, &back);
    let is_over =
        |framework: &FrameworkId| completed.iter().any(|completed| completed == framework);
    let knew_tasks = matches!(before, Some(Reach::Connected(_) | Reach::Disconnected));
    let untold = books.removals.cancel(&id);
    let mut strays = Vec::new();
    let mut told = Vec::new();
    let users = users_of(&back.executors);
    for task in back.tasks.into_iter().filter(|task| !is_over(&task.framework)) {
        let name = (task.framework.clone(), task.spec.id.clone());
        let user = users.get(&(task.framework.clone(), task.executor.clone())).cloned();
        if take_over(books, &id, task, user, knew_tasks, turn) {
            told.push(name);
        } else {
            strays.push(name);
        }
    }
    expect_those_not_brought(books, &id, turn);
    replace_executors(books, &id, back.executors, &is_over, turn);
    books.connect_agent(&id, connection, turn);
    books.recount_agent(&id, turn);
    answer(books, &id, connection, Expected { completed, strays, operations: lost }, turn);
    for description in outdated {
        turn.tell_agent(connection, ToAgent::UpdateFramework(description));
    }
    if let Standing::Draining { drain, .. } = books.rules.standing(&id) {
        turn.tell_agent(connection, ToAgent::Drain(drain));
    }
    if was == Was::Away {
        for (framework, task) in &told {
            let knows = untold.as_ref().is_none_or(|untold| !untold.contains(framework));
            note_back(books, framework, task, knows, turn);
        }
    }
    if untold.is_some_and(|untold| !untold.is_empty()) {
        turn.note(Note::AgentBackInTime(id.clone()));
    }
    if knew_tasks {
        turn.note(Note::AgentReregistered(id));
    } else {
        let agent = &books.agents[&id];
        turn.note(Note::AgentAdded(Arc::new(books.agent_view(agent))));
    }
}

/// Takes over how the agent describes itself.
fn describe(books: &mut Books, back: &Reregister, turn: &Turn<'_>) {
    let id = &back.agent;
    let entry = books.members.agents.get(id).cloned();
    let entry = entry.expect("agents are let in when the registry knows them");
    if let Some(mut agent) = books.agents.remove(id) {
        books.agents_by_address.remove(&agent.description.address);
        agent.description = Arc::new(entry.description.clone());
        agent.reregistered_at = Some(turn.now.wall);
        books.insert_agent(agent);
    } else {
        let mut agent = Agent::new(&entry, Reach::Recovered);
        agent.reregistered_at = Some(turn.now.wall);
        books.insert_agent(agent);
    }
}

/// Puts frameworks in the books that only the agent knows; says which of those it names are over.
fn recover_frameworks(
    books: &mut Books,
    back: &Reregister,
    turn: &mut Turn<'_>,
) -> Vec<FrameworkId> {
    let mut completed = Vec::new();
    for framework in &back.frameworks {
        let Some(id) = &framework.id else { continue };
        let known = books.frameworks.get(id);
        if books.members.is_completed(id) {
            completed.push(id.clone());
        } else if known.is_none() {
            let recovered = Framework::new(id.clone(), framework.clone(), turn.now.wall);
            turn.note(Note::FrameworkAdded(Arc::new(recovered.view(recovered.condition()))));
            books.recover_framework(recovered, turn.now.wall, turn);
        }
    }
    let tasks = back.tasks.iter().map(|task| &task.framework);
    let named: BTreeSet<_> =
        tasks.chain(back.executors.iter().map(|executor| &executor.framework)).collect();
    for id in named {
        if !books.frameworks.contains_key(id) && !completed.contains(id) {
            // The agent does not say what framework it is, so nobody can ever come back as it.
            completed.push(id.clone());
        }
    }
    completed
}

/// What the agent has yet to hear of frameworks that have changed while it was not connected.
fn newer_descriptions(books: &Books, back: &Reregister) -> Vec<Description> {
    let known = |it: &Description| books.frameworks.get(it.id.as_ref()?);
    let newer = back.frameworks.iter().filter_map(|told| {
        let current = &known(told)?.description;
        (**current != *told).then(|| (**current).clone())
    });
    newer.collect()
}

/// Tasks that went out of contact with the agent and that it has not brought along are expected of it, so
/// that it says what became of them.
fn expect_those_not_brought(books: &mut Books, id: &AgentId, turn: &mut Turn<'_>) {
    for (framework, task) in books.take_unreachable_on(id) {
        if task.state.is_terminal() {
            books.complete_task(&framework, &task, turn);
        } else {
            books.insert_task(&framework, task, turn);
        }
    }
}

/// The users of those executors that name one.
fn users_of(executors: &[LiveExecutor]) -> BTreeMap<(FrameworkId, ExecutorId), Arc<str>> {
    let named = |live: &LiveExecutor| {
        let user = live.executor.user.clone()?;
        Some(((live.framework.clone(), live.executor.id.clone()), user))
    };
    executors.iter().filter_map(named).collect()
}

/// Takes over a task that the agent runs. False: it must not run, since the framework was told so.
fn take_over(
    books: &mut Books,
    agent: &AgentId,
    live: LiveTask,
    user: Option<Arc<str>>,
    knew_tasks: bool,
    turn: &mut Turn<'_>,
) -> bool {
    let LiveTask { framework, executor, spec, state, unacknowledged, statuses } = live;
    let reported = unacknowledged.map(|(uuid, state)| (state, uuid));
    let owner = books.frameworks.get_mut(&framework).expect("those not known count as over");
    if let Some(task) = owner.tasks.get_mut(&spec.id).filter(|task| task.agent == *agent) {
        if task.state.can_become(state) {
            task.state = state;
            books.unpublished.task(&framework, &spec.id);
        }
        task.reported = reported.or(task.reported);
        return true;
    }
    let unreachable = owner.unreachable.get(&spec.id).is_some_and(|task| task.agent == *agent);
    if unreachable && let Some(mut task) = owner.unreachable.remove(&spec.id) {
        // Whatever it is: one that was being fetched all the while is staging still.
        if !task.state.is_terminal()
            && !matches!(state, TaskState::Unreachable | TaskState::Unknown)
        {
            task.state = state;
        }
        task.reported = reported.or(task.reported);
        books.insert_task(&framework, task, turn);
        return true;
    }
    if knew_tasks {
        // Launches begin here, so this one ended here: with the link, or acknowledged.
        return state.is_terminal();
    }
    if owner.tasks.contains_key(&spec.id) {
        // The framework has started it again elsewhere.
        return false;
    }
    let role = spec.needs.role.clone().unwrap_or_else(|| owner.likely_role());
    let task = Task {
        key: books.task_key(),
        executor: match spec.runs_by {
            RunsBy::Command => None,
            RunsBy::Executor(_) | RunsBy::Group => Some(executor),
        },
        user: spec.user.clone().or(user),
        spec: Arc::new(spec),
        agent: agent.clone(),
        role,
        state,
        reported,
        statuses: statuses.into_iter().map(Status::without_data).collect(),
    };
    books.insert_task(&framework, task, turn);
    true
}

/// Has the books say of the agent's executors what the agent says.
fn replace_executors(
    books: &mut Books,
    id: &AgentId,
    executors: Vec<LiveExecutor>,
    is_over: &impl Fn(&FrameworkId) -> bool,
    turn: &mut Turn<'_>,
) {
    let commands = command_tasks(books, id);
    let reported: BTreeSet<_> =
        executors.iter().map(|live| (live.framework.clone(), live.executor.id.clone())).collect();
    let ended: Vec<_> =
        books.agents[id].executors.keys().filter(|key| !reported.contains(key)).cloned().collect();
    for (framework, executor) in ended {
        books.remove_executor(id, &framework, &executor, turn);
    }
    for live in executors.into_iter().filter(|live| !is_over(&live.framework)) {
        let name = (live.framework.clone(), live.executor.id.to_string());
        if commands.contains(&name) {
            continue;
        }
        let key = (live.framework.clone(), live.executor.id.clone());
        let known = books.agents[id].executors.get(&key);
        let role = known.map(|known| known.role.clone());
        let role = role.or_else(|| live.executor.role.clone());
        let role = role.unwrap_or_else(|| books.frameworks[&live.framework].likely_role());
        let executor = Executor {
            spec: known.map_or_else(|| Arc::new(live.executor), |known| known.spec.clone()),
            role,
            container: Some(live.container),
        };
        books.insert_executor(id, &live.framework, executor, turn);
    }
}

/// Names of executors on the agent that are no executors of a framework's.
fn command_tasks(books: &Books, id: &AgentId) -> BTreeSet<(FrameworkId, String)> {
    let tasks = books.agents[id].tasks.iter();
    let is_command = |(framework, task): &&(FrameworkId, TaskId)| {
        let owner = books.frameworks.get(framework);
        let task = owner.and_then(|owner| owner.tasks.get(task));
        task.is_some_and(|task| task.executor.is_none())
    };
    tasks
        .filter(is_command)
        .map(|(framework, task)| (framework.clone(), task.to_string()))
        .collect()
}

/// What the books and the agent do not agree on.
struct Expected {
    /// Frameworks that are over.
    completed: Vec<FrameworkId>,
    /// Tasks that must not run.
    strays: Vec<(FrameworkId, TaskId)>,
    /// Operations that never reached the agent.
    operations: Vec<Operation>,
}

/// Tells the agent what is expected of it.
fn answer(
    books: &mut Books,
    id: &AgentId,
    connection: ConnectionId,
    of: Expected,
    turn: &mut Turn<'_>,
) {
    let Expected { completed, strays, operations } = of;
    let is_live = |(framework, task): &(FrameworkId, TaskId)| {
        let owner = books.frameworks.get(framework);
        let task = owner.and_then(|owner| owner.tasks.get(task));
        task.is_some_and(|task| !task.state.is_terminal())
    };
    let agent = &books.agents[id];
    let expected = agent.tasks.iter().filter(|name| is_live(name)).cloned().collect();
    let kills: Vec<_> = agent
        .kills
        .iter()
        .filter(|(name, _)| is_live(name))
        .map(|(name, grace)| (name.clone(), *grace))
        .collect();
    let ping_timeout = books.config.ping_patience();
    let agent = id.clone();
    turn.tell_agent(
        connection,
        ToAgent::Reregistered { agent, ping_timeout, expected, completed, operations },
    );
    books.tell_masters(connection, turn);
    for ((framework, task), grace) in kills {
        turn.tell_agent(connection, ToAgent::Kill { framework, task, grace });
    }
    for (framework, task) in strays {
        let grace = Some(Duration::ZERO);
        turn.tell_agent(connection, ToAgent::Kill { framework, task, grace });
    }
}

/// Has the books say of what the agent has, and of the operations there, what the agent says. Returns
/// those of which somebody waits to hear and that the agent does not know.
fn take_over_operations(
    books: &mut Books,
    back: &Reregister,
    turn: &mut Turn<'_>,
) -> Vec<Operation> {
    let id = &back.agent;
    let agent = books.agents.get_mut(id).expect("it was just put there");
    agent.total = back.total.clone();
    let booked = agent.operations.clone();
    let brought: BTreeSet<OperationUuid> =
        back.operations.iter().map(|live| live.operation.uuid).collect();
    let mut lost = Vec::new();
    for uuid in booked.difference(&brought) {
        let known = &books.operations[uuid];
        // What has ended was acknowledged, or else the agent would still know it.
        if known.what.id.is_some() && !known.status.state.is_terminal() {
            lost.push((*known.what).clone());
        } else {
            books.take_operation(*uuid, turn);
        }
    }
    for live in &back.operations {
        let uuid = live.operation.uuid;
        if !books.operations.contains_key(&uuid) {
            let operation = Known {
                what: Arc::new(live.operation.clone()),
                agent: id.clone(),
                status: live.status.clone(),
                is_forsaken: false,
                request: None,
            };
            books.insert_operation(operation, turn);
        } else if books.operations[&uuid].status != live.status {
            books.set_operation_status(uuid, live.status.clone(), turn);
        }
    }
    lost
}

/// A task that was out of contact is there again. Its framework is told if it `knows` that it was away.
fn note_back(
    books: &mut Books,
    framework: &FrameworkId,
    id: &TaskId,
    knows: bool,
    turn: &mut Turn<'_>,
) {
    let owner = books.frameworks.get_mut(framework);
    let Some(task) = owner.and_then(|owner| owner.tasks.get_mut(id)) else { return };
    let mut status = task.report(task.state, turn);
    status.reason = Some(Reason::AgentReregistered);
    status.message = Some("The agent is back in contact".into());
    if let Some(last) = task.statuses.iter().rfind(|last| last.state != TaskState::Unreachable) {
        status.healthy = last.healthy;
        status.rest = last.rest.clone();
    }
    task.keep(status.clone());
    let latest = task.state;
    books.unpublished.task(framework, id);
    turn.note(Note::TaskUpdated { framework: framework.clone(), status: status.clone(), latest });
    if knows {
        books.tell_update(framework, status, turn);
    }
}
