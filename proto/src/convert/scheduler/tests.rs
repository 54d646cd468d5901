use model::call::{AcknowledgeOperation, ReconcileOperation};
use model::ids::{ExecutorId, OfferId, OperationId};
use model::operation::{OperationState, OperationStatus};
use model::step::Timestamp;
use model::task::{RunsBy, Source, Status, TaskState};
use proptest::prelude::*;

use super::*;
use crate::json;

fn read(text: &str) -> Result<SchedulerCall, String> {
    let call = json::from_slice(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    call_from_wire(call).map_err(|error| error.to_string())
}

/// A call of framework `f` of this type, with `inner` as its other members.
fn call(kind: &str, inner: &str) -> Result<Call, String> {
    let comma = if inner.is_empty() { "" } else { "," };
    let text = format!(r#"{{"framework_id":{{"value":"f"}},"type":"{kind}"{comma}{inner}}}"#);
    let SchedulerCall::Call(id, call) = read(&text)? else { panic!("{text}") };
    assert_eq!(id.as_str(), "f");
    Ok(call)
}

const TASK: &str = r#""name":"t","agent_id":{"value":"a"},"command":{"value":"true"},"resources":
    [{"name":"cpus","type":"SCALAR","scalar":{"value":1}}]"#;

fn accept(operation: &str) -> Operation {
    let inner = format!(r#""accept":{{"offer_ids":[{{"value":"o"}}],"operations":[{operation}]}}"#);
    match call("ACCEPT", &inner) {
        Ok(Call::Accept(mut accept)) => accept.operations.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_without_what_they_need_are_refused_in_known_words() {
    let prefix = "Failed to validate scheduler::Call: ";
    for (text, why) in [
        ("{}", "Expecting 'type' to be present"),
        (r#"{"type":"JUGGLE"}"#, "Expecting 'type' to be present"),
        (r#"{"type":"SUBSCRIBE"}"#, "Expecting 'subscribe' to be present"),
        (r#"{"type":"KILL"}"#, "Expecting 'framework_id' to be present"),
        (r#"{"type":"UNKNOWN"}"#, "Expecting 'framework_id' to be present"),
        (
            r#"{"type":"SUBSCRIBE","framework_id":{"value":"f"},
                "subscribe":{"framework_info":{"user":"u","name":"n"}}}"#,
            "'framework_id' differs from 'subscribe.framework_info.id'",
        ),
    ] {
        assert_eq!(read(text), Err(format!("{prefix}{why}")), "{text}");
    }
    for name in [
        "accept",
        "decline",
        "accept_inverse_offers",
        "decline_inverse_offers",
        "kill",
        "shutdown",
        "acknowledge",
        "acknowledge_operation_status",
        "reconcile",
        "reconcile_operations",
        "message",
        "request",
        "update_framework",
    ] {
        let refusal = call(&name.to_uppercase(), "");
        assert_eq!(refusal, Err(format!("{prefix}Expecting '{name}' to be present")));
    }
    let ids = r#""agent_id":{"value":"a"},"task_id":{"value":"t"}"#;
    assert_eq!(
        call("ACKNOWLEDGE", &format!(r#""acknowledge":{{{ids},"uuid":"eA=="}}"#)),
        Err(format!("{prefix}Not a valid UUID"))
    );
    let uuid = r#""uuid":"QEBAQEBAQEBAQEBAQEBAQA==","operation_id":{"value":"x"}"#;
    assert_eq!(
        call(
            "ACKNOWLEDGE_OPERATION_STATUS",
            &format!(r#""acknowledge_operation_status":{{{uuid}}}"#)
        ),
        Err(format!("{prefix}Expecting 'agent_id' to be present"))
    );
    assert_eq!(
        call(
            "UPDATE_FRAMEWORK",
            r#""update_framework":{"framework_info":{"user":"u","name":"n"}}"#
        ),
        Err(format!("{prefix}'framework_id' differs from 'update_framework.framework_info.id'"))
    );
    assert_eq!(call("UNKNOWN", ""), Err("UNKNOWN is not implemented".to_owned()));
}

#[test]
fn a_framework_id_that_cannot_be_is_not_found() {
    let text = r#"{"framework_id":{"value":"../f"},"type":"REVIVE"}"#;
    assert_eq!(read(text), Err("Framework cannot be found".to_owned()));
}

#[test]
fn a_bad_subscription_is_told_on_the_stream() {
    let subscribe = |inner: &str| {
        read(&format!(
            r#"{{"type":"SUBSCRIBE","subscribe":{{"framework_info":
                {{"user":"u","name":"n"}},{inner}}}}}"#
        ))
    };
    let Ok(SchedulerCall::Subscribe(good)) = subscribe(r#""suppressed_roles":["*"]"#) else {
        panic!("well formed")
    };
    assert_eq!(good.suppressed, ["*".into()].into());
    let bad = r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":
        {"user":"u","name":"n","role":"-","principal":"p"}}}"#;
    let Ok(SchedulerCall::SubscribeRefused { why, principal }) = read(bad) else { panic!("{bad}") };
    assert!(why.starts_with("'-' is not a valid role: "), "{why}");
    assert_eq!(principal.as_deref(), Some("p"), "whose subscription it is counts before that");
}

#[test]
fn how_long_a_decline_holds() {
    let refuse = |filters: &str| {
        let inner = format!(r#""decline":{{"offer_ids":[{{"value":"o"}}]{filters}}}"#);
        match call("DECLINE", &inner) {
            Ok(Call::Decline(decline)) => decline.refuse_for,
            other => panic!("{other:?}"),
        }
    };
    let secs = |secs: &str| refuse(&format!(r#","filters":{{"refuse_seconds":{secs}}}"#));
    assert_eq!(refuse(""), Duration::from_secs(5));
    assert_eq!(refuse(r#","filters":{}"#), Duration::from_secs(5));
    assert_eq!(secs("0"), Duration::ZERO);
    assert_eq!(secs("0.5"), Duration::from_millis(500));
    assert_eq!(secs("-1"), Duration::from_secs(5));
    assert_eq!(secs("\"Infinity\""), Duration::from_secs(5));
    assert_eq!(secs("1e9"), REFUSE_FOR_MAX);
}

#[test]
fn a_bad_task_does_not_spoil_the_call() {
    let operation = accept(&format!(
        r#"{{"type":"LAUNCH","launch":{{"task_infos":[
            {{{TASK},"task_id":{{"value":"good"}}}},
            {{{TASK},"task_id":{{"value":"a/b"}}}}]}}}}"#
    ));
    let Operation::Launch(tasks) = operation else { panic!("{operation:?}") };
    assert_eq!(tasks[0].as_ref().map(|task| task.id.as_str()), Ok("good"));
    let bad = tasks[1].as_ref().expect_err("no id");
    assert_eq!((&*bad.id, bad.why.as_str()), ("a/b", "'a/b' contains invalid characters"));
}

#[test]
fn a_launch_must_not_have_an_id() {
    let operation = accept(&format!(
        r#"{{"type":"LAUNCH","id":{{"value":"x"}},"launch":{{"task_infos":
            [{{{TASK},"task_id":{{"value":"t"}}}}]}}}}"#
    ));
    let Operation::Launch(tasks) = operation else { panic!("{operation:?}") };
    assert!(tasks[0].is_err());
}

const EXECUTOR: &str = r#""type":"DEFAULT","executor_id":{"value":"e"},"resources":[
    {"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},
    {"name":"mem","type":"SCALAR","scalar":{"value":32}},
    {"name":"disk","type":"SCALAR","scalar":{"value":32}}]"#;

#[test]
fn a_group_shares_its_executor() {
    let group = |executor: &str, task: &str| {
        let operation = accept(&format!(
            r#"{{"type":"LAUNCH_GROUP","launch_group":{{"executor":{{{executor}}},"task_group":
                {{"tasks":[{{{TASK},"task_id":{{"value":"t"}}{task}}}]}}}}}}"#
        ));
        let Operation::LaunchGroup { executor, mut tasks } = operation else {
            panic!("{operation:?}")
        };
        (executor, tasks.remove(0))
    };
    let (executor, task) = group(EXECUTOR, "");
    assert!(executor.expect("well formed").is_default);
    assert_eq!(task.expect("well formed").runs_by, RunsBy::Group);
    let (_, task) = group(EXECUTOR, r#","executor":{"executor_id":{"value":"other"}}"#);
    assert!(task.is_err());
    let (executor, _) = group(r#""executor_id":{"value":"e"}"#, "");
    assert_eq!(executor, Err("'ExecutorInfo.type' must be set".to_owned()));
    let (executor, _) = group(r#""type":"DEFAULT","executor_id":{"value":"e"}"#, "");
    assert_eq!(
        executor,
        Err("Executor 'e' uses less cpus (0) than the minimum required (0.01)".to_owned())
    );
}

#[test]
fn operations_that_are_none_say_why() {
    let id = Some(OperationId::new("r").expect("an id"));
    assert_eq!(
        accept(r#"{"type":"CREATE_DISK","id":{"value":"r"}}"#),
        Operation::Unsupported { kind: "CREATE_DISK".into(), id: id.clone() }
    );
    let conversion = Err("Invalid RESERVE operation: Expecting 'reserve' to be present".to_owned());
    assert_eq!(
        accept(r#"{"type":"RESERVE","id":{"value":"r"}}"#),
        Operation::Convert { id, role: None, conversion }
    );
    let bad = accept(r#"{"type":"RESERVE","id":{"value":"a/b"},"reserve":{}}"#);
    let Operation::Convert { id, conversion: Err(why), .. } = bad else { panic!("{bad:?}") };
    assert_eq!(id, Some(OperationId::as_given("a/b")), "it is answered under what it was called");
    assert_eq!(why, "The operation's 'id' is none: 'a/b' contains invalid characters");
}

#[test]
fn ids_that_cannot_be_name_nothing() {
    let bad = r#"{"value":"a/b"}"#;
    for (kind, inner) in [
        ("REVIVE", r#""revive":{"roles":["ok","not/"]}"#.to_owned()),
        ("SUPPRESS", r#""suppress":{"roles":["not/"]}"#.to_owned()),
        ("SHUTDOWN", format!(r#""shutdown":{{"executor_id":{bad},"agent_id":{bad}}}"#)),
        ("KILL", format!(r#""kill":{{"task_id":{{"value":"t"}},"agent_id":{bad}}}"#)),
    ] {
        assert_eq!(call(kind, &inner), Ok(Call::Request), "{kind}");
    }
    // It is asked for, so it is answered: nobody knows it.
    let inner = format!(r#""reconcile":{{"tasks":[{{"task_id":{bad}}}]}}"#);
    let task = ReconcileTask { task: TaskId::as_given("a/b"), agent: None };
    assert_eq!(call("RECONCILE", &inner), Ok(Call::Reconcile(vec![task])));
    let operations = format!(r#"{{"operation_id":{bad},"agent_id":{bad}}}"#);
    let inner = format!(r#""reconcile_operations":{{"operations":[{operations}]}}"#);
    let operation = ReconcileOperation { operation: OperationId::as_given("a/b"), agent: None };
    let asked = Call::ReconcileOperations(vec![operation]);
    assert_eq!(call("RECONCILE_OPERATIONS", &inner), Ok(asked));
}

fn some_roles() -> impl Strategy<Value = BTreeSet<Role>> {
    prop::collection::btree_set(
        prop_oneof!["[a-z]{1,4}", "[a-z]/[a-z]"].prop_map(|text| Role::new(text).expect("a role")),
        0..3,
    )
}

fn some_call() -> impl Strategy<Value = Call> {
    let agent = "[a-z]{1,5}".prop_map(|text| AgentId::new(text).expect("an id"));
    let task = "[a-z.]{1,5}x".prop_map(|text| TaskId::new(text).expect("an id"));
    let executor = "[a-z]{1,5}".prop_map(|text| ExecutorId::new(text).expect("an id"));
    let millis = (0_u64..100_000).prop_map(Duration::from_millis);
    let grace = prop::option::of(millis.clone());
    prop_oneof![
        some_roles().prop_map(Call::Revive),
        some_roles().prop_map(Call::Suppress),
        Just(Call::Teardown),
        Just(Call::Request),
        (prop::collection::vec("[a-z]{0,3}", 0..3), millis.clone()).prop_map(
            |(ids, refuse_for)| {
                let offers = ids.into_iter().map(Arc::from).collect();
                Call::Accept(Accept { offers, operations: Vec::new(), refuse_for })
            }
        ),
        (prop::collection::btree_set("[a-z]{1,3}", 0..3), millis).prop_map(|(ids, refuse_for)| {
            let offers = ids.into_iter().map(|id| OfferId::new(id).expect("an id")).collect();
            Call::Decline(Decline { offers, refuse_for })
        }),
        (task.clone(), prop::option::of(agent.clone()), grace)
            .prop_map(|(task, agent, grace)| Call::Kill(Kill { task, agent, grace })),
        (executor.clone(), agent.clone())
            .prop_map(|(executor, agent)| Call::Shutdown(Shutdown { executor, agent })),
        (agent.clone(), task.clone(), any::<u64>()).prop_map(|(agent, task, seed)| {
            let uuid = UpdateId(model::rng::Rng::new(seed).uuid());
            Call::Acknowledge(Acknowledge { agent, task, uuid })
        }),
        prop::collection::vec((task, prop::option::of(agent.clone())), 0..3).prop_map(|tasks| {
            let one = |(task, agent)| ReconcileTask { task, agent };
            Call::Reconcile(tasks.into_iter().map(one).collect())
        }),
        (agent.clone(), "[a-z]{1,5}", any::<u64>()).prop_map(|(agent, operation, seed)| {
            let uuid = UpdateId(model::rng::Rng::new(seed).uuid());
            let operation = OperationId::new(operation).expect("an id");
            Call::AcknowledgeOperation(AcknowledgeOperation { agent, operation, uuid })
        }),
        prop::collection::vec(("[a-z]{1,5}", prop::option::of(agent.clone())), 0..3).prop_map(
            |all| {
                let one = |(operation, agent): (String, _)| ReconcileOperation {
                    operation: OperationId::new(operation).expect("an id"),
                    agent,
                };
                Call::ReconcileOperations(all.into_iter().map(one).collect())
            }
        ),
        (agent, executor, prop::collection::vec(any::<u8>(), 0..9)).prop_map(
            |(agent, executor, data)| Call::Message(Message { agent, executor, data: data.into() })
        ),
    ]
}

proptest! {
    #[test]
    fn calls_survive(call in some_call()) {
        let framework = FrameworkId::new("f").expect("an id");
        let wire = call_to_wire(&framework, &call);
        prop_assert_eq!(call_from_wire(wire), Ok(SchedulerCall::Call(framework, call)));
    }
}

const RESERVE: &str = r#"{"type":"RESERVE","id":{"value":"r"},"reserve":{"resources":[{"name":"cpus",
    "type":"SCALAR","scalar":{"value":1},"reservations":[{"type":"DYNAMIC","role":"a"}]}]}}"#;

#[test]
fn operations_survive() {
    let framework = FrameworkId::new("f").expect("an id");
    let launch = format!(
        r#"{{"type":"LAUNCH","launch":{{"task_infos":[{{{TASK},"task_id":{{"value":"t"}}}}]}}}}"#
    );
    let group = format!(
        r#"{{"type":"LAUNCH_GROUP","launch_group":{{"executor":{{{EXECUTOR}}},"task_group":
            {{"tasks":[{{{TASK},"task_id":{{"value":"t"}}}}]}}}}}}"#
    );
    let operations = vec![
        accept(&launch),
        accept(&group),
        accept(r#"{"type":"DESTROY_DISK"}"#),
        accept(RESERVE),
    ];
    let refuse_for = Duration::from_secs(1);
    let call = Call::Accept(Accept { offers: vec!["o".into()], operations, refuse_for });
    let wire = call_to_wire(&framework, &call);
    assert_eq!(call_from_wire(wire), Ok(SchedulerCall::Call(framework, call)));
}

#[test]
fn subscriptions_survive() {
    let text = r#"{"type":"SUBSCRIBE","framework_id":{"value":"f"},"subscribe":{"framework_info":
        {"user":"u","name":"n","id":{"value":"f"},"roles":["a","b"],"failover_timeout":7,
        "capabilities":[{"type":"MULTI_ROLE"}]},"suppressed_roles":["b"]}}"#;
    let Ok(SchedulerCall::Subscribe(subscribe)) = read(text) else { panic!("well formed") };
    assert!(subscribe.framework.capabilities.multi_role);
    assert_eq!(subscribe.framework.failover_timeout, Duration::from_secs(7));
    let again = call_from_wire(subscribe_to_wire(&subscribe));
    assert_eq!(again, Ok(SchedulerCall::Subscribe(subscribe)));
}

#[test]
fn events_survive() {
    let task: TaskId = TaskId::new("t").expect("an id");
    let agent = AgentId::new("a").expect("an id");
    let executor = ExecutorId::new("e").expect("an id");
    let message =
        Message { agent: agent.clone(), executor: executor.clone(), data: vec![1, 2].into() };
    let status = Status::new(task, TaskState::Running, Source::Master, Timestamp(3));
    let operation_id = OperationId::new("op").expect("an id");
    let master = MasterInfo { id: "m".into(), ..MasterInfo::default() };
    for event in [
        SchedulerEvent::Subscribed {
            framework: FrameworkId::new("f").expect("an id"),
            heartbeat: Duration::from_secs(15),
        },
        SchedulerEvent::Offers(Vec::new()),
        SchedulerEvent::Rescind(OfferId::new("o").expect("an id")),
        SchedulerEvent::Update(status),
        SchedulerEvent::UpdateOperation(OperationStatus {
            message: Some("no".into()),
            uuid: Some(UpdateId([0x40; 16])),
            agent: Some(agent.clone()),
            ..OperationStatus::new(Some(operation_id), OperationState::Error)
        }),
        SchedulerEvent::Message(message),
        SchedulerEvent::Failure { agent: agent.clone(), executor: None },
        SchedulerEvent::Failure { agent, executor: Some((executor, Some(9))) },
        SchedulerEvent::Error("no".into()),
        SchedulerEvent::Heartbeat,
    ] {
        let wire = event_to_wire(&event, Capabilities::default(), &master);
        assert_eq!(event_from_wire(wire, &Role::any()), Ok(Some(event)));
    }
}
