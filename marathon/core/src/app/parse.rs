//! Reading apps: from clients, with the deprecated ways of saying things, and from the store.
//!
//! A body is first brought into the present form (`legacy`), then laid over the fields that stay
//! ([`merged`]), then read and validated as a whole, so that an update is judged by what comes of it.

mod container;
mod health;
mod legacy;
mod pod;
mod reader;
mod rules;
mod shape;
mod shared;

pub use pod::{pod_id, whole_pod};

use crate::app::{
    App, Artifact, Constraint, KillSelection, Millionths, Network, NetworkMode, Operator,
    PortDefinition, UnreachableStrategy, UpgradeStrategy, VersionInfo, render,
};
use crate::clock;
use crate::ids::AppId;
use crate::io::Refusal;
use model::amount::Milli;
use model::step::Timestamp;
use reader::{Errors, Reader};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Fields that are kept and shown but decide nothing.
const KEPT: [&str; 4] = ["secrets", "resourceLimits", "check", "tty"];

/// The same of pods.
const KEPT_OF_PODS: [&str; 1] = ["secrets"];

/// What is the cluster's and not the app's.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The role of apps that name none.
    pub role: Arc<str>,
    /// The network that container networks without a name mean.
    pub network: Option<Arc<str>>,
}

/// What is wrong with a body, by the path of each field.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Invalid {
    /// Fields of a wrong JSON type: the body means nothing.
    pub malformed: BTreeMap<String, Vec<String>>,
    /// Fields with a value that cannot be.
    pub invalid: BTreeMap<String, Vec<String>>,
}

impl Invalid {
    /// One thing that cannot be.
    pub fn one(path: &str, error: impl Into<String>) -> Self {
        let invalid = BTreeMap::from([(path.to_owned(), vec![error.into()])]);
        Self { malformed: BTreeMap::new(), invalid }
    }

    /// One field of a wrong JSON type.
    pub fn wrong_type(path: &str, error: &str) -> Self {
        let malformed = BTreeMap::from([(path.to_owned(), vec![error.to_owned()])]);
        Self { malformed, invalid: BTreeMap::new() }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.malformed.is_empty() && self.invalid.is_empty()
    }

    /// `value`, if nothing is wrong with it.
    fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// Leaves out what was wrong `before` too, at paths that are `spared`.
    fn forgive(&mut self, before: &Self, spared: impl Fn(&str) -> bool) {
        let was_wrong =
            |path: &str| before.malformed.contains_key(path) || before.invalid.contains_key(path);
        for errors in [&mut self.malformed, &mut self.invalid] {
            errors.retain(|path, _| !(spared(path) && was_wrong(path)));
        }
    }

    /// Takes in what else is wrong.
    pub fn absorb(&mut self, other: Self) {
        for (path, errors) in other.malformed {
            self.malformed.entry(path).or_default().extend(errors);
        }
        for (path, errors) in other.invalid {
            self.invalid.entry(path).or_default().extend(errors);
        }
    }

    /// The same, of a part of the body that stands at `path`.
    #[must_use]
    pub fn under(self, path: &str) -> Self {
        let moved = |errors: BTreeMap<String, Vec<String>>| {
            let all = errors.into_iter();
            all.map(|(at, errors)| {
                let at = if at.starts_with(path) { at } else { format!("{path}{at}") };
                (at, errors)
            })
            .collect()
        };
        Self { malformed: moved(self.malformed), invalid: moved(self.invalid) }
    }

    /// The answer to the client: 400 for a wrong type, 422 for a wrong value.
    pub fn refusal(&self) -> Refusal {
        let details = |errors: &BTreeMap<String, Vec<String>>| -> Value {
            let one = |(path, errors): (&String, &Vec<String>)| {
                // What is wrong with the whole has a path too.
                let path = if path.is_empty() { "/" } else { path };
                json!({"path": path, "errors": errors})
            };
            errors.iter().map(one).collect()
        };
        if self.malformed.is_empty() {
            let body = json!({"message": "Object is not valid", "details": details(&self.invalid)});
            return Refusal { status: 422, body };
        }
        let body = json!({"message": "Invalid JSON", "details": details(&self.malformed)});
        Refusal { status: 400, body }
    }
}

/// The fields of an app as a client gave them, in the present form and without nulls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update(Map<String, Value>, BTreeSet<String>);

impl Update {
    /// Reads a body. `path` is where it stands in the request, empty if it is all of it.
    pub fn read(body: &Value, path: &str) -> Result<Self, Invalid> {
        let Value::Object(fields) = without_nulls(body.clone()) else {
            let malformed =
                BTreeMap::from([(path.to_owned(), vec!["error.expected.jsobject".to_owned()])]);
            return Err(Invalid { malformed, invalid: BTreeMap::new() });
        };
        legacy::translate(fields).map(|fields| Self(fields, BTreeSet::new()))
    }

    /// The id in the body, relative to the root; absent when there is none.
    pub fn id(&self) -> Option<Result<AppId, Invalid>> {
        let text = match self.0.get("id")? {
            Value::String(text) => text,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => {
                let malformed = BTreeMap::from([(
                    "/id".to_owned(),
                    vec!["error.expected.jsstring".to_owned()],
                )]);
                return Some(Err(Invalid { malformed, invalid: BTreeMap::new() }));
            }
        };
        Some(AppId::parse_app(text).map_err(|bad| Invalid::one("/id", bad.to_string())))
    }

    /// Has every field that is null in `body` go back to its default.
    pub fn remove_nulls_of(&mut self, body: &Value) {
        let fields = body.as_object().into_iter().flatten();
        self.1 =
            fields.filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect();
    }

    /// Whether what stands at `path` is given, or taken away.
    fn names(&self, path: &str) -> bool {
        let field = path.trim_start_matches('/').split(['/', '(']).next().unwrap_or_default();
        self.0.contains_key(field) || self.1.contains(field)
    }

    /// Has an app whose count is not given keep this one.
    pub fn keep_instances(&mut self, instances: u32) {
        self.0.entry("instances").or_insert_with(|| instances.into());
    }

    /// The stored version it asks to go back to; absent when it asks for something else.
    pub fn rollback(&self) -> Option<Result<Timestamp, Invalid>> {
        let version = self.0.get("version")?;
        if self.0.keys().any(|name| name != "version" && name != "id") {
            let text = "The 'version' field may only be combined with the 'id' field.";
            return Some(Err(Invalid::one("/version", text)));
        }
        let version = version.as_str().and_then(clock::parse);
        Some(version.ok_or_else(|| Invalid::one("/version", "must be a date-time")))
    }
}

/// What a body describes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An app, or a list of apps.
    App,
    /// A pod.
    Pod,
    /// A group.
    Group,
}

/// Paths of the fields of `body` that mean nothing there: mostly misspelt ones.
pub fn unknown_fields(kind: Kind, body: &Value) -> Vec<String> {
    let shape = match kind {
        Kind::App => &shape::APP,
        Kind::Pod => &shape::POD,
        Kind::Group => &shape::GROUP,
    };
    let mut found = Vec::new();
    shape.unknown(body, "", &mut found);
    found
}

pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// A new or wholly replaced app.
pub fn whole(id: &AppId, update: &Update, defaults: &Defaults) -> Result<App, Invalid> {
    let mut fields = update.0.clone();
    fields.remove("version");
    fields.remove("versionInfo");
    let (app, wrong) = app(id, &fields, defaults);
    wrong.or(app)
}

/// `old` with the top-level fields that `update` has. Rules are made stricter at times: what `old` breaks
/// of them already is in the way of those only who touch it.
pub fn merged(old: &App, update: &Update, defaults: &Defaults) -> Result<App, Invalid> {
    let Value::Object(mut fields) = render::app(old) else {
        unreachable!("an app is rendered as an object")
    };
    let has = |name: &str| update.0.contains_key(name);
    // What excludes each other: the newer wish takes the older one's place.
    if has("cmd") && !has("args") {
        fields.remove("args");
    }
    if has("args") && !has("cmd") {
        fields.remove("cmd");
    }
    if has("networks") {
        fields.remove("portDefinitions");
        if let Some(Value::Object(container)) = fields.get_mut("container")
            && is_host(update.0.get("networks"))
        {
            container.remove("portMappings");
        }
    }
    fields.retain(|name, _| !update.1.contains(name));
    fields.extend(update.0.clone());
    fields.remove("version");
    fields.remove("versionInfo");
    let (app, mut wrong) = app(&old.id, &fields, defaults);
    if !wrong.is_empty() {
        wrong.forgive(&broken_by(old, defaults), |path| !update.names(path));
    }
    wrong.or(app)
}

/// What a stored app breaks of the rules of today.
fn broken_by(old: &App, defaults: &Defaults) -> Invalid {
    let Value::Object(fields) = render::app(old) else {
        unreachable!("an app is rendered as an object")
    };
    app(&old.id, &fields, defaults).1
}

fn is_host(networks: Option<&Value>) -> bool {
    networks.and_then(Value::as_array).is_some_and(|all| {
        all.iter().any(|network| network.get("mode").and_then(Value::as_str) == Some("host"))
    })
}

/// What [`render::app`] wrote to the store.
pub fn stored(value: &Value) -> Result<App, Invalid> {
    let Value::Object(fields) = value else { return Err(Invalid::one("", "is no object")) };
    let id = fields.get("id").and_then(Value::as_str).map(AppId::parse);
    let Some(Ok(id)) = id else { return Err(Invalid::one("/id", "is no app id")) };
    // What was valid once stays valid: it is not judged again, under other flags or rules.
    let defaults = Defaults::default();
    let errors = Errors::default();
    let is_pod = fields.contains_key("containers");
    let shape = if is_pod { &shape::POD } else { &shape::APP };
    let reader = Reader::new(fields, shape, &errors);
    let app =
        if is_pod { pod::read(&id, &reader, &defaults) } else { read(&id, &reader, &defaults) };
    errors.found().or(app)
}

/// What `fields` say, and what is wrong with them.
fn app(id: &AppId, fields: &Map<String, Value>, defaults: &Defaults) -> (App, Invalid) {
    let errors = Errors::default();
    let reader = Reader::new(fields, &shape::APP, &errors);
    let app = read(id, &reader, defaults);
    rules::check(&app, &reader, defaults);
    (app, errors.found())
}

fn read(id: &AppId, reader: &Reader<'_>, defaults: &Defaults) -> App {
    let networks = networks(reader, defaults);
    let is_host = networks.iter().any(|network| network.mode == NetworkMode::Host);
    let labels = reader.labels("labels");
    let is_single = labels.get("MARATHON_SINGLE_INSTANCE_APP").is_some_and(|it| it == "true");
    let is_resident = container::is_resident(reader);
    let is_kept_elsewhere = container::has_volume(reader, "external");
    let seconds = |name, default| Duration::from_secs(reader.whole(name).unwrap_or(default));
    App {
        id: id.clone(),
        cmd: reader.text("cmd"),
        args: reader.texts("args"),
        user: reader.text("user"),
        env: env(reader, "env"),
        instances: reader.count("instances").unwrap_or(1),
        cpus: reader.amount("cpus").unwrap_or(Milli::units(1)),
        mem: reader.amount("mem").unwrap_or(Milli::units(128)),
        disk: reader.amount("disk").unwrap_or_default(),
        gpus: reader.count("gpus").unwrap_or(0),
        executor: reader.text("executor").unwrap_or_default(),
        executor_needs: reader.object("executorResources").map(|it| pod::executor_needs(&it)),
        constraints: constraints(reader),
        fetch: reader.objects("fetch").iter().map(artifact).collect(),
        container: container::container(reader, &networks),
        port_definitions: if is_host { port_definitions(reader) } else { Vec::new() },
        networks,
        require_ports: reader.flag("requirePorts").unwrap_or(false),
        backoff: seconds("backoffSeconds", 1),
        backoff_factor: reader
            .millionths("backoffFactor", 1_000_000, u64::MAX)
            .unwrap_or(Millionths(1_150_000)),
        max_launch_delay: seconds("maxLaunchDelaySeconds", 300),
        health_checks: health::checks(reader),
        readiness_checks: reader
            .objects("readinessChecks")
            .iter()
            .map(health::readiness_check)
            .collect(),
        dependencies: dependencies(id, reader),
        labels,
        upgrade_strategy: upgrade_strategy(reader, is_single, is_resident || is_kept_elsewhere),
        kill_selection: kill_selection(reader),
        unreachable_strategy: unreachable_strategy(reader, is_resident),
        kill_grace: reader.whole("taskKillGracePeriodSeconds").map(Duration::from_secs),
        accepted_resource_roles: reader.texts("acceptedResourceRoles"),
        role: reader.text("role"),
        pod: None,
        extra: KEPT
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), reader.get(name)?.clone())))
            .collect(),
        version: time(reader, "version"),
        version_info: version_info(reader),
    }
}

/// When a stored definition last changed, and in what.
fn version_info(reader: &Reader<'_>) -> VersionInfo {
    let info = reader.object("versionInfo");
    info.map_or_else(VersionInfo::default, |info| VersionInfo {
        last_scaling_at: time(&info, "lastScalingAt"),
        last_config_change_at: time(&info, "lastConfigChangeAt"),
    })
}

fn time(reader: &Reader<'_>, name: &str) -> Timestamp {
    reader.get(name).and_then(Value::as_str).and_then(clock::parse).unwrap_or_default()
}

fn env(reader: &Reader<'_>, name: &str) -> BTreeMap<String, Value> {
    let Some(env) = reader.object(name) else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for (name, value) in env.members() {
        let is_secret = value.get("secret").is_some_and(Value::is_string);
        if value.is_string() || is_secret {
            out.insert(name.clone(), value.clone());
        } else {
            env.malformed(name, "error.expected.jsstring");
        }
    }
    out
}

fn artifact(reader: &Reader<'_>) -> Artifact {
    Artifact {
        uri: reader.required_text("uri"),
        extract: reader.flag("extract").unwrap_or(true),
        executable: reader.flag("executable").unwrap_or(false),
        cache: reader.flag("cache").unwrap_or(false),
        dest_path: reader.text("destPath"),
    }
}

fn constraints(reader: &Reader<'_>) -> Vec<Constraint> {
    let mut lists: Vec<Vec<String>> = Vec::new();
    for (index, item) in reader.list("constraints").iter().enumerate() {
        let at = format!("constraints({index})");
        let parts: Option<Vec<&str>> =
            item.as_array().and_then(|parts| parts.iter().map(Value::as_str).collect());
        let Some(parts) = parts else {
            reader.malformed(&at, "error.expected.jsarray");
            continue;
        };
        if !(2..=3).contains(&parts.len()) {
            reader.wrong(&at, "must have either 2 or 3 fields");
            continue;
        }
        lists.push(parts.into_iter().map(str::to_owned).collect());
    }
    constraints_of(reader, lists)
}

/// Constraints, each a field, an operator and, for some, a value.
fn constraints_of(reader: &Reader<'_>, lists: Vec<Vec<String>>) -> Vec<Constraint> {
    let mut out = Vec::new();
    for (index, parts) in lists.into_iter().enumerate() {
        let at = format!("constraints({index})");
        let mut parts = parts.into_iter();
        let (Some(field), Some(operator), value) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let upper = operator.to_ascii_uppercase();
        let Some(operator) = Operator::ALL.into_iter().find(|known| known.name() == upper) else {
            let known = Operator::ALL.map(Operator::name).join(", ");
            reader.wrong(&at, format!("operator must be one of the following {known}"));
            continue;
        };
        if field.is_empty() {
            reader.wrong(&at, "must not be empty");
        }
        out.push(Constraint { field, operator, value });
    }
    out
}

fn networks(reader: &Reader<'_>, defaults: &Defaults) -> Vec<Network> {
    let mut out = Vec::new();
    for entry in reader.objects("networks") {
        let mode = match entry.text("mode").as_deref() {
            None | Some("container") => NetworkMode::Container,
            Some("host") => NetworkMode::Host,
            Some("container/bridge") => NetworkMode::Bridge,
            Some(_) => {
                entry.wrong("mode", "must be one of container, container/bridge, host");
                continue;
            }
        };
        let mut name = entry.text("name");
        if mode == NetworkMode::Container {
            name = name.or_else(|| defaults.network.as_deref().map(str::to_owned));
            if name.is_none() {
                entry
                    .wrong("name", "a container network needs a name: there is no default network");
            }
        } else if name.take().is_some() {
            entry.wrong("name", "may only be given for mode container");
        }
        out.push(Network { mode, name, labels: entry.labels("labels") });
    }
    if out.is_empty() {
        out.push(Network { mode: NetworkMode::Host, name: None, labels: BTreeMap::new() });
    }
    out
}

fn port_definitions(reader: &Reader<'_>) -> Vec<PortDefinition> {
    if reader.get("portDefinitions").is_none() {
        return vec![PortDefinition {
            port: 0,
            protocol: "tcp".to_owned(),
            name: Some("default".to_owned()),
            labels: BTreeMap::new(),
        }];
    }
    let read = |entry: &Reader<'_>| PortDefinition {
        port: entry.port("port").unwrap_or(0),
        protocol: entry.protocol("protocol"),
        name: entry.text("name"),
        labels: entry.labels("labels"),
    };
    reader.objects("portDefinitions").iter().map(read).collect()
}

fn dependencies(id: &AppId, reader: &Reader<'_>) -> Vec<AppId> {
    let mut out = Vec::new();
    for (index, text) in reader.texts("dependencies").iter().enumerate() {
        match AppId::parse_in(&id.parent(), text) {
            Ok(dependency) if dependency != *id => out.push(dependency),
            Ok(_) => reader.wrong(&format!("dependencies({index})"), "must not be the app itself"),
            Err(bad) => reader.wrong(&format!("dependencies({index})"), bad.to_string()),
        }
    }
    out.sort();
    out.dedup();
    out
}

/// What has data that only one instance can use at a time makes room for the next one first.
fn upgrade_strategy(reader: &Reader<'_>, is_single: bool, has_data: bool) -> UpgradeStrategy {
    let (least, over) = match (is_single, has_data) {
        (true, _) => (0, 0),
        (false, true) => (500_000, 0),
        (false, false) => (1_000_000, 1_000_000),
    };
    let strategy = reader.object("upgradeStrategy");
    UpgradeStrategy {
        minimum_health_capacity: part(strategy.as_ref(), "minimumHealthCapacity", least),
        maximum_over_capacity: part(strategy.as_ref(), "maximumOverCapacity", over),
    }
}

/// A part of one, in millionths.
fn part(reader: Option<&Reader<'_>>, name: &str, default: u64) -> Millionths {
    let given = reader.and_then(|it| it.millionths(name, 0, 1_000_000));
    given.unwrap_or(Millionths(default))
}

fn kill_selection(reader: &Reader<'_>) -> KillSelection {
    match reader.text("killSelection").as_deref() {
        None | Some("YOUNGEST_FIRST") => KillSelection::YoungestFirst,
        Some("OLDEST_FIRST") => KillSelection::OldestFirst,
        Some(_) => {
            reader.wrong("killSelection", "must be one of YOUNGEST_FIRST, OLDEST_FIRST");
            KillSelection::YoungestFirst
        }
    }
}

fn unreachable_strategy(reader: &Reader<'_>, is_resident: bool) -> UnreachableStrategy {
    let disabled = UnreachableStrategy::Disabled;
    match reader.get("unreachableStrategy") {
        Some(Value::String(text)) if text == "disabled" => return disabled,
        Some(Value::String(_)) => {
            reader.wrong("unreachableStrategy", "must be an object or 'disabled'");
            return disabled;
        }
        // Nobody else has its data: it is waited for, unless somebody wants otherwise.
        None if is_resident => return disabled,
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_),
        )
        | None => {}
    }
    let strategy = reader.object("unreachableStrategy");
    let seconds = |name| {
        let given = strategy.as_ref().and_then(|it| it.whole(name));
        Duration::from_secs(given.unwrap_or(0))
    };
    let inactive_after = seconds("inactiveAfterSeconds");
    let expunge_after = seconds("expungeAfterSeconds");
    if expunge_after < inactive_after {
        let path = "unreachableStrategy/expungeAfterSeconds";
        reader.wrong(path, "must not be less than inactiveAfterSeconds");
    }
    UnreachableStrategy::After { inactive_after, expunge_after }
}
