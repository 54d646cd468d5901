//! `linux/capabilities`: how much of root's power there is in a container.

use super::isolator::{Container, Isolator, StepError, refused};
use crate::launcher::{Capabilities, Plan};

/// The isolator.
#[derive(Debug)]
pub(super) struct Granted {
    /// The most that anybody gets, and what root has when nobody asks for less.
    pub(super) bounding: Capabilities,
    /// What a command has, whoever it runs as, when nobody asks. Absent: what goes with its user.
    pub(super) effective: Option<Capabilities>,
}

impl Isolator for Granted {
    fn name(&self) -> &'static str {
        "linux/capabilities"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        let wanted = &container.wanted;
        let bounding = wanted.capabilities_bounding.unwrap_or(self.bounding);
        let bounding =
            bounding.without(wanted.capabilities_dropped).with(wanted.capabilities_added);
        let too_much = bounding.without(self.bounding);
        if !too_much.is_empty() {
            return Err(self.refused(too_much, self.bounding, "this agent"));
        }
        let effective = match wanted.capabilities_effective {
            Some(asked) => Some(asked),
            // The agent's own default bends to a tighter bound that was asked for.
            None => self.effective.map(|usual| usual.both(bounding)),
        };
        let too_much = effective.unwrap_or_default().without(bounding);
        if !too_much.is_empty() {
            return Err(self.refused(too_much, bounding, "this container"));
        }
        plan.capabilities_bounding = Some(bounding);
        plan.capabilities_effective = effective;
        Ok(())
    }
}

impl Granted {
    fn refused(&self, too_much: Capabilities, most: Capabilities, whose: &str) -> StepError {
        let why = format!(
            "the bounding set of {whose} is {most}; more takes another --bounding_capabilities"
        );
        refused(self.name(), &too_much.to_string(), why)
    }
}

#[cfg(test)]
mod tests {
    use model::amount::Ranges;

    use super::super::{Limits, Wanted};
    use super::*;
    use model::ids::ContainerId;

    fn set(names: &str) -> Capabilities {
        Capabilities::parse(names).expect("names")
    }

    fn granted(agent: &Granted, wanted: Wanted) -> Result<Plan, String> {
        let id = ContainerId::new("c").expect("an id");
        let (limits, ports) = (Limits::default(), Ranges::default());
        let container = Container {
            id,
            limits,
            wanted,
            ports,
            layers: None,
            image_volumes: Vec::new(),
            shares_limits: false,
        };
        let mut plan = Plan::default();
        agent.prepare(&container, &mut plan).map_err(|error| error.to_string())?;
        Ok(plan)
    }

    #[test]
    fn less_is_granted_and_more_is_refused() {
        let agent = Granted { bounding: set("CHOWN,KILL,NET_RAW"), effective: Some(set("KILL")) };
        let plan = granted(&agent, Wanted::default()).expect("nothing is asked");
        assert_eq!(plan.capabilities_bounding, Some(agent.bounding));
        assert_eq!(plan.capabilities_effective, Some(set("KILL")));

        let less = Wanted { capabilities_bounding: Some(set("CHOWN")), ..Wanted::default() };
        let plan = granted(&agent, less).expect("it is less");
        assert_eq!(plan.capabilities_bounding, Some(set("CHOWN")));
        assert_eq!(plan.capabilities_effective, Some(set("")));

        let dropped = Wanted {
            capabilities_dropped: Capabilities::ALL,
            capabilities_added: set("CHOWN"),
            ..Wanted::default()
        };
        let plan = granted(&agent, dropped).expect("it is less");
        assert_eq!(plan.capabilities_bounding, Some(set("CHOWN")));
        let added = Wanted { capabilities_added: set("SYS_ADMIN"), ..Wanted::default() };
        let error = granted(&agent, added).expect_err("it is too much");
        assert!(
            error.contains("cannot grant SYS_ADMIN: the bounding set of this agent"),
            "{error}"
        );

        let more =
            Wanted { capabilities_effective: Some(set("NET_RAW,SYS_ADMIN")), ..Wanted::default() };
        assert_eq!(
            granted(&agent, more).expect_err("it is too much"),
            "isolator linux/capabilities cannot grant SYS_ADMIN: the bounding set of this container \
             is CHOWN,KILL,NET_RAW; more takes another --bounding_capabilities"
        );
    }
}
