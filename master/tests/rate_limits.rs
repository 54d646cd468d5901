//! How fast calls of each principal are taken in, over real sockets.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Alone, BOTH, Events, Operator, SOON, Scheduler, subscribe_call, written};
use futures::StreamExt;
use master::{Authentication, Options};
use proto::agora::v1::SchedulerFrame;
use proto::agora::v1::master_answer::Body;
use proto::agora::v1::scheduler_client::SchedulerClient;
use proto::mesos::v1::scheduler::Call;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::Code;
use transport::auth::{Credential, Credentials};
use transport::grpc::channel;
use transport::http::{Encoding, decode};
use transport::identity::Identity;

/// One call an hour, and none that waits.
const HOURLY: f64 = 1.0 / 3_600.0;

async fn limited(limits: Value) -> Alone {
    let rate_limits = serde_json::from_value(limits).expect("limits");
    Alone::with(Options { rate_limits, ..Options::default() }).await
}

fn subscribe_as(principal: Option<&str>) -> Value {
    let mut call = subscribe_call();
    if let Some(principal) = principal {
        call["subscribe"]["framework_info"]["principal"] = json!(principal);
    }
    call
}

fn message(call: &Value) -> Call {
    decode(Encoding::Json, call.to_string().as_bytes(), "Call").expect("a call")
}

/// A framework with its stream open.
struct Framework {
    id: Value,
    stream: String,
    _events: Events,
}

impl Framework {
    async fn subscribed(master: &Alone, call: &Value) -> Self {
        let (stream, mut events) = master.subscribe(call).await;
        let subscribed = events.next().await.expect("an event");
        let id = subscribed["subscribed"]["framework_id"].clone();
        Self { id, stream, _events: events }
    }

    async fn revive(&self, master: &Alone, encoding: Encoding) -> Response {
        let call = message(&json!({"type": "REVIVE", "framework_id": self.id}));
        let request = master.http.post(master.url("/api/v1/scheduler"));
        let request = request.header("content-type", encoding.mime());
        let request = request.header("mesos-stream-id", &self.stream);
        request.body(encoding.encode(&call)).send().await.expect("an answer")
    }
}

/// Status, when to try again, and text.
async fn read(answer: Response) -> (u16, u64, String) {
    let status = answer.status().as_u16();
    let after = answer.headers().get("retry-after").and_then(|after| after.to_str().ok());
    let after = after.and_then(|after| after.parse().ok()).unwrap_or_default();
    (status, after, answer.text().await.expect("a body"))
}

#[tokio::test]
async fn calls_past_the_capacity_are_refused_and_those_of_others_go_on() {
    let limits = json!({
        "limits": [
            {"principal": "web", "qps": HOURLY, "capacity": 0},
            {"principal": "free"},
        ],
        "aggregate_default_qps": HOURLY, "aggregate_default_capacity": 0,
    });
    let master = limited(limits).await;
    let web = Framework::subscribed(&master, &subscribe_as(Some("web"))).await;
    let other = Framework::subscribed(&master, &subscribe_as(Some("other"))).await;
    let free = Framework::subscribed(&master, &subscribe_as(Some("free"))).await;
    for encoding in BOTH {
        for (framework, whose) in
            [(&web, "principal 'web'"), (&other, "frameworks without a limit of their own")]
        {
            let (status, after, text) = read(framework.revive(&master, encoding).await).await;
            assert_eq!(status, 429);
            assert!(after > 3_000 && after <= 3_600, "{after}");
            let why = format!(
                "The call is dropped: 0 wait already, the capacity of the rate limit of {whose}; try \
                 again in {after} s"
            );
            assert_eq!(text, why);
        }
        for _ in 0..3 {
            assert_eq!(free.revive(&master, encoding).await.status(), 202);
        }
    }
    // Also who subscribes, and those without a principal share the line of all others.
    for (principal, encoding) in [(Some("web"), BOTH[0]), (None, BOTH[1])] {
        let request = master.http.post(master.url("/api/v1/scheduler"));
        let request = request.header("content-type", encoding.mime());
        let request = request.body(written::<Call>(encoding, &subscribe_as(principal)));
        assert_eq!(read(request.send().await.expect("an answer")).await.0, 429);
    }
    let metrics = master.get("/metrics/snapshot").await;
    let count = |name: &str| metrics[format!("frameworks/{name}")].as_f64();
    assert_eq!(count("web/messages_received"), Some(4.0));
    assert_eq!(count("web/messages_processed"), Some(1.0));
    assert_eq!(count("free/messages_received"), Some(7.0));
    assert_eq!(count("free/messages_processed"), Some(7.0));
    let over = master.http.get(master.url("/metrics")).send().await.expect("an answer");
    let over = over.text().await.expect("text");
    assert!(over.contains("agora_calls_over_rate_limit{principal=\"web\"}"), "{over}");
}

#[tokio::test]
async fn calls_within_the_capacity_wait_for_their_turn() {
    let limits = json!({"limits": [{"principal": "web", "qps": 20, "capacity": 10}]});
    let master = limited(limits).await;
    let began = Instant::now();
    let web = Framework::subscribed(&master, &subscribe_as(Some("web"))).await;
    for encoding in BOTH {
        let calls = (0..4).map(|_| web.revive(&master, encoding));
        for answer in futures::future::join_all(calls).await {
            assert_eq!(answer.status(), 202);
        }
    }
    // SUBSCRIBE and eight calls, a twentieth of a second apart.
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_stream_of_grpc_waits_too_and_is_answered_in_order() {
    let limits = json!({"limits": [{"principal": "web", "qps": 1, "capacity": 1}]});
    let master = limited(limits).await;
    let channel = channel(&master.address().to_string(), &Identity::of(None)).expect("an address");
    let mut client = SchedulerClient::new(channel);
    let (frames, from_us) = futures::channel::mpsc::unbounded();
    let send = |sequence, call: &Value| {
        let frame = SchedulerFrame { sequence, call: Some(message(call)) };
        frames.unbounded_send(frame).expect("the stream is open");
    };
    send(1, &subscribe_as(Some("web")));
    let mut from_master = client.subscribe(from_us).await.expect("let in").into_inner();
    let (mut id, mut answers) = (Value::Null, Vec::new());
    while answers.len() < 4 {
        let message = timeout(SOON, from_master.message()).await.expect("in time");
        match message.expect("a stream").expect("it goes on").body.expect("a body") {
            Body::Answer(answer) => answers.push((answer.sequence, answer.status, answer.reason)),
            Body::Event(event) => {
                let event = proto::json::to_value(&event);
                if id.is_null() && event["type"] == "SUBSCRIBED" {
                    id = event["subscribed"]["framework_id"].clone();
                    for sequence in 2..=4 {
                        send(sequence, &json!({"type": "REVIVE", "framework_id": id}));
                    }
                }
            }
        }
    }
    let statuses: Vec<_> =
        answers.iter().map(|(sequence, status, _)| (*sequence, *status)).collect();
    assert_eq!(statuses, [(1, 200), (2, 202), (3, 429), (4, 429)]);
    let why = "The call is dropped: 1 wait already, the capacity of the rate limit of principal \
               'web'; try again in 1 s";
    assert_eq!(answers[2].2, why);
}

#[tokio::test]
async fn a_subscription_over_grpc_is_refused_in_its_own_words() {
    let limits = json!({"aggregate_default_qps": HOURLY, "aggregate_default_capacity": 0});
    let master = limited(limits).await;
    let frame = SchedulerFrame { sequence: 1, call: Some(message(&subscribe_as(None))) };
    let frames = || tokio_stream::once(frame.clone()).chain(futures::stream::pending());
    let address = master.address().to_string();
    let mut client =
        SchedulerClient::new(channel(&address, &Identity::of(None)).expect("an address"));
    let mut first = client.subscribe(frames()).await.expect("let in").into_inner();
    timeout(SOON, first.message()).await.expect("in time").expect("subscribed");
    let mut second = client.subscribe(frames()).await.expect("let in").into_inner();
    let refused = timeout(SOON, second.message()).await.expect("in time").expect_err("too soon");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("rate limit"), "{}", refused.message());
}

#[tokio::test]
async fn operators_have_the_limit_of_their_name_and_only_that() {
    let named = |name: &str| Credential::new(name, "s");
    let authentication = Authentication {
        credentials: Some(Arc::new(Credentials::new(["ops", "other"].map(named)))),
        readonly: true,
        readwrite: true,
        ..Authentication::default()
    };
    let limits = json!({
        "limits": [{"principal": "ops", "qps": HOURLY, "capacity": 0}],
        "aggregate_default_qps": HOURLY, "aggregate_default_capacity": 0,
    });
    let rate_limits = serde_json::from_value(limits).expect("limits");
    let master = Alone::with(Options { authentication, rate_limits, ..Options::default() }).await;
    let get = async |path: &str, who: &str| {
        let request = master.http.get(master.url(path)).header("authorization", named(who).basic());
        read(request.send().await.expect("an answer")).await
    };
    assert_eq!(get("/state", "ops").await.0, 200);
    let (status, after, text) = get("/roles", "ops").await;
    assert!(status == 429 && after > 3_000, "{status} {after}");
    assert!(text.contains("the rate limit of principal 'ops'"), "{text}");
    for path in ["/quota", "/flags", "/state", "/roles"] {
        assert_eq!(get(path, "other").await.0, 200, "{path}");
    }
    // Who looks whether it is there asks nobody in particular.
    assert_eq!(get("/health", "ops").await.0, 200);
    for encoding in BOTH {
        let operator = Operator { who: Some(named("ops")), ..Operator::new(&master, encoding) };
        let (status, text) = operator.call(&json!({"type": "GET_HEALTH"})).await;
        assert!(status == 429 && text.to_string().contains("principal 'ops'"), "{status} {text}");
    }
}

#[tokio::test]
async fn whoever_has_proved_to_call_is_who_is_limited() {
    let authentication = Authentication {
        credentials: Some(Arc::new(Credentials::new([Credential::new("web", "s")]))),
        frameworks: true,
        ..Authentication::default()
    };
    let limits = json!({"limits": [{"principal": "web", "qps": HOURLY, "capacity": 0}]});
    let rate_limits = serde_json::from_value(limits).expect("limits");
    let master = Alone::with(Options { authentication, rate_limits, ..Options::default() }).await;
    let info = subscribe_as(None)["subscribe"]["framework_info"].take();
    let who = Credential::new("web", "s");
    Scheduler::subscribed(&master, BOTH[0], &info, Some(who.clone())).await;
    for encoding in BOTH {
        let request = master.http.post(master.url("/api/v1/scheduler"));
        let request = request.header("authorization", who.basic());
        let request = request.header("content-type", encoding.mime());
        let request = request.body(written::<Call>(encoding, &subscribe_as(None)));
        assert_eq!(request.send().await.expect("an answer").status(), 429);
    }
}
