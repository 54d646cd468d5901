//! The scheduler API over gRPC: calls and events on one stream, and an answer to each call.

use std::pin::Pin;

use futures::Stream;
use master_core::StreamClaim;
use model::ids::ConnectionId;
use proto::agora::v1::master_answer::Body;
use proto::agora::v1::scheduler_server::{Scheduler, SchedulerServer};
use proto::agora::v1::{CallAnswer, MasterAnswer, SchedulerFrame};
use proto::convert::scheduler::SchedulerCall;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use transport::grpc::MESSAGE_BYTES_MAX;
use transport::http::Refused;

use super::Api;
use super::scheduler_stream::{self, Subscription};

/// Answers and events that may wait for a client to read them. What is over waits in the queue
/// before it, which has the bound that closes slow clients.
const ANSWERS_MAX: usize = 1_024;

type Answers = mpsc::Sender<Result<MasterAnswer, Status>>;

/// The service.
pub(super) fn service(api: Api) -> SchedulerServer<Service> {
    SchedulerServer::new(Service { api })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Serves subscriptions.
pub(super) struct Service {
    api: Api,
}

#[tonic::async_trait]
impl Scheduler for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<MasterAnswer, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SchedulerFrame>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.api.serving().map_err(|not| not.status())?;
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        // The subscription's own task, since a client may wait for our headers before it speaks.
        tokio::spawn(serve(self.api.clone(), request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

async fn serve(api: Api, mut frames: Streaming<SchedulerFrame>, answers: Answers) {
    let stream = match first(&api, &mut frames).await {
        Ok((sequence, stream)) => {
            let _ = answers.send(Ok(answer(sequence, 200, String::new()))).await;
            stream
        }
        Err(status) => {
            let _ = answers.send(Err(status)).await;
            return;
        }
    };
    let connection = stream.subscribed.connection;
    tokio::select! {
        () = events(&api, stream, &answers) => {}
        () = calls(&api, connection, &mut frames, &answers) => {}
        () = answers.closed() => {}
        () = api.stop.cancelled() => {}
    }
    api.driver.close_scheduler(connection).await;
}

/// The first frame must subscribe.
async fn first(
    api: &Api,
    frames: &mut Streaming<SchedulerFrame>,
) -> Result<(u64, Subscription), Status> {
    let Some(SchedulerFrame { sequence, call }) = frames.message().await? else {
        return Err(Status::invalid_argument("the stream has ended before a call came"));
    };
    let call = call.unwrap_or_default();
    let status = |refused: Refused| transport::grpc::status(&refused);
    let stream = match scheduler_stream::understood(call).map_err(status)? {
        SchedulerCall::Subscribe(subscribe) => {
            scheduler_stream::subscribe(api, *subscribe).await.map_err(status)?
        }
        SchedulerCall::SubscribeRefused(why) => scheduler_stream::error_only(why),
        SchedulerCall::Call(..) => {
            return Err(Status::invalid_argument("the first call must be SUBSCRIBE"));
        }
    };
    Ok((sequence, stream))
}

async fn events(api: &Api, stream: Subscription, answers: &Answers) {
    let Subscription { mut subscribed, capabilities } = stream;
    while let Some(event) = subscribed.events.recv().await {
        let body = Some(Body::Event(scheduler_stream::message(api, &event, capabilities)));
        if answers.send(Ok(MasterAnswer { body })).await.is_err() {
            return;
        }
    }
}

async fn calls(
    api: &Api,
    connection: Option<ConnectionId>,
    frames: &mut Streaming<SchedulerFrame>,
    answers: &Answers,
) {
    while let Ok(Some(SchedulerFrame { sequence, call })) = frames.message().await {
        let result = match scheduler_stream::understood(call.unwrap_or_default()) {
            Ok(SchedulerCall::Call(framework, call)) => {
                let claim = connection.map_or(StreamClaim::Missing, StreamClaim::Connection);
                scheduler_stream::call(api, framework, call, claim).await
            }
            Ok(SchedulerCall::Subscribe(_) | SchedulerCall::SubscribeRefused(_)) => {
                Err(Refused::bad_request("This stream has its subscription; open another one"))
            }
            Err(refused) => Err(refused),
        };
        let answer = match result {
            Ok(done) => answer(sequence, done.status(), String::new()),
            Err(refused) => answer(sequence, refused.status.as_u16(), refused.text),
        };
        if answers.send(Ok(answer)).await.is_err() {
            return;
        }
    }
}

fn answer(sequence: u64, status: u16, reason: String) -> MasterAnswer {
    let status = u32::from(status);
    MasterAnswer { body: Some(Body::Answer(CallAnswer { sequence, status, reason })) }
}
