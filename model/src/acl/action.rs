//! What can be allowed and refused.

/// Who heeds the rules of an action.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heeded {
    /// Masters: agents are not asked.
    ByMasters,
    /// Agents: masters are not asked.
    ByAgents,
    /// Masters and agents, each where it is asked.
    ByBoth,
    /// Nobody can ever do it: there are no resource providers.
    Nowhere,
}

/// Something that somebody may do. In a file of rules each has a name, and a word for what it is done
/// to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Subscribe a framework in a role.
    RegisterFramework,
    /// Run a task or an executor as a user.
    RunTask,
    /// End a framework of a principal.
    TeardownFramework,
    /// Reserve resources for a role.
    ReserveResources,
    /// Give up reservations that a principal has made.
    UnreserveResources,
    /// Make volumes of a role.
    CreateVolume,
    /// Remove volumes that a principal has made.
    DestroyVolume,
    /// Grow and shrink volumes of a role.
    ResizeVolume,
    /// Have a resource provider make a block disk for a role.
    CreateBlockDisk,
    /// Have one take a block disk back.
    DestroyBlockDisk,
    /// Have one make a mounted disk for a role.
    CreateMountDisk,
    /// Have one take a mounted disk back.
    DestroyMountDisk,
    /// Have one remove a disk that was never made into another.
    DestroyRawDisk,
    /// Read an endpoint of a path.
    GetEndpoint,
    /// See a role.
    ViewRole,
    /// Weigh a role.
    UpdateWeight,
    /// See the quota of a role.
    GetQuota,
    /// Set and remove the quota of a role, in the old way.
    UpdateQuota,
    /// Set the quota of a role.
    UpdateQuotaConfig,
    /// See frameworks of a user.
    ViewFramework,
    /// See tasks of a user.
    ViewTask,
    /// See executors of a user.
    ViewExecutor,
    /// See the flags that a daemon runs with.
    ViewFlags,
    /// See containers of a user.
    ViewContainer,
    /// Read the sandboxes of a user.
    AccessSandbox,
    /// Read a daemon's own log.
    AccessMesosLog,
    /// Run a container nested in one of a user.
    LaunchNestedContainer,
    /// Run a session in a container of a user.
    LaunchNestedContainerSession,
    /// Run a nested container as a user.
    LaunchNestedContainerAsUser,
    /// Run a session as a user.
    LaunchNestedContainerSessionAsUser,
    /// End a nested container of a user.
    KillNestedContainer,
    /// Wait for the end of a nested container of a user.
    WaitNestedContainer,
    /// Remove what is left of a nested container of a user.
    RemoveNestedContainer,
    /// Write to a container of a user.
    AttachContainerInput,
    /// Read what a container of a user writes.
    AttachContainerOutput,
    /// Run a container of no framework as a user.
    LaunchStandaloneContainer,
    /// End such a container.
    KillStandaloneContainer,
    /// Wait for the end of such a container.
    WaitStandaloneContainer,
    /// Remove what is left of such a container.
    RemoveStandaloneContainer,
    /// See such containers.
    ViewStandaloneContainer,
    /// Change how much is logged.
    SetLogLevel,
    /// Bring an agent into the cluster.
    RegisterAgent,
    /// Plan maintenance.
    UpdateMaintenanceSchedule,
    /// See what maintenance is planned.
    GetMaintenanceSchedule,
    /// Begin maintenance.
    StartMaintenance,
    /// End maintenance.
    StopMaintenance,
    /// See which machines are to be away.
    GetMaintenanceStatus,
    /// Empty an agent.
    DrainAgent,
    /// Offer nothing of an agent any more.
    DeactivateAgent,
    /// Offer an agent again.
    ReactivateAgent,
    /// Declare an agent dead.
    MarkAgentGone,
    /// Remove images that nobody uses.
    PruneImages,
    /// See resource providers.
    ViewResourceProvider,
    /// Set up resource providers, and take them away.
    ModifyResourceProviderConfig,
    /// Declare a resource provider dead.
    MarkResourceProviderGone,
    /// Speak to masters as one of them.
    ActAsMaster,
    /// Add and remove masters, and choose who leads.
    ChangeMasters,
}

impl Action {
    /// All, each with its name in a file of rules and the word for what it is done to there.
    pub const ALL: [(Self, &'static str, &'static str); 57] = [
        (Self::RegisterFramework, "register_frameworks", "roles"),
        (Self::RunTask, "run_tasks", "users"),
        (Self::TeardownFramework, "teardown_frameworks", "framework_principals"),
        (Self::ReserveResources, "reserve_resources", "roles"),
        (Self::UnreserveResources, "unreserve_resources", "reserver_principals"),
        (Self::CreateVolume, "create_volumes", "roles"),
        (Self::DestroyVolume, "destroy_volumes", "creator_principals"),
        (Self::ResizeVolume, "resize_volumes", "roles"),
        (Self::CreateBlockDisk, "create_block_disks", "roles"),
        (Self::DestroyBlockDisk, "destroy_block_disks", "roles"),
        (Self::CreateMountDisk, "create_mount_disks", "roles"),
        (Self::DestroyMountDisk, "destroy_mount_disks", "roles"),
        (Self::DestroyRawDisk, "destroy_raw_disks", "roles"),
        (Self::GetEndpoint, "get_endpoints", "paths"),
        (Self::ViewRole, "view_roles", "roles"),
        (Self::UpdateWeight, "update_weights", "roles"),
        (Self::GetQuota, "get_quotas", "roles"),
        (Self::UpdateQuota, "update_quotas", "roles"),
        (Self::UpdateQuotaConfig, "update_quota_configs", "roles"),
        (Self::ViewFramework, "view_frameworks", "users"),
        (Self::ViewTask, "view_tasks", "users"),
        (Self::ViewExecutor, "view_executors", "users"),
        (Self::ViewFlags, "view_flags", "flags"),
        (Self::ViewContainer, "view_containers", "users"),
        (Self::AccessSandbox, "access_sandboxes", "users"),
        (Self::AccessMesosLog, "access_mesos_logs", "logs"),
        (Self::LaunchNestedContainer, "launch_nested_containers_under_parent_with_user", "users"),
        (
            Self::LaunchNestedContainerSession,
            "launch_nested_container_sessions_under_parent_with_user",
            "users",
        ),
        (Self::LaunchNestedContainerAsUser, "launch_nested_containers_as_user", "users"),
        (
            Self::LaunchNestedContainerSessionAsUser,
            "launch_nested_container_sessions_as_user",
            "users",
        ),
        (Self::KillNestedContainer, "kill_nested_containers", "users"),
        (Self::WaitNestedContainer, "wait_nested_containers", "users"),
        (Self::RemoveNestedContainer, "remove_nested_containers", "users"),
        (Self::AttachContainerInput, "attach_containers_input", "users"),
        (Self::AttachContainerOutput, "attach_containers_output", "users"),
        (Self::LaunchStandaloneContainer, "launch_standalone_containers", "users"),
        (Self::KillStandaloneContainer, "kill_standalone_containers", "users"),
        (Self::WaitStandaloneContainer, "wait_standalone_containers", "users"),
        (Self::RemoveStandaloneContainer, "remove_standalone_containers", "users"),
        (Self::ViewStandaloneContainer, "view_standalone_containers", "users"),
        (Self::SetLogLevel, "set_log_level", "level"),
        (Self::RegisterAgent, "register_agents", "agents"),
        (Self::UpdateMaintenanceSchedule, "update_maintenance_schedules", "machines"),
        (Self::GetMaintenanceSchedule, "get_maintenance_schedules", "machines"),
        (Self::StartMaintenance, "start_maintenances", "machines"),
        (Self::StopMaintenance, "stop_maintenances", "machines"),
        (Self::GetMaintenanceStatus, "get_maintenance_statuses", "machines"),
        (Self::DrainAgent, "drain_agents", "agents"),
        (Self::DeactivateAgent, "deactivate_agents", "agents"),
        (Self::ReactivateAgent, "reactivate_agents", "agents"),
        (Self::MarkAgentGone, "mark_agents_gone", "agents"),
        (Self::PruneImages, "prune_images", "images"),
        (Self::ViewResourceProvider, "view_resource_providers", "resource_providers"),
        (
            Self::ModifyResourceProviderConfig,
            "modify_resource_provider_configs",
            "resource_providers",
        ),
        (Self::MarkResourceProviderGone, "mark_resource_providers_gone", "resource_providers"),
        (Self::ActAsMaster, "act_as_masters", "masters"),
        (Self::ChangeMasters, "change_masters", "masters"),
    ];

    /// Its name in a file of rules.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(action, ..)| *action == self).expect("all are there").1
    }

    /// Who heeds rules of it.
    pub fn heeded(self) -> Heeded {
        match self {
            Self::RunTask
            | Self::GetEndpoint
            | Self::ViewRole
            | Self::ViewFramework
            | Self::ViewTask
            | Self::ViewExecutor
            | Self::ViewFlags
            | Self::AccessMesosLog
            | Self::SetLogLevel => Heeded::ByBoth,
            Self::RegisterFramework
            | Self::TeardownFramework
            | Self::ReserveResources
            | Self::UnreserveResources
            | Self::CreateVolume
            | Self::DestroyVolume
            | Self::ResizeVolume
            | Self::UpdateWeight
            | Self::GetQuota
            | Self::UpdateQuota
            | Self::UpdateQuotaConfig
            | Self::RegisterAgent
            | Self::UpdateMaintenanceSchedule
            | Self::GetMaintenanceSchedule
            | Self::StartMaintenance
            | Self::StopMaintenance
            | Self::GetMaintenanceStatus
            | Self::DrainAgent
            | Self::DeactivateAgent
            | Self::ReactivateAgent
            | Self::MarkAgentGone
            | Self::ActAsMaster
            | Self::ChangeMasters => Heeded::ByMasters,
            Self::ViewContainer
            | Self::AccessSandbox
            | Self::LaunchNestedContainer
            | Self::LaunchNestedContainerSession
            | Self::LaunchNestedContainerAsUser
            | Self::LaunchNestedContainerSessionAsUser
            | Self::KillNestedContainer
            | Self::WaitNestedContainer
            | Self::RemoveNestedContainer
            | Self::AttachContainerInput
            | Self::AttachContainerOutput
            | Self::LaunchStandaloneContainer
            | Self::KillStandaloneContainer
            | Self::WaitStandaloneContainer
            | Self::RemoveStandaloneContainer
            | Self::ViewStandaloneContainer
            | Self::PruneImages => Heeded::ByAgents,
            Self::CreateBlockDisk
            | Self::DestroyBlockDisk
            | Self::CreateMountDisk
            | Self::DestroyMountDisk
            | Self::DestroyRawDisk
            | Self::ViewResourceProvider
            | Self::ModifyResourceProviderConfig
            | Self::MarkResourceProviderGone => Heeded::Nowhere,
        }
    }
}
