//! A rolling upgrade as those see it who use the app meanwhile.

use crate::harness::{World, free_ports, until_async};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;
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
const WITHIN: Duration = Duration::from_secs(40);

/// Those who use the app, and how long each lets pass between two requests.
const CLIENTS: usize = 4;
const REQUEST_EVERY: Duration = Duration::from_millis(20);

/// Serves its version.
fn app(version: &str) -> Value {
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

/// What one look at the tasks shows.
struct Look {
    count: usize,
    /// Where those are that serve, with their versions.
    serving: Vec<(String, String)>,
}

impl Look {
    async fn at(world: &World, marathon: &str) -> Option<Self> {
        let answer = world.json(marathon, "/v2/tasks").await?;
        let tasks = answer["tasks"].as_array()?;
        let serves = |task: &&Value| {
            task["state"] == "TASK_RUNNING" && task["healthCheckResults"][0]["alive"] == true
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_of_twenty_instances_keeps_within_its_bounds_and_fails_no_request() {
    let world = World::new();
    let ports = free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let _master = world.start_master("master", ports[0], &masters, &[]).await;
    let _first = world.start_agent("agent-1", &masters, "31000-31499").await;
    let _second = world.start_agent("agent-2", &masters, "31500-31999").await;
    let marathon = world.start_marathon("marathon", &masters).await;
    let marathon = &marathon.address;
    world.deploy(marathon, &app("1")).await;
    let first = Look::at(&world, marathon).await.expect("it is read");
    assert_eq!((first.count, first.serving.len()), (INSTANCES, INSTANCES));
    let old = first.serving[0].1.clone();

    let (routes, known) = watch::channel(first.addresses());
    let mut clients = JoinSet::new();
    for nth in 0..CLIENTS {
        clients.spawn(client(nth, known.clone()));
    }
    drop(known);
    let begun = Instant::now();
    let (status, answer) = world.send(Method::PUT, marathon, "/v2/apps//web", &app("2")).await;
    assert_eq!(status, 200, "{answer}");
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let (mut looks, mut fewest, mut most) = (0_u32, usize::MAX, 0);
    loop {
        ticks.tick().await;
        let look = Look::at(&world, marathon).await.expect("it is read");
        looks += 1;
        (fewest, most) = (fewest.min(look.serving.len()), most.max(look.count));
        assert!(fewest >= SERVING_MIN, "only {fewest} serve after {:?}", begun.elapsed());
        assert!(most <= COUNT_MAX, "{most} are there after {:?}", begun.elapsed());
        routes.send_replace(look.addresses());
        let is_new = look.serving.iter().all(|(_, version)| *version != old);
        if is_new && look.count == INSTANCES && look.serving.len() == INSTANCES {
            break;
        }
        assert!(begun.elapsed() < WITHIN, "not within {WITHIN:?}: {} are there", look.count);
    }
    let took = begun.elapsed();
    drop(routes);
    let all = clients.join_all().await;
    let failures: Vec<_> = all.iter().flat_map(|served| &served.failures).collect();
    assert!(failures.is_empty(), "{failures:?}");
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    for (text, count) in all.iter().flat_map(|served| &served.answers) {
        *answers.entry(text).or_default() += count;
    }
    println!("{took:?}: {looks} looks, {fewest} to {most} instances, answers {answers:?}");
    assert!(answers.keys().eq(["1", "2"].iter()), "{answers:?}");
    assert!(looks >= 20 && fewest < INSTANCES && most > INSTANCES, "it was not watched");
    until_async("the deployment is over", WITHIN, async || {
        let running = world.json(marathon, "/v2/deployments").await?;
        (running == json!([])).then_some(())
    })
    .await;
}
