//! Resources: what an agent has, what an offer holds, what a task takes.

mod entries;

use self::entries::Entries;
use crate::amount::{Milli, Ranges};
use crate::disk::Disk;
use crate::ids::{BadId, check_id};
use crate::payload::Payload;
use crate::role::{BadRole, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem::discriminant;
use std::sync::Arc;

/// Ports an agent offers unless told otherwise.
pub const PORTS_DEFAULT: (u64, u64) = (31_000, 32_000);

/// How much of one resource there is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Value {
    /// A number: cpus in cores, mem and disk in MiB, gpus in pieces.
    Scalar(Milli),
    /// Numbers of which each can be taken: ports.
    Ranges(Ranges),
    /// Names of which each can be taken.
    Set(BTreeSet<Arc<str>>),
}

impl Value {
    fn is_nothing(&self) -> bool {
        match self {
            Self::Scalar(amount) => amount.is_nothing(),
            Self::Ranges(ranges) => ranges.is_empty(),
            Self::Set(items) => items.is_empty(),
        }
    }

    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => mine >= theirs,
            (Self::Ranges(mine), Self::Ranges(theirs)) => mine.contains(theirs),
            (Self::Set(mine), Self::Set(theirs)) => mine.is_superset(theirs),
            (Self::Scalar(_) | Self::Ranges(_) | Self::Set(_), _) => false,
        }
    }

    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => *mine += *theirs,
            (Self::Ranges(mine), Self::Ranges(theirs)) => mine.add(theirs),
            (Self::Set(mine), Self::Set(theirs)) => mine.extend(theirs.iter().cloned()),
            // Kinds differ only if two sides declared one name differently: the first one holds.
            (Self::Scalar(_) | Self::Ranges(_) | Self::Set(_), _) => {}
        }
    }

    fn subtract(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => *mine -= *theirs,
            (Self::Ranges(mine), Self::Ranges(theirs)) => mine.subtract(theirs),
            (Self::Set(mine), Self::Set(theirs)) => mine.retain(|item| !theirs.contains(item)),
            (Self::Scalar(_) | Self::Ranges(_) | Self::Set(_), _) => {}
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(amount) => write!(f, "{amount}"),
            Self::Ranges(ranges) => write!(f, "{ranges}"),
            Self::Set(items) => {
                write!(f, "{{{}}}", items.iter().map(|item| &**item).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// One step of a reservation: from whom it is kept, and who asked for it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Reservation {
    /// Whether it was made at run time (by an operation) and not by the agent's flags.
    pub is_dynamic: bool,
    /// The role it is kept for.
    pub role: Role,
    /// Who made it, where that is known.
    pub principal: Option<Arc<str>>,
    /// Encoded `mesos.v1.Labels` of it.
    pub labels: Payload,
}

/// What distinguishes resources of one name. Only resources alike in all of it add up.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Kind {
    /// Reservations, the outermost role first; empty means unreserved.
    pub reservations: Vec<Reservation>,
    /// What sets a disk apart from plain space; absent for all that is no such disk.
    pub disk: Option<Disk>,
    /// Encoded `mesos.v1.ResourceProviderID`, where there is one.
    pub provider: Option<Payload>,
    /// Whether the agent may take it back at any time.
    pub is_revocable: bool,
    /// Whether several tasks may use it at once.
    pub is_shared: bool,
}

impl Kind {
    /// Reserved by an agent's flags for `role`; unreserved for `*`.
    pub fn of_role(role: &Role) -> Self {
        if role.is_any() {
            return Self::default();
        }
        let reservation = Reservation {
            is_dynamic: false,
            role: role.clone(),
            principal: None,
            labels: Payload::default(),
        };
        Self { reservations: vec![reservation], ..Self::default() }
    }

    /// The role it is reserved for, if any: that of the innermost reservation.
    pub fn reserved_for(&self) -> Option<&Role> {
        self.reservations.last().map(|reservation| &reservation.role)
    }

    /// Whether it is a volume that outlives its tasks.
    pub fn is_persistent_volume(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.persistence.is_some())
    }

    /// Whether it is reserved by an operation, which can be undone by another.
    pub fn is_dynamically_reserved(&self) -> bool {
        self.reservations.last().is_some_and(|reservation| reservation.is_dynamic)
    }

    /// Whether an agent has it by an operation and not by its flags, so that it must remember it.
    pub fn is_made(&self) -> bool {
        self.is_dynamically_reserved() || self.is_persistent_volume()
    }

    /// As the agent's flags have it: without what operations have made of it.
    #[must_use]
    pub fn unmade(&self) -> Self {
        let mut kind = self.clone();
        while kind.is_dynamically_reserved() {
            kind.reservations.pop();
        }
        if kind.is_persistent_volume() {
            kind.disk = kind.disk.as_ref().and_then(Disk::without_volume);
            kind.is_shared = false;
        }
        kind
    }

    fn is_divisible(&self) -> bool {
        self.is_shared || self.disk.as_ref().is_none_or(Disk::is_divisible)
    }

    /// Whether `role` may be offered this: it is unreserved, or reserved for it or a parent.
    pub fn is_offerable_to(&self, role: &Role) -> bool {
        self.reserved_for().is_none_or(|owner| owner == role || role.is_below(owner))
    }
}

/// What resources are kept by: their name and what distinguishes them.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// `cpus`, `mem`, `disk`, `gpus`, `ports`, or a name of the operator's.
    pub name: Arc<str>,
    /// Everything else that keeps it apart. Shared, since few kinds exist in a cluster.
    pub kind: Arc<Kind>,
}

/// An amount of each resource.
///
/// Invariant: nothing is stored with an empty value, so equal amounts compare equal.
#[derive(Clone, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Resources(Entries);

impl Resources {
    /// No resources.
    pub fn none() -> Self {
        Self::default()
    }

    /// Unreserved scalars by name, in units: a short way for tests and defaults.
    pub fn scalars<'a>(amounts: impl IntoIterator<Item = (&'a str, Milli)>) -> Self {
        amounts
            .into_iter()
            .map(|(name, amount)| (unreserved(name), Value::Scalar(amount)))
            .collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every resource, in order of name and kind.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.0.iter()
    }

    /// Puts `value` of `key` on top of what is here.
    pub fn insert(&mut self, key: Key, value: Value) {
        if value.is_nothing() {
            return;
        }
        match self.0.get_mut(&key) {
            Some(mine) => mine.add(&value),
            None => self.0.insert(key, value),
        }
    }

    /// Puts `other` on top of what is here.
    pub fn add(&mut self, other: &Self) {
        for (key, value) in other.0.iter() {
            self.insert(key.clone(), value.clone());
        }
    }

    /// Whether both have the same port, or the same item of a set: of such there is only one. Scalars
    /// never overlap.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.iter().any(|(key, mine)| match (mine, other.0.get(key)) {
            (Value::Ranges(mine), Some(Value::Ranges(theirs))) => {
                let mut rest = mine.clone();
                rest.subtract(theirs);
                rest != *mine
            }
            (Value::Set(mine), Some(Value::Set(theirs))) => !mine.is_disjoint(theirs),
            (Value::Scalar(_) | Value::Ranges(_) | Value::Set(_), _) => false,
        })
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }

    /// Whether all of `other` is in this.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(key, value)| self.holds(key, value))
    }

    fn holds(&self, key: &Key, value: &Value) -> bool {
        let divides = || key.kind.is_divisible();
        self.0.get(key).is_some_and(|mine| mine == value || divides() && mine.contains(value))
    }

    /// Whether there is any of `key`.
    pub fn has(&self, key: &Key) -> bool {
        self.0.get(key).is_some()
    }

    /// Whether `wanted` can be used of this: of what is shared, any number of times.
    pub fn check_holds(&self, wanted: &Self) -> Result<(), Shortage> {
        let is_there =
            |key: &Key, value| self.holds(key, value) || key.kind.is_shared && self.has(key);
        match wanted.0.iter().find(|(key, value)| !is_there(key, value)) {
            Some((key, value)) => Err(self.shortage(key, value)),
            None => Ok(()),
        }
    }

    /// What can be used of this when `used` is in use already. What is shared stays there.
    #[must_use]
    pub fn unused(&self, used: &Self) -> Self {
        self.minus(&used.exclusive())
    }

    /// Takes `wanted` out, all of it or, on a shortage, nothing.
    pub fn take(&mut self, wanted: &Self) -> Result<(), Shortage> {
        if let Some((key, value)) = wanted.0.iter().find(|(key, value)| !self.holds(key, value)) {
            return Err(self.shortage(key, value));
        }
        self.subtract(wanted);
        Ok(())
    }

    fn shortage(&self, key: &Key, wanted: &Value) -> Shortage {
        let left = self.0.get(key);
        Shortage {
            name: key.name.clone(),
            wanted: wanted.to_string(),
            left: left.map_or_else(|| "nothing".to_owned(), ToString::to_string),
        }
    }

    /// Takes out what there is of `other`. For books that may have changed on the other side: of what
    /// comes whole, such as a volume, nothing is left even if it was of another size there.
    pub fn subtract(&mut self, other: &Self) {
        for (key, value) in other.0.iter() {
            if let Some(mine) = self.0.get_mut(key) {
                mine.subtract(value);
                if mine.is_nothing() || !key.kind.is_divisible() {
                    self.0.remove(key);
                }
            }
        }
    }

    /// What is left of this without `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    /// Those that `keep` says yes to.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&Key, &Value) -> bool) -> Self {
        Self(self.0.filtered(keep))
    }

    /// The same amounts, of kinds that `change` has changed.
    #[must_use]
    pub fn with_kinds(&self, mut change: impl FnMut(&mut Kind)) -> Self {
        let changed = self.0.iter().map(|(key, value)| {
            let mut kind = (*key.kind).clone();
            change(&mut kind);
            (Key { name: key.name.clone(), kind: Arc::new(kind) }, value.clone())
        });
        changed.collect()
    }

    /// Those of which there is one, which several use: shared volumes.
    #[must_use]
    pub fn shared(&self) -> Self {
        self.filtered(|key, _| key.kind.is_shared)
    }

    /// Those that only one can use.
    #[must_use]
    pub fn exclusive(&self) -> Self {
        self.filtered(|key, _| !key.kind.is_shared)
    }

    /// The scalar total of `name` over all kinds.
    pub fn scalar(&self, name: &str) -> Milli {
        let mut sum = Milli::ZERO;
        for (key, value) in self.0.iter() {
            if let Value::Scalar(amount) = value
                && &*key.name == name
            {
                sum += *amount;
            }
        }
        sum
    }

    /// The scalar totals by name, over all kinds.
    pub fn scalar_totals(&self) -> BTreeMap<Arc<str>, Milli> {
        let mut totals = BTreeMap::new();
        for (key, value) in self.0.iter() {
            if let Value::Scalar(amount) = value {
                *totals.entry(key.name.clone()).or_insert(Milli::ZERO) += *amount;
            }
        }
        totals
    }

    /// The ranges of `name` over all kinds.
    pub fn ranges(&self, name: &str) -> Ranges {
        let mut sum = Ranges::default();
        for (key, value) in self.0.iter() {
            if let Value::Ranges(ranges) = value
                && &*key.name == name
            {
                sum.add(ranges);
            }
        }
        sum
    }

    /// Reads the flag form: `cpus:4;mem:1024;disk(role):100;ports:[1-10, 20-30];bugs:{a,b}`.
    ///
    /// Resources without a role in brackets are of `default_role`.
    pub fn parse(text: &str, default_role: &Role) -> Result<Self, BadResources> {
        let mut all = Self::default();
        let mut types = BTreeMap::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let bad = |why: &str| BadResources::Form { part: part.to_owned(), why: why.to_owned() };
            let (name, value) = part.split_once(':').ok_or_else(|| bad("expected name:value"))?;
            let (name, role) = match name.trim().split_once('(') {
                None => (name.trim(), default_role.clone()),
                Some((name, role)) => {
                    let role = role.strip_suffix(')').ok_or_else(|| bad("the bracket is open"))?;
                    (name.trim(), Role::new(role.trim())?)
                }
            };
            check_id(name)?;
            let value = parse_value(value.trim()).map_err(bad)?;
            if value.is_nothing() && !matches!(value, Value::Scalar(Milli(0))) {
                return Err(bad("the value must not be negative"));
            }
            let type_of = types.entry(name).or_insert(discriminant(&value));
            if *type_of != discriminant(&value) {
                return Err(bad("resources of one name cannot be of different types"));
            }
            all.insert(Key { name: name.into(), kind: Arc::new(Kind::of_role(&role)) }, value);
        }
        Ok(all)
    }
}

/// The key of an unreserved resource without anything special.
pub fn unreserved(name: &str) -> Key {
    Key { name: name.into(), kind: Arc::new(Kind::default()) }
}

/// Reads one value: a number, `[1-10, 20-30]` or `{a,b}`.
pub fn parse_value(text: &str) -> Result<Value, &'static str> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("the range list is open")?;
        let mut ranges = Vec::new();
        for range in inner.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            let (begin, end) = range.split_once('-').ok_or("a range is written begin-end")?;
            let begin = begin.trim().parse().map_err(|_| "a range begins with a whole number")?;
            let end = end.trim().parse().map_err(|_| "a range ends with a whole number")?;
            if begin > end {
                return Err("a range ends before it begins");
            }
            ranges.push((begin, end));
        }
        return Ok(Value::Ranges(ranges.into_iter().collect()));
    }
    if let Some(inner) = text.strip_prefix('{') {
        let inner = inner.strip_suffix('}').ok_or("the set is open")?;
        let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
        return Ok(Value::Set(items.map(Arc::from).collect()));
    }
    let number: f64 = text.parse().map_err(|_| "expected a number, [ranges] or {a set}")?;
    Milli::from_f64(number).map(Value::Scalar).ok_or("the number is out of range")
}

impl FromIterator<(Key, Value)> for Resources {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(all: I) -> Self {
        let mut sum = Self::default();
        for (key, value) in all {
            sum.insert(key, value);
        }
        sum
    }
}

impl fmt::Display for Resources {
    /// The form of Mesos logs: `cpus:0.1; mem:32; ports:[31000-31000]`, roles in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{}", key.name)?;
            if let Some(role) = key.kind.reserved_for() {
                write!(f, "({role})")?;
            }
            write!(f, ":{value}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first resource of which less is left than wanted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{name}:{wanted} is more than available {name}:{left}")]
#[expect(missing_docs, reason = "the message says what each field is")]
pub struct Shortage {
    pub name: Arc<str>,
    pub wanted: String,
    pub left: String,
}

/// Why a resource text cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadResources {
    /// It has not the form it should have.
    #[error("resource '{part}': {why}")]
    Form {
        /// The part between two semicolons.
        part: String,
        /// What is wrong.
        why: String,
    },
    /// A name that cannot be.
    #[error("resource name: {0}")]
    Name(#[from] BadId),
    /// A role that cannot be.
    #[error(transparent)]
    Role(#[from] BadRole),
}

/// What operators say of an agent: `rack:r1;level:10;ports:[1-5]`. Names may repeat.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes(pub Vec<(Arc<str>, AttributeValue)>);

/// The value of an attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AttributeValue {
    /// A number.
    Scalar(Milli),
    /// Ranges of numbers.
    Ranges(Ranges),
    /// Any other text.
    Text(Arc<str>),
}

impl Attributes {
    /// Reads the flag form: `name:value` parts with semicolons between them.
    pub fn parse(text: &str) -> Result<Self, BadResources> {
        let mut all = Vec::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let bad = |why: &str| BadResources::Form { part: part.to_owned(), why: why.to_owned() };
            let (name, value) = part.split_once(':').ok_or_else(|| bad("expected name:value"))?;
            let (name, value) = (name.trim(), value.trim());
            check_id(name)?;
            let value = match parse_value(value) {
                Ok(Value::Scalar(amount)) => AttributeValue::Scalar(amount),
                Ok(Value::Ranges(ranges)) => AttributeValue::Ranges(ranges),
                Ok(Value::Set(_)) => return Err(bad("sets are not supported for attributes")),
                Err(_) => AttributeValue::Text(value.into()),
            };
            all.push((name.into(), value));
        }
        Ok(Self(all))
    }

    /// The first value under `name`.
    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.0.iter().find(|(have, _)| &**have == name).map(|(_, value)| value)
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(amount) => write!(f, "{amount}"),
            Self::Ranges(ranges) => write!(f, "{ranges}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Persistence;
    use crate::ids::PersistenceId;

    fn parse(text: &str) -> Resources {
        Resources::parse(text, &Role::any()).expect("well formed")
    }

    #[test]
    fn a_copy_and_what_it_was_made_of_change_apart() {
        let all = parse("cpus:4;mem:512");
        let mut rest = all.clone();
        rest.subtract(&parse("cpus:1;mem:512"));
        assert_eq!((rest, all.clone()), (parse("cpus:3"), parse("cpus:4;mem:512")));
        let mut nothing = all.clone();
        nothing.subtract(&all);
        assert_eq!(nothing, Resources::none());
        assert_eq!(all.filtered(|key, _| &*key.name == "mem"), parse("mem:512"));
        assert_eq!(all.filtered(|_, _| false), Resources::none());
    }

    #[test]
    fn only_ports_and_items_of_sets_overlap() {
        let all = |text: &str| Resources::parse(text, &Role::any()).expect("resources");
        let one = all("cpus:1;ports:[80-82, 90-90];names:{a,b}");
        for (other, overlaps) in [
            ("cpus:1", false),
            ("ports:[70-79, 83-89]", false),
            ("ports:[82-85]", true),
            ("ports:[1-100]", true),
            ("names:{c}", false),
            ("cpus:1;names:{b,c}", true),
            ("ports(web):[80-82]", false),
        ] {
            assert_eq!(one.overlaps(&all(other)), overlaps, "{other}");
            assert_eq!(all(other).overlaps(&one), overlaps, "{other} the other way");
        }
    }

    #[test]
    fn the_flag_form_reads_and_writes() {
        let all =
            parse("cpus:4;mem:1024.5;disk(web):100;ports:[31000-31002, 31005-31005];bugs:{b,a}");
        assert_eq!(
            all.to_string(),
            "bugs:{a, b}; cpus:4; disk(web):100; mem:1024.5; ports:[31000-31002, 31005-31005]"
        );
        for bad in ["cpus", "cpus:x y", "ports:[5-1]", "ports:[1-2", "a/b:1", "disk(:1", "cpus:-1"]
        {
            assert!(Resources::parse(bad, &Role::any()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_of_one_type_in_all_roles() {
        for bad in ["cpus:1;cpus:[1-2]", "cpus(web):{a};cpus:1", "x:0;x:{a}"] {
            let refused = Resources::parse(bad, &Role::any()).expect_err(bad);
            assert!(refused.to_string().contains("of different types"), "{refused}");
        }
    }

    #[test]
    fn a_shortage_takes_nothing_and_says_what_is_short() {
        let mut free = parse("cpus:1;mem:512;ports:[1-5]");
        let shortage = free.take(&parse("cpus:0.5;mem:513")).expect_err("one MiB too much");
        assert_eq!(shortage.to_string(), "mem:513 is more than available mem:512");
        assert_eq!(free, parse("cpus:1;mem:512;ports:[1-5]"));
        free.take(&parse("cpus:1;ports:[2-3]")).expect("fits");
        assert_eq!(free, parse("mem:512;ports:[1-1,4-5]"));
        free.add(&parse("cpus:1;ports:[2-3]"));
        assert_eq!(free, parse("cpus:1;mem:512;ports:[1-5]"));
    }

    #[test]
    fn kinds_do_not_add_up() {
        let mut free = parse("cpus:1;cpus(web):1");
        assert!(free.take(&parse("cpus:2")).is_err());
        assert_eq!(free.scalar("cpus"), Milli::units(2));
        let web = Role::new("web").expect("a role");
        let open = free.filtered(|key, _| key.kind.is_offerable_to(&Role::any()));
        assert_eq!(open, parse("cpus:1"));
        assert_eq!(free.filtered(|key, _| key.kind.is_offerable_to(&web)), free);
    }

    #[test]
    fn no_part_of_a_volume_is_left() {
        let volume = |text: &str| {
            parse(text).with_kinds(|kind| {
                let id = PersistenceId::new("v").expect("an id");
                let persistence = Some(Persistence { id, principal: None });
                kind.disk = Some(Disk { persistence, volume: None, source: None });
            })
        };
        let mut total = volume("disk:32");
        total.add(&parse("cpus:1"));
        assert!(!total.contains(&volume("disk:28")));
        // Somebody uses it and has not heard that it is not smaller now.
        assert_eq!(total.unused(&volume("disk:28")), parse("cpus:1"));
        assert_eq!(total.minus(&volume("disk:32")), parse("cpus:1"));
    }

    #[test]
    fn attributes_keep_their_order_and_kind() {
        let all = Attributes::parse("rack:r1;level:10;span:[1-3]").expect("well formed");
        assert_eq!(all.get("rack"), Some(&AttributeValue::Text("r1".into())));
        assert_eq!(all.get("level"), Some(&AttributeValue::Scalar(Milli::units(10))));
        assert_eq!(all.get("none"), None);
        assert!(Attributes::parse("rack").is_err());
    }
}
