//! Where instances go.

use serde_json::json;

use crate::cluster::{Cluster, sleeper};

#[tokio::test]
async fn unique_puts_one_instance_on_each_host() {
    let cluster = Cluster::start().await;
    let mut app = sleeper("/one-each");
    app["instances"] = 3.into();
    app["constraints"] = json!([["hostname", "UNIQUE"]]);
    cluster.deploy(&app).await;
    assert_eq!(cluster.hosts("one-each").await, ["a.test", "b.test", "c.test"]);
}
