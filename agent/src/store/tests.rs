use std::collections::VecDeque;
use std::time::Duration;

use agent_core::record::{ExecutorRecord, Identity, Key, TaskRecord, UpdatesRecord};
use model::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, Term, UpdateId};
use model::rules::Drain;
use model::step::Timestamp;
use model::task::{ExecutorSpec, Source, Status, TaskSpec, TaskState};
use proto::mesos::v1 as mesos;
use proto::schema::Described;

use super::*;
use crate::wire;

fn encoded<M: Described>(json: &str) -> Vec<u8> {
    proto::json::from_slice::<M>(json.as_bytes()).expect("well formed").encode_to_vec()
}

fn framework_id() -> FrameworkId {
    FrameworkId::new("f").expect("an id")
}

fn task(name: &str, in_group: bool) -> TaskSpec {
    let run = if in_group { "" } else { r#""command":{"value":"true"},"# };
    let json = format!(
        r#"{{"name":"{name}","task_id":{{"value":"{name}"}},"agent_id":{{"value":"a"}},{run}
            "resources":[{{"name":"cpus","type":"SCALAR","scalar":{{"value":0.5}}}},
                         {{"name":"mem","type":"SCALAR","scalar":{{"value":64}}}}]}}"#
    );
    let info = mesos::TaskInfo {
        command: Some(mesos::CommandInfo {
            value: Some("true".to_owned()),
            ..mesos::CommandInfo::default()
        }),
        ..proto::json::from_slice(json.as_bytes()).expect("well formed")
    };
    wire::task(&prost::Message::encode_to_vec(&info), &framework_id(), in_group).expect("a task")
}

fn command_executor(id: &str) -> ExecutorSpec {
    ExecutorSpec {
        id: ExecutorId::new(id).expect("an id"),
        is_default: false,
        resources: model::resources::Resources::none(),
        role: None,
        user: None,
        shutdown_grace: None,
        info: model::payload::Payload::default(),
    }
}

fn custom_executor() -> ExecutorSpec {
    let info = encoded::<mesos::ExecutorInfo>(
        r#"{"executor_id":{"value":"e"},"framework_id":{"value":"f"},"command":{"value":"run"},
            "resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}}]}"#,
    );
    wire::executor_spec(&info, &framework_id()).expect("an executor")
}

fn status(state: TaskState, uuid: u8) -> Status {
    let task = TaskId::new("t").expect("an id");
    let mut status = Status::new(task, state, Source::Executor, Timestamp(5_000_000));
    status.uuid = Some(UpdateId([uuid; 16]));
    status.message = Some("words".into());
    status
}

fn records() -> Vec<Record> {
    let framework = encoded::<mesos::FrameworkInfo>(
        r#"{"user":"u","name":"n","id":{"value":"f"},"checkpoint":true}"#,
    );
    let executor = |spec: ExecutorSpec, is_command| {
        Record::Executor(ExecutorRecord {
            framework: framework_id(),
            spec,
            container: ContainerId::new("c").expect("an id"),
            is_command,
            has_subscribed: is_command,
        })
    };
    let task = |spec, group| {
        Record::Task(TaskRecord {
            framework: framework_id(),
            executor: ExecutorId::new("e").expect("an id"),
            spec,
            group,
            accepted_at: Timestamp(7),
        })
    };
    let info = proto::json::from_slice::<mesos::AgentInfo>(
        br#"{"hostname":"h","resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":2}}]}"#,
    );
    let info = info.expect("well formed");
    let described = proto::convert::link::describe(&info, "10.0.0.1:5051", "1.2.3");
    vec![
        Record::Described(described.expect("well formed")),
        Record::Drain(Drain { grace_max: Some(Duration::from_secs(5)), marks_gone: true }),
        executor(custom_executor(), false),
        executor(command_executor("t"), true),
        Record::Framework(wire::framework(&framework).expect("a framework")),
        Record::Identity(Identity { agent: AgentId::new("a").expect("an id"), term: Term(3) }),
        Record::Masters(vec!["10.0.0.1:5050".into(), "m2.example:5050".into()]),
        task(self::task("alone", false), None),
        task(self::task("member", true), Some(2)),
        Record::Updates(UpdatesRecord {
            framework: framework_id(),
            task: TaskId::new("t").expect("an id"),
            latest: TaskState::Finished,
            statuses: vec![status(TaskState::Running, 0x41), status(TaskState::Finished, 0x42)],
            pending: VecDeque::from([status(TaskState::Finished, 0x42)]),
            seen: VecDeque::from([UpdateId([0x41; 16]), UpdateId([0x42; 16])]),
        }),
    ]
}

#[test]
fn what_is_written_is_read_again_and_what_is_forgotten_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let all = records();
    {
        let (store, loaded) = Store::open(&path, "boot-1").expect("a new store");
        assert!(loaded.records.is_empty() && loaded.boot_id.is_none());
        store.write(&all).expect("room on the disk");
    }
    let (store, loaded) = Store::open(&path, "boot-2").expect("the store");
    assert_eq!(loaded.boot_id.as_deref(), Some("boot-1"));
    assert_eq!(loaded.records, all);
    store.write(&[Record::Forget(Key::Identity)]).expect("room on the disk");
    drop(store);
    let (_, loaded) = Store::open(&path, "boot-2").expect("the store");
    assert_eq!(loaded.records.len(), all.len() - 1);
}

#[test]
fn another_format_is_not_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    {
        let database = Database::create(&path).expect("a database");
        let transaction = database.begin_write().expect("a transaction");
        transaction
            .open_table(ABOUT)
            .and_then(|mut about| about.insert("format", "9").map(|_| ()).map_err(Into::into))
            .expect("a table");
        transaction.commit().expect("room on the disk");
    }
    let refused = Store::open(&path, "boot").expect_err("it is not ours").to_string();
    assert!(refused.contains("of format 9"), "{refused}");
}

#[test]
fn a_store_is_written_anew_when_it_is_opened_so_that_it_is_on_disk() {
    use std::os::unix::fs::MetadataExt;

    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("agent.redb");
    let (store, _) = Store::open(&path, "boot").expect("it is made");
    let record = Record::Masters(vec!["127.0.0.1:5050".into()]);
    store.write(std::slice::from_ref(&record)).expect("it is written");
    drop(store);
    // Held, so that its number is not used again.
    let before = File::open(&path).expect("it is there");
    let (store, _) = Store::open(&path, "boot").expect("it is read");
    let error = Store::open(&path, "boot").expect_err("another agent has it").to_string();
    assert!(error.contains("already open"), "{error}");
    drop(store);
    // Of a run that came no further.
    fs::write(path.with_extension("new"), "half").expect("its directory is there");
    let (store, loaded) = Store::open(&path, "boot").expect("it is read");
    drop(store);
    assert_eq!(loaded.records, [record]);
    let number = before.metadata().expect("it is open").ino();
    assert_ne!(fs::metadata(&path).expect("it is there").ino(), number);
    let left: Vec<_> = fs::read_dir(dir.path()).expect("it is there").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    // Where that cannot be, what is there is read.
    fs::create_dir(path.with_extension("new")).expect("its directory is there");
    let (_, loaded) = Store::open(&path, "boot").expect("it is read");
    assert_eq!(loaded.records.len(), 1);
}
