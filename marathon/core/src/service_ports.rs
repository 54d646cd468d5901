//! Service ports: numbers that apps have for those who balance load, each given to one app only.

use crate::app::App;
use std::collections::BTreeMap;

/// The numbers that are taken.
#[derive(Debug, Default)]
pub struct ServicePorts {
    /// How many have each. Those that owners choose may be shared.
    taken: BTreeMap<u16, usize>,
}

impl ServicePorts {
    /// Notes that `old` has become `new`.
    pub fn note(&mut self, old: Option<&App>, new: Option<&App>) {
        for port in new.map(App::service_ports).unwrap_or_default() {
            *self.taken.entry(port).or_default() += 1;
        }
        for port in old.map(App::service_ports).unwrap_or_default() {
            if let Some(count) = self.taken.get_mut(&port) {
                *count -= 1;
                if *count == 0 {
                    self.taken.remove(&port);
                }
            }
        }
    }

    /// Whether an app has `port`.
    pub fn has(&self, port: u16) -> bool {
        self.taken.contains_key(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::parse::{Defaults, Update, whole};
    use crate::ids::AppId;
    use serde_json::json;

    fn app(ports: &[u16]) -> App {
        let definitions: Vec<_> = ports.iter().map(|port| json!({"port": port})).collect();
        let body = json!({"cmd": "x", "portDefinitions": definitions});
        let update = Update::read(&body, "").expect("a body");
        let id = AppId::parse("/web").expect("an id");
        whole(&id, &update, &Defaults::default()).expect("a valid app")
    }

    #[test]
    fn a_number_is_free_when_the_last_that_had_it_has_gone() {
        let (one, other, less) = (app(&[1, 2]), app(&[2, 3]), app(&[1]));
        let mut ports = ServicePorts::default();
        let taken = |ports: &ServicePorts| (1..=3).filter(|it| ports.has(*it)).collect::<Vec<_>>();
        ports.note(None, Some(&one));
        ports.note(None, Some(&other));
        assert_eq!(taken(&ports), [1, 2, 3]);
        ports.note(Some(&one), Some(&less));
        assert_eq!(taken(&ports), [1, 2, 3]);
        ports.note(Some(&other), None);
        assert_eq!(taken(&ports), [1]);
        ports.note(Some(&less), None);
        assert_eq!(taken(&ports), [0_u16; 0]);
    }
}
