//! Operations on resources: reserving them, making volumes of them, and the way back.
//!
//! An operation takes resources of one kind and makes them of another; amounts stay what they are. The
//! master books it as done when it hands it to the agent, and the agent remembers it.

use crate::amount::Milli;
use crate::ids::{AgentId, FrameworkId, OperationId, OperationUuid, UpdateId};
use crate::resources::{Kind, Resources, Shortage, Value};
use crate::task::wire_enum;
use std::sync::Arc;

/// What an operation makes of what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Conversion {
    /// Keep for a role.
    Reserve {
        /// What it is now, if that is reserved too: one reservation in place of another. Else nothing.
        source: Resources,
        /// What it will be, with the new reservation on top.
        resources: Resources,
    },
    /// Take the topmost reservation off.
    Unreserve(Resources),
    /// Make volumes that outlive their tasks. As they will be.
    Create(Resources),
    /// Remove volumes, and all that is in them.
    Destroy(Resources),
    /// Make a volume larger.
    Grow {
        /// As it is.
        volume: Resources,
        /// What is added: free space of the same kind.
        addition: Resources,
    },
    /// Make a volume smaller.
    Shrink {
        /// As it is.
        volume: Resources,
        /// By how much.
        subtract: Milli,
    },
}

impl Conversion {
    /// Its name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reserve { .. } => "RESERVE",
            Self::Unreserve(_) => "UNRESERVE",
            Self::Create(_) => "CREATE",
            Self::Destroy(_) => "DESTROY",
            Self::Grow { .. } => "GROW_VOLUME",
            Self::Shrink { .. } => "SHRINK_VOLUME",
        }
    }

    /// Whether all roles that it is about are such.
    pub fn is_of_roles(&self, is_such: impl Fn(&str) -> bool) -> bool {
        let both = [self.consumed(), self.converted()];
        let mut kinds = both.iter().flat_map(Resources::iter).map(|(key, _)| &key.kind);
        kinds.all(|kind| kind.reserved_for().is_none_or(|role| is_such(role.as_str())))
    }

    /// What it takes.
    pub fn consumed(&self) -> Resources {
        match self {
            Self::Reserve { source, resources } if source.is_empty() => {
                resources.with_kinds(without_top)
            }
            Self::Reserve { source, .. } => source.clone(),
            Self::Unreserve(resources) => resources.clone(),
            Self::Create(volumes) => volumes.with_kinds(without_volume),
            Self::Destroy(volumes) => volumes.clone(),
            Self::Grow { volume, addition } => volume.plus(addition),
            Self::Shrink { volume, .. } => volume.clone(),
        }
    }

    /// What it gives in place of that.
    pub fn converted(&self) -> Resources {
        match self {
            Self::Reserve { resources, .. } => resources.clone(),
            Self::Unreserve(resources) => resources.with_kinds(without_top),
            Self::Create(volumes) => volumes.clone(),
            Self::Destroy(volumes) => volumes.with_kinds(without_volume),
            Self::Grow { volume, addition } => {
                let more = addition.scalar("disk");
                let keys = volume.iter().map(|(key, _)| (key.clone(), Value::Scalar(more)));
                volume.plus(&keys.collect())
            }
            Self::Shrink { volume, subtract } => {
                let less: Resources =
                    volume.iter().map(|(key, _)| (key.clone(), Value::Scalar(*subtract))).collect();
                let mut rest = less.with_kinds(without_volume);
                for (key, value) in volume.iter() {
                    let Value::Scalar(size) = value else { continue };
                    rest.insert(key.clone(), Value::Scalar(*size - *subtract));
                }
                rest
            }
        }
    }

    /// Puts what it gives in the place of what it takes, or, on a shortage, does nothing.
    pub fn apply(&self, all: &mut Resources) -> Result<(), Shortage> {
        all.take(&self.consumed())?;
        all.add(&self.converted());
        Ok(())
    }

    /// The volumes that are there afterwards and were not before.
    pub fn made_volumes(&self) -> Resources {
        match self {
            Self::Create(volumes) => volumes.clone(),
            Self::Reserve { .. }
            | Self::Unreserve(_)
            | Self::Destroy(_)
            | Self::Grow { .. }
            | Self::Shrink { .. } => Resources::none(),
        }
    }

    /// The volumes that were there before and are not afterwards.
    pub fn removed_volumes(&self) -> Resources {
        match self {
            Self::Destroy(volumes) => volumes.clone(),
            Self::Reserve { .. }
            | Self::Unreserve(_)
            | Self::Create(_)
            | Self::Grow { .. }
            | Self::Shrink { .. } => Resources::none(),
        }
    }
}

fn without_top(kind: &mut Kind) {
    kind.reservations.pop();
}

fn without_volume(kind: &mut Kind) {
    kind.disk = kind.disk.as_ref().and_then(crate::disk::Disk::without_volume);
    kind.is_shared = false;
}

impl Resources {
    /// What operations have made of what an agent's flags say: what the agent must remember.
    #[must_use]
    pub fn made(&self) -> Self {
        self.filtered(|key, _| key.kind.is_made())
    }

    /// What flags say, with what operations have made of it. A shortage: the flags do not have any more
    /// what that was made of.
    pub fn with_made(&self, made: &Self) -> Result<Self, Shortage> {
        let mut all = self.clone();
        all.take(&made.with_kinds(|kind| *kind = kind.unmade()))?;
        all.add(made);
        Ok(all)
    }
}

wire_enum! {
    /// How far an operation is.
    OperationState {
        /// A state that nobody here knows.
        Unsupported = 0, "OPERATION_UNSUPPORTED";
        /// It is on its way.
        Pending = 1, "OPERATION_PENDING";
        /// It is done.
        Finished = 2, "OPERATION_FINISHED";
        /// It was tried and could not be done.
        Failed = 3, "OPERATION_FAILED";
        /// It never was one that can be done.
        Error = 4, "OPERATION_ERROR";
        /// It never got to where it would be done.
        Dropped = 5, "OPERATION_DROPPED";
        /// Its agent is out of contact. It may come back.
        Unreachable = 6, "OPERATION_UNREACHABLE";
        /// An operator declared its agent dead.
        GoneByOperator = 7, "OPERATION_GONE_BY_OPERATOR";
        /// Its agent is still to come back after a change of masters.
        Recovering = 8, "OPERATION_RECOVERING";
        /// Nobody here knows of it.
        Unknown = 9, "OPERATION_UNKNOWN";
    }
}

impl OperationState {
    /// Whether the operation is over for good.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Finished | Self::Failed | Self::Error | Self::Dropped | Self::GoneByOperator => {
                true
            }
            Self::Unsupported
            | Self::Pending
            | Self::Unreachable
            | Self::Recovering
            | Self::Unknown => false,
        }
    }
}

/// One report of how far an operation is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OperationStatus {
    /// The id that its framework gave it; absent if it wants no feedback.
    pub id: Option<OperationId>,
    /// How far it is.
    pub state: OperationState,
    /// For people.
    pub message: Option<Arc<str>>,
    /// What came of it, where that is told.
    pub converted: Resources,
    /// Present iff the report is repeated until it is acknowledged.
    pub uuid: Option<UpdateId>,
    /// On which agent it is; absent if nobody knows.
    pub agent: Option<AgentId>,
}

impl OperationStatus {
    /// A report without anything optional.
    pub fn new(id: Option<OperationId>, state: OperationState) -> Self {
        Self { id, state, message: None, converted: Resources::none(), uuid: None, agent: None }
    }
}

/// An operation that an agent is to carry out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operation {
    /// Its name between master and agent.
    pub uuid: OperationUuid,
    /// Whose it is; absent for an operator's.
    pub framework: Option<FrameworkId>,
    /// The id that its framework gave it; absent if nobody waits for feedback.
    pub id: Option<OperationId>,
    /// What is to be made of what.
    pub conversion: Conversion,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Persistence, Source, SourceKind, Volume};
    use crate::ids::PersistenceId;
    use crate::payload::Payload;
    use crate::resources::{Key, Reservation};
    use crate::role::Role;
    use proptest::prelude::*;

    fn parse(text: &str) -> Resources {
        Resources::parse(text, &Role::any()).expect("well formed")
    }

    fn reservation(role: &str) -> Reservation {
        Reservation {
            is_dynamic: true,
            role: Role::new(role).expect("a role"),
            principal: Some("ops".into()),
            labels: Payload::default(),
        }
    }

    fn reserved(what: &Resources, role: &str) -> Resources {
        what.with_kinds(|kind| kind.reservations.push(reservation(role)))
    }

    fn volume(space: &Resources, id: &str, path: &str) -> Resources {
        space.with_kinds(|kind| {
            kind.disk = Some(Disk {
                persistence: Some(Persistence {
                    id: PersistenceId::new(id).expect("an id"),
                    principal: None,
                }),
                volume: Some(Volume {
                    container_path: path.into(),
                    is_read_only: false,
                    info: Payload::default(),
                }),
                source: kind.disk.take().and_then(|disk| disk.source),
            });
        })
    }

    fn of_source(space: &Resources, kind: SourceKind) -> Resources {
        let source = Source { kind, root: Some("/d".into()), info: Payload::default() };
        space.with_kinds(|it| {
            it.disk = Some(Disk { source: Some(source.clone()), ..Disk::default() });
        })
    }

    fn reserve(resources: Resources) -> Conversion {
        Conversion::Reserve { source: Resources::none(), resources }
    }

    /// All reservations and volumes forgotten: what is left must never change.
    fn amounts(all: &Resources) -> Resources {
        all.with_kinds(|kind| *kind = Kind::default())
    }

    fn some_space() -> impl Strategy<Value = Resources> {
        let statics = prop_oneof![Just(""), Just("(a)")];
        let amounts = (1_i64..50, 1_i64..500, 0_u64..20);
        (amounts, statics).prop_map(|((cpus, disk, port), of)| {
            parse(&format!("cpus{of}:{cpus};disk{of}:{disk};ports{of}:[{port}-{}]", port + 3))
        })
    }

    /// Of ports there is one each, so that more of them is not more.
    fn numbers(all: &Resources) -> Resources {
        all.filtered(|_, value| matches!(value, Value::Scalar(_)))
    }

    proptest! {
        #[test]
        fn what_is_undone_was_never_done(space in some_space(), rest in some_space(), shares in any::<bool>()) {
            let mut all = space.plus(&rest);
            let before = all.clone();
            let resources = reserved(&space, "a/b");
            reserve(resources.clone()).apply(&mut all).expect("it is there");
            let disk = resources.filtered(|key, _| &*key.name == "disk");
            let mut volumes = volume(&disk, "v", "data");
            if shares {
                volumes = volumes.with_kinds(|kind| kind.is_shared = true);
            }
            Conversion::Create(volumes.clone()).apply(&mut all).expect("it is there");
            prop_assert!(all.contains(&volumes));
            prop_assert!(!all.contains(&disk) || rest.contains(&space), "space that is a volume");
            Conversion::Destroy(volumes).apply(&mut all).expect("it is there");
            Conversion::Unreserve(resources).apply(&mut all).expect("it is there");
            prop_assert_eq!(all, before);
        }

        #[test]
        fn amounts_never_change(space in some_space(), by in 1_i64..50, grows in any::<bool>()) {
            let disk = reserved(&space, "a/b").filtered(|key, _| &*key.name == "disk");
            let addition = disk.with_kinds(|_| ()).iter()
                .map(|(key, _)| (key.clone(), Value::Scalar(Milli(by)))).collect::<Resources>();
            let volume = volume(&disk, "v", "data");
            let mut all = volume.plus(&addition);
            let before = all.clone();
            let grow = Conversion::Grow { volume: volume.clone(), addition: addition.clone() };
            let shrink = Conversion::Shrink { volume: volume.clone(), subtract: Milli(by) };
            let conversion = if grows { grow } else { shrink };
            conversion.apply(&mut all).expect("it is there");
            prop_assert_eq!(amounts(&all), amounts(&before));
            let size = |all: &Resources| all.filtered(|key, _| key.kind.is_persistent_volume()).scalar("disk");
            let change = if grows { Milli(by) } else { Milli(-by) };
            prop_assert_eq!(size(&all), size(&before) + change);
        }

        #[test]
        fn what_an_agent_remembers_brings_back_what_it_had(space in some_space(), rest in some_space()) {
            let (space, rest) = (numbers(&space), numbers(&rest));
            let flags = space.plus(&rest);
            let mut all = flags.clone();
            let resources = reserved(&space, "a/b");
            reserve(resources.clone()).apply(&mut all).expect("it is there");
            let disk = resources.filtered(|key, _| &*key.name == "disk");
            Conversion::Create(volume(&disk, "v", "data")).apply(&mut all).expect("it is there");
            prop_assert_eq!(flags.with_made(&all.made()), Ok(all.clone()));
            // More than before is fine; less than was made of it is not.
            prop_assert_eq!(flags.plus(&space).with_made(&all.made()), Ok(all.plus(&space)));
            let less = space.filtered(|key, _| &*key.name != "disk");
            prop_assert!(less.with_made(&all.made()).is_err());
        }
    }

    #[test]
    fn a_volume_is_the_same_wherever_it_is_mounted() {
        let disk = reserved(&parse("disk:10"), "a");
        assert_eq!(volume(&disk, "v", "data"), volume(&disk, "v", "/elsewhere"));
        assert_ne!(volume(&disk, "v", "data"), volume(&disk, "w", "data"));
    }

    #[test]
    fn volumes_and_mounted_disks_come_whole() {
        let disk = reserved(&parse("disk:10"), "a");
        let part = |all: &Resources| {
            let keys = all.iter().map(|(key, _)| (key.clone(), Value::Scalar(Milli::units(5))));
            keys.collect::<Resources>()
        };
        let all = volume(&disk, "v", "data");
        assert!(!all.contains(&part(&all)) && all.contains(&all));
        let mounted = of_source(&parse("disk:10"), SourceKind::Mount);
        assert!(!mounted.contains(&part(&mounted)) && mounted.contains(&mounted));
        let path = of_source(&parse("disk:10"), SourceKind::Path);
        assert!(path.contains(&part(&path)));
        // What a volume was made of is what it was: a part of that source.
        let volume = volume(&reserved(&mounted, "a"), "v", "data");
        let back = Conversion::Destroy(volume).converted();
        assert_eq!(back, reserved(&mounted, "a"));
        let key: Vec<&Key> = back.iter().map(|(key, _)| key).collect();
        assert_eq!(key.len(), 1);
    }

    #[test]
    fn one_reservation_takes_the_place_of_another() {
        let space = parse("cpus:2");
        let (a, b) = (reserved(&space, "a"), reserved(&space, "b"));
        let mut all = a.clone();
        let change = Conversion::Reserve { source: a, resources: b.clone() };
        change.apply(&mut all).expect("it is there");
        assert_eq!(all, b);
    }
}
