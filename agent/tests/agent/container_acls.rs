//! What the rules of operators let whom do to containers of an agent, over real sockets in both
//! encodings. Containers are real and isolated: this takes root.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::task::TaskState;
use proto::mesos::v1 as mesos;
use proto::mesos::v1::agent::Call;
use proto::mesos::v1::agent::call::Type;
use serde_json::{Value, json};
use transport::auth::TokenKey;

use crate::acls::{OTHER, named, of_user, open, rule, ruled};
use crate::containers::{
    BOTH, Encoding, Isolated, isolate, kill, kill_nested, launch, launch_nested, of as call_of,
    remove, remove_nested, show, wait, wait_nested, within,
};
use crate::image::busybox;
use crate::images::{mesos_container, with_images};
use crate::master::AGENT;
use crate::streams::{attach_input, attach_output, session};
use crate::{FRAMEWORK, Site, command_task, pods};

/// All things that are done to containers, but to see those of executors.
const DEEDS: [&str; 14] = [
    "launch_nested_containers_under_parent_with_user",
    "launch_nested_container_sessions_under_parent_with_user",
    "launch_nested_containers_as_user",
    "launch_nested_container_sessions_as_user",
    "kill_nested_containers",
    "wait_nested_containers",
    "remove_nested_containers",
    "attach_containers_input",
    "attach_containers_output",
    "launch_standalone_containers",
    "kill_standalone_containers",
    "wait_standalone_containers",
    "remove_standalone_containers",
    "view_standalone_containers",
];

/// The user as whom the agent runs, and all it runs that names no other.
fn own_user() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.expect("it can be looked up").expect("it has a name").name
}

/// The same call, for a container that runs as `user`.
fn as_user(mut call: Call, user: &str) -> Call {
    let nested = call.launch_nested_container.as_mut().and_then(|it| it.command.as_mut());
    let session = call.launch_nested_container_session.as_mut();
    let session = session.and_then(|it| it.command.as_mut());
    let any = call.launch_container.as_mut().and_then(|it| it.command.as_mut());
    let command = nested.or(session).or(any).expect("it launches something");
    command.user = Some(user.to_owned());
    call
}

impl Site {
    /// Makes a call whose answer goes on, and does not wait for the whole of it.
    async fn begun_as(&self, call: &Call, encoding: Encoding, who: &str) {
        let request = self.post(call, encoding).header("authorization", named(who).basic());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{call:?}");
    }
}

/// Rules by which `web` may do everything to containers of [`OTHER`] and nothing to those of others.
fn only_other() -> Value {
    let rules = json!([
        rule("web", "users", &[OTHER]),
        {"principals": {"values": ["web"]}, "users": {"type": "NONE"}},
    ]);
    let names = DEEDS.into_iter().chain(["view_containers"]);
    names.map(|name| (name.to_owned(), rules.clone())).collect::<serde_json::Map<_, _>>().into()
}

/// An agent with these rules, on which `e1` runs as its own user and `e2`, whose container it is that
/// comes with it, as [`OTHER`].
async fn two_users() -> (Isolated, mesos::ContainerId) {
    let isolated = Isolated::with(|options| ruled(options, &only_other())).await;
    let site = &isolated.site;
    site.master.launch(of_user("t2", "e2", Some(OTHER)));
    site.launched("e2").await;
    site.sandbox_file("e2", "environment").await;
    let value = site.container_of("e2").await;
    (isolated, mesos::ContainerId { value, parent: None })
}

#[tokio::test]
async fn in_containers_of_executors_everybody_does_what_the_rules_let_them() {
    let (isolated, theirs) = two_users().await;
    let (site, own) = (&isolated.site, own_user());
    for encoding in BOTH {
        let n = isolated.id(&["n"]);
        site.done_as(&launch_nested(n.clone(), "sleep 1000"), encoding, "ops").await;
        for (call, what) in [
            (&launch_nested(isolated.id(&["m"]), "true"), "launch containers in containers of"),
            (&launch(isolated.id(&["m"]), "true"), "launch containers in containers of"),
            (&session(isolated.id(&["s"]), "true"), "open sessions in containers of"),
            (&wait_nested(n.clone()), "wait for containers of"),
            (&wait(n.clone()), "wait for containers of"),
            (&kill_nested(n.clone(), None), "kill containers of"),
            (&kill(n.clone(), None), "kill containers of"),
            (&remove_nested(n.clone()), "remove containers of"),
            (&remove(n.clone()), "remove containers of"),
            (&attach_output(n.clone()), "read the output of containers of"),
            (&attach_output(isolated.id(&[])), "read the output of containers of"),
        ] {
            site.refused_web(call, encoding, &format!("{what} user '{own}'")).await;
        }
        let record = proto::recordio::encode(&encoding.write(&attach_input(n.clone())));
        let typed = site.streamed(encoding).header("authorization", named("web").basic());
        let typed = typed.body(record).send().await.expect("an answer");
        assert_eq!(typed.status(), 403);
        let why =
            format!("Not authorized to type for containers of user '{own}' as principal 'web'");
        assert_eq!(typed.text().await.expect("a body"), why);
        for call in [kill_nested(n.clone(), None), wait_nested(n.clone()), remove_nested(n)] {
            site.done_as(&call, encoding, "ops").await;
        }

        let n = within(theirs.clone(), "n");
        let is_other = format!("test $(id -un) = {OTHER}");
        site.done_as(&launch_nested(n.clone(), &is_other), encoding, "web").await;
        let (_, _, response) = site.ask_as(&wait_nested(n.clone()), encoding, "web").await;
        let over = response.wait_nested_container.expect("it is answered");
        assert_eq!(over.exit_status, Some(0));
        site.done_as(&remove_nested(n.clone()), encoding, "web").await;
        site.done_as(&as_user(launch(n.clone(), "sleep 1000"), OTHER), encoding, "web").await;
        for call in [attach_output(n.clone()), session(within(n.clone(), "s"), "sleep 1000")] {
            site.begun_as(&call, encoding, "web").await;
        }
        for call in [kill(n.clone(), None), wait(n.clone()), remove(n)] {
            site.done_as(&call, encoding, "web").await;
        }
    }
    isolated.end().await;
}

#[tokio::test]
async fn a_container_runs_only_as_whom_the_rules_let_somebody_run_one() {
    let (isolated, theirs) = two_users().await;
    let (site, own) = (&isolated.site, own_user());
    for encoding in BOTH {
        let n = within(theirs.clone(), "n");
        // A number could be anybody's.
        for user in [own.as_str(), "0", "+0", "1"] {
            let what = format!("run containers as user '{user}'");
            for call in [
                launch_nested(n.clone(), "true"),
                launch(n.clone(), "true"),
                session(n.clone(), "id"),
            ] {
                site.refused_web(&as_user(call, user), encoding, &what).await;
            }
        }
        // What runs as somebody else in a container of theirs gives nobody that one's rights.
        let root = as_user(launch_nested(n.clone(), "sleep 1000"), &own);
        site.done_as(&root, encoding, "ops").await;
        let s = within(n.clone(), "s");
        let what = format!("run containers as user '{own}'");
        site.refused_web(&session(s.clone(), "id"), encoding, &what).await;
        site.refused_web(&launch_nested(s.clone(), "id"), encoding, &what).await;
        // By the rules it might be one of theirs, which cannot enter the other one's sandbox.
        let other = as_user(session(s, "id"), OTHER);
        let (status, text, _) = site.ask_as(&other, encoding, "web").await;
        assert!(text.starts_with("Failed to launch container: cannot enter"), "{status} {text}");
        for call in [kill_nested(n.clone(), None), wait_nested(n.clone()), remove_nested(n)] {
            site.done_as(&call, encoding, "web").await;
        }
    }
    isolated.end().await;
}

#[tokio::test]
async fn an_image_gives_nobody_a_user_that_the_rules_do_not() {
    let images = tempfile::tempdir().expect("a directory");
    let config = json!({"User": "web", "Env": ["PATH=/bin"]});
    busybox(&config).write_layout(&images.path().join("app:1"), "1");
    let site = Site::with(|options| {
        with_images(options, images.path());
        ruled(options, &only_other());
    })
    .await;
    site.master.launch(of_user("t2", "e2", Some(OTHER)));
    site.launched("e2").await;
    site.sandbox_file("e2", "environment").await;
    let theirs = mesos::ContainerId { value: site.container_of("e2").await, parent: None };
    for encoding in BOTH {
        let n = within(theirs.clone(), "n");
        let mut call = launch_nested(n.clone(), "exec sleep 1000");
        let nested = call.launch_nested_container.as_mut().expect("it is set");
        nested.container = Some(mesos_container("app:1"));
        let (status, text, _) = site.ask_as(&call, encoding, "web").await;
        let why = "Failed to launch container: its image is run as user 'web': Not authorized to run \
                   containers as user 'web' as principal 'web'; name another user";
        assert_eq!((status, text.as_str()), (400, why));
        // In what others launch nobody is let in either.
        site.done_as(&call, encoding, "ops").await;
        let look = session(within(n.clone(), "s"), "id");
        site.refused_web(&look, encoding, "run containers as user 'web'").await;
        let end = [kill_nested(n.clone(), None), wait_nested(n.clone()), remove_nested(n)];
        for call in &end {
            site.done_as(call, encoding, "web").await;
        }
        site.done_as(&as_user(call, OTHER), encoding, "web").await;
        for call in &end {
            site.done_as(call, encoding, "web").await;
        }
    }
    site.end().await;
}

#[tokio::test]
async fn standalone_containers_are_for_those_who_may_have_to_do_with_their_users() {
    let (isolated, theirs) = two_users().await;
    let (site, own) = (&isolated.site, own_user());
    let [alone, mine] =
        ["alone", "mine"].map(|name| mesos::ContainerId { value: name.to_owned(), parent: None });
    for encoding in BOTH {
        site.done_as(&launch(alone.clone(), "sleep 1000"), encoding, "ops").await;
        let inside = within(alone.clone(), "in");
        let other = as_user(launch(inside.clone(), "true"), OTHER);
        let standalone = |what: &str| format!("{what} standalone containers of user '{own}'");
        let new = format!("launch standalone containers as user '{own}'");
        for (call, what) in [
            (&launch(mine.clone(), "true"), new),
            (&other, standalone("launch containers in")),
            (&as_user(session(inside, "true"), OTHER), standalone("open sessions in")),
            (&wait(alone.clone()), standalone("wait for")),
            (&kill(alone.clone(), None), standalone("kill")),
            (&remove(alone.clone()), standalone("remove")),
            (&attach_output(alone.clone()), standalone("read the output of")),
        ] {
            site.refused_web(call, encoding, &what).await;
        }

        let inside = within(mine.clone(), "in");
        let own_in_theirs = as_user(launch(inside.clone(), "true"), &own);
        let call = as_user(launch(mine.clone(), "sleep 1000"), OTHER);
        site.done_as(&call, encoding, "web").await;
        let what = format!("run containers as user '{own}'");
        site.refused_web(&own_in_theirs, encoding, &what).await;
        site.done_as(&launch(inside, "exec sleep 1000"), encoding, "web").await;
        let (_, _, response) = site.ask_as(&show(true, true), encoding, "web").await;
        let seen = response.get_containers.expect("it is answered").containers;
        let mut seen: Vec<_> = seen.iter().map(|it| it.container_id.value.as_str()).collect();
        seen.sort_unstable();
        let mut expected = [theirs.value.as_str(), "in", "mine"];
        expected.sort_unstable();
        assert_eq!(seen, expected);
        for (container, who) in [(&mine, "web"), (&alone, "ops")] {
            for call in [kill(container.clone(), None), wait(container.clone())] {
                site.done_as(&call, encoding, who).await;
            }
            if who == "ops" {
                // Whose it was is known until it is removed.
                site.refused_web(&wait(alone.clone()), encoding, &standalone("wait for")).await;
            }
            site.done_as(&remove(container.clone()), encoding, who).await;
            assert_eq!(site.ask_as(&wait(container.clone()), encoding, who).await.0, 404);
        }
    }
    isolated.end().await;
}

/// A token as the agent gives it to an executor in this container.
fn token(key: &TokenKey, container: &str) -> String {
    key.sign(&BTreeMap::from([("fid", FRAMEWORK), ("eid", "e"), ("cid", container)]))
}

#[tokio::test]
async fn an_executor_needs_no_rule_for_what_is_in_its_own_container() {
    let key = TokenKey::new(b"0123456789abcdef0123456789abcdef");
    // What the test itself looks at.
    let acls = json!({
        "permissive": false,
        "run_tasks": open("users"),
        "view_frameworks": open("users"),
        "view_executors": open("users"),
        "view_containers": open("users"),
        "access_sandboxes": open("users"),
        "get_endpoints": open("paths"),
    });
    let isolated = Isolated::with(|options| {
        ruled(options, &acls);
        // Then anybody may call, of whom the rules know nothing.
        options.authentication.readwrite = false;
        options.authentication.executors = Some(Arc::new(key.clone()));
    })
    .await;
    let site = &isolated.site;
    site.master.launch(of_user("t2", "e2", Some(OTHER)));
    site.launched("e2").await;
    site.sandbox_file("e2", "environment").await;
    let other = site.container_of("e2").await;
    let (own, theirs) = (token(&key, &isolated.root), token(&key, &other));
    let other = mesos::ContainerId { value: other, parent: None };
    let ask = async |call: &Call, encoding: Encoding, token: &str| {
        let request = site.post(call, encoding).bearer_auth(token);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    for encoding in BOTH {
        let n = isolated.id(&["n"]);
        for call in [
            &launch_nested(n.clone(), "sleep 1000"),
            &session(within(n.clone(), "s"), "true"),
            &kill_nested(n.clone(), None),
            &wait_nested(n.clone()),
            &remove_nested(n.clone()),
            &as_user(launch(n.clone(), "true"), &own_user()),
            &wait(n.clone()),
            &remove(n.clone()),
            &call_of(Type::GetState),
        ] {
            let (status, text) = ask(call, encoding, &own).await;
            assert_eq!(status, 200, "{call:?}: {text}");
        }
        // Whoever shows none, or somebody else's, is nobody there.
        for call in [launch_nested(n.clone(), "true"), wait_nested(n.clone())] {
            let (status, text, _) = site.operate(&call, encoding).await;
            assert_eq!(status, 403, "{call:?}");
            assert!(text.ends_with("without authentication"), "{text}");
            assert_eq!(ask(&call, encoding, &theirs).await, (403, text.clone()), "{call:?}");
            assert_eq!(ask(&call, encoding, "no.such.token").await, (403, text), "{call:?}");
        }
        // It runs things as itself, and as its tasks.
        let m = within(other.clone(), "m");
        let call = as_user(launch_nested(m.clone(), "true"), OTHER);
        assert_eq!(ask(&call, encoding, &theirs).await.0, 200);
        for call in [wait_nested(m.clone()), remove_nested(m.clone())] {
            assert_eq!(ask(&call, encoding, &theirs).await.0, 200);
        }
        let why = format!(
            "The token of an executor does not allow containers of user '{}', as whom neither it nor a \
             task of its runs",
            own_user()
        );
        for call in [launch_nested(m.clone(), "true"), session(m, "true")] {
            let refused = ask(&as_user(call, &own_user()), encoding, &theirs).await;
            assert_eq!(refused, (403, why.clone()));
        }
    }
    isolated.end().await;
}

#[tokio::test]
async fn a_group_runs_as_its_tasks_say_where_only_its_executor_is_known() {
    let key = TokenKey::new(b"0123456789abcdef0123456789abcdef");
    let cgroups_root = format!("agora-test-acls-{}", std::process::id());
    let mut site = Site::with(|options| {
        isolate(options, &cgroups_root);
        ruled(options, &json!({"permissive": false, "run_tasks": open("users")}));
        options.authentication.readonly = true;
        options.authentication.executors = Some(Arc::new(key));
    })
    .await;
    let mut task = command_task(AGENT, "app", &format!("test $(id -un) = {OTHER}"));
    task.command.as_mut().expect("it has one").user = Some(OTHER.to_owned());
    site.master.launch_group(pods::executor(), vec![task]);
    site.master.status_of(TaskState::Finished).await;
    Isolated { site, cgroups_root, root: String::new() }.end().await;
}
