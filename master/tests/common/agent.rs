//! An agent that only talks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::capability::AgentCapability;
use model::framework::Framework;
use model::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, Term, UpdateId};
use model::link::{
    AgentDescription, FromAgent, Launch, LiveExecutor, LiveTask, Register, Reregister, ToAgent,
};
use model::operation::{Operation, OperationState, OperationStatus};
use model::step::Timestamp;
use model::task::{ExecutorSpec, Source, Status, TaskState};
use proto::agora::v1::agent_link_client::AgentLinkClient;
use proto::agora::v1::{AgentFrame, MasterFrame};
use proto::convert::link;
use proto::mesos::v1::resource::{ReservationInfo, reservation_info};
use proto::mesos::v1::{AgentInfo, Resource, value};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use transport::auth::Credential;
use transport::identity::Identity;

use super::SOON;

/// One end of a link. It answers pings by itself, does what operators want, and ends when it is dropped.
pub struct FakeAgent {
    to_master: mpsc::Sender<AgentFrame>,
    from_master: mpsc::UnboundedReceiver<ToAgent>,
    reader: JoinHandle<()>,
    is_slow: Arc<AtomicBool>,
    pub description: AgentDescription,
    /// What it was told when it was let in.
    pub greeting: ToAgent,
    pub id: AgentId,
    pub term: Term,
}

pub fn scalar(name: &str, amount: f64) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar as i32,
        scalar: Some(value::Scalar { value: amount }),
        ..Resource::default()
    }
}

/// Cores that an agent's operator keeps for a role.
pub fn cores_of(role: &str, amount: f64) -> Resource {
    let reservation = ReservationInfo {
        r#type: Some(reservation_info::Type::Static as i32),
        role: Some(role.to_owned()),
        ..ReservationInfo::default()
    };
    Resource { reservations: vec![reservation], ..scalar("cpus", amount) }
}

fn ports() -> Resource {
    let range = vec![value::Range { begin: 31_000, end: 31_009 }];
    Resource {
        name: "ports".to_owned(),
        r#type: value::Type::Ranges as i32,
        ranges: Some(value::Ranges { range }),
        ..Resource::default()
    }
}

/// What an agent says of itself that listens on `port`.
pub fn agent_info(port: u16) -> AgentInfo {
    AgentInfo {
        hostname: "localhost".to_owned(),
        port: Some(port.into()),
        resources: vec![
            scalar("cpus", 4.0),
            scalar("mem", 1_024.0),
            scalar("disk", 1_024.0),
            ports(),
        ],
        ..AgentInfo::default()
    }
}

/// The first word of one that is new.
fn new(description: &AgentDescription) -> FromAgent {
    let (description, total) = (description.clone(), description.resources.clone());
    FromAgent::Register(Box::new(Register { description, total }))
}

impl FakeAgent {
    /// Registers at the leading master.
    pub async fn registered(master: SocketAddr) -> Self {
        Self::registered_as(master, None).await
    }

    /// Registers, and shows who it is.
    pub async fn registered_as(master: SocketAddr, who: Option<Credential>) -> Self {
        Self::registered_on(master, who, 5051).await
    }

    /// Registers as one that listens on `port`: two on the same would be one and the same.
    pub async fn registered_on(master: SocketAddr, who: Option<Credential>, port: u16) -> Self {
        Self::register(master, who, &agent_info(port)).await.expect("let in")
    }

    /// Registers as one that is like this.
    pub async fn registered_with(master: SocketAddr, info: &AgentInfo) -> Self {
        Self::register(master, None, info).await.expect("let in")
    }

    /// Tries to register; an error is why it was turned away.
    pub async fn register(
        master: SocketAddr,
        who: Option<Credential>,
        info: &AgentInfo,
    ) -> Result<Self, String> {
        Self::register_saying(master, who, info, "1.11.0").await
    }

    /// Tries to register as one of this version.
    pub async fn register_saying(
        master: SocketAddr,
        who: Option<Credential>,
        info: &AgentInfo,
        version: &str,
    ) -> Result<Self, String> {
        let address = format!("127.0.0.1:{}", info.port.unwrap_or_default());
        let description = link::describe(info, address, version).expect("whole");
        let first = new(&description);
        Self::connect(master, who, description, &first).await
    }

    /// Registers as one that can do nothing but this.
    pub async fn able_to(master: SocketAddr, capabilities: &[AgentCapability]) -> Self {
        let described = link::describe(&agent_info(5_051), "127.0.0.1:5051".to_owned(), "1.11.0");
        let capabilities = capabilities.iter().copied().collect();
        let description = AgentDescription { capabilities, ..described.expect("whole") };
        let first = new(&description);
        Self::connect(master, None, description, &first).await.expect("let in")
    }

    /// Comes back, as one who has seen no master of a later term.
    pub async fn reregistered(master: SocketAddr, back: Reregister) -> Self {
        Self::reregister(master, back).await.expect("let in")
    }

    /// Tries to come back; an error is why it was turned away.
    pub async fn reregister(master: SocketAddr, back: Reregister) -> Result<Self, String> {
        let description = back.description.clone();
        let first = FromAgent::Reregister(Box::new(back));
        Self::connect(master, None, description, &first).await
    }

    /// Opens a link and says the first word.
    async fn connect(
        master: SocketAddr,
        who: Option<Credential>,
        description: AgentDescription,
        first: &FromAgent,
    ) -> Result<Self, String> {
        let (to_master, frames) = mpsc::channel(16);
        let channel =
            transport::grpc::channel(&master.to_string(), &Identity::of(who)).expect("an address");
        let mut client = AgentLinkClient::new(channel);
        to_master.send(link::agent_frame(first, Term(0))).await.expect("room");
        let connected = client.connect(ReceiverStream::new(frames));
        let connected = timeout(SOON, connected).await.expect("in time").expect("let in");
        let mut from_master = connected.into_inner();
        let answer = timeout(SOON, next(&mut from_master)).await.expect("in time");
        let (message, term) = answer.expect("an answer");
        if let ToAgent::Shutdown { why } = message {
            return Err(why);
        }
        let (ToAgent::Registered { agent, .. } | ToAgent::Reregistered { agent, .. }) = &message
        else {
            panic!("{message:?}")
        };
        let id = agent.clone();
        let (heard, from_reader) = mpsc::unbounded_channel();
        let is_slow = Arc::<AtomicBool>::default();
        let reading = read(from_master, to_master.clone(), term, heard, is_slow.clone());
        let reader = tokio::spawn(reading);
        let (from_master, greeting) = (from_reader, message);
        Ok(Self { to_master, from_master, reader, is_slow, description, greeting, id, term })
    }

    /// What it says when it comes back with what it runs of `frameworks`.
    pub fn back(&self, frameworks: Vec<Framework>, tasks: Vec<LiveTask>) -> Reregister {
        let executor = |task: &LiveTask| {
            let executor = ExecutorSpec {
                id: task.executor.clone(),
                is_default: false,
                resources: model::resources::Resources::none(),
                role: None,
                user: None,
                shutdown_grace: None,
                info: model::payload::Payload::default(),
            };
            let container = ContainerId::new(task.executor.as_str()).expect("an id");
            LiveExecutor { framework: task.framework.clone(), executor, container }
        };
        Reregister {
            agent: self.id.clone(),
            description: self.description.clone(),
            frameworks,
            executors: tasks.iter().map(executor).collect(),
            tasks,
            total: self.description.resources.clone(),
            operations: Vec::new(),
        }
    }

    /// Says something.
    pub async fn say(&self, message: &FromAgent) {
        let frame = link::agent_frame(message, self.term);
        self.to_master.send(frame).await.expect("the link is up");
    }

    /// Reports a state of a task. `n` tells reports apart.
    pub async fn report(&self, framework: &FrameworkId, task: &TaskId, state: TaskState, n: u8) {
        let status = Status { uuid: Some(update_id(n)), ..self.status(task, state) };
        let framework = framework.clone();
        self.say(&FromAgent::StatusUpdate { framework, status, latest: state }).await;
    }

    /// A report of an executor on this agent, without an id.
    pub fn status(&self, task: &TaskId, state: TaskState) -> Status {
        Status {
            agent: Some(self.id.clone()),
            executor: Some(ExecutorId::new(task.as_str()).expect("an id")),
            ..Status::new(task.clone(), state, Source::Executor, Timestamp(1_000_000))
        }
    }

    /// From now on it does not say by itself that what operators want is done.
    pub fn be_slow(&self) {
        self.is_slow.store(true, Ordering::Relaxed);
    }

    /// Says that an operation is done.
    pub async fn finish(&self, operation: &Operation) {
        self.say(&finished(operation)).await;
    }

    /// Hears of an operation, and says that it is done, unless it has said so by itself. Its name is returned.
    pub async fn apply(&mut self) -> &'static str {
        let told = self.hear().await.expect("the link is up");
        let ToAgent::Apply(operation) = told else { panic!("{told:?}") };
        if operation.framework.is_some() {
            self.finish(&operation).await;
        }
        operation.conversion.name()
    }

    /// Must be told to launch something next.
    pub async fn launched(&mut self) -> Launch {
        let told = self.hear().await.expect("the link is up");
        let ToAgent::Launch(launch) = told else { panic!("{told:?}") };
        *launch
    }

    /// The next message that is no ping and not about masters. `None`: the link has ended.
    pub async fn hear(&mut self) -> Option<ToAgent> {
        timeout(SOON, self.from_master.recv()).await.expect("in time")
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The report that an operation is done.
fn finished(operation: &Operation) -> FromAgent {
    let mut status = OperationStatus::new(operation.id.clone(), OperationState::Finished);
    status.converted = operation.conversion.converted();
    // Repeated until it is kept, where anybody is to keep it.
    status.uuid = operation.id.is_some().then_some(UpdateId([0x40; 16]));
    let (operation, framework) = (operation.uuid, operation.framework.clone());
    FromAgent::OperationUpdate { operation, framework, status }
}

/// Passes on what comes, but for pings, which are answered, and for where the masters are. What operators
/// want is done at once.
async fn read(
    mut from_master: Streaming<MasterFrame>,
    to_master: mpsc::Sender<AgentFrame>,
    term: Term,
    heard: mpsc::UnboundedSender<ToAgent>,
    is_slow: Arc<AtomicBool>,
) {
    while let Some((message, _)) = next(&mut from_master).await {
        let is_open = if matches!(message, ToAgent::Ping { .. }) {
            to_master.send(link::agent_frame(&FromAgent::Pong, term)).await.is_ok()
        } else if matches!(message, ToAgent::Masters(_)) {
            true
        } else {
            if let ToAgent::Apply(operation) = &message
                && operation.framework.is_none()
                && !is_slow.load(Ordering::Relaxed)
            {
                // A master that is gone hears no more.
                let _ = to_master.send(link::agent_frame(&finished(operation), term)).await;
            }
            heard.send(message).is_ok()
        };
        if !is_open {
            return;
        }
    }
}

/// The id of the `n`th report.
pub fn update_id(n: u8) -> UpdateId {
    let mut bytes = [n; 16];
    bytes[6] = 0x40;
    bytes[8] = 0x80;
    UpdateId(bytes)
}

/// The first task of a launch, as it lives on its agent.
pub fn live(launch: &Launch, state: TaskState) -> LiveTask {
    let spec = launch.tasks[0].clone();
    let of_command = ExecutorId::new(spec.id.as_str()).expect("an id");
    LiveTask {
        framework: launch.framework.id.clone().expect("masters say it"),
        executor: launch.executor.as_ref().map_or(of_command, |executor| executor.id.clone()),
        spec,
        state,
        unacknowledged: None,
        statuses: Vec::new(),
    }
}

async fn next(from_master: &mut Streaming<MasterFrame>) -> Option<(ToAgent, Term)> {
    let frame = from_master.message().await;
    Some(link::to_agent(frame.ok()??).expect("a message"))
}
