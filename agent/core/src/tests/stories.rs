use super::*;
use crate::input::{Exit, Limitation};
use crate::output::{ExecutorEvent, Refusal};
use model::acl::Acls;
use model::search::Masters;
use model::task::Reason;
use std::sync::Arc;

#[test]
fn a_command_task_runs_from_launch_to_its_last_acknowledgement() {
    let mut story = Story::registered();
    let out = story.hear(command(task("t", 1_000)));
    assert_eq!(
        short(&out),
        [
            "append Framework(f)",
            "append Executor(f, t)",
            "append Task(f, t)",
            "launch t with cpus:1",
        ]
    );
    assert_eq!(*story.agent.used(), cpus(1_000));
    assert_eq!(story.hear(command(task("t", 1_000))), [], "a repeated order is no new launch");

    let container = story.container();
    assert_eq!(story.step(Input::Launched { container: container.clone() }), []);
    assert_eq!(
        short(&story.subscribed("t")),
        ["answer Ok(())", "lazily append Executor(f, t)", "event Subscribed", "event Launch"]
    );
    assert_eq!(
        short(&story.step(update("t", "t", TaskState::Running, 1))),
        [
            "answer Ok(())",
            "append Updates(f, t)",
            "update t Running, latest Running",
            "event Acknowledged"
        ]
    );
    assert_eq!(
        short(&story.step(update("t", "t", TaskState::Finished, 2))),
        ["answer Ok(())", "append Updates(f, t)", "event Acknowledged"],
        "one report is under way at a time"
    );
    assert_eq!(*story.agent.used(), cpus(0), "a task that is over holds nothing");

    let ack = |uuid| ToAgent::Acknowledge {
        framework: fid(),
        task: tid("t"),
        uuid: UpdateId([uuid; 16]),
    };
    assert_eq!(story.hear(ack(9)), [], "nobody asked for that");
    assert_eq!(
        short(&story.hear(ack(1))),
        ["lazily append Updates(f, t)", "update t Finished, latest Finished"]
    );
    assert_eq!(
        short(&story.hear(ack(2))),
        ["lazily forget Task(f, t)", "lazily forget Updates(f, t)"]
    );
    assert_eq!(
        short(&story.step(Input::Exited { container, exit: Exit::default() })),
        [
            "lazily forget Executor(f, t)",
            "CloseExecutor { connection: ConnectionId(7) }",
            "lazily forget Framework(f)"
        ]
    );
    assert!(story.agent.is_idle());
    story.write();
    assert_eq!(story.store.len(), 1, "only the identity is left: {:?}", story.store);
}

#[test]
fn reports_are_repeated_with_growing_waits_and_at_once_when_a_master_is_back() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    story.step(update("t", "t", TaskState::Running, 1));
    assert_eq!(told(&story.wait(9)), []);
    assert_eq!(told(&story.wait(1)).len(), 1);
    assert_eq!(told(&story.wait(19)), []);
    assert_eq!(told(&story.wait(1)).len(), 1);
    story.step(Input::LinkDown { link: LINK });
    assert_eq!(told(&story.wait(3_000)), [], "nobody listens");
    let link = ConnectionId(2);
    assert_eq!(short(&story.step(Input::LinkUp { link })), ["say Reregister"]);
    let out = story.step(Input::FromMaster {
        link,
        term: Term(2),
        message: ToAgent::Reregistered {
            agent: aid(),
            ping_timeout: Duration::from_secs(75),
            expected: vec![(fid(), tid("t")), (fid(), tid("never"))],
            completed: Vec::new(),
            operations: Vec::new(),
        },
    });
    assert_eq!(
        short(&out),
        [
            "append Identity",
            "update t Running, latest Running",
            "append Updates(f, never)",
            "update never Dropped REASON_RECONCILIATION, latest Dropped"
        ]
    );
    assert_eq!(story.wait(74).len(), 2, "both once more, and still linked");
    assert_eq!(short(&story.wait(1)), ["Reconnect"], "no ping came");
}

#[test]
fn reports_are_repeated_at_once_when_their_framework_is_back() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    story.step(update("t", "t", TaskState::Running, 1));
    story.step(update("t", "t", TaskState::Finished, 2));
    for wait in [10, 20, 40] {
        assert_eq!(told(&story.wait(wait)).len(), 1, "nobody hears of it");
    }
    let is_back = || ToAgent::UpdateFramework(framework());
    assert_eq!(short(&story.hear(is_back())), ["update t Running, latest Finished"]);
    assert_eq!(told(&story.wait(9)), []);
    assert_eq!(told(&story.wait(1)).len(), 1, "the waits begin anew");
}

#[test]
fn a_deposed_master_is_not_obeyed() {
    let mut story = Story::registered();
    let order = Input::FromMaster { link: LINK, term: Term(0), message: command(task("t", 1)) };
    assert_eq!(story.step(order), [Output::Reconnect]);
    assert!(story.agent.is_idle());
}

#[test]
fn what_does_not_fit_is_dropped() {
    let mut story = Story::registered();
    story.hear(command(task("big", 3_500)));
    assert_eq!(
        short(&story.hear(command(task("more", 501)))),
        ["append Updates(f, more)", "update more Dropped REASON_INVALID_OFFERS, latest Dropped"]
    );
    story.hear(command(task("fits", 500)));
    assert_eq!(*story.agent.used(), cpus(4_000));
}

#[test]
fn what_may_not_run_as_its_user_by_the_rules_of_the_agent_has_an_error() {
    let mut story = Story::registered();
    story.agent.config.acls = Arc::new(Acls::default().with_permissive(false));
    let www = TaskSpec { user: Some("www".into()), ..task("t", 100) };
    let out = story.hear(command(www));
    assert_eq!(
        short(&out),
        [
            "append Framework(f)",
            "append Updates(f, t)",
            "update t Error REASON_TASK_UNAUTHORIZED, latest Error"
        ]
    );
    let Some(Output::ToMaster(FromAgent::StatusUpdate { status, .. })) = out.last() else {
        panic!("a report is due: {out:?}");
    };
    let why = "Not authorized to run tasks as user 'www' without authentication";
    assert_eq!(status.message.as_deref(), Some(why));
    let group = vec![task("a", 100), task("b", 100)];
    assert_eq!(
        short(&story.hear(on_executor(executor("e", 100), group, true))),
        [
            "append Updates(f, a)",
            "update a Error REASON_TASK_GROUP_UNAUTHORIZED, latest Error",
            "append Updates(f, b)",
            "update b Error REASON_TASK_GROUP_UNAUTHORIZED, latest Error"
        ]
    );
    assert_eq!(*story.agent.used(), cpus(0));
    assert!(story.agent.containers.is_empty(), "its executor is not started either");
}

#[test]
fn an_executor_takes_tasks_one_by_one_and_in_groups() {
    let mut story = Story::registered();
    let out = story.hear(on_executor(executor("e", 100), vec![task("a", 1_000)], false));
    assert_eq!(short(&out).last().expect("a launch"), "launch e with cpus:1.1");
    // Another comes while the first waits.
    let group = vec![task("b", 100), task("c", 100)];
    let out = story.hear(on_executor(executor("e", 100), group, true));
    assert_eq!(
        short(&out),
        ["append Task(f, b)", "append Task(f, c)", "update container cpus:1.3"]
    );
    assert_eq!(
        short(&story.subscribed("e"))[2..],
        ["event Subscribed", "event Launch", "event LaunchGroup"]
    );
    assert_eq!(
        short(&story.step(update("a", "e", TaskState::Failed, 1)))[3..],
        ["update container cpus:0.3", "event Acknowledged"]
    );
    let container = story.container();
    let out =
        story.step(Input::Exited { container, exit: Exit { status: Some(256), limitation: None } });
    assert_eq!(
        short(&out),
        [
            "append Updates(f, b)",
            "update b Failed REASON_EXECUTOR_TERMINATED, latest Failed",
            "append Updates(f, c)",
            "update c Failed REASON_EXECUTOR_TERMINATED, latest Failed",
            "lazily forget Executor(f, e)",
            "CloseExecutor { connection: ConnectionId(7) }",
            "say ExecutorExited"
        ]
    );
    assert!(story.agent.used().is_empty());
}

#[test]
fn a_task_killed_before_its_executor_runs_takes_its_group_with_it() {
    let mut story = Story::registered();
    let group = vec![task("b", 100), task("c", 100)];
    story.hear(on_executor(executor("e", 100), group, true));
    let out = story.hear(ToAgent::Kill { framework: fid(), task: tid("c"), grace: None });
    assert_eq!(
        short(&out),
        [
            "append Updates(f, b)",
            "update b Killed REASON_TASK_KILLED_DURING_LAUNCH, latest Killed",
            "append Updates(f, c)",
            "update c Killed REASON_TASK_KILLED_DURING_LAUNCH, latest Killed",
            "destroy container"
        ]
    );
    // The launch may still fail or succeed; nothing more is said of the tasks.
    let container = story.container();
    let out = story.step(Input::LaunchFailed { container, why: "destroyed".into() });
    assert_eq!(told(&out), []);
    assert!(story.agent.used().is_empty());
}

#[test]
fn a_kill_goes_to_the_executor_also_if_it_was_out_of_contact() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    let kill = ToAgent::Kill { framework: fid(), task: tid("t"), grace: Some(Duration::ZERO) };
    let event = ExecutorEvent::Kill { task: tid("t"), grace: Some(Duration::ZERO) };
    assert_eq!(
        story.hear(kill.clone()),
        [Output::ToExecutor { connection: STREAM, event: event.clone() }]
    );
    story.step(update("t", "t", TaskState::Running, 1));
    story.step(Input::ExecutorGone { connection: STREAM });
    assert_eq!(story.hear(kill), []);
    let connection = ConnectionId(8);
    let out = story.step(Input::Subscribe(subscribe("t", connection)));
    assert_eq!(out.last(), Some(&Output::ToExecutor { connection, event }));
    let unknown = ToAgent::Kill { framework: fid(), task: tid("x"), grace: None };
    assert_eq!(
        short(&story.hear(unknown)),
        ["append Updates(f, x)", "update x Dropped REASON_EXECUTOR_TERMINATED, latest Dropped"]
    );
}

#[test]
fn an_executor_that_never_subscribes_is_ended() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    let container = story.container();
    assert_eq!(story.wait(600), [], "its files may take long to fetch");
    story.step(Input::Launched { container: container.clone() });
    assert_eq!(story.wait(59), []);
    assert_eq!(story.wait(1), [Output::DestroyContainer { container: container.clone() }]);
    let out =
        story.step(Input::Exited { container, exit: Exit { status: Some(9), limitation: None } });
    assert_eq!(
        short(&out)[1],
        "update t Failed REASON_EXECUTOR_REGISTRATION_TIMEOUT, latest Failed"
    );
}

#[test]
fn a_broken_limit_is_told_with_its_reason() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    story.step(update("t", "t", TaskState::Running, 1));
    story.hear(ToAgent::Acknowledge { framework: fid(), task: tid("t"), uuid: UpdateId([1; 16]) });
    let limitation = Limitation {
        reason: Reason::ContainerLimitationMemory,
        message: "Memory limit exceeded".into(),
        rest: Payload::default(),
    };
    let exit = Exit { status: Some(9), limitation: Some(limitation) };
    let out = story.step(Input::Exited { container: story.container(), exit });
    assert_eq!(short(&out)[1], "update t Failed REASON_CONTAINER_LIMITATION_MEMORY, latest Failed");
}

#[test]
fn calls_of_strangers_are_refused() {
    let mut story = Story::registered();
    let refused = |out: Vec<Output>| match &out[..] {
        [Output::AnswerExecutor { answer: Err(refusal), .. }] => *refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(story.subscribed("t")), Refusal::FrameworkUnknown);
    story.hear(command(task("t", 1_000)));
    assert_eq!(refused(story.subscribed("other")), Refusal::ExecutorUnknown);
    assert_eq!(
        refused(story.step(update("t", "t", TaskState::Running, 1))),
        Refusal::NotSubscribed
    );
    let mut new = Story::with_store(Vec::new(), 1);
    assert_eq!(refused(new.subscribed("t")), Refusal::Recovering);
}

#[test]
fn repeated_and_late_reports_are_acknowledged_and_not_passed_on() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    story.step(update("t", "t", TaskState::Finished, 1));
    for again in [update("t", "t", TaskState::Finished, 1), update("t", "t", TaskState::Failed, 2)]
    {
        assert_eq!(short(&story.step(again)), ["answer Ok(())", "event Acknowledged"]);
    }
}

#[test]
fn a_framework_that_is_over_leaves_nothing_behind() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    story.step(update("t", "t", TaskState::Running, 1));
    story.hear(command(task("new", 1_000)));
    assert_eq!(
        short(&story.hear(ToAgent::ShutdownFramework(fid()))),
        ["destroy container", "event Shutdown"],
        "who never subscribed cannot be asked"
    );
    assert_eq!(story.hear(command(task("late", 1))), []);
    assert_eq!(story.wait(4), []);
    assert_eq!(short(&story.wait(1)), ["destroy container"]);
    for container in story.agent.containers.keys().cloned().collect::<Vec<_>>() {
        let out = story.step(Input::Exited { container, exit: Exit::default() });
        assert_eq!(told(&out), []);
    }
    assert!(story.agent.is_idle());
    assert!(story.agent.used().is_empty());
    story.write();
    assert_eq!(story.store.len(), 1);
}

#[test]
fn an_agent_told_to_go_ends_all_and_forgets_who_it_was() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    assert_eq!(short(&story.step(Input::StopAsked)), ["event Shutdown"]);
    let container = story.container();
    let out = short(&story.step(Input::Exited { container, exit: Exit::default() }));
    assert_eq!(out[out.len() - 3..out.len() - 1], ["forget Identity", "say Unregister"]);
    assert!(out[out.len() - 1].starts_with("Exit"));
    assert_eq!(story.store, []);
}

#[test]
fn an_executor_that_is_back_reports_while_others_are_awaited() {
    let mut story = Story::registered();
    for (name, uuid) in [("t", 1), ("other", 2)] {
        story.hear(command(task(name, 500)));
        story.subscribed(name);
        story.step(update(name, name, TaskState::Running, uuid));
    }
    let alive: Vec<_> = story.agent.containers.keys().cloned().collect();
    let was = Recovered { alive, ..Recovered::default() };
    let mut story = Story::restarted(story.store, was, 2);
    assert_eq!(
        short(&story.step(update("t", "t", TaskState::Finished, 3))),
        ["answer Err(Recovering)"],
        "it is not back yet"
    );
    story.subscribed("t");
    let out = short(&story.step(update("t", "t", TaskState::Finished, 3)));
    assert!(out.contains(&"answer Ok(())".to_owned()), "{out:?}");
    assert!(out.contains(&"event Acknowledged".to_owned()), "{out:?}");
}

#[test]
fn an_agent_that_is_back_takes_its_executors_back() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    story.step(update("t", "t", TaskState::Running, 1));
    let container = story.container();
    let records = story.store;

    let alive = Recovered { alive: vec![container.clone()], ..Recovered::default() };
    let mut story = Story::restarted(records.clone(), alive.clone(), 2);
    let early = story.step(update("t", "t", TaskState::Finished, 2));
    assert_eq!(short(&early), ["answer Err(Recovering)"]);
    let mut call = subscribe("t", STREAM);
    call.unacknowledged_updates = vec![status("t", TaskState::Finished, 2)];
    let out = story.step(Input::Subscribe(call));
    assert_eq!(
        short(&out),
        [
            "answer Ok(())",
            "event Subscribed",
            "append Updates(f, t)",
            "event Acknowledged",
            "Connect"
        ]
    );

    // One that does not come back in time is gone.
    let mut story = Story::restarted(records, alive, 3);
    assert_eq!(short(&story.wait(2)), ["destroy container", "Connect"]);
    let out = story.step(Input::Exited { container, exit: Exit::default() });
    assert_eq!(short(&out)[0], "append Updates(f, t)");
    let latest = story.store.iter().find_map(|record| match record {
        Record::Updates(updates) => updates.statuses.last().cloned(),
        _ => None,
    });
    let latest = latest.expect("a report");
    assert_eq!(latest.state, TaskState::Gone);
    assert_eq!(latest.reason, Some(Reason::ExecutorReregistrationTimeout));
}

#[test]
fn tasks_that_an_executor_never_heard_of_are_dropped() {
    let mut story = Story::registered();
    story.hear(on_executor(executor("e", 100), vec![task("a", 100), task("b", 100)], false));
    story.subscribed("e");
    story.step(update("a", "e", TaskState::Running, 1));
    let mut call = subscribe("e", ConnectionId(8));
    call.unacknowledged_tasks = vec![tid("a")];
    let out = story.step(Input::Subscribe(call));
    assert_eq!(
        short(&out),
        [
            "answer Ok(())",
            "CloseExecutor { connection: ConnectionId(7) }",
            "event Subscribed",
            "append Updates(f, b)",
            "update b Dropped REASON_AGENT_RESTARTED, latest Dropped",
            "show volumes "
        ]
    );
}

#[test]
fn without_checkpointing_nothing_outlives_the_agent() {
    let mut story = Story::registered();
    let mut order = command(task("t", 1_000));
    if let ToAgent::Launch(launch) = &mut order {
        launch.framework.checkpoint = false;
    }
    story.hear(order);
    story.subscribed("t");
    story.step(update("t", "t", TaskState::Running, 1));
    let container = story.container();
    let alive = Recovered { alive: vec![container.clone()], ..Recovered::default() };
    let mut story = Story::restarted(story.store, alive, 2);
    assert_eq!(story.agent.live_tasks().count(), 1, "until its processes are gone");
    let out = story.step(Input::Exited { container, exit: Exit::default() });
    assert_eq!(told(&out), []);
    assert!(story.agent.is_idle());
    story.write();
    assert_eq!(story.store.len(), 1, "the master has told the framework long ago");
}

#[test]
fn after_a_boot_tasks_are_gone() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    story.step(update("t", "t", TaskState::Running, 1));
    let was = Recovered { alive: vec![story.container()], rebooted: true, ..Recovered::default() };
    let mut story = Story::restarted(story.store, was, 2);
    story.step(Input::LinkUp { link: LINK });
    let out = story.hear(ToAgent::Reregistered {
        agent: aid(),
        ping_timeout: Duration::from_secs(75),
        expected: vec![(fid(), tid("t"))],
        completed: Vec::new(),
        operations: Vec::new(),
    });
    assert_eq!(told(&out), [("t".to_owned(), TaskState::Running)]);
    let ack = |uuid| ToAgent::Acknowledge { framework: fid(), task: tid("t"), uuid };
    let out = story.hear(ack(UpdateId([1; 16])));
    assert_eq!(
        short(&out)[1],
        "update t Gone REASON_AGENT_RESTARTED, latest Gone",
        "after what was said before"
    );
}

#[test]
fn where_the_masters_are_outlives_the_agent() {
    let mut story = Story::registered();
    let addresses: Vec<Arc<str>> = vec!["m4:5050".into(), "m5:5050".into()];
    let masters = Masters { addresses: addresses.clone(), spread: Duration::from_secs(3) };
    let out = story.hear(ToAgent::Masters(masters.clone()));
    assert_eq!(
        out,
        [Output::Append(Record::Masters(addresses.clone())), Output::Learn(masters.clone())]
    );
    let later = Masters { spread: Duration::from_secs(6), ..masters };
    let out = story.hear(ToAgent::Masters(later.clone()));
    assert_eq!(out, [Output::Learn(later)], "that is on disk already");
    let mut again = Agent::new(config(), 2);
    let mut out = Vec::new();
    let records = story.store;
    let recovered = Recovered { records, ..Recovered::default() };
    again.step(Input::Recovered(recovered), Now { time: Time::ZERO, wall: Timestamp(0) }, &mut out);
    let place = |wanted: &Output| out.iter().position(|it| it == wanted);
    let remembers = place(&Output::Remember(addresses)).expect("it remembers");
    assert!(remembers < place(&Output::Connect).expect("it connects"), "before it looks for one");
}
