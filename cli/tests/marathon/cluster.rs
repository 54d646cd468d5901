//! The cluster that all of these tests run on.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Daemon, PATIENCE, World, until_async};

/// An agent, as constraints see it.
pub(crate) struct Place {
    pub(crate) hostname: &'static str,
    pub(crate) rack: &'static str,
    pub(crate) region: &'static str,
    pub(crate) zone: &'static str,
}

/// Two racks, and a zone for each agent, all in the region that apps are launched in.
pub(crate) const PLACES: [Place; 3] = [
    Place { hostname: "a.test", rack: "r1", region: "east", zone: "e1" },
    Place { hostname: "b.test", rack: "r1", region: "east", zone: "e2" },
    Place { hostname: "c.test", rack: "r2", region: "east", zone: "e3" },
];

/// Where the master is.
pub(crate) const DOMAIN: &str = "--domain=east/e1";

/// One master, an agent at each of the [`PLACES`], and Marathon. Each agent has 4 cores, 2 GiB and a
/// thousand ports from 31000, 32000 and 33000 on.
pub(crate) struct Cluster {
    // In the order in which they end: what is left is cleared when nobody starts anything any more.
    pub(crate) marathon: Daemon,
    pub(crate) agents: Vec<Daemon>,
    pub(crate) master: Daemon,
    pub(crate) world: World,
}

/// The status of an answer, and its JSON: null where there is none.
pub(crate) type Answer = (u16, Value);

impl Cluster {
    /// Starts all of it, and waits until Marathon leads and knows the agents.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more flags for Marathon.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        Self::start_by(&[], flags).await
    }

    /// The same, with more flags for the master too.
    pub(crate) async fn start_by(master_flags: &[&str], flags: &[&str]) -> Self {
        let world = World::new();
        let master_flags =
            [&["master", "--ip=127.0.0.1", "--port=0", DOMAIN], master_flags].concat();
        let master = world.start("master", &master_flags).await;
        let mut agents = Vec::new();
        for (at, place) in PLACES.iter().enumerate() {
            agents.push(start_agent(&world, &master.address, at, place).await);
        }
        let marathon = world.start_marathon_with("marathon", &master.address, flags).await;
        let cluster = Self { marathon, agents, master, world };
        until_async("Marathon leads", PATIENCE, async || {
            let info = cluster.json("/v2/info").await?;
            (info["elected"] == true && info["frameworkId"].is_string()).then_some(())
        })
        .await;
        until_async("all agents are registered", PATIENCE, async || {
            let state = cluster.world.json(&cluster.master.address, "/state").await?;
            (state["activated_slaves"].as_f64() == Some(3.0)).then_some(())
        })
        .await;
        cluster
    }

    /// Starts an agent again whose daemon has ended.
    pub(crate) async fn start_agent_again(&mut self, at: usize) {
        self.agents[at] = start_agent(&self.world, &self.master.address, at, &PLACES[at]).await;
    }

    /// Starts one more agent, and waits until it is registered.
    pub(crate) async fn start_another(&mut self, place: &Place) {
        let at = self.agents.len();
        self.agents.push(start_agent(&self.world, &self.master.address, at, place).await);
        let agents = f64::from(u8::try_from(at + 1).expect("few"));
        until_async("another agent is registered", PATIENCE, async || {
            let state = self.world.json(&self.master.address, "/state").await?;
            (state["activated_slaves"].as_f64() == Some(agents)).then_some(())
        })
        .await;
    }

    /// The JSON at a path of Marathon's, if it is answered with 200.
    pub(crate) async fn json(&self, path: &str) -> Option<Value> {
        self.world.json(&self.marathon.address, path).await
    }

    /// Asks Marathon something that has a body.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.world.send(method, &self.marathon.address, path, body).await
    }

    /// Asks Marathon something that has none.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.marathon.address);
        let answer = self.world.http.request(method, url).send().await.expect("Marathon answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a whole body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Creates an app, and waits until no deployment is under way.
    pub(crate) async fn deploy(&self, app: &Value) {
        self.world.create(&self.marathon.address, "/v2/apps", app).await;
        self.deployed().await;
    }

    /// Waits until no deployment is under way.
    pub(crate) async fn deployed(&self) {
        let deployed = self.world.deployed(&self.marathon.address);
        if tokio::time::timeout(PATIENCE / 2, deployed).await.is_err() {
            let told = self.json("/agora/v1/deployments").await.unwrap_or_default();
            panic!("a deployment is not done: {}", told["running"]);
        }
    }

    /// The hostnames that an app's tasks are on, in order, one for each task.
    pub(crate) async fn hosts(&self, app: &str) -> Vec<String> {
        let tasks = self.world.tasks(&self.marathon.address, app).await;
        let mut hosts: Vec<_> =
            tasks.iter().filter_map(|task| task["host"].as_str().map(str::to_owned)).collect();
        hosts.sort();
        hosts
    }
}

async fn start_agent(world: &World, master: &str, at: usize, place: &Place) -> Daemon {
    // On those of agents that come later something listens: none that the system gives to whoever connects.
    let thousand = if at < PLACES.len() { 31 + at } else { 31 - at };
    let ports = format!("{thousand}000-{thousand}999");
    let hostname = format!("--hostname={}", place.hostname);
    let attributes = format!("--attributes=rack:{}", place.rack);
    let domain =
        json!({"fault_domain": {"region": {"name": place.region}, "zone": {"name": place.zone}}});
    let domain = format!("--domain={domain}");
    let flags = [hostname.as_str(), &attributes, &domain];
    world.start_agent_with(&format!("agent-{at}"), master, &ports, &flags).await
}

/// An app of one instance that does nothing for a long time.
pub(crate) fn sleeper(id: &str) -> Value {
    json!({"id": id, "cmd": "exec sleep 1000", "cpus": 0.1, "mem": 32})
}
