//! Roles: of apps, of groups, and those that Marathon gets offers in.

mod world;

use marathon_core::io::{Command, Config, PutGroup, Refusal};
use model::role::Role;
use serde_json::{Value, json};
use world::{World, app, config, sleeper};

fn with_role(id: &str, role: &str) -> Value {
    let mut body = sleeper(id, 1);
    body["role"] = role.into();
    body
}

fn create(world: &mut World, body: Value) -> Result<(), Refusal> {
    world.ask(Command::CreateApp { body, force: false }).map(|_| ())
}

fn enforce(world: &mut World, group: &str, flag: bool) {
    let body = json!({"enforceRole": flag});
    world.ask(Command::PatchGroup { id: app(group), body }).expect("patched");
}

#[test]
fn offers_are_asked_for_in_the_roles_of_apps_and_used_in_their_own() {
    let mut world = World::new(1);
    assert_eq!(world.roles, ["*"]);
    create(&mut world, with_role("/shop/web", "shop")).expect("created");
    assert_eq!(world.roles, ["*", "shop"]);
    world.rest();
    assert_eq!(world.running("/shop/web"), 0, "what is offered to others is not taken");
    world.role = Role::new("shop").expect("a role");
    world.offer_again();
    assert_eq!(world.running("/shop/web"), 1);
    world.crash();
    assert_eq!(world.roles, ["*", "shop"], "a successor asks in the same ones");
    world.delete("/shop/web");
    world.rest();
    assert_eq!(world.roles, ["*"]);
}

#[test]
fn a_role_is_marathons_own_or_that_of_the_group_on_top() {
    let mut world = World::new(1);
    for (id, role) in [("/shop/web", "shop"), ("/shop/db/redis", "shop"), ("/web", "*")] {
        create(&mut world, with_role(id, role)).expect("created");
    }
    for (id, role) in [("/shop/other", "db"), ("/shop/db/other", "db"), ("/one", "one")] {
        let refusal = create(&mut world, with_role(id, role)).expect_err("refused");
        let error = refusal.body["details"][0].to_string();
        assert!(error.contains("expected one of: '*'"), "{error}");
    }
}

#[test]
fn a_group_that_enforces_its_role_gives_it_to_what_is_new_in_it() {
    let mut world = World::new(1);
    create(&mut world, sleeper("/shop/old", 1)).expect("created");
    world.rest();
    enforce(&mut world, "/shop", true);
    create(&mut world, sleeper("/shop/db/new", 1)).expect("created");
    assert_eq!(world.app("/shop/db/new").role.as_deref(), Some("shop"));
    let refusal = create(&mut world, with_role("/shop/other", "*")).expect_err("it is enforced");
    assert_eq!(refusal.status, 422, "{}", refusal.body);
    let launched = world.launched.len();
    world.put("/shop/old", json!({"labels": {"a": "b"}})).expect("changed");
    world.rest();
    assert_eq!(world.app("/shop/old").role, None, "what is there keeps its role");
    assert_eq!(world.launched.len(), launched);
    let mut body = sleeper("/shop/reserved", 1);
    body["acceptedResourceRoles"] = json!(["shop"]);
    create(&mut world, body.clone()).expect("its role is the group's");
    body["id"] = "/other/reserved".into();
    assert!(create(&mut world, body).is_err(), "there nobody has that role");
    world.role = Role::new("shop").expect("a role");
    world.offer_again();
    assert_eq!(world.running("/shop/db/new"), 1);
    let task = world.tasks_of("/shop/db/new")[0].clone();
    assert!(world.tasks[&task].launch.is_role_enforced);
}

#[test]
fn new_groups_enforce_their_role_if_that_is_the_rule() {
    let mut world = World::with(1, Config { enforces_new_groups: true, ..config(7) });
    create(&mut world, sleeper("/shop/web", 1)).expect("created");
    assert_eq!(world.app("/shop/web").role.as_deref(), Some("shop"));
    create(&mut world, sleeper("/alone", 1)).expect("created");
    assert_eq!(world.app("/alone").role, None);
    let body = json!({"id": "/free", "enforceRole": false, "apps": [sleeper("web", 1)]});
    let how = PutGroup::default();
    world.ask(Command::PutGroup { id: app("/free"), body, how }).expect("made");
    assert_eq!(world.app("/free/web").role, None);
    let body = json!({"id": "/bound", "groups": [{"id": "in", "apps": [sleeper("web", 1)]}]});
    world.ask(Command::PutGroup { id: app("/bound"), body, how }).expect("made");
    assert_eq!(world.app("/bound/in/web").role.as_deref(), Some("bound"));
    assert_eq!(world.view.tree.groups[&app("/bound/in")].enforce_role, None);
}

#[test]
fn what_apps_take_that_do_not_say_can_be_chosen() {
    let reserved = "cpus(shop):4;mem(shop):4096;disk:1000;ports:[31000-31999]";
    for (accepted, runs) in [(vec![], 1), (vec!["*"], 0), (vec!["shop"], 1)] {
        let accepted_roles = accepted.into_iter().map(Into::into).collect();
        let role = "shop".into();
        let mut world = World::with(0, Config { role, accepted_roles, ..config(7) });
        world.role = Role::new("shop").expect("a role");
        world.add_agent("host0", reserved, "");
        let mut body = sleeper("/web", 1);
        body["portDefinitions"] = json!([]);
        create(&mut world, body).expect("created");
        world.rest();
        assert_eq!(world.running("/web"), runs);
    }
}
