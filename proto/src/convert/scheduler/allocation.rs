//! For which role the resources of tasks were offered. Frameworks of one role are not told and do not say;
//! whoever runs the tasks, and the next leader, are to know all the same.

use model::role::Role;

use crate::mesos::v1::resource::AllocationInfo;
use crate::mesos::v1::scheduler::call::Accept;
use crate::mesos::v1::{Resource, TaskInfo};

/// Has all tasks and executors that are launched say that their resources were offered for `role`, where
/// they do not say so themselves.
pub fn allocate(accept: &mut Accept, role: &Role) {
    let of_task = |task: &mut TaskInfo| {
        say(&mut task.resources, role);
        task.executor.iter_mut().for_each(|executor| say(&mut executor.resources, role));
    };
    for operation in &mut accept.operations {
        operation.launch.iter_mut().flat_map(|it| &mut it.task_infos).for_each(of_task);
        if let Some(group) = &mut operation.launch_group {
            say(&mut group.executor.resources, role);
            group.task_group.tasks.iter_mut().for_each(of_task);
        }
    }
}

fn say(resources: &mut [Resource], role: &Role) {
    for resource in resources {
        let info = resource.allocation_info.get_or_insert_with(AllocationInfo::default);
        info.role.get_or_insert_with(|| role.as_str().to_owned());
    }
}
