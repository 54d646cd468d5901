//! Groups: made, changed, scaled, taken back and deleted as a whole.

mod world;

use marathon_core::ids::AppId;
use marathon_core::io::{Answer, Command, PutApp, PutGroup, Refusal};
use serde_json::{Value, json};
use world::{World, app, sleeper};

fn put(world: &mut World, id: &str, body: Value, how: PutGroup) -> Result<Answer, Refusal> {
    world.ask(Command::PutGroup { id: app(id), body, how })
}

const PUT: PutGroup =
    PutGroup { is_new: false, force: false, dry_run: false, diff: false, merge: false };
const POST: PutGroup = PutGroup { is_new: true, ..PUT };

fn ids(world: &World) -> Vec<&str> {
    world.view.tree.apps.keys().map(AppId::as_str).collect()
}

/// A shop: its web app depends on the group of its databases.
fn shop() -> Value {
    json!({
        "id": "/shop",
        "groups": [
            {"id": "db", "apps": [sleeper("mongo", 1), sleeper("redis", 1)]},
            {"id": "front", "dependencies": ["../db"], "apps": [sleeper("web", 2)]},
        ],
    })
}

fn version(answer: &Answer) -> Value {
    answer.body.as_ref().expect("a result")["version"].clone()
}

fn errors(refusal: &Refusal) -> String {
    refusal.body["details"][0]["errors"][0].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_nested_group_is_made_with_relative_ids_and_dependencies_first() {
    let mut world = World::new(1);
    world.is_starting = false;
    let answer = put(&mut world, "/", shop(), POST).expect("made");
    assert_eq!((answer.status, answer.location.as_deref()), (201, Some("/v2/groups/shop")));
    assert_eq!(ids(&world), ["/shop/db/mongo", "/shop/db/redis", "/shop/front/web"]);
    world.rest();
    assert!(world.tasks_of("/shop/front/web").is_empty(), "the databases come first");
    assert_eq!(world.tasks.len(), 2);
    world.is_starting = true;
    world.rest();
    assert_eq!(world.running("/shop/front/web"), 2);

    let again = put(&mut world, "/", shop(), POST).expect_err("it is there");
    assert_eq!(again.status, 409);
    assert_eq!(
        again.body["message"],
        "Group /shop is already created. Use PUT to change this group."
    );
    let named = put(&mut world, "/", json!({"id": "/shop/db/mongo"}), POST).expect_err("an app");
    assert_eq!(named.body["message"], "An app with the path /shop/db/mongo already exists.");
}

#[test]
fn put_replaces_a_group_and_merge_only_adds_to_it() {
    let mut world = World::new(1);
    put(&mut world, "/", shop(), POST).expect("made");
    world.rest();
    let more = json!({"groups": [{"id": "db", "apps": [sleeper("etcd", 1)]}]});
    let merged = put(&mut world, "/shop", more.clone(), PutGroup { merge: true, ..PUT });
    assert_eq!(merged.expect("merged").status, 200);
    world.rest();
    assert_eq!(ids(&world).len(), 4);
    put(&mut world, "/shop", more, PUT).expect("replaced");
    world.rest();
    assert_eq!(ids(&world), ["/shop/db/etcd"], "what was left out is gone");
    assert_eq!(world.tasks.len(), 1);
}

#[test]
fn an_app_that_is_to_be_kept_is_not_deleted_by_leaving_it_out() {
    let mut world = World::new(1);
    let mut kept = sleeper("kept", 1);
    kept["labels"] = json!({"AGORA_GROUP_KEEP": "true"});
    let body = json!({"id": "/g", "apps": [kept, sleeper("other", 1)]});
    put(&mut world, "/", body, POST).expect("made");
    world.rest();
    put(&mut world, "/g", json!({"apps": []}), PUT).expect("replaced");
    world.rest();
    assert_eq!(ids(&world), ["/g/kept"]);
}

#[test]
fn an_app_without_a_count_keeps_the_one_it_has() {
    let mut world = World::new(1);
    put(&mut world, "/", shop(), POST).expect("made");
    world.rest();
    world.put("/shop/front/web", json!({"instances": 5})).expect("scaled by hand");
    world.rest();
    let mut body = shop();
    let web = &mut body["groups"][1]["apps"][0];
    web.as_object_mut().expect("an object").remove("instances");
    put(&mut world, "/", body, PUT).expect("put again");
    world.rest();
    assert_eq!(world.running("/shop/front/web"), 5);
}

#[test]
fn a_dry_run_tells_what_would_be_done_and_does_nothing() {
    let mut world = World::new(1);
    put(&mut world, "/", shop(), POST).expect("made");
    world.rest();
    let mut body = shop();
    body["groups"][0]["apps"] = json!([sleeper("mongo", 3), sleeper("etcd", 1)]);
    body["groups"][1]["apps"][0]["labels"] = json!({"a": "b"});
    let how = PutGroup { dry_run: true, ..PUT };
    let answer = put(&mut world, "/", body.clone(), how).expect("told");
    assert_eq!(
        answer.body.expect("steps"),
        json!({"steps": [
            {"actions": [{"action": "StopApplication", "app": "/shop/db/redis"}]},
            {"actions": [{"action": "StartApplication", "app": "/shop/db/etcd"}]},
            {"actions": [{"action": "ScaleApplication", "app": "/shop/db/etcd"},
                         {"action": "ScaleApplication", "app": "/shop/db/mongo"}]},
        ]})
    );
    let answer = put(&mut world, "/", body, PutGroup { diff: true, ..how }).expect("told");
    let changes = answer.body.expect("changes")["changes"].clone();
    assert_eq!(
        changes,
        json!([
            {"app": "/shop/db/etcd", "what": "created"},
            {"app": "/shop/db/mongo", "what": "changed in place",
             "fields": {"instances": {"from": 1, "to": 3}}},
            {"app": "/shop/db/redis", "what": "deleted"},
            {"app": "/shop/front/web", "what": "changed in place",
             "fields": {"labels": {"from": {}, "to": {"a": "b"}}}},
        ])
    );
    assert_eq!(ids(&world).len(), 3);
    assert!(world.view.deployments.is_empty());
}

#[test]
fn a_dry_run_is_no_change_and_waits_for_no_deployment() {
    let mut world = World::new(0);
    put(&mut world, "/", shop(), POST).expect("made");
    let running = world.view.deployments();
    assert_eq!(running.len(), 1, "nothing can be launched");
    let what = json!({"apps": [sleeper("web", 7)]});
    let locked = put(&mut world, "/shop/front", what.clone(), PUT).expect_err("locked");
    assert_eq!(locked.status, 409, "{}", locked.body);
    let told = json!([{"actions": [{"action": "ScaleApplication", "app": "/shop/front/web"}]}]);
    let how = PutGroup { dry_run: true, ..PUT };
    let answer = put(&mut world, "/shop/front", what, how).expect("told");
    assert_eq!(answer.body.expect("steps")["steps"], told);
    let (id, how) = (app("/shop/front/web"), PutApp { dry_run: true, ..world::PUT });
    let body = sleeper("/shop/front/web", 7);
    let answer = world.ask(Command::PutApp { id, body, how }).expect("told");
    assert_eq!(answer.body.expect("steps")["steps"], told);
    assert_eq!(world.view.deployments(), running, "it goes on");
}

#[test]
fn a_group_is_scaled_as_a_whole() {
    let mut world = World::new(1);
    put(&mut world, "/", shop(), POST).expect("made");
    world.rest();
    put(&mut world, "/shop", json!({"scaleBy": 1.5}), PUT).expect("scaled");
    world.rest();
    let counts = ["/shop/db/mongo", "/shop/front/web"].map(|id| world.running(id));
    assert_eq!(counts, [2, 3], "rounded up");
    let both = json!({"scaleBy": 2, "apps": []});
    let refusal = put(&mut world, "/shop", both, PUT).expect_err("not alone");
    assert_eq!(refusal.status, 422);
    assert_eq!(errors(&refusal), "The 'scaleBy' field may only be combined with the 'id' field.");
    let refusal = put(&mut world, "/none", json!({"scaleBy": 2}), PUT).expect_err("no group");
    assert_eq!(
        (refusal.status, &refusal.body["message"]),
        (404, &json!("Group '/none' does not exist"))
    );
}

#[test]
fn a_group_goes_back_to_what_it_was_with_apps_deleted_since() {
    let mut world = World::new(1);
    let first = put(&mut world, "/", shop(), POST).expect("made");
    world.pass(1.0);
    put(&mut world, "/shop", json!({"apps": [sleeper("new", 1)]}), PUT).expect("replaced");
    world.pass(1.0);
    world.create(sleeper("/elsewhere", 1));
    world.pass(1.0);
    assert_eq!(ids(&world), ["/elsewhere", "/shop/new"]);
    // A successor knows it too.
    world.crash();
    let versions = world.view.group_versions(&app("/shop"));
    assert_eq!(versions.len(), 2, "what happened elsewhere is no version of it");
    let oldest = *versions.first().expect("two");
    let then = world::parsed(&world.view.group_at(&app("/shop"), oldest).expect("a version"));
    assert_eq!(then["groups"][1]["apps"][0]["id"], "/shop/front/web");
    assert_eq!(then["groups"][1]["dependencies"], json!(["/shop/db"]));

    // What going back would do can be seen before.
    let back = json!({"version": version(&first)});
    let how = PutGroup { dry_run: true, diff: true, ..PUT };
    let told = put(&mut world, "/shop", back.clone(), how).expect("told").body.expect("changes");
    let changes = told["changes"].as_array().expect("a list").iter();
    let changes: Vec<_> = changes.map(|it| (it["app"].as_str(), it["what"].as_str())).collect();
    assert_eq!(changes.len(), 4);
    assert_eq!(changes[3], (Some("/shop/new"), Some("deleted")));
    put(&mut world, "/shop", back, PUT).expect("taken back");
    world.pass(1.0);
    assert_eq!(ids(&world), ["/elsewhere", "/shop/db/mongo", "/shop/db/redis", "/shop/front/web"]);
    assert_eq!(world.tasks.len(), 5);
    let unknown = json!({"version": "2001-01-01T00:00:00.000Z"});
    assert_eq!(put(&mut world, "/shop", unknown, PUT).expect_err("no version").status, 404);
}

#[test]
fn a_described_group_stays_without_apps_and_is_taken_back_with_its_deployment() {
    let mut world = World::new(1);
    let answer = put(&mut world, "/", json!({"id": "/empty"}), POST).expect("made");
    assert!(world.view.tree.has_group(&app("/empty")));
    assert!(answer.deployment.is_some());
    let taken = world.ask(Command::CreateApp { body: sleeper("/empty", 1), force: false });
    assert_eq!(taken.expect_err("a group has the name").status, 409);

    let mut body = json!({"id": "/half", "apps": [sleeper("big", 1)]});
    body["apps"][0]["cpus"] = 100.into();
    let stuck = put(&mut world, "/", body, POST).expect("made").deployment.expect("one");
    world.pass(5.0);
    world.ask(Command::CancelDeployment { id: stuck, force: false }).expect("taken back");
    world.rest();
    assert!(!world.view.tree.has_group(&app("/half")), "it goes with what made it");
    world.ask(Command::DeleteGroup { id: app("/empty"), force: false }).expect("deleted");
    assert!(world.view.tree.groups.is_empty());
    let gone = world.ask(Command::DeleteGroup { id: app("/empty"), force: false });
    assert_eq!(gone.expect_err("gone").status, 404);
}

#[test]
fn a_change_of_a_locked_app_is_refused_unless_forced() {
    let mut world = World::new(1);
    let mut body = shop();
    body["groups"][0]["apps"][0]["cpus"] = 100.into();
    let first = put(&mut world, "/", body, POST).expect("made").deployment;
    world.pass(1.0);
    let refusal = put(&mut world, "/", shop(), PUT).expect_err("locked");
    assert_eq!(refusal.status, 409);
    assert_eq!(refusal.body["deployments"], json!([{"id": first}]));
    put(&mut world, "/", shop(), PutGroup { force: true, ..PUT }).expect("forced");
    world.rest();
    assert_eq!(world.running("/shop/front/web"), 2);
}

#[test]
fn only_a_group_on_top_can_enforce_its_role() {
    let mut world = World::new(1);
    put(&mut world, "/", shop(), POST).expect("made");
    let patch = |id: &str, body| Command::PatchGroup { id: app(id), body };
    for flag in [true, false] {
        let answer = world.ask(patch("/shop", json!({"enforceRole": flag}))).expect("said");
        assert_eq!((answer.status, answer.body), (200, None));
        assert_eq!(world.view.tree.groups[&app("/shop")].enforce_role, Some(flag));
    }
    for (id, body) in [
        ("/shop/db", json!({"enforceRole": false})),
        ("/shop", json!({"enforceRole": 1})),
        ("/shop", json!({"enforceRole": false, "apps": []})),
    ] {
        assert_eq!(world.ask(patch(id, body)).expect_err("wrong").status, 422, "{id}");
    }
    assert_eq!(
        world.ask(patch("/none", json!({"enforceRole": false}))).expect_err("-").status,
        404
    );
}

#[test]
fn where_a_role_is_enforced_no_app_has_another() {
    let mut world = World::new(0);
    let config = marathon_core::io::Config { role: "shop".into(), ..world::config(9) };
    world.marathon = marathon_core::Marathon::new(config);
    world.lead();
    let mut body = shop();
    body["enforceRole"] = true.into();
    put(&mut world, "/", body.clone(), POST).expect("made");
    assert_eq!(world.view.tree.groups[&app("/shop")].enforce_role, Some(true));
    let mut other = sleeper("/shop/other", 1);
    other["role"] = "other".into();
    let refusal = world.ask(Command::CreateApp { body: other, force: false }).expect_err("refused");
    assert_eq!(refusal.status, 422);
    assert_eq!(errors(&refusal), "got 'other', expected one of: 'shop'");
    // What is not said again stays said.
    body.as_object_mut().expect("an object").remove("enforceRole");
    put(&mut world, "/", body, PutGroup { force: true, ..PUT }).expect("put");
    assert_eq!(world.view.tree.groups[&app("/shop")].enforce_role, Some(true));
}

#[test]
fn what_is_wrong_in_a_group_is_told_by_its_path() {
    let mut world = World::new(1);
    let cases = [
        (json!({"id": "/a", "apps": [{"id": "x"}]}), 422, "/apps(0)"),
        (json!({"id": "/a", "apps": [{"cmd": "x"}]}), 422, "/apps(0)/id"),
        (json!({"id": "/a", "apps": [sleeper("/b/x", 1)]}), 422, "/apps(0)/id"),
        (
            json!({"id": "/a", "groups": [{"id": "b", "apps": [{"id": "x", "cmd": 7}]}]}),
            400,
            "/groups(0)/apps(0)/cmd",
        ),
        (json!({"id": "/a", "groups": [7]}), 400, "/groups(0)"),
        (json!({"id": "/a", "dependencies": ["."]}), 422, "/dependencies(0)"),
        (json!({"id": "/a", "apps": [sleeper("b", 1)], "groups": [{"id": "b"}]}), 422, "/"),
        (json!({"id": "/a", "apps": [sleeper("b", 1), sleeper("b", 1)]}), 422, "/apps(1)"),
        (json!({"id": "/a", "pods": [{"id": "p"}]}), 422, "/pods(0)/containers"),
        (
            json!({"id": "/a", "groups": [{"id": "b", "dependencies": ["../c"], "apps": [sleeper("x", 1)]},
                {"id": "c", "dependencies": ["../b"], "apps": [sleeper("x", 1)]}]}),
            422,
            "/",
        ),
    ];
    for (body, status, path) in cases {
        let refusal = put(&mut world, "/", body.clone(), POST).expect_err("wrong");
        assert_eq!(refusal.status, status, "{body} {refusal:?}");
        assert_eq!(refusal.body["details"][0]["path"], path, "{body} {refusal:?}");
    }
    assert!(world.view.tree.apps.is_empty() && world.view.tree.groups.is_empty());
}

#[test]
fn groups_that_come_to_need_each_other_are_refused_also_if_no_app_of_theirs_changes() {
    let mut world = World::new(1);
    put(&mut world, "/", shop(), POST).expect("made");
    world.rest();
    let needy = json!({"id": "/shop/db", "dependencies": ["../front"],
                       "apps": [sleeper("mongo", 1), sleeper("redis", 1)]});
    let refusal = put(&mut world, "/shop/db", needy, PUT).expect_err("the front needs it");
    assert!(errors(&refusal).starts_with("Has cyclic dependencies: /shop/"), "{refusal:?}");
    // What is refused has changed nothing, so what is there can still be changed.
    world.put("/shop/db/mongo", json!({"instances": 2})).expect("scaled");
    world.rest();
    assert_eq!(world.running("/shop/db/mongo"), 2);
}
