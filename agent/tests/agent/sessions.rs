//! Sessions in containers, and what is typed for containers and printed by them, over real sockets in
//! both encodings. Containers are real and isolated: this takes root.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use model::task::TaskState;
use proto::mesos::v1 as mesos;
use proto::mesos::v1::agent::call::Type;

use crate::containers::{
    BOTH, Encoding, Isolated, cgroup_trees, kill_nested, launch_nested, of, remove_nested, wait,
    wait_nested, within,
};
use crate::master::AGENT;
use crate::streams::{alive, attach_output, on_terminal, resized, session, typed, with_terminal};
use crate::{PATIENCE, Site, client, command_task};

impl Isolated {
    /// The first process of the executor's container.
    async fn first_process(&self) -> u32 {
        let (_, _, response) = self.site.operate(&of(Type::GetContainers), Encoding::Json).await;
        let all = response.get_containers.expect("it is answered").containers;
        let status = all[0].container_status.as_ref().expect("it runs");
        status.executor_pid.expect("it runs")
    }

    /// The cgroups of a container in the executor's.
    fn groups_of(&self, name: &str) -> Vec<PathBuf> {
        let groups = cgroup_trees().into_iter().flat_map(|tree| {
            let root = tree.join(&self.cgroups_root).join(&self.root);
            [root.join("mesos").join(name), root.join(name)]
        });
        groups.filter(|group| group.is_dir()).collect()
    }
}

#[tokio::test]
async fn a_session_sees_what_its_container_sees_and_tells_how_it_ended() {
    let isolated = Isolated::new().await;
    let site = &isolated.site;
    let theirs = isolated.first_process().await;
    let command = "for n in pid ipc uts net mnt; do readlink /proc/self/ns/$n; done; pwd; \
                   echo $MESOS_EXECUTOR_ID $MESOS_SANDBOX; id -u; echo complaint >&2; exit 3";
    for (name, encoding) in [("json", Encoding::Json), ("protobuf", Encoding::Protobuf)] {
        let id = isolated.id(&[name]);
        let output = site.output(&session(id.clone(), command), encoding).await;
        let (stdout, stderr) = output.whole().await;
        let lines: Vec<&str> = stdout.lines().collect();
        for (line, kind) in lines.iter().zip(["pid", "ipc", "uts", "net", "mnt"]) {
            let link = fs::read_link(format!("/proc/{theirs}/ns/{kind}")).expect("it runs");
            assert_eq!(link.display().to_string(), *line);
        }
        let sandbox = isolated.sandbox().display().to_string();
        assert_eq!(lines[5..], [sandbox.as_str(), &format!("e1 {sandbox}"), "0"]);
        assert_eq!(stderr, "complaint\n");
        assert_eq!(site.end_of(id.clone()).await, (Some(3 << 8), None));
        assert_eq!(isolated.groups_of(name), Vec::<PathBuf>::new());
        site.expect(&remove_nested(id.clone()), encoding, 200).await;
        site.expect(&wait_nested(id), encoding, 404).await;
    }
    assert!(!isolated.sandbox().join("containers").exists(), "it has no sandbox of its own");
    // Whoever does not ask for records by that name gets them labelled as what is in them.
    let request = client().post(site.url("/api/v1")).header("content-type", "application/json");
    let call = session(isolated.id(&["plain"]), "kill -9 $$");
    let answer = request.body(proto::json::to_vec(&call)).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/json");
    answer.text().await.expect("a body");
    assert_eq!(site.end_of(isolated.id(&["plain"])).await, (Some(libc::SIGKILL), None));
    isolated.end().await;
}

#[tokio::test]
async fn what_is_typed_reaches_a_session_until_its_end() {
    let isolated = Isolated::new().await;
    let site = &isolated.site;
    let id = isolated.id(&["s"]);
    for encoding in BOTH {
        let command = "while read line; do echo got $line; done; echo all; exec cat";
        let mut output = site.output(&session(id.clone(), command), encoding).await;
        let typist = site.types(&id, encoding).await;
        typist.sends(&alive(30_000_000_000)).await;
        typist.sends(&typed("one\ntwo\nthr")).await;
        output.until("got two\n").await;
        // Another one has to wait.
        let other = site.types(&id, encoding).await;
        let (status, text) = other.answered().await;
        assert_eq!(status, 409, "{text}");
        assert!(text.starts_with("Somebody else types for container"), "{text}");
        // Whoever goes away without an end has not ended the input.
        assert_eq!(typist.ends().await.0, 200);
        let typist = site.types(&id, encoding).await;
        typist.sends(&typed("ee\n")).await;
        output.until("got three\n").await;
        // More than fits anywhere on the way.
        let much = "x".repeat(300_000);
        let (sent, read) = tokio::join!(
            async {
                typist.sends(&typed("\n")).await;
                typist.sends(&typed(&much)).await;
                typist.sends(&typed("\n")).await;
                typist.sends(&typed("")).await;
                typist.answered().await
            },
            output.whole(),
        );
        assert_eq!(sent.0, 200, "{}", sent.1);
        assert!(read.0.ends_with(&format!("got\ngot {much}\nall\n")), "{}", read.0.len());
        assert_eq!(site.end_of(id.clone()).await, (Some(0), None));
        site.expect(&remove_nested(id.clone()), encoding, 200).await;
    }
    isolated.end().await;
}

#[tokio::test]
async fn a_session_at_a_terminal_has_its_size_and_hears_of_another_one() {
    let isolated = Isolated::new().await;
    let site = &isolated.site;
    let id = isolated.id(&["s"]);
    for encoding in BOTH {
        let command = "tty -s && stty size; trap 'stty size' WINCH; echo ready; \
                       while ! read line; do :; done; echo got $line; read line || exit 4";
        let mut output = site.output(&on_terminal(id.clone(), command, 30, 100), encoding).await;
        output.until("ready").await;
        assert!(output.stdout.starts_with("30 100\r\n"), "{}", output.stdout);
        let typist = site.types(&id, encoding).await;
        typist.sends(&resized(50, 120)).await;
        output.until("50 120\r\n").await;
        typist.sends(&typed("hello\r")).await;
        output.until("got hello").await;
        // What is typed is echoed.
        assert!(output.stdout.contains("hello\r\n"), "{}", output.stdout);
        typist.sends(&typed("")).await;
        let (_, stderr) = output.whole().await;
        assert_eq!(stderr, "");
        assert_eq!(site.end_of(id.clone()).await, (Some(4 << 8), None));
        site.expect(&remove_nested(id.clone()), encoding, 200).await;
    }
    // Its terminal is the one it is controlled by: what is typed there can end it.
    let mut output =
        site.output(&on_terminal(id.clone(), "echo up; exec cat", 24, 80), BOTH[0]).await;
    output.until("up").await;
    let typist = site.types(&id, BOTH[0]).await;
    typist.sends(&typed("\u{3}")).await;
    output.whole().await;
    assert_eq!(site.end_of(id).await, (Some(libc::SIGINT), None));
    isolated.end().await;
}

#[tokio::test]
async fn a_session_ends_with_its_connection_and_leaves_nothing() {
    let isolated = Isolated::new().await;
    let site = &isolated.site;
    let (id, encoding) = (isolated.id(&["s"]), Encoding::Json);
    let command = "trap '' TERM HUP; setsid sleep 7654321 & echo up; sleep 7654321";
    let mut output = site.output(&session(id.clone(), command), encoding).await;
    output.until("up").await;
    assert_ne!(isolated.groups_of("s"), Vec::<PathBuf>::new());
    drop(output);
    let (_, message) = site.end_of(id.clone()).await;
    assert_eq!(message.as_deref(), Some("Container destroyed"));
    assert_eq!(isolated.groups_of("s"), Vec::<PathBuf>::new());
    assert_eq!(sleeping("7654321"), Vec::<PathBuf>::new());

    // By a call as well, and whoever reads hears of it.
    let id = isolated.id(&["killed"]);
    let mut output = site.output(&session(id.clone(), command), encoding).await;
    output.until("up").await;
    site.expect(&kill_nested(id.clone(), None), encoding, 200).await;
    output.whole().await;
    assert_eq!(site.end_of(id).await.1.as_deref(), Some("Container destroyed"));
    assert_eq!(sleeping("7654321"), Vec::<PathBuf>::new());
    isolated.end().await;
}

#[tokio::test]
async fn sessions_that_nobody_removes_are_forgotten_when_there_are_many() {
    let isolated = Isolated::new().await;
    let (site, encoding) = (&isolated.site, Encoding::Protobuf);
    let id = |number: usize| isolated.id(&[&format!("s{number}")]);
    let run = async |number: usize| {
        let output = site.output(&session(id(number), "exit 3"), encoding).await;
        output.whole().await;
        assert_eq!(site.end_of(id(number)).await.0, Some(3 << 8));
    };
    run(0).await;
    run(1).await;
    let rest = futures::stream::iter(2..66).map(run).buffer_unordered(8);
    rest.collect::<Vec<()>>().await;
    for (number, is_known) in [(0, false), (1, false), (2, true), (65, true)] {
        let status = if is_known { 200 } else { 404 };
        site.expect(&wait_nested(id(number)), encoding, status).await;
    }
    // It is gone altogether, so another one may have its name.
    site.output(&session(id(0), "exit 4"), encoding).await.whole().await;
    assert_eq!(site.end_of(id(0)).await.0, Some(4 << 8));
    isolated.end().await;
}

#[tokio::test]
async fn whoever_promises_heartbeats_and_is_silent_types_no_more() {
    let isolated = Isolated::new().await;
    let (site, encoding) = (&isolated.site, Encoding::Json);
    let id = isolated.id(&["s"]);
    let mut output = site.output(&session(id.clone(), "exec cat"), encoding).await;
    let typist = site.types(&id, encoding).await;
    typist.sends(&alive(1)).await;
    let (status, text) = typist.answered().await;
    assert_eq!(status, 408, "{text}");
    assert!(text.starts_with("Nothing was heard for 1s"), "{text}");
    // Somebody else may.
    let typist = site.types(&id, encoding).await;
    typist.sends(&typed("here\n")).await;
    output.until("here\n").await;
    drop(output);
    isolated.end().await;
}

/// The processes that sleep for so long.
fn sleeping(seconds: &str) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| {
        let line = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        line == format!("sleep\0{seconds}\0")
    };
    let all = fs::read_dir("/proc").expect("it can be read").flatten();
    all.map(|entry| entry.path()).filter(is_one).collect()
}

#[tokio::test]
async fn what_nobody_reads_waits_and_is_not_lost() {
    let isolated = Isolated::new().await;
    let site = &isolated.site;
    let (id, bytes) = (isolated.id(&["s"]), 40_000_000);
    let command = format!("yes | head -c {bytes}; touch printed; exit 7");
    let mut output = site.output(&session(id.clone(), &command), Encoding::Protobuf).await;
    while output.stdout.len() < 1_000_000 {
        assert!(output.more().await);
    }
    // What is under way has room in buffers that are much smaller.
    assert!(!isolated.sandbox().join("printed").exists(), "it waits for its reader");
    let (stdout, _) = output.whole().await;
    assert_eq!((stdout.len(), stdout.lines().all(|line| line == "y")), (bytes, true));
    assert_eq!(site.end_of(id).await, (Some(7 << 8), None));

    // One that is no session waits for nobody who looks on.
    let id = isolated.id(&["n"]);
    let command = format!("while ! test -e go; do sleep 0.01; done; {command}");
    site.expect(&launch_nested(id.clone(), &command), Encoding::Json, 200).await;
    let output = site.output(&attach_output(id.clone()), Encoding::Protobuf).await;
    let sandbox = isolated.sandbox().join("containers/n");
    fs::write(sandbox.join("go"), "").expect("the sandbox is there");
    assert_eq!(site.end_of(id).await, (Some(7 << 8), None));
    assert!(sandbox.join("printed").exists());
    assert_eq!(output.whole().await.0.len(), bytes, "it had only to be read");
    isolated.end().await;
}

#[tokio::test]
async fn a_session_in_a_container_without_isolation_ends_with_its_connection() {
    let mut site = Site::new().await;
    site.master.launch(command_task(AGENT, "t1", "exec sleep 1000"));
    site.master.status_of(TaskState::Running).await;
    let root = mesos::ContainerId { value: site.container_of("t1").await, parent: None };
    let id = within(root, "s");
    let command = "echo $MESOS_TASK_ID; sleep 7654323 & sleep 7654323";
    let mut output = site.output(&session(id.clone(), command), Encoding::Json).await;
    output.until("t1\n").await;
    drop(output);
    assert_eq!(site.end_of(id).await.1.as_deref(), Some("Container destroyed"));
    assert_eq!(sleeping("7654323"), Vec::<PathBuf>::new());
    site.end().await;
}

#[tokio::test]
async fn the_output_of_a_container_can_be_looked_at_while_it_runs() {
    let isolated = Isolated::with(|options| {
        options.http_heartbeat_interval = Duration::from_millis(50);
    })
    .await;
    let site = &isolated.site;
    for (name, encoding) in [("json", Encoding::Json), ("protobuf", Encoding::Protobuf)] {
        let id = isolated.id(&[name]);
        let command = "echo before; while ! test -e go; do sleep 0.01; done; echo after; \
                       echo complaint >&2; exit 5";
        site.expect(&launch_nested(id.clone(), command), encoding, 200).await;
        let sandbox = isolated.sandbox().join("containers").join(name);
        let log = || fs::read_to_string(sandbox.join("stdout")).unwrap_or_default();
        crate::eventually("it has begun", || log() == "before\n").await;
        let mut first = site.output(&attach_output(id.clone()), encoding).await;
        let mut second = site.output(&attach_output(id.clone()), encoding).await;
        while first.heartbeats < 3 || second.heartbeats < 1 {
            assert!(first.more().await && second.more().await);
        }
        fs::write(sandbox.join("go"), "").expect("the sandbox is there");
        for output in [first, second] {
            let printed = output.whole().await;
            assert_eq!(printed, ("after\n".to_owned(), "complaint\n".to_owned()));
        }
        assert_eq!(site.end_of(id).await, (Some(5 << 8), None));
    }
    isolated.end().await;
}

#[tokio::test]
async fn others_look_on_at_a_session_and_hold_up_nobody() {
    let isolated = Isolated::new().await;
    let site = &isolated.site;
    let (id, bytes) = (isolated.id(&["s"]), 40_000_000);
    let command = format!("read line; echo $line; read line; yes | head -c {bytes}; exit 8");
    let encoding = Encoding::Protobuf;
    let mut output = site.output(&session(id.clone(), &command), encoding).await;
    let typist = site.types(&id, encoding).await;
    let mut first = site.output(&attach_output(id.clone()), Encoding::Json).await;
    let mut second = site.output(&attach_output(id.clone()), encoding).await;
    assert!(first.more().await && second.more().await, "they are told that they look on");
    typist.sends(&typed("hello\n")).await;
    for looker in [&mut output, &mut first, &mut second] {
        looker.until("hello\n").await;
    }
    drop(first);
    typist.sends(&typed("\n")).await;
    assert_eq!(output.whole().await.0.len(), "hello\n".len() + bytes, "though one reads nothing");
    assert_eq!(site.end_of(id).await, (Some(8 << 8), None));
    let (seen, _) = second.whole().await;
    let rest = seen.strip_prefix("hello\n").expect("it has seen that");
    assert!(rest.bytes().all(|byte| matches!(byte, b'y' | b'\n')), "it ends all the same");
    isolated.end().await;
}

#[tokio::test]
async fn a_container_at_a_terminal_is_attached_to_also_by_the_next_agent() {
    let isolated = Isolated::new().await;
    let id = isolated.id(&["shell"]);
    let encoding = Encoding::Json;
    let mut launch =
        launch_nested(id.clone(), "stty size; while read line; do echo got $line; done");
    launch.launch_nested_container.as_mut().expect("it is set").container =
        Some(with_terminal(33, 99));
    isolated.site.expect(&launch, encoding, 200).await;
    let log = isolated.sandbox().join("containers/shell/stdout");
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    crate::eventually("it has a terminal", || logged() == "33 99\r\n").await;
    let mut output = isolated.site.output(&attach_output(id.clone()), encoding).await;
    assert!(output.more().await);
    let typist = isolated.site.types(&id, encoding).await;
    typist.sends(&typed("one\n")).await;
    output.until("got one").await;
    let other = isolated.site.types(&id, encoding).await;
    assert_eq!(other.answered().await.0, 409);
    drop((output, typist));

    let isolated = isolated.restarted().await;
    let site = &isolated.site;
    for (encoding, word) in [(Encoding::Json, "two"), (Encoding::Protobuf, "three")] {
        let mut output = site.output(&attach_output(id.clone()), encoding).await;
        assert!(output.more().await, "the first thing told is that it is attached");
        let typist = site.types(&id, encoding).await;
        typist.sends(&typed(&format!("{word}\n"))).await;
        output.until(&format!("got {word}")).await;
        assert!(!output.stdout.contains("got one"), "{}", output.stdout);
        assert_eq!(typist.ends().await.0, 200);
    }
    let typist = site.types(&id, encoding).await;
    typist.sends(&typed("")).await;
    assert_eq!(typist.answered().await.0, 200, "it is over");
    assert_eq!(site.end_of(id).await.0, Some(0));
    let all = logged();
    for word in ["got one\r\n", "got two\r\n", "got three\r\n"] {
        assert!(all.contains(word), "{all}");
    }
    isolated.end().await;
}

#[tokio::test]
async fn a_session_ends_with_its_agent() {
    let isolated = Isolated::new().await;
    let id = isolated.id(&["s"]);
    let command = "setsid sleep 7654322 & echo up; sleep 7654322";
    let mut output = isolated.site.output(&session(id.clone(), command), Encoding::Json).await;
    output.until("up").await;
    let isolated = isolated.restarted().await;
    assert!(tokio::time::timeout(PATIENCE, output.answer.chunk()).await.is_ok(), "it has ended");
    crate::eventually("nothing of it runs", || sleeping("7654322").is_empty()).await;
    assert_eq!(isolated.groups_of("s"), Vec::<PathBuf>::new());
    isolated.site.expect(&wait(id), Encoding::Json, 404).await;
    isolated.end().await;
}
