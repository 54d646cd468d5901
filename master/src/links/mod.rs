//! The links of agents: one stream each, opened by the agent.
//!
//! Nothing is decided here. Frames become messages of the model and go to the core; what the core
//! says goes out as frames, each with the term of the reign. When the reign ends, so do all links.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use master_core::Input;
use model::acl::{Acls, Action};
use model::ids::ConnectionId;
use proto::agora::v1::agent_link_server::{AgentLink, AgentLinkServer};
use proto::agora::v1::{AgentFrame, MasterFrame};
use proto::convert::link as convert;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use transport::auth::Principal;
use transport::grpc::MESSAGE_BYTES_MAX;

use crate::driver::Handle;
use crate::leadership::{Serving, Standing};
use crate::meters::Meters;

/// The service that agents open their links at.
#[derive(Clone)]
pub(crate) struct Links {
    pub driver: Handle,
    pub standing: Standing,
    pub acls: Arc<Acls>,
    pub meters: Arc<Meters>,
    pub stop: CancellationToken,
}

impl Links {
    /// As a gRPC service.
    pub(crate) fn service(self) -> AgentLinkServer<Self> {
        AgentLinkServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl AgentLink for Links {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<MasterFrame, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<AgentFrame>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let principal = Principal::name_of(request.extensions());
        if !self.acls.allow(Action::RegisterAgent, principal.as_deref(), None) {
            let who = principal.as_deref().unwrap_or("nobody");
            tracing::warn!(principal = who, "refused an agent that may not register");
            let text = format!("Not authorized to register an agent as '{who}'");
            return Err(Status::permission_denied(text));
        }
        let Serving { term, .. } = self.standing.serving().await.map_err(|not| not.status())?;
        let (connection, messages) = self.driver.new_link();
        // Cancelled when either direction has ended, so that the other one ends too.
        let ended = CancellationToken::new();
        tokio::spawn(read(self.clone(), connection, request.into_inner(), ended.clone()));
        let guard = ended.clone().drop_guard();
        let messages = stream::unfold(messages, async |mut messages| {
            messages.next().await.map(|message| (message, messages))
        });
        let frames = messages.map(move |message| {
            // Held by the stream: when it is dropped, because the agent went, the reader ends.
            let _held = &guard;
            Ok(convert::master_frame(&message, term))
        });
        let ending = async move { ended.cancelled().await };
        Ok(Response::new(Box::pin(frames.take_until(ending))))
    }
}

/// Hands what the agent says to the core, until it says no more.
async fn read(
    links: Links,
    connection: ConnectionId,
    mut frames: Streaming<AgentFrame>,
    ended: CancellationToken,
) {
    let _guard = ended.clone().drop_guard();
    links.driver.tell(Input::AgentConnected { connection }).await;
    loop {
        let frame = tokio::select! {
            frame = frames.message() => frame,
            () = ended.cancelled() => break,
            () = links.stop.cancelled() => break,
        };
        let Ok(Some(frame)) = frame else { break };
        match convert::from_agent(frame) {
            Ok((message, term_seen)) => {
                links.meters.said(&message);
                links.driver.tell(Input::FromAgent { connection, term_seen, message }).await;
            }
            Err(malformed) => {
                // An agent that makes no sense is told by the end of its link.
                tracing::warn!(connection = connection.0, %malformed, "closing an agent's link");
                break;
            }
        }
    }
    links.driver.close_link(connection).await;
}
