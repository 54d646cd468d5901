//! The agent's metrics under Mesos's names: what is counted where it happens, and what there is, read
//! off the mirror. Nobody waits for any of it.

use agent_core::output::Stage;
use model::resources::Resources;
use model::task::TaskState;
use transport::metrics::{Samples, double, of_system};

use super::Api;
use crate::mirror::Mirror;

/// Everything, as it is now.
pub(super) fn samples(api: &Api) -> Samples {
    let mut samples = Samples::default();
    let all = &mut samples;
    let shared = &api.shared;
    shared.meters.tell(all);
    shared.image_meters.tell(all);
    shared.real.fetcher.tell(all);
    let projects = shared.real.containerizer.projects();
    for (name, count) in [("total", projects.total), ("free", projects.free)] {
        #[expect(clippy::cast_precision_loss, reason = "there are no more than 2^32")]
        all.gauge(format!("containerizer/mesos/disk/project_ids_{name}"), count as f64);
    }
    {
        let mirror = shared.mirror.read();
        all.gauge("slave/registered", f64::from(u8::from(mirror.is_connected)));
        all.gauge("slave/frameworks_active", double(mirror.frameworks.len()));
        of_executors(&mirror, all);
        of_tasks(&mirror, all);
        let total = mirror.total.as_ref().unwrap_or(&shared.description.resources);
        of_resources(total, &used(&mirror), all);
    }
    for (name, value) in of_system() {
        all.gauge(name, value);
    }
    samples
}

fn of_executors(mirror: &Mirror, all: &mut Samples) {
    let executors = || mirror.frameworks.values().flat_map(|of| of.executors.values());
    let at = |stage| double(executors().filter(|one| one.stage == stage).count());
    all.gauge("slave/executors_registering", at(Stage::Registering));
    all.gauge("slave/executors_running", at(Stage::Running));
    all.gauge("slave/executors_terminating", at(Stage::Terminating));
    let of_image = executors().filter(|one| {
        let container = one.info.container.as_ref();
        container.is_some_and(|it| {
            it.docker.is_some() || it.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some())
        })
    });
    let own_root = "containerizer/mesos/filesystem/containers_new_rootfs";
    all.gauge(own_root, double(of_image.count()));
}

fn of_tasks(mirror: &Mirror, all: &mut Samples) {
    let executors = mirror.frameworks.values().flat_map(|of| of.executors.values());
    let states: Vec<TaskState> =
        executors.flat_map(|one| one.tasks.values()).map(|task| task.state).collect();
    let are = |wanted| double(states.iter().filter(|state| **state == wanted).count());
    all.gauge("slave/tasks_staging", are(TaskState::Staging));
    all.gauge("slave/tasks_starting", are(TaskState::Starting));
    all.gauge("slave/tasks_running", are(TaskState::Running));
    all.gauge("slave/tasks_killing", are(TaskState::Killing));
}

/// What executors and tasks hold.
fn used(mirror: &Mirror) -> Resources {
    let mut used = Resources::none();
    for executor in mirror.frameworks.values().flat_map(|of| of.executors.values()) {
        used.add(&executor.spec.resources);
        for task in executor.tasks.values() {
            used.add(&task.spec.resources);
        }
    }
    used
}

fn of_resources(total: &Resources, used: &Resources, all: &mut Samples) {
    for name in ["cpus", "gpus", "mem", "disk"] {
        let (total, used) = (total.scalar(name).as_f64(), used.scalar(name).as_f64());
        all.gauge(format!("slave/{name}_total"), total);
        all.gauge(format!("slave/{name}_used"), used);
        all.gauge(format!("slave/{name}_percent"), if total > 0.0 { used / total } else { 0.0 });
    }
}
