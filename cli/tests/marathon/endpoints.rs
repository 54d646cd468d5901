//! Every endpoint: the table of all there are, and that there is nothing beside them. What each of
//! them does is asked in the `endpoints_…` files, which see to it that nothing of the table is left out.

use reqwest::header::{ALLOW, HeaderMap};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::cluster::{Cluster, sleeper};

/// What belongs together, and is asked by one test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Area {
    Apps,
    Tasks,
    Groups,
    Pods,
    Deployments,
    Node,
    Agora,
}

/// One method of one path. `{…}` is one word or, of an id, several.
struct Endpoint {
    area: Area,
    method: &'static str,
    path: &'static str,
    parameters: &'static [&'static str],
}

const fn row(
    area: Area,
    method: &'static str,
    path: &'static str,
    parameters: &'static [&'static str],
) -> Endpoint {
    Endpoint { area, method, path, parameters }
}

use Area::{Agora, Apps, Deployments, Groups, Node, Pods, Tasks};

/// All there are, with the parameters that each of them takes.
#[rustfmt::skip]
const ENDPOINTS: &[Endpoint] = &[
    row(Apps, "GET", "/v2/apps", &["cmd", "id", "label", "embed", "offset", "limit"]),
    row(Apps, "POST", "/v2/apps", &["force", "strict"]),
    row(Apps, "PUT", "/v2/apps", &["force", "partialUpdate", "strict"]),
    row(Apps, "PATCH", "/v2/apps", &["force", "strict"]),
    row(Apps, "GET", "/v2/apps/{id}", &["embed"]),
    row(Apps, "PUT", "/v2/apps/{id}", &["force", "partialUpdate", "nulls", "strict", "dryRun"]),
    row(Apps, "PATCH", "/v2/apps/{id}", &["force", "strict"]),
    row(Apps, "DELETE", "/v2/apps/{id}", &["force"]),
    row(Apps, "GET", "/v2/apps/{group}/*", &["embed"]),
    row(Apps, "GET", "/v2/apps/*", &["embed"]),
    row(Apps, "POST", "/v2/apps/{id}/restart", &["force"]),
    row(Apps, "GET", "/v2/apps/{id}/versions", &[]),
    row(Apps, "GET", "/v2/apps/{id}/versions/{version}", &[]),
    row(Tasks, "GET", "/v2/apps/{group}/*/tasks", &[]),
    row(Tasks, "GET", "/v2/apps/{id}/tasks", &[]),
    row(Tasks, "DELETE", "/v2/apps/{id}/tasks", &["host", "scale", "wipe", "force"]),
    row(Tasks, "DELETE", "/v2/apps/{id}/tasks/{task}", &["scale", "wipe", "force"]),
    row(Tasks, "GET", "/v2/tasks", &["status", "status[]", "containerNetworks", "offset", "limit"]),
    row(Tasks, "POST", "/v2/tasks/delete", &["scale", "wipe", "force"]),
    row(Groups, "GET", "/v2/groups", &["embed"]),
    row(Groups, "POST", "/v2/groups", &["force", "strict"]),
    row(Groups, "PUT", "/v2/groups", &["force", "dryRun", "diff", "merge", "strict"]),
    row(Groups, "DELETE", "/v2/groups", &["force"]),
    row(Groups, "GET", "/v2/groups/{id}", &["embed"]),
    row(Groups, "POST", "/v2/groups/{id}", &["force", "strict"]),
    row(Groups, "PUT", "/v2/groups/{id}", &["force", "dryRun", "diff", "merge", "strict"]),
    row(Groups, "PATCH", "/v2/groups/{id}", &[]),
    row(Groups, "DELETE", "/v2/groups/{id}", &["force"]),
    row(Groups, "GET", "/v2/groups/apps", &["embed"]),
    row(Groups, "GET", "/v2/groups/{id}/apps", &["embed"]),
    row(Groups, "GET", "/v2/groups/versions", &[]),
    row(Groups, "GET", "/v2/groups/{id}/versions", &[]),
    row(Groups, "GET", "/v2/groups/versions/{version}", &[]),
    row(Groups, "PUT", "/v2/groups/versions/{version}", &["force"]),
    row(Groups, "GET", "/v2/groups/{id}/versions/{version}", &[]),
    row(Groups, "PUT", "/v2/groups/{id}/versions/{version}", &["force"]),
    row(Pods, "GET", "/v2/pods", &["offset", "limit"]),
    row(Pods, "POST", "/v2/pods", &["force", "strict"]),
    row(Pods, "GET", "/v2/pods/{id}", &[]),
    row(Pods, "PUT", "/v2/pods/{id}", &["force", "strict"]),
    row(Pods, "DELETE", "/v2/pods/{id}", &["force"]),
    row(Pods, "GET", "/v2/pods::status", &[]),
    row(Pods, "GET", "/v2/pods/::status", &[]),
    row(Pods, "GET", "/v2/pods/{id}::status", &[]),
    row(Pods, "GET", "/v2/pods/{id}::versions", &[]),
    row(Pods, "GET", "/v2/pods/{id}::versions/{version}", &[]),
    row(Pods, "DELETE", "/v2/pods/{id}::instances", &["wipe"]),
    row(Pods, "DELETE", "/v2/pods/{id}::instances/{instance}", &["wipe"]),
    row(Deployments, "GET", "/v2/deployments", &[]),
    row(Deployments, "DELETE", "/v2/deployments/{id}", &["force"]),
    row(Deployments, "GET", "/v2/queue", &["embed"]),
    row(Deployments, "DELETE", "/v2/queue/{id}/delay", &[]),
    row(Node, "GET", "/v2/events", &["event_type", "plan-format"]),
    row(Node, "GET", "/v2/info", &[]),
    row(Node, "GET", "/v2/leader", &[]),
    row(Node, "DELETE", "/v2/leader", &[]),
    row(Node, "GET", "/v2/plugins", &[]),
    row(Node, "GET", "/ping", &[]),
    row(Node, "GET", "/metrics", &[]),
    row(Node, "GET", "/metrics/prometheus", &[]),
    row(Node, "GET", "/logging", &[]),
    row(Node, "POST", "/logging", &[]),
    row(Node, "GET", "/config", &[]),
    row(Agora, "GET", "/agora/v1/deployments", &[]),
    row(Agora, "GET", "/agora/v1/deployments/{id}", &[]),
    row(Agora, "POST", "/agora/v1/deployments/{id}/pause", &[]),
    row(Agora, "POST", "/agora/v1/deployments/{id}/continue", &[]),
    row(Agora, "POST", "/agora/v1/apps/{id}/rebalance", &["force"]),
    row(Agora, "GET", "/agora/v1/explain/app/{id}", &[]),
    row(Agora, "GET", "/agora/v1/service-ports", &[]),
    row(Agora, "GET", "/agora/v1/secrets", &[]),
    row(Agora, "PUT", "/agora/v1/secrets/{path}", &[]),
    row(Agora, "DELETE", "/agora/v1/secrets/{path}", &["force"]),
];

/// An answer, all of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// Its body, which is JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// A header, empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// That it has this status, and its body, null where there is none.
    pub(crate) fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// That it refuses with this status and a message that begins so.
    pub(crate) fn refuses(&self, status: u16, message: &str) -> Value {
        let body = self.is(status);
        let told = body["message"].as_str().unwrap_or_default();
        assert!(told.starts_with(message), "'{message}' is to be told: {body}");
        body
    }

    /// That it refuses with 422, and this path among the details.
    pub(crate) fn refuses_field(&self, path: &str) {
        let body = self.refuses(422, "Object is not valid");
        let details = body["details"].as_array().expect("details");
        assert!(details.iter().any(|one| one["path"] == path), "{path} is to be told: {body}");
    }

    /// That it is refused since a deployment is in the way, with which.
    pub(crate) fn is_locked(&self) {
        let body = self.refuses(409, "App is locked by one or more deployments. Override with");
        assert!(body["deployments"][0]["id"].is_string(), "{body}");
    }

    /// That it tells of the deployment that it has begun, in its body and in its head. Its version.
    pub(crate) fn is_result(&self) -> String {
        let body = self.is(200);
        assert_eq!(body["deploymentId"], self.deploys());
        let version = body["version"].as_str().expect("a version").to_owned();
        assert!(is_timestamp(&version), "{version}");
        version
    }

    /// That it has begun a deployment: which.
    pub(crate) fn deploys(&self) -> String {
        let id = self.header("marathon-deployment-id");
        assert!(!id.is_empty(), "{self:?}");
        id.to_owned()
    }
}

/// Whether it is written as clients parse it: `2019-04-02T09:08:07.000Z`.
pub(crate) fn is_timestamp(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

/// The ids of apps, pods, tasks and whatever else has one.
pub(crate) fn ids(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap_or_else(|| panic!("a list: {list}"));
    items.iter().map(|item| item["id"].as_str().expect("an id")).collect()
}

/// An app that is not launched.
pub(crate) fn idle(id: &str) -> Value {
    let mut app = sleeper(id);
    app["instances"] = 0.into();
    app
}

/// An app that waits for an agent that is large enough, for ever.
pub(crate) fn stuck(id: &str) -> Value {
    let mut app = sleeper(id);
    app["cpus"] = 1000.into();
    app
}

/// Asks Marathon, and keeps in mind what of the table was asked and answered.
pub(crate) struct Client<'a> {
    cluster: &'a Cluster,
    answered: Mutex<BTreeSet<(usize, String)>>,
}

impl<'a> Client<'a> {
    pub(crate) fn of(cluster: &'a Cluster) -> Self {
        Self { cluster, answered: Mutex::default() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.ask("PATCH", path, Some(body)).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.ask_so(method, path, |request| match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// The same of a request that is as `make` makes it.
    pub(crate) async fn ask_so(
        &self,
        method: &str,
        path: &str,
        make: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Answer {
        let verb: Method = method.parse().expect("a method");
        let url = format!("http://{}{path}", self.cluster.marathon.address);
        let request = make(self.cluster.world.http.request(verb, url));
        let answer = request.send().await.expect("Marathon answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        // A stream of events has no end.
        let is_stream = headers.get("content-type").is_some_and(|kind| {
            kind.to_str().is_ok_and(|kind| kind.starts_with("text/event-stream"))
        });
        let text = if is_stream { String::new() } else { answer.text().await.expect("a body") };
        // Every path has an answer for browsers that ask what they may.
        if status < 400 && method != "OPTIONS" {
            self.note(method, path);
        }
        Answer { status, headers, text }
    }

    /// The body of a GET as it came.
    pub(crate) async fn bytes(&self, path: &str, encoding: &str) -> Vec<u8> {
        let url = format!("http://{}{path}", self.cluster.marathon.address);
        let request = self.cluster.world.http.get(url).header("accept-encoding", encoding);
        let answer = request.send().await.expect("Marathon answers");
        assert_eq!(answer.headers()["content-encoding"], encoding);
        answer.bytes().await.expect("a body").to_vec()
    }

    fn note(&self, method: &str, path_and_query: &str) {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let method = if method == "HEAD" { "GET" } else { method };
        let at = find(method, path);
        let at = at.unwrap_or_else(|| panic!("{method} {path} is answered and not in the table"));
        let mut answered = self.answered.lock().expect("nobody panics with it");
        answered.insert((at, String::new()));
        for parameter in query.split('&').filter(|it| !it.is_empty()) {
            let name = parameter.split('=').next().unwrap_or_default();
            answered.insert((at, name.replace("%5B%5D", "[]")));
        }
    }

    /// That all of an area was asked, with each parameter.
    pub(crate) fn has_asked_all(&self, area: Area) {
        let answered = self.answered.lock().expect("nobody panics with it");
        let mut missing = Vec::new();
        for (at, row) in ENDPOINTS.iter().enumerate().filter(|(_, row)| row.area == area) {
            for parameter in [""].iter().chain(row.parameters) {
                if !answered.contains(&(at, (*parameter).to_owned())) {
                    missing.push(format!("{} {} {parameter}", row.method, row.path));
                }
            }
        }
        assert!(missing.is_empty(), "not asked, or never with success: {missing:#?}");
    }
}

/// The row of a path: of those that fit, the one that says most.
fn find(method: &str, path: &str) -> Option<usize> {
    // However many slashes there are, and however they are written.
    let path = path.replace("%2F", "/");
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    let path = format!("/{}", words.join("/"));
    let fitting = ENDPOINTS.iter().enumerate().filter(|(_, row)| row.method == method);
    let fitting = fitting.filter_map(|(at, row)| Some((fit(row.path, &path)?, at)));
    fitting.max().map(|(_, at)| at)
}

/// How many characters of `path` the pattern names; absent if it does not fit.
fn fit(pattern: &str, path: &str) -> Option<usize> {
    let Some((literal, rest)) = pattern.split_once('{') else {
        return (pattern == path).then_some(path.len());
    };
    let (_, rest) = rest.split_once('}').expect("a whole pattern");
    let path = path.strip_prefix(literal)?;
    let ends = (1..=path.len()).filter(|end| path.is_char_boundary(*end));
    let best = ends.filter_map(|end| fit(rest, &path[end..])).max()?;
    Some(literal.len() + best)
}

/// What stands in the place of `{…}`, so that all of it is there.
async fn filled(client: &Client<'_>) -> BTreeMap<&'static str, String> {
    let app = json!({"id": "/there/app", "cmd": "exec sleep 1", "instances": 0});
    client.post("/v2/apps", &app).await.is(201);
    let pod = json!({"id": "/there/pod", "scaling": {"kind": "fixed", "instances": 0},
                     "containers": [{"name": "c", "resources": {"cpus": 0.1, "mem": 32}}]});
    client.post("/v2/pods", &pod).await.is(201);
    let text = |text: &str| text.to_owned();
    BTreeMap::from([
        ("apps", text("there/app")),
        ("pods", text("there/pod")),
        ("groups", text("there")),
        ("version", text("2020-01-01T00:00:00.000Z")),
        ("other", text("something")),
    ])
}

/// A path in which nothing is left open.
fn path_of(pattern: &str, filled: &BTreeMap<&str, String>) -> String {
    let kind = pattern.split(['/', ':']).nth(2).unwrap_or_default();
    let mut path = pattern.to_owned();
    while let Some((before, rest)) = path.split_once('{') {
        let (name, after) = rest.split_once('}').expect("a whole pattern");
        let key = match name {
            "id" | "group" => kind,
            other => other,
        };
        let value = filled.get(key).or(filled.get("other")).expect("something");
        path = format!("{before}{value}{after}");
    }
    path
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_refused_with_those_it_has() {
    let cluster = Cluster::start().await;
    let client = Client::of(&cluster);
    let filled = filled(&client).await;
    let paths: BTreeSet<&str> = ENDPOINTS.iter().map(|row| row.path).collect();
    let mut wrong = Vec::new();
    for pattern in paths {
        let has: BTreeSet<&str> =
            ENDPOINTS.iter().filter(|row| row.path == pattern).map(|row| row.method).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            if has.contains(method) {
                continue;
            }
            let path = path_of(pattern, &filled);
            let answer = client.ask(method, &path, Some(&json!({}))).await;
            let allowed: BTreeSet<&str> = answer.header(ALLOW.as_str()).split(", ").collect();
            let is_told = serde_json::from_str::<Value>(&answer.text)
                .is_ok_and(|body| body["message"].is_string());
            if answer.status != 405 || allowed != has || !is_told {
                wrong.push(format!("{method} {path} allows {allowed:?}: {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_is_in_no_row_is_not_found() {
    let cluster = Cluster::start().await;
    let client = Client::of(&cluster);
    filled(&client).await;
    let mut paths: Vec<String> = [
        "/",
        "/v2",
        "/v1/apps",
        "/apps",
        "/v2/app",
        "/v2/nothing",
        "/v2/events/more",
        "/v2/schemas",
        "/v2/artifacts",
        "/v2/eventSubscriptions",
        "/v2/tasks/undo",
        "/v2/queue/there/app",
        "/v2/queue/delay",
        "/v2/deployments/a/b",
        "/v2/pods/there/pod::nothing",
        "/agora",
        "/agora/v1",
        "/agora/v1/nothing",
        "/agora/v1/explain",
        "/agora/v1/explain/pod/there/pod",
        "/metrics/json",
        "/help",
        "/ui/",
    ]
    .map(str::to_owned)
    .into();
    // Behind what takes no id there is nothing.
    let ends = ENDPOINTS.iter().filter(|row| !row.path.contains('{') && row.area == Node);
    paths.extend(ends.map(|row| format!("{}/more", row.path)));
    let mut wrong = Vec::new();
    for path in &paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = client.ask(method, path, Some(&json!({}))).await;
            if answer.status != 404 || !answer.json()["message"].is_string() {
                wrong.push(format!("{method} {path}: {} {}", answer.status, answer.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
