//! Pods: what users want of them, and how Marathon's launches of apps and pods reach the master.

use crate::residents;
use crate::world::World;
use marathon_core::ids::AppId;
use marathon_core::io::{Command, Launch, Release};
use model::call::Operation;
use model::ids::{AgentId, ExecutorId, TaskId};
use model::payload::Payload;
use model::resources::Resources;
use model::task::{ExecutorSpec, Needs, RunsBy, TaskSpec, TaskState};
use serde_json::{Value, json};

/// Pods that users know of, with how many containers each has. The last one has a volume, and is deleted when
/// nothing breaks any more.
const PODS: [(&str, u64); 3] = [("/pod-0", 1), ("/pod-1", 2), ("/pod-data", 2)];

/// What the names of tasks of pods begin with.
const TASKS: &str = "pod-";

/// How many of a hundred containers of pods end by themselves while things break.
const ENDS: u64 = 10;

/// The operations that Marathon's releases and launches are: what is reserved is undone and made first, apps go
/// together, and each pod goes as a whole.
pub(crate) fn operations(
    agent: &AgentId,
    releases: &[Release],
    launches: &[Launch],
) -> Vec<Operation> {
    let undone = releases.iter().flat_map(residents::undoing);
    let made = launches.iter().flat_map(residents::making);
    let mut operations: Vec<_> = undone.chain(made).collect();
    let apps = launches.iter().filter(|launch| launch.containers.is_empty());
    let apps: Vec<_> = apps
        .map(|launch| {
            let taken = residents::part(launch, &launch.resources);
            let taken = taken.plus(&residents::volumes(launch));
            Ok(task(launch, launch.task.clone(), agent, taken, RunsBy::Command))
        })
        .collect();
    if !apps.is_empty() {
        operations.push(Operation::Launch(apps));
    }
    let pods = launches.iter().filter(|launch| !launch.containers.is_empty());
    operations.extend(pods.map(|launch| {
        let taken = residents::part(launch, &launch.executor);
        let executor = ExecutorSpec {
            id: ExecutorId::new(format!("executor-{}", launch.task)).expect("well formed"),
            is_default: true,
            // Volumes are the executor's, for all containers to share.
            resources: taken.plus(&residents::volumes(launch)),
            role: None,
            user: None,
            shutdown_grace: None,
            info: Payload::default(),
        };
        let containers = launch.containers.iter().map(|(id, part)| {
            Ok(task(launch, id.clone(), agent, residents::part(launch, part), RunsBy::Group))
        });
        Operation::LaunchGroup { executor: Ok(executor), tasks: containers.collect() }
    }));
    operations
}

fn task(
    launch: &Launch,
    id: TaskId,
    agent: &AgentId,
    resources: Resources,
    runs_by: RunsBy,
) -> TaskSpec {
    TaskSpec {
        resources,
        id,
        name: launch.app.id.task_name().into(),
        agent: agent.clone(),
        runs_by,
        user: None,
        kill_grace: None,
        needs: Needs::default(),
        info: Payload::default(),
    }
}

/// A pod of some containers that may share a volume; `level` tells definitions apart.
pub(crate) fn pod(
    id: &str,
    (containers, has_volume): (u64, bool),
    instances: u64,
    level: u64,
    unreachable: &Value,
) -> Value {
    let container = |nth| {
        let mut container = json!({
            "name": format!("part-{nth}"), "resources": {"cpus": 0.25, "mem": 32},
            "exec": {"command": {"shell": format!("sleep {}", 1_000 + level)}},
            "endpoints": [{"name": format!("port-{nth}"), "hostPort": 0}],
        });
        if has_volume {
            container["volumeMounts"] = json!([{"name": "data", "mountPath": "data"}]);
        }
        container
    };
    let mut pod = json!({
        "id": id,
        "containers": (0..containers).map(container).collect::<Vec<_>>(),
        "networks": [{"mode": "host"}],
        "scaling": {"kind": "fixed", "instances": instances},
        "scheduling": {
            "backoff": {"backoff": 1, "maxLaunchDelay": 20},
            "upgrade": {"minimumHealthCapacity": 0.5,
                        "maximumOverCapacity": if has_volume { 0.0 } else { 0.5 }},
            "unreachableStrategy": unreachable,
        },
    });
    if has_volume {
        pod["volumes"] = json!([{"name": "data", "persistent": {"size": 32}}]);
    }
    pod
}

impl World {
    /// What a user wants of a pod.
    pub(crate) fn wish_of_pod(&mut self) -> Command {
        let (name, containers) = PODS[usize::try_from(self.users.below(3)).unwrap_or(0)];
        let id = AppId::parse_app(name).expect("well formed");
        let force = self.users.chance(30);
        let instances = self.users.below(4);
        // Another command, or the same with more or fewer instances.
        let level = self.users.below(3);
        let unreachable = self.a_strategy();
        let has_volume = name == PODS[PODS.len() - 1].0;
        let body = pod(name, (containers, has_volume), instances, level, &unreachable);
        match self.users.below(10) {
            0..=2 => Command::CreatePod { body, force },
            3..=6 => Command::PutPod { id, body, force },
            7..=8 => {
                let view = self.lease.map(|at| &self.marathons[at].view);
                let all = view.into_iter().flat_map(|view| view.instances_of(&id));
                let instances = all.map(|it| it.id.to_string()).take(2).collect();
                let wipe = self.users.chance(30);
                Command::KillPodInstances { id, instances, is_single: false, wipe }
            }
            _ => Command::DeletePod { id, force: true },
        }
    }

    /// How a container of a pod that ends by itself is to end, if this one is to.
    pub(crate) fn end_of_container(&mut self, task: &TaskId) -> Option<TaskState> {
        if !self.is_chaos || !task.as_str().starts_with(TASKS) || self.delays.below(100) >= ENDS {
            return None;
        }
        Some(if self.delays.below(2) == 0 { TaskState::Failed } else { TaskState::Finished })
    }

    /// What users take back when nothing breaks any more, if it is still there.
    pub(crate) fn pod_to_clear_up() -> (AppId, Command) {
        let id = AppId::parse_app(PODS[PODS.len() - 1].0).expect("well formed");
        (id.clone(), Command::DeletePod { id, force: true })
    }
}
