//! Agents with GPUs, and who may use them.

use serde_json::json;

use crate::cluster::{Cluster, sleeper};
use crate::harness::{PATIENCE, until_async};

#[tokio::test]
async fn agents_with_gpus_are_kept_for_those_who_want_some_or_say_otherwise() {
    let cluster = Cluster::start().await;
    let (world, master) = (&cluster.world, &cluster.master.address);
    let flags = [
        "agent",
        "--ip=127.0.0.1",
        "--port=0",
        "--hostname=g.test",
        &format!("--master={master}"),
        &format!("--cgroups_root={}/agent-gpus", world.cgroups_root),
        "--resources=cpus:4;mem:2048;disk:1024;ports:[34000-34999];gpus:1",
    ];
    let _agent = world.start("agent-gpus", &flags).await;

    let mut wants = sleeper("/wants");
    wants["gpus"] = 1.into();
    cluster.deploy(&wants).await;
    assert_eq!(cluster.hosts("wants").await, ["g.test"]);

    // That nobody else is placed there holds nobody up who is spread, also while all GPUs are in use.
    let mut spread = sleeper("/spread");
    spread["instances"] = 6.into();
    spread["constraints"] = json!([["hostname", "GROUP_BY"]]);
    cluster.deploy(&spread).await;
    let each_twice = ["a.test", "a.test", "b.test", "b.test", "c.test", "c.test"];
    assert_eq!(cluster.hosts("spread").await, each_twice);

    let mut there = sleeper("/there");
    there["constraints"] = json!([["hostname", "LIKE", "g.*"]]);
    cluster.world.create(&cluster.marathon.address, "/v2/apps", &there).await;
    until_async("the queue tells why it waits", PATIENCE, async || {
        let queued = cluster.queued("there").await?;
        let summary = &queued["processedOffersSummary"]["rejectSummaryLastOffers"];
        let scarce = summary.as_array()?.iter();
        let mut scarce = scarce.filter(|it| it["reason"] == "DeclinedScarceResources");
        (scarce.next()?["declined"] == 1).then_some(())
    })
    .await;
    let labels = json!({"labels": {"GPU_SCHEDULING_BEHAVIOR": "unrestricted"}});
    cluster.change("/v2/apps/there?force=true", &labels).await;
    // The change itself has nothing to do.
    cluster.run("there", 1).await;
    assert_eq!(cluster.hosts("there").await, ["g.test"]);
}
