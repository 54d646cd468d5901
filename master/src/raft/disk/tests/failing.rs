//! The store on a disk that is full or fails.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use redb::StorageBackend;

use super::super::place::open_file;
use super::*;

/// What is lost or stored at once.
const PAGE: usize = 4_096;

/// What has become of a page that could not be synced. The system does not try it again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unsynced {
    /// It is read as it was written, until the machine ends.
    Seen,
    /// It is read as it is on the disk.
    Gone,
}

/// A file: what the system shows of it, and what is on the disk.
#[derive(Clone, Debug, Default)]
struct Bytes {
    seen: Vec<u8>,
    stored: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Bytes {
    fn store(&mut self, page: usize) {
        let end = (page * PAGE + PAGE).min(self.seen.len());
        if let Some(part) = self.seen.get(page * PAGE..end) {
            self.stored[page * PAGE..end].copy_from_slice(part);
        }
    }
}

/// A file in memory. After so many operations that change something there is no more room, or the disk
/// fails.
#[derive(Clone, Debug)]
struct Faulty {
    bytes: Arc<Mutex<Bytes>>,
    left: Arc<AtomicI64>,
    unsynced: Option<Unsynced>,
}

fn spend(left: &AtomicI64) -> io::Result<()> {
    if left.fetch_sub(1, Ordering::Relaxed) > 0 {
        return Ok(());
    }
    Err(io::ErrorKind::StorageFull.into())
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("the file is in memory")
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock();
        let read = bytes.seen.get(place(offset)..place(offset) + out.len());
        out.copy_from_slice(read.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.spend_unless_failing()?;
        self.bytes.lock().seen.resize(place(len), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let works = spend(&self.left);
        let mut bytes = self.bytes.lock();
        let (len, dirty) = (bytes.seen.len(), bytes.dirty.clone());
        match (&works, self.unsynced) {
            (Ok(()), _) => {
                bytes.stored.resize(len, 0);
                bytes.dirty.clear();
                for page in dirty {
                    bytes.store(page);
                }
            }
            // No room is no loss: it is all tried again.
            (Err(_), None) => {}
            (Err(_), Some(unsynced)) => {
                bytes.stored.resize(len, 0);
                bytes.dirty.clear();
                // Of what was to be written some is.
                for page in dirty.into_iter().filter(|page| page % 2 == 1) {
                    bytes.store(page);
                }
                if unsynced == Unsynced::Gone {
                    bytes.seen = bytes.stored.clone();
                }
            }
        }
        works
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.spend_unless_failing()?;
        let (begin, end) = (place(offset), place(offset) + data.len());
        let mut bytes = self.bytes.lock();
        let written = bytes.seen.get_mut(begin..end);
        written.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        bytes.dirty.extend(begin / PAGE..end.div_ceil(PAGE));
        Ok(())
    }
}

impl Faulty {
    /// A disk that fails takes anything until it has to store it.
    fn spend_unless_failing(&self) -> io::Result<()> {
        if self.unsynced.is_some() { Ok(()) } else { spend(&self.left) }
    }
}

/// Files by name.
type Names = BTreeMap<String, Arc<Mutex<Bytes>>>;

/// A directory of such files.
#[derive(Clone)]
struct FaultyDirectory {
    seen: Arc<Mutex<Names>>,
    stored: Arc<Mutex<Names>>,
    left: Arc<AtomicI64>,
    unsynced: Option<Unsynced>,
}

impl FaultyDirectory {
    fn new(unsynced: Option<Unsynced>) -> Self {
        let left = Arc::new(AtomicI64::new(i64::MAX));
        Self { seen: Arc::default(), stored: Arc::default(), left, unsynced }
    }

    fn set_left(&self, operations: i64) {
        self.left.store(operations, Ordering::Relaxed);
    }

    fn open(&self) -> (Disk, Found) {
        let place = Box::new(self.clone());
        Disk::open_in(place, "nowhere".into(), "a:1", &alone()).expect("opens")
    }

    /// What is there after the machine has ended. Names may have been stored without being asked for.
    fn after_crash(&self, has_names: bool) -> Self {
        let names = if has_names { &self.seen } else { &self.stored };
        let stored = |bytes: &Arc<Mutex<Bytes>>| {
            let stored = bytes.lock().stored.clone();
            Bytes { seen: stored.clone(), stored, dirty: BTreeSet::new() }
        };
        let names = names.lock();
        let files = names.iter().map(|(name, of)| (name.clone(), Arc::new(Mutex::new(stored(of)))));
        let after = Self::new(self.unsynced);
        *after.seen.lock() = files.collect();
        *after.stored.lock() = after.seen.lock().clone();
        after
    }
}

impl Place for FaultyDirectory {
    fn open(&self, name: &str, sync_failed: &Arc<AtomicBool>) -> Result<Database, DatabaseError> {
        let bytes = self.seen.lock().entry(name.to_owned()).or_default().clone();
        let file = Faulty { bytes, left: self.left.clone(), unsynced: self.unsynced };
        open_file(file, sync_failed)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.seen.lock().contains_key(name))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let names = self.seen.lock();
        Ok(names.get(name).ok_or(io::ErrorKind::NotFound)?.lock().seen.clone())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.seen.lock();
        let file = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.seen.lock().remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        spend(&self.left)?;
        *self.stored.lock() = self.seen.lock().clone();
        Ok(())
    }
}

/// What is in the store: the term of the vote, and the log.
fn content(found: &Found) -> (u64, Vec<(u64, u64)>) {
    (found.hard_state.term, numbers(found))
}

/// One batch that goes wrong after so many operations, and all that may follow. Whether it went wrong.
fn a_write_goes_wrong(operations: i64, unsynced: Option<Unsynced>) -> bool {
    let dir = FaultyDirectory::new(unsynced);
    let (mut disk, _) = dir.open();
    Place::sync(&dir).expect("it works");
    disk.write(&[entries([(2, 2), (3, 2), (4, 2)])]).expect("there is room");
    let hard_state = HardState { term: 7, vote: 3, commit: 2, ..HardState::default() };
    let vote = Write { hard_state: Some(hard_state), sync: true, ..Write::default() };
    let batch = [entries([(3, 7)]), vote];
    let (before, after) = ((1, vec![(2, 2), (3, 2), (4, 2)]), (7, vec![(2, 2), (3, 7)]));

    dir.set_left(operations);
    let Err(error) = disk.write(&batch) else { return false };
    assert!(may_pass(&error), "{error:?}");
    // While it lasts it fails again, and again without harm.
    dir.set_left(0);
    assert!(disk.write(&batch).is_err_and(|error| may_pass(&error)));
    dir.set_left(i64::MAX);
    for has_names in [false, true] {
        let (_, found) = dir.after_crash(has_names).open();
        let found = content(&found);
        assert!(found == before || found == after, "half of it is there: {found:?}");
    }

    // It goes wrong once more, where it is made good.
    for again in 0..1_000 {
        dir.set_left(again);
        let written = disk.write(&batch);
        dir.set_left(i64::MAX);
        if written.is_ok() {
            break;
        }
        let (_, found) = dir.after_crash(again % 2 == 0).open();
        let found = content(&found);
        assert!(found == before || found == after, "half of it is there: {found:?}");
    }
    for has_names in [false, true] {
        let (_, found) = dir.after_crash(has_names).open();
        assert_eq!(content(&found), after, "what was acknowledged");
    }
    disk.write(&[entries([(4, 7)])]).expect("it works again");
    for has_names in [false, true] {
        let (_, found) = dir.after_crash(has_names).open();
        assert_eq!(content(&found), (7, vec![(2, 2), (3, 7), (4, 7)]), "what was acknowledged");
    }
    let (_, found) = {
        drop(disk);
        dir.open()
    };
    assert_eq!(content(&found), (7, vec![(2, 2), (3, 7), (4, 7)]));
    true
}

#[test]
fn a_write_that_finds_no_room_leaves_all_or_nothing_and_succeeds_later() {
    let went_wrong = (0..1_000).take_while(|operations| a_write_goes_wrong(*operations, None));
    assert!((3..1_000).contains(&went_wrong.count()));
}

#[test]
fn what_could_not_be_synced_is_written_anew_before_it_counts() {
    for unsynced in [Unsynced::Seen, Unsynced::Gone] {
        let goes_wrong = |operations: &i64| a_write_goes_wrong(*operations, Some(unsynced));
        assert!((0..1_000).take_while(goes_wrong).count() > 0, "no sync is needed");
    }
}

#[test]
fn a_master_that_ends_after_a_failed_sync_does_not_begin_with_what_may_be_lost() {
    for (unsynced, operations) in [(Unsynced::Seen, 0), (Unsynced::Seen, 1), (Unsynced::Gone, 0)] {
        let dir = FaultyDirectory::new(Some(unsynced));
        let (mut disk, _) = dir.open();
        Place::sync(&dir).expect("it works");
        disk.write(&[entries([(2, 2), (3, 2)])]).expect("it works");
        dir.set_left(operations);
        let _ = disk.write(&[entries([(4, 2)])]);
        let _ = disk.write(&[entries([(4, 2)])]);
        drop(disk);
        dir.set_left(i64::MAX);
        // What it finds it tells others, and it writes on from there.
        let (mut disk, found) = dir.open();
        let told = numbers(&found);
        for has_names in [false, true] {
            let (_, found) = dir.after_crash(has_names).open();
            assert_eq!(numbers(&found), told);
        }
        let next = (told.last().expect("there are some").0 + 1, 2);
        disk.write(&[entries([next])]).expect("it works again");
        let (_, found) = dir.after_crash(false).open();
        assert_eq!(numbers(&found), [told, vec![next]].concat());
    }
}
