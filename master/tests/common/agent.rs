//! An agent that only talks.

use std::net::SocketAddr;

use model::ids::{AgentId, Term, UpdateId};
use model::link::{FromAgent, ToAgent};
use model::operation::{OperationState, OperationStatus};
use proto::agora::v1::agent_link_client::AgentLinkClient;
use proto::agora::v1::{AgentFrame, MasterFrame};
use proto::convert::link;
use proto::mesos::v1::{AgentInfo, Resource, value};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use transport::auth::Credential;
use transport::identity::Identity;

use super::SOON;

/// One end of a link.
pub struct FakeAgent {
    to_master: mpsc::Sender<AgentFrame>,
    from_master: Streaming<MasterFrame>,
    pub id: AgentId,
    pub term: Term,
}

fn scalar(name: &str, amount: f64) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar as i32,
        scalar: Some(value::Scalar { value: amount }),
        ..Resource::default()
    }
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
        let (to_master, frames) = mpsc::channel(16);
        let channel =
            transport::grpc::channel(&master.to_string(), &Identity::of(who)).expect("an address");
        let mut client = AgentLinkClient::new(channel);
        let info = AgentInfo {
            hostname: "localhost".to_owned(),
            port: Some(port.into()),
            resources: vec![
                scalar("cpus", 4.0),
                scalar("mem", 1_024.0),
                scalar("disk", 1_024.0),
                ports(),
            ],
            ..AgentInfo::default()
        };
        let address = format!("127.0.0.1:{port}");
        let description = link::describe(&info, address, "1.11.0").expect("whole");
        let register = link::agent_frame(&FromAgent::Register(description), Term(0));
        to_master.send(register).await.expect("room");
        let connected = client.connect(ReceiverStream::new(frames));
        let connected = timeout(SOON, connected).await.expect("in time").expect("let in");
        let mut from_master = connected.into_inner();
        let (message, term) = next(&mut from_master).await.expect("an answer");
        let ToAgent::Registered { agent: id, .. } = message else {
            panic!("not registered: {message:?}");
        };
        Self { to_master, from_master, id, term }
    }

    /// Says something.
    pub async fn say(&self, message: &FromAgent) {
        let frame = link::agent_frame(message, self.term);
        self.to_master.send(frame).await.expect("the link is up");
    }

    /// Hears of an operation, and says that it is done. Its name is returned.
    pub async fn apply(&mut self) -> &'static str {
        let told = self.hear().await.expect("the link is up");
        let ToAgent::Apply(operation) = told else { panic!("{told:?}") };
        let mut status = OperationStatus::new(operation.id.clone(), OperationState::Finished);
        status.converted = operation.conversion.converted();
        // Repeated until it is kept, where anybody is to keep it.
        status.uuid = operation.id.is_some().then_some(UpdateId([0x40; 16]));
        let (name, framework) = (operation.conversion.name(), operation.framework.clone());
        self.say(&FromAgent::OperationUpdate { operation: operation.uuid, framework, status })
            .await;
        name
    }

    /// The next message that is no ping; pings are answered. `None`: the link has ended.
    pub async fn hear(&mut self) -> Option<ToAgent> {
        loop {
            let (message, _) = next(&mut self.from_master).await?;
            if !matches!(message, ToAgent::Ping { .. }) {
                return Some(message);
            }
            self.say(&FromAgent::Pong).await;
        }
    }
}

async fn next(from_master: &mut Streaming<MasterFrame>) -> Option<(ToAgent, Term)> {
    let frame = timeout(SOON, from_master.message()).await.expect("in time");
    Some(link::to_agent(frame.ok()??).expect("a message"))
}
