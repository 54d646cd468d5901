//! Clusters of real nodes: real sockets on loopback, real stores in temporary directories.

mod membership;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::rng::Rng;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use transport::server::{Bound, Server, one_port};

use super::{
    Handle, Join, LeaderInfo, ProposeError, RaftEvent, RaftOptions, RaftService, StateMachine,
    start,
};

/// Patience: far more than anything takes on an idle machine.
const WITHIN: Duration = Duration::from_secs(30);

/// A list of texts, looked at from outside.
#[derive(Clone, Default)]
struct Texts(Arc<Mutex<Vec<String>>>);

impl Texts {
    fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    fn sorted(&self) -> Vec<String> {
        let mut all = self.all();
        all.sort();
        all
    }
}

impl StateMachine for Texts {
    fn apply(&mut self, _index: u64, _term: u64, entry: &[u8]) {
        self.0.lock().push(String::from_utf8(entry.to_vec()).expect("tests propose texts"));
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.lock().join("\n").into_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let text = String::from_utf8(snapshot.to_vec()).map_err(|error| error.to_string())?;
        *self.0.lock() = text.lines().map(str::to_owned).collect();
        Ok(())
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Told {
    Leading(u64),
    Following(Option<u64>, u64),
    Failed(String),
}

struct Master {
    handle: Handle,
    service: RaftService,
    texts: Texts,
    told: Arc<Mutex<Vec<Told>>>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Master {
    async fn ended(self, crash: bool) {
        if crash {
            self.handle.crash().await;
        } else {
            self.handle.stop().await;
        }
        self.stop.cancel();
        self.served.await.expect("serving ends well");
    }
}

struct Cluster {
    dirs: Vec<TempDir>,
    addresses: Vec<SocketAddr>,
    masters: Vec<Option<Master>>,
    snapshot_every: u64,
    /// The first so many began together; the others joined.
    founders: usize,
    joined: Option<String>,
}

impl Cluster {
    async fn new(size: usize) -> Self {
        Self::with_snapshots(size, 10_000).await
    }

    async fn with_snapshots(size: usize, snapshot_every: u64) -> Self {
        transport::metrics::install();
        let mut bounds = Vec::new();
        for _ in 0..size {
            bounds.push(bind("127.0.0.1:0".parse().expect("an address")).await);
        }
        let mut cluster = Self {
            dirs: (0..size).map(|_| tempfile::tempdir().expect("a directory")).collect(),
            addresses: bounds.iter().map(Bound::local_addr).collect(),
            masters: (0..size).map(|_| None).collect(),
            snapshot_every,
            founders: size,
            joined: None,
        };
        for (at, bound) in bounds.into_iter().enumerate() {
            cluster.begin(at, bound);
        }
        cluster
    }

    fn options(&self, at: usize) -> RaftOptions {
        RaftOptions {
            peers: self.addresses[..self.founders].iter().map(ToString::to_string).collect(),
            join: (at >= self.founders).then(|| Join { cluster_id: self.joined.clone() }),
            tick: Duration::from_millis(20),
            snapshot_every: self.snapshot_every,
            snapshot_tail: 20,
            ..RaftOptions::new(self.dirs[at].path(), self.addresses[at].to_string())
        }
    }

    fn begin(&mut self, at: usize, bound: Bound) {
        let texts = Texts::default();
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let telling = told.clone();
        let events = move |event| {
            telling.lock().push(match event {
                RaftEvent::Leading { term } => Told::Leading(term),
                RaftEvent::Following { leader, term } => {
                    Told::Following(leader.map(|leader| leader.raft_id), term)
                }
                RaftEvent::Voters { .. } => return,
                RaftEvent::Failed { error } => Told::Failed(error.to_string()),
            });
        };
        let (handle, services) =
            start(self.options(at), texts.clone(), events).expect("a master starts");
        let stop = CancellationToken::new();
        let service = services.raft.clone();
        let router = one_port(axum::Router::new(), services.into_routes());
        let served = tokio::spawn(bound.serve(router, stop.clone()));
        self.masters[at] = Some(Master { handle, service, texts, told, stop, served });
    }

    async fn restart(&mut self, at: usize) {
        let bound = bind(self.addresses[at]).await;
        self.begin(at, bound);
    }

    async fn end(&mut self, at: usize, crash: bool) {
        self.masters[at].take().expect("it runs").ended(crash).await;
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Master)> {
        self.masters.iter().enumerate().filter_map(|(at, master)| Some((at, master.as_ref()?)))
    }

    fn master(&self, at: usize) -> &Master {
        self.masters[at].as_ref().expect("it runs")
    }

    fn leading(&self) -> Option<usize> {
        let leading = self.running().filter(|(_, master)| master.handle.status().leading);
        leading.max_by_key(|(_, master)| master.handle.status().term).map(|(at, _)| at)
    }

    async fn leader(&self) -> usize {
        until("a leader", || self.leading()).await
    }

    /// Waits until all that run have applied the same, and returns it.
    async fn agreed(&self) -> Vec<String> {
        until("agreement", || {
            let mut all = self.running().map(|(_, master)| master.texts.all());
            let first = all.next()?;
            all.all(|other| other == first).then_some(first)
        })
        .await
    }

    async fn stop_all(mut self) {
        for at in 0..self.masters.len() {
            if let Some(master) = &self.masters[at] {
                let failed = master.told.lock().iter().any(|told| matches!(told, Told::Failed(_)));
                assert!(!failed, "{:?}", master.told.lock());
                self.end(at, false).await;
            }
        }
    }
}

/// A port may be held for a moment by connections that are just ending.
async fn bind(address: SocketAddr) -> Bound {
    let deadline = Instant::now() + WITHIN;
    loop {
        match Server::bind(address).await {
            Ok(bound) => return bound,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn until<T>(what: &str, mut is: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = is() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Proposes `text` to whoever leads until it is agreed on. It may be there twice in the end.
async fn write(handles: &[Handle], text: &str) {
    let deadline = Instant::now() + WITHIN;
    loop {
        for handle in handles {
            if handle.status().leading && handle.propose(text.into()).await.is_ok() {
                return;
            }
        }
        assert!(Instant::now() < deadline, "{text} is not taken");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn write_many(cluster: &Cluster, prefix: &str, count: usize) {
    let leader = cluster.leader().await;
    let handle = &cluster.master(leader).handle;
    let proposals: Vec<_> =
        (0..count).map(|n| handle.propose(format!("{prefix}{n:05}").into_bytes())).collect();
    for proposal in proposals {
        proposal.await.expect("agreed on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_masters_apply_the_same_entries_in_the_same_order() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let handle = cluster.master(leader).handle.clone();
            tokio::spawn(async move {
                let mut last = 0;
                for n in 0..250 {
                    let text = format!("{task}-{n}");
                    let index = handle.propose(text.into_bytes()).await.expect("agreed on");
                    assert!(index > last, "later proposals have later places");
                    last = index;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no proposal fails");
    }
    let texts = cluster.agreed().await;
    assert_eq!(texts.len(), 1_000);
    for task in 0..4 {
        let own: Vec<_> =
            texts.iter().filter(|text| text.starts_with(&format!("{task}-"))).collect();
        assert!((0..250).all(|n| *own[n] == format!("{task}-{n}")));
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_takes_proposals_and_the_others_say_who_it_is() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let status = cluster.master(leader).handle.status();
    let expected =
        LeaderInfo { raft_id: status.raft_id, address: cluster.addresses[leader].to_string() };
    for (at, master) in cluster.running() {
        until("news of the leader", || master.handle.leader()).await;
        assert_eq!(master.handle.leader(), Some(expected.clone()));
        let answer = master.handle.propose(b"x".to_vec()).await;
        let read = master.handle.read_barrier().await;
        if at == leader {
            assert!(answer.is_ok() && read.is_ok());
            until("a lease", || master.handle.is_leader_with_lease().then_some(())).await;
            let stale = master.handle.propose_in(status.term - 1, b"x".to_vec()).await;
            assert!(matches!(stale, Err(ProposeError::NotLeader { .. })));
            let large = master.handle.propose(vec![0; (8 << 20) + 1]).await;
            assert!(matches!(large, Err(ProposeError::TooLarge { .. })));
        } else {
            let refused = ProposeError::NotLeader { leader: Some(expected.clone()) };
            assert_eq!(answer, Err(refused.clone()));
            assert_eq!(read, Err(refused));
            assert!(!master.handle.is_leader_with_lease());
        }
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_with_the_leader_and_it_catches_up_when_it_is_back() {
    let mut cluster = Cluster::new(3).await;
    write_many(&cluster, "a", 300).await;
    let old = cluster.leader().await;
    let term = cluster.master(old).handle.status().term;
    cluster.end(old, true).await;
    let new = cluster.leader().await;
    assert_ne!(new, old);
    let master = cluster.master(new);
    assert!(master.handle.status().term > term);
    // All of it is there already when the reign is told.
    assert_eq!(master.texts.all().len(), 300);
    write_many(&cluster, "b", 300).await;
    cluster.restart(old).await;
    let texts = cluster.agreed().await;
    assert_eq!(texts.len(), 600);
    until("the old leader to follow", || {
        let followed = cluster.master(old).handle.leader()?;
        (followed.raft_id == cluster.master(new).handle.status().raft_id).then_some(())
    })
    .await;
    cluster.stop_all().await;
}

/// The latest snapshot's index, if it covers what was written while a master was away.
fn snapshot_of(cluster: &Cluster, at: usize) -> Option<u64> {
    Some(cluster.master(at).handle.status().snapshot).filter(|&index| index > 400)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_for_long_gets_a_snapshot() {
    let mut cluster = Cluster::with_snapshots(3, 50).await;
    let away = (cluster.leader().await + 1) % 3;
    write_many(&cluster, "a", 20).await;
    cluster.end(away, true).await;
    write_many(&cluster, "b", 500).await;
    let leader = cluster.leader().await;
    until("a snapshot", || snapshot_of(&cluster, leader)).await;
    cluster.restart(away).await;
    let texts = cluster.agreed().await;
    assert_eq!(texts.len(), 520);
    until("the snapshot's arrival", || snapshot_of(&cluster, away)).await;
    // What it took over is on disk too.
    write_many(&cluster, "c", 10).await;
    for at in 0..3 {
        cluster.end(at, true).await;
    }
    for at in 0..3 {
        cluster.restart(at).await;
    }
    cluster.leader().await;
    let again = cluster.agreed().await;
    assert_eq!(again.len(), 530);
    assert_eq!(again[..520], texts);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_alone_keeps_its_entries_even_under_a_new_address() {
    let mut cluster = Cluster::with_snapshots(1, 30).await;
    let began = Instant::now();
    cluster.leader().await;
    assert!(began.elapsed() < Duration::from_secs(5), "nobody else to wait for");
    for round in 0..3 {
        write_many(&cluster, &format!("{round}-"), 40).await;
        cluster.master(0).handle.read_barrier().await.expect("it leads");
        cluster.end(0, round == 1).await;
        let bound = bind("127.0.0.1:0".parse().expect("an address")).await;
        cluster.addresses[0] = bound.local_addr();
        cluster.begin(0, bound);
    }
    cluster.leader().await;
    let texts = cluster.agreed().await;
    assert_eq!(texts.len(), 120);
    assert_eq!(texts[119], "2-00039");
    let told = cluster.master(0).told.lock().clone();
    assert!(matches!(told[..], [Told::Following(None, _), Told::Leading(_)]), "{told:?}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_majority_steps_down_and_answers_what_waits() {
    let mut cluster = Cluster::new(3).await;
    write_many(&cluster, "a", 5).await;
    let leader = cluster.leader().await;
    for at in (0..3).filter(|at| *at != leader) {
        cluster.end(at, true).await;
    }
    let handle = cluster.master(leader).handle.clone();
    let answer = handle.propose(b"b".to_vec()).await;
    assert!(matches!(answer, Err(ProposeError::Lost | ProposeError::NotLeader { .. })));
    assert!(handle.read_barrier().await.is_err());
    assert!(!handle.is_leader_with_lease());
    let told = cluster.master(leader).told.lock().clone();
    let reign = told.iter().rposition(|told| matches!(told, Told::Leading(_))).expect("it led");
    assert!(matches!(told[reign + 1], Told::Following(None, _)), "{told:?}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_with_an_empty_directory_is_kept_out() {
    let mut cluster = Cluster::new(3).await;
    write_many(&cluster, "a", 50).await;
    cluster.agreed().await;
    until("all to know each other", || {
        cluster.running().all(|(_, master)| master.service.met_count() == 2).then_some(())
    })
    .await;
    let lost = (cluster.leader().await + 1) % 3;
    cluster.end(lost, true).await;
    cluster.dirs[lost] = tempfile::tempdir().expect("a directory");
    cluster.restart(lost).await;
    write_many(&cluster, "b", 50).await;
    let status = cluster.master(lost).handle.status();
    assert_eq!((status.applied, status.leader), (1, None), "it takes no part");
    // With one of the two others gone there is no majority: it has no vote.
    let leader = cluster.leader().await;
    cluster.end(leader, true).await;
    let rest = (0..3).find(|at| *at != leader && *at != lost).expect("one of three");
    until("the leader to be missed", || {
        cluster.master(rest).handle.leader().is_none().then_some(())
    })
    .await;
    assert_eq!(cluster.leading(), None);
    cluster.restart(leader).await;
    cluster.leader().await;
    write_many(&cluster, "c", 1).await;
    assert_eq!(cluster.master(lost).handle.status().applied, 1);
    cluster.stop_all().await;
}

/// A state machine with a bug.
struct Broken;

impl StateMachine for Broken {
    fn apply(&mut self, _index: u64, _term: u64, _entry: &[u8]) {
        panic!("a bug");
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_the_last_event_and_everything_is_refused_after_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let telling = told.clone();
    let events = move |event| telling.lock().push(format!("{event:?}"));
    let (handle, _service) =
        start(RaftOptions::new(dir.path(), "a:1"), Broken, events).expect("starts");
    until("a leader", || handle.status().leading.then_some(())).await;
    assert_eq!(handle.propose(b"x".to_vec()).await, Err(ProposeError::Lost));
    until("the failure", || told.lock().last().filter(|last| last.contains("a bug")).map(|_| ()))
        .await;
    assert_eq!(handle.propose(b"y".to_vec()).await, Err(ProposeError::Lost));
    assert!(handle.read_barrier().await.is_err());
    assert!(!handle.is_leader_with_lease() && !handle.status().leading);
    handle.stop().await;
    handle.stop().await;
}

/// Masters crash and come back at random while two writers go on. In the end all agree, and whatever
/// was acknowledged is there, in its writer's order.
#[tokio::test(flavor = "multi_thread")]
async fn random_crashes_lose_nothing() {
    const SEED: u64 = 42;
    let mut rng = Rng::new(SEED);
    let mut cluster = Cluster::with_snapshots(3, 40).await;
    let done = CancellationToken::new();
    let handles: Arc<Mutex<Vec<Handle>>> = Arc::default();
    let written: Arc<AtomicU64> = Arc::default();
    let running = |cluster: &Cluster| -> Vec<Handle> {
        cluster.running().map(|(_, master)| master.handle.clone()).collect()
    };
    *handles.lock() = running(&cluster);
    let writers: Vec<_> = ["x", "y"]
        .map(|name| {
            let (handles, done, written) = (handles.clone(), done.clone(), written.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while !done.is_cancelled() {
                    let now = handles.lock().clone();
                    let text = format!("{name}{count:05}");
                    // Those that crash meanwhile never answer yes, so the list is taken anew.
                    if let Ok(()) =
                        tokio::time::timeout(Duration::from_secs(1), write(&now, &text)).await
                    {
                        count += 1;
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                }
                count
            })
        })
        .into_iter()
        .collect();
    let mut crashes = 0;
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        let at = usize::try_from(rng.below(3)).expect("small");
        if cluster.masters[at].is_some() && cluster.running().count() == 3 {
            let crash = rng.chance(80);
            cluster.end(at, crash).await;
            crashes += 1;
        } else if cluster.masters[at].is_none() {
            cluster.restart(at).await;
        }
        *handles.lock() = running(&cluster);
        // The next fault comes after a few more texts, or, while nobody can lead, soon.
        let enough = written.load(Ordering::Relaxed) + rng.below(60);
        let soon = Instant::now() + rng.up_to(Duration::from_millis(400));
        until("the next fault", || {
            let due = written.load(Ordering::Relaxed) >= enough || Instant::now() > soon;
            due.then_some(())
        })
        .await;
    }
    for at in 0..3 {
        if cluster.masters[at].is_none() {
            cluster.restart(at).await;
        }
    }
    *handles.lock() = running(&cluster);
    done.cancel();
    let mut counts = Vec::new();
    for writer in writers {
        counts.push(writer.await.expect("every text is taken in the end"));
    }
    cluster.leader().await;
    cluster.agreed().await;
    let texts = cluster.master(0).texts.sorted();
    assert!(crashes > 3, "{crashes} crashes");
    for (name, count) in ["x", "y"].into_iter().zip(counts) {
        assert!(count > 0);
        for n in 0..count {
            let text = format!("{name}{n:05}");
            assert!(texts.binary_search(&text).is_ok(), "{text} of {count} is lost, seed {SEED}");
        }
    }
    cluster.stop_all().await;
}
