//! The framework store and redirects, over real sockets.

mod common;

use std::net::{SocketAddr, TcpListener};

use common::{Alone, SOON, serving};
use master::{Leadership, Options, Running};
use proto::agora::v1::framework_store_client::FrameworkStoreClient;
use proto::agora::v1::masters_client::MastersClient;
use proto::agora::v1::{
    AcquireLeaseRequest, CommitRequest, Condition, GetRequest, LeaseToken, ListRequest, MasterList,
    ReleaseLeaseRequest, WatchMasters, Write,
};
use reqwest::Method;
use tokio::time::timeout;
use tonic::{Code, Status};
use transport::grpc::Channel;
use transport::identity::Identity;

fn client(address: SocketAddr) -> FrameworkStoreClient<Channel> {
    let channel =
        transport::grpc::channel(&address.to_string(), &Identity::default()).expect("an address");
    FrameworkStoreClient::new(channel)
}

fn write(key: &str, value: Option<&str>) -> Write {
    Write { key: key.to_owned(), value: value.map(|value| value.to_owned().into()) }
}

fn commit(conditions: Vec<Condition>, writes: Vec<Write>) -> CommitRequest {
    CommitRequest { namespace: "test".to_owned(), conditions, writes, lease: None }
}

fn get(keys: &[&str]) -> GetRequest {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    GetRequest { namespace: "test".to_owned(), keys }
}

#[tokio::test]
async fn a_commit_is_all_or_nothing_and_read_back_at_once() {
    let master = Alone::started().await;
    let mut store = client(master.address());
    let writes = vec![write("app/a", Some("1")), write("app/b", Some("2")), write("x", Some(""))];
    let done = store.commit(commit(Vec::new(), writes)).await.expect("written").into_inner();
    assert!(done.committed);

    let found = store.get(get(&["app/b", "no", "app/a"])).await.expect("read").into_inner();
    let keys: Vec<_> = found.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["app/a", "app/b"]);
    assert_eq!(found.entries[0].revision, done.revision);

    // A condition that does not hold: nothing of it is written.
    let stale = Condition { key: "app/a".to_owned(), revision: done.revision + 7 };
    let writes = vec![write("app/c", Some("3"))];
    let refused = store.commit(commit(vec![stale], writes)).await.expect("answered").into_inner();
    assert!(!refused.committed && refused.refusal.contains("app/a"), "{refused:?}");
    let fresh = Condition { key: "app/a".to_owned(), revision: done.revision };
    let absent = Condition { key: "app/c".to_owned(), revision: 0 };
    let writes = vec![write("app/a", None), write("app/c", Some("3"))];
    let done = store.commit(commit(vec![fresh, absent], writes)).await.expect("answered");
    assert!(done.into_inner().committed);

    let list = |after: &str, limit| ListRequest {
        namespace: "test".to_owned(),
        prefix: "app/".to_owned(),
        after: after.to_owned(),
        limit,
    };
    let page = store.list(list("", 1)).await.expect("read").into_inner();
    assert_eq!((page.entries[0].key.as_str(), page.has_more), ("app/b", true));
    let page = store.list(list("app/b", 0)).await.expect("read").into_inner();
    assert_eq!((page.entries[0].key.as_str(), page.has_more), ("app/c", false));

    let nameless = CommitRequest { namespace: String::new(), ..commit(Vec::new(), Vec::new()) };
    let status = store.commit(nameless).await.expect_err("no namespace");
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_lease_has_one_holder_and_fences_the_former_one() {
    let master = Alone::started().await;
    let mut store = client(master.address());
    let lease = |holder: &str| AcquireLeaseRequest {
        namespace: "test".to_owned(),
        name: "leader".to_owned(),
        holder: holder.to_owned(),
        ttl_ms: 60_000,
        note: holder.to_owned().into(),
    };
    let first = store.acquire_lease(lease("one")).await.expect("answered").into_inner();
    assert!(first.acquired);
    let other = store.acquire_lease(lease("two")).await.expect("answered").into_inner();
    assert!(!other.acquired);
    assert_eq!((other.holder.as_str(), &other.note[..]), ("one", &b"one"[..]));

    let release = |token| ReleaseLeaseRequest {
        namespace: "test".to_owned(),
        name: "leader".to_owned(),
        token,
    };
    let released = store.release_lease(release(first.token)).await.expect("answered");
    assert!(released.into_inner().released);
    let second = store.acquire_lease(lease("two")).await.expect("answered").into_inner();
    assert!(second.acquired && second.token > first.token);

    let with = |token| CommitRequest {
        lease: Some(LeaseToken { name: "leader".to_owned(), token }),
        ..commit(Vec::new(), vec![write("k", Some("v"))])
    };
    let late = store.commit(with(first.token)).await.expect("answered").into_inner();
    assert!(!late.committed, "{late:?}");
    let held = store.commit(with(second.token)).await.expect("answered").into_inner();
    assert!(held.committed, "{held:?}");
}

/// Ports that were free a moment ago: masters must know each other's before they start.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("is bound").port())
}

#[tokio::test]
async fn followers_redirect_to_the_leader_and_answer_for_themselves() {
    transport::install_tls_provider();
    let ports = free_ports::<3>();
    let peers: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let dir = tempfile::tempdir().expect("a directory");
    let mut masters = Vec::new();
    for port in ports {
        let work_dir = dir.path().join(port.to_string());
        let options = Options { port, peers: peers.clone(), work_dir, ..Options::default() };
        masters.push(master::start(options).await.expect("it starts"));
    }
    let leader = tokio::select! {
        () = serving(&masters[0]) => 0,
        () = serving(&masters[1]) => 1,
        () = serving(&masters[2]) => 2,
    };
    let follower = &masters[(leader + 1) % 3];
    let follows = |now: &Leadership| matches!(now, Leadership::Following { .. });
    let mut leadership = follower.leadership();
    timeout(SOON, leadership.wait_for(follows)).await.expect("in time").expect("it runs");

    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    for (path, location) in [
        ("/redirect", ""),
        ("/state", "/state"),
        ("/master/slaves?jsonp=f", "/master/slaves?jsonp=f"),
        ("/api/v1/scheduler", "/api/v1/scheduler"),
        ("/api/v1", "/api/v1"),
    ] {
        // Whatever is asked and however: what is wrong with it the leader will say.
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let url = format!("http://{}{path}", follower.address);
            let request = http.request(method.clone(), url).body("{");
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 307, "{method} {path}");
            let wanted = format!("//{}{location}", masters[leader].address);
            assert_eq!(answer.headers()["location"], wanted);
            assert_eq!(answer.text().await.expect("a body"), "");
        }
    }
    for path in ["/health", "/version", "/flags", "/metrics/snapshot", "/metrics"] {
        let url = format!("http://{}{path}", follower.address);
        assert_eq!(http.get(url).send().await.expect("an answer").status(), 200, "{path}");
    }

    let mut all: Vec<_> = masters.iter().map(|one| one.address.to_string()).collect();
    all.sort();
    let watching = watched(&masters[leader]).await.expect("it leads");
    assert_eq!((watching.addresses, watching.spread_ms), (all.clone(), 0));
    assert!(watched(follower).await.is_err(), "it follows");
    let answer = client(masters[leader].address).get(get(&["k"])).await.expect("read");
    let told = answer.metadata().get("agora-masters").expect("it says so");
    let mut told: Vec<_> = told.to_str().expect("text").split(',').collect();
    told.sort_unstable();
    assert_eq!(told, all);

    let status = client(follower.address).get(get(&["k"])).await.expect_err("it follows");
    let address = masters[leader].address.to_string();
    assert_eq!(transport::grpc::leader_of(&status), Some(address.as_str()));
    stop_all(masters).await;
}

/// Where a master says that masters are, in order.
async fn watched(master: &Running) -> Result<MasterList, Status> {
    let address = master.address.to_string();
    let channel = transport::grpc::channel(&address, &Identity::default()).expect("an address");
    let mut told = MastersClient::new(channel).watch(WatchMasters {}).await?.into_inner();
    let mut list = told.message().await?.expect("it says so at once");
    list.addresses.sort();
    Ok(list)
}

async fn stop_all(masters: Vec<Running>) {
    let stops = masters.into_iter().map(Running::stop);
    timeout(SOON, futures::future::join_all(stops)).await.expect("in time");
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    transport::install_tls_provider();
    let dir = tempfile::tempdir().expect("a directory");
    let options = || Options { work_dir: dir.path().to_owned(), ..Options::default() };
    for round in 0..3 {
        let running = master::start(options()).await.expect("it starts");
        serving(&running).await;
        let told = std::fs::read_to_string(dir.path().join("address")).expect("is written");
        assert_eq!(told.trim(), running.address.to_string());
        let mut store = client(running.address);
        if round > 0 {
            let found = store.get(get(&["k"])).await.expect("read").into_inner();
            assert_eq!(&found.entries[0].value[..], (round - 1).to_string().as_bytes());
        }
        let value = round.to_string();
        let writes = vec![write("k", Some(&value))];
        let done = store.commit(commit(Vec::new(), writes)).await.expect("written");
        assert!(done.into_inner().committed);
        running.stop().await;
    }
}
