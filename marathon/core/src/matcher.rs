//! Whether one instance can start on an offer, with which resources and ports, and if not why not.

use crate::app::volume::{PathRule, PersistentVolume};
use crate::app::{self, App, Constraint, Operator, Part};
use crate::fleet::{Fitting, Fleet, GPU_BEHAVIOR, ONE_PER_AGENT, is_one_per_agent};
use crate::instance::Place;
use crate::io::OfferView;
use crate::spread::Spread;
use model::amount::{Milli, Ranges};
use model::disk::SourceKind;
use model::resources::{Attributes, Key, Resources, Value};
use model::rng::Rng;
use regex::Regex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A test that an offer can fail, in the order they are made.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names are Marathon's own and stand for themselves")]
pub enum Reason {
    UnfulfilledRole,
    UnfulfilledConstraint,
    NoCorrespondingReservationFound,
    AgentMaintenance,
    InsufficientCpus,
    InsufficientMemory,
    InsufficientDisk,
    InsufficientGpus,
    InsufficientPorts,
    DeclinedScarceResources,
}

impl Reason {
    /// Every one there is, in order.
    pub const ALL: [Self; 10] = [
        Self::UnfulfilledRole,
        Self::UnfulfilledConstraint,
        Self::NoCorrespondingReservationFound,
        Self::AgentMaintenance,
        Self::InsufficientCpus,
        Self::InsufficientMemory,
        Self::InsufficientDisk,
        Self::InsufficientGpus,
        Self::InsufficientPorts,
        Self::DeclinedScarceResources,
    ];

    /// Its name in `/v2/queue`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnfulfilledRole => "UnfulfilledRole",
            Self::UnfulfilledConstraint => "UnfulfilledConstraint",
            Self::NoCorrespondingReservationFound => "NoCorrespondingReservationFound",
            Self::AgentMaintenance => "AgentMaintenance",
            Self::InsufficientCpus => "InsufficientCpus",
            Self::InsufficientMemory => "InsufficientMemory",
            Self::InsufficientDisk => "InsufficientDisk",
            Self::InsufficientGpus => "InsufficientGpus",
            Self::InsufficientPorts => "InsufficientPorts",
            Self::DeclinedScarceResources => "DeclinedScarceResources",
        }
    }
}

/// Why an instance was not started on an offer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// Nothing in the offer is of a role the app accepts.
    #[error("no resources of an accepted role ({0})")]
    Role(String),
    /// A constraint speaks against the agent.
    #[error("constraint {constraint} does not hold for '{found}'")]
    Constraint {
        /// The constraint, written out.
        constraint: String,
        /// What the agent has.
        found: String,
    },
    /// The agent is in another region than the master, and the app says nothing of regions.
    #[error(
        "in region '{found}', and without a constraint on @region or @zone apps stay in '{home}'"
    )]
    Region {
        /// Where the master is.
        home: Arc<str>,
        /// Where the agent is.
        found: Arc<str>,
    },
    /// Its agent is to be away soon, or is.
    #[error("the agent is about to be taken out of service")]
    Maintenance,
    /// Too little of a resource.
    #[error("{wanted} {name} wanted, {left} left")]
    TooSmall {
        /// Which resource.
        name: &'static str,
        /// How much is needed.
        wanted: Milli,
        /// How much there is.
        left: Milli,
    },
    /// What it needs is reserved on another agent.
    #[error("its volumes are on {host}, and what is reserved with them is not in this offer")]
    Reservation {
        /// Where.
        host: Arc<str>,
    },
    /// A volume is not offered where it was made.
    #[error(
        "its volume '{0}' is not in this offer: the task before has it still, or it is not there any more; \
         killing the instance with wipe=true gives it new ones"
    )]
    Volume(String),
    /// A secret is not kept. No agent has what it takes.
    #[error("the secret '{0}' is not kept; 'agora secret put' keeps it")]
    Secret(String),
    /// The agent is kept for those who want what it has and others have not.
    #[error(
        "the agent has GPUs, which are kept for apps that want some; the label {GPU_BEHAVIOR}=unrestricted \
         takes it all the same"
    )]
    Scarce,
    /// A port that is needed is not there, or not enough are.
    #[error("{0}")]
    Ports(String),
}

impl Mismatch {
    /// Which test failed.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Role(_) => Reason::UnfulfilledRole,
            Self::Constraint { .. } | Self::Region { .. } | Self::Secret(_) => {
                Reason::UnfulfilledConstraint
            }
            Self::Reservation { .. } | Self::Volume(_) => Reason::NoCorrespondingReservationFound,
            Self::Maintenance => Reason::AgentMaintenance,
            Self::TooSmall { name, .. } => match *name {
                "cpus" => Reason::InsufficientCpus,
                "mem" => Reason::InsufficientMemory,
                "disk" => Reason::InsufficientDisk,
                _ => Reason::InsufficientGpus,
            },
            Self::Ports(_) => Reason::InsufficientPorts,
            Self::Scarce => Reason::DeclinedScarceResources,
        }
    }
}

/// What an instance takes out of an offer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fit {
    /// Everything, ports included.
    pub resources: Resources,
    /// What each of the [`App::parts`] takes of that.
    pub parts: Vec<Resources>,
    /// Host ports, in the order of [`App::wanted_ports`].
    pub ports: Vec<u16>,
}

/// What is said of roles for all apps.
#[derive(Clone, Copy, Debug)]
pub struct Roles<'a> {
    /// Marathon's own, for apps that name none.
    pub own: &'a str,
    /// Whose resources apps take that do not say; empty means their own role's and everybody's.
    pub accepted: &'a [Arc<str>],
}

/// The instances that constraints compare a new one with.
#[derive(Clone, Copy, Debug)]
pub struct Others<'a> {
    /// Where they are.
    pub spread: &'a Spread,
    /// Whether one of them is on the agent of the offer.
    pub is_one_here: bool,
}

/// Says what one instance of `app` takes of `free`, what is left of `offer`, or why it cannot start there.
///
/// `fleet` are the agents there are to spread over. `rng` chooses among free ports, so that a port just
/// freed is rarely given out again while old clients still talk to it.
pub fn matches(
    app: &App,
    roles: Roles<'_>,
    offer: &OfferView,
    free: &Resources,
    others: Others<'_>,
    fleet: &Fleet,
    rng: &mut Rng,
) -> Result<Fit, Mismatch> {
    let usable = usable(app, roles, offer, free)?;
    if let Some(home) = fleet.left_for(&app.constraints, offer.region.as_ref()) {
        let found = offer.region.clone().unwrap_or_default();
        return Err(Mismatch::Region { home: home.clone(), found });
    }
    if is_one_per_agent(app) && others.is_one_here {
        let found = offer.offer.hostname.to_string();
        return Err(Mismatch::Constraint { constraint: ONE_PER_AGENT.to_owned(), found });
    }
    if !app.constraints.is_empty() {
        let (place, patterns) = (place(offer), fleet.patterns(&app.constraints));
        let is_spread = app::spread_over(&app.constraints).next().is_some();
        let fitting = is_spread.then(|| fleet.fitting(app));
        for (constraint, pattern) in app.constraints.iter().zip(&patterns.0) {
            holds(constraint, pattern.as_ref(), &place, others.spread, fitting.as_deref())?;
        }
    }
    let fit = take(&app.parts(), usable, &app.wanted_ports(), rng)?;
    if fleet.is_kept_from(app, &offer.offer.agent) { Err(Mismatch::Scarce) } else { Ok(fit) }
}

/// Takes what each part needs, and its ports with it.
pub(crate) fn take(
    parts: &[Part],
    mut left: Resources,
    wanted_ports: &[u16],
    rng: &mut Rng,
) -> Result<Fit, Mismatch> {
    let mut fit = Fit { resources: Resources::none(), parts: Vec::new(), ports: Vec::new() };
    for part in parts {
        let mut taken = Resources::none();
        for (name, wanted) in part.needs.named() {
            take_scalar(&left, name, wanted, &mut taken)?;
        }
        left.subtract(&taken);
        fit.parts.push(taken);
    }
    let mut given = take_ports(&left, wanted_ports, rng)?.into_iter();
    for (part, taken) in parts.iter().zip(&mut fit.parts) {
        for (port, resource) in given.by_ref().take(part.ports) {
            fit.ports.push(port);
            taken.add(&resource);
        }
        fit.resources.add(taken);
    }
    Ok(fit)
}

/// Where a task on `offer` would be.
pub fn place(offer: &OfferView) -> Place {
    Place {
        agent: offer.offer.agent.clone(),
        host: offer.offer.hostname.clone(),
        region: offer.region.clone(),
        zone: offer.zone.clone(),
        attributes: written(&offer.attributes),
    }
}

/// Attributes as constraints compare them.
pub fn written(attributes: &Attributes) -> Vec<(Arc<str>, Arc<str>)> {
    let all = attributes.0.iter();
    all.map(|(name, value)| (name.clone(), value.to_string().replace(", ", ",").into())).collect()
}

/// The part of `free` that the app may take: of its role or nobody's, as it accepts.
fn usable(
    app: &App,
    roles: Roles<'_>,
    offer: &OfferView,
    free: &Resources,
) -> Result<Resources, Mismatch> {
    let role = app.role.as_deref().unwrap_or(roles.own);
    let own = app.accepted_resource_roles.iter().map(String::as_str);
    let mut accepted: Vec<&str> = own.collect();
    if accepted.is_empty() {
        // Marathon's own role stands for that of the app.
        let named = |it: &'_ Arc<str>| **it == *roles.own && **it != *"*";
        let all = roles.accepted.iter();
        accepted = all.map(|it| if named(it) { role } else { it }).collect();
    }
    let accepts = |owner: &str| accepted.is_empty() || accepted.contains(&owner);
    let mismatch = || {
        let wanted = if accepted.is_empty() { role.to_owned() } else { accepted.join(", ") };
        Mismatch::Role(wanted)
    };
    if role != offer.offer.role.as_str() {
        return Err(mismatch());
    }
    let usable = free.filtered(|key, _| {
        let kind = &key.kind;
        let is_plain = !kind.is_revocable && !kind.is_shared && kind.disk.is_none();
        is_plain && accepts(kind.reserved_for().map_or("*", |owner| owner.as_str()))
    });
    if usable.is_empty() && !free.is_empty() { Err(mismatch()) } else { Ok(usable) }
}

/// Takes `wanted` of `name`: reserved resources first, since nobody else can use them.
fn take_scalar(
    usable: &Resources,
    name: &'static str,
    wanted: Milli,
    taken: &mut Resources,
) -> Result<(), Mismatch> {
    let mut keys: Vec<(&Key, Milli)> = usable
        .iter()
        .filter(|(key, _)| &*key.name == name)
        .filter_map(|(key, value)| match value {
            Value::Scalar(amount) => Some((key, *amount)),
            Value::Ranges(_) | Value::Set(_) => None,
        })
        .collect();
    keys.sort_by_key(|(key, _)| key.kind.reserved_for().is_none());
    let mut missing = wanted;
    for (key, amount) in keys {
        if missing.is_nothing() {
            break;
        }
        let part = missing.min(amount);
        taken.insert(key.clone(), Value::Scalar(part));
        missing -= part;
    }
    if missing.is_nothing() {
        return Ok(());
    }
    Err(Mismatch::TooSmall { name, wanted, left: wanted - missing })
}

/// Takes space for a volume: as much as it is to have at least where parts can be had, and else the
/// smallest disk that will do. Of directories the one with most room is taken.
pub(crate) fn take_space(
    free: &Resources,
    wanted: &PersistentVolume,
) -> Result<Resources, Mismatch> {
    let mut taken = Resources::none();
    let fits = |key: &Key| {
        let kind = &key.kind;
        let source = kind.disk.as_ref().and_then(|disk| disk.source.as_ref());
        let is_free = !kind.is_revocable && !kind.is_shared && kind.provider.is_none();
        let root = source.and_then(|source| source.root.as_deref()).unwrap_or_default();
        let is_right = |rule: &PathRule| is_full_match(Some(&rule.pattern), root) == rule.is_like;
        &*key.name == "disk"
            && is_free
            && !kind.is_persistent_volume()
            && source.map(|source| source.kind) == wanted.on
            && wanted.constraints.iter().all(is_right)
    };
    let disks = free.iter().filter(|(key, _)| fits(key)).filter_map(|(key, value)| match value {
        Value::Scalar(amount) => Some((key, *amount)),
        Value::Ranges(_) | Value::Set(_) => None,
    });
    let mut disks: Vec<(&Key, Milli)> = disks.collect();
    let most = disks.iter().map(|(_, amount)| *amount).max().unwrap_or_default();
    let comes_whole = wanted.on == Some(SourceKind::Mount);
    let max = wanted.size_max.filter(|_| comes_whole);
    disks.retain(|(_, amount)| *amount >= wanted.size && max.is_none_or(|max| *amount <= max));
    let best = if comes_whole {
        disks.into_iter().min_by_key(|(_, amount)| *amount)
    } else {
        disks.into_iter().max_by_key(|(_, amount)| *amount)
    };
    let Some((key, amount)) = best else {
        return Err(Mismatch::TooSmall { name: "disk", wanted: wanted.size, left: most });
    };
    let size = if comes_whole { amount } else { wanted.size };
    taken.insert(key.clone(), Value::Scalar(size));
    Ok(taken)
}

/// A number for each wanted port, with the resource that it is; a number that is given twice is one
/// resource.
fn take_ports(
    usable: &Resources,
    wanted: &[u16],
    rng: &mut Rng,
) -> Result<Vec<(u16, Resources)>, Mismatch> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut free = usable.ranges("ports");
    // The same number twice is one port, for tcp and for udp.
    let fixed: BTreeSet<u16> = wanted.iter().copied().filter(|port| *port != 0).collect();
    for port in &fixed {
        let one = one_port(u64::from(*port));
        if !free.contains(&one) {
            return Err(Mismatch::Ports(format!("port {port} is not free")));
        }
        free.subtract(&one);
    }
    let any = wanted.iter().filter(|port| **port == 0).count() as u64;
    let count = free.count();
    if any > count {
        return Err(Mismatch::Ports(format!("{any} ports wanted, {count} left")));
    }
    let mut next = rng.below(count);
    let mut ports: Vec<(u16, Resources)> = Vec::with_capacity(wanted.len());
    for port in wanted {
        if *port != 0 && ports.iter().any(|(given, _)| given == port) {
            ports.push((*port, Resources::none()));
            continue;
        }
        let number = if *port == 0 {
            let number = nth(&free, next % count);
            next += 1;
            number
        } else {
            u64::from(*port)
        };
        let key = usable.iter().find_map(|(key, value)| match value {
            Value::Ranges(ranges)
                if &*key.name == "ports" && ranges.contains(&one_port(number)) =>
            {
                Some(key.clone())
            }
            Value::Scalar(_) | Value::Ranges(_) | Value::Set(_) => None,
        });
        let key = key.expect("the port is in the sum over all keys");
        let mut taken = Resources::none();
        taken.insert(key, Value::Ranges(one_port(number)));
        let number = u16::try_from(number)
            .map_err(|_| Mismatch::Ports(format!("the offer holds {number}, which is no port")))?;
        ports.push((number, taken));
    }
    Ok(ports)
}

fn one_port(port: u64) -> Ranges {
    Ranges::one(port, port).expect("it begins where it ends")
}

/// The `n`th number of `ranges`.
fn nth(ranges: &Ranges, n: u64) -> u64 {
    let mut left = n;
    for (begin, end) in ranges.iter() {
        let count = end - begin + 1;
        if left < count {
            return begin + left;
        }
        left -= count;
    }
    unreachable!("n is below the count")
}

/// What the values of some constraints must match, for those that are judged by that.
#[derive(Debug)]
pub struct Patterns(Vec<Option<Regex>>);

impl Patterns {
    /// Those of `constraints`.
    pub fn of(constraints: &[Constraint]) -> Self {
        let pattern = |constraint: &Constraint| match constraint.operator {
            Operator::Like | Operator::Unlike => full_match(constraint.value.as_deref()),
            Operator::Unique
            | Operator::Cluster
            | Operator::GroupBy
            | Operator::MaxPer
            | Operator::Is => None,
        };
        Self(constraints.iter().map(pattern).collect())
    }
}

/// Whether those of `constraints` that look at one agent alone let an instance go to `place`. `patterns` are
/// theirs.
pub(crate) fn may_ever_go(constraints: &[Constraint], patterns: &Patterns, place: &Place) -> bool {
    let mut all = constraints.iter().zip(&patterns.0);
    all.all(|(it, pattern)| holds(it, pattern.as_ref(), place, &Spread::NONE, None).is_ok())
}

/// Whether `constraint` lets an instance go to `place`, with the others where they are. `pattern` is what
/// it matches, and `fitting` the agents to spread over; absent: it does not matter how many others are where.
fn holds(
    constraint: &Constraint,
    pattern: Option<&Regex>,
    place: &Place,
    spread: &Spread,
    fitting: Option<&Fitting>,
) -> Result<(), Mismatch> {
    let field = constraint.field.as_str();
    let found = value_of(place, field).map(|value| &**value);
    let wanted = constraint.value.as_deref();
    let is_match = |value: &str| pattern.is_some_and(|pattern| pattern.is_match(value));
    let is_good = match (constraint.operator, found) {
        (Operator::Unlike, found) => !is_match(found.unwrap_or_default()),
        (_, None) => false,
        (Operator::Unique, Some(found)) => spread.with(field, found) == 0,
        (Operator::Cluster, Some(found)) => match wanted.filter(|wanted| !wanted.is_empty()) {
            Some(wanted) => wanted == found,
            None => spread.with(field, found) == spread.count(),
        },
        (Operator::Like, Some(found)) => is_match(found),
        (Operator::Is, Some(found)) => is_same(wanted.unwrap_or_default(), found),
        (Operator::MaxPer, Some(found)) => {
            let max = wanted.and_then(|wanted| wanted.parse().ok()).unwrap_or(usize::MAX);
            spread.with(field, found) < max
        }
        (Operator::GroupBy, Some(found)) => {
            fitting.is_none_or(|fitting| is_smallest_group(field, found, spread, fitting))
        }
    };
    if is_good {
        return Ok(());
    }
    let mut parts = vec![field, constraint.operator.name()];
    parts.extend(wanted);
    Err(Mismatch::Constraint {
        constraint: parts.join(":"),
        found: found.unwrap_or_default().to_owned(),
    })
}

/// What `place` has of a constraint's field.
pub(crate) fn value_of<'a>(place: &'a Place, field: &str) -> Option<&'a Arc<str>> {
    match field {
        "hostname" | "@hostname" => Some(&place.host),
        "@region" => place.region.as_ref(),
        "@zone" => place.zone.as_ref(),
        _ => {
            let attribute = place.attributes.iter().find(|(name, _)| &**name == field);
            attribute.map(|(_, value)| value)
        }
    }
}

/// What matches all of a value. Regular expressions were checked when the app was read; one that is none
/// matches nothing.
fn full_match(pattern: Option<&str>) -> Option<Regex> {
    Regex::new(&format!("^(?:{})$", pattern.unwrap_or_default())).ok()
}

/// Whether two values are the same, numbers to a thousandth: `2.50` is `2.5`.
fn is_same(wanted: &str, found: &str) -> bool {
    let number = |text: &str| text.parse().ok().and_then(Milli::from_f64);
    let as_numbers = || number(wanted).is_some_and(|wanted| Some(wanted) == number(found));
    wanted == found || as_numbers()
}

fn is_full_match(pattern: Option<&str>, value: &str) -> bool {
    full_match(pattern).is_some_and(|regex| regex.is_match(value))
}

/// Whether no other value that there is has fewer instances. A value that is nowhere any more draws nobody.
///
/// The number that the constraint may have says how many values its author expected. It is not needed: which
/// there are is known, and waiting for more than that would be waiting for ever.
fn is_smallest_group(field: &str, found: &str, spread: &Spread, fitting: &Fitting) -> bool {
    let there_are = fitting.values();
    let mine = if there_are.with(field, found) > 0 { spread.with(field, found) } else { 0 };
    mine == 0 || there_are.values(field).all(|value| mine <= spread.with(field, value))
}
