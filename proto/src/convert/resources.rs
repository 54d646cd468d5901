//! Resources and attributes.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::amount::{Milli, Ranges};
use model::payload::Payload;
use model::resources::{AttributeValue, Attributes, Key, Kind, Reservation, Resources, Value};
use model::role::Role;

use super::{Malformed, disk, payload, unpack_own};
use crate::mesos::v1::resource::reservation_info::Type as ReservationType;
use crate::mesos::v1::resource::{AllocationInfo, ReservationInfo, RevocableInfo, SharedInfo};
use crate::mesos::v1::value::{self, Type};
use crate::mesos::v1::{self, Resource};

/// The largest amount of one resource in one message, in units: ten thousand times the memory of
/// the largest clusters in MiB, and still so small that thousands of them add up without overflow.
const AMOUNT_MAX: Milli = Milli::units(1_000_000_000_000);

/// How reservations are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `role` and `reservation`, for frameworks without RESERVATION_REFINEMENT. Where a resource
    /// has more reservations than one, which these are never to see, it is written as a stack.
    Old,
    /// `reservations`, for frameworks with it.
    Stack,
    /// Both where both can say it, for endpoints.
    Both,
}

/// Reads resources in either form. Those of which there is nothing are left out.
///
/// For whom they are allocated is not kept: the master knows it better.
pub fn from_wire(list: &[Resource]) -> Result<Resources, Malformed> {
    let mut all = Resources::none();
    for resource in list {
        let (key, value) = one_from_wire(resource)?;
        if let Value::Scalar(amount) = &value
            && all.scalar(&key.name) + *amount > AMOUNT_MAX
        {
            return Err(Malformed::new("Invalid scalar resource: value is out of range"));
        }
        let volume = key.kind.disk.as_ref().and_then(|disk| disk.persistence.as_ref());
        if let Some(volume) = volume
            && all.iter().any(|(have, _)| *have == key)
        {
            return Err(Malformed(format!("Persistence ID '{}' is there twice", volume.id)));
        }
        all.insert(key, value);
    }
    Ok(all)
}

/// The role that resources say they were offered for; absent where none says so. All are of one offer.
pub fn allocated_to<'a>(
    list: impl IntoIterator<Item = &'a Resource>,
) -> Result<Option<Role>, Malformed> {
    let role = |it: &'a Resource| it.allocation_info.as_ref()?.role.as_deref();
    let mut roles = list.into_iter().filter_map(role);
    let Some(first) = roles.next() else { return Ok(None) };
    if let Some(other) = roles.find(|other| *other != first) {
        return Err(Malformed(format!(
            "The resources have multiple allocation roles ('{first}' and '{other}'), and only one is \
             allowed"
        )));
    }
    Role::new(first).map(Some).map_err(|why| Malformed(format!("Invalid allocation role: {why}")))
}

fn one_from_wire(resource: &Resource) -> Result<(Key, Value), Malformed> {
    if resource.name.is_empty() {
        return Err(Malformed::new("Empty resource name"));
    }
    let value = value_from_wire(resource)?;
    if resource.name == "gpus"
        && let Value::Scalar(Milli(amount)) = &value
        && amount % 1_000 != 0
    {
        return Err(Malformed::new("Invalid scalar resource: 'gpus' must be a whole number"));
    }
    if resource.disk.is_some() && resource.name != "disk" {
        let text = format!("DiskInfo should not be set for {} resource", resource.name);
        return Err(Malformed(text));
    }
    let kind = Kind {
        reservations: reservations_from_wire(resource)?,
        disk: resource.disk.as_deref().map(disk::from_wire).transpose()?,
        provider: resource.provider_id.as_ref().map(payload),
        is_revocable: resource.revocable.is_some(),
        is_shared: resource.shared.is_some(),
    };
    Ok((Key { name: resource.name.as_str().into(), kind: Arc::new(kind) }, value))
}

fn value_from_wire(resource: &Resource) -> Result<Value, Malformed> {
    let invalid = |what: &str| Err(Malformed(format!("Invalid {what}")));
    match Type::try_from(resource.r#type) {
        Ok(Type::Scalar) => match &resource.scalar {
            None => invalid("scalar resource: value is missing"),
            // What is told to be nothing is taken for that: clients write `gpus:0`.
            Some(scalar) => match Milli::from_f64(scalar.value) {
                Some(amount) if amount <= Milli::ZERO && scalar.value != 0.0 => {
                    invalid("scalar resource: value <= 0")
                }
                Some(amount) if amount <= AMOUNT_MAX => Ok(Value::Scalar(amount)),
                Some(_) | None => invalid("scalar resource: value is out of range"),
            },
        },
        Ok(Type::Ranges) => match &resource.ranges {
            None => invalid("ranges resource: value is missing"),
            Some(ranges) => ranges_from_wire(ranges).map(Value::Ranges),
        },
        Ok(Type::Set) => match &resource.set {
            None => invalid("set resource: value is missing"),
            Some(set) => {
                let items: BTreeSet<Arc<str>> =
                    set.item.iter().map(|item| item.as_str().into()).collect();
                if items.len() < set.item.len() {
                    return invalid("set resource: duplicated elements");
                }
                Ok(Value::Set(items))
            }
        },
        Ok(Type::Text) | Err(_) => Err(Malformed::new("Unsupported resource type")),
    }
}

fn ranges_from_wire(ranges: &value::Ranges) -> Result<Ranges, Malformed> {
    let mut given: Vec<_> = ranges.range.iter().map(|range| (range.begin, range.end)).collect();
    if given.iter().any(|(begin, end)| begin > end) {
        return Err(Malformed::new("Invalid ranges resource: begin > end"));
    }
    given.sort_unstable();
    if given.windows(2).any(|pair| pair[0].1 >= pair[1].0) {
        return Err(Malformed::new("Invalid ranges resource: overlapping ranges"));
    }
    Ok(given.into_iter().collect())
}

fn reservations_from_wire(resource: &Resource) -> Result<Vec<Reservation>, Malformed> {
    if !resource.reservations.is_empty() {
        let stack = stack_from_wire(&resource.reservations)?;
        agreeing(resource, &stack)?;
        return Ok(stack);
    }
    let role = resource.role.as_deref().unwrap_or("*");
    let role = Role::new(role).map_err(|why| Malformed(format!("Invalid role: {why}")))?;
    match (&resource.reservation, role.is_any()) {
        (None, true) => Ok(Vec::new()),
        (Some(_), true) => {
            Err(Malformed::new("Invalid reservation: role \"*\" cannot be reserved"))
        }
        (None, false) => Ok(Kind::of_role(&role).reservations),
        (Some(ReservationInfo { role: Some(other), .. }), false) if role.as_str() != other => {
            Err(Malformed(format!(
                "Invalid reservation: it is for role '{other}', and the resource for role '{role}'"
            )))
        }
        (Some(info), false) => Ok(vec![reservation(info, true, role)]),
    }
}

/// Refuses a resource that says in the old way, beside its `reservations`, something else than they do.
/// Whoever copies a resource that we wrote says the same in both.
fn agreeing(resource: &Resource, stack: &[Reservation]) -> Result<(), Malformed> {
    let Some(top) = stack.last() else { return Ok(()) };
    if let Some(role) = resource.role.as_deref().filter(|role| *role != top.role.as_str()) {
        return Err(Malformed(format!(
            "Invalid resource: 'role' is '{role}', and 'reservations' are for role '{}'; give only \
             'reservations'",
            top.role
        )));
    }
    let old = resource.reservation.as_ref();
    if old.is_some_and(|info| reservation(info, true, top.role.clone()) != *top) {
        return Err(Malformed::new(
            "Invalid resource: 'reservation' says something else than 'reservations'; give only \
             'reservations'",
        ));
    }
    Ok(())
}

fn stack_from_wire(stack: &[ReservationInfo]) -> Result<Vec<Reservation>, Malformed> {
    let invalid = |why: String| Malformed(format!("Invalid reservation: {why}"));
    let mut reservations: Vec<Reservation> = Vec::with_capacity(stack.len());
    for info in stack {
        let is_dynamic = match info.r#type.map(ReservationType::try_from) {
            Some(Ok(ReservationType::Static)) => false,
            Some(Ok(ReservationType::Dynamic)) => true,
            Some(Ok(ReservationType::Unknown) | Err(_)) | None => {
                return Err(invalid("'type' is missing".to_owned()));
            }
        };
        let Some(role) = &info.role else {
            return Err(invalid("'role' is missing".to_owned()));
        };
        let role = Role::new(role.as_str()).map_err(|why| invalid(why.to_string()))?;
        if role.is_any() {
            return Err(invalid("role \"*\" cannot be reserved".to_owned()));
        }
        if let Some(below) = reservations.last() {
            if !role.is_below(&below.role) {
                return Err(invalid(format!("role '{role}' is not below '{}'", below.role)));
            }
            if !is_dynamic {
                return Err(invalid("a refined reservation cannot be STATIC".to_owned()));
            }
        }
        reservations.push(reservation(info, is_dynamic, role));
    }
    Ok(reservations)
}

fn reservation(info: &ReservationInfo, is_dynamic: bool, role: Role) -> Reservation {
    Reservation {
        is_dynamic,
        role,
        principal: info.principal.as_deref().map(Arc::from),
        labels: info.labels.as_ref().map(payload).unwrap_or_default(),
    }
}

/// Writes resources, in order of name. `allocated_to`: the role to name as the one they are for.
pub fn to_wire(resources: &Resources, form: Form, allocated_to: Option<&Role>) -> Vec<Resource> {
    let allocation =
        allocated_to.map(|role| AllocationInfo { role: Some(role.as_str().to_owned()) });
    resources
        .iter()
        .map(|(key, value)| Resource {
            allocation_info: allocation.clone(),
            ..one_to_wire(key, value, form)
        })
        .collect()
}

fn one_to_wire(key: &Key, value: &Value, form: Form) -> Resource {
    let mut resource = Resource {
        name: key.name.to_string(),
        provider_id: key.kind.provider.as_ref().map(unpack_own),
        disk: key.kind.disk.as_ref().map(|disk| disk::to_wire(disk).into()),
        revocable: key.kind.is_revocable.then_some(RevocableInfo {}),
        shared: key.kind.is_shared.then_some(SharedInfo {}),
        ..Resource::default()
    };
    match value {
        Value::Scalar(amount) => {
            resource.set_type(Type::Scalar);
            resource.scalar = Some(value::Scalar { value: amount.as_f64() });
        }
        Value::Ranges(ranges) => {
            resource.set_type(Type::Ranges);
            resource.ranges = Some(ranges_to_wire(ranges));
        }
        Value::Set(items) => {
            resource.set_type(Type::Set);
            resource.set =
                Some(value::Set { item: items.iter().map(ToString::to_string).collect() });
        }
    }
    let stack = &key.kind.reservations;
    if form != Form::Stack && stack.len() <= 1 {
        let role = key.kind.reserved_for().map_or("*", Role::as_str);
        resource.role = Some(role.to_owned());
        resource.reservation =
            stack.first().filter(|reservation| reservation.is_dynamic).map(|reservation| {
                ReservationInfo {
                    principal: reservation.principal.as_deref().map(str::to_owned),
                    labels: labels_of(reservation),
                    ..ReservationInfo::default()
                }
            });
    }
    if form != Form::Old || stack.len() > 1 {
        resource.reservations = stack.iter().map(reservation_to_wire).collect();
    }
    resource
}

fn ranges_to_wire(ranges: &Ranges) -> value::Ranges {
    let range = ranges.iter().map(|(begin, end)| value::Range { begin, end }).collect();
    value::Ranges { range }
}

fn reservation_to_wire(reservation: &Reservation) -> ReservationInfo {
    let kind =
        if reservation.is_dynamic { ReservationType::Dynamic } else { ReservationType::Static };
    ReservationInfo {
        r#type: Some(kind.into()),
        role: Some(reservation.role.as_str().to_owned()),
        principal: reservation.principal.as_deref().map(str::to_owned),
        labels: labels_of(reservation),
    }
}

fn labels_of(reservation: &Reservation) -> Option<v1::Labels> {
    let labels: &Payload = &reservation.labels;
    (!labels.is_empty()).then(|| unpack_own(labels))
}

/// Writes attributes, in their order.
pub fn attributes_to_wire(attributes: &Attributes) -> Vec<v1::Attribute> {
    let one = |(name, value): &(Arc<str>, AttributeValue)| {
        let mut attribute = v1::Attribute { name: name.to_string(), ..v1::Attribute::default() };
        match value {
            AttributeValue::Scalar(amount) => {
                attribute.set_type(Type::Scalar);
                attribute.scalar = Some(value::Scalar { value: amount.as_f64() });
            }
            AttributeValue::Ranges(ranges) => {
                attribute.set_type(Type::Ranges);
                attribute.ranges = Some(ranges_to_wire(ranges));
            }
            AttributeValue::Text(text) => {
                attribute.set_type(Type::Text);
                attribute.text = Some(value::Text { value: text.to_string() });
            }
        }
        attribute
    };
    attributes.0.iter().map(one).collect()
}

/// Reads attributes. Sets, which no attribute is, and what has no value are refused.
pub fn attributes_from_wire(list: &[v1::Attribute]) -> Result<Attributes, Malformed> {
    let one = |attribute: &v1::Attribute| {
        let malformed = || Malformed(format!("Attribute '{}' has no value", attribute.name));
        let value = match Type::try_from(attribute.r#type) {
            Ok(Type::Scalar) => attribute
                .scalar
                .as_ref()
                .and_then(|scalar| Milli::from_f64(scalar.value))
                .map(AttributeValue::Scalar),
            Ok(Type::Ranges) => {
                let ranges = attribute.ranges.as_ref().map(ranges_from_wire).transpose()?;
                ranges.map(AttributeValue::Ranges)
            }
            Ok(Type::Text) => {
                attribute.text.as_ref().map(|text| AttributeValue::Text(text.value.as_str().into()))
            }
            Ok(Type::Set) | Err(_) => None,
        };
        Ok((attribute.name.as_str().into(), value.ok_or_else(malformed)?))
    };
    list.iter().map(one).collect::<Result<_, _>>().map(Attributes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Resources {
        Resources::parse(text, &Role::any()).expect("well formed")
    }

    fn scalar(name: &str, value: f64) -> Resource {
        let scalar = Some(value::Scalar { value });
        Resource { name: name.to_owned(), scalar, ..Resource::default() }
    }

    fn refusal(resource: Resource) -> String {
        from_wire(&[resource]).expect_err("not well formed").0
    }

    fn dynamic(role: &str) -> Reservation {
        Reservation {
            is_dynamic: true,
            role: Role::new(role).expect("a role"),
            principal: Some("ops".into()),
            labels: Payload::default(),
        }
    }

    fn some_resources() -> impl Strategy<Value = Resources> {
        let kind = prop_oneof![
            Just(Vec::new()),
            Just(Kind::of_role(&Role::new("eng").expect("a role")).reservations),
            Just(vec![dynamic("eng")]),
        ];
        let value = prop_oneof![
            (1_i64..1_000_000).prop_map(|amount| Value::Scalar(Milli(amount))),
            prop::collection::vec((0_u64..500, 0_u64..9), 1..5).prop_map(|ranges| {
                Value::Ranges(ranges.into_iter().map(|(at, len)| (at, at + len)).collect())
            }),
            prop::collection::btree_set("[a-c]{1,3}", 1..4)
                .prop_map(|items| Value::Set(items.into_iter().map(Arc::from).collect())),
        ];
        let one = (kind, value, any::<bool>()).prop_map(|(reservations, value, is_revocable)| {
            let name = match value {
                Value::Scalar(_) => "cpus",
                Value::Ranges(_) => "ports",
                Value::Set(_) => "bugs",
            };
            let kind = Kind { reservations, is_revocable, ..Kind::default() };
            (Key { name: name.into(), kind: Arc::new(kind) }, value)
        });
        prop::collection::vec(one, 0..6).prop_map(|all| all.into_iter().collect())
    }

    proptest! {
        #[test]
        fn resources_survive_in_every_form(resources in some_resources()) {
            for form in [Form::Old, Form::Stack, Form::Both] {
                let wire = to_wire(&resources, form, Some(&Role::any()));
                prop_assert_eq!(from_wire(&wire), Ok(resources.clone()), "{:?}", form);
            }
        }
    }

    #[test]
    fn unreserved_resources_say_so_to_old_frameworks_only() {
        let old = &to_wire(&parse("cpus:1"), Form::Old, None)[0];
        assert_eq!((old.role.as_deref(), old.reservations.len()), (Some("*"), 0));
        assert_eq!(old.allocation_info, None);
        let new = &to_wire(&parse("cpus:1"), Form::Stack, Some(&Role::any()))[0];
        assert_eq!(new.role, None);
        assert!(new.allocation_info.is_some());
    }

    #[test]
    fn a_stack_of_reservations_is_kept_in_order() {
        let kind = Kind { reservations: vec![dynamic("a"), dynamic("a/b")], ..Kind::default() };
        let key = Key { name: "cpus".into(), kind: Arc::new(kind) };
        let all = Resources::from_iter([(key, Value::Scalar(Milli::units(1)))]);
        let wire = to_wire(&all, Form::Both, None);
        assert_eq!(wire[0].role, None, "the old form cannot say it");
        assert_eq!(from_wire(&wire), Ok(all));
    }

    #[test]
    fn what_is_said_in_both_ways_must_be_the_same() {
        let both = |role: &str, old: Option<ReservationInfo>, stack: Vec<Reservation>| {
            let kind = Kind { reservations: stack, ..Kind::default() };
            let key = Key { name: "cpus".into(), kind: Arc::new(kind) };
            let all = Resources::from_iter([(key, Value::Scalar(Milli::units(1)))]);
            let mut wire = to_wire(&all, Form::Stack, None);
            wire[0].role = Some(role.to_owned());
            wire[0].reservation = old;
            from_wire(&wire).map(|read| assert_eq!(read, all)).map_err(|why| why.0)
        };
        let of = |principal: &str| {
            Some(ReservationInfo { principal: Some(principal.to_owned()), ..Default::default() })
        };
        let by =
            |principal: &str| Reservation { principal: Some(principal.into()), ..dynamic("a") };
        assert_eq!(both("a", None, vec![by("ops")]), Ok(()));
        assert_eq!(both("a", of("ops"), vec![by("ops")]), Ok(()));
        assert_eq!(both("a/b", None, vec![dynamic("a"), dynamic("a/b")]), Ok(()));
        for role in ["*", "a", "b"] {
            let why = format!(
                "Invalid resource: 'role' is '{role}', and 'reservations' are for role 'a/b'; give \
                 only 'reservations'"
            );
            assert_eq!(both(role, None, vec![dynamic("a"), dynamic("a/b")]), Err(why));
        }
        let fixed = Reservation { is_dynamic: false, ..dynamic("a") };
        let why = "Invalid resource: 'reservation' says something else than 'reservations'; give \
                   only 'reservations'";
        for stack in [by("eve"), fixed] {
            assert_eq!(both("a", of("ops"), vec![stack]), Err(why.to_owned()));
        }
        let role = Some("b".to_owned());
        let reservation = Some(ReservationInfo { role: role.clone(), ..Default::default() });
        assert_eq!(
            refusal(Resource { reservation, role: Some("a".to_owned()), ..scalar("cpus", 1.0) }),
            "Invalid reservation: it is for role 'b', and the resource for role 'a'"
        );
    }

    #[test]
    fn nothing_of_a_resource_is_no_resource() {
        assert_eq!(from_wire(&[scalar("gpus", 0.0)]), Ok(Resources::none()));
    }

    #[test]
    fn what_cannot_be_is_refused_in_known_words() {
        assert_eq!(refusal(scalar("", 1.0)), "Empty resource name");
        for too_little in [-1.0, -0.0001, 0.0001] {
            let why = "Invalid scalar resource: value <= 0";
            assert_eq!(refusal(scalar("cpus", too_little)), why, "{too_little}");
        }
        assert_eq!(
            refusal(scalar("cpus", f64::NAN)),
            "Invalid scalar resource: value is out of range"
        );
        assert_eq!(
            refusal(scalar("gpus", 0.5)),
            "Invalid scalar resource: 'gpus' must be a whole number"
        );
        let disk = Some(Box::default());
        assert_eq!(
            refusal(Resource { disk, ..scalar("cpus", 1.0) }),
            "DiskInfo should not be set for cpus resource"
        );
        let reservation = Some(ReservationInfo::default());
        assert_eq!(
            refusal(Resource { reservation, ..scalar("cpus", 1.0) }),
            "Invalid reservation: role \"*\" cannot be reserved"
        );
        assert_eq!(
            refusal(Resource { r#type: Type::Text.into(), ..scalar("cpus", 1.0) }),
            "Unsupported resource type"
        );
        let ports = |ranges: &[(u64, u64)]| {
            let range = ranges.iter().map(|&(begin, end)| value::Range { begin, end }).collect();
            Resource {
                r#type: Type::Ranges.into(),
                ranges: Some(value::Ranges { range }),
                ..scalar("ports", 1.0)
            }
        };
        assert_eq!(refusal(ports(&[(2, 1)])), "Invalid ranges resource: begin > end");
        assert_eq!(
            refusal(ports(&[(1, 5), (5, 6)])),
            "Invalid ranges resource: overlapping ranges"
        );
        let set = Some(value::Set { item: vec!["a".into(), "a".into()] });
        assert_eq!(
            refusal(Resource { r#type: Type::Set.into(), set, ..scalar("bugs", 1.0) }),
            "Invalid set resource: duplicated elements"
        );
    }

    #[test]
    fn amounts_that_would_overflow_when_added_are_refused() {
        assert!(from_wire(&[scalar("mem", 1e12)]).is_ok());
        assert!(from_wire(&[scalar("mem", 1e12), scalar("mem", 1.0)]).is_err());
    }

    #[test]
    fn attributes_survive() {
        let all = Attributes::parse("rack:r1;level:10;span:[1-3]").expect("well formed");
        assert_eq!(attributes_from_wire(&attributes_to_wire(&all)), Ok(all));
    }
}
