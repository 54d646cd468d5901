//! Reservations, as they are stored.

use super::{FORM, encode};
use crate::ids::AppId;
use crate::instance::Place;
use crate::io::Key;
use crate::reservation::{LocalVolume, Reservation, ReservationState};
use model::ids::AgentId;
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

#[derive(Serialize, Deserialize)]
struct StoredPlace {
    agent: String,
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    attributes: Vec<(String, String)>,
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
    let attributes = it.place.attributes.iter();
    encode(&StoredReservation {
        form: FORM,
        id: text(&it.id),
        app: it.app.to_string(),
        role: text(&it.role),
        place: StoredPlace {
            agent: it.place.agent.to_string(),
            host: text(&it.place.host),
            region: it.place.region.as_ref().map(text),
            zone: it.place.zone.as_ref().map(text),
            attributes: attributes.map(|(name, value)| (text(name), text(value))).collect(),
        },
        volumes: it.volumes.iter().map(StoredVolume::of).collect(),
        asked_at: it.asked_at.0,
        state: it.state.name().to_owned(),
    })
}

impl StoredReservation {
    pub(super) fn read(self) -> Option<Reservation> {
        let text = |text: &String| Arc::from(text.as_str());
        let attributes = self.place.attributes.iter();
        Some(Reservation {
            id: self.id.into(),
            app: AppId::parse(&self.app).ok()?,
            role: self.role.into(),
            place: Place {
                agent: AgentId::new(self.place.agent.as_str()).ok()?,
                host: text(&self.place.host),
                region: self.place.region.as_ref().map(text),
                zone: self.place.zone.as_ref().map(text),
                attributes: attributes.map(|(name, value)| (text(name), text(value))).collect(),
            },
            volumes: self.volumes.iter().map(StoredVolume::read).collect(),
            asked_at: Timestamp(self.asked_at),
            state: ReservationState::ALL.into_iter().find(|it| it.name() == self.state)?,
        })
    }
}
