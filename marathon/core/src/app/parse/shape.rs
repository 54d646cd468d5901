//! Which fields there are: one table of apps, pods and groups, by where each stands.
//!
//! Readers may ask for no other fields, and clients that name others are told that those are unknown.
//! What Marathon has and we have no use for stands here too, as does what is only shown: what was read
//! can be written back.

use Shape::{Any, Each, Fields, Wrapped};
use serde_json::{Map, Value};

/// What may stand at one place.
pub(super) enum Shape {
    /// Whatever the client likes. It is not looked into.
    Any,
    /// An object with these fields, or a list of such objects.
    Fields {
        /// Fields that are not looked into.
        plain: &'static [&'static str],
        /// Fields with fields of their own.
        parts: &'static [(&'static str, &'static Shape)],
    },
    /// An object whose names the client chooses.
    Each(&'static Shape),
    /// An object or a list of objects. Where the field `by` is there, it is `whole` and not `bare`.
    Wrapped { by: &'static str, whole: &'static Shape, bare: &'static Shape },
}

impl Shape {
    /// What stands in the field `name`; absent when there is no such field.
    pub(super) fn field(&self, name: &str) -> Option<&'static Self> {
        match self {
            Any => Some(&Any),
            Each(shape) => Some(shape),
            Fields { plain, parts } => {
                let part = parts.iter().find(|(part, _)| *part == name).map(|(_, shape)| *shape);
                part.or_else(|| plain.contains(&name).then_some(&Any))
            }
            Wrapped { whole, bare, .. } => whole.field(name).or_else(|| bare.field(name)),
        }
    }

    /// Puts the paths of fields of `value`, which stands at `path`, that are none into `found`.
    pub(super) fn unknown(&self, value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Array(items) if !matches!(self, Any) => {
                let path = if path.is_empty() { "/" } else { path };
                for (index, item) in items.iter().enumerate() {
                    self.unknown(item, &format!("{path}({index})"), found);
                }
            }
            Value::Object(fields) => self.unknown_of(fields, path, found),
            // A wrong type is told elsewhere.
            Value::Array(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_) => {}
        }
    }

    fn unknown_of(&self, fields: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
        let shape = match self {
            Any => return,
            Fields { .. } | Each(_) => self,
            Wrapped { by, whole, bare } => {
                if fields.contains_key(*by) {
                    whole
                } else {
                    bare
                }
            }
        };
        for (name, value) in fields {
            let at = format!("{path}/{name}");
            match shape.field(name) {
                None => found.push(at),
                Some(shape) => shape.unknown(value, &at, found),
            }
        }
    }
}

/// An app, as it is written today and as it was once, and as it is shown.
pub(super) static APP: Shape = Fields {
    plain: &[
        "acceptedResourceRoles",
        "args",
        "backoffFactor",
        "backoffSeconds",
        "cmd",
        "constraints",
        "cpus",
        "dependencies",
        "deployments",
        "disk",
        "env",
        "executor",
        "gpus",
        "id",
        "instances",
        "killSelection",
        "labels",
        "lastTaskFailure",
        "maxLaunchDelaySeconds",
        "mem",
        "ports",
        "readinessCheckResults",
        "requirePorts",
        "role",
        "storeUrls",
        "taskKillGracePeriodSeconds",
        "taskStats",
        "tasks",
        "tasksHealthy",
        "tasksRunning",
        "tasksStaged",
        "tasksStats",
        "tasksUnhealthy",
        "tty",
        "uris",
        "user",
        "version",
    ],
    parts: &[
        ("check", &APP_CHECK),
        ("container", &CONTAINER),
        ("executorResources", &EXECUTOR_RESOURCES),
        ("fetch", &ARTIFACT),
        ("healthChecks", &APP_HEALTH_CHECK),
        ("ipAddress", &IP_ADDRESS),
        ("networks", &NETWORK),
        ("portDefinitions", &PORT_DEFINITION),
        ("readinessChecks", &READINESS_CHECK),
        ("residency", &RESIDENCY),
        ("resourceLimits", &RESOURCE_LIMITS),
        ("secrets", &Each(&SECRET_SOURCE)),
        ("unreachableStrategy", &UNREACHABLE_STRATEGY),
        ("upgradeStrategy", &UPGRADE_STRATEGY),
        ("versionInfo", &VERSION_INFO),
    ],
};

static CONTAINER: Shape = Fields {
    plain: &["type"],
    parts: &[
        ("docker", &DOCKER),
        ("linuxInfo", &LINUX_INFO),
        ("portMappings", &PORT_MAPPING),
        ("volumes", &APP_VOLUME),
    ],
};

static DOCKER: Shape = Fields {
    plain: &["forcePullImage", "image", "network", "privileged"],
    parts: &[
        ("credential", &Fields { plain: &["principal", "secret"], parts: &[] }),
        ("parameters", &Fields { plain: &["key", "value"], parts: &[] }),
        ("portMappings", &PORT_MAPPING),
        ("pullConfig", &SECRET),
    ],
};

static PORT_MAPPING: Shape = Fields {
    plain: &[
        "containerPort",
        "hostPort",
        "labels",
        "name",
        "networkNames",
        "protocol",
        "servicePort",
    ],
    parts: &[],
};

static PORT_DEFINITION: Shape =
    Fields { plain: &["labels", "name", "port", "protocol"], parts: &[] };

static APP_VOLUME: Shape = Fields {
    plain: &["containerPath", "hostPath", "mode", "secret"],
    parts: &[("external", &EXTERNAL), ("persistent", &PERSISTENT)],
};

/// Volumes of a storage plug-in; which options there are is the plug-in's to say.
static EXTERNAL: Shape =
    Fields { plain: &["name", "options", "provider", "shared", "size"], parts: &[] };

static PERSISTENT: Shape =
    Fields { plain: &["constraints", "maxSize", "profileName", "size", "type"], parts: &[] };

static IP_ADDRESS: Shape = Fields {
    plain: &["groups", "labels", "networkName"],
    parts: &[("discovery", &Fields { plain: &[], parts: &[("ports", &DISCOVERY_PORT)] })],
};

static DISCOVERY_PORT: Shape =
    Fields { plain: &["labels", "name", "number", "protocol"], parts: &[] };

static RESIDENCY: Shape =
    Fields { plain: &["relaunchEscalationTimeoutSeconds", "taskLostBehavior"], parts: &[] };

static APP_HEALTH_CHECK: Shape = Fields {
    plain: &[
        "delaySeconds",
        "gracePeriodSeconds",
        "ignoreHttp1xx",
        "intervalSeconds",
        "ipProtocol",
        "maxConsecutiveFailures",
        "path",
        "port",
        "portIndex",
        "protocol",
        "timeoutSeconds",
    ],
    parts: &[("command", &Fields { plain: &["value"], parts: &[] })],
};

static READINESS_CHECK: Shape = Fields {
    plain: &[
        "httpStatusCodesForReady",
        "intervalSeconds",
        "name",
        "path",
        "portName",
        "preserveLastResponse",
        "protocol",
        "timeoutSeconds",
    ],
    parts: &[],
};

static APP_CHECK: Shape = Fields {
    plain: &["delaySeconds", "intervalSeconds", "timeoutSeconds"],
    parts: &[
        ("exec", &COMMAND_PROBE),
        ("http", &Fields { plain: &["path", "port", "portIndex", "scheme"], parts: &[] }),
        ("tcp", &Fields { plain: &["port", "portIndex"], parts: &[] }),
    ],
};

static COMMAND_PROBE: Shape = Fields { plain: &[], parts: &[("command", &COMMAND)] };

static COMMAND: Shape = Fields { plain: &["argv", "shell"], parts: &[] };

static VERSION_INFO: Shape = Fields { plain: &["lastConfigChangeAt", "lastScalingAt"], parts: &[] };

static UPGRADE_STRATEGY: Shape =
    Fields { plain: &["maximumOverCapacity", "minimumHealthCapacity"], parts: &[] };

static UNREACHABLE_STRATEGY: Shape =
    Fields { plain: &["expungeAfterSeconds", "inactiveAfterSeconds"], parts: &[] };

static EXECUTOR_RESOURCES: Shape = Fields { plain: &["cpus", "disk", "mem"], parts: &[] };

static RESOURCE_LIMITS: Shape = Fields { plain: &["cpus", "mem"], parts: &[] };

static SECRET: Shape = Fields { plain: &["secret"], parts: &[] };

static SECRET_SOURCE: Shape = Fields { plain: &["source"], parts: &[] };

static NETWORK: Shape = Fields { plain: &["labels", "mode", "name"], parts: &[] };

static ARTIFACT: Shape =
    Fields { plain: &["cache", "destPath", "executable", "extract", "uri"], parts: &[] };

static LINUX_INFO: Shape = Fields {
    plain: &[],
    parts: &[
        ("ipcInfo", &Fields { plain: &["mode", "shmSize"], parts: &[] }),
        ("seccomp", &Fields { plain: &["profileName", "unconfined"], parts: &[] }),
    ],
};

/// A pod.
pub(super) static POD: Shape = Fields {
    plain: &["environment", "id", "labels", "legacySharedCgroups", "role", "user", "version"],
    parts: &[
        ("containers", &POD_CONTAINER),
        ("executorResources", &EXECUTOR_RESOURCES),
        ("linuxInfo", &LINUX_INFO),
        ("networks", &NETWORK),
        ("scaling", &Fields { plain: &["instances", "kind"], parts: &[] }),
        ("scheduling", &SCHEDULING),
        ("secrets", &Each(&SECRET_SOURCE)),
        ("versionInfo", &VERSION_INFO),
        ("volumes", &POD_VOLUME),
    ],
};

static POD_CONTAINER: Shape = Fields {
    plain: &["environment", "labels", "name", "tty", "user"],
    parts: &[
        ("artifacts", &ARTIFACT),
        ("check", &POD_CHECK),
        ("endpoints", &ENDPOINT),
        ("exec", &Fields { plain: &["overrideEntrypoint"], parts: &[("command", &COMMAND)] }),
        ("healthCheck", &POD_CHECK),
        ("image", &IMAGE),
        ("lifecycle", &Fields { plain: &["killGracePeriodSeconds"], parts: &[] }),
        ("linuxInfo", &LINUX_INFO),
        ("resourceLimits", &RESOURCE_LIMITS),
        ("resources", &Fields { plain: &["cpus", "disk", "gpus", "mem"], parts: &[] }),
        ("volumeMounts", &Fields { plain: &["mountPath", "name", "readOnly"], parts: &[] }),
    ],
};

static ENDPOINT: Shape = Fields {
    plain: &["containerPort", "hostPort", "labels", "name", "networkNames", "protocol"],
    parts: &[],
};

static IMAGE: Shape =
    Fields { plain: &["forcePull", "id", "kind", "labels"], parts: &[("pullConfig", &SECRET)] };

static POD_CHECK: Shape = Fields {
    plain: &[
        "delaySeconds",
        "gracePeriodSeconds",
        "intervalSeconds",
        "maxConsecutiveFailures",
        "timeoutSeconds",
    ],
    parts: &[
        ("exec", &COMMAND_PROBE),
        ("http", &Fields { plain: &["endpoint", "path", "scheme"], parts: &[] }),
        ("tcp", &Fields { plain: &["endpoint"], parts: &[] }),
    ],
};

static POD_VOLUME: Shape =
    Fields { plain: &["host", "name", "secret"], parts: &[("persistent", &PERSISTENT)] };

static SCHEDULING: Shape = Fields {
    plain: &["killSelection"],
    parts: &[
        ("backoff", &Fields { plain: &["backoff", "backoffFactor", "maxLaunchDelay"], parts: &[] }),
        (
            "placement",
            &Fields {
                plain: &["acceptedResourceRoles"],
                parts: &[(
                    "constraints",
                    &Fields { plain: &["fieldName", "operator", "value"], parts: &[] },
                )],
            },
        ),
        ("unreachableStrategy", &UNREACHABLE_STRATEGY),
        ("upgrade", &UPGRADE_STRATEGY),
    ],
};

/// How a pod is, with the pod in it: what a group is shown with.
static POD_STATUS: Shape = Fields {
    plain: &[
        "id",
        "instances",
        "lastChanged",
        "lastUpdated",
        "message",
        "status",
        "statusSince",
        "terminationHistory",
    ],
    parts: &[("spec", &POD)],
};

/// A group.
pub(super) static GROUP: Shape = Fields {
    plain: &["dependencies", "enforceRole", "id", "scaleBy", "version"],
    parts: &[
        ("apps", &APP),
        ("groups", &GROUP),
        ("pods", &Wrapped { by: "spec", whole: &POD_STATUS, bare: &POD }),
    ],
};
