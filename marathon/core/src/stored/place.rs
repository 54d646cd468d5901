//! Where something is, as it is stored.

use crate::instance::Place;
use model::ids::AgentId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredPlace {
    agent: String,
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    attributes: Vec<(String, String)>,
}

impl StoredPlace {
    pub(super) fn of(place: &Place) -> Self {
        let text = |text: &Arc<str>| text.to_string();
        let attributes = place.attributes.iter();
        Self {
            agent: place.agent.to_string(),
            host: text(&place.host),
            region: place.region.as_ref().map(text),
            zone: place.zone.as_ref().map(text),
            attributes: attributes.map(|(name, value)| (text(name), text(value))).collect(),
        }
    }

    pub(super) fn read(&self) -> Option<Place> {
        let text = |text: &String| Arc::from(text.as_str());
        let attributes = self.attributes.iter();
        Some(Place {
            agent: AgentId::new(self.agent.as_str()).ok()?,
            host: text(&self.host),
            region: self.region.as_ref().map(text),
            zone: self.zone.as_ref().map(text),
            attributes: attributes.map(|(name, value)| (text(name), text(value))).collect(),
        })
    }
}
