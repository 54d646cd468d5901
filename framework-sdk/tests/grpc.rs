//! The client and the store over gRPC, against masters that are played.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use framework_sdk::builders::framework;
use framework_sdk::store::{CommitError, Entry, StoreClient, StoreError, Write};
use framework_sdk::{CallError, Client, ClientOptions, Protocol, SessionEvent};
use futures::{Stream, StreamExt};
use proto::agora::v1::framework_store_server::{FrameworkStore, FrameworkStoreServer};
use proto::agora::v1::master_answer::Body;
use proto::agora::v1::masters_server::{Masters, MastersServer};
use proto::agora::v1::scheduler_server::{Scheduler, SchedulerServer};
use proto::agora::v1::{
    AcquireLeaseRequest, AcquireLeaseResponse, CallAnswer, CommitRequest, CommitResponse,
    GetRequest, GetResponse, ListRequest, ListResponse, MasterAnswer, MasterList,
    ReleaseLeaseRequest, ReleaseLeaseResponse, SchedulerFrame, WatchMasters,
};
use proto::mesos::v1::FrameworkId;
use proto::mesos::v1::scheduler::{Call, Event, call, event};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use transport::grpc::{MASTERS_METADATA, not_leader};
use transport::server::{Server, one_port};

const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

/// A master: it leads, or says who does.
#[derive(Clone, Default)]
struct Master {
    leader: Option<SocketAddr>,
    /// Where it says that masters are.
    masters: Vec<String>,
    /// What every commit is answered with, in order; then all are carried out.
    commit_failures: Arc<Mutex<Vec<Status>>>,
    commits: Arc<Mutex<Vec<CommitRequest>>>,
}

impl Master {
    async fn serve(self) -> (SocketAddr, CancellationToken) {
        let any = "127.0.0.1:0".parse().expect("an address");
        let bound = Server::bind(any).await.expect("a free port");
        let address = bound.local_addr();
        let services = Routes::new(SchedulerServer::new(self.clone()))
            .add_service(MastersServer::new(self.clone()))
            .add_service(FrameworkStoreServer::new(self));
        let stop = CancellationToken::new();
        tokio::spawn(bound.serve(one_port(axum::Router::new(), services), stop.clone()));
        (address, stop)
    }

    fn leads(&self) -> Result<(), Status> {
        match self.leader {
            Some(leader) => Err(not_leader(Some(&leader.to_string()))),
            None => Ok(()),
        }
    }
}

fn answer(frame: &SchedulerFrame) -> Body {
    let sequence = frame.sequence;
    let kind = frame.call.as_ref().map(Call::r#type).expect("every frame has a call");
    if kind == call::Type::Subscribe {
        return Body::Event(Event {
            r#type: Some(event::Type::Subscribed.into()),
            subscribed: Some(event::Subscribed {
                framework_id: FrameworkId { value: "f-0000".into() },
                ..event::Subscribed::default()
            }),
            ..Event::default()
        });
    }
    let answer = if kind == call::Type::Kill {
        CallAnswer { sequence, status: 400, reason: "no such task".to_owned() }
    } else {
        CallAnswer { sequence, status: 202, reason: String::new() }
    };
    Body::Answer(answer)
}

#[tonic::async_trait]
impl Scheduler for Master {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<MasterAnswer, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SchedulerFrame>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.leads()?;
        let answers =
            request.into_inner().map(|frame| Ok(MasterAnswer { body: Some(answer(&frame?)) }));
        Ok(Response::new(answers.boxed()))
    }
}

#[tonic::async_trait]
impl Masters for Master {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<MasterList, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchMasters>) -> Result<Response<Self::WatchStream>, Status> {
        self.leads()?;
        let list = MasterList { addresses: self.masters.clone(), spread_ms: 0 };
        let told = futures::stream::once(async move { Ok(list) });
        Ok(Response::new(told.chain(futures::stream::pending()).boxed()))
    }
}

#[tonic::async_trait]
impl FrameworkStore for Master {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.leads()?;
        let keys = request.into_inner().keys.into_iter();
        let entries = keys.map(|key| Entry { key, ..Entry::default() }).collect();
        let mut response = Response::new(GetResponse { entries });
        let masters = self.masters.join(",").parse().expect("text");
        response.metadata_mut().insert(MASTERS_METADATA, masters);
        Ok(response)
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        self.leads()?;
        let request = request.into_inner();
        let all = ["a1", "a2", "a3", "a4", "a5"];
        let left = all.into_iter().filter(|key| *key > request.after.as_str());
        let page: Vec<_> = left.clone().take(2).collect();
        let has_more = left.count() > 2;
        let entries = page.into_iter().map(|key| Entry { key: key.into(), ..Entry::default() });
        Ok(Response::new(ListResponse { entries: entries.collect(), has_more }))
    }

    async fn commit(
        &self,
        request: Request<CommitRequest>,
    ) -> Result<Response<CommitResponse>, Status> {
        self.leads()?;
        if let Some(status) = self.commit_failures.lock().expect("nobody panicked").pop() {
            return Err(status);
        }
        let mut commits = self.commits.lock().expect("nobody panicked");
        commits.push(request.into_inner());
        let revision = commits.len() as u64;
        let committed = revision < 3;
        let refusal = if committed { String::new() } else { "the lease is lost".into() };
        Ok(Response::new(CommitResponse { committed, revision, refusal }))
    }

    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        self.leads()?;
        let request = request.into_inner();
        Ok(Response::new(AcquireLeaseResponse {
            acquired: request.holder == "me",
            token: 4,
            holder: "me".into(),
            note: request.note,
            remaining_ms: request.ttl_ms,
        }))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        self.leads()?;
        Ok(Response::new(ReleaseLeaseResponse { released: request.into_inner().token == 4 }))
    }
}

#[tokio::test]
async fn events_and_calls_travel_on_one_stream_of_the_leader() {
    let (leader, _stop) = Master::default().serve().await;
    let follower = Master { leader: Some(leader), ..Master::default() };
    let (follower, stop) = follower.serve().await;
    let info = framework("test", "root", Duration::ZERO);
    let options = ClientOptions::new(vec![follower.to_string()], info);
    let (handle, mut events) =
        Client::connect(ClientOptions { protocol: Protocol::Grpc, ..options });
    let event = soon(events.next()).await.expect("a session");
    let SessionEvent::Subscribed { address, again: false, .. } = event else { panic!("{event:?}") };
    assert_eq!(address, leader.to_string());
    soon(handle.revive(Vec::new())).await.expect("taken");
    let task = proto::mesos::v1::TaskId { value: "t".into() };
    let refused = soon(handle.kill(task, None, None)).await;
    let reason = "no such task".to_owned();
    assert_eq!(refused, Err(CallError::Refused { status: 400, reason }));
    stop.cancel();
}

#[tokio::test]
async fn a_master_that_nobody_was_given_is_found_when_the_others_are_gone() {
    let (new, _stop) = Master::default().serve().await;
    let there = vec![new.to_string()];
    let (old, stop) = Master { masters: there.clone(), ..Master::default() }.serve().await;
    let info = framework("test", "root", Duration::ZERO);
    let options = ClientOptions::new(vec![old.to_string()], info);
    let (handle, mut events) =
        Client::connect(ClientOptions { protocol: Protocol::Grpc, ..options });
    soon(events.next()).await.expect("a session");
    let store = StoreClient::new(vec![old.to_string()], "test");
    soon(store.get(Vec::new())).await.expect("read");
    assert_eq!(store.masters(), [new.to_string(), old.to_string()]);
    assert_eq!(*store.watch_masters().borrow(), there);
    let mut told = handle.watch_masters();
    soon(told.wait_for(|masters| *masters == there)).await.expect("the session goes on");
    stop.cancel();
    let event = soon(events.next()).await.expect("a session");
    assert!(matches!(event, SessionEvent::Disconnected { .. }), "{event:?}");
    let event = soon(events.next()).await.expect("a session");
    let SessionEvent::Subscribed { address, again: true, .. } = event else { panic!("{event:?}") };
    assert_eq!(address, new.to_string());
    soon(store.get(Vec::new())).await.expect("read from the other one");
}

#[tokio::test]
async fn the_store_is_found_where_the_leader_is() {
    let master = Master::default();
    let commits = master.commits.clone();
    let (leader, _stop) = master.serve().await;
    let follower = Master { leader: Some(leader), ..Master::default() };
    let (follower, _stop) = follower.serve().await;
    let store = StoreClient::new(vec![follower.to_string()], "test");
    let entries = soon(store.list("a")).await.expect("listed");
    let keys: Vec<_> = entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["a1", "a2", "a3", "a4", "a5"]);
    assert_eq!(soon(store.get(vec!["k".into()])).await.expect("read")[0].key, "k");

    let ttl = Duration::from_secs(5);
    let lease = soon(store.acquire_lease("l", "me", ttl, "note".into())).await.expect("asked");
    assert!(lease.is_ours && lease.token == 4 && lease.note == "note");
    assert!(soon(store.release_lease("l", 4)).await.expect("asked"));

    let write = Write { key: "k".into(), value: Some("v".into()) };
    for revision in 1..3 {
        let written = soon(store.commit(Vec::new(), vec![write.clone()], None)).await;
        assert_eq!(written.expect("written"), revision);
    }
    let refused = soon(store.commit(Vec::new(), vec![write], None)).await;
    assert!(matches!(refused, Err(CommitError::Conflict(why)) if why == "the lease is lost"));
    assert_eq!(commits.lock().expect("nobody panicked")[0].namespace, "test");
}

#[tokio::test]
async fn a_commit_is_repeated_only_if_it_was_not_carried_out() {
    let electing = vec![not_leader(None), not_leader(None)];
    let master = Master { commit_failures: Arc::new(Mutex::new(electing)), ..Master::default() };
    let commits = master.commits.clone();
    let failures = master.commit_failures.clone();
    let (address, _stop) = master.serve().await;
    let store = StoreClient::new(vec![address.to_string()], "test");
    soon(store.commit(Vec::new(), Vec::new(), None)).await.expect("written after the election");
    failures.lock().expect("nobody panicked").push(Status::unavailable("deposed meanwhile"));
    let unknown = soon(store.commit(Vec::new(), Vec::new(), None)).await;
    assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
    assert_eq!(commits.lock().expect("nobody panicked").len(), 1);
}

#[tokio::test]
async fn a_master_that_is_not_there_is_told_from_one_that_may_have_written() {
    // A port that was free a moment ago: nobody listens there.
    let bound = Server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let dead = bound.local_addr().to_string();
    drop(bound);
    let store = StoreClient::new(vec![dead.clone()], "test");
    let store = store.with_patience(Duration::from_millis(300));
    let error = soon(store.commit(Vec::new(), Vec::new(), None)).await;
    assert!(matches!(error, Err(CommitError::Unavailable(_))), "{error:?}");
    let error = soon(store.list("")).await;
    assert!(matches!(error, Err(StoreError::Unavailable(_))), "{error:?}");

    let (alive, _stop) = Master::default().serve().await;
    let store = StoreClient::new(vec![dead, alive.to_string()], "test");
    soon(store.commit(Vec::new(), Vec::new(), None)).await.expect("the other one has it");
}
