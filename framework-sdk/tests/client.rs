//! The client against a master that is played, over real sockets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use framework_core::session::End;
use framework_sdk::builders::framework;
use framework_sdk::{
    CallError, Client, ClientOptions, EventStream, Handle, Protocol, SessionEvent, calls,
};
use proto::mesos::v1::scheduler::{Call, Event, call, event};
use proto::mesos::v1::{
    AgentId, FrameworkId, OfferId, OperationId, OperationState, OperationStatus, TaskId, TaskState,
    TaskStatus, Uuid,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use transport::http::{Encoding, read_call};
use transport::records::{QueueLimits, Records, records};
use transport::server::Server;

const SOON: Duration = Duration::from_secs(20);

/// What the played master does with the next SUBSCRIBE.
enum Play {
    Answer(StatusCode, &'static str),
    Redirect(SocketAddr),
    /// Streams, with this heartbeat interval in the first event.
    Stream(f64),
}

/// A subscription that was opened.
struct Opened {
    subscribe: Call,
    encoding: Encoding,
    records: Records,
}

impl Opened {
    fn send(&self, event: &Event) {
        self.records.send(&self.encoding.encode(event)).expect("the client reads");
    }
}

#[derive(Clone)]
struct Master {
    plays: Arc<Mutex<VecDeque<Play>>>,
    opened: mpsc::UnboundedSender<Opened>,
    calls: mpsc::UnboundedSender<(Call, Option<String>)>,
}

struct Stage {
    address: SocketAddr,
    opened: mpsc::UnboundedReceiver<Opened>,
    calls: mpsc::UnboundedReceiver<(Call, Option<String>)>,
    stop: CancellationToken,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Stage {
    async fn new(plays: impl IntoIterator<Item = Play>) -> Self {
        let (opened, opened_rx) = mpsc::unbounded_channel();
        let (calls, calls_rx) = mpsc::unbounded_channel();
        let plays = Arc::new(Mutex::new(plays.into_iter().collect()));
        let router = Router::new().route("/api/v1/scheduler", post(scheduler)).with_state(Master {
            plays,
            opened,
            calls,
        });
        let any = "127.0.0.1:0".parse().expect("an address");
        let bound = Server::bind(any).await.expect("a free port");
        let address = bound.local_addr();
        let stop = CancellationToken::new();
        tokio::spawn(bound.serve(router, stop.clone()));
        Self { address, opened: opened_rx, calls: calls_rx, stop }
    }

    async fn opened(&mut self) -> Opened {
        soon(self.opened.recv()).await.expect("the master plays on")
    }

    async fn call(&mut self) -> (Call, Option<String>) {
        soon(self.calls.recv()).await.expect("the master plays on")
    }

    fn connect(&self, protocol: Protocol) -> (Handle, EventStream) {
        connect(&[self.address], protocol)
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

fn connect(masters: &[SocketAddr], protocol: Protocol) -> (Handle, EventStream) {
    let masters = masters.iter().map(ToString::to_string).collect();
    let info = framework("test", "root", Duration::from_secs(60));
    Client::connect(ClientOptions { protocol, ..ClientOptions::new(masters, info) })
}

async fn scheduler(State(master): State<Master>, request: Request) -> Response {
    let (parts, encoding, call) =
        read_call::<Call>(request, "Call").await.expect("a well-formed call");
    let stream_id = parts.headers.get("Mesos-Stream-Id");
    let stream_id = stream_id.map(|id| id.to_str().expect("text").to_owned());
    if call.r#type() != call::Type::Subscribe {
        let is_refused = call.r#type() == call::Type::Kill;
        let is_lost = call.r#type() == call::Type::Reconcile;
        master.calls.send((call, stream_id)).expect("the test listens");
        if is_lost {
            return (StatusCode::SERVICE_UNAVAILABLE, "No leader elected").into_response();
        }
        if is_refused {
            return (StatusCode::BAD_REQUEST, "Framework cannot be found").into_response();
        }
        return StatusCode::ACCEPTED.into_response();
    }
    assert_eq!(stream_id, None);
    let play = master.plays.lock().expect("nobody panicked").pop_front();
    match play {
        None => (StatusCode::SERVICE_UNAVAILABLE, "No leader elected").into_response(),
        Some(Play::Answer(status, text)) => (status, text).into_response(),
        Some(Play::Redirect(to)) => {
            let location = format!("//{to}/api/v1/scheduler");
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
        }
        Some(Play::Stream(heartbeat)) => {
            let (records, body) = records("test", QueueLimits::default(), &parts.extensions);
            let opened = Opened { subscribe: call, encoding, records };
            opened.send(&subscribed(heartbeat));
            let stream = format!("stream-{}", opened.subscribe.framework_id.is_some());
            master.opened.send(opened).expect("the test listens");
            let headers = [(header::CONTENT_TYPE, encoding.mime().to_owned())];
            let mut response = (headers, body).into_response();
            response.headers_mut().insert("Mesos-Stream-Id", stream.parse().expect("text"));
            response
        }
    }
}

fn subscribed(heartbeat: f64) -> Event {
    let subscribed = event::Subscribed {
        framework_id: FrameworkId { value: "f-0000".into() },
        heartbeat_interval_seconds: Some(heartbeat),
        master_info: None,
    };
    let kind = Some(event::Type::Subscribed.into());
    Event { r#type: kind, subscribed: Some(subscribed), ..Event::default() }
}

fn update(task: &str) -> Event {
    let status = TaskStatus {
        task_id: TaskId { value: task.into() },
        agent_id: Some(AgentId { value: "a-S0".into() }),
        state: TaskState::TaskRunning.into(),
        uuid: Some(vec![7; 16].into()),
        ..TaskStatus::default()
    };
    let kind = Some(event::Type::Update.into());
    Event { r#type: kind, update: Some(event::Update { status }), ..Event::default() }
}

fn operation_update(operation: &str, uuid: Option<Vec<u8>>) -> Event {
    let status = OperationStatus {
        operation_id: Some(OperationId { value: operation.into() }),
        agent_id: Some(AgentId { value: "a-S0".into() }),
        state: OperationState::OperationFinished.into(),
        uuid: uuid.map(|uuid| Uuid { value: uuid.into() }),
        ..OperationStatus::default()
    };
    let kind = Some(event::Type::UpdateOperationStatus.into());
    let update = Some(event::UpdateOperationStatus { status });
    Event { r#type: kind, update_operation_status: update, ..Event::default() }
}

fn error(message: &str) -> Event {
    let error = event::Error { message: message.into() };
    let kind = Some(event::Type::Error.into());
    Event { r#type: kind, error: Some(error), ..Event::default() }
}

async fn next(events: &mut EventStream) -> SessionEvent {
    soon(events.next()).await.expect("the session goes on")
}

async fn expect_subscribed(events: &mut EventStream, again: bool) {
    let event = next(events).await;
    let is_so = matches!(&event, SessionEvent::Subscribed { again: said, .. } if *said == again);
    assert!(is_so, "{event:?}");
}

async fn carries_events_and_calls(protocol: Protocol) {
    let mut leader = Stage::new([Play::Stream(15.0)]).await;
    let follower = Stage::new([Play::Redirect(leader.address)]).await;
    let (handle, mut events) = follower.connect(protocol);
    let opened = leader.opened().await;
    expect_subscribed(&mut events, false).await;
    assert_eq!(handle.framework_id().expect("known by now").value, "f-0000");

    opened.send(&update("t1"));
    let event = next(&mut events).await;
    let SessionEvent::Event(event) = event else { panic!("{event:?}") };
    assert_eq!(event.update.expect("an update").status.task_id.value, "t1");
    let (acknowledge, stream_id) = leader.call().await;
    assert_eq!(acknowledge.acknowledge.expect("confirmed by itself").uuid, vec![7; 16]);
    assert_eq!(stream_id.as_deref(), Some("stream-false"));
    assert_eq!(acknowledge.framework_id.expect("filled in").value, "f-0000");

    // Calls arrive in the order they were submitted, awaited or not.
    for n in 0..50 {
        drop(handle.submit(calls::decline([OfferId { value: format!("o{n}") }], None)));
    }
    handle.revive(Vec::new()).await.expect("taken");
    for n in 0..50 {
        let decline = leader.call().await.0.decline.expect("a decline");
        assert_eq!(decline.offer_ids[0].value, format!("o{n}"));
    }
    assert_eq!(leader.call().await.0.r#type(), call::Type::Revive);

    let refused = handle.kill(TaskId { value: "t".into() }, None, None).await;
    let reason = "Framework cannot be found".to_owned();
    assert_eq!(refused, Err(CallError::Refused { status: 400, reason }));
}

#[tokio::test]
async fn events_and_calls_travel_in_json() {
    carries_events_and_calls(Protocol::HttpJson).await;
}

#[tokio::test]
async fn events_and_calls_travel_in_protobuf() {
    carries_events_and_calls(Protocol::HttpProtobuf).await;
}

/// The next event, which is the report of an operation.
async fn reported(events: &mut EventStream) -> OperationStatus {
    let event = next(events).await;
    let SessionEvent::Event(event) = event else { panic!("{event:?}") };
    event.update_operation_status.expect("a report").status
}

#[tokio::test]
async fn reports_of_operations_are_confirmed_by_themselves_or_by_hand() {
    for protocol in [Protocol::HttpJson, Protocol::HttpProtobuf] {
        for auto_acknowledge in [true, false] {
            let mut master = Stage::new([Play::Stream(15.0)]).await;
            let info = framework("test", "root", Duration::from_secs(60));
            let options = ClientOptions::new(vec![master.address.to_string()], info);
            let (handle, mut events) =
                Client::connect(ClientOptions { protocol, auto_acknowledge, ..options });
            let opened = master.opened().await;
            expect_subscribed(&mut events, false).await;
            opened.send(&operation_update("reserve", Some(vec![7; 16])));
            let status = reported(&mut events).await;
            assert_eq!(status.state(), OperationState::OperationFinished);
            if !auto_acknowledge {
                handle.acknowledge_operation(&status).await.expect("taken");
            }
            let call = master.call().await.0;
            assert_eq!(call.framework_id.expect("filled in").value, "f-0000");
            let confirmed = call.acknowledge_operation_status.expect("a confirmation");
            assert_eq!(confirmed.uuid, vec![7; 16]);
            assert_eq!(confirmed.operation_id.value, "reserve");
            assert_eq!(confirmed.agent_id.expect("where it is").value, "a-S0");

            // What is said only once needs no confirmation: the next call is the question.
            opened.send(&operation_update("create", None));
            let status = reported(&mut events).await;
            assert_eq!(calls::acknowledge_operation(&status), None);
            handle.acknowledge_operation(&status).await.expect("nothing to do");
            let operation = OperationId { value: "create".into() };
            handle
                .reconcile_operations([(operation.clone(), status.agent_id.clone())])
                .await
                .expect("taken");
            let asked = master.call().await.0.reconcile_operations.expect("a question").operations;
            assert_eq!(asked.len(), 1);
            assert_eq!(
                (&asked[0].operation_id, &asked[0].agent_id),
                (&operation, &status.agent_id)
            );
        }
    }
}

#[tokio::test]
async fn a_lost_stream_is_opened_again_under_the_same_id() {
    let mut master = Stage::new([
        Play::Answer(StatusCode::SERVICE_UNAVAILABLE, "No leader elected"),
        Play::Stream(15.0),
        Play::Answer(StatusCode::SERVICE_UNAVAILABLE, "Master has not finished recovery"),
        Play::Stream(15.0),
    ])
    .await;
    let (handle, mut events) = master.connect(Protocol::HttpJson);
    let first = master.opened().await;
    expect_subscribed(&mut events, false).await;
    handle.suppress(vec!["*".into()]).await.expect("taken");
    drop(first);
    assert!(matches!(next(&mut events).await, SessionEvent::Disconnected { .. }));
    let second = master.opened().await;
    let subscribe = second.subscribe.subscribe.expect("what it is");
    assert_eq!(subscribe.framework_info.id.expect("kept").value, "f-0000");
    assert_eq!(subscribe.suppressed_roles, ["*"]);
    expect_subscribed(&mut events, true).await;
    // What was called before is of the old stream, what comes now of the new one.
    handle.teardown().await.expect("taken");
    let streams = [master.call().await.1, master.call().await.1];
    assert_eq!(streams.map(|id| id.expect("always sent")), ["stream-false", "stream-true"]);
}

#[tokio::test]
async fn a_call_that_gets_lost_ends_the_session_and_what_waits_behind_it() {
    let mut master = Stage::new([Play::Stream(15.0), Play::Stream(15.0)]).await;
    let (handle, mut events) = master.connect(Protocol::HttpJson);
    let first = master.opened().await;
    expect_subscribed(&mut events, false).await;
    handle.suppress(vec!["*".into()]).await.expect("taken");
    let lost = handle.submit(calls::reconcile([]));
    // It never reaches the master, and with its stream still standing nobody would say it again.
    let revived = handle.submit(calls::revive(Vec::new()));
    assert!(matches!(next(&mut events).await, SessionEvent::Disconnected { .. }));
    assert_eq!(soon(lost).await, Err(CallError::NotConnected));
    assert!(soon(revived).await.is_err());
    expect_subscribed(&mut events, true).await;
    let second = master.opened().await;
    let subscribe = second.subscribe.subscribe.expect("what it is");
    assert_eq!(subscribe.suppressed_roles, [""; 0], "it is revived by the new session");
    soon(first.records.closed()).await;
}

#[tokio::test]
async fn a_silent_stream_is_given_up() {
    let mut master = Stage::new([Play::Stream(0.02), Play::Stream(15.0)]).await;
    let (_handle, mut events) = master.connect(Protocol::HttpProtobuf);
    let silent = master.opened().await;
    expect_subscribed(&mut events, false).await;
    assert!(matches!(next(&mut events).await, SessionEvent::Disconnected { .. }));
    expect_subscribed(&mut events, true).await;
    soon(silent.records.closed()).await;
}

#[tokio::test]
async fn what_cannot_be_mended_ends_the_session() {
    let master = Stage::new([Play::Answer(StatusCode::BAD_REQUEST, "no such thing")]).await;
    let (handle, mut events) = master.connect(Protocol::HttpJson);
    let event = next(&mut events).await;
    assert!(matches!(&event, SessionEvent::Ended(End::Rejected(why)) if why.contains("no such")));
    assert_eq!(soon(events.next()).await, None);
    assert_eq!(handle.revive(Vec::new()).await, Err(CallError::Ended));

    let mut master = Stage::new([Play::Stream(15.0)]).await;
    let (_handle, mut events) = master.connect(Protocol::HttpJson);
    let opened = master.opened().await;
    expect_subscribed(&mut events, false).await;
    opened.send(&error("Framework failed over"));
    assert_eq!(next(&mut events).await, SessionEvent::Ended(End::FailedOver));
}

#[tokio::test]
async fn calls_without_a_master_are_refused_at_once() {
    let master = Stage::new([]).await;
    let (handle, events) = master.connect(Protocol::HttpJson);
    assert_eq!(handle.revive(Vec::new()).await, Err(CallError::NotConnected));
    drop(events);
    let ended = async {
        while handle.revive(Vec::new()).await != Err(CallError::Ended) {
            tokio::task::yield_now().await;
        }
    };
    soon(ended).await;
}

#[tokio::test]
async fn a_stopped_session_leaves_the_framework_alone() {
    let mut master = Stage::new([Play::Stream(15.0)]).await;
    let (handle, mut events) = master.connect(Protocol::HttpJson);
    let opened = master.opened().await;
    expect_subscribed(&mut events, false).await;
    handle.stop().await;
    assert_eq!(next(&mut events).await, SessionEvent::Ended(End::Stopped));
    soon(opened.records.closed()).await;
    assert!(master.calls.try_recv().is_err(), "no teardown");
}
