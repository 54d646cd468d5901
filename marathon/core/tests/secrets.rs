//! Secrets: what waits for them, what is launched with them, and what is kept.

mod world;

use marathon_core::io::Command;
use serde_json::json;
use world::{World, app};

fn put(world: &mut World, path: &str, sealed: &[u8]) {
    let (path, sealed) = (path.to_owned(), sealed.to_vec());
    world.ask(Command::PutSecret { path, sealed }).expect("kept");
}

#[test]
fn an_app_waits_for_its_secret_and_is_launched_with_it() {
    let mut world = World::new(1);
    world.create(json!({"id": "/web", "cmd": "x", "cpus": 0.1, "env": {"KEY": {"secret": "k"}},
                        "secrets": {"k": {"source": "/shop/key"}, "unused": {"source": "none"}}}));
    world.rest();
    assert_eq!(world.running("/web"), 0);
    let told = world.view.explain_app(&app("/web"), world.now().wall).expect("there");
    let why = told["waiting"]["agents"][0]["why"].as_str().expect("a reason").to_owned();
    assert!(why.contains("the secret 'shop/key' is not kept"), "{why}");
    put(&mut world, "shop/key", b"sealed");
    world.pass(1.0);
    assert_eq!(world.running("/web"), 1);
    let task = world.tasks.values().next().expect("it runs");
    assert_eq!(&*task.launch.secrets["k"].bytes, b"sealed");
    assert_eq!(task.launch.secrets.len(), 1, "what is not used is not handed out");
    assert_eq!(world.store["secret:shop/key"], b"sealed");
    let told: Vec<String> = world.events.iter().map(ToString::to_string).collect();
    assert!(!told.iter().any(|event| event.contains("sealed")), "{told:?}");
}

#[test]
fn a_successor_has_the_secrets_that_were_kept() {
    let mut world = World::new(1);
    put(&mut world, "a/b", b"one");
    put(&mut world, "a/b", b"two");
    put(&mut world, "c", b"three");
    world.ask(Command::DeleteSecret { path: "c".into(), force: false }).expect("forgotten");
    world.crash();
    assert_eq!(world.view.secrets.iter().map(|it| &**it).collect::<Vec<_>>(), ["a/b"]);
    assert_eq!(world.store["secret:a/b"], b"two");
    let gone = world.ask(Command::DeleteSecret { path: "c".into(), force: false });
    assert_eq!(gone.expect_err("it is gone").status, 404);
}
