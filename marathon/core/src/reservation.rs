//! Reservations: what is kept on one agent for the instances of an app whose volumes outlive its tasks.

use crate::app::App;
use crate::ids::AppId;
use crate::instance::Place;
use model::ids::PersistenceId;
use model::step::Timestamp;
use std::sync::Arc;

/// Resources and volumes on one agent, for one instance at a time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reservation {
    /// Its id: that of the instance it was made for.
    pub id: Arc<str>,
    /// Whose instances it is for.
    pub app: AppId,
    /// The role it is made in.
    pub role: Arc<str>,
    /// Where it is.
    pub place: Place,
    /// The volumes that are part of it.
    pub volumes: Vec<LocalVolume>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// How it is.
    pub state: ReservationState,
}

/// How a reservation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReservationState {
    /// It was asked for, and nothing was heard of it yet.
    Asked,
    /// It is there.
    Made,
    /// It is to be undone, with all data, if it is there.
    GivenUp,
}

impl ReservationState {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Asked, Self::Made, Self::GivenUp];

    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "Asked",
            Self::Made => "Made",
            Self::GivenUp => "GivenUp",
        }
    }
}

/// A volume of a reservation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalVolume {
    /// Where tasks see it.
    pub container_path: Arc<str>,
    /// What tells it from others of its app and path.
    pub uuid: Arc<str>,
}

impl LocalVolume {
    /// What the agent knows it by.
    pub fn persistence_id(&self, app: &AppId) -> PersistenceId {
        let id = format!("{}#{}#{}", app.safe(), self.container_path, self.uuid);
        PersistenceId::new(id).expect("ids of apps and checked paths make an id")
    }
}

impl Reservation {
    /// Whether it can be used, now or once it is free.
    pub fn is_live(&self) -> bool {
        self.state != ReservationState::GivenUp
    }
}

/// What of a resident app or pod cannot change while its reservations are there: path and what is wrong.
/// Force does not help: it ends deployments in the way, and makes no agent have more than it has.
pub fn fixed(old: &App, new: &App) -> Option<(&'static str, &'static str)> {
    if !old.is_resident() && !new.is_resident() {
        return None;
    }
    let at = |of_app, of_pod| if new.is_pod() { of_pod } else { of_app };
    if old.persistent_volumes().ne(new.persistent_volumes()) {
        let error = "persistent volumes cannot be changed; create another one, or delete this one";
        return Some((at("/container/volumes", "/volumes"), error));
    }
    if old.needs() != new.needs() || old.executor_needs != new.executor_needs {
        let error = "cpus, mem, disk and gpus cannot be changed with persistent volumes: they are \
                     reserved with these";
        return Some((at("/", "/containers"), error));
    }
    if old.wanted_ports() != new.wanted_ports() {
        let error =
            "host ports cannot be changed with persistent volumes: they are reserved with these";
        return Some((at("/portDefinitions", "/containers"), error));
    }
    if old.role != new.role {
        return Some(("/role", "the role cannot be changed with persistent volumes"));
    }
    None
}
