use super::*;
use model::ids::{Reign, Term};
use model::link::AgentDescription;
use model::payload::Payload;
use model::registry::{LeaseAcquire, StoreCommit};
use model::resources::{Attributes, Resources};
use model::rules::Standing;
use std::collections::BTreeSet;
use std::time::Duration;

fn commit(conditions: &[(&str, u64)], writes: &[(&str, Option<&str>)]) -> StoreCommit {
    StoreCommit {
        namespace: "marathon".into(),
        conditions: conditions.iter().map(|&(key, revision)| (key.into(), revision)).collect(),
        writes: writes
            .iter()
            .map(|&(key, value)| (key.into(), value.map(|value| Payload::new(value.as_bytes()))))
            .collect(),
        lease: None,
        at: Timestamp(0),
    }
}

fn acquire(holder: &str, at: u64, ttl: u64) -> Record {
    Record::LeaseAcquire(LeaseAcquire {
        namespace: "marathon".into(),
        name: "leader".into(),
        holder: holder.into(),
        ttl: Duration::from_micros(ttl),
        note: Payload::default(),
        at: Timestamp(at),
    })
}

fn keys(registry: &Registry, prefix: &str, after: &str) -> Vec<String> {
    let found = registry.store.list("marathon", prefix, after);
    found.map(|(key, _)| key.to_string()).collect()
}

#[test]
fn a_commit_is_all_or_nothing() {
    let mut registry = Registry::default();
    let first = commit(&[("a", 0)], &[("a", Some("1")), ("b", Some("2"))]);
    assert_eq!(registry.apply(&Record::StoreCommit(first)), Outcome::Committed(1));
    let stale = commit(&[("a", 1), ("b", 0)], &[("a", None), ("c", Some("3"))]);
    assert_eq!(
        registry.apply(&Record::StoreCommit(stale)),
        Outcome::Refused(StoreRefusal::RevisionDiffers { key: "b".into(), wanted: 0, found: 1 })
    );
    assert_eq!(keys(&registry, "", ""), ["a", "b"]);
    let second = commit(&[("a", 1)], &[("a", None), ("app/1", Some("x")), ("app/2", Some("y"))]);
    assert_eq!(registry.apply(&Record::StoreCommit(second)), Outcome::Committed(2));
    assert_eq!(keys(&registry, "app/", ""), ["app/1", "app/2"]);
    assert_eq!(keys(&registry, "app/", "app/1"), ["app/2"]);
    assert_eq!(keys(&registry, "", "b").len(), 0);
    assert_eq!(registry.store.get("marathon", "b").map(|stored| stored.revision), Some(1));
}

#[test]
fn a_full_store_takes_only_what_makes_room() {
    let mut registry = Registry::default();
    // The values share their bytes, so that this test needs no gigabyte.
    let mebibyte = Payload::new(vec![0; VALUE_BYTES_MAX]);
    let write = |key: String, value: Option<Payload>| {
        let writes = vec![(key.into(), value)];
        Record::StoreCommit(StoreCommit { writes, ..commit(&[], &[]) })
    };
    let fit = BYTES_MAX / VALUE_BYTES_MAX - 1;
    for number in 0..fit {
        let outcome = registry.apply(&write(format!("{number:04}"), Some(mebibyte.clone())));
        assert!(matches!(outcome, Outcome::Committed(_)), "{number}: {outcome:?}");
    }
    let full = Outcome::Refused(StoreRefusal::Full);
    let small = Payload::new(vec![0; VALUE_BYTES_MAX / 2]);
    assert!(matches!(
        registry.apply(&write("half".into(), Some(small.clone()))),
        Outcome::Committed(_)
    ));
    assert_eq!(registry.apply(&write("more".into(), Some(mebibyte.clone()))), full);
    assert!(matches!(registry.apply(&write("0000".into(), Some(small))), Outcome::Committed(_)));
    assert!(matches!(registry.apply(&write("0001".into(), None)), Outcome::Committed(_)));
    assert!(matches!(registry.apply(&write("more".into(), Some(mebibyte))), Outcome::Committed(_)));
    let again = Registry::from_parts(registry.to_parts());
    assert_eq!(again, registry, "a snapshot counts alike");
}

#[test]
fn a_commit_beyond_the_limits_is_refused() {
    let mut registry = Registry::default();
    let long_key = "k".repeat(KEY_BYTES_MAX + 1);
    let long_value = "v".repeat(VALUE_BYTES_MAX + 1);
    for bad in [
        commit(&[], &[("", Some("1"))]),
        commit(&[], &[(&long_key, Some("1"))]),
        commit(&[], &[("a", Some(&long_value))]),
    ] {
        assert!(matches!(registry.apply(&Record::StoreCommit(bad)), Outcome::Refused(_)));
    }
    let value = "v".repeat(VALUE_BYTES_MAX);
    let five: Vec<_> = ["a", "b", "c", "d", "e"].map(|key| (key, Some(&*value))).to_vec();
    let too_long = registry.apply(&Record::StoreCommit(commit(&[], &five)));
    assert!(matches!(too_long, Outcome::Refused(StoreRefusal::CommitTooLong { .. })));
    assert_eq!(registry, Registry::default());
}

#[test]
fn a_lease_fences_its_former_holder_off() {
    let mut registry = Registry::default();
    let lease = |registry: &mut Registry, record: &Record| {
        let outcome = registry.apply(record);
        let Outcome::Lease(view) = outcome else { panic!("{outcome:?}") };
        (view.is_acquired, view.token, view.holder.to_string())
    };
    assert_eq!(lease(&mut registry, &acquire("m1", 100, 50)), (true, 1, "m1".to_owned()));
    assert_eq!(lease(&mut registry, &acquire("m2", 149, 50)), (false, 1, "m1".to_owned()));
    assert_eq!(lease(&mut registry, &acquire("m1", 149, 50)), (true, 1, "m1".to_owned()));
    assert_eq!(lease(&mut registry, &acquire("m2", 199, 50)), (true, 2, "m2".to_owned()));
    let mut write = commit(&[], &[("a", Some("1"))]);
    write.at = Timestamp(200);
    write.lease = Some(("leader".into(), 1));
    let refused = registry.apply(&Record::StoreCommit(write.clone()));
    assert!(matches!(refused, Outcome::Refused(StoreRefusal::LeaseLost { .. })));
    write.lease = Some(("leader".into(), 2));
    assert_eq!(registry.apply(&Record::StoreCommit(write)), Outcome::Committed(1));
    let release =
        Record::LeaseRelease { namespace: "marathon".into(), name: "leader".into(), token: 2 };
    assert_eq!(registry.apply(&release), Outcome::Applied);
    assert_eq!(registry.apply(&release), Outcome::Void);
    assert_eq!(lease(&mut registry, &acquire("m1", 201, 50)), (true, 3, "m1".to_owned()));
}

#[test]
fn a_registry_is_the_same_after_a_snapshot() {
    let mut registry = Registry::default();
    registry.apply(&Record::BeginReign(ReignEntry {
        id: Reign([1; 16]),
        term: Term(1),
        at: Timestamp(1),
        address: "m:5050".into(),
    }));
    registry.apply(&Record::StoreCommit(commit(&[], &[("a", Some("1"))])));
    registry.apply(&acquire("m1", 1, 10));
    assert_eq!(Registry::from_parts(registry.to_parts()), registry);
}

#[test]
fn of_an_agent_that_gives_way_to_others_nothing_is_remembered() {
    let entry = |n: usize| {
        let id = AgentId::new(format!("{n:07}")).expect("an id");
        let resources = Resources::none();
        let description = AgentDescription {
            hostname: "host".into(),
            address: "10.0.0.1:5051".into(),
            resources,
            attributes: Attributes::default(),
            domain: None,
            version: "1.11.0".into(),
            capabilities: BTreeSet::new(),
            info: Payload::default(),
        };
        AgentEntry { id, description, registered_at: Timestamp(0) }
    };
    let mut registry = Registry::default();
    let (first, last) = (entry(0), entry(FORMER_AGENTS_MAX));
    registry.apply(&Record::PutAgent(first.clone()));
    let standing = Standing::Deactivated;
    registry.apply(&Record::SetStanding { agent: first.id.clone(), standing });
    registry.apply(&Record::MarkUnreachable { agent: first.id.clone(), at: Timestamp(0) });
    // The others share an entry, so that they need no gigabyte.
    let shared = Arc::new(entry(1));
    for n in 1..FORMER_AGENTS_MAX {
        let away = UnreachableAgent { entry: shared.clone(), at: Timestamp(1) };
        let id = AgentId::new(format!("{n:07}")).expect("an id");
        registry.members.unreachable.insert(id, away);
    }
    assert_eq!(registry.rules.standing(&first.id), standing, "there is room for all of them");
    registry.apply(&Record::PutAgent(last.clone()));
    registry.apply(&Record::MarkUnreachable { agent: last.id.clone(), at: Timestamp(2) });
    assert!(!registry.members.remember(&first.id) && registry.members.remember(&last.id));
    assert_eq!(registry.rules.standings.len(), 0);
}
