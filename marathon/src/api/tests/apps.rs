use std::collections::BTreeSet;

use marathon_core::io::{Input, OfferView, Output, UpdateView};
use model::ids::{AgentId, FrameworkId, OfferId};
use model::offer::Offer;
use model::payload::Payload;
use model::resources::{Attributes, Resources};
use model::role::Role;
use model::task::{Source, Status, TaskState};
use serde_json::{Value, json};

use super::harness::{Api, PATIENCE};

fn app(id: &str) -> Value {
    json!({"id": id, "cmd": "sleep 1000", "instances": 0})
}

#[tokio::test]
async fn versions_are_listed_newest_first_and_gone_back_to() {
    let api = Api::start().await;
    let first = api.create(&app("/prod/web")).await["version"].clone();
    let (status, second) =
        api.ask("PUT", "/v2/apps/prod/web", Some(&json!({"cmd": "other"}))).await;
    assert_eq!(status, 200);
    let versions = api.get("/v2/apps/prod/web/versions").await;
    assert_eq!(versions, json!({"versions": [second["version"], first]}));
    let path = format!("/v2/apps/prod/web/versions/{}", first.as_str().expect("text"));
    assert_eq!(api.get(&path).await["cmd"], "sleep 1000");
    let back = api.ask("PUT", "/v2/apps/prod/web", Some(&json!({"version": first}))).await;
    assert_eq!(back.0, 200);
    assert_eq!(api.get("/v2/apps/prod/web").await["app"]["cmd"], "sleep 1000");
    let (status, body) =
        api.ask("GET", "/v2/apps/prod/web/versions/2001-01-01T00:00:00Z", None).await;
    assert_eq!(status, 404, "{body}");
    assert_eq!(api.ask("GET", "/v2/apps/prod/web/versions/latest", None).await.0, 422);
    let (status, body) = api.ask("GET", "/v2/apps/none/versions", None).await;
    assert_eq!((status, &body["message"]), (404, &json!("App '/none' does not exist")));
}

#[tokio::test]
async fn wildcards_and_arrays_mean_many_apps() {
    let api = Api::start().await;
    let both = json!([app("/prod/a"), app("/prod/b"), app("/test/c")]);
    let (status, body) = api.ask("PUT", "/v2/apps", Some(&both)).await;
    assert_eq!((status, body["deploymentId"].is_string()), (200, true));
    let below = api.get("/v2/apps/prod/*").await;
    let ids: Vec<_> = below["*"].as_array().expect("a list").iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, ["/prod/a", "/prod/b"]);
    assert_eq!(api.get("/v2/apps/prod/*/tasks").await, json!({"tasks": []}));
    let change = json!([{"id": "/prod/a", "cpus": 0.5}]);
    assert_eq!(api.ask("PATCH", "/v2/apps", Some(&change)).await.0, 200);
    assert_eq!(api.get("/v2/apps/prod/a").await["app"]["cpus"], 0.5);
    let missing = json!([{"id": "/prod/none", "cpus": 0.5}]);
    assert_eq!(api.ask("PATCH", "/v2/apps", Some(&missing)).await.0, 404);
    let page = api.get("/v2/apps?offset=1&limit=1").await;
    assert_eq!(page["apps"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["apps"][0]["id"], "/prod/b");
    assert_eq!(api.ask("GET", "/v2/apps?limit=some", None).await.0, 422);
    assert_eq!(api.get("/v2/apps?id=PROD").await["apps"].as_array().map(Vec::len), Some(2));
    assert_eq!(api.get("/v2/tasks?status=running&limit=5").await, json!({"tasks": []}));
}

#[tokio::test]
async fn a_misspelt_field_is_warned_of_or_refused_and_null_can_remove_one() {
    let api = Api::start().await;
    let mut body = app("/web");
    body["instnces"] = 7.into();
    let response = api.send("POST", "/v2/apps", Some(&body)).await;
    assert_eq!(response.status(), 201);
    assert_eq!(
        response.headers()["warning"],
        "299 - \"the field /instnces is unknown and ignored\""
    );
    let (status, answer) = api.ask("PUT", "/v2/apps/web?strict=true", Some(&body)).await;
    assert_eq!((status, &answer["details"][0]["path"]), (422, &json!("/instnces")));

    let user = json!({"user": "somebody", "mem": 64});
    assert_eq!(api.ask("PUT", "/v2/apps/web", Some(&user)).await.0, 200);
    let null = json!({"user": null, "mem": null});
    assert_eq!(api.ask("PUT", "/v2/apps/web", Some(&null)).await.0, 200);
    assert_eq!(
        api.get("/v2/apps/web").await["app"]["user"],
        "somebody",
        "null is as good as absent"
    );
    assert_eq!(api.ask("PUT", "/v2/apps/web?nulls=remove", Some(&null)).await.0, 200);
    let app = api.get("/v2/apps/web").await["app"].clone();
    assert_eq!((app.get("user"), &app["mem"]), (None, &json!(128)));
}

#[tokio::test]
async fn scripts_read_tasks_as_text() {
    let api = Api::start().await;
    let ports = json!([{"port": 10_101}]);
    api.create(&json!({"id": "/prod/web", "cmd": "x", "portDefinitions": ports, "instances": 0}))
        .await;
    api.create(&json!({"id": "/job", "cmd": "x", "portDefinitions": [], "instances": 0})).await;
    let container =
        json!({"type": "MESOS", "portMappings": [{"containerPort": 80, "servicePort": 10_202}]});
    api.create(&json!({"id": "/net", "cmd": "x", "instances": 1, "container": container,
                       "networks": [{"mode": "container", "name": "blue"}]}))
        .await;
    let text = async |query: &str| {
        let request = api.http.get(format!("{}/v2/tasks{query}", api.base));
        let response = request.header("accept", "text/plain").timeout(PATIENCE).send().await;
        response.expect("answered").text().await.expect("text")
    };
    let lines = |net: &str| format!("job\t \n{net}prod_web\t10101\n");
    assert_eq!(text("").await, lines("net\t10202\n"));
    run_one(&api).await;
    let inside = lines("net\t10202\t10.1.2.3:80\n");
    assert_eq!(text("?containerNetworks=blue").await, inside);
    assert_eq!(text("?containerNetworks=*").await, inside);
    assert_eq!(text("?containerNetworks=red").await, lines("net\t10202\n"));
    let json = api.get("/v2/tasks?status=running&status[]=staging").await;
    assert_eq!(json["tasks"][0]["appId"], "/net", "who takes anything gets JSON");
    assert_eq!(api.get("/v2/tasks?status=staging").await, json!({"tasks": []}));
}

/// Has the one instance that waits run at 10.1.2.3.
async fn run_one(api: &Api) {
    let offer = Offer {
        id: OfferId::new("O1").expect("an id"),
        framework: FrameworkId::new("F-0000").expect("an id"),
        role: Role::any(),
        agent: AgentId::new("S1").expect("an id"),
        hostname: "host1".into(),
        resources: Resources::parse("cpus:4;mem:4096;disk:1000", &Role::any()).expect("resources"),
        executors: BTreeSet::new(),
        agent_info: Payload::default(),
        agent_address: "".into(),
        unavailability: None,
    };
    let attributes = Attributes::parse("").expect("none");
    let view = OfferView {
        offer,
        attributes,
        region: None,
        zone: None,
        held: std::collections::BTreeMap::new(),
    };
    let asked = api.input(Input::Offers(vec![view])).await;
    let task = asked.iter().find_map(|output| {
        let Output::Accept { launches, .. } = output else { return None };
        Some(launches[0].task.clone())
    });
    let at = crate::clock::wall();
    let mut status = Status::new(task.expect("a launch"), TaskState::Running, Source::Executor, at);
    status.agent = Some(AgentId::new("S1").expect("an id"));
    let update = UpdateView { addresses: vec!["10.1.2.3".into()], ..UpdateView::plain(status) };
    api.input(Input::Update(update)).await;
}

#[tokio::test]
async fn what_a_change_or_the_way_back_would_do_is_told_first() {
    let api = Api::start().await;
    let first = api.create(&app("/web")).await["version"].clone();
    let path = "/v2/apps/web?dryRun=true";
    let (status, told) =
        api.ask("PUT", path, Some(&json!({"cmd": "other", "labels": {"a": "b"}}))).await;
    assert_eq!(status, 200);
    let fields = json!({"cmd": {"from": "sleep 1000", "to": "other"},
                        "labels": {"from": {}, "to": {"a": "b"}}});
    assert_eq!(told["changes"], json!([{"app": "/web", "what": "restarted", "fields": fields}]));
    assert_eq!(api.get("/v2/apps/web").await["app"]["cmd"], "sleep 1000");
    assert_eq!(api.ask("PUT", "/v2/apps/new?dryRun=true", Some(&app("/new"))).await.0, 200);
    assert_eq!(api.ask("GET", "/v2/apps/new", None).await.0, 404);

    api.ask("PUT", "/v2/apps/web", Some(&json!({"labels": {"a": "b"}}))).await;
    let (_, told) = api.ask("PUT", path, Some(&json!({"version": first}))).await;
    assert_eq!(told["changes"][0]["what"], "changed in place");
    assert_eq!(told["changes"][0]["fields"]["labels"], json!({"from": {"a": "b"}, "to": {}}));
}

#[tokio::test]
async fn service_ports_are_told_with_all_who_have_them() {
    let api = Api::start().await;
    for (id, port) in [("/a", 10_101), ("/b", 0), ("/c", 10_101)] {
        let mut body = app(id);
        body["portDefinitions"] = json!([{"port": port}]);
        api.create(&body).await;
    }
    assert_eq!(
        api.get("/agora/v1/service-ports").await,
        json!({"servicePorts": [{"port": 10_000, "apps": ["/b"]},
                                {"port": 10_101, "apps": ["/a", "/c"]}]})
    );
}
