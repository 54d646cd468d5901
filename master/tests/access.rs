//! Who is let in by a master that asks for names and secrets.

mod common;

use std::sync::Arc;

use common::{Alone, BOTH, FakeAgent, SOON, Scheduler, subscribe_call, written};
use futures::StreamExt;
use master::{Authentication, Options};
use model::ids::Term;
use model::link::FromAgent;
use proto::agora::v1::SchedulerFrame;
use proto::agora::v1::agent_link_client::AgentLinkClient;
use proto::agora::v1::raft_admin_client::RaftAdminClient;
use proto::agora::v1::scheduler_client::SchedulerClient;
use proto::agora::v1::{ListMembersRequest, RaftBatch, raft_client::RaftClient};
use proto::mesos::v1::scheduler::Call;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::Code;
use transport::auth::{Credential, Credentials};
use transport::grpc::{Channel, channel};
use transport::http::{Encoding, decode};
use transport::identity::Identity;

fn web() -> Credential {
    Credential::new("web", "w")
}

fn ops() -> Credential {
    Credential::new("ops", "o")
}

/// A master that asks everybody.
async fn closed() -> Alone {
    let credentials = Some(Arc::new(Credentials::new([web(), ops()])));
    let authentication = Authentication {
        credentials,
        frameworks: true,
        readonly: true,
        readwrite: true,
        agents: true,
        masters: true,
    };
    Alone::with(Options { authentication, ..Options::default() }).await
}

/// POSTs a call of a framework as somebody.
async fn post(
    master: &Alone,
    encoding: Encoding,
    who: &Credential,
    body: Vec<u8>,
) -> reqwest::Response {
    let request = master.http.post(master.url("/api/v1/scheduler"));
    let request = request.header("authorization", who.basic());
    let request = request.header("content-type", encoding.mime()).body(body);
    request.send().await.expect("an answer")
}

/// GETs as somebody; the status.
async fn status(master: &Alone, path: &str, who: Option<&Credential>) -> u16 {
    let mut request = master.http.get(master.url(path));
    if let Some(who) = who {
        request = request.header("authorization", who.basic());
    }
    request.send().await.expect("an answer").status().as_u16()
}

fn channel_of(master: &Alone, who: Option<Credential>) -> Channel {
    channel(&master.address().to_string(), &Identity::of(who)).expect("an address")
}

#[tokio::test]
async fn every_realm_asks_for_a_name_and_its_secret() {
    let master = closed().await;
    for (path, realm) in [
        ("/state", "mesos-master-readonly"),
        ("/master/state.json", "mesos-master-readonly"),
        ("/metrics", "mesos-master-readonly"),
        ("/quota", "mesos-master-readwrite"),
        ("/api/v1", "mesos-master-readwrite"),
        ("/master/api/v1/", "mesos-master-readwrite"),
        ("//api/v1/scheduler", "mesos-master-scheduler"),
    ] {
        let answer = master.http.get(master.url(path)).send().await.expect("an answer");
        assert_eq!(answer.status(), 401, "{path}");
        let challenge = answer.headers()["www-authenticate"].to_str().expect("text");
        assert_eq!(challenge, format!("Basic realm=\"{realm}\""), "{path}");
        assert_eq!(status(&master, path, Some(&Credential::new("web", "x"))).await, 401, "{path}");
        assert_ne!(status(&master, path, Some(&web())).await, 401, "{path}");
    }
    for path in ["/health", "/version"] {
        assert_eq!(status(&master, path, None).await, 200, "{path}");
    }
    assert_eq!(status(&master, "/redirect", None).await, 307);
}

#[tokio::test]
async fn a_master_that_asks_nobody_does_not_look_at_credentials() {
    let master = Alone::started().await;
    assert_eq!(status(&master, "/state", Some(&web())).await, 200);
    for encoding in BOTH {
        let body = written::<Call>(encoding, &subscribe_call());
        assert_eq!(post(&master, encoding, &web(), body).await.status(), 200);
    }
}

#[tokio::test]
async fn a_framework_is_who_it_has_proved_to_be() {
    let master = closed().await;
    for encoding in BOTH {
        let info = subscribe_call()["subscribe"]["framework_info"].take();
        let scheduler = Scheduler::subscribed(&master, encoding, &info, Some(web())).await;
        // It has named no principal, so it got the one it has shown.
        let state = master.http.get(master.url("/state")).header("authorization", ops().basic());
        let state = state.send().await.expect("an answer").bytes().await.expect("a body");
        let state: Value = serde_json::from_slice(&state).expect("JSON");
        assert_eq!(state["frameworks"][0]["principal"], "web");
        assert!(!state.to_string().contains("secret"));

        // Nobody else may call in its name.
        let revive = json!({"type": "REVIVE"});
        scheduler.call(revive.clone()).await;
        let not = |name: &str, stated: &str| {
            format!(
                "Authenticated principal '{name}' does not match principal '{stated}' set in \
                 `FrameworkInfo`"
            )
        };
        let refused = scheduler.of(ops()).answer(&revive).await;
        assert_eq!(refused, (400, not("ops", "web")));

        let mut call = subscribe_call();
        let body = |call: &Value| written::<Call>(encoding, call);
        call["subscribe"]["framework_info"]["principal"] = json!("ops");
        let refused = post(&master, encoding, &web(), body(&call)).await;
        assert_eq!(refused.status(), 400);
        // That comes before whatever else is wrong with it, which alone is told on the stream.
        call["subscribe"]["framework_info"]["role"] = json!("-");
        let refused = post(&master, encoding, &web(), body(&call)).await;
        assert_eq!(refused.status(), 400);
        assert_eq!(refused.text().await.expect("a body"), not("web", "ops"));
        call["subscribe"]["framework_info"]["principal"] = json!("web");
        let subscribe = call["subscribe"].take();
        let told = Scheduler::subscribed_by(&master, encoding, &subscribe, Some(web())).await;
        let told = told.err().expect("that there is no such role");
        assert!(told.starts_with("'-' is not a valid role"), "{told}");
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn a_framework_over_grpc_is_asked_too() {
    let master = closed().await;
    let call = decode(Encoding::Json, subscribe_call().to_string().as_bytes(), "Call");
    let frame = SchedulerFrame { sequence: 1, call: Some(call.expect("a call")) };
    let frames = || tokio_stream::once(frame.clone()).chain(futures::stream::pending());
    for who in [None, Some(Credential::new("web", "x"))] {
        let mut client = SchedulerClient::new(channel_of(&master, who));
        let refused = client.subscribe(frames()).await.expect_err("nobody is let in so");
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let mut client = SchedulerClient::new(channel_of(&master, Some(web())));
    let mut answers = client.subscribe(frames()).await.expect("let in").into_inner();
    let first = timeout(SOON, answers.message()).await.expect("in time").expect("a stream");
    assert!(first.is_some());
}

#[tokio::test]
async fn agents_and_masters_are_asked_too() {
    let master = closed().await;
    let silent = || futures::stream::pending();
    for who in [None, Some(Credential::new("nobody", "w"))] {
        let mut link = AgentLinkClient::new(channel_of(&master, who.clone()));
        assert_eq!(link.connect(silent()).await.expect_err("no").code(), Code::Unauthenticated);
        let mut raft = RaftClient::new(channel_of(&master, who.clone()));
        let batch = tokio_stream::once(RaftBatch::default());
        assert_eq!(raft.deliver(batch).await.expect_err("no").code(), Code::Unauthenticated);
        let mut admin = RaftAdminClient::new(channel_of(&master, who));
        let listed = admin.list_members(ListMembersRequest {}).await;
        assert_eq!(listed.expect_err("no").code(), Code::Unauthenticated);
    }
    let agent = FakeAgent::registered_as(master.address(), Some(ops())).await;
    agent.say(&FromAgent::Pong).await;
    assert!(agent.term > Term(0));
    let mut admin = RaftAdminClient::new(channel_of(&master, Some(ops())));
    admin.list_members(ListMembersRequest {}).await.expect("let in");
}
