//! Tasks and resources, written briefly.

use std::time::Duration;

use proto::mesos::v1::value::{Range, Ranges, Scalar, Type};
use proto::mesos::v1::{
    AgentId, CommandInfo, Environment, FrameworkInfo, KillPolicy, Label, Labels, Resource, TaskId,
    TaskInfo, command_info, environment, framework_info,
};

use crate::calls::duration;

/// So much of a countable resource, such as `scalar("cpus", 0.5)`.
pub fn scalar(name: &str, value: f64) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: Type::Scalar.into(),
        scalar: Some(Scalar { value }),
        ..Resource::default()
    }
}

/// Numbers out of ranges, such as `ranges("ports", [(31_000, 31_001)])`; both ends are included.
pub fn ranges(name: &str, ranges: impl IntoIterator<Item = (u64, u64)>) -> Resource {
    let range = ranges.into_iter().map(|(begin, end)| Range { begin, end }).collect();
    Resource {
        name: name.to_owned(),
        r#type: Type::Ranges.into(),
        ranges: Some(Ranges { range }),
        ..Resource::default()
    }
}

/// A framework that understands what this SDK does: unreachable tasks, several roles, the stack
/// form of reservations, and TASK_KILLING.
pub fn framework(name: &str, user: &str, failover_timeout: Duration) -> FrameworkInfo {
    use framework_info::capability::Type;
    let capability = |kind: Type| framework_info::Capability { r#type: Some(kind.into()) };
    FrameworkInfo {
        name: name.to_owned(),
        user: user.to_owned(),
        roles: vec!["*".to_owned()],
        failover_timeout: Some(failover_timeout.as_secs_f64()),
        checkpoint: Some(true),
        capabilities: [
            Type::TaskKillingState,
            Type::PartitionAware,
            Type::MultiRole,
            Type::ReservationRefinement,
        ]
        .map(capability)
        .into(),
        ..FrameworkInfo::default()
    }
}

/// Makes a task, part by part.
#[derive(Clone, Debug)]
pub struct TaskBuilder {
    info: TaskInfo,
    command: CommandInfo,
}

impl TaskBuilder {
    /// A task that runs `command` in a shell.
    pub fn shell(id: &str, command: &str) -> Self {
        let command = CommandInfo {
            shell: Some(true),
            value: Some(command.to_owned()),
            ..CommandInfo::default()
        };
        Self::with(id, command)
    }

    /// A task that runs a program with arguments, the first being its own name.
    pub fn program(id: &str, program: &str, arguments: Vec<String>) -> Self {
        let command = CommandInfo {
            shell: Some(false),
            value: Some(program.to_owned()),
            arguments,
            ..CommandInfo::default()
        };
        Self::with(id, command)
    }

    fn with(id: &str, command: CommandInfo) -> Self {
        let task_id = TaskId { value: id.to_owned() };
        let info = TaskInfo { name: id.to_owned(), task_id, ..TaskInfo::default() };
        Self { info, command }
    }

    /// Its name, where that is not its id.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.info.name);
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let variable = environment::Variable {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            ..environment::Variable::default()
        };
        self.command.environment.get_or_insert_with(Environment::default).variables.push(variable);
        self
    }

    /// A file or archive to fetch into its directory.
    #[must_use]
    pub fn uri(mut self, uri: &str) -> Self {
        let uri = command_info::Uri { value: uri.to_owned(), ..command_info::Uri::default() };
        self.command.uris.push(uri);
        self
    }

    /// The user it runs as, where that is not the framework's.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.command.user = Some(user.to_owned());
        self
    }

    /// A label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        let label = Label { key: key.to_owned(), value: Some(value.to_owned()) };
        self.info.labels.get_or_insert_with(Labels::default).labels.push(label);
        self
    }

    /// How long it may take to end when it is killed.
    #[must_use]
    pub fn kill_grace(mut self, grace: Duration) -> Self {
        self.info.kill_policy = Some(KillPolicy { grace_period: Some(duration(grace)) });
        self
    }

    /// The task on `agent`, with resources such as [`Available::take`] gives out.
    ///
    /// [`Available::take`]: crate::matching::Available::take
    pub fn build(self, agent: &AgentId, resources: Vec<Resource>) -> TaskInfo {
        TaskInfo { agent_id: agent.clone(), resources, command: Some(self.command), ..self.info }
    }
}
