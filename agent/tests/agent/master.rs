//! A master as far as an agent sees one, played by the test.

use std::net::SocketAddr;
use std::time::Duration;

use model::framework::Framework;
use model::ids::{AgentId, FrameworkId, TaskId, Term};
use model::link::{FromAgent, Launch, Reregister, ToAgent};
use model::step::Timestamp;
use model::task::{RunsBy, Status, TaskState};
use proto::agora::v1::agent_link_server::{AgentLink, AgentLinkServer};
use proto::agora::v1::{AgentFrame, MasterFrame};
use proto::convert;
use proto::convert::task::Launched;
use proto::mesos::v1 as mesos;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Streaming};
use transport::server::{Server, one_port};

use crate::{FRAMEWORK, PATIENCE};

/// The id that the agent is given.
pub(crate) const AGENT: &str = "reign-S0";

/// How long an agent waits for pings, of which none come, before it registers anew. No test takes as long.
pub(crate) const PING_TIMEOUT: Duration = PATIENCE.saturating_mul(10);

pub(crate) type Frames = mpsc::UnboundedSender<Result<MasterFrame, tonic::Status>>;

/// The test's end.
pub(crate) struct Master {
    pub(crate) address: SocketAddr,
    links: mpsc::UnboundedReceiver<Frames>,
    heard: mpsc::UnboundedReceiver<(FromAgent, Instant)>,
    /// When what was heard last has come, which may be long before it was listened to.
    pub(crate) came_at: Instant,
    link: Option<Frames>,
    /// Whether what is said to an agent that is gone is lost, as in the world. Else it fails the test.
    pub(crate) loses_words: bool,
    stop: CancellationToken,
}

/// The service's end.
struct Service {
    links: mpsc::UnboundedSender<Frames>,
    heard: mpsc::UnboundedSender<(FromAgent, Instant)>,
}

#[tonic::async_trait]
impl AgentLink for Service {
    type ConnectStream = UnboundedReceiverStream<Result<MasterFrame, tonic::Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<AgentFrame>>,
    ) -> Result<Response<Self::ConnectStream>, tonic::Status> {
        let (frames, sent) = mpsc::unbounded_channel();
        let _ = self.links.send(frames);
        let (heard, mut spoken) = (self.heard.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(frame)) = spoken.message().await {
                let (message, _) = convert::link::from_agent(frame).expect("it means something");
                if heard.send((message, Instant::now())).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(sent)))
    }
}

impl Master {
    pub(crate) async fn start() -> Self {
        transport::install_tls_provider();
        let bound = Server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
        let (address, stop) = (bound.local_addr(), CancellationToken::new());
        let (linked, links) = mpsc::unbounded_channel();
        let (spoken, heard) = mpsc::unbounded_channel();
        let service = AgentLinkServer::new(Service { links: linked, heard: spoken });
        let router = one_port(axum::Router::new(), Routes::new(service));
        tokio::spawn(bound.serve(router, stop.clone()));
        Self {
            address,
            links,
            heard,
            came_at: Instant::now(),
            link: None,
            loses_words: false,
            stop,
        }
    }

    pub(crate) fn say(&self, message: &ToAgent) {
        let frame = convert::link::master_frame(message, Term(1));
        let sent = self.link.as_ref().expect("a link").send(Ok(frame));
        assert!(sent.is_ok() || self.loses_words, "the agent listens");
    }

    pub(crate) async fn hear(&mut self) -> FromAgent {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        let (said, at) = heard.expect("the agent speaks in time").expect("the service runs");
        self.came_at = at;
        said
    }

    /// The next link, which is taken, or the next that is said on one.
    pub(crate) async fn next(&mut self) -> Option<FromAgent> {
        tokio::select! {
            // A link comes before what is said on it.
            biased;
            link = self.links.recv() => {
                self.link = link;
                None
            }
            said = self.heard.recv() => {
                let (said, at) = said?;
                self.came_at = at;
                Some(said)
            }
        }
    }

    /// Takes the present link away: it lasts until what is returned is dropped.
    pub(crate) fn take_link(&mut self) -> Option<Frames> {
        self.link.take()
    }

    /// Ends, with the present link.
    pub(crate) fn leave(&mut self) {
        self.link = None;
        self.stop.cancel();
    }

    pub(crate) async fn linked(&mut self) {
        let link = tokio::time::timeout(PATIENCE, self.links.recv()).await;
        self.link = Some(link.expect("the agent links up in time").expect("the service runs"));
    }

    /// Takes a link and registers the agent on it.
    pub(crate) async fn register(&mut self) {
        self.linked().await;
        let FromAgent::Register(new) = self.hear().await else { panic!("registers") };
        assert_eq!(&*new.description.hostname, "here");
        self.say(&ToAgent::Registered { agent: agent_id(), ping_timeout: PING_TIMEOUT });
    }

    /// Takes a link and has the agent back. Gives what it brought.
    pub(crate) async fn reregister(&mut self) -> Reregister {
        self.linked().await;
        loop {
            match self.hear().await {
                FromAgent::Reregister(brought) => {
                    self.say(&ToAgent::Reregistered {
                        agent: agent_id(),
                        ping_timeout: PING_TIMEOUT,
                        expected: Vec::new(),
                        completed: Vec::new(),
                        operations: Vec::new(),
                    });
                    return *brought;
                }
                // Said on the link before.
                FromAgent::StatusUpdate { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Has the agent run `task`.
    pub(crate) fn launch(&self, task: mesos::TaskInfo) {
        let framework = framework();
        let id = framework.id.clone().expect("it has one");
        let task = convert::task::from_wire(task, &id, Launched::Alone).expect("well formed");
        let executor = match &task.runs_by {
            RunsBy::Executor(executor) => Some(executor.clone()),
            RunsBy::Command | RunsBy::Group => None,
        };
        self.say(&ToAgent::Launch(Box::new(Launch {
            framework,
            executor,
            starts_executor: true,
            is_group: false,
            tasks: vec![task],
            accepted_at: Timestamp(1),
        })));
    }

    /// Has the agent run `tasks` together, on a built-in executor called `executor` that shares the
    /// resources of the tests' executors.
    pub(crate) fn launch_group(&self, executor: mesos::ExecutorInfo, tasks: Vec<mesos::TaskInfo>) {
        let framework = framework();
        let id = framework.id.clone().expect("it has one");
        let task = |it| convert::task::from_wire(it, &id, Launched::InGroup).expect("well formed");
        let executor = convert::task::executor_from_wire(executor, &id, Launched::InGroup);
        self.say(&ToAgent::Launch(Box::new(Launch {
            framework,
            executor: Some(executor.expect("well formed")),
            starts_executor: true,
            is_group: true,
            tasks: tasks.into_iter().map(task).collect(),
            accepted_at: Timestamp(1),
        })));
    }

    /// The next report of a task, which it acknowledges. What else is said before it is passed by.
    pub(crate) async fn status(&mut self) -> Status {
        loop {
            match self.hear().await {
                FromAgent::StatusUpdate { framework, status, .. } => {
                    self.say(&ToAgent::Acknowledge {
                        framework,
                        task: status.task.clone(),
                        uuid: status.uuid.expect("reports of agents have ids"),
                    });
                    return status;
                }
                // On a slow machine it may ask again before it hears that it is registered.
                FromAgent::Register(_)
                | FromAgent::ExecutorExited { .. }
                | FromAgent::OperationUpdate { .. } => {}
                other => panic!("a report is due, not {other:?}"),
            }
        }
    }

    /// Hears reports until one is of `state`.
    pub(crate) async fn status_of(&mut self, state: TaskState) -> Status {
        loop {
            let status = self.status().await;
            if status.state == state {
                return status;
            }
            assert!(!status.state.is_terminal(), "{status:?}");
        }
    }

    pub(crate) fn kill(&self, task: &str) {
        let (framework, task) = (framework_id(), TaskId::new(task).expect("an id"));
        self.say(&ToAgent::Kill { framework, task, grace: None });
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn agent_id() -> AgentId {
    AgentId::new(AGENT).expect("an id")
}

pub(crate) fn framework_id() -> FrameworkId {
    FrameworkId::new(FRAMEWORK).expect("an id")
}

fn framework() -> Framework {
    let info = mesos::FrameworkInfo {
        name: "test".to_owned(),
        id: Some(mesos::FrameworkId { value: FRAMEWORK.to_owned() }),
        checkpoint: Some(true),
        capabilities: vec![mesos::framework_info::Capability {
            r#type: Some(mesos::framework_info::capability::Type::PartitionAware.into()),
        }],
        ..mesos::FrameworkInfo::default()
    };
    convert::framework::from_wire(info).expect("well formed")
}
