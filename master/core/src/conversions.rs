//! Whether resources may be made of another kind: the checks that frameworks' and operators' calls share.

use crate::state::agents::Agent;
use crate::state::{Books, Turn};
use model::capability::AgentCapability;
use model::disk::{Disk, SourceKind};
use model::framework::Framework;
use model::ids::{AgentId, OfferId, PersistenceId};
use model::operation::Conversion;
use model::resources::{Key, Kind, Reservation, Resources};
use model::role::Role;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who wants it.
pub(crate) enum By<'a> {
    /// A framework, with what it was offered for one of its roles.
    Framework {
        /// The framework.
        framework: &'a Framework,
        /// The role.
        role: &'a Role,
    },
    /// An operator.
    Operator {
        /// Who it is for authentication; absent without.
        principal: Option<&'a Arc<str>>,
    },
}

impl By<'_> {
    fn principal(&self) -> Option<&Arc<str>> {
        match self {
            Self::Framework { framework, .. } => framework.principal.as_ref(),
            Self::Operator { principal } => *principal,
        }
    }
}

/// Whether `by` may have this done on `agent`; the text says why not. The first failure is told.
pub(crate) fn check(
    books: &Books,
    agent: &Agent,
    conversion: &Conversion,
    by: &By<'_>,
) -> Result<(), String> {
    check_can(agent, conversion)?;
    match conversion {
        Conversion::Reserve { source, resources } => check_reserve(books, source, resources, by),
        Conversion::Unreserve(resources) => check_unreserve(resources),
        Conversion::Create(volumes) => check_create(agent, volumes, by),
        Conversion::Destroy(volumes) => check_destroy(agent, volumes),
        Conversion::Grow { volume, addition } => check_grow(volume, addition),
        Conversion::Shrink { volume, subtract } => {
            check_resized(volume)?;
            if is_of(volume, SourceKind::Mount) {
                return Err("A volume on a MOUNT disk cannot be made smaller".to_owned());
            }
            if subtract.is_nothing() {
                return Err("'subtract' must be more than nothing".to_owned());
            }
            if *subtract >= volume.scalar("disk") {
                return Err("'subtract' must be less than the volume's size".to_owned());
            }
            Ok(())
        }
    }
}

/// Whether the agent is of a version that knows how to do it.
fn check_can(agent: &Agent, conversion: &Conversion) -> Result<(), String> {
    match conversion {
        Conversion::Reserve { resources, .. } => {
            let stacks = || resources.iter().map(|(key, _)| &key.kind.reservations);
            let is_nested = |it: &Reservation| it.role.components().nth(1).is_some();
            if stacks().any(|stack| stack.last().is_some_and(is_nested)) {
                let what = "reserve for a role below another";
                agent.check_can(AgentCapability::HierarchicalRole, what)?;
            }
            if stacks().any(|stack| stack.len() > 1) {
                let what = "refine a reservation";
                agent.check_can(AgentCapability::ReservationRefinement, what)?;
            }
            Ok(())
        }
        Conversion::Grow { .. } | Conversion::Shrink { .. } => {
            agent.check_can(AgentCapability::ResizeVolume, "make a volume larger or smaller")
        }
        Conversion::Unreserve(_) | Conversion::Create(_) | Conversion::Destroy(_) => Ok(()),
    }
}

fn check_some(resources: &Resources) -> Result<(), String> {
    if resources.is_empty() { Err("No resources are named".to_owned()) } else { Ok(()) }
}

fn check_reserve(
    books: &Books,
    source: &Resources,
    resources: &Resources,
    by: &By<'_>,
) -> Result<(), String> {
    check_some(resources)?;
    for (key, _) in resources.iter() {
        let bad = |why: &str| Err(format!("Resource '{}' {why}", key.name));
        if key.kind.is_revocable {
            return bad("is revocable and cannot be reserved");
        }
        let Some(top) = key.kind.reservations.last().filter(|top| top.is_dynamic) else {
            return bad("is not dynamically reserved");
        };
        check_principal(by, top.principal.as_ref())
            .map_err(|why| format!("Resource '{}' reserved {why}", key.name))?;
        if let By::Framework { role, .. } = by
            && top.role != **role
        {
            return Err(format!(
                "Resource '{}' is to be reserved for role '{}', but was offered for role '{role}'",
                key.name, top.role
            ));
        }
        if let By::Framework { framework, .. } = by
            && key.kind.reservations.len() > 1
            && !framework.capabilities.reservation_refinement
        {
            return bad(
                "is reserved already, and the framework is not RESERVATION_REFINEMENT capable",
            );
        }
        if let Some(allowed) = &books.config.roles
            && !allowed.contains(&top.role)
        {
            return Err(format!("Unknown role '{}'", top.role));
        }
        if key.kind.is_persistent_volume() {
            return bad("is a persistent volume and cannot be reserved");
        }
    }
    if source.is_empty() { Ok(()) } else { check_source(source, resources, by) }
}

/// One reservation in the place of another: of the same amounts, each side alike in itself.
fn check_source(source: &Resources, resources: &Resources, by: &By<'_>) -> Result<(), String> {
    if matches!(by, By::Framework { .. }) {
        return Err("'source' is for operators only".to_owned());
    }
    if let Some((key, _)) = source.iter().find(|(key, _)| !key.kind.is_dynamically_reserved()) {
        return Err(format!("Source '{}' is not dynamically reserved", key.name));
    }
    if let Some((key, _)) = source.iter().find(|(key, _)| key.kind.is_persistent_volume()) {
        return Err(format!("Source '{}' is a persistent volume", key.name));
    }
    for (side, all) in [("source", source), ("resources", resources)] {
        let mut stacks = all.iter().map(|(key, _)| &key.kind.reservations);
        let first = stacks.next();
        if stacks.any(|stack| Some(stack) != first) {
            return Err(format!("'{side}' has resources of different reservations"));
        }
    }
    let bare = |all: &Resources| all.with_kinds(|kind| kind.reservations.clear());
    if bare(source) != bare(resources) {
        return Err("'source' and 'resources' are not the same amounts".to_owned());
    }
    Ok(())
}

fn check_unreserve(resources: &Resources) -> Result<(), String> {
    check_some(resources)?;
    for (key, _) in resources.iter() {
        if !key.kind.is_dynamically_reserved() {
            return Err(format!("Resource '{}' is not dynamically reserved", key.name));
        }
        if let Some(id) = persistence_id(key) {
            return Err(format!(
                "A dynamically reserved persistent volume '{id}' cannot be unreserved directly; \
                 destroy it first"
            ));
        }
    }
    Ok(())
}

fn check_create(agent: &Agent, volumes: &Resources, by: &By<'_>) -> Result<(), String> {
    check_volumes(volumes)?;
    let mut taken: BTreeSet<(&Role, &PersistenceId)> =
        agent.total.iter().filter_map(|(key, _)| named(key)).collect();
    for (key, _) in volumes.iter() {
        let Some((role, id)) = named(key) else {
            return Err("Persistent volumes cannot be created from unreserved resources".to_owned());
        };
        if key.kind.is_revocable {
            return Err("Persistent volumes cannot be created from revocable resources".to_owned());
        }
        let disk = key.kind.disk.as_ref();
        if disk.and_then(|disk| disk.volume.as_ref()).is_some_and(|volume| volume.is_read_only) {
            return Err(format!("Persistent volume '{id}' must be of mode RW"));
        }
        if !taken.insert((role, id)) {
            return Err(format!("Persistence ID '{id}' exists already for role '{role}'"));
        }
        let persistence = disk.and_then(|disk| disk.persistence.as_ref());
        check_principal(by, persistence.and_then(|it| it.principal.as_ref()))
            .map_err(|why| format!("Persistent volume '{id}' {why}"))?;
        if let By::Framework { framework, .. } = by
            && key.kind.is_shared
            && !framework.capabilities.shared_resources
        {
            return Err(format!(
                "Persistent volume '{id}' is shared, and the framework is not SHARED_RESOURCES \
                 capable"
            ));
        }
    }
    Ok(())
}

fn check_destroy(agent: &Agent, volumes: &Resources) -> Result<(), String> {
    check_volumes(volumes)?;
    if !agent.total.contains(volumes) {
        return Err("Persistent volumes not found".to_owned());
    }
    check_unused(agent, volumes)
}

/// Whether no task or executor uses any of the volumes.
fn check_unused(agent: &Agent, volumes: &Resources) -> Result<(), String> {
    let is_used = |key: &Key| agent.used.values().any(|used| used.has(key));
    match volumes.iter().find(|(key, _)| is_used(key)) {
        Some(_) => Err("Persistent volumes in use".to_owned()),
        None => Ok(()),
    }
}

fn check_grow(volume: &Resources, addition: &Resources) -> Result<(), String> {
    check_resized(volume)?;
    if addition.scalar("disk").is_nothing() {
        return Err("'addition' must be more than nothing".to_owned());
    }
    let space = |kind: &Kind| {
        let disk = kind.disk.as_ref().and_then(Disk::without_volume);
        Kind { disk, ..kind.clone() }
    };
    let volume = volume.iter().map(|(key, _)| space(&key.kind)).next();
    let fits = |key: &Key| Some(&*key.kind) == volume.as_ref() && &*key.name == "disk";
    let is_divisible = |key: &Key| key.kind.disk.as_ref().is_none_or(Disk::is_divisible);
    if !addition.iter().all(|(key, _)| fits(key) && is_divisible(key)) {
        return Err("'addition' is not of the kind that the volume is made of".to_owned());
    }
    Ok(())
}

/// Whether a volume may be made larger or smaller at all.
fn check_resized(volume: &Resources) -> Result<(), String> {
    check_volumes(volume)?;
    for (key, _) in volume.iter() {
        if key.kind.is_shared {
            return Err("A shared persistent volume cannot change its size".to_owned());
        }
        if key.kind.provider.is_some() {
            return Err("A volume of a resource provider cannot change its size".to_owned());
        }
    }
    Ok(())
}

fn check_volumes(volumes: &Resources) -> Result<(), String> {
    check_some(volumes)?;
    match volumes.iter().find(|(key, _)| !key.kind.is_persistent_volume()) {
        Some((key, _)) => Err(format!("Resource '{}' is not a persistent volume", key.name)),
        None => Ok(()),
    }
}

/// Whether what is made says that it was made by whoever makes it.
fn check_principal(by: &By<'_>, stated: Option<&Arc<str>>) -> Result<(), String> {
    let Some(principal) = by.principal() else { return Ok(()) };
    match stated {
        Some(stated) if stated == principal => Ok(()),
        Some(stated) => {
            Err(format!("by principal '{stated}', but it is '{principal}' who asks for it"))
        }
        None => Err(format!("without a principal, but it is '{principal}' who asks for it")),
    }
}

fn persistence_id(key: &Key) -> Option<&PersistenceId> {
    Some(&key.kind.disk.as_ref()?.persistence.as_ref()?.id)
}

/// What a volume is called on its agent; absent for what is none, or not reserved.
fn named(key: &Key) -> Option<(&Role, &PersistenceId)> {
    Some((key.kind.reserved_for()?, persistence_id(key)?))
}

fn is_of(volume: &Resources, kind: SourceKind) -> bool {
    let source = |key: &Key| key.kind.disk.as_ref()?.source.as_ref().map(|source| source.kind);
    volume.iter().any(|(key, _)| source(key) == Some(kind))
}

/// Takes back all offers of shared volumes that are to be destroyed: each has a copy.
pub(crate) fn rescind_shared(
    books: &mut Books,
    agent: &AgentId,
    conversion: &Conversion,
    turn: &mut Turn<'_>,
) {
    let shared = conversion.removed_volumes().shared();
    if shared.is_empty() {
        return;
    }
    let offers = &books.agents[agent].offers;
    let has_any = |id: &OfferId| {
        let offer = books.offers.get(id);
        offer.is_some_and(|offer| shared.iter().any(|(key, _)| offer.resources.has(key)))
    };
    let offers: Vec<OfferId> = offers.iter().filter(|id| has_any(id)).cloned().collect();
    for id in offers {
        books.rescind(&id, turn);
    }
}
