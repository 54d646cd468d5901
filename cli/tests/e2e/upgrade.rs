//! A rolling upgrade as those see it who use the app meanwhile.

use crate::harness::{Daemon, World, free_ports, until_async};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

/// How many instances there are to be.
const INSTANCES: usize = 20;

/// The fewest that serve meanwhile: seven parts in ten, rounded up.
const SERVING_MIN: usize = 14;

/// The most that are there meanwhile: three parts in ten more, rounded down.
const COUNT_MAX: usize = 26;

/// How often the tasks are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long the upgrade may take.
const WITHIN: Duration = Duration::from_secs(60);

/// How long a load balancer takes to do as it has read, and how often it reads when it is told nothing.
const BALANCES_AFTER: Duration = Duration::from_millis(300);
const POLLS_EVERY: Duration = Duration::from_secs(1);

/// A server that says when it is ready, and drains by itself.
const DRAINING: &str = include_str!("python/draining.py");

/// Those who use the app, and how long each lets pass between two requests.
const CLIENTS: usize = 4;
const REQUEST_EVERY: Duration = Duration::from_millis(20);

/// Serves its version, and ends at once when it is to.
fn abrupt(version: &str) -> Value {
    json!({
        "id": "/web",
        "cmd": "echo $VERSION > index.html && exec busybox httpd -f -p 127.0.0.1:$PORT0",
        "env": {"VERSION": version},
        "instances": INSTANCES, "cpus": 0.1, "mem": 32,
        "healthChecks": [{"protocol": "MESOS_HTTP", "portIndex": 0, "path": "/", "delaySeconds": 0,
                          "intervalSeconds": 1, "gracePeriodSeconds": 60,
                          "maxConsecutiveFailures": 30}],
        "upgradeStrategy": {"minimumHealthCapacity": 0.7, "maximumOverCapacity": 0.3},
        // Time for those who look elsewhere when they are told to.
        "labels": {"AGORA_DRAIN_SECONDS": "2"},
    })
}

/// Serves its version, and when it is to end serves on for a while.
fn draining(version: &str) -> Value {
    json!({
        "id": "/web",
        "cmd": "exec python3 -c \"$SERVER\"",
        "env": {"VERSION": version, "SERVER": DRAINING},
        "instances": INSTANCES, "cpus": 0.1, "mem": 48,
        "portDefinitions": [{"port": 0, "name": "http"}],
        "readinessChecks": [{"name": "warm", "portName": "http", "path": "/ready",
                             "intervalSeconds": 2, "timeoutSeconds": 1,
                             "httpStatusCodesForReady": [200]}],
        "upgradeStrategy": {"minimumHealthCapacity": 0.7, "maximumOverCapacity": 0.3},
        // More than it drains for.
        "taskKillGracePeriodSeconds": 20,
    })
}

/// What one look at the tasks shows.
struct Look {
    count: usize,
    /// Where those are that serve, with their versions.
    serving: Vec<(String, String)>,
}

impl Look {
    /// Who serves is who runs, passes its health check if it has one, and is not known to be unready.
    async fn at(world: &World, marathon: &str) -> Option<Self> {
        let answer = world.json(marathon, "/v2/apps//web?embed=apps.readiness").await?;
        let app = &answer["app"];
        let results = app["readinessCheckResults"].as_array()?;
        let unready: Vec<_> = results.iter().filter(|it| it["ready"] == false).collect();
        let is_checked = app["healthChecks"].as_array().is_some_and(|all| !all.is_empty());
        let tasks = app["tasks"].as_array()?;
        let serves = |task: &&Value| {
            task["state"] == "TASK_RUNNING"
                && (!is_checked || task["healthCheckResults"][0]["alive"] == true)
                && !unready.iter().any(|it| it["taskId"] == task["id"])
        };
        let serving = tasks.iter().filter(serves).filter_map(|task| {
            let address = format!("127.0.0.1:{}", task["ports"][0].as_u64()?);
            Some((address, task["version"].as_str()?.to_owned()))
        });
        Some(Self { count: tasks.len(), serving: serving.collect() })
    }

    fn addresses(&self) -> Vec<String> {
        self.serving.iter().map(|(address, _)| address.clone()).collect()
    }
}

/// What one client was answered, by what the answer was; and what was no answer.
#[derive(Default)]
struct Served {
    answers: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// Asks one instance after another, as a load balancer that knows what Marathon shows, until nobody says
/// any more where they are.
async fn client(nth: usize, routes: watch::Receiver<Vec<String>>) -> Served {
    // Each request is a connection of its own: one that is kept says nothing of who listens.
    let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("plain HTTP");
    let mut served = Served::default();
    let mut ticks = tokio::time::interval(REQUEST_EVERY);
    let mut next = nth;
    while routes.has_changed().is_ok() {
        ticks.tick().await;
        let address = {
            let routes = routes.borrow();
            routes[next % routes.len()].clone()
        };
        next += 1;
        let answer = match http.get(format!("http://{address}/")).send().await {
            Ok(answer) if answer.status() == 200 => answer.text().await,
            Ok(answer) => Ok(format!("status {}", answer.status())),
            Err(error) => Err(error),
        };
        match answer {
            Ok(text) => *served.answers.entry(text.trim().to_owned()).or_default() += 1,
            Err(error) => served.failures.push(format!("{address}: {error:?}")),
        }
    }
    served
}

/// The stream of events, of the kinds that load balancers made for Marathon listen to.
async fn events(cluster: &Cluster) -> Response {
    let kinds = "event_type=status_update_event&event_type=health_status_changed_event";
    let url = format!("http://{}/v2/events?{kinds}", cluster.marathon.address);
    let request = cluster.world.http.get(url).header("accept", "text/event-stream");
    request.timeout(WITHIN * 2).send().await.expect("Marathon answers")
}

/// Hands events on as they come, and says that some have.
async fn listen(mut events: Response, news: &Notify, heard: &mpsc::UnboundedSender<Value>) {
    let mut text = String::new();
    while let Some(chunk) = events.chunk().await.expect("it goes on") {
        text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        while let Some(end) = text.find('\n') {
            let line: String = text.drain(..=end).collect();
            if let Some(data) = line.strip_prefix("data: ") {
                let _ = heard.send(serde_json::from_str(data).expect("JSON"));
                news.notify_one();
            }
        }
    }
}

/// A load balancer: reads where tasks serve whenever an event tells that something has changed, and now and
/// then; and does as it has read a while later.
async fn balance_until_dropped(
    cluster: &Cluster,
    news: &Notify,
    routes: &watch::Sender<Vec<String>>,
) {
    let mut polls = tokio::time::interval(POLLS_EVERY);
    loop {
        tokio::select! {
            _ = polls.tick() => {}
            () = news.notified() => {}
        }
        let look = Look::at(&cluster.world, &cluster.marathon.address).await.expect("it is read");
        tokio::time::sleep(BALANCES_AFTER).await;
        routes.send_replace(look.addresses());
    }
}

/// A cluster on which 20 instances of an app serve.
struct Cluster {
    world: World,
    _daemons: Vec<Daemon>,
    marathon: Daemon,
    /// The version that they are of.
    old: String,
    addresses: Vec<String>,
}

impl Cluster {
    async fn with(app: &Value) -> Self {
        let world = World::new();
        let ports = free_ports(1);
        let masters = format!("127.0.0.1:{}", ports[0]);
        let master = world.start_master("master", ports[0], &masters, &[]).await;
        let near = ["--hostname=localhost"];
        let first = world.start_agent_with("agent-1", &masters, "31000-31499", &near).await;
        let second = world.start_agent_with("agent-2", &masters, "31500-31999", &near).await;
        let marathon = world.start_marathon("marathon", &masters).await;
        world.deploy(&marathon.address, app).await;
        let look = Look::at(&world, &marathon.address).await.expect("it is read");
        assert_eq!((look.count, look.serving.len()), (INSTANCES, INSTANCES));
        let (old, addresses) = (look.serving[0].1.clone(), look.addresses());
        let daemons = vec![master, first, second];
        Self { world, _daemons: daemons, marathon, old, addresses }
    }

    /// Changes the app and looks until all is new: it stays within its bounds. Each look is handed on.
    async fn upgrade(&self, app: &Value, mut each: impl FnMut(&Look)) {
        let Self { world, old, .. } = self;
        let marathon = &self.marathon.address;
        let begun = Instant::now();
        let (status, answer) = world.send(Method::PUT, marathon, "/v2/apps//web", app).await;
        assert_eq!(status, 200, "{answer}");
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let (mut looks, mut fewest, mut most) = (0_u32, usize::MAX, 0);
        loop {
            ticks.tick().await;
            let look = Look::at(world, marathon).await.expect("it is read");
            looks += 1;
            (fewest, most) = (fewest.min(look.serving.len()), most.max(look.count));
            assert!(fewest >= SERVING_MIN, "only {fewest} serve after {:?}", begun.elapsed());
            assert!(most <= COUNT_MAX, "{most} are there after {:?}", begun.elapsed());
            each(&look);
            let is_new = look.serving.iter().all(|(_, version)| version != old);
            if is_new && look.count == INSTANCES && look.serving.len() == INSTANCES {
                break;
            }
            assert!(begun.elapsed() < WITHIN, "not within {WITHIN:?}: {} are there", look.count);
        }
        println!("{:?}: {looks} looks, {fewest} to {most} instances", begun.elapsed());
        assert!(looks >= 20 && fewest < INSTANCES && most > INSTANCES, "it was not watched");
    }

    async fn is_done(&self) {
        until_async("the deployment is over", WITHIN, async || {
            let running = self.world.json(&self.marathon.address, "/v2/deployments").await?;
            (running == json!([])).then_some(())
        })
        .await;
    }
}

/// Clients that ask where they are told.
fn start_clients(known: &watch::Receiver<Vec<String>>) -> JoinSet<Served> {
    let mut clients = JoinSet::new();
    for nth in 0..CLIENTS {
        clients.spawn(client(nth, known.clone()));
    }
    clients
}

/// Every request was answered, by both versions.
async fn all_served(clients: JoinSet<Served>) {
    let all = clients.join_all().await;
    let failures: Vec<_> = all.iter().flat_map(|served| &served.failures).collect();
    assert!(failures.is_empty(), "{failures:?}");
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    for (text, count) in all.iter().flat_map(|served| &served.answers) {
        *answers.entry(text).or_default() += count;
    }
    println!("answers {answers:?}");
    assert!(answers.keys().eq(["1", "2"].iter()), "{answers:?}");
}

/// Waits until every instance of the version `old` is told to have ended. Each is told of before, and ends by
/// itself.
async fn all_have_left(old: &str, heard: &mut mpsc::UnboundedReceiver<Value>) {
    let (mut leaving, mut left) = (BTreeSet::new(), 0);
    while left < INSTANCES {
        let event = heard.recv().await.expect("it is listened to");
        let task = event["taskId"].as_str().unwrap_or_default().to_owned();
        match event["taskStatus"].as_str() {
            Some("TASK_KILLING") if event["version"] == old => {
                assert!(leaving.insert(task), "twice: {event}");
            }
            Some("TASK_KILLED") => {
                assert!(leaving.contains(&task), "not told before: {event}");
                let message = event["message"].as_str().unwrap_or_default();
                assert!(message.contains("exited with status 0"), "{event}");
                left += 1;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_of_twenty_instances_keeps_within_its_bounds_and_fails_no_request() {
    let cluster = Cluster::with(&abrupt("1")).await;
    let (routes, known) = watch::channel(cluster.addresses.clone());
    let clients = start_clients(&known);
    drop(known);
    cluster.upgrade(&abrupt("2"), |look| drop(routes.send_replace(look.addresses()))).await;
    drop(routes);
    all_served(clients).await;
    cluster.is_done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_is_asked_whether_it_is_ready_and_drains_by_itself_fails_no_request() {
    let cluster = Cluster::with(&draining("1")).await;
    let (routes, known) = watch::channel(cluster.addresses.clone());
    let clients = start_clients(&known);
    drop(known);
    let (told, mut heard) = mpsc::unbounded_channel();
    let (next, news, events) = (draining("2"), Notify::new(), events(&cluster).await);
    let upgrade = async {
        cluster.upgrade(&next, |_| {}).await;
        cluster.is_done().await;
        let left = all_have_left(&cluster.old, &mut heard);
        tokio::time::timeout(WITHIN, left).await.expect("each end is told of");
    };
    tokio::select! {
        () = listen(events, &news, &told) => panic!("the stream has ended"),
        () = balance_until_dropped(&cluster, &news, &routes) => {}
        () = upgrade => {}
    }
    drop((routes, told));
    all_served(clients).await;
}
