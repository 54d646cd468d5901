//! Masters that come and go while the cluster runs.

use std::time::Duration;

use proto::agora::v1::AddMemberRequest;
use proto::agora::v1::raft_admin_client::RaftAdminClient;
use tokio::time::{Instant, sleep};
use transport::identity::Identity;

use super::{Cluster, Told, WITHIN, bind, until, write_many};
use crate::raft::error::ChangeError;
use crate::raft::node::Change;
use crate::raft::{ask_cluster, ask_to_be_added, has_begun};

impl Cluster {
    /// Starts a master that joins, as a person would start it; returns its place.
    async fn join(&mut self) -> usize {
        let bound = bind("127.0.0.1:0".parse().expect("an address")).await;
        let others: Vec<_> = self.running().map(|(at, _)| self.addresses[at].to_string()).collect();
        let at = self.masters.len();
        self.joined = Some(ask_cluster(&others, &Identity::default()).await);
        self.addresses.push(bound.local_addr());
        self.dirs.push(tempfile::tempdir().expect("a directory"));
        self.masters.push(None);
        assert!(!has_begun(self.dirs[at].path()));
        self.begin(at, bound);
        assert!(has_begun(self.dirs[at].path()));
        // Later starts need not ask.
        self.joined = None;
        let own = self.addresses[at].to_string();
        tokio::spawn(ask_to_be_added(
            self.master(at).handle.clone(),
            own,
            others,
            Identity::default(),
        ));
        at
    }

    /// Waits until the masters at these places, and no others, are the voters.
    async fn voters_are(&self, places: &[usize]) {
        let mut expected: Vec<_> =
            places.iter().map(|at| self.addresses[*at].to_string()).collect();
        expected.sort();
        let deadline = Instant::now() + WITHIN;
        loop {
            let leader = self.leader().await;
            let listed = self.master(leader).handle.list().await;
            let voters = listed.members.iter().filter(|member| member.is_voter);
            let mut voters: Vec<_> = voters.map(|member| member.address.clone()).collect();
            voters.sort();
            if voters == expected && listed.members.len() == expected.len() {
                return;
            }
            assert!(Instant::now() < deadline, "{listed:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Has a change made by whoever leads, as soon as there is none under way.
    async fn change(&self, change: &Change) -> Result<u64, ChangeError> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let leader = self.leader().await;
            match self.master(leader).handle.change(change.clone()).await {
                Err(ChangeError::Busy | ChangeError::NotLeader { .. })
                    if Instant::now() < deadline => {}
                answer => return answer,
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn named(&self, at: usize) -> String {
        self.addresses[at].to_string()
    }
}

fn remove(name: String, force: bool) -> Change {
    Change::Remove { name, force }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_master_is_replaced_by_a_new_one_that_gets_a_snapshot() {
    let mut cluster = Cluster::with_snapshots(3, 50).await;
    write_many(&cluster, "a", 200).await;
    let dead = (cluster.leader().await + 1) % 3;
    cluster.end(dead, true).await;
    cluster.change(&remove(cluster.named(dead), false)).await.expect("two are enough");
    let new = cluster.join().await;
    let rest: Vec<_> = (0..3).filter(|at| *at != dead).collect();
    cluster.voters_are(&[rest[0], rest[1], new]).await;
    write_many(&cluster, "b", 100).await;
    assert_eq!(cluster.agreed().await.len(), 300);

    // Its vote counts, and what it knows of the others outlasts all of them.
    for at in [rest[0], rest[1], new] {
        cluster.end(at, true).await;
    }
    cluster.restart(rest[0]).await;
    cluster.restart(new).await;
    cluster.leader().await;
    write_many(&cluster, "c", 10).await;
    assert_eq!(cluster.agreed().await.len(), 310);

    // The dead one comes back, and is told.
    cluster.restart(dead).await;
    until("news of the removal", || {
        let told = cluster.master(dead).told.lock().clone();
        let ended = told.iter().any(
            |told| matches!(told, Told::Failed(why) if why.contains("removed from the cluster")),
        );
        ended.then_some(())
    })
    .await;
    cluster.end(dead, true).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_master_becomes_three_and_the_first_can_go() {
    let mut cluster = Cluster::new(1).await;
    write_many(&cluster, "a", 50).await;
    let last = cluster.change(&remove(cluster.named(0), false)).await;
    assert!(matches!(last, Err(ChangeError::Refused(why)) if why.contains("the last master")));
    let second = cluster.join().await;
    cluster.voters_are(&[0, second]).await;
    let third = cluster.join().await;
    cluster.voters_are(&[0, second, third]).await;
    let leader = cluster.leader().await;
    let itself = cluster.change(&remove(cluster.named(leader), false)).await;
    assert_eq!(itself, Err(ChangeError::Leads));
    let next = Change::Transfer { name: Some(cluster.named(second)) };
    let id = cluster.change(&next).await.expect("it is ready");
    assert_eq!(cluster.leader().await, second);
    assert_eq!(cluster.master(second).handle.status().raft_id, id);
    cluster.change(&remove(cluster.named(0), false)).await.expect("two are left");
    until("the first to end", || {
        let told = cluster.master(0).told.lock().clone();
        matches!(told.last(), Some(Told::Failed(_))).then_some(())
    })
    .await;
    cluster.end(0, false).await;
    write_many(&cluster, "b", 50).await;
    assert_eq!(cluster.agreed().await.len(), 100);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_would_do_harm_are_refused_with_their_reason() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let (dead, alive) = ((leader + 1) % 3, (leader + 2) % 3);
    let refused = |answer: Result<u64, ChangeError>, why: &str| match answer {
        Err(error) => assert!(error.to_string().contains(why), "{error} is not: {why}"),
        Ok(id) => panic!("{id} is not refused: {why}"),
    };
    write_many(&cluster, "a", 5).await;
    cluster.agreed().await;
    refused(cluster.change(&remove("x:1".to_owned(), false)).await, "no master has the address");
    for (raft_id, address, why) in [
        (0, "x:1".to_owned(), "can be no master"),
        (9, "nowhere".to_owned(), "can be no master"),
        (9, cluster.named(alive), "is a master already"),
    ] {
        refused(cluster.change(&Change::Add { raft_id, address }).await, why);
    }
    let follower = &cluster.master(alive).handle;
    let elsewhere = follower.change(Change::Transfer { name: None }).await;
    assert!(matches!(elsewhere, Err(ChangeError::NotLeader { leader: Some(_) })));
    cluster.end(dead, true).await;
    let name = cluster.named(alive);
    let deadline = Instant::now() + WITHIN;
    // Until its silence is long enough, the dead one counts as reached.
    loop {
        let listed = cluster.master(leader).handle.list().await;
        let silent = listed.members.iter().find(|one| one.address == cluster.named(dead));
        if silent.is_some_and(|one| one.heard_ago > Some(Duration::from_millis(300))) {
            break;
        }
        assert!(Instant::now() < deadline, "{listed:?}");
        sleep(Duration::from_millis(10)).await;
    }
    refused(cluster.change(&remove(name.clone(), false)).await, "only 1 can be reached");
    cluster.change(&remove(name, true)).await.expect("by force");
    cluster.end(alive, true).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_lease_after_leadership_was_to_be_handed_on() {
    let mut cluster = Cluster::new(3).await;
    let old = cluster.leader().await;
    until("a lease", || cluster.master(old).handle.is_leader_with_lease().then_some(())).await;
    let dead = (old + 1) % 3;
    cluster.end(dead, true).await;
    let change = Change::Transfer { name: Some(cluster.named(dead)) };
    let answer = cluster.change(&change).await;
    assert!(matches!(answer, Err(ChangeError::Refused(why)) if why.contains("in time")));
    let handle = &cluster.master(old).handle;
    // It leads on, and answers reads by asking the others each time.
    handle.read_barrier().await.expect("it leads");
    assert!(!handle.is_leader_with_lease());
    assert!(handle.propose(b"x".to_vec()).await.is_ok());
    cluster.change(&Change::Transfer { name: None }).await.expect("the third is ready");
    let new = cluster.leader().await;
    assert_ne!(new, old);
    until("a lease", || cluster.master(new).handle.is_leader_with_lease().then_some(())).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_another_cluster_is_not_added() {
    let (one, other) = (Cluster::new(1).await, Cluster::new(1).await);
    one.leader().await;
    other.leader().await;
    let address = one.named(0);
    let channel = transport::grpc::channel(&address, &Identity::default()).expect("an address");
    let mut client = RaftAdminClient::new(channel);
    let stranger = other.master(0).handle.clone();
    let asked = client
        .add_member(AddMemberRequest {
            address: other.named(0),
            raft_id: stranger.status().raft_id,
            cluster_id: stranger.cluster_id().to_owned(),
        })
        .await;
    let refusal = asked.expect_err("it is of another cluster");
    assert!(refusal.message().contains("is of another cluster"), "{refusal}");
    // The same where the leading one asks who it is.
    let request = AddMemberRequest { address: other.named(0), ..AddMemberRequest::default() };
    let refusal = client.add_member(request).await.expect_err("it is of another cluster");
    assert!(refusal.message().contains("a master of another cluster"), "{refusal}");
    one.stop_all().await;
    other.stop_all().await;
}
