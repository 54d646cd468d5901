use model::framework::Framework;
use model::ids::{OperationId, OperationUuid};
use model::link::{LiveOperation, Register};
use model::operation::{Conversion, Operation, OperationState, OperationStatus};
use model::role::Role;
use model::search::Masters;
use model::task::{RunsBy, Source, Status, TaskSpec};

use super::*;
use crate::json;
use crate::mesos::v1::{FrameworkInfo, TaskInfo};

fn framework_id() -> FrameworkId {
    FrameworkId::new("f").expect("an id")
}

fn framework() -> Framework {
    let info = FrameworkInfo {
        user: "u".into(),
        name: "n".into(),
        id: Some((&framework_id()).into()),
        ..FrameworkInfo::default()
    };
    framework::from_wire(info).expect("well formed")
}

fn task(runs_by: &str, launched: Launched) -> TaskSpec {
    let text = format!(
        r#"{{"name":"t","task_id":{{"value":"t"}},"agent_id":{{"value":"a"}},{runs_by},
            "resources":[{{"name":"cpus","type":"SCALAR","scalar":{{"value":1}}}}]}}"#
    );
    let info: TaskInfo = json::from_slice(text.as_bytes()).expect("a whole task");
    task::from_wire(info, &framework_id(), launched).expect("well formed")
}

fn command_task() -> TaskSpec {
    task(r#""command":{"value":"true"}"#, Launched::Alone)
}

fn custom_task() -> (TaskSpec, ExecutorSpec) {
    let text = r#""executor":{"executor_id":{"value":"e"},"command":{"value":"./e"}}"#;
    let spec = task(text, Launched::Alone);
    let RunsBy::Executor(executor) = spec.runs_by.clone() else { panic!("{spec:?}") };
    (spec, executor)
}

fn status() -> Status {
    let id = TaskId::new("t").expect("an id");
    Status {
        uuid: Some(UpdateId([0x40; 16])),
        message: Some("well".into()),
        ..Status::new(id, TaskState::Running, Source::Executor, Timestamp(1_700_000_000_000_001))
    }
}

fn description() -> AgentDescription {
    let text = r#"{"hostname":"h","port":5051,
        "resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":4}}]}"#;
    let info = json::from_slice(text.as_bytes()).expect("a whole agent");
    describe(&info, "10.0.0.1:5051", "0.1.0").expect("well formed")
}

#[test]
fn an_agent_can_do_what_it_says_and_all_that_was_asked_before_it_could_say() {
    let all = description().capabilities;
    assert_eq!(all.len(), AgentCapability::ALL.len(), "ours can do everything");
    let told = |capabilities: &[i32]| {
        let mut wire = description_to_wire(&description());
        assert_eq!(wire.capabilities.len(), all.len());
        wire.capabilities = capabilities.to_vec();
        description_from_wire(wire).expect("well formed").capabilities
    };
    assert_eq!(told(&[]), all);
    let some = [AgentCapability::MultiRole, AgentCapability::Draining];
    assert_eq!(told(&[7, 1, 99]), some.into(), "what is not known here is not asked for");
}

fn reserved() -> Resources {
    Resources::parse("cpus(a):1", &Role::any()).expect("well formed")
}

fn operation() -> Operation {
    Operation {
        uuid: OperationUuid([7; 16]),
        framework: Some(framework_id()),
        id: Some(OperationId::new("op").expect("an id")),
        conversion: Conversion::Unreserve(reserved()),
    }
}

fn operation_status() -> OperationStatus {
    let uuid = Some(UpdateId([0x40; 16]));
    OperationStatus { uuid, ..OperationStatus::new(operation().id, OperationState::Finished) }
}

fn message() -> Message {
    Message {
        agent: AgentId::new("a").expect("an id"),
        executor: ExecutorId::new("e").expect("an id"),
        data: vec![0, 1].into(),
    }
}

fn reregister() -> Reregister {
    let (spec, executor) = custom_task();
    let command = ExecutorSpec {
        id: ExecutorId::new("t").expect("an id"),
        is_default: false,
        resources: Resources::none(),
        role: None,
        user: None,
        shutdown_grace: None,
        info: Payload::default(),
    };
    let container = ContainerId::new("c").expect("an id");
    let live = |executor| LiveExecutor {
        framework: framework_id(),
        executor,
        container: container.clone(),
    };
    let live_task = |spec, unacknowledged| LiveTask {
        framework: framework_id(),
        executor: ExecutorId::new("e").expect("an id"),
        spec,
        state: TaskState::Running,
        unacknowledged,
        statuses: vec![status()],
    };
    let member = task(r#""command":{"value":"true"}"#, Launched::InGroup);
    Reregister {
        agent: AgentId::new("a").expect("an id"),
        description: description(),
        frameworks: vec![framework()],
        executors: vec![live(executor), live(command)],
        tasks: vec![
            live_task(spec, None),
            live_task(command_task(), Some((UpdateId([1; 16]), TaskState::Starting))),
            live_task(member, None),
        ],
        total: reserved().plus(&description().resources),
        operations: vec![LiveOperation { operation: operation(), status: operation_status() }],
    }
}

#[test]
fn what_an_agent_says_survives() {
    for message in [
        FromAgent::Register(Box::new(Register {
            description: description(),
            total: reserved().plus(&description().resources),
        })),
        FromAgent::Reregister(Box::new(reregister())),
        FromAgent::StatusUpdate {
            framework: framework_id(),
            status: status(),
            latest: TaskState::Finished,
        },
        FromAgent::ExecutorExited {
            framework: framework_id(),
            executor: ExecutorId::new("e").expect("an id"),
            status: None,
        },
        FromAgent::Message { framework: framework_id(), message: message() },
        FromAgent::OperationUpdate {
            operation: operation().uuid,
            framework: Some(framework_id()),
            status: operation_status(),
        },
        FromAgent::Pong,
        FromAgent::Unregister,
    ] {
        let frame = agent_frame(&message, Term(4));
        assert_eq!(from_agent(frame), Ok((message, Term(4))));
    }
}

fn group() -> Launch {
    let text = r#"{"type":"DEFAULT","executor_id":{"value":"e"},"resources":[
        {"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},
        {"name":"mem","type":"SCALAR","scalar":{"value":32}},
        {"name":"disk","type":"SCALAR","scalar":{"value":32}}]}"#;
    let info = json::from_slice(text.as_bytes()).expect("a whole executor");
    let executor = task::executor_from_wire(info, &framework_id(), Launched::InGroup);
    Launch {
        framework: framework(),
        executor: Some(executor.expect("well formed")),
        starts_executor: true,
        is_group: true,
        tasks: vec![task(r#""command":{"value":"true"}"#, Launched::InGroup)],
        accepted_at: Timestamp(5),
    }
}

#[test]
fn what_a_master_says_survives() {
    let (spec, executor) = custom_task();
    let agent = AgentId::new("a").expect("an id");
    let task = TaskId::new("t").expect("an id");
    let second = Duration::from_secs(1);
    for message in [
        ToAgent::Registered { agent: agent.clone(), ping_timeout: second },
        ToAgent::Reregistered {
            agent,
            ping_timeout: second,
            expected: vec![(framework_id(), task.clone())],
            completed: vec![framework_id()],
            operations: vec![operation()],
        },
        ToAgent::Apply(Box::new(Operation { framework: None, id: None, ..operation() })),
        ToAgent::AcknowledgeOperation { operation: operation().uuid, status: UpdateId([3; 16]) },
        ToAgent::Launch(Box::new(Launch {
            executor: Some(executor.clone()),
            is_group: false,
            tasks: vec![spec],
            ..group()
        })),
        ToAgent::Launch(Box::new(Launch {
            executor: None,
            is_group: false,
            tasks: vec![command_task()],
            ..group()
        })),
        ToAgent::Launch(Box::new(group())),
        ToAgent::Kill { framework: framework_id(), task: task.clone(), grace: Some(second) },
        ToAgent::Kill { framework: framework_id(), task: task.clone(), grace: None },
        ToAgent::ShutdownExecutor { framework: framework_id(), executor: executor.id },
        ToAgent::ShutdownFramework(framework_id()),
        ToAgent::UpdateFramework(framework()),
        ToAgent::Acknowledge { framework: framework_id(), task, uuid: UpdateId([2; 16]) },
        ToAgent::Message { framework: framework_id(), message: message() },
        ToAgent::Ping { connected: true },
        ToAgent::Masters(Masters {
            addresses: vec!["10.0.0.1:5050".into(), "m2.example:5050".into()],
            spread: second * 3,
        }),
        ToAgent::Drain(Drain { grace_max: Some(second), marks_gone: true }),
        ToAgent::Drain(Drain { grace_max: None, marks_gone: false }),
        ToAgent::Shutdown { why: "gone".into() },
    ] {
        let frame = master_frame(&message, Term(9));
        assert_eq!(to_agent(frame), Ok((message, Term(9))));
    }
}

#[test]
fn frames_of_unknown_kinds_are_refused() {
    assert!(from_agent(wire::AgentFrame::default()).is_err());
    assert!(to_agent(wire::MasterFrame::default()).is_err());
    let launch = wire::Launch { is_group: true, ..launch_to_wire(&group()) };
    let without = wire::Launch { executor: None, tasks: Vec::new(), ..launch };
    assert!(launch_from_wire(without).is_err(), "a command without a task");
}
