//! Service ports: numbers that apps have for those who balance load, each given to one app only.

use crate::app::App;
use std::collections::{BTreeMap, BTreeSet};

/// The numbers that are taken.
#[derive(Debug, Default)]
pub struct ServicePorts {
    /// How many have each. Those that owners choose may be shared.
    taken: BTreeMap<u16, usize>,
    /// Those that may be given out.
    free: BTreeSet<u16>,
    /// The first and the last that are ever given out.
    range: Option<(u16, u16)>,
}

impl ServicePorts {
    /// No app has any yet, and those from `first` to `last` may be given out.
    pub fn new((first, last): (u16, u16)) -> Self {
        let range = Some((first, last));
        Self { taken: BTreeMap::new(), free: (first..=last).collect(), range }
    }

    /// Notes that `old` has become `new`.
    pub fn note(&mut self, old: Option<&App>, new: Option<&App>) {
        for port in new.map(App::service_ports).unwrap_or_default() {
            *self.taken.entry(port).or_default() += 1;
            self.free.remove(&port);
        }
        for port in old.map(App::service_ports).unwrap_or_default() {
            if let Some(count) = self.taken.get_mut(&port) {
                *count -= 1;
                if *count == 0 {
                    self.taken.remove(&port);
                    if self.range.is_some_and(|(first, last)| (first..=last).contains(&port)) {
                        self.free.insert(port);
                    }
                }
            }
        }
    }

    /// Whether these are the numbers of `apps`, and all others may be given out.
    pub fn is_of<'a>(&self, apps: impl Iterator<Item = &'a App>) -> bool {
        let mut taken: BTreeMap<u16, usize> = BTreeMap::new();
        for port in apps.flat_map(App::service_ports) {
            *taken.entry(port).or_default() += 1;
        }
        let given =
            |port: &&u16| self.range.is_some_and(|(first, last)| (first..=last).contains(*port));
        let all = self.range.map_or(0, |(first, last)| (first..=last).len());
        taken == self.taken
            && taken.keys().all(|port| !self.free.contains(port))
            && taken.keys().filter(given).count() + self.free.len() == all
    }

    /// Those that may be given out, lowest first.
    pub fn free(&self) -> impl Iterator<Item = u16> {
        self.free.iter().copied()
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
        let mut ports = ServicePorts::new((2, 4));
        let free = |ports: &ServicePorts| ports.free().collect::<Vec<_>>();
        ports.note(None, Some(&one));
        ports.note(None, Some(&other));
        assert_eq!(free(&ports), [4]);
        ports.note(Some(&one), Some(&less));
        assert_eq!(free(&ports), [4]);
        ports.note(Some(&other), None);
        assert_eq!(free(&ports), [2, 3, 4]);
        ports.note(Some(&less), None);
        assert_eq!(free(&ports), [2, 3, 4], "what was never to be given out is not");
    }
}
