//! What not all agents can do: those of an earlier version may lack some of it.

use crate::task::wire_enum;

wire_enum! {
    /// Something that an agent can do, by the number and name that clients know it by.
    AgentCapability {
        /// Have tasks of frameworks that are in several roles.
        MultiRole = 1, "MULTI_ROLE";
        /// Have resources reserved for roles below others.
        HierarchicalRole = 2, "HIERARCHICAL_ROLE";
        /// Have reservations within reservations.
        ReservationRefinement = 3, "RESERVATION_REFINEMENT";
        /// Carry out operations that have an id.
        ResourceProvider = 4, "RESOURCE_PROVIDER";
        /// Make volumes larger and smaller.
        ResizeVolume = 5, "RESIZE_VOLUME";
        /// Say how operations on its own resources went.
        OperationFeedback = 6, "AGENT_OPERATION_FEEDBACK";
        /// End all it runs when asked to, and take nothing new until then.
        Draining = 7, "AGENT_DRAINING";
        /// Let tasks have more than they ask for, up to limits.
        TaskResourceLimits = 8, "TASK_RESOURCE_LIMITS";
    }
}
