//! Offer constraints.

use model::constraints::{Constraint, Constraints, Predicate, Selector};
use model::role::Role;

use super::Malformed;
use crate::mesos::v1::scheduler::attribute_constraint::selector::PseudoattributeType;
use crate::mesos::v1::scheduler::attribute_constraint::{self as wire, predicate};
use crate::mesos::v1::scheduler::offer_constraints::{RoleConstraints, role_constraints::Group};
use crate::mesos::v1::scheduler::{AttributeConstraint, OfferConstraints};

/// Reads the constraints of a framework.
pub fn from_wire(constraints: &OfferConstraints) -> Result<Constraints, Malformed> {
    let one = |(role, constraints): (&String, &RoleConstraints)| {
        let role = Role::new(role.as_str()).map_err(|bad| Malformed(bad.to_string()))?;
        let group = |group: &Group| group.attribute_constraints.iter().map(constraint).collect();
        let groups = constraints.groups.iter().map(group).collect::<Result<Vec<_>, _>>()?;
        Ok((role, groups))
    };
    constraints.role_constraints.iter().map(one).collect()
}

fn constraint(wire: &AttributeConstraint) -> Result<Constraint, Malformed> {
    let selector = &wire.selector;
    let selector = match (selector.pseudoattribute_type, &selector.attribute_name) {
        (None, Some(name)) => Selector::Attribute(name.as_str().into()),
        (Some(kind), None) => match PseudoattributeType::try_from(kind) {
            Ok(PseudoattributeType::Hostname) => Selector::Hostname,
            Ok(PseudoattributeType::Region) => Selector::Region,
            Ok(PseudoattributeType::Zone) => Selector::Zone,
            Ok(PseudoattributeType::Unknown) | Err(_) => {
                return Err(Malformed::new("Unknown pseudoattribute type"));
            }
        },
        (None, None) | (Some(_), Some(_)) => {
            return Err(Malformed::new(
                "Exactly one of 'AttributeConstraint::Selector' must be set",
            ));
        }
    };
    Ok(Constraint { selector, predicate: predicate_from_wire(&wire.predicate)? })
}

fn predicate_from_wire(wire: &wire::Predicate) -> Result<Predicate, Malformed> {
    let set = [
        wire.exists.as_ref().map(|_| Predicate::Exists),
        wire.not_exists.as_ref().map(|_| Predicate::NotExists),
        wire.text_equals.as_ref().map(|it| Predicate::TextEquals(it.value.as_str().into())),
        wire.text_not_equals.as_ref().map(|it| Predicate::TextNotEquals(it.value.as_str().into())),
        wire.text_matches.as_ref().map(|it| Predicate::TextMatches(it.regex.as_str().into())),
        wire.text_not_matches
            .as_ref()
            .map(|it| Predicate::TextNotMatches(it.regex.as_str().into())),
    ];
    let mut set = set.into_iter().flatten();
    match (set.next(), set.next()) {
        (Some(predicate), None) => Ok(predicate),
        _ => Err(Malformed::new("Exactly one of 'AttributeConstraint::Predicate' must be set")),
    }
}

/// Writes the constraints of a framework.
pub fn to_wire(constraints: &Constraints) -> OfferConstraints {
    let group = |group: &Vec<Constraint>| Group {
        attribute_constraints: group.iter().map(constraint_to_wire).collect(),
    };
    let one = |(role, groups): (&Role, &Vec<Vec<Constraint>>)| {
        (role.to_string(), RoleConstraints { groups: groups.iter().map(group).collect() })
    };
    OfferConstraints { role_constraints: constraints.iter().map(one).collect() }
}

fn constraint_to_wire(constraint: &Constraint) -> AttributeConstraint {
    let pseudo = |kind: PseudoattributeType| wire::Selector {
        pseudoattribute_type: Some(kind.into()),
        attribute_name: None,
    };
    let selector = match &constraint.selector {
        Selector::Attribute(name) => {
            wire::Selector { pseudoattribute_type: None, attribute_name: Some(name.to_string()) }
        }
        Selector::Hostname => pseudo(PseudoattributeType::Hostname),
        Selector::Region => pseudo(PseudoattributeType::Region),
        Selector::Zone => pseudo(PseudoattributeType::Zone),
    };
    let mut predicate = wire::Predicate::default();
    match &constraint.predicate {
        Predicate::Exists => predicate.exists = Some(predicate::Exists {}),
        Predicate::NotExists => predicate.not_exists = Some(predicate::NotExists {}),
        Predicate::TextEquals(text) => {
            predicate.text_equals = Some(predicate::TextEquals { value: text.to_string() });
        }
        Predicate::TextNotEquals(text) => {
            predicate.text_not_equals = Some(predicate::TextNotEquals { value: text.to_string() });
        }
        Predicate::TextMatches(regex) => {
            predicate.text_matches = Some(predicate::TextMatches { regex: regex.to_string() });
        }
        Predicate::TextNotMatches(regex) => {
            let regex = regex.to_string();
            predicate.text_not_matches = Some(predicate::TextNotMatches { regex });
        }
    }
    AttributeConstraint { selector, predicate }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(constraint: &str) -> Result<Constraints, Malformed> {
        let all = format!(
            r#"{{"role_constraints": {{"web": {{"groups": [{{"attribute_constraints": [{constraint}]}}]}}}}}}"#
        );
        from_wire(&crate::json::from_slice(all.as_bytes()).expect("well formed"))
    }

    #[test]
    fn every_kind_of_constraint_survives() {
        for selector in [
            r#"{"attribute_name": "rack"}"#,
            r#"{"pseudoattribute_type": "HOSTNAME"}"#,
            r#"{"pseudoattribute_type": "REGION"}"#,
            r#"{"pseudoattribute_type": "ZONE"}"#,
        ] {
            for predicate in [
                r#"{"exists": {}}"#,
                r#"{"not_exists": {}}"#,
                r#"{"text_equals": {"value": "a"}}"#,
                r#"{"text_not_equals": {"value": "a"}}"#,
                r#"{"text_matches": {"regex": "a"}}"#,
                r#"{"text_not_matches": {"regex": "a"}}"#,
            ] {
                let one = format!(r#"{{"selector": {selector}, "predicate": {predicate}}}"#);
                let constraints = read(&one).expect("well formed");
                assert_eq!(from_wire(&to_wire(&constraints)), Ok(constraints), "{one}");
            }
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for bad in [
            r#"{"selector": {}, "predicate": {"exists": {}}}"#,
            r#"{"selector": {"attribute_name": "a"}, "predicate": {}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
