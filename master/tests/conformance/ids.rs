//! Ids: the form of those that masters make, which tools parse, and what those may be that others make.

use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, eager};
use crate::words::{BOTH, amount, framework, launch, task, with};

/// What no id may be, and why.
fn bad() -> Vec<(String, String)> {
    let characters =
        |id: &str| (id.to_owned(), format!("'{}' contains invalid characters", id.escape_debug()));
    let mut all = vec![
        (String::new(), "ID must not be empty".to_owned()),
        (".".to_owned(), "'.' is disallowed".to_owned()),
        ("..".to_owned(), "'..' is disallowed".to_owned()),
        ("x".repeat(256), "ID must not be greater than 255 characters".to_owned()),
    ];
    all.extend(["a/b", r"a\b", "a\u{1}b", "a\nb", "a\u{7f}b"].map(characters));
    all
}

/// The longest that an id may be, and one of all kinds of characters.
fn good() -> [String; 2] {
    ["x".repeat(255), "a.b_c-d e:f*ä".to_owned()]
}

#[tokio::test]
async fn ids_have_the_form_that_tools_parse() {
    for encoding in BOTH {
        let mut master = Alone::with(eager()).await;
        for _ in 0..2 {
            let operator = Operator::new(&master, encoding);
            let info = operator.ask("GET_MASTER").await["master_info"].take();
            let reign = info["id"].as_str().expect("text").to_owned();
            let lengths: Vec<usize> = reign.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{reign} is a UUID");
            assert!(reign.chars().all(|c| c == '-' || c.is_ascii_hexdigit()), "{reign}");
            for n in 0..2 {
                let agent = FakeAgent::registered_on(master.address(), None, 6_000 + n).await;
                assert_eq!(agent.id.as_str(), format!("{reign}-S{n}"));
                let mut scheduler =
                    Scheduler::subscribed(&master, encoding, &framework(), None).await;
                assert_eq!(scheduler.id["value"], format!("{reign}-000{n}"));
                let offer = scheduler.offer_of(&agent.id).await;
                let offer = offer["id"]["value"].as_str().expect("text");
                let number = offer.strip_prefix(&format!("{reign}-O")).expect("it begins so");
                assert!(number.parse::<u64>().is_ok_and(|n| n < 100), "{offer}");
                scheduler.call(json!({"type": "TEARDOWN"})).await;
                agent.say(&model::link::FromAgent::Unregister).await;
            }
            // Another reign counts from the beginning.
            master = master.restarted().await;
        }
    }
}

#[tokio::test]
async fn ids_of_tasks_and_executors_may_not_be_anything() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let by_executor = |id: &str| {
            let executor = json!({
                "executor_id": {"value": id}, "command": {"value": "./e"},
                "resources": [amount("cpus", 0.1)],
            });
            with(with(task("t", &agent.id), "command", Value::Null), "executor", executor)
        };
        let mut tasks = Vec::new();
        let mut told = Vec::new();
        for (id, why) in bad() {
            tasks.push(task(&id, &agent.id));
            told.push((id.clone(), why.clone()));
            tasks.push(by_executor(&id));
            told.push(("t".to_owned(), format!("Executor's ID is invalid: {why}")));
        }
        tasks.extend(good().iter().map(|id| task(id, &agent.id)));
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&tasks)).await;
        for (id, why) in told {
            let status = scheduler.update().await;
            assert_eq!(status["task_id"]["value"], id, "{why}");
            assert_eq!(status["state"], "TASK_ERROR", "{id}");
            assert_eq!(status["message"], why, "{id}");
        }
        for id in good() {
            assert_eq!(agent.launched().await.tasks[0].id.as_str(), id);
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        agent.hear().await.expect("it is told to end them");
    }
}

#[tokio::test]
async fn a_framework_may_bring_its_id_and_none_is_as_good_as_an_empty_one() {
    for encoding in BOTH {
        let master = Alone::started().await;
        let subscribed = async |id: &str| {
            let info = with(framework(), "id", json!({"value": id}));
            let subscribe = json!({"framework_info": info});
            Scheduler::subscribed_by(&master, encoding, &subscribe, None).await
        };
        for (id, why) in bad().into_iter().filter(|(id, _)| !id.is_empty()) {
            let told = subscribed(&id).await.err().unwrap_or_else(|| panic!("{id} is let in"));
            assert_eq!(told, format!("Invalid 'FrameworkInfo.id': {why}"));
        }
        // One that no master has given is taken over: it may be of a cluster that has begun anew.
        for id in good() {
            let scheduler = subscribed(&id).await.expect("let in");
            assert_eq!(scheduler.id["value"], id);
            let shown = master.get("/frameworks").await["frameworks"][0].take();
            assert_eq!((&shown["id"], &shown["connected"]), (&json!(id), &json!(true)));
            scheduler.call(json!({"type": "TEARDOWN"})).await;
            let over = subscribed(&id).await.err();
            assert_eq!(over.as_deref(), Some("Framework has been removed"));
        }
        // Whoever has none is another framework each time.
        let one = subscribed("").await.expect("let in");
        let two = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        assert_ne!(one.id, two.id);
        for scheduler in [one, two] {
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
    }
}
