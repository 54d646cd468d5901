//! What the container of an executor may take as its tasks come and go. Containers are real: this takes root.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proto::mesos::v1 as mesos;
use serde_json::Value;

use crate::containers::{Isolated, cgroup_trees};
use crate::master::AGENT;
use crate::{PATIENCE, executor_task};

impl Isolated {
    /// Waits until the kernel gives the executor's container so many bytes at most.
    async fn until_memory_limit(&self, bytes: u64) {
        let files = cgroup_trees().into_iter().flat_map(|tree| {
            let group = tree.join(&self.cgroups_root).join(&self.root);
            ["memory.limit_in_bytes", "memory.max"].map(|file| group.join(file))
        });
        let files: Vec<PathBuf> = files.filter(|file| file.exists()).collect();
        let limit = || files.iter().find_map(|file| fs::read_to_string(file).ok());
        let until = Instant::now() + PATIENCE;
        while limit().is_none_or(|limit| limit.trim() != bytes.to_string()) {
            assert!(Instant::now() < until, "{:?} and not {bytes}", limit());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn tasks_that_join_an_executor_while_it_is_started_count_in_its_limits() {
    let tasks = ["t1", "t2", "t3", "t4", "t5", "t6", "t7"];
    let isolated = Isolated::running(|_| {}, &tasks).await;
    // Each task has 64 MiB, and the executor 32.
    let limit = f64::from((7 * 64 + 32) << 20);
    let has_all = |all: &Value| all[0]["statistics"]["mem_limit_bytes"].as_f64() == Some(limit);
    isolated.site.until("/containers", has_all).await;
    isolated.end().await;
}

#[tokio::test]
async fn limits_of_tasks_that_come_and_go_are_those_of_their_container() {
    let isolated = Isolated::new().await;
    let mut limited = executor_task(AGENT, "t2", "e1");
    limited.limits.insert("mem".to_owned(), mesos::value::Scalar { value: 1_000.0 });
    isolated.site.master.launch(limited);
    // The first task has 64 MiB, and the executor 32.
    isolated.until_memory_limit((64 + 1_000 + 32) << 20).await;
    isolated.site.master.launch(executor_task(AGENT, "t3", "e1"));
    isolated.until_memory_limit((64 + 1_000 + 64 + 32) << 20).await;
    isolated.end().await;
}
