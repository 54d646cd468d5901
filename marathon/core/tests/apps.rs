//! Apps as clients write them, and as they are shown.

use marathon_core::app::parse::{self, Defaults, Update};
use marathon_core::app::render;
use marathon_core::environment::environment;
use marathon_core::ids::AppId;
use model::ids::TaskId;
use serde_json::{Value, json};

fn defaults() -> Defaults {
    Defaults { role: "*".into(), network: None }
}

fn read(mut body: Value) -> Result<Value, Value> {
    body["id"] = "/a/b".into();
    let update = Update::read(&body, "").map_err(|invalid| invalid.refusal().body)?;
    let id = AppId::parse("/a/b").expect("an id");
    let app = parse::whole(&id, &update, &defaults()).map_err(|invalid| invalid.refusal().body)?;
    let shown = render::app(&app);
    let stored = parse::stored(&shown).expect("what is shown can be read");
    assert_eq!(render::app(&stored), shown, "the store gives back what it got");
    Ok(shown)
}

#[test]
fn a_small_app_is_shown_with_every_default() {
    let shown = read(json!({"cmd": "sleep 1", "user": null})).expect("valid");
    assert_eq!(
        shown,
        json!({
            "id": "/a/b",
            "cmd": "sleep 1",
            "backoffFactor": 1.15,
            "backoffSeconds": 1,
            "cpus": 1,
            "disk": 0,
            "executor": "",
            "gpus": 0,
            "instances": 1,
            "killSelection": "YOUNGEST_FIRST",
            "labels": {},
            "maxLaunchDelaySeconds": 300,
            "mem": 128,
            "networks": [{"mode": "host"}],
            "portDefinitions": [{"name": "default", "port": 0, "protocol": "tcp"}],
            "requirePorts": false,
            "unreachableStrategy": {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0},
            "upgradeStrategy": {"maximumOverCapacity": 1, "minimumHealthCapacity": 1},
            "version": "1970-01-01T00:00:00.000Z",
            "versionInfo": {
                "lastConfigChangeAt": "1970-01-01T00:00:00.000Z",
                "lastScalingAt": "1970-01-01T00:00:00.000Z",
            },
        })
    );
}

#[test]
fn a_full_app_is_shown_as_it_was_given() {
    let given = json!({
        "args": ["a", "b"],
        "acceptedResourceRoles": ["*"],
        "backoffFactor": 1.5,
        "backoffSeconds": 3,
        "constraints": [["hostname", "UNIQUE"], ["rack", "LIKE", "r[0-9]"]],
        "container": {
            "type": "MESOS",
            "docker": {"image": "alpine", "forcePullImage": true, "parameters": [], "privileged": false},
            "portMappings": [{"containerPort": 80, "hostPort": 0, "name": "http", "protocol": "tcp",
                              "servicePort": 10001, "labels": {"VIP_0": "/web:80"}}],
            "volumes": [{"containerPath": "/data", "hostPath": "/srv", "mode": "RO"}],
        },
        "cpus": 0.25,
        "dependencies": ["/a/db"],
        "disk": 12.5,
        "env": {"A": "1", "S": {"secret": "s"}},
        "executor": "",
        "fetch": [{"uri": "http://x/y.tgz", "extract": true, "executable": false, "cache": true,
                   "destPath": "d"}],
        "gpus": 0,
        "healthChecks": [{"protocol": "MESOS_HTTP", "path": "/health", "portIndex": 0,
                          "gracePeriodSeconds": 5, "intervalSeconds": 2, "timeoutSeconds": 1,
                          "maxConsecutiveFailures": 2, "delaySeconds": 0, "ipProtocol": "IPv4"}],
        "instances": 3,
        "killSelection": "OLDEST_FIRST",
        "labels": {"k": "v"},
        "maxLaunchDelaySeconds": 10,
        "mem": 64,
        "networks": [{"mode": "container/bridge"}],
        "readinessChecks": [{"name": "r", "protocol": "HTTP", "path": "/ready", "portName": "http",
                             "intervalSeconds": 3, "timeoutSeconds": 1,
                             "httpStatusCodesForReady": [200, 204], "preserveLastResponse": true}],
        "requirePorts": false,
        "role": "*",
        "secrets": {"s": {"source": "/x"}},
        "taskKillGracePeriodSeconds": 7,
        "tty": true,
        "unreachableStrategy": "disabled",
        "upgradeStrategy": {"maximumOverCapacity": 0.2, "minimumHealthCapacity": 0.333_333},
        "user": "nobody",
    });
    let mut shown = read(given.clone()).expect("valid");
    for own in ["id", "version", "versionInfo"] {
        shown.as_object_mut().expect("an object").remove(own);
    }
    assert_eq!(shown, given);
}

#[test]
fn old_ways_to_say_things_are_brought_into_the_present_form() {
    let shown = |body| read(body).expect("valid");
    let app = shown(
        json!({"cmd": "x", "ports": [0, 80], "uris": ["http://x/y.tar.gz", "http://x/z"],
                           "residency": {}, "instances": 2.0, "constraints": [["a", "like", "b"]]}),
    );
    assert_eq!(
        app["portDefinitions"],
        json!([{"port": 0, "protocol": "tcp"}, {"port": 80, "protocol": "tcp"}])
    );
    assert_eq!(app["fetch"][0]["extract"], true);
    assert_eq!(app["fetch"][1]["extract"], false);
    assert_eq!(app["constraints"], json!([["a", "LIKE", "b"]]));
    assert_eq!(app["instances"], 2);
    for gone in ["ports", "uris", "residency"] {
        assert_eq!(app.get(gone), None, "{gone}");
    }
    let app = shown(json!({"container": {"type": "DOCKER", "docker": {
        "image": "nginx", "network": "BRIDGE", "portMappings": [{"containerPort": 80}]}}}));
    assert_eq!(app["networks"], json!([{"mode": "container/bridge"}]));
    assert_eq!(
        app["container"]["portMappings"],
        json!([{"containerPort": 80, "hostPort": 0, "protocol": "tcp", "servicePort": 0}])
    );
    assert_eq!(app["container"]["docker"].get("network"), None);
    let app = shown(json!({"cmd": "x", "ipAddress": {"networkName": "n", "labels": {"a": "b"},
                           "discovery": {"ports": [{"number": 80, "name": "http"}]}}}));
    assert_eq!(app["networks"], json!([{"mode": "container", "name": "n", "labels": {"a": "b"}}]));
    assert_eq!(app["container"]["portMappings"][0]["containerPort"], 80);
}

/// What an app is refused with, for one thing that is wrong with it.
fn assert_refused(body: &Value, message: &str, path: &str, error: &str) {
    let refused = read(body.clone()).expect_err("refused");
    let expected = json!({"message": message, "details": [{"path": path, "errors": [error]}]});
    assert_eq!(refused, expected, "{body}");
}

#[test]
fn what_is_a_set_keeps_what_is_said_twice_once() {
    let check = json!({"protocol": "TCP", "intervalSeconds": 7});
    let other = json!({"protocol": "TCP", "intervalSeconds": 8});
    let shown = read(json!({"cmd": "x", "dependencies": ["/z", "/y", "../z"],
                            "healthChecks": [check, other, check]}));
    let shown = shown.expect("valid");
    assert_eq!(shown["dependencies"], json!(["/y", "/z"]));
    let every = |check: &Value| check["intervalSeconds"].clone();
    let checks: Vec<_> =
        shown["healthChecks"].as_array().expect("a list").iter().map(every).collect();
    assert_eq!(checks, [7, 8]);
}

#[test]
fn what_is_no_app_is_refused_with_its_path() {
    let invalid = "Object is not valid";
    let malformed = "Invalid JSON";
    let neither = "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.";
    for (body, message, path, error) in [
        (json!({}), invalid, "/", neither),
        (json!({"cmd": "x", "args": ["y"]}), invalid, "/", neither),
        (json!({"cmd": 1}), malformed, "/cmd", "error.expected.jsstring"),
        (json!({"cmd": "x", "cpus": "1"}), malformed, "/cpus", "error.expected.jsnumber"),
        (json!({"cmd": "x", "cpus": -1}), invalid, "/cpus", "got -1, expected 0.0 or more"),
        (json!({"cmd": "x", "instances": -2}), invalid, "/instances", "got -2, expected 0 or more"),
        (json!({"cmd": "x", "instances": 1.5}), malformed, "/instances", "error.expected.int"),
        (json!({"cmd": "x", "env": {"A": 1}}), malformed, "/env/A", "error.expected.jsstring"),
        (json!({"cmd": "x", "labels": ["a"]}), malformed, "/labels", "error.expected.jsobject"),
    ] {
        assert_refused(&body, message, path, error);
    }
    assert_eq!(Update::read(&json!([]), "").expect_err("no object").refusal().status, 400);
}

#[test]
fn what_cannot_be_is_refused_with_its_path() {
    let bad_index = "Health check port indices must address an element of the ports array or \
                     container port mappings.";
    for (body, path, error) in [
        (
            json!({"cmd": "x", "constraints": [["a", "NEAR"]]}),
            "/constraints(0)",
            "operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER, IS",
        ),
        (
            json!({"cmd": "x", "constraints": [["a", "LIKE", "("]]}),
            "/constraints(0)",
            "'(' is not a valid regular expression",
        ),
        (
            json!({"cmd": "x", "constraints": [["a", "MAX_PER"]]}),
            "/constraints(0)",
            "Value was not specified or is not a number",
        ),
        (json!({"cmd": "x", "healthChecks": [{"portIndex": 3}]}), "/healthChecks(0)", bad_index),
        (
            json!({"cmd": "x", "portDefinitions": [{"port": 70000}]}),
            "/portDefinitions(0)/port",
            "got 70000, expected 65535 or less",
        ),
        (
            json!({"cmd": "x", "portDefinitions": [{"port": 1}, {"port": 1}]}),
            "/portDefinitions",
            "Ports must be unique",
        ),
        (
            json!({"cmd": "x", "networks": [{"mode": "container/bridge"}], "portDefinitions": [{"port": 1}]}),
            "/portDefinitions",
            "portDefinitions are only allowed with host-networking",
        ),
        (
            json!({"container": {"type": "MESOS", "portMappings": [{"containerPort": 1}]}}),
            "/container/portMappings",
            "portMappings are not allowed with host-networking",
        ),
        (json!({"cmd": "x", "container": {"type": "DOCKER"}}), "/container/docker", "not defined"),
        (
            json!({"cmd": "x", "uris": ["a"], "fetch": [{"uri": "b"}]}),
            "/uris",
            "may not be set in conjunction with fetch",
        ),
        (
            json!({"cmd": "x", "upgradeStrategy": {"minimumHealthCapacity": 1.5}}),
            "/upgradeStrategy/minimumHealthCapacity",
            "got 1.5, expected between 0 and 1",
        ),
        (
            json!({"cmd": "x", "backoffFactor": 0.5}),
            "/backoffFactor",
            "got 0.5, expected 1 or more",
        ),
        (
            json!({"cmd": "x", "acceptedResourceRoles": ["web"]}),
            "/acceptedResourceRoles(0)",
            "acceptedResourceRoles can only contain '*' and '*'",
        ),
        (
            json!({"cmd": "x", "unreachableStrategy": {"inactiveAfterSeconds": 5}}),
            "/unreachableStrategy/expungeAfterSeconds",
            "must not be less than inactiveAfterSeconds",
        ),
        (
            json!({"cmd": "x", "instances": 2, "labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}}),
            "/instances",
            "got 2, expected 1 or less for a single-instance app",
        ),
    ] {
        assert_refused(&body, "Object is not valid", path, error);
    }
}

#[test]
fn a_partial_update_replaces_whole_fields_and_keeps_the_rest() {
    let id = AppId::parse("/a").expect("an id");
    let update = |body: Value| Update::read(&body, "").expect("an object");
    let first = json!({"cmd": "x", "env": {"A": "1", "B": "2"}, "mem": 64, "ports": [80]});
    let old = parse::whole(&id, &update(first), &defaults()).expect("valid");
    let merge =
        |body| render::app(&parse::merged(&old, &update(body), &defaults()).expect("valid"));
    let new = merge(json!({"env": {"C": "3"}, "cpus": null, "id": "/ignored"}));
    assert_eq!(new["env"], json!({"C": "3"}));
    assert_eq!((&new["mem"], &new["cpus"], &new["id"]), (&json!(64), &json!(1), &json!("/a")));
    let new = merge(json!({"args": ["y"]}));
    assert_eq!((new.get("cmd"), &new["args"]), (None, &json!(["y"])));
    let new =
        merge(json!({"networks": [{"mode": "container/bridge"}], "container": {"type": "MESOS"}}));
    assert_eq!(new.get("portDefinitions"), None);
    assert_eq!(new["container"]["portMappings"][0]["name"], "default");
    let rollback = update(json!({"version": "2026-01-01T00:00:00.000Z", "id": "/a"})).rollback();
    assert!(rollback.expect("it is one").is_ok());
    let both = update(json!({"version": "2026-01-01T00:00:00.000Z", "cmd": "y"})).rollback();
    assert_eq!(
        both.expect("it is one").expect_err("not alone").refusal().body["details"][0]["errors"][0],
        "The 'version' field may only be combined with the 'id' field."
    );
}

#[test]
fn a_task_sees_its_ports_and_labels() {
    let id = AppId::parse("/prod/web").expect("an id");
    let body = json!({"cmd": "x", "cpus": 0.5, "labels": {"a-b": "c"}, "env": {"PORT1": "own", "X": "y"},
                      "portDefinitions": [{"port": 8080, "name": "http-api"}, {"port": 0}]});
    let update = Update::read(&body, "").expect("an object");
    let app = parse::whole(&id, &update, &defaults()).expect("valid");
    let task = TaskId::new("t").expect("an id");
    let env = environment(&app, &task, "host1", &[31000, 31001], false);
    let all: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        all,
        [
            "HOST=host1",
            "MARATHON_APP_ENFORCE_GROUP_ROLE=false",
            "MARATHON_APP_ID=/prod/web",
            "MARATHON_APP_LABELS=A_B",
            "MARATHON_APP_LABEL_A_B=c",
            "MARATHON_APP_RESOURCE_CPUS=0.5",
            "MARATHON_APP_RESOURCE_DISK=0.0",
            "MARATHON_APP_RESOURCE_GPUS=0",
            "MARATHON_APP_RESOURCE_MEM=128.0",
            "MARATHON_APP_VERSION=1970-01-01T00:00:00.000Z",
            "MESOS_TASK_ID=t",
            "PORT=31000",
            "PORT0=31000",
            "PORT1=own",
            "PORTS=31000,31001",
            "PORT_8080=31000",
            "PORT_HTTP_API=31000",
            "X=y",
        ]
    );
    let none = environment(&app, &task, "host1", &[], true);
    assert_eq!(none["MARATHON_APP_ENFORCE_GROUP_ROLE"], "true");
    assert!(!none.contains_key("PORT"), "without ports there are no port variables");
}

#[test]
fn what_was_taken_once_is_read_again_under_stricter_rules() {
    let external = json!({"containerPath": "/a", "external": {"name": "v", "provider": "dvdi"}});
    let stored = json!({
        "id": "/a/b",
        "cmd": "x",
        "executor": "//other",
        "portDefinitions": [{"port": 0, "name": "HTTP_API", "protocol": "tcp"}],
        "fetch": [{"uri": "x", "destPath": ""}],
        "check": {"http": {"scheme": "http"}, "intervalSeconds": -1},
        "readinessChecks": [{"name": "", "portName": "HTTP_API", "timeoutSeconds": 0,
                             "httpStatusCodesForReady": [200, 200]}],
        "constraints": [["rack", "UNIQUE"], ["rack", "UNIQUE"]],
        "acceptedResourceRoles": ["*", "*"],
        "container": {"type": "MESOS", "volumes": [external]},
    });
    let app = parse::stored(&stored).expect("it was good enough");
    assert_eq!(render::app(&app)["portDefinitions"][0]["name"], "HTTP_API");
    let refused = read(stored).expect_err("it is not any more");
    let details = refused["details"].as_array().expect("details");
    assert!(details.len() >= 10, "{refused}");
    let codes = "/readinessChecks(0)/httpStatusCodesForReady";
    for twice in ["/constraints", "/acceptedResourceRoles", codes] {
        let of_it = details.iter().find(|it| it["path"] == twice);
        let of_it = of_it.unwrap_or_else(|| panic!("nothing of {twice}: {refused}"));
        assert_eq!(of_it["errors"], json!(["items must be unique"]));
    }
}

#[test]
fn a_rule_that_a_stored_app_breaks_is_in_the_way_of_those_only_who_touch_it() {
    let stored = json!({
        "id": "/a/b",
        "cmd": "x",
        "portDefinitions": [],
        "constraints": [["rack", "UNIQUE"], ["rack", "UNIQUE"]],
        "acceptedResourceRoles": ["*", "*"],
        "labels": {"GPU_SCHEDULING_BEHAVIOR": "some"},
        "readinessChecks": [{"name": "", "portName": "none", "httpStatusCodesForReady": ["x"]}],
    });
    let old = parse::stored(&stored).expect("it was good enough");
    let put = |body: Value, null_removes: bool| {
        let mut update = Update::read(&body, "").expect("an object");
        if null_removes {
            update.remove_nulls_of(&body);
        }
        parse::merged(&old, &update, &defaults())
    };
    let paths = |body: Value| -> Vec<String> {
        let wrong = put(body.clone(), false).expect_err("it is refused");
        wrong.malformed.into_keys().chain(wrong.invalid.into_keys()).collect()
    };
    let app = put(json!({"cpus": 2}), false).expect("what is broken is not touched");
    assert_eq!((app.cpus.0, app.constraints.len()), (2_000, 2));
    put(json!({"portDefinitions": [], "env": {"A": "1"}}), false).expect("nor here");
    put(json!({"constraints": null}), true).expect("it is mended by taking it away");
    put(json!({"labels": {}, "acceptedResourceRoles": ["*"]}), false)
        .expect("or by saying it well");
    // What is touched must be well in itself, and nothing may come to be wrong.
    for (body, path) in [
        (json!({"constraints": [["rack", "UNIQUE"], ["rack", "UNIQUE"]]}), "/constraints"),
        (json!({"labels": {"GPU_SCHEDULING_BEHAVIOR": "some"}}), "/labels/GPU_SCHEDULING_BEHAVIOR"),
        (json!({"cpus": -1}), "/cpus"),
        (json!({"healthChecks": [{}]}), "/healthChecks(0)"),
        (json!({"networks": [{"mode": "host"}, {"mode": "host"}]}), "/networks"),
    ] {
        assert_eq!(paths(body), [path]);
    }
}
