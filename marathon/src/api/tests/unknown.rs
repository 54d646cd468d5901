//! Fields that mean nothing, at any depth.

use serde_json::{Value, json};

use super::harness::Api;

/// The paths that the answer warns of.
fn warned(response: &reqwest::Response) -> Vec<String> {
    let all = response.headers().get_all("warning").iter();
    all.map(|warning| {
        let text = warning.to_str().expect("plain");
        let path = text.strip_prefix("299 - \"the field ");
        let path = path.and_then(|rest| rest.strip_suffix(" is unknown and ignored\""));
        path.unwrap_or(text).to_owned()
    })
    .collect()
}

/// Asks for it with `strict` first, which refuses it, and then without.
async fn is_told(api: &Api, (method, path): (&str, &str), body: &Value, unknown: &[&str]) {
    let (status, answer) = api.ask(method, &format!("{path}?strict=true"), Some(body)).await;
    let details = answer["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let refused: Vec<_> = details.iter().filter_map(|one| one["path"].as_str()).collect();
    assert_eq!((status, &refused[..]), (422, unknown), "{method} {path}: {answer}");
    let response = api.send(method, &format!("{path}?force=true"), Some(body)).await;
    assert!(response.status().is_success(), "{method} {path}: {}", response.status());
    assert_eq!(warned(&response), unknown, "{method} {path}");
}

#[tokio::test]
async fn an_unknown_field_of_an_app_is_named_by_its_path_at_any_depth() {
    let api = Api::start().await;
    let docker = json!({"image": "i", "imge": "j", "parameters": [{"key": "k", "value": "v"},
                                                                 {"key": "k", "value": "v", "x": 1}]});
    let external = json!({"name": "n", "provider": "dvdi", "sise": 1,
                          "options": {"dvdi/driver": "d", "any": "thing"}});
    let container = json!({
        "type": "DOCKER", "docker": docker, "portMapings": [],
        "portMappings": [{"containerPort": 80, "name": "http-api", "lables": {"a": "b"}}],
        "volumes": [{"containerPath": "a", "hostPath": "/a", "mod": "RO"},
                    {"containerPath": "b", "external": external}],
    });
    let mut app = json!({
        "id": "/web", "instances": 0, "cmdd": "x", "container": container,
        "networks": [{"mode": "container", "name": "n", "nme": "m", "labels": {"any": "thing"}}],
        "healthChecks": [{"protocol": "TCP", "portIndx": 0},
                         {"protocol": "COMMAND", "command": {"value": "x", "shell": "x"}}],
        "readinessChecks": [{"pth": "/"}],
        "upgradeStrategy": {"maximumOverCapacty": 1},
        "unreachableStrategy": {"inactiveAfter": 1},
        "residency": {"taskLost": "WAIT_FOREVER"},
        "fetch": [{"uri": "u"}, {"uri": "u", "extrct": true}],
        "secrets": {"any": {"source": "s", "sorce": "t"}},
        "env": {"any": "thing", "secret": {"secret": "any", "too": 1}},
        "labels": {"any": "thing"},
        "check": {"http": {"path": "/", "endpoint": "e"}},
        "resourceLimits": {"cpus": "unlimited", "disk": 1},
        "executorResources": {"gpus": 1},
        "tasks": [{"any": "thing"}],
        "versionInfo": {"any": 1},
    });
    let unknown = [
        "/check/http/endpoint",
        "/cmdd",
        "/container/docker/imge",
        "/container/docker/parameters(1)/x",
        "/container/portMapings",
        "/container/portMappings(0)/lables",
        "/container/volumes(0)/mod",
        "/container/volumes(1)/external/sise",
        "/executorResources/gpus",
        "/fetch(1)/extrct",
        "/healthChecks(0)/portIndx",
        "/healthChecks(1)/command/shell",
        "/networks(0)/nme",
        "/readinessChecks(0)/pth",
        "/residency/taskLost",
        "/resourceLimits/disk",
        "/secrets/any/sorce",
        "/unreachableStrategy/inactiveAfter",
        "/upgradeStrategy/maximumOverCapacty",
        "/versionInfo/any",
    ];
    is_told(&api, ("POST", "/v2/apps"), &app, &unknown).await;
    is_told(&api, ("PUT", "/v2/apps/web"), &app, &unknown).await;

    // What is deprecated is named where it was written.
    app = json!({"id": "/old", "cmd": "x", "instances": 0, "uris": ["u"],
                 "container": {"docker": {"image": "i", "network": "BRIDGE",
                                          "portMappings": [{"containerPrt": 80}]}}});
    let old = ["/container/docker/portMappings(0)/containerPrt"];
    is_told(&api, ("POST", "/v2/apps"), &app, &old).await;
    app = json!({"id": "/older", "cmd": "x", "instances": 0, "ports": [],
                 "ipAddress": {"network": "n", "networkName": "n",
                               "discovery": {"ports": [{"number": 80, "nmber": 81}]}}});
    let older = ["/ipAddress/discovery/ports(0)/nmber", "/ipAddress/network"];
    is_told(&api, ("POST", "/v2/apps"), &app, &older).await;
}

#[tokio::test]
async fn an_unknown_field_of_a_pod_or_in_a_list_or_a_group_is_named_too() {
    let api = Api::start().await;
    let container = json!({
        "name": "c", "resources": {"cpu": 1}, "exec": {"command": {"shell": "x", "cmd": "y"}},
        "endpoints": [{"name": "e", "hostPort": 0, "prt": 1}], "labels": {"any": "thing"},
        "healthCheck": {"http": {"endpoint": "e", "portIndex": 0}},
        "volumeMounts": [{"name": "v", "mountPath": "m", "mode": "RO"}],
        "artifacts": [{"uri": "u", "url": "v"}], "lifecycle": {"killGrace": 1},
        "image": {"kind": "DOCKER", "id": "i", "pull": true},
        "environment": {"ANY": "thing"}, "linuxInfo": {"ipcInfo": {"mode": "PRIVATE", "size": 1}},
    });
    let mut pod = json!({
        "id": "/shop/pod", "containers": [container], "volumes": [{"name": "v", "hst": "/h"}],
        "networks": [{"mode": "host", "nme": "n"}], "scaling": {"kind": "fixed", "instance": 1, "instances": 0},
        "scheduling": {"backof": {}, "backoff": {"factor": 1},
                       "placement": {"constraints": [{"fieldName": "a", "operator": "UNIQUE", "vlue": "b"}]}},
        "env": {},
    });
    let unknown = [
        "/containers(0)/artifacts(0)/url",
        "/containers(0)/endpoints(0)/prt",
        "/containers(0)/exec/command/cmd",
        "/containers(0)/healthCheck/http/portIndex",
        "/containers(0)/image/pull",
        "/containers(0)/lifecycle/killGrace",
        "/containers(0)/linuxInfo/ipcInfo/size",
        "/containers(0)/resources/cpu",
        "/containers(0)/volumeMounts(0)/mode",
        "/env",
        "/networks(0)/nme",
        "/scaling/instance",
        "/scheduling/backof",
        "/scheduling/backoff/factor",
        "/scheduling/placement/constraints(0)/vlue",
        "/volumes(0)/hst",
    ];
    is_told(&api, ("POST", "/v2/pods"), &pod, &unknown).await;
    is_told(&api, ("PUT", "/v2/pods/shop/pod"), &pod, &unknown).await;

    let app = |id: &str| json!({"id": id, "cmd": "x", "instances": 0, "instnces": 0});
    let both = json!([app("/a"), app("/b")]);
    is_told(&api, ("PUT", "/v2/apps"), &both, &["/(0)/instnces", "/(1)/instnces"]).await;
    is_told(&api, ("PATCH", "/v2/apps"), &both, &["/(0)/instnces", "/(1)/instnces"]).await;

    pod["id"] = "pod".into();
    let wrapped = json!({"id": "pod", "spec": pod, "status": "STABLE", "sttus": "STABLE"});
    let below = json!({"id": "below", "apps": [app("a")], "grops": [], "pods": []});
    let group = json!({"id": "/shop", "apps": [app("a")], "aps": [], "groups": [below],
                       "pods": [wrapped, {"id": "other", "containers": [{"name": "c", "resources": {}, "x": 1}]}]});
    let mut in_group = vec![
        "/apps(0)/instnces".to_owned(),
        "/aps".to_owned(),
        "/groups(0)/apps(0)/instnces".to_owned(),
        "/groups(0)/grops".to_owned(),
    ];
    in_group.extend(unknown.iter().map(|path| format!("/pods(0)/spec{path}")));
    in_group.extend(["/pods(0)/sttus".to_owned(), "/pods(1)/containers(0)/x".to_owned()]);
    let told: Vec<_> = in_group.iter().map(String::as_str).collect();
    let (status, answer) = api.ask("PUT", "/v2/groups/shop?strict=true", Some(&group)).await;
    let details = answer["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let refused: Vec<_> = details.iter().filter_map(|one| one["path"].as_str()).collect();
    assert_eq!((status, &refused[..]), (422, &told[..]));
    // A body may misspell more than an answer can name.
    let response = api.send("PUT", "/v2/groups/shop?force=true", Some(&group)).await;
    assert_eq!(response.status(), 200);
    let warnings = warned(&response);
    assert_eq!(warnings[..20], told[..20]);
    assert_eq!(warnings[20..], ["299 - \"2 more fields are unknown and ignored\""]);
    let all = json!({"id": "/other", "apps": [], "groups": [], "dependencies": [],
                     "enforceRole": false, "pods": []});
    assert_eq!(api.ask("POST", "/v2/groups?strict=true", Some(&all)).await.0, 201);
    let scale = json!({"scaleBy": 1});
    assert_eq!(api.ask("PUT", "/v2/groups/shop?strict=true", Some(&scale)).await.0, 200);
}
