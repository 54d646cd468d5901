//! In which order the mistakes of a framework that describes itself are told, and in which words.

mod world;

use master_core::{Config, Done, Refusal};
use model::acl::Acls;
use model::call::{Call, Subscribe};
use model::framework::{Capabilities, Framework};
use model::role::Role;
use std::collections::BTreeMap;
use std::sync::Arc;
use world::World;

fn role(name: &str) -> Role {
    Role::new(name).expect("a role")
}

/// A master with every rule that a subscription can break, and a framework of principal `web`.
fn strict() -> World {
    let acls = r#"{
        "register_frameworks": [{"principals": {"values": ["eve"]}, "roles": {"type": "NONE"}}]
    }"#;
    let acls: Acls = serde_json::from_str(acls).expect("rules");
    let roles = Some([role("web"), role("dev")].into());
    let acls = Arc::new(acls);
    let config = Config { roles, root_submissions: false, acls, ..Config::default() };
    let mut world = World::with(config);
    world.framework_in("f", "web", Capabilities { multi_role: true, ..Capabilities::default() });
    let framework = world.frameworks.get_mut("f").expect("it was made");
    framework.description.user = "nobody".into();
    framework.description.principal = Some("web".into());
    world.subscribe("f", None);
    world.heard("f");
    world
}

/// What breaks all of the rules that `framework` can break.
fn hopeless(framework: Framework) -> Subscribe {
    let roles = ["dev", "ops", "x"].map(role).into();
    let (user, principal) = ("root".into(), Some("eve".into()));
    Subscribe {
        framework: Framework { roles, user, principal, checkpoint: false, ..framework },
        suppressed: ["dev", "-", "y"].map(Into::into).into(),
        constraints: Err("not so".to_owned()),
    }
}

#[test]
fn mistakes_of_a_subscription_are_told_in_the_order_of_the_protocol() {
    let mut world = strict();
    let id = world.frameworks["f"].id.clone();
    let description = world.frameworks["f"].description.clone();
    world.framework("over");
    let over = world.frameworks.get_mut("over").expect("it was made");
    over.description = description.clone();
    world.subscribe("over", None);
    let gone = world.frameworks["over"].id.clone();
    assert_eq!(world.ask("over", Call::Teardown), Some(Ok(Done::Accepted)));

    let mut call = hopeless(Framework { id: Some(gone), ..description });
    let mut refused = |call: &Subscribe, why: &str| {
        world.subscribe_by("f", call.clone());
        assert_eq!(world.heard("f"), [format!("error: {why}"), "closed".to_owned()]);
    };
    refused(&call, "Roles { ops, x } are not present in the master's --roles");
    call.framework.roles = [role("dev")].into();
    refused(&call, "User 'root' is not allowed to run frameworks without '--root_submissions' set");
    call.framework.user = "nobody".into();
    refused(&call, "Framework has been removed");
    call.framework.id = Some(id);
    refused(&call, "Suppressed roles { -, y } are not contained in the set of roles");
    call.suppressed = ["dev".into()].into();
    refused(&call, "Offer constraints are not valid: not so");
    call.constraints = Ok(BTreeMap::new());
    refused(&call, "Not authorized to register a framework in role 'dev' as principal 'eve'");
    call.framework.principal = Some("bob".into());
    refused(&call, "Changing framework's principal is not allowed.");
    call.framework.principal = Some("web".into());
    world.subscribe_by("f", call);
    let heard = world.heard("f");
    assert_eq!(heard.last().map(String::as_str), Some("subscribed"), "{heard:?}");
}

#[test]
fn mistakes_of_an_update_are_told_in_the_same_order() {
    let mut world = strict();
    let id = Some(world.frameworks["f"].id.clone());
    let description = world.frameworks["f"].description.clone();
    let mut call = hopeless(Framework { id, ..description });
    let mut ask = |call: &Subscribe| {
        let update = Call::UpdateFramework(Box::new(Ok(call.clone())));
        world.ask("f", update).expect("an answer")
    };
    let invalid = |why: &str| Err(Refusal::Invalid(why.to_owned()));
    assert_eq!(
        ask(&call),
        invalid(
            "Supplied FrameworkInfo is not valid: Roles { ops, x } are not present in the master's \
             --roles"
        )
    );
    call.framework.roles = [role("dev")].into();
    assert_eq!(
        ask(&call),
        invalid(
            "Supplied FrameworkInfo is not valid: User 'root' is not allowed to run frameworks \
             without '--root_submissions' set"
        )
    );
    call.framework.user = "somebody".into();
    assert_eq!(
        ask(&call),
        invalid(
            "'UpdateFramework' call is not valid: Suppressed roles { -, y } are not contained in \
             the set of roles"
        )
    );
    call.suppressed = ["dev".into()].into();
    assert_eq!(
        ask(&call),
        invalid("'UpdateFramework' call is not valid: Offer constraints are not valid: not so")
    );
    call.constraints = Ok(BTreeMap::new());
    let why = "Not authorized to register a framework in role 'dev' as principal 'eve'";
    assert_eq!(ask(&call), Err(Refusal::Forbidden(why.to_owned())));
    call.framework.principal = Some("bob".into());
    assert_eq!(
        ask(&call),
        invalid(
            "FrameworkInfo update is not valid: Changing framework's principal is not allowed."
        )
    );
    call.framework.principal = Some("web".into());
    let unchangeable = |field: &str, before: &str, after: &str| {
        invalid(&format!(
            "FrameworkInfo update is not valid: Updating 'FrameworkInfo.{field}' is unsupported; \
             attempted to update from '{before}' to '{after}'"
        ))
    };
    assert_eq!(ask(&call), unchangeable("user", "nobody", "somebody"));
    call.framework.user = "nobody".into();
    assert_eq!(ask(&call), unchangeable("checkpoint", "true", "false"));
    call.framework.checkpoint = true;
    assert_eq!(ask(&call), Ok(Done::Ok));
}
