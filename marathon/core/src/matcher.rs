//! Whether one instance can start on an offer, with which resources and ports, and if not why not.

/// A test that an offer can fail, in the order they are made.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names are Marathon's own and stand for themselves")]
pub enum Reason {
    UnfulfilledRole,
    UnfulfilledConstraint,
    NoCorrespondingReservationFound,
    AgentMaintenance,
    InsufficientCpus,
    InsufficientMemory,
    InsufficientDisk,
    InsufficientGpus,
    InsufficientPorts,
    DeclinedScarceResources,
}

impl Reason {
    /// Every one there is, in order.
    pub const ALL: [Self; 10] = [
        Self::UnfulfilledRole,
        Self::UnfulfilledConstraint,
        Self::NoCorrespondingReservationFound,
        Self::AgentMaintenance,
        Self::InsufficientCpus,
        Self::InsufficientMemory,
        Self::InsufficientDisk,
        Self::InsufficientGpus,
        Self::InsufficientPorts,
        Self::DeclinedScarceResources,
    ];

    /// Its name in `/v2/queue`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnfulfilledRole => "UnfulfilledRole",
            Self::UnfulfilledConstraint => "UnfulfilledConstraint",
            Self::NoCorrespondingReservationFound => "NoCorrespondingReservationFound",
            Self::AgentMaintenance => "AgentMaintenance",
            Self::InsufficientCpus => "InsufficientCpus",
            Self::InsufficientMemory => "InsufficientMemory",
            Self::InsufficientDisk => "InsufficientDisk",
            Self::InsufficientGpus => "InsufficientGpus",
            Self::InsufficientPorts => "InsufficientPorts",
            Self::DeclinedScarceResources => "DeclinedScarceResources",
        }
    }
}

/// Why an instance was not started on an offer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// Nothing in the offer is of a role the app accepts.
    #[error("no resources of an accepted role ({0})")]
    Role(String),
    /// A constraint speaks against the agent.
    #[error("constraint {constraint} does not hold for '{found}'")]
    Constraint {
        /// The constraint, written out.
        constraint: String,
        /// What the agent has.
        found: String,
    },
    /// Too little of a resource.
    #[error("{wanted} {name} wanted, {left} left")]
    TooSmall {
        /// Which resource.
        name: &'static str,
        /// How much is needed.
        wanted: model::amount::Milli,
        /// How much there is.
        left: model::amount::Milli,
    },
    /// A port that is needed is not there, or not enough are.
    #[error("{0}")]
    Ports(String),
}

impl Mismatch {
    /// Which test failed.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Role(_) => Reason::UnfulfilledRole,
            Self::Constraint { .. } => Reason::UnfulfilledConstraint,
            Self::TooSmall { name, .. } => match *name {
                "cpus" => Reason::InsufficientCpus,
                "mem" => Reason::InsufficientMemory,
                "disk" => Reason::InsufficientDisk,
                _ => Reason::InsufficientGpus,
            },
            Self::Ports(_) => Reason::InsufficientPorts,
        }
    }
}
