//! A master between a framework and an agent, over real sockets.

mod common;

use common::{Alone, BOTH, FakeAgent, SOON, subscribe_call};
use futures::StreamExt;
use model::ids::{ExecutorId, FrameworkId, UpdateId};
use model::link::{FromAgent, Launch, ToAgent};
use model::step::Timestamp;
use model::task::{Source, Status, TaskState};
use proto::agora::v1::SchedulerFrame;
use proto::agora::v1::master_answer::Body;
use proto::agora::v1::scheduler_client::SchedulerClient;
use proto::mesos::v1::scheduler::{Call, Event};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use transport::client::RecordStream;
use transport::http::{Encoding, decode};
use transport::identity::Identity;

/// A framework over one of the three ways to speak to a master.
enum Framework {
    Http { encoding: Encoding, url: String, stream: String, events: RecordStream },
    Grpc { calls: mpsc::Sender<SchedulerFrame>, answers: Streaming<proto::agora::v1::MasterAnswer> },
}

fn call_message(call: &Value) -> Call {
    decode(Encoding::Json, call.to_string().as_bytes(), "Call").expect("a call")
}

impl Framework {
    async fn http(master: &Alone, encoding: Encoding) -> Self {
        let url = master.url("/api/v1/scheduler");
        let body = encoding.encode(&call_message(&subscribe_call()));
        let request = master.http.post(&url).header("content-type", encoding.mime());
        let answer = request.header("accept", encoding.mime()).body(body).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], encoding.mime());
        let stream = answer.headers()["mesos-stream-id"].to_str().expect("text").to_owned();
        Self::Http { encoding, url, stream, events: RecordStream::new(answer) }
    }

    async fn grpc(master: &Alone) -> Self {
        let channel = transport::grpc::channel(&master.address().to_string(), &Identity::default())
            .expect("an address");
        let (calls, frames) = mpsc::channel(16);
        let call = Some(call_message(&subscribe_call()));
        calls.send(SchedulerFrame { sequence: 1, call }).await.expect("room");
        let mut client = SchedulerClient::new(channel);
        let answers = client.subscribe(ReceiverStream::new(frames)).await.expect("let in");
        Self::Grpc { calls, answers: answers.into_inner() }
    }

    /// The next event that is no heartbeat, in JSON; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let event: Event = match self {
                Self::Http { encoding, events, .. } => {
                    let record = timeout(SOON, events.next()).await.expect("in time")?;
                    decode(*encoding, &record.expect("whole"), "Event").expect("an event")
                }
                Self::Grpc { answers, .. } => {
                    let answer = timeout(SOON, answers.message()).await.expect("in time");
                    match answer.expect("no error")?.body.expect("something") {
                        Body::Event(event) => event,
                        Body::Answer(answer) => {
                            assert!(matches!(answer.status, 200 | 202), "{answer:?}");
                            continue;
                        }
                    }
                }
            };
            let event = proto::json::to_value(&event);
            if event["type"] != "HEARTBEAT" {
                return Some(event);
            }
        }
    }

    async fn call(&self, http: &reqwest::Client, call: &Value) {
        let message = call_message(call);
        match self {
            Self::Http { encoding, url, stream, .. } => {
                let request = http.post(url).header("content-type", encoding.mime());
                let request = request.header("mesos-stream-id", stream);
                let answer = request.body(encoding.encode(&message)).send().await;
                assert_eq!(answer.expect("an answer").status(), 202, "{call}");
            }
            Self::Grpc { calls, .. } => {
                let frame = SchedulerFrame { sequence: 2, call: Some(message) };
                calls.send(frame).await.expect("the stream is open");
            }
        }
    }
}

/// Runs one task to its end and says what the framework heard, without what differs by chance.
async fn one_task(master: &Alone, mut framework: Framework) -> Vec<String> {
    let mut agent = FakeAgent::registered(master.address()).await;
    let mut heard = Vec::new();
    let subscribed = framework.next().await.expect("an event");
    heard.push(subscribed["type"].to_string());
    let id = subscribed["subscribed"]["framework_id"]["value"].as_str().expect("text").to_owned();

    let offers = framework.next().await.expect("an event");
    heard.push(offers["type"].to_string());
    let offer = &offers["offers"]["offers"][0];
    assert_eq!(offer["agent_id"]["value"], agent.id.to_string());
    assert_eq!(offer["url"]["address"]["port"], json!(5051));
    assert_eq!(offer.get("allocation_info"), None, "only for those who know several roles");
    let state = master.get("/state").await;
    let shown = state["frameworks"].as_array().expect("a list").iter();
    let shown = shown.filter(|framework| framework["id"] == id.as_str()).count();
    assert_eq!(shown, 1);

    let resources = json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.5}},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": 64}}]);
    let accept = json!({
        "type": "ACCEPT", "framework_id": {"value": id},
        "accept": {
            "offer_ids": [offer["id"]],
            "filters": {"refuse_seconds": 3600.0},
            "operations": [{"type": "LAUNCH", "launch": {"task_infos": [{
                "name": "one", "task_id": {"value": "t1"}, "agent_id": offer["agent_id"],
                "resources": resources, "command": {"value": "true"},
            }]}}],
        },
    });
    framework.call(&master.http, &accept).await;
    let Some(ToAgent::Launch(launch)) = agent.hear().await else { panic!("no launch") };
    let Launch { framework: of, tasks, .. } = *launch;
    assert_eq!(of.id.as_ref().map(ToString::to_string), Some(id.clone()));
    // Others, of earlier frameworks, are over and still shown.
    let tasks_shown = master.get(&format!("/tasks?framework_id={id}")).await;
    assert_eq!(tasks_shown["tasks"][0]["state"], "TASK_STAGING");

    for (n, state) in [(1, TaskState::Running), (2, TaskState::Finished)] {
        report(&agent, &id, &tasks[0].id, state, n).await;
        let update = framework.next().await.expect("an event");
        let status = &update["update"]["status"];
        heard.push(format!("{} {}", update["type"], status["state"]));
        assert_eq!(status["task_id"]["value"], "t1");
        let acknowledge = json!({
            "type": "ACKNOWLEDGE", "framework_id": {"value": id},
            "acknowledge": {"agent_id": status["agent_id"], "task_id": status["task_id"],
                "uuid": status["uuid"]},
        });
        framework.call(&master.http, &acknowledge).await;
        let Some(ToAgent::Acknowledge { uuid, .. }) = agent.hear().await else {
            panic!("not acknowledged")
        };
        assert_eq!(uuid, update_id(n));
    }
    let over = master.get(&format!("/frameworks?framework_id={id}")).await;
    assert_eq!(over["frameworks"][0]["completed_tasks"][0]["state"], "TASK_FINISHED");

    let teardown = json!({"type": "TEARDOWN", "framework_id": {"value": id}});
    framework.call(&master.http, &teardown).await;
    while let Some(event) = framework.next().await {
        if event["type"] != "OFFERS" && event["type"] != "RESCIND" {
            heard.push(event["type"].to_string());
        }
    }
    agent.say(&FromAgent::Unregister).await;
    while agent.hear().await.is_some() {}
    heard
}

fn update_id(n: u8) -> UpdateId {
    let mut bytes = [n; 16];
    bytes[6] = 0x40;
    bytes[8] = 0x80;
    UpdateId(bytes)
}

async fn report(
    agent: &FakeAgent,
    framework: &str,
    task: &model::ids::TaskId,
    state: TaskState,
    n: u8,
) {
    let status = Status {
        agent: Some(agent.id.clone()),
        executor: Some(ExecutorId::new(task.as_str()).expect("an id")),
        uuid: Some(update_id(n)),
        ..Status::new(task.clone(), state, Source::Executor, Timestamp(u64::from(n) * 1_000_000))
    };
    let framework = FrameworkId::new(framework).expect("an id");
    agent.say(&FromAgent::StatusUpdate { framework, status, latest: state }).await;
}

#[tokio::test]
async fn a_task_runs_alike_over_every_protocol() {
    let master = Alone::started().await;
    let by_json = one_task(&master, Framework::http(&master, Encoding::Json).await).await;
    let by_protobuf = one_task(&master, Framework::http(&master, Encoding::Protobuf).await).await;
    let by_grpc = one_task(&master, Framework::grpc(&master).await).await;
    let wanted = [
        "\"SUBSCRIBED\"",
        "\"OFFERS\"",
        "\"UPDATE\" \"TASK_RUNNING\"",
        "\"UPDATE\" \"TASK_FINISHED\"",
    ];
    assert_eq!(by_json, wanted);
    assert_eq!(by_protobuf, wanted);
    assert_eq!(by_grpc, wanted);
}

#[tokio::test]
async fn an_agent_is_shown_with_what_it_has() {
    let master = Alone::started().await;
    let agent = FakeAgent::registered(master.address()).await;
    let slaves = master.get("/slaves").await;
    let slave = &slaves["slaves"][0];
    assert_eq!(slave["id"], agent.id.to_string());
    assert_eq!(slave["pid"], "slave(1)@127.0.0.1:5051");
    assert_eq!(slave["hostname"], "localhost");
    assert_eq!(slave["active"], json!(true));
    assert_eq!(slave["resources"]["cpus"], json!(4.0));
    assert_eq!(slave["resources"]["ports"], "[31000-31009]");
    assert_eq!(slave["unreserved_resources_full"][0]["name"], "cpus");
    assert_eq!(master.get("/metrics/snapshot").await["master/slaves_active"], json!(1.0));
    assert_eq!(master.get("/slaves/no-such").await["slaves"], json!([]));
}

#[tokio::test]
async fn a_link_ends_with_the_master_that_holds_it() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    timeout(SOON, master.running.stop()).await.expect("in time");
    while agent.hear().await.is_some() {}
}

#[tokio::test]
async fn a_grpc_stream_must_begin_with_subscribe() {
    let master = Alone::started().await;
    let channel = transport::grpc::channel(&master.address().to_string(), &Identity::default())
        .expect("an address");
    let call = call_message(&json!({"type": "REVIVE", "framework_id": {"value": "x"}}));
    let frames = tokio_stream::iter([SchedulerFrame { sequence: 1, call: Some(call) }]);
    let answers = SchedulerClient::new(channel).subscribe(frames).await.expect("headers");
    let status = answers.into_inner().message().await.expect_err("refused");
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(status.message(), "the first call must be SUBSCRIBE");
}

#[tokio::test]
async fn nobody_calls_over_http_for_a_framework_that_is_there_over_grpc() {
    let master = Alone::started().await;
    let mut framework = Framework::grpc(&master).await;
    let subscribed = framework.next().await.expect("an event");
    let id = &subscribed["subscribed"]["framework_id"];
    let call = call_message(&json!({"type": "TEARDOWN", "framework_id": id}));
    for encoding in BOTH {
        for (stream, why) in [
            (None, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"),
            (Some("x"), "The stream ID 'x' included in this request didn't match the stream ID"),
        ] {
            let request = master.http.post(master.url("/api/v1/scheduler"));
            let mut request = request.header("content-type", encoding.mime());
            if let Some(stream) = stream {
                request = request.header("mesos-stream-id", stream);
            }
            let answer = request.body(encoding.encode(&call)).send().await.expect("an answer");
            assert_eq!(answer.status(), 400);
            let text = answer.text().await.expect("a body");
            assert!(text.starts_with(why), "{text}");
        }
    }
    let state = master.get("/state").await;
    assert_eq!(state["frameworks"][0]["connected"], true);
}

#[tokio::test]
async fn a_teardown_over_grpc_is_answered_before_the_stream_ends() {
    let master = Alone::started().await;
    let mut framework = Framework::grpc(&master).await;
    let subscribed = framework.next().await.expect("an event");
    let id = &subscribed["subscribed"]["framework_id"];
    let Framework::Grpc { calls, mut answers } = framework else { panic!("it is over gRPC") };
    let call = Some(call_message(&json!({"type": "TEARDOWN", "framework_id": id})));
    calls.send(SchedulerFrame { sequence: 2, call }).await.expect("the stream is open");
    let mut is_answered = false;
    while let Some(answer) = timeout(SOON, answers.message()).await.expect("in time").expect("fine")
    {
        if let Some(Body::Answer(answer)) = answer.body {
            is_answered |= answer.sequence == 2 && answer.status == 202;
        }
    }
    assert!(is_answered);
}
