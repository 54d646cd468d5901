//! Reservations, as they are stored.

use super::place::StoredPlace;
use super::{FORM, encode};
use crate::ids::AppId;
use crate::io::Key;
use crate::reservation::{LocalVolume, Reservation, ReservationState};
use model::step::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub(super) struct StoredReservation {
    form: u32,
    id: String,
    app: String,
    role: String,
    place: StoredPlace,
    volumes: Vec<StoredVolume>,
    asked_at: u64,
    state: String,
}

/// A volume of a reservation or of a task.
#[derive(Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredVolume {
    path: String,
    uuid: String,
}

impl StoredVolume {
    pub(super) fn of(volume: &LocalVolume) -> Self {
        Self { path: volume.container_path.to_string(), uuid: volume.uuid.to_string() }
    }

    pub(super) fn read(&self) -> LocalVolume {
        let (container_path, uuid) = (self.path.as_str().into(), self.uuid.as_str().into());
        LocalVolume { container_path, uuid }
    }
}

pub(crate) fn reservation_key(id: &str) -> Key {
    format!("reservation:{id}")
}

pub(crate) fn reservation(it: &Reservation) -> Vec<u8> {
    let text = |text: &Arc<str>| text.to_string();
    encode(&StoredReservation {
        form: FORM,
        id: text(&it.id),
        app: it.app.to_string(),
        role: text(&it.role),
        place: StoredPlace::of(&it.place),
        volumes: it.volumes.iter().map(StoredVolume::of).collect(),
        asked_at: it.asked_at.0,
        state: it.state.name().to_owned(),
    })
}

impl StoredReservation {
    pub(super) fn read(self) -> Option<Reservation> {
        Some(Reservation {
            id: self.id.into(),
            app: AppId::parse(&self.app).ok()?,
            role: self.role.into(),
            place: self.place.read()?,
            volumes: self.volumes.iter().map(StoredVolume::read).collect(),
            asked_at: Timestamp(self.asked_at),
            state: ReservationState::ALL.into_iter().find(|it| it.name() == self.state)?,
        })
    }
}
