//! Three instances of Marathon: the leading one dies in the middle of a deployment.

use crate::harness::{Daemon, PATIENCE, World, until_async};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long a leader's lease lasts, as by default.
const LEASE: Duration = Duration::from_secs(5);

/// How long after its end another instance must lead.
const LEADS_WITHIN: Duration = Duration::from_secs(3);

const INSTANCES: usize = 12;

fn app(secs: u32) -> Value {
    json!({
        "id": "/web", "cmd": format!("exec sleep {secs}"), "instances": INSTANCES,
        "cpus": 0.1, "mem": 32,
        "upgradeStrategy": { "minimumHealthCapacity": 0.75, "maximumOverCapacity": 0.0 },
    })
}

/// The index of the Marathon that says it leads.
async fn leader(world: &World, marathons: &[Daemon]) -> Option<usize> {
    for (at, one) in marathons.iter().enumerate() {
        let info = world.json(&one.address, "/v2/info").await?;
        if info["elected"] == true && info["frameworkId"].is_string() {
            return Some(at);
        }
    }
    None
}

async fn framework_id(world: &World, marathon: &str) -> Option<String> {
    let info = world.json(marathon, "/v2/info").await?;
    info["frameworkId"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_rolling_deployment_outlives_the_leading_marathon() {
    let world = World::new();
    let masters = world.start_masters(&[]).await;
    let _first = world.start_agent("agent-1", &masters.peers, "31000-31499").await;
    let _second = world.start_agent("agent-2", &masters.peers, "31500-31999").await;
    let mut marathons = Vec::new();
    for name in ["marathon-0", "marathon-1", "marathon-2"] {
        marathons.push(world.start_marathon(name, &masters.peers).await);
    }
    world.deploy(&marathons[0].address, &app(10_000)).await;
    let at = until_async("a Marathon leads", PATIENCE, async || leader(&world, &marathons).await);
    let mut dead = marathons.remove(at.await);
    let standby = marathons[0].address.clone();
    let id = framework_id(&world, &dead.address).await.expect("it leads");
    let old: BTreeSet<String> = ids(&world.tasks(&standby, "web").await);
    assert_eq!(old.len(), INSTANCES, "a standby answers for the leader");

    let (status, body) =
        world.send(reqwest::Method::PUT, &standby, "/v2/apps/web", &app(20_000)).await;
    assert_eq!(status, 200, "{body}");
    until_async("some are replaced and some are not", PATIENCE, async || {
        let now = ids(&world.tasks(&dead.address, "web").await);
        let kept = now.intersection(&old).count();
        (kept > 0 && kept < INSTANCES).then_some(())
    })
    .await;
    dead.kill();
    let killed = Instant::now();
    let at =
        until_async("another Marathon leads", PATIENCE, async || leader(&world, &marathons).await);
    let at = at.await;
    let led_after = killed.elapsed();
    assert!(led_after <= LEASE + LEADS_WITHIN, "another one led after {led_after:?}");
    let next = marathons[at].address.clone();
    assert_eq!(framework_id(&world, &next).await, Some(id), "the framework is the same");

    world.deployed(&next).await;
    let now = world.tasks(&next, "web").await;
    assert!(now.iter().all(|task| task["state"] == "TASK_RUNNING"), "{now:?}");
    let now = ids(&now);
    assert_eq!((now.len(), now.intersection(&old).count()), (INSTANCES, 0), "{now:?}");
    // Nothing runs that Marathon does not know of, and what runs is no older than it should be.
    until_async("only what is wanted runs", PATIENCE, async || {
        (world.running("sleep 20000").len() == INSTANCES && world.running("sleep 10000").is_empty())
            .then_some(())
    })
    .await;
}

fn ids(tasks: &[Value]) -> BTreeSet<String> {
    tasks.iter().filter_map(|task| task["id"].as_str()).map(str::to_owned).collect()
}

impl World {
    /// The processes of this world's containers whose command line is `command`.
    fn running(&self, command: &str) -> BTreeSet<String> {
        // A process is in one cgroup of each hierarchy.
        let all = self.leftovers().into_iter();
        let said =
            all.filter_map(|one| one.split_once(": ").map(|(_, said)| said.trim().to_owned()));
        said.filter(|said| said.ends_with(command)).collect()
    }
}
