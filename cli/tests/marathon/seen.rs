//! What is seen of apps, pods and deployments, and waiting for it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Answer, Cluster};
use crate::harness::{PATIENCE, until_async};

impl Cluster {
    /// Changes something, which must be taken.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send(Method::PUT, path, body).await;
        assert!(status == 200 || status == 201, "PUT {path}: {status} {answer}");
        answer
    }

    /// The same, and waits until no deployment is under way.
    pub(crate) async fn change(&self, path: &str, body: &Value) {
        self.put(path, body).await;
        self.deployed().await;
    }

    /// Deletes something, and waits until no deployment is under way.
    pub(crate) async fn delete(&self, path: &str) {
        let (status, answer) = self.ask(Method::DELETE, path).await;
        assert!(status == 200 || status == 202, "DELETE {path}: {status} {answer}");
        self.deployed().await;
    }

    /// Makes a pod, and waits until no deployment is under way.
    pub(crate) async fn deploy_pod(&self, pod: &Value) {
        self.world.create(&self.marathon.address, "/v2/pods", pod).await;
        self.deployed().await;
    }

    /// The tasks of an app, in the order of their ids.
    pub(crate) async fn tasks(&self, app: &str) -> Vec<Value> {
        let mut tasks = self.world.tasks(&self.marathon.address, app).await;
        tasks.sort_by_key(|task| task["id"].as_str().unwrap_or_default().to_owned());
        tasks
    }

    /// The ids of an app's tasks that run, in order.
    pub(crate) async fn running(&self, app: &str) -> Vec<String> {
        let tasks = self.tasks(app).await.into_iter();
        let runs = tasks.filter(|task| task["state"] == "TASK_RUNNING");
        runs.filter_map(|task| task["id"].as_str().map(str::to_owned)).collect()
    }

    /// The ids of an app's tasks once there are `count` and all of them run.
    pub(crate) async fn run(&self, app: &str, count: usize) -> Vec<String> {
        until_async(&format!("{count} tasks of {app} run"), PATIENCE, async || {
            let (all, running) = (self.tasks(app).await, self.running(app).await);
            (all.len() == count && running.len() == count).then_some(running)
        })
        .await
    }

    /// The hostnames that a pod's instances are on, in order.
    pub(crate) async fn hosts_of_pod(&self, pod: &str) -> Vec<String> {
        let status = self.json(&format!("/v2/pods/{pod}::status")).await.expect("it is there");
        let instances = status["instances"].as_array().into_iter().flatten();
        let host = |instance: &Value| instance["agentHostname"].as_str().map(str::to_owned);
        let mut hosts: Vec<_> = instances.filter_map(host).collect();
        hosts.sort();
        hosts
    }

    /// What an app waits for, as the queue says it; absent if it waits for nothing.
    pub(crate) async fn queued(&self, app: &str) -> Option<Value> {
        let queue = self.json("/v2/queue?embed=lastUnusedOffers").await?;
        let id = format!("/{app}");
        queue["queue"].as_array()?.iter().find(|entry| entry["app"]["id"] == *id).cloned()
    }

    /// Hostname, reason and words of what spoke against the last offer of each agent, in order.
    pub(crate) async fn refused(&self, app: &str) -> Vec<(String, String, String)> {
        let told = self.json(&format!("/agora/v1/explain/app/{app}")).await.unwrap_or_default();
        let agents = told["waiting"]["agents"].as_array().into_iter().flatten();
        let text = |agent: &Value, field: &str| agent[field].as_str().expect("text").to_owned();
        let row = |agent| (text(agent, "hostname"), text(agent, "reason"), text(agent, "why"));
        let mut rows: Vec<_> = agents.map(row).collect();
        rows.sort();
        rows
    }

    /// Makes an app that cannot run everywhere, and waits until all `agents` have been looked at for it.
    pub(crate) async fn try_out(
        &self,
        app: &Value,
        agents: usize,
    ) -> Vec<(String, String, String)> {
        let (status, answer) = self.send(Method::POST, "/v2/apps", app).await;
        assert_eq!(status, 201, "{answer}");
        let id = app["id"].as_str().expect("an id").trim_start_matches('/').to_owned();
        until_async(&format!("{agents} agents have nothing for {id}"), PATIENCE, async || {
            let refused = self.refused(&id).await;
            (refused.len() == agents).then_some(refused)
        })
        .await
    }

    /// The deployment that runs, which is the only one, as `/agora/v1` tells it.
    pub(crate) async fn under_way(&self) -> Option<Value> {
        let told = self.json("/agora/v1/deployments").await?;
        let running = told["running"].as_array()?;
        assert!(running.len() < 2, "{told}");
        running.first().cloned()
    }

    /// Outcome, reason and what else is told of a deployment that is over.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        until_async(&format!("the deployment {id} is over"), PATIENCE, async || {
            let told = self.json(&format!("/agora/v1/deployments/{id}")).await?;
            told["outcome"].is_string().then_some(told)
        })
        .await
    }

    /// Steers a deployment: `pause` or `continue`.
    pub(crate) async fn steer(&self, id: &str, verb: &str) -> Answer {
        self.send(Method::POST, &format!("/agora/v1/deployments/{id}/{verb}"), &json!({})).await
    }
}

/// The id of the deployment that an answer is about.
pub(crate) fn deployment(answer: &Value) -> String {
    answer["deploymentId"].as_str().expect("a deployment").to_owned()
}
