//! What operators reserve and make volumes of by `agora`, and what tasks keep in them.

use crate::harness::World;
use crate::scheduler::Scheduler;
use serde_json::{Value, json};

/// A master and an agent, and the verbs of an operator.
struct Stage {
    world: World,
    master: crate::harness::Daemon,
    _agent: crate::harness::Daemon,
    agent_id: String,
}

impl Stage {
    async fn new() -> Self {
        let world = World::new();
        let ports = crate::harness::free_ports(1);
        let masters = format!("127.0.0.1:{}", ports[0]);
        let master = world.start_master("master", ports[0], &masters, &[]).await;
        let root = format!("--cgroups_root={}", world.cgroups_root);
        let agent = [
            "agent",
            "--ip=127.0.0.1",
            "--port=0",
            &format!("--master={masters}"),
            &root,
            "--resources=cpus:4;mem:1024;disk:2048;ports:[31000-31010]",
        ];
        let agent = world.start("agent", &agent).await;
        let agent_id = crate::harness::until_async(
            "the agent is there",
            crate::harness::PATIENCE,
            async || {
                let slaves = world.json(&master.address, "/slaves").await?;
                slaves["slaves"][0]["id"].as_str().map(str::to_owned)
            },
        )
        .await;
        Self { world, master, _agent: agent, agent_id }
    }

    /// Exit code, what was printed, and what was said of errors.
    async fn agora(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_agora"));
        command.args(args).arg(format!("--master={}", self.master.address));
        let output = command.output().await.expect("the binary is built");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Does what must work; what was printed.
    async fn done(&self, args: &[&str]) -> String {
        let (code, out, err) = self.agora(args).await;
        assert_eq!(code, Some(0), "{args:?}: {out}{err}");
        out
    }

    /// Tries what must not work: the exit code and what was said.
    async fn refused(&self, args: &[&str]) -> (i32, String) {
        let (code, out, err) = self.agora(args).await;
        assert!(out.is_empty(), "{args:?}: {out}");
        (code.expect("it ends by itself"), err)
    }

    async fn json(&self, args: &[&str]) -> Value {
        let out = self.done(&[args, &["--json"]].concat()).await;
        serde_json::from_str(&out).expect("JSON")
    }
}

fn framework() -> Value {
    json!({
        "user": "root", "name": "stateful", "role": "db", "failover_timeout": 60.0,
        "capabilities": [{"type": "RESERVATION_REFINEMENT"}, {"type": "PARTITION_AWARE"}],
    })
}

/// Runs a command on the volume `data` to its end, once it is offered in this size.
async fn run_on_volume(scheduler: &mut Scheduler, size: f64, id: &str, command: &str) {
    let offer = loop {
        let offer = scheduler.offer().await;
        // An offer of before is taken back, or about to be.
        if volume_in(&offer).is_some_and(|volume| volume["scalar"]["value"] == size) {
            break offer;
        }
        scheduler.accept(&offer, json!([])).await;
    };
    let plain = |name: &str, amount: f64| json!({"name": name, "type": "SCALAR", "scalar": {"value": amount}});
    let volume = volume_in(&offer).expect("it was just found");
    let task = json!({
        "name": id, "task_id": {"value": id}, "agent_id": offer["agent_id"],
        "command": {"value": command},
        "resources": [plain("cpus", 0.5), plain("mem", 64.0), volume],
    });
    scheduler.accept(&offer, json!([{"type": "LAUNCH", "launch": {"task_infos": [task]}}])).await;
    scheduler.task(id, "TASK_FINISHED").await;
}

fn volume_in(offer: &Value) -> Option<&Value> {
    offer["resources"].as_array()?.iter().find(|it| it["disk"]["persistence"]["id"] == "data")
}

#[tokio::test]
async fn a_task_reads_what_another_wrote_into_a_volume_made_by_an_operator() {
    let stage = Stage::new().await;
    let id = stage.agent_id.as_str();
    let out = stage.done(&["reserve", id, "disk:256", "--role", "db"]).await;
    assert_eq!(out, format!("disk:256 on {id} reserved for role db\n"));
    let create = ["volume", "create", id, "data", "--role=db", "--size=128", "--path=data"];
    let out = stage.done(&create).await;
    assert_eq!(out, format!("volume data on {id} of 128 MB created for role db\n"));

    let mut scheduler = Scheduler::subscribe(&stage.master.address, &framework()).await;
    run_on_volume(&mut scheduler, 128.0, "writer", "echo precious > data/file").await;
    // A task that does not find it fails.
    run_on_volume(&mut scheduler, 128.0, "reader", "test \"$(cat data/file)\" = precious").await;
    let listed = stage.json(&["volume", "list"]).await;
    let wanted = json!([{
        "agent": id, "role": "db", "id": "data", "size": 128.0, "path": "data",
        "principal": null, "shared": false, "used": false,
    }]);
    assert_eq!(listed, wanted);

    // Larger and smaller, and what is in it stays.
    stage.done(&["volume", "grow", id, "data", "--by=64MB"]).await;
    assert_eq!(stage.json(&["volume", "list", id]).await[0]["size"], 192.0);
    stage.done(&["volume", "shrink", id, "data", "--by=32"]).await;
    assert_eq!(stage.json(&["volume", "list"]).await[0]["size"], 160.0);
    run_on_volume(&mut scheduler, 160.0, "again", "test \"$(cat data/file)\" = precious").await;

    stage.done(&["volume", "destroy", id, "data"]).await;
    let out = stage.done(&["volume", "list"]).await;
    assert_eq!(out.lines().count(), 1, "only the heading: {out}");
    stage.done(&["unreserve", id, "--role=db", "--all"]).await;
    assert_eq!(stage.json(&["node", "reservations"]).await, json!([]));
    let slaves = stage.world.json(&stage.master.address, "/slaves").await.expect("it leads");
    assert_eq!(slaves["slaves"][0]["unreserved_resources"]["disk"], 2048.0);
}

#[tokio::test]
async fn reservations_are_made_listed_and_given_back_in_parts() {
    let stage = Stage::new().await;
    let id = stage.agent_id.as_str();
    let resources = "cpus:1.5;mem:256;ports:[31000-31004]";
    let by = ["--role=db", "--principal=ops", "--label=team=search"];
    stage.done(&[&["reserve", id, resources], &by[..]].concat()).await;
    stage.done(&["reserve", id, "cpus:1", "--role=web/shop"]).await;
    let listed = stage.json(&["node", "reservations", id]).await;
    let row = |role: &str, principal: Option<&str>, resources: &str| {
        json!({"agent": id, "role": role, "principal": principal, "dynamic": true,
            "resources": resources})
    };
    let wanted = json!([
        row("db", Some("ops"), "cpus:1.5; mem:256; ports:[31000-31004]"),
        row("web/shop", None, "cpus:1"),
    ]);
    assert_eq!(listed, wanted);
    let out = stage.done(&["node", "reservations"]).await;
    assert!(out.contains("web/shop") && out.contains("ops"), "{out}");

    let out = stage.done(&["unreserve", id, "cpus:0.5;ports:[31001-31002]", "--role=db"]).await;
    let said = format!("cpus:0.5; ports:[31001-31002] on {id} not reserved for role db any more\n");
    assert_eq!(out, said);
    let listed = stage.json(&["node", "reservations"]).await;
    assert_eq!(listed[0]["resources"], "cpus:1; mem:256; ports:[31000-31000, 31003-31004]");
    let answer = stage.json(&["unreserve", id, "--role=db", "--all", "--principal=ops"]).await;
    assert_eq!(answer["agent"], id);
    assert_eq!(stage.json(&["node", "reservations"]).await.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_cannot_be_reserved_or_made_is_told_with_what_to_do() {
    let stage = Stage::new().await;
    let id = stage.agent_id.as_str();
    stage.done(&["reserve", id, "disk:64", "--role=db"]).await;
    stage.done(&["volume", "create", id, "data", "--role=db", "--size=32"]).await;
    let cases: [(&[&str], i32, &str); 14] = [
        (&["reserve", id, "cpus:100", "--role=db"], 1, "'agora node list' shows what agents have"),
        (&["reserve", "nobody", "cpus:1", "--role=db"], 4, "no agent is called nobody"),
        (&["reserve", id, "cpus", "--role=db"], 1, "expected name:value"),
        (&["reserve", id, "cpus:1", "--role=*"], 1, "name one role"),
        (&["reserve", id, "cpus:1"], 2, "--role <ROLE>"),
        (&["reserve", id, "cpus:1", "--role=db", "--label=x"], 1, "'x' is not key=value"),
        (&["unreserve", id, "--role=db"], 2, "RESOURCES"),
        (&["unreserve", id, "cpus:1", "--role=db"], 1, "not as much cpus is reserved for role db"),
        (&["unreserve", id, "--role=web", "--all"], 4, "nothing is reserved for role web"),
        (
            &["volume", "create", id, "more", "--role=db", "--size=64"],
            1,
            "disk(db):32 is reserved for role db",
        ),
        (&["volume", "create", id, "data", "--role=db", "--size=8"], 1, "exists already for role"),
        (&["volume", "destroy", id, "other"], 4, "no volume is called other"),
        (&["volume", "grow", id, "data", "--by=1GB"], 1, "Reserve it first"),
        (&["volume", "shrink", id, "data", "--by=32"], 1, "less than the volume's size"),
    ];
    for (args, code, why) in cases {
        let (was, said) = stage.refused(args).await;
        assert!(was == code && said.contains(why), "{args:?}: {was} {said}");
    }
    // The help teaches how.
    let help = stage.done(&["volume", "create", "--help"]).await;
    assert!(help.contains("agora reserve AGENT disk:1024 --role db"), "{help}");
}
