//! What is deployed in successions: apps and pods, with volumes and without, apps that warm up, and groups.

use crate::pods;
use crate::residents;
use marathon_core::ids::AppId;
use marathon_core::io::{Command, PutApp, PutGroup};
use serde_json::{Value, json};

/// What is deployed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum What {
    /// An app.
    App,
    /// An app with a volume for each instance.
    Resident,
    /// A pod.
    Pod,
    /// A pod with a volume for each instance.
    ResidentPod,
    /// An app with a readiness check, that always has all its instances.
    Ready,
    /// Apps of which each wants another one to serve first, and that to be ready.
    Group,
    /// Apps that depend on one with volumes, and a pod.
    Mixed,
}

/// A version of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    /// How many instances each part has.
    pub(crate) instances: u64,
    /// Tells definitions apart.
    pub(crate) level: u64,
}

impl What {
    /// Every one there is.
    pub(crate) const ALL: [Self; 7] = [
        Self::App,
        Self::Resident,
        Self::Pod,
        Self::ResidentPod,
        Self::Ready,
        Self::Group,
        Self::Mixed,
    ];

    /// Whether it has several parts.
    pub(crate) fn is_group(self) -> bool {
        matches!(self, Self::Group | Self::Mixed)
    }

    fn is_pod(self) -> bool {
        matches!(self, Self::Pod | Self::ResidentPod)
    }

    /// Who wants whom to serve before it starts, by the names of tasks, and whether that has to be ready.
    pub(crate) fn dependencies(self) -> &'static [(&'static str, &'static str, bool)] {
        match self {
            Self::Group => &[("g_api", "g_db", false), ("g_web", "g_api", true)],
            Self::Mixed => &[("g_api", "g_db", false), ("g_web", "g_db", false)],
            Self::App | Self::Resident | Self::Pod | Self::ResidentPod | Self::Ready => &[],
        }
    }

    /// How many tasks are to serve at every moment of a change from `instances` to as many, of an app whose
    /// tasks are named so; and whether they have to be ready for that.
    pub(crate) fn serves(self, instances: u64) -> Option<(&'static str, u64, bool)> {
        match self {
            Self::App => Some(("app", instances.div_ceil(2), false)),
            Self::Ready => Some(("app", instances, true)),
            Self::Group => Some(("g_api", instances, true)),
            Self::Resident | Self::Pod | Self::ResidentPod | Self::Mixed => None,
        }
    }

    /// Makes it.
    pub(crate) fn create(self, version: Version) -> Command {
        let (body, force) = (self.body(version), false);
        if self.is_group() {
            let how = PutGroup { is_new: true, ..PutGroup::default() };
            return Command::PutGroup { id: AppId::root(), body, how };
        }
        if self.is_pod() {
            return Command::CreatePod { body, force };
        }
        Command::CreateApp { body, force }
    }

    /// Changes it.
    pub(crate) fn change(self, version: Version, force: bool) -> Command {
        let body = self.body(version);
        if self.is_group() {
            let how = PutGroup { force, ..PutGroup::default() };
            return Command::PutGroup { id: self.id(), body, how };
        }
        if self.is_pod() {
            return Command::PutPod { id: self.id(), body, force };
        }
        let how = PutApp { partial: true, force, ..PutApp::default() };
        Command::PutApp { id: self.id(), body, how }
    }

    /// Starts it anew; of what cannot be told so, changes it.
    pub(crate) fn restart(self, version: Version) -> Command {
        if self.is_group() || self.is_pod() {
            return self.change(Version { level: version.level + 1, ..version }, false);
        }
        Command::RestartApp { id: self.id(), force: false }
    }

    /// Takes it back, whatever is under way.
    pub(crate) fn delete(self) -> Command {
        let (id, force) = (self.id(), true);
        if self.is_group() {
            return Command::DeleteGroup { id, force };
        }
        if self.is_pod() {
            return Command::DeletePod { id, force };
        }
        Command::DeleteApp { id, force }
    }

    fn id(self) -> AppId {
        AppId::parse(if self.is_group() { "/g" } else { "/app" }).expect("well formed")
    }

    fn body(self, version: Version) -> Value {
        let unreachable = "disabled".into();
        let Version { instances, level } = version;
        match self {
            Self::App => app("/app", version),
            Self::Ready => ready("/app", version),
            Self::Resident => resident("/app", version),
            Self::Pod | Self::ResidentPod => {
                let has_volume = self == Self::ResidentPod;
                pods::pod("/app", (2, has_volume), instances, level, &unreachable)
            }
            Self::Group => json!({"id": "/g", "apps": [
                app("/g/db", version),
                after("/g/db", ready("/g/api", version)),
                after("/g/api", app("/g/web", version)),
            ]}),
            Self::Mixed => json!({"id": "/g",
                "apps": [
                    resident("/g/db", version),
                    after("/g/db", app("/g/api", version)),
                    after("/g/db", app("/g/web", version)),
                ],
                "pods": [pods::pod("/g/pod", (2, false), instances, level, &unreachable)],
            }),
        }
    }
}

fn app(id: &str, Version { instances, level }: Version) -> Value {
    json!({
        "id": id, "cmd": format!("sleep {}", 1_000 + level), "instances": instances,
        "cpus": 0.5, "mem": 64,
        "upgradeStrategy": { "minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.5 },
    })
}

fn resident(id: &str, Version { instances, level }: Version) -> Value {
    let mut app = residents::app(id, instances, &"disabled".into());
    app["cmd"] = format!("sleep {}", 1_000 + level).into();
    app
}

fn ready(id: &str, version: Version) -> Value {
    let mut app = app(id, version);
    app["portDefinitions"] = json!([{"port": 0, "name": "http"}]);
    app["readinessChecks"] = json!([{
        "name": "warm", "portName": "http", "path": "/ready", "intervalSeconds": 2,
        "timeoutSeconds": 1, "httpStatusCodesForReady": [200],
    }]);
    app["upgradeStrategy"]["minimumHealthCapacity"] = 1.0.into();
    app
}

fn after(first: &str, mut app: Value) -> Value {
    app["dependencies"] = json!([first]);
    app
}
