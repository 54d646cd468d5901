//! Launching: the checks a task must pass, and what is booked when it does.

use super::accept::{Accepted, refuse_task};
use crate::authorize;
use crate::state::agents::Executor;
use crate::state::tasks::Task;
use crate::state::{Books, Turn};
use model::capability::AgentCapability;
use model::ids::{ExecutorId, TaskId};
use model::link::{Launch, ToAgent};
use model::resources::Resources;
use model::task::{ExecutorSpec, InvalidTask, Reason, RunsBy, TaskSpec, TaskState};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Launches tasks, each by itself: one that may not run does not hold up the others.
pub(crate) fn each(
    books: &mut Books,
    accepted: &mut Accepted,
    tasks: Vec<Result<TaskSpec, InvalidTask>>,
    turn: &mut Turn<'_>,
) {
    for task in tasks {
        let checked = match &task {
            Ok(spec) => check_single(books, accepted, spec),
            Err(invalid) => Err(why_invalid(books, accepted, invalid)),
        };
        let authorized = |task: &TaskSpec| {
            let may = authorize::task(books, &accepted.framework, task, None);
            may.map_err(|why| (Reason::TaskUnauthorized, why))
        };
        let checked = checked
            .map_err(|why| (Reason::TaskInvalid, why))
            .and_then(|()| task.as_ref().map_or(Ok(()), authorized));
        if let Err((reason, why)) = checked {
            let framework = &accepted.framework;
            refuse_task(books, framework, &task, TaskState::Error, reason, why, turn);
        } else if let Ok(spec) = task {
            let executor = match &spec.runs_by {
                RunsBy::Executor(executor) => Some(executor.clone()),
                RunsBy::Command | RunsBy::Group => None,
            };
            start(books, accepted, executor, vec![spec], false, turn);
        }
    }
}

/// Launches tasks on one executor, all or none.
pub(crate) fn group(
    books: &mut Books,
    accepted: &mut Accepted,
    executor: &Result<ExecutorSpec, String>,
    tasks: &[Result<TaskSpec, InvalidTask>],
    turn: &mut Turn<'_>,
) {
    if tasks.is_empty() {
        return;
    }
    let checked = check_group(books, accepted, executor, tasks);
    let checked = checked.map_err(|why| (Reason::TaskGroupInvalid, why)).and_then(|group| {
        let (executor, specs) = &group;
        let may = |task| authorize::task(books, &accepted.framework, task, Some(executor));
        let all = specs.iter().try_for_each(may);
        all.map(|()| group).map_err(|why| (Reason::TaskGroupUnauthorized, why))
    });
    match checked {
        Ok((executor, specs)) => start(books, accepted, Some(executor), specs, true, turn),
        Err((reason, why)) => {
            for task in tasks {
                let framework = &accepted.framework;
                let why = why.clone();
                refuse_task(books, framework, task, TaskState::Error, reason, why, turn);
            }
        }
    }
}

fn check_single(books: &Books, accepted: &Accepted, task: &TaskSpec) -> Result<(), String> {
    check_task(books, accepted, task)?;
    let mut total = task.resources.clone();
    match &task.runs_by {
        RunsBy::Command => {}
        RunsBy::Group => {
            return Err("Task must have either a command or an executor".to_owned());
        }
        RunsBy::Executor(executor) if executor.is_default => {
            return Err("The DEFAULT executor takes tasks by LAUNCH_GROUP only".to_owned());
        }
        RunsBy::Executor(executor) => {
            let starts = check_executor(books, accepted, executor)?;
            check_not_mixed("Task with its executor", &total.plus(&executor.resources))?;
            if starts {
                add_apart(&mut total, &executor.resources)?;
            }
        }
    }
    check_fits(&total, accepted)
}

/// Adds what is used beside `total`. A port that two are given would be free again as soon as one ends.
fn add_apart(total: &mut Resources, more: &Resources) -> Result<(), String> {
    if total.overlaps(more) {
        return Err(format!(
            "Ports or items of sets in {more} are given to another task or the executor too"
        ));
    }
    total.add(more);
    Ok(())
}

/// What is wrong with a task that cannot be. Whose place it takes and where it is to run is looked at
/// before its form, which is part of the protocol.
fn why_invalid(books: &Books, accepted: &Accepted, task: &InvalidTask) -> String {
    let id = TaskId::new(task.id.clone());
    let names = id.map_or(Ok(()), |id| check_names(books, accepted, &id, &task.agent));
    names.err().unwrap_or_else(|| task.why.clone())
}

fn check_names(books: &Books, accepted: &Accepted, id: &TaskId, agent: &str) -> Result<(), String> {
    let framework = &books.frameworks[&accepted.framework];
    if framework.tasks.contains_key(id) {
        return Err(format!("Task has duplicate ID: {id}"));
    }
    if framework.unreachable.contains_key(id) {
        return Err(format!("Task reuses the ID of an unreachable task: {id}"));
    }
    if agent != accepted.agent.as_str() {
        let offered = &accepted.agent;
        return Err(format!("Task is for agent {agent}, but the offers are of agent {offered}"));
    }
    Ok(())
}

/// What every task must be like, whatever runs it. The first failure is the one that is told.
fn check_task(books: &Books, accepted: &Accepted, task: &TaskSpec) -> Result<(), String> {
    check_names(books, accepted, &task.id, task.agent.as_str())?;
    if task.resources.is_empty() {
        return Err("Task uses no resources".to_owned());
    }
    accepted.check_role(task.needs.role.as_ref())?;
    check_not_mixed("Task", &task.resources)?;
    if task.needs.limits {
        let capability = AgentCapability::TaskResourceLimits;
        books.agents[&accepted.agent].check_can(capability, "keep a task within limits")?;
    }
    Ok(())
}

fn check_not_mixed(whose: &str, resources: &Resources) -> Result<(), String> {
    let of_kind = |is_revocable| {
        let chosen = resources.iter().filter(move |(key, _)| key.kind.is_revocable == is_revocable);
        chosen.map(|(key, _)| key.name.clone()).collect::<BTreeSet<_>>()
    };
    let (firm, revocable) = (of_kind(false), of_kind(true));
    match firm.intersection(&revocable).next() {
        Some(name) => Err(format!("{whose} mixes revocable and non-revocable {name}")),
        None => Ok(()),
    }
}

/// Whether the executor must be started; an error if it cannot be the one that runs already.
fn check_executor(
    books: &Books,
    accepted: &Accepted,
    executor: &ExecutorSpec,
) -> Result<bool, String> {
    accepted.check_role(executor.role.as_ref())?;
    check_not_mixed("Executor", &executor.resources)?;
    let key = (accepted.framework.clone(), executor.id.clone());
    let Some(running) = books.agents[&accepted.agent].executors.get(&key) else {
        return Ok(true);
    };
    // Agents bring them just as they were launched, so this holds under every leader.
    if *running.spec == *executor {
        Ok(false)
    } else {
        Err(format!("Executor {} runs already and is described differently", executor.id))
    }
}

/// Whether all tasks of an executor have cgroups of their own, or none has: in the former case nothing is
/// left to its own container.
fn check_cgroups(
    books: &Books,
    accepted: &Accepted,
    executor: &ExecutorSpec,
    tasks: &[TaskSpec],
) -> Result<(), String> {
    let agent = &books.agents[&accepted.agent];
    let framework = &books.frameworks[&accepted.framework];
    let here = agent.tasks.iter().filter(|(owner, _)| *owner == accepted.framework);
    let here = here.filter_map(|(_, id)| framework.tasks.get(id));
    let here = here.filter(|task| task.executor.as_ref() == Some(&executor.id));
    let mut all = tasks.iter().chain(here.map(|task| &*task.spec));
    let first = all.next().map(|task| task.needs.own_cgroup);
    if all.all(|task| Some(task.needs.own_cgroup) == first) {
        return Ok(());
    }
    Err(format!("'share_cgroups' must be the same for all tasks of executor {}", executor.id))
}

fn check_fits(total: &Resources, accepted: &Accepted) -> Result<(), String> {
    if accepted.left.check_holds(total).is_ok() {
        return Ok(());
    }
    Err(format!(
        "Resources {total} of task and executor together is more than available {}",
        accepted.left
    ))
}

fn check_group(
    books: &Books,
    accepted: &Accepted,
    executor: &Result<ExecutorSpec, String>,
    tasks: &[Result<TaskSpec, InvalidTask>],
) -> Result<(ExecutorSpec, Vec<TaskSpec>), String> {
    let mut ids: BTreeSet<&TaskId> = BTreeSet::new();
    let mut total = Resources::none();
    let mut specs = Vec::with_capacity(tasks.len());
    for task in tasks {
        let invalid = |why: &str, id: &str| format!("Task '{id}' is invalid: {why}");
        let spec =
            task.as_ref().map_err(|task| invalid(&why_invalid(books, accepted, task), &task.id))?;
        let bad = |why: String| invalid(&why, spec.id.as_str());
        if !ids.insert(&spec.id) {
            return Err(bad(format!("Task has duplicate ID: {}", spec.id)));
        }
        check_task(books, accepted, spec).map_err(bad)?;
        if let (RunsBy::Executor(own), Ok(shared)) = (&spec.runs_by, executor)
            && own != shared
        {
            return Err(bad("its executor is not that of its group".to_owned()));
        }
        add_apart(&mut total, &spec.resources).map_err(bad)?;
        specs.push(spec.clone());
    }
    let executor = executor.clone()?;
    let starts = check_executor(books, accepted, &executor)?;
    check_not_mixed("Task group with its executor", &total.plus(&executor.resources))?;
    if starts {
        add_apart(&mut total, &executor.resources)?;
    }
    check_fits(&total, accepted)?;
    check_cgroups(books, accepted, &executor, &specs)?;
    Ok((executor, specs))
}

/// Books tasks that passed, and hands them to their agent.
fn start(
    books: &mut Books,
    accepted: &mut Accepted,
    executor: Option<ExecutorSpec>,
    tasks: Vec<TaskSpec>,
    is_group: bool,
    turn: &mut Turn<'_>,
) {
    let Accepted { framework, role, agent, left, shared_used, .. } = accepted;
    let executor_id: Option<ExecutorId> = executor.as_ref().map(|executor| executor.id.clone());
    let mut starts_executor = true;
    let mut used = Resources::none();
    if let Some(spec) = &executor {
        let key = (framework.clone(), spec.id.clone());
        starts_executor = !books.agents[&*agent].executors.contains_key(&key);
        if starts_executor {
            used.add(&spec.resources);
            let executor =
                Executor { spec: Arc::new(spec.clone()), role: role.clone(), container: None };
            books.insert_executor(agent, framework, executor, turn);
        }
    }
    let runs_as = executor.as_ref().and_then(|executor| executor.user.clone());
    for spec in &tasks {
        used.add(&spec.resources);
        let task = Task {
            key: books.task_key(),
            spec: Arc::new(spec.clone()),
            executor: executor_id.clone(),
            user: spec.user.clone().or_else(|| runs_as.clone()),
            agent: agent.clone(),
            role: role.clone(),
            state: TaskState::Staging,
            reported: None,
            statuses: Vec::new(),
        };
        books.insert_task(framework, task, turn);
    }
    left.take(&used.exclusive()).expect("it was just found to fit");
    shared_used.add(&used.shared());
    books.use_given(framework, role, agent, &used);
    let launch = Launch {
        framework: (*books.frameworks[&*framework].description).clone(),
        executor,
        starts_executor,
        is_group,
        tasks,
        accepted_at: turn.now.wall,
    };
    books.send(agent, ToAgent::Launch(Box::new(launch)), turn);
}
