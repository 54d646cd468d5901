//! The stream of events: what of an app's, a pod's, a deployment's and the cluster's life is told, and how
//! whoever was away catches up.

use std::collections::BTreeSet;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::cluster::{Cluster, sleeper};
use crate::harness::{PATIENCE, until_async};

/// One event: its kind, what is told, and the id by which to go on after it.
struct Event {
    kind: String,
    data: Value,
    id: String,
}

/// A stream that is read as far as something is waited for.
pub(crate) struct Watch {
    response: Response,
    text: String,
    seen: Vec<Event>,
    /// How much of what was seen has been looked at.
    looked_at: usize,
}

impl Watch {
    pub(crate) async fn open(cluster: &Cluster, query: &str, last: Option<&str>) -> Self {
        let url = format!("http://{}/v2/events{query}", cluster.marathon.address);
        let mut request = cluster.world.http.get(url).timeout(PATIENCE);
        request = request.header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.expect("Marathon answers");
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"].to_str().expect("text");
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        Self { response, text: String::new(), seen: Vec::new(), looked_at: 0 }
    }

    /// Takes in what comes next; false when the stream has ended.
    async fn read(&mut self) -> bool {
        let Ok(Some(bytes)) = self.response.chunk().await else { return false };
        self.text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
        while let Some(end) = self.text.find("\r\n\r\n") {
            let block: String = self.text.drain(..end + 4).collect();
            let line = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().to_owned()
            };
            // Comments keep the stream alive, and say nothing.
            if !block.starts_with(':') {
                let data = serde_json::from_str(&line("data: ")).expect("one line of JSON");
                let event = Event { kind: line("event: "), data, id: line("id: ") };
                assert_eq!(event.data["eventType"], event.kind.as_str());
                let at = event.data["timestamp"].as_str().expect("a time");
                assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
                self.seen.push(event);
            }
        }
        true
    }

    /// The next event of this kind that `is` right, after all that were waited for before.
    pub(crate) async fn next(&mut self, kind: &str, is: impl Fn(&Value) -> bool) -> Value {
        let found = tokio::time::timeout(PATIENCE / 2, async {
            loop {
                let new = self.seen.iter().enumerate().skip(self.looked_at);
                let right = |(_, it): &(usize, &Event)| it.kind == kind && is(&it.data);
                if let Some((at, event)) = new.into_iter().find(right) {
                    let data = event.data.clone();
                    self.looked_at = at + 1;
                    return data;
                }
                assert!(self.read().await, "the stream ended before {kind}");
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| panic!("no {kind} within time, only {:?}", self.kinds()))
    }

    /// The same of any kind whose `field` is `value`, and among all that was seen.
    async fn any(&mut self, kind: &str, field: &str, value: &str) -> Value {
        self.looked_at = 0;
        self.next(kind, |data| data[field] == value).await
    }

    fn kinds(&self) -> Vec<&str> {
        self.seen.iter().map(|event| event.kind.as_str()).collect()
    }
}

/// The fields of an event beside those that all have.
fn fields(event: &Value) -> BTreeSet<&str> {
    let all = event.as_object().expect("an object").keys().map(String::as_str);
    all.filter(|name| !matches!(*name, "eventType" | "timestamp")).collect()
}

fn set<const N: usize>(names: [&'static str; N]) -> BTreeSet<&'static str> {
    names.into()
}

#[tokio::test]
async fn the_life_of_an_app_is_told_from_its_first_day_to_its_last() {
    let cluster = Cluster::start().await;
    let mut all = Watch::open(&cluster, "?plan-format=light", None).await;
    let attached = all.next("event_stream_attached", |_| true).await;
    assert_eq!(fields(&attached), set(["remoteAddress"]));
    assert_eq!(all.seen.len(), 1, "its own comes first");

    // It is well at first, ill when its file is gone, and ended for that.
    let mut app = sleeper("/shop/web");
    app["cmd"] = "touch well; sleep 1; rm well; exec sleep 1000".into();
    app["healthChecks"] = json!([{
        "protocol": "COMMAND", "command": {"value": "test -e well"}, "gracePeriodSeconds": 0,
        "intervalSeconds": 1, "maxConsecutiveFailures": 1, "delaySeconds": 0,
    }]);
    cluster.world.create(&cluster.marathon.address, "/v2/apps", &app).await;
    let changed = all.any("group_change_success", "groupId", "/shop").await;
    assert_eq!(fields(&changed), set(["groupId", "version"]));
    let posted = all.any("api_post_event", "uri", "/v2/apps").await;
    assert_eq!(fields(&posted), set(["clientIp", "uri", "appDefinition"]));
    assert_eq!(posted["appDefinition"]["id"], "/shop/web");
    let check = all.any("add_health_check_event", "appId", "/shop/web").await;
    assert_eq!(fields(&check), set(["appId", "version", "healthCheck"]));
    assert_eq!(check["healthCheck"]["command"]["value"], "test -e well");
    for condition in ["Scheduled", "Provisioned", "Running"] {
        let told = all.any("instance_changed_event", "condition", condition).await;
        assert_eq!(told["runSpecId"], "/shop/web");
        let expected =
            set(["instanceId", "condition", "runSpecId", "agentId", "host", "runSpecVersion"]);
        assert_eq!(fields(&told), expected);
    }
    let status = all.any("status_update_event", "taskStatus", "TASK_RUNNING").await;
    let expected = set([
        "slaveId",
        "taskId",
        "taskStatus",
        "message",
        "appId",
        "host",
        "ipAddresses",
        "ports",
        "version",
    ]);
    assert_eq!(fields(&status), expected);
    assert!(status["host"].as_str().is_some_and(|host| host.contains(".test")), "{status}");
    for alive in [true, false] {
        let told = all.next("health_status_changed_event", |it| it["alive"] == alive).await;
        assert_eq!(fields(&told), set(["appId", "instanceId", "version", "alive"]));
        all.looked_at = 0;
        let told = all.next("instance_health_changed_event", |it| it["healthy"] == alive).await;
        let expected = set(["instanceId", "runSpecId", "healthy", "runSpecVersion"]);
        assert_eq!(fields(&told), expected);
        all.looked_at = 0;
    }
    let failed = all.any("failed_health_check_event", "appId", "/shop/web").await;
    assert_eq!(fields(&failed), set(["appId", "taskId", "healthCheck"]));
    let killed = all.any("unhealthy_instance_kill_event", "appId", "/shop/web").await;
    let expected = set(["appId", "taskId", "instanceId", "version", "reason", "host", "slaveId"]);
    assert_eq!(fields(&killed), expected);
    assert_eq!(killed["taskId"], status["taskId"]);

    // The check goes, and then the app.
    all.looked_at = all.seen.len();
    cluster.put("/v2/apps/shop/web?force=true", &json!({"healthChecks": []})).await;
    let gone = all.next("remove_health_check_event", |_| true).await;
    assert_eq!(gone["appId"], "/shop/web");
    cluster.delete("/v2/apps/shop/web").await;
    let terminated = all.next("app_terminated_event", |_| true).await;
    assert_eq!((fields(&terminated), &terminated["appId"]), (set(["appId"]), &json!("/shop/web")));
}

#[tokio::test]
async fn the_ways_of_deployments_are_told() {
    let cluster = Cluster::start().await;
    let mut all = Watch::open(&cluster, "", None).await;
    let mut light =
        Watch::open(&cluster, "?plan-format=light&event_type=deployment_info", None).await;
    cluster.deploy(&sleeper("/good")).await;
    let info = all.next("deployment_info", |_| true).await;
    assert_eq!(fields(&info), set(["plan", "currentStep"]));
    assert_eq!(fields(&info["plan"]), set(["id", "version", "steps", "original", "target"]));
    assert_eq!(info["currentStep"]["actions"][0]["app"], "/good");
    let step = all.next("deployment_step_success", |_| true).await;
    assert_eq!(fields(&step), set(["plan", "currentStep"]));
    let done = all.next("deployment_success", |_| true).await;
    assert_eq!((fields(&done), &done["id"]), (set(["id", "plan"]), &info["plan"]["id"]));
    let info = light.next("deployment_info", |_| true).await;
    assert_eq!(fields(&info["plan"]), set(["id", "version", "steps"]), "light by wish");
    assert!(light.kinds().iter().all(|kind| *kind == "deployment_info"), "{:?}", light.kinds());

    // One that fails, with its reason.
    let mut bad = sleeper("/bad");
    bad["cmd"] = "exit 1".into();
    bad["healthChecks"] = json!([{"protocol": "COMMAND", "command": {"value": "true"}}]);
    bad["labels"] = json!({"AGORA_DEPLOYMENT_MAX_FAILURES": "0"});
    cluster.world.create(&cluster.marathon.address, "/v2/apps", &bad).await;
    let failed = all.next("deployment_step_failure", |_| true).await;
    assert_eq!(fields(&failed), set(["plan", "currentStep"]));
    let failed = all.next("deployment_failed", |_| true).await;
    assert_eq!(fields(&failed), set(["id", "plan", "reason"]));
    let why = failed["reason"].as_str().expect("a reason");
    assert!(why.starts_with("1 new tasks of /bad failed"), "{why}");

    // A change that cannot be is told too, with its group.
    let mut never = sleeper("/shop/never");
    never["cpus"] = 1_000.into();
    cluster.world.create(&cluster.marathon.address, "/v2/apps", &never).await;
    let (status, answer) =
        cluster.send(Method::PUT, "/v2/groups/shop", &json!({"scaleBy": 2})).await;
    assert_eq!(status, 409, "{answer}");
    let refused = all.next("group_change_failed", |_| true).await;
    assert_eq!(fields(&refused), set(["groupId", "version", "reason"]));
    assert_eq!((&refused["groupId"], &refused["reason"]), (&json!("/shop"), &answer["message"]));
    let ring = json!({"apps": [{"id": "one", "cmd": "x", "dependencies": ["two"]},
                               {"id": "two", "cmd": "x", "dependencies": ["one"]}]});
    let (status, answer) = cluster.send(Method::PUT, "/v2/groups/ring", &ring).await;
    assert_eq!(status, 422, "{answer}");
    let refused = all.next("group_change_failed", |_| true).await;
    let error = answer["details"][0]["errors"][0].as_str().expect("an error");
    assert_eq!(refused["groupId"], "/ring");
    assert!(refused["reason"].as_str().is_some_and(|why| why.contains(error)), "{refused}");
}

#[tokio::test]
async fn what_becomes_of_pods_is_told() {
    let cluster = Cluster::start().await;
    let query =
        "?event_type=pod_created_event&event_type=pod_updated_event&event_type=pod_deleted_event";
    let mut watch = Watch::open(&cluster, query, None).await;
    let mut pod = json!({
        "id": "/pod",
        "containers": [{"name": "one", "resources": {"cpus": 0.1, "mem": 32},
                        "exec": {"command": {"argv": ["sleep", "1000"]}}}],
    });
    cluster.deploy_pod(&pod).await;
    pod["scaling"] = json!({"kind": "fixed", "instances": 2});
    cluster.change("/v2/pods/pod", &pod).await;
    cluster.delete("/v2/pods/pod").await;
    for (kind, uri) in [
        ("pod_created_event", "/v2/pods"),
        ("pod_updated_event", "/v2/pods/pod"),
        ("pod_deleted_event", "/v2/pods/pod"),
    ] {
        let told = watch.next(kind, |_| true).await;
        assert_eq!((fields(&told), &told["uri"]), (set(["clientIp", "uri"]), &json!(uri)));
    }
    assert_eq!(watch.seen.len(), 3, "{:?}", watch.kinds());
}

#[tokio::test]
async fn who_comes_back_is_told_what_was_missed_and_nothing_twice() {
    let cluster = Cluster::start().await;
    let query = "?event_type=api_post_event";
    let mut first = Watch::open(&cluster, query, None).await;
    let mut other = Watch::open(&cluster, "?event_type=event_stream_detached", None).await;
    let idle = |id: &str| json!({"id": id, "cmd": "x", "instances": 0});
    cluster.deploy(&idle("/a")).await;
    first.next("api_post_event", |_| true).await;
    let last = first.seen[0].id.clone();
    assert!(!last.is_empty());
    drop(first);
    cluster.deploy(&idle("/b")).await;
    cluster.deploy(&idle("/c")).await;
    let detached = other.next("event_stream_detached", |_| true).await;
    assert_eq!(fields(&detached), set(["remoteAddress"]));

    let mut again = Watch::open(&cluster, query, Some(&last)).await;
    cluster.deploy(&idle("/d")).await;
    for id in ["/b", "/c", "/d"] {
        let told = again.next("api_post_event", |_| true).await;
        assert_eq!(told["appDefinition"]["id"], id);
    }
    let ids: BTreeSet<&str> = again.seen.iter().map(|event| event.id.as_str()).collect();
    assert_eq!((again.seen.len(), ids.len()), (3, 3), "each has an id of its own");

    // Whose place nobody knows is told so, if asked for by name.
    let query = format!("{query}&event_type=agora_resync");
    let mut stray = Watch::open(&cluster, &query, Some("nowhere/7")).await;
    stray.next("agora_resync", |_| true).await;
    assert_eq!(stray.seen[0].kind, "agora_resync", "it comes first");

    // All streams end with the lead.
    let (status, answer) = cluster.ask(Method::DELETE, "/v2/leader").await;
    assert_eq!(status, 200, "{answer}");
    until_async("the stream ends", PATIENCE, async || (!again.read().await).then_some(())).await;
}

/// An executor of its own: it runs what it is told to, and sends the app's command to the framework.
const EXECUTOR: &str = r#"#!/usr/bin/env python3
import base64, http.client, json, os, sys, uuid

def call(kind, **body):
    connection = http.client.HTTPConnection(os.environ["MESOS_AGENT_ENDPOINT"])
    body.update(type=kind, framework_id={"value": os.environ["MESOS_FRAMEWORK_ID"]},
                executor_id={"value": os.environ["MESOS_EXECUTOR_ID"]})
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    connection.request("POST", "/api/v1/executor", json.dumps(body), headers)
    return connection.getresponse()

def text(some):
    return base64.b64encode(some).decode()

def report(task, state):
    status = {"task_id": task, "state": state, "source": "SOURCE_EXECUTOR", "uuid": text(uuid.uuid4().bytes)}
    call("UPDATE", update={"status": status})

stream = call("SUBSCRIBE", subscribe={})
while True:
    length = b""
    while not length.endswith(b"\n"):
        length += stream.read(1) or sys.exit(1)
    event = json.loads(stream.read(int(length)))
    if event["type"] == "LAUNCH":
        report(event["launch"]["task"]["task_id"], "TASK_RUNNING")
        call("MESSAGE", message={"data": text(sys.argv[1].encode())})
    elif event["type"] == "KILL":
        report(event["kill"]["task_id"], "TASK_KILLED")
    elif event["type"] == "SHUTDOWN":
        sys.exit(0)
"#;

#[tokio::test]
async fn what_executors_say_and_what_becomes_of_the_master_is_told() {
    let mut cluster = Cluster::start().await;
    let mut all = Watch::open(&cluster, "", None).await;
    let path = cluster.world.path("executor");
    std::fs::write(&path, EXECUTOR).expect("written");
    let mut app = sleeper("/told");
    app["executor"] = path.to_str().expect("plain").into();
    app["cmd"] = "hello".into();
    cluster.deploy(&app).await;
    let said = all.next("framework_message_event", |_| true).await;
    assert_eq!(fields(&said), set(["executorId", "slaveId", "message"]));
    assert_eq!(said["message"], "aGVsbG8=", "its bytes in base64");
    let tasks = cluster.tasks("told").await;
    let executor = said["executorId"].as_str().expect("an id");
    assert!(executor.contains(tasks[0]["id"].as_str().expect("an id")), "{executor}");
    assert_eq!(said["slaveId"], tasks[0]["slaveId"]);
    cluster.delete("/v2/apps/told").await;

    // The master goes and comes again, as another process under the same address.
    let address = cluster.master.address.clone();
    all.looked_at = all.seen.len();
    cluster.master.kill();
    let gone = all.next("scheduler_disconnected_event", |_| true).await;
    assert_eq!(fields(&gone), set([]));
    let port = format!("--port={}", address.rsplit(':').next().expect("a port"));
    cluster.master = cluster
        .world
        .start("master", &["master", "--ip=127.0.0.1", &port, crate::cluster::DOMAIN])
        .await;
    let back = all.next("scheduler_reregistered_event", |_| true).await;
    assert_eq!((fields(&back), &back["master"]), (set(["master"]), &json!(address)));

    // It is thrown out, and starts over under another id.
    let info = cluster.json("/v2/info").await.expect("it leads");
    let id = info["frameworkId"].as_str().expect("it has one").to_owned();
    let url = format!("http://{address}/teardown");
    let request = cluster.world.http.post(url).body(format!("frameworkId={id}"));
    assert_eq!(request.send().await.expect("answered").status(), 200);
    let anew = all.next("scheduler_registered_event", |_| true).await;
    assert_eq!(fields(&anew), set(["frameworkId", "master"]));
    assert_ne!(anew["frameworkId"], id.as_str());
}
