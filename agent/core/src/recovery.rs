//! Coming back: the tables from the records, and what has become of the executors meanwhile.

use crate::agent::{Agent, Phase};
use crate::executors;
use crate::input::{Exit, Recovered};
use crate::operations;
use crate::output::{Change, Event, Output, Stage};
use crate::record::{DoomedVolumes, ExecutorRecord, Key, Record, TaskRecord, UpdatesRecord};
use crate::state::{End, Executor, ExecutorState, FrameworkState, Task, id_of};
use crate::updates::{self, Line};
use model::ids::{ContainerId, ExecutorId, FrameworkId, TaskId};
use model::resources::{Resources, Shortage};
use model::step::Now;
use model::task::{Reason, TaskState};
use std::collections::{BTreeMap, BTreeSet};

/// Takes up what was before. Executors that still run have a short while to subscribe again.
pub(crate) fn start(agent: &mut Agent, recovered: Recovered, now: Now, out: &mut Vec<Output>) {
    rebuild(agent, recovered.records, out);
    let alive: BTreeSet<ContainerId> =
        if recovered.rebooted { BTreeSet::new() } else { recovered.alive.into_iter().collect() };
    let exits: BTreeMap<ContainerId, Exit> = recovered.exited.into_iter().collect();

    let all: Vec<(ContainerId, FrameworkId, ExecutorId)> = agent
        .containers
        .iter()
        .map(|(container, (framework, executor))| {
            (container.clone(), framework.clone(), executor.clone())
        })
        .collect();
    let mut awaited = 0;
    for (container, framework, executor) in all {
        let Some(state) = agent.frameworks.get_mut(&framework) else { continue };
        // Without checkpointing nothing was promised beyond the agent's life, and the master has
        // told the framework so when the agent went away.
        let is_kept = state.framework.checkpoint;
        state.is_ending |= !is_kept;
        if alive.contains(&container) {
            if !is_kept {
                executors::destroy(agent, &framework, &executor, None, out);
            } else if let Some(it) = state.executors.get_mut(&executor) {
                if it.has_subscribed {
                    awaited += 1;
                } else {
                    it.state = ExecutorState::Registering { by: None };
                    crate::runtime_events::launched::apply(agent, &container, now);
                }
            }
            continue;
        }
        if recovered.rebooted
            && let Some(it) = state.executors.get_mut(&executor)
        {
            let why = "The machine was booted anew";
            it.end = Some(End::new(TaskState::Gone, Reason::AgentRestarted, why));
        }
        let exit = exits.get(&container).cloned().unwrap_or_default();
        executors::over(agent, &framework, &executor, &exit, now, out);
    }
    drop_orphans(agent, now, out);
    destroy_unused(agent, out);
    let until = now.time + agent.config.executor_reregistration_timeout;
    agent.phase = Phase::Recovering { until };
    if awaited == 0 {
        finish(agent, now, out);
    }
}

/// Executors that have never subscribed and whose tasks are over were about to be destroyed.
fn destroy_unused(agent: &mut Agent, out: &mut Vec<Output>) {
    let mut unused: Vec<(FrameworkId, ExecutorId)> = Vec::new();
    for (framework, state) in &agent.frameworks {
        for (id, executor) in &state.executors {
            if !executor.has_subscribed && state.live_tasks_of(id).next().is_none() {
                unused.push((framework.clone(), id.clone()));
            }
        }
    }
    for (framework, executor) in unused {
        executors::destroy(agent, &framework, &executor, None, out);
    }
}

/// Ends recovery early once nobody is awaited any more.
pub(crate) fn finish_if_all_back(agent: &mut Agent, now: Now, out: &mut Vec<Output>) {
    if matches!(agent.phase, Phase::Recovering { .. }) && absent(agent).next().is_none() {
        finish(agent, now, out);
    }
}

/// Executors that ran before and have not come back.
fn absent(agent: &Agent) -> impl Iterator<Item = (FrameworkId, ExecutorId)> {
    agent.frameworks.iter().flat_map(|(framework, state)| {
        let absent = state.executors.iter().filter(|(_, executor)| {
            executor.state == ExecutorState::Running && executor.connection.is_none()
        });
        absent.map(move |(executor, _)| (framework.clone(), executor.clone()))
    })
}

/// Whoever is not back is not waited for any longer; the agent goes to work.
pub(crate) fn finish(agent: &mut Agent, now: Now, out: &mut Vec<Output>) {
    agent.phase = Phase::Serving;
    for (framework, executor) in absent(agent).collect::<Vec<_>>() {
        out.push(Output::Note(Event::ExecutorTimedOut {
            framework: framework.clone(),
            executor: executor.clone(),
        }));
        let end = End::new(
            TaskState::Gone,
            Reason::ExecutorReregistrationTimeout,
            "Executor did not reregister within executor_reregistration_timeout",
        );
        executors::destroy(agent, &framework, &executor, Some(end), out);
    }
    let _ = now;
    let tasks = agent.frameworks.values().map(|state| state.tasks.len()).sum();
    out.push(Output::Note(Event::RecoveryFinished { executors: agent.containers.len(), tasks }));
    out.push(Output::View(Change::Ready));
    out.push(Output::Connect);
}

fn rebuild(agent: &mut Agent, records: Vec<Record>, out: &mut Vec<Output>) {
    let mut last: BTreeMap<Key, Record> = BTreeMap::new();
    for record in records {
        if record.is_forget() {
            last.remove(&record.key());
        } else {
            last.insert(record.key(), record);
        }
    }
    let mut doomed = Vec::new();
    // Keys are ordered so that whatever refers to something comes after it.
    for record in last.into_values() {
        match record {
            Record::Identity(identity) => {
                agent.term = identity.term;
                out.push(Output::View(Change::Identity { agent: identity.agent.clone() }));
                agent.id = Some(identity.agent);
            }
            Record::Framework(framework) => {
                out.push(Output::View(Change::Framework(framework.clone())));
                agent.frameworks.insert(id_of(&framework), FrameworkState::new(framework));
            }
            Record::Executor(record) => put_executor(agent, record, out),
            Record::Task(record) => put_task(agent, record, out),
            Record::Updates(record) => put_updates(agent, record, out),
            Record::Masters(masters) => {
                out.push(Output::Remember(masters.clone()));
                agent.masters = masters;
            }
            Record::Drain(drain) => agent.drain = Some(drain),
            Record::Made(made) => put_made(agent, &made, out),
            Record::Operation(live) => operations::put_back(agent, live, out),
            Record::Doomed(DoomedVolumes { operation, volumes }) => {
                doomed.push(Output::RemoveVolumes { operation, volumes });
            }
            // Checked before the start.
            Record::Described(_) | Record::Forget(_) => {}
        }
    }
    // What was to go goes before anything new comes to be in its place.
    out.append(&mut doomed);
    let volumes = agent.total.filtered(|key, _| key.kind.is_persistent_volume());
    if !volumes.is_empty() {
        out.push(Output::MakeVolumes(volumes));
    }
    for state in agent.frameworks.values() {
        for executor in state.executors.values() {
            agent.used.add(&executor.spec.resources);
        }
        for task in state.tasks.values().filter(|task| !task.state.is_terminal()) {
            agent.used.add(&task.spec.resources);
        }
    }
}

/// Checks whether an agent with these flags can have what its records say that operations have made.
pub fn check_made(flags: &Resources, records: &[Record]) -> Result<(), Shortage> {
    let made = records.iter().rev().find_map(Record::made);
    made.map_or(Ok(()), |made| flags.with_made(made).map(|_| ()))
}

fn put_made(agent: &mut Agent, made: &Resources, out: &mut Vec<Output>) {
    match agent.config.description.resources.with_made(made) {
        Ok(total) => {
            out.push(Output::View(Change::Total(total.clone())));
            agent.total = total;
        }
        // Whoever starts an agent has checked that; nothing good can come of going on.
        Err(shortage) => out.push(Output::Exit { why: shortage.to_string() }),
    }
}

fn put_executor(agent: &mut Agent, record: ExecutorRecord, out: &mut Vec<Output>) {
    let Some(state) = agent.frameworks.get_mut(&record.framework) else { return };
    out.push(Output::View(Change::Executor {
        framework: record.framework.clone(),
        executor: record.spec.clone(),
        container: record.container.clone(),
        is_command: record.is_command,
    }));
    let executor = record.spec.id.clone();
    if record.has_subscribed {
        out.push(Output::stage(&record.framework, &executor, Stage::Running));
    }
    agent.containers.insert(record.container.clone(), (record.framework, executor.clone()));
    let (has_subscribed, first) = (record.has_subscribed, ExecutorState::Registering { by: None });
    state.executors.insert(
        executor,
        Executor {
            spec: record.spec,
            container: record.container,
            is_command: record.is_command,
            state: if has_subscribed { ExecutorState::Running } else { first },
            connection: None,
            has_subscribed,
            groups_next: 0,
            end: None,
        },
    );
}

fn put_task(agent: &mut Agent, record: TaskRecord, out: &mut Vec<Output>) {
    let Some(state) = agent.frameworks.get_mut(&record.framework) else { return };
    out.push(Output::View(Change::Task {
        framework: record.framework.clone(),
        executor: record.executor.clone(),
        spec: Box::new(record.spec.clone()),
        accepted_at: record.accepted_at,
    }));
    let mut is_delivered = true;
    if let Some(executor) = state.executors.get_mut(&record.executor) {
        is_delivered = executor.has_subscribed;
        if let Some(group) = record.group {
            executor.groups_next = executor.groups_next.max(group + 1);
        }
    }
    if is_delivered {
        out.push(Output::View(Change::TaskDelivered {
            framework: record.framework,
            task: record.spec.id.clone(),
        }));
    }
    state.tasks.insert(
        record.spec.id.clone(),
        Task {
            spec: record.spec,
            executor: record.executor,
            group: record.group,
            state: TaskState::Staging,
            is_delivered,
            kill: None,
            accepted_at: record.accepted_at,
        },
    );
}

fn put_updates(agent: &mut Agent, record: UpdatesRecord, out: &mut Vec<Output>) {
    if let Some(state) = agent.frameworks.get_mut(&record.framework)
        && let Some(task) = state.tasks.get_mut(&record.task)
    {
        task.state = record.latest;
        for status in &record.statuses {
            let framework = record.framework.clone();
            out.push(Output::View(Change::TaskStatus { framework, status: status.clone() }));
        }
    } else if record.pending.is_empty() {
        // Its task was forgotten and it was about to be.
        let key = Key::Updates(record.framework.clone(), record.task.clone());
        out.push(Output::Append(Record::Forget(key)));
        return;
    }
    let lines = agent.lines.entry(record.framework.clone()).or_default();
    lines.insert(record.task.clone(), Line::new(record));
}

/// Tasks and frameworks that a crash has left in the middle of coming or going.
fn drop_orphans(agent: &mut Agent, now: Now, out: &mut Vec<Output>) {
    let mut orphans: Vec<(FrameworkId, TaskId)> = Vec::new();
    for (framework, state) in &agent.frameworks {
        for (id, task) in &state.tasks {
            let told = task.state.is_terminal();
            let is_over = told
                && updates::line(agent, framework, id)
                    .is_none_or(|line| line.record.pending.is_empty());
            if is_over || !told && !state.executors.contains_key(&task.executor) {
                orphans.push((framework.clone(), id.clone()));
            }
        }
    }
    for (framework, task) in orphans {
        let Some(state) = agent.frameworks.get(&framework) else { continue };
        let is_told = state.tasks.get(&task).is_some_and(|task| task.state.is_terminal());
        if is_told || state.is_ending {
            updates::forget(agent, &framework, &task, out);
            continue;
        }
        let why = "The agent was restarted before the task was started";
        let end = End::new(state.word(TaskState::Dropped), Reason::AgentRestarted, why);
        let status = updates::own(agent, &task, &end, now);
        updates::report(agent, &framework, status, now, out);
    }
    for framework in agent.frameworks.keys().cloned().collect::<Vec<_>>() {
        let is_ending = agent.frameworks.get(&framework).is_some_and(|state| state.is_ending);
        if is_ending {
            executors::forget_ended_framework(agent, &framework, out);
        } else {
            updates::forget_if_idle(agent, &framework, out);
        }
    }
}
