//! What whoever watches is told of what cannot be, and of what executors say.

mod world;

use marathon_core::ids::AppId;
use marathon_core::io::{Command, Input, PutApp, PutGroup};
use model::ids::{AgentId, ExecutorId};
use serde_json::{Value, json};
use world::{PUT, World, app, sleeper};

/// Group and reason of what failed since the last look.
fn failures(world: &mut World) -> Vec<(String, String)> {
    let text = |event: &Value, field: &str| event[field].as_str().expect("text").to_owned();
    let events = std::mem::take(&mut world.events).into_iter();
    let failed = events.filter(|event| event["eventType"] == "group_change_failed");
    failed
        .map(|event| {
            assert!(text(&event, "version").ends_with('Z'), "{event}");
            (text(&event, "groupId"), text(&event, "reason"))
        })
        .collect()
}

fn put_group(id: &str, body: Value) -> Command {
    Command::PutGroup { id: app(id), body, how: PutGroup::default() }
}

#[test]
fn a_change_that_was_understood_and_cannot_be_is_told_with_the_group_it_was_of() {
    let mut world = World::new(1);
    world.is_starting = false;
    world.create(sleeper("/shop/web", 1));
    let bare = sleeper("/shop/web", 2);
    let restart = Command::RestartApp { id: app("/shop/web"), force: false };
    let cycle = json!({"apps": [
        {"id": "a", "cmd": "x", "dependencies": ["b"]}, {"id": "b", "cmd": "x", "dependencies": ["a"]},
    ]});
    let under = json!([sleeper("/shop/web/below", 1)]);
    let (partial, create, force) = (true, true, false);
    let refused = [
        (restart, 409, "/shop", "App is locked by one or more deployments."),
        (Command::DeleteGroup { id: app("/shop"), force }, 409, "/shop", "App is locked"),
        (Command::CreateApp { body: bare.clone(), force }, 409, "/shop", "already exists."),
        (put_group("/shop/web", json!({})), 409, "/shop/web", "An app with the path"),
        (put_group("/ring", cycle), 422, "/ring", "Object is not valid: "),
        (
            Command::PutApps { body: under, partial, create, force },
            409,
            "/",
            "An app or pod with id [/shop/web] already exists",
        ),
    ];
    world.events.clear();
    for (command, status, group, reason) in refused {
        let refusal = world.ask(command).expect_err("it cannot be");
        assert_eq!(refusal.status, status, "{}", refusal.body);
        let told = failures(&mut world);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].0, group);
        assert!(told[0].1.contains(reason), "{told:?}");
    }

    // What was not understood is no change, and what is only asked for is none either.
    let nonsense = put_group("/ring", json!({"apps": 7}));
    let how = PutApp { dry_run: true, ..PUT };
    let dry = Command::PutApp { id: app("/shop/web"), body: bare, how };
    world.ask(dry).expect("told what it would do, whoever is at work there");
    assert_eq!(failures(&mut world), []);
    for command in [nonsense, Command::DeleteApp { id: app("/none"), force }] {
        world.ask(command).expect_err("it cannot be");
        assert_eq!(failures(&mut world), []);
    }
}

#[test]
fn a_change_that_is_made_is_told_with_the_group_it_is_of() {
    let mut world = World::new(1);
    let group = |world: &mut World| -> Vec<Value> {
        let events = std::mem::take(&mut world.events).into_iter();
        let made = events.filter(|event| event["eventType"] == "group_change_success");
        made.map(|event| event["groupId"].clone()).collect()
    };
    group(&mut world);
    world.create(sleeper("/shop/web", 1));
    assert_eq!(group(&mut world), ["/shop"]);
    world.ask(put_group("/shop/db", json!({"apps": [sleeper("x", 1)]}))).expect("made");
    assert_eq!(group(&mut world), ["/shop/db"]);
    world.create(sleeper("/top", 1));
    assert_eq!(group(&mut world), [AppId::root().as_str()]);
}

#[test]
fn what_an_executor_sends_is_told_as_it_is() {
    let mut world = World::new(1);
    world.events.clear();
    world.step(Input::Message {
        executor: ExecutorId::new("marathon-web").expect("an id"),
        agent: AgentId::new("S-1").expect("an id"),
        message: "aGVsbG8=".into(),
    });
    let event = &world.events[0];
    assert_eq!(event["eventType"], "framework_message_event");
    assert_eq!(
        (&event["executorId"], &event["slaveId"], &event["message"]),
        (&json!("marathon-web"), &json!("S-1"), &json!("aGVsbG8="))
    );
}
