//! What a framework says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::amount::Milli;
use model::framework::{Capabilities, Framework};
use model::ids::FrameworkId;
use model::payload::Payload;
use model::role::{Role, in_braces};

use super::{Malformed, payload, unpack, unpack_own};
use crate::mesos::v1::framework_info::Capability;
use crate::mesos::v1::framework_info::capability::Type;
use crate::mesos::v1::offer_filters::ResourceQuantities;
use crate::mesos::v1::{FrameworkInfo, OfferFilters};

/// Reads what a framework says of itself. What is wrong with it is told by an ERROR event.
pub fn from_wire(mut info: FrameworkInfo) -> Result<Framework, Malformed> {
    let capabilities = capabilities_from_wire(&info.capabilities);
    let roles = roles_from_wire(&info, capabilities)?;
    // An empty id is none: some clients always send one. It is told beside the rest, so that who comes back
    // with it is not taken for changed.
    let id = info.id.take().filter(|id| !id.value.is_empty());
    let id = id
        .as_ref()
        .map(FrameworkId::try_from)
        .transpose()
        .map_err(|why| Malformed(format!("Invalid 'FrameworkInfo.id': {why}")))?;
    check_offer_filters(&info)?;
    Ok(Framework {
        id,
        name: info.name.as_str().into(),
        user: info.user.as_str().into(),
        roles,
        capabilities,
        min_allocatable: min_allocatable(&info),
        failover_timeout: failover_timeout(info.failover_timeout())?,
        checkpoint: info.checkpoint(),
        principal: info.principal.as_deref().map(Arc::from),
        info: payload(&info),
    })
}

/// As [`from_wire`], of an encoded message.
pub fn from_payload(info: &Payload) -> Result<Framework, Malformed> {
    from_wire(unpack(info)?)
}

/// All that is known of a framework, in the wire's form. Its id and its principal may have become known
/// only after it has described itself; user and checkpoint stay as they were, whatever it says later.
pub fn to_wire(framework: &Framework) -> FrameworkInfo {
    let mut info: FrameworkInfo = unpack_own(&framework.info);
    if let Some(id) = &framework.id {
        info.id = Some(id.into());
    }
    info.user = framework.user.to_string();
    if info.checkpoint() != framework.checkpoint {
        info.checkpoint = Some(framework.checkpoint);
    }
    info.principal = framework.principal.as_deref().map(str::to_owned);
    info
}

/// As [`to_wire`], encoded.
pub fn to_payload(framework: &Framework) -> Payload {
    payload(&to_wire(framework))
}

fn capabilities_from_wire(list: &[Capability]) -> Capabilities {
    let mut all = Capabilities::default();
    for capability in list {
        match capability.r#type() {
            Type::RevocableResources => all.revocable_resources = true,
            Type::TaskKillingState => all.task_killing_state = true,
            Type::GpuResources => all.gpu_resources = true,
            Type::SharedResources => all.shared_resources = true,
            Type::PartitionAware => all.partition_aware = true,
            Type::MultiRole => all.multi_role = true,
            Type::ReservationRefinement => all.reservation_refinement = true,
            Type::RegionAware => all.region_aware = true,
            Type::Unknown => {}
        }
    }
    all
}

fn roles_from_wire(
    info: &FrameworkInfo,
    capabilities: Capabilities,
) -> Result<BTreeSet<Role>, Malformed> {
    let role = |text: &str| {
        Role::new(text).map_err(|why| Malformed(format!("'{text}' is not a valid role: {why}")))
    };
    if !capabilities.multi_role {
        if !info.roles.is_empty() {
            let text = "'FrameworkInfo.roles' must not be set when the framework is not \
                        MULTI_ROLE capable";
            return Err(Malformed::new(text));
        }
        return Ok([role(info.role())?].into());
    }
    if info.role.is_some() {
        let text = "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable";
        return Err(Malformed::new(text));
    }
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<_> = info.roles.iter().filter(|role| !seen.insert(*role)).collect();
    if !twice.is_empty() {
        return Err(Malformed(format!(
            "'FrameworkInfo.roles' contains duplicate items: {}",
            in_braces(twice)
        )));
    }
    info.roles.iter().map(|text| role(text)).collect()
}

fn failover_timeout(secs: f64) -> Result<Duration, Malformed> {
    // Longer ones overflow the nanoseconds that other masters count in.
    if !secs.is_finite() || secs.abs() > 9.2e9 {
        return Err(Malformed(format!(
            "The framework's 'failover_timeout' ({secs}) is not a valid duration"
        )));
    }
    Ok(Duration::try_from_secs_f64(secs.max(0.0)).expect("in range"))
}

/// The least that is worth an offer, by role. What is no role has no offers anyway.
fn min_allocatable(info: &FrameworkInfo) -> BTreeMap<Role, Vec<BTreeMap<Arc<str>, Milli>>> {
    let amounts = |quantities: &ResourceQuantities| {
        let all = quantities.quantities.iter();
        all.filter_map(|(name, scalar)| {
            Some((name.as_str().into(), Milli::from_f64(scalar.value)?))
        })
        .collect()
    };
    let of_role = |(role, filters): (&String, &OfferFilters)| {
        let minimum = filters.min_allocatable_resources.as_ref()?;
        let sets = minimum.quantities.iter().map(amounts).collect();
        Some((Role::new(role.as_str()).ok()?, sets))
    };
    info.offer_filters.iter().filter_map(of_role).collect()
}

fn check_offer_filters(info: &FrameworkInfo) -> Result<(), Malformed> {
    for (role, filters) in &info.offer_filters {
        let invalid = |why: &str| {
            Err(Malformed(format!(
                "Invalid 'FrameworkInfo.offer_filters' for role '{role}': {why}"
            )))
        };
        let Some(minimum) = &filters.min_allocatable_resources else { continue };
        for quantities in &minimum.quantities {
            if quantities.quantities.is_empty() {
                return invalid("resource quantities must not be empty");
            }
            let is_amount = |value: f64| value == 0.0 || value.is_normal() && value > 0.0;
            if !quantities.quantities.values().all(|scalar| is_amount(scalar.value)) {
                return invalid("resource quantities must be finite and not negative");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> FrameworkInfo {
        FrameworkInfo { user: "u".into(), name: "n".into(), ..FrameworkInfo::default() }
    }

    fn multi_role(roles: &[&str]) -> FrameworkInfo {
        let capability = Capability { r#type: Some(Type::MultiRole.into()) };
        FrameworkInfo {
            capabilities: vec![capability],
            roles: roles.iter().map(ToString::to_string).collect(),
            ..info()
        }
    }

    fn refusal(info: FrameworkInfo) -> String {
        from_wire(info).expect_err("not well formed").0
    }

    #[test]
    fn a_framework_without_roles_is_in_the_one_of_everybody() {
        let framework = from_wire(info()).expect("well formed");
        assert_eq!(framework.roles, [Role::any()].into());
        assert_eq!(framework.failover_timeout, Duration::ZERO);
        let none = from_wire(multi_role(&[])).expect("well formed");
        assert_eq!(none.roles, BTreeSet::new(), "one of many roles may have none yet");
    }

    #[test]
    fn an_empty_id_is_none() {
        let id = crate::mesos::v1::FrameworkId { value: String::new() };
        let framework = from_wire(FrameworkInfo { id: Some(id), ..info() }).expect("well formed");
        assert_eq!(framework.id, None);
        assert_eq!(to_wire(&framework), info());
    }

    #[test]
    fn the_id_is_written_once_it_is_known() {
        let mut framework = from_wire(info()).expect("well formed");
        framework.id = Some(FrameworkId::new("f-0000").expect("an id"));
        let wire = to_wire(&framework);
        assert_eq!(wire.id.as_ref().map(|id| id.value.as_str()), Some("f-0000"));
        let back = from_payload(&to_payload(&framework)).expect("well formed");
        assert_eq!(back.id, framework.id);
    }

    #[test]
    fn who_says_its_id_is_no_other_than_before() {
        let id = crate::mesos::v1::FrameworkId { value: "f-0000".to_owned() };
        let again = FrameworkInfo { id: Some(id), ..info() };
        let known = from_wire(again.clone()).expect("well formed");
        let before = Framework { id: known.id.clone(), ..from_wire(info()).expect("well formed") };
        assert_eq!(known, before);
        assert_eq!(to_wire(&known), again);
    }

    #[test]
    fn user_and_checkpoint_are_those_that_are_known() {
        let framework = from_wire(info()).expect("well formed");
        let kept = Framework { user: "other".into(), checkpoint: true, ..framework };
        let wire = to_wire(&kept);
        assert_eq!((wire.user.as_str(), wire.checkpoint()), ("other", true));
        let back = from_payload(&to_payload(&kept)).expect("well formed");
        assert_eq!((back.user, back.checkpoint), (kept.user, true));
    }

    #[test]
    fn what_cannot_be_is_refused_in_known_words() {
        assert_eq!(
            refusal(FrameworkInfo { role: Some("web".into()), ..multi_role(&[]) }),
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
        );
        assert_eq!(
            refusal(FrameworkInfo { roles: vec!["web".into()], ..info() }),
            "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
        );
        assert_eq!(
            refusal(multi_role(&["a", "b", "c/", "b", "a"])),
            "'FrameworkInfo.roles' contains duplicate items: { a, b }"
        );
        assert!(refusal(multi_role(&["a/"])).starts_with("'a/' is not a valid role: "));
        assert!(
            refusal(FrameworkInfo { failover_timeout: Some(f64::NAN), ..info() })
                .contains("failover_timeout")
        );
    }
}
