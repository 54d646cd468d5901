//! The store on real files.

mod failing;

use super::*;

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, data: vec![1; 8].into(), ..Entry::default() }
}

fn alone() -> Beginning {
    Beginning::Founding(Members::new("a:1", &[]).expect("valid"))
}

fn entries(numbers: impl IntoIterator<Item = (u64, u64)>) -> Write {
    let entries = numbers.into_iter().map(|(index, term)| entry(index, term)).collect();
    Write { entries, sync: true, ..Write::default() }
}

fn reopened(dir: &Path) -> Found {
    Disk::open(dir, "a:1", &alone()).expect("opens").1
}

fn numbers(found: &Found) -> Vec<(u64, u64)> {
    found.entries.iter().map(|entry| (entry.index, entry.term)).collect()
}

#[test]
fn what_was_written_is_found_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut disk, first) = Disk::open(dir.path(), "a:1", &alone()).expect("opens");
    assert_eq!(first.snapshot.get_metadata().index, FOUNDED_AT);
    let hard_state = HardState { term: 7, vote: 3, commit: 2, ..HardState::default() };
    let met = Write { met: Some((9, "x".into())), ..Write::default() };
    let vote = Write { hard_state: Some(hard_state.clone()), sync: true, ..Write::default() };
    let batch =
        [entries([(2, 2), (3, 2), (4, 2)]), met, vote, entries([(3, 7)]), entries([(4, 7)])];
    disk.write(&batch).expect("is written");
    drop(disk);
    let found = reopened(dir.path());
    assert_eq!(found.identity, first.identity);
    assert_eq!(found.hard_state, hard_state);
    assert_eq!(numbers(&found), [(2, 2), (3, 7), (4, 7)]);
    assert_eq!(found.met, BTreeMap::from([(9, "x".to_owned())]));
}

#[test]
fn a_received_snapshot_replaces_the_log_and_a_made_one_trims_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut disk, first) = Disk::open(dir.path(), "a:1", &alone()).expect("opens");
    let mut snapshot = first.snapshot.clone();
    snapshot.mut_metadata().index = 5;
    snapshot.data = vec![5; 5].into();
    let made = Stored::Made { snapshot: snapshot.clone(), compacted: 3 };
    disk.write(&[
        entries((2..=6).map(|index| (index, 2))),
        Write { snapshot: Some(made), ..Write::default() },
    ])
    .expect("is written");
    drop(disk);
    let found = reopened(dir.path());
    assert_eq!(numbers(&found), [(4, 2), (5, 2), (6, 2)]);
    assert_eq!(&found.snapshot.data[..], [5; 5]);

    let (mut disk, _) = Disk::open(dir.path(), "a:1", &alone()).expect("opens");
    snapshot.mut_metadata().index = 50;
    let received = Stored::Received(snapshot);
    disk.write(&[
        Write { snapshot: Some(received), sync: true, ..Write::default() },
        entries([(51, 4)]),
    ])
    .expect("is written");
    drop(disk);
    let found = reopened(dir.path());
    assert_eq!(numbers(&found), [(51, 4)]);
    assert_eq!(found.snapshot.get_metadata().index, 50);
}

#[test]
fn a_directory_of_other_masters_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    reopened(dir.path());
    let peers = ["a:1", "b:1", "c:1"].map(str::to_owned);
    let members = Members::new("a:1", &peers).expect("valid");
    let members = Beginning::Founding(members);
    let Err(error) = Disk::open(dir.path(), "a:1", &members) else { panic!("must fail") };
    assert!(error.to_string().contains("belongs to a cluster of one master"), "{error}");
}

#[test]
fn who_joins_begins_with_nothing_but_an_id_of_its_own() {
    let join = || Beginning::Joining(Some("c".to_owned()));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let dir = tempfile::tempdir().expect("a directory");
        let (disk, first) = Disk::open(dir.path(), "a:1", &join()).expect("opens");
        assert_eq!(first.identity.cluster_id, "c");
        assert_eq!((first.snapshot.get_metadata().index, &first.snapshot.data[..]), (0, &[][..]));
        drop(disk);
        // Later nobody needs to be asked for the cluster.
        let (disk, again) =
            Disk::open(dir.path(), "a:1", &Beginning::Joining(None)).expect("opens");
        assert_eq!(again.identity, first.identity);
        ids.push(again.identity.raft_id);
        drop(disk);
        let Err(error) = Disk::open(dir.path(), "a:1", &alone()) else { panic!("must fail") };
        assert!(error.to_string().contains("start it with --join"), "{error}");
    }
    assert_ne!(ids[0], ids[1]);
    let dir = tempfile::tempdir().expect("a directory");
    let nowhere = Disk::open(dir.path(), "a:1", &Beginning::Joining(None));
    assert!(matches!(nowhere, Err(RaftError::Damaged { .. })));
}

#[test]
fn a_second_master_in_one_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let _first = Disk::open(dir.path(), "a:1", &alone()).expect("opens");
    let second = Disk::open(dir.path(), "a:1", &alone());
    assert!(matches!(second, Err(RaftError::Open { .. })));
}
