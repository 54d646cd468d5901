use super::*;

fn acls(text: &str) -> Acls {
    serde_json::from_str(text).expect("rules")
}

#[test]
fn the_first_rule_that_speaks_of_both_decides() {
    let acls = acls(
        r#"{
            "permissive": false,
            "register_frameworks": [
                {"principals": {"values": ["web"]}, "roles": {"values": ["web", "dev/%"]}},
                {"principals": {"values": ["web", "ops"]}, "roles": {"type": "NONE"}},
                {"principals": {"type": "ANY"}, "roles": {"values": ["guests"]}}
            ]
        }"#,
    );
    for (principal, role, is_allowed) in [
        (Some("web"), "web", true),
        (Some("web"), "dev/a", true),
        (Some("web"), "dev/a/b", true),
        (Some("web"), "dev", false),
        (Some("web"), "devil", false),
        // The second rule speaks first.
        (Some("web"), "guests", false),
        (Some("ops"), "guests", false),
        (Some("eve"), "guests", true),
        (None, "guests", true),
        // Nobody speaks of these.
        (Some("eve"), "web", false),
        (None, "web", false),
    ] {
        let decision = acls.allow(Action::RegisterFramework, principal, Some(role));
        assert_eq!(decision, is_allowed, "{principal:?} {role}");
    }
    assert!(!acls.allow(Action::RunTask, Some("web"), Some("root")));
    let roles = ["dev/a", "web", "guests"].map(|role| Role::new(role).expect("a role"));
    let refused = acls.refused(Action::RegisterFramework, Some("web"), &roles);
    assert_eq!(refused.map(Role::as_str), Some("guests"));
}

#[test]
fn where_no_rule_speaks_permissive_decides() {
    let text = r#"{"run_tasks": [{"principals": {"values": ["a"]}, "users": {"type": "NONE"}}]}"#;
    let acls = acls(text);
    assert!(!acls.allow(Action::RunTask, Some("a"), Some("root")));
    assert!(acls.allow(Action::RunTask, Some("b"), Some("root")));
    assert!(acls.allow(Action::ViewFlags, None, None));
    assert!(!acls.allow_everything() && !acls.allow_all_of(Action::RunTask));
    assert!(acls.allow_all_of(Action::ViewFlags));
    let strict = acls.with_permissive(false);
    assert!(!strict.allow(Action::RunTask, Some("b"), Some("root")));
    assert!(!strict.allow_all_of(Action::ViewFlags));
    assert!(Acls::default().allow_everything());
}

#[test]
fn a_rule_for_some_does_not_speak_of_all() {
    let text = r#"{
        "permissive": false,
        "mark_agents_gone": [{"principals": {"values": ["ops"]}, "agents": {"type": "ANY"}}],
        "view_flags": [{"principals": {"values": ["ops"]}, "flags": {"values": ["x"]}}]
    }"#;
    let acls = acls(text);
    assert!(acls.allow(Action::MarkAgentGone, Some("ops"), None));
    assert!(!acls.allow(Action::MarkAgentGone, None, None));
    assert!(!acls.allow(Action::ViewFlags, Some("ops"), None));
}

#[test]
fn what_is_done_to_nobody_knows_what_takes_leave_for_whatever_there_is() {
    let rules = |permissive: bool, rules: &[(&str, &str)]| {
        let rule = |(principals, users): &(&str, &str)| {
            format!(r#"{{"principals": {principals}, "users": {users}}}"#)
        };
        let all: Vec<String> = rules.iter().map(rule).collect();
        acls(&format!(
            r#"{{"permissive": {permissive}, "access_sandboxes": [{}]}}"#,
            all.join(", ")
        ))
    };
    let (any, none) = (r#"{"type": "ANY"}"#, r#"{"type": "NONE"}"#);
    let (ops, eve) = (r#"{"values": ["ops"]}"#, r#"{"values": ["eve"]}"#);
    let (www, nobody) = (r#"{"values": ["www"]}"#, r#"{"values": []}"#);
    for (acls, of_ops, of_nobody) in [
        (rules(true, &[]), true, true),
        (rules(false, &[]), false, false),
        (rules(false, &[(ops, any)]), true, false),
        (rules(true, &[(ops, none)]), false, true),
        // Some are not all, but with the others they are.
        (rules(false, &[(ops, www)]), false, false),
        (rules(true, &[(ops, www)]), true, true),
        (rules(false, &[(ops, www), (ops, any)]), true, false),
        (rules(true, &[(ops, www), (any, none)]), false, false),
        // One that is forbidden may be the one.
        (rules(true, &[(none, www)]), false, false),
        (rules(true, &[(none, www), (ops, any)]), false, false),
        (rules(true, &[(none, nobody)]), true, true),
        (rules(true, &[(eve, none), (none, any)]), false, false),
    ] {
        for (principal, may) in [(Some("ops"), of_ops), (None, of_nobody)] {
            let decision = acls.allow_whatever(Action::AccessSandbox, principal);
            assert_eq!(decision, may, "{principal:?} {acls:?}");
        }
    }
}

#[test]
fn who_is_called_by_a_number_is_not_thereby_somebody_else() {
    let (all, root) = (r#"{"type": "ANY"}"#, r#"{"values": ["root"]}"#);
    let rules = |rules: &[(&str, &str)]| {
        let rule = |(principals, users): &(&str, &str)| {
            format!(r#"{{"principals": {principals}, "users": {users}}}"#)
        };
        let all: Vec<String> = rules.iter().map(rule).collect();
        acls(&format!(r#"{{"run_tasks": [{}]}}"#, all.join(", ")))
    };
    let not_root = rules(&[(r#"{"type": "NONE"}"#, root), (all, all)]);
    let but_zero = rules(&[(all, r#"{"values": ["0"]}"#), (r#"{"type": "NONE"}"#, root)]);
    for (acls, user, may) in [
        (&not_root, "www", true),
        (&not_root, "root", false),
        (&not_root, "root:www", false),
        (&not_root, "www:root", true),
        (&not_root, "0", false),
        (&not_root, "+0", false),
        (&not_root, "33", false),
        (&not_root, "0:33", false),
        (&but_zero, "0", true),
        (&but_zero, "33", false),
        (&but_zero, "www2", true),
        (&rules(&[(all, all)]), "0", true),
        (&rules(&[(all, r#"{"type": "NONE"}"#)]), "0", false),
        (&Acls::default(), "0", true),
        (&Acls::default().with_permissive(false), "0", false),
        (&Acls::default().with_permissive(false), "", false),
    ] {
        assert_eq!(acls.allow_user(Action::RunTask, Some("web"), user), may, "{user} {acls:?}");
    }
}

#[test]
fn what_is_wrong_with_rules_is_told() {
    for (text, says) in [
        (
            r#"{"run_task": []}"#,
            "'run_task' is no action; there are register_frameworks, run_tasks,",
        ),
        (
            r#"{"run_tasks": [{"principals": {"type": "ANY"}}]}"#,
            "rule 1 of 'run_tasks' has no 'users'",
        ),
        (
            r#"{"run_tasks": [{"principals": {"type": "ALL"}, "users": {"type": "ANY"}}]}"#,
            "rule 1 of 'run_tasks': the type 'ALL' is none of ANY, NONE and SOME",
        ),
        (
            r#"{"run_tasks": [{"principals": {"type": "ANY"}, "users": {"type": "ANY"}, "roles": {}}]}"#,
            "rule 1 of 'run_tasks' has 'roles', and is to have 'principals' and 'users'",
        ),
    ] {
        let why = serde_json::from_str::<Acls>(text).expect_err(text).to_string();
        assert!(why.starts_with(says), "{why}");
    }
}

#[test]
fn every_action_has_a_name_of_its_own() {
    let names: BTreeSet<_> = Action::ALL.iter().map(|(action, ..)| action.name()).collect();
    assert_eq!(names.len(), Action::ALL.len());
}

#[test]
fn every_action_of_mesos_is_known_and_who_heeds_it() {
    let written = |(_, name, object): &(Action, &str, &str)| {
        format!(
            r#""{name}": [{{"principals": {{"type": "ANY"}}, "{object}": {{"type": "NONE"}}}}]"#
        )
    };
    let all: Vec<String> = Action::ALL.iter().map(written).collect();
    let acls = acls(&format!("{{{}}}", all.join(", ")));
    for (action, name, _) in Action::ALL {
        assert!(!acls.allow(action, Some("anybody"), Some("anything")), "{name}");
    }
    assert_eq!(acls.actions().count(), Action::ALL.len());
    let mut nowhere = acls.actions().filter(|action| action.heeded() == Heeded::Nowhere);
    let disk_or_provider = |name: &str| name.contains("_disk") || name.contains("_provider");
    assert!(nowhere.all(|action| disk_or_provider(action.name())));
    for (action, by) in [
        (Action::RegisterAgent, Heeded::ByMasters),
        (Action::LaunchNestedContainerSessionAsUser, Heeded::ByAgents),
        (Action::AccessSandbox, Heeded::ByAgents),
        (Action::RunTask, Heeded::ByBoth),
        (Action::ViewFlags, Heeded::ByBoth),
    ] {
        assert_eq!(action.heeded(), by, "{}", action.name());
    }
}

#[test]
fn rules_of_the_old_quota_call_are_for_the_new_one_too() {
    let rule = |name: &str| {
        format!(r#""{name}": [{{"principals": {{"type": "ANY"}}, "roles": {{"type": "NONE"}}}}]"#)
    };
    let (old, new) = (rule("update_quotas"), rule("update_quota_configs"));
    for (text, may_old, may_new) in [
        (format!("{{{old}}}"), false, false),
        (format!("{{{new}}}"), true, false),
        (format!(r#"{{{old}, "update_quota_configs": []}}"#), false, true),
    ] {
        let acls = acls(&text);
        assert_eq!(acls.allow(Action::UpdateQuota, None, Some("web")), may_old, "{text}");
        assert_eq!(acls.allow(Action::UpdateQuotaConfig, None, Some("web")), may_new, "{text}");
    }
}
