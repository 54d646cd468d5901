//! Users: they create, scale, restart and delete apps and pods, and kill tasks.

use crate::residents;
use crate::world::{Event, World};
use marathon_core::ids::AppId;
use marathon_core::io::{Ask, Command, Input, KillHow, PutApp};
use serde_json::json;
use std::time::Duration;

/// Apps that users know of.
const APPS: u64 = 6;

impl World {
    /// A user wants something, and later something else.
    pub(crate) fn user(&mut self) {
        if !self.is_chaos {
            if !self.settings.is_told && !self.users_clear_up() {
                self.after(Duration::from_secs(5), Event::User);
            }
            return;
        }
        let wait = Duration::from_secs(1) + self.users.up_to(Duration::from_secs(12));
        self.after(wait, Event::User);
        let command = self.wish();
        self.asks_as_user(command);
    }

    /// Asks whoever leads.
    pub(crate) fn asks_as_user(&mut self, command: Command) {
        let Some(at) = self.lease else { return };
        let request = self.new_request();
        let ask = Ask { request, client: "user".into(), uri: "/v2/apps".into(), command };
        let life = self.marathons[at].life;
        self.step_marathon(at, life, Input::Ask(ask));
    }

    fn wish(&mut self) -> Command {
        if self.users.chance(25) {
            return self.wish_of_pod();
        }
        let is_resident = self.users.chance(30);
        let name = if is_resident {
            self.a_resident().to_owned()
        } else {
            format!("/app-{}", self.users.below(APPS))
        };
        let id = AppId::parse_app(&name).expect("well formed");
        let instances = self.users.below(6);
        let force = self.users.chance(30);
        match self.users.below(10) {
            0..=3 if is_resident => {
                let body = residents::app(&name, instances, &self.a_strategy());
                Command::CreateApp { body, force }
            }
            0..=3 => Command::CreateApp {
                body: json!({
                    "id": name, "cmd": "sleep 1000", "instances": instances, "cpus": 0.5, "mem": 64,
                    "backoffSeconds": 1, "maxLaunchDelaySeconds": 20,
                    "upgradeStrategy": {
                        "minimumHealthCapacity": if self.users.chance(50) { 1.0 } else { 0.5 },
                        "maximumOverCapacity": 0.5,
                    },
                }),
                force,
            },
            4..=5 => {
                let body = json!({ "instances": instances });
                Command::PutApp {
                    id,
                    body,
                    how: PutApp { partial: true, force, ..PutApp::default() },
                }
            }
            6 => {
                let body = json!({ "cmd": format!("sleep {}", 1_000 + self.users.below(9)) });
                Command::PutApp {
                    id,
                    body,
                    how: PutApp { partial: true, force, ..PutApp::default() },
                }
            }
            7 => Command::RestartApp { id, force },
            8 => {
                let scale = self.users.chance(30);
                let wipe = !scale && is_resident && self.users.chance(30);
                let how = KillHow { scale, wipe, force };
                Command::KillAppTasks { id, host: None, how }
            }
            _ => Command::DeleteApp { id, force: true },
        }
    }
}
