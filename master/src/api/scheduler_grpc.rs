//! The scheduler API over gRPC: calls and events on one stream, and an answer to each call.

use std::pin::Pin;
use std::sync::Arc;

use futures::stream::FuturesOrdered;
use futures::{Stream, StreamExt};
use master_core::StreamClaim;
use model::ids::ConnectionId;
use proto::agora::v1::master_answer::Body;
use proto::agora::v1::scheduler_server::{Scheduler, SchedulerServer};
use proto::agora::v1::{CallAnswer, MasterAnswer, SchedulerFrame};
use proto::convert::scheduler::SchedulerCall;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use transport::auth::Principal;
use transport::grpc::MESSAGE_BYTES_MAX;
use transport::http::Refused;

use super::Api;
use super::scheduler_stream::{self, Subscription};

/// Answers and events that may wait for a client to read them. What is over waits in the queue
/// before it, which has the bound that closes slow clients.
const ANSWERS_MAX: usize = 1_024;

/// Calls of one framework that are with the core. Past it the client's stream is left unread.
const CALLS_PENDING_MAX: usize = 512;

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
        let principal = Principal::name_of(request.extensions());
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        // The subscription's own task, since a client may wait for our headers before it speaks.
        tokio::spawn(serve(self.api.clone(), request.into_inner(), answers, principal));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Who calls on a stream.
struct Caller {
    connection: Option<ConnectionId>,
    principal: Option<Arc<str>>,
}

async fn serve(
    api: Api,
    mut frames: Streaming<SchedulerFrame>,
    answers: Answers,
    principal: Option<Arc<str>>,
) {
    let stream = match first(&api, &mut frames, principal.clone()).await {
        Ok((sequence, stream)) => {
            let _ = answers.send(Ok(answer(sequence, 200, String::new()))).await;
            stream
        }
        Err(status) => {
            let _ = answers.send(Err(status)).await;
            return;
        }
    };
    let caller = Caller { connection: stream.subscribed.connection, principal };
    // Set when there are no more events: what was asked before is still answered, TEARDOWN above all.
    let over = CancellationToken::new();
    let events = async {
        events(&api, stream, &answers).await;
        over.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = events => {}
        () = calls(&api, &caller, &mut frames, &answers, &over) => {}
        () = answers.closed() => {}
        () = api.stop.cancelled() => {}
    }
    api.driver.close_scheduler(caller.connection).await;
}

/// The first frame must subscribe.
async fn first(
    api: &Api,
    frames: &mut Streaming<SchedulerFrame>,
    principal: Option<Arc<str>>,
) -> Result<(u64, Subscription), Status> {
    let Some(SchedulerFrame { sequence, call }) = frames.message().await? else {
        return Err(Status::invalid_argument("the stream has ended before a call came"));
    };
    let call = call.unwrap_or_default();
    let status = |refused: Refused| transport::grpc::status(&refused);
    let stream = match scheduler_stream::understood(call).map_err(status)? {
        SchedulerCall::Subscribe(subscribe) => {
            scheduler_stream::subscribe(api, *subscribe, principal).await.map_err(status)?
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

/// Takes calls in and answers them in order. The next call does not wait for the answer to the one
/// before: the core answers as fast as it can, and a round trip for each would leave it idle.
async fn calls(
    api: &Api,
    caller: &Caller,
    frames: &mut Streaming<SchedulerFrame>,
    answers: &Answers,
    over: &CancellationToken,
) {
    let mut pending = FuturesOrdered::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        tokio::select! {
            frame = frames.message(), if is_open && pending.len() < CALLS_PENDING_MAX => match frame {
                Ok(Some(frame)) => pending.push_back(call(api, caller, frame)),
                Ok(None) | Err(_) => is_open = false,
            },
            () = over.cancelled(), if is_open => is_open = false,
            Some(answer) = pending.next() => {
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Has one call carried out; what is returned waits for its answer.
fn call(
    api: &Api,
    caller: &Caller,
    frame: SchedulerFrame,
) -> impl Future<Output = MasterAnswer> + use<> {
    let SchedulerFrame { sequence, call } = frame;
    let asked = match scheduler_stream::understood(call.unwrap_or_default()) {
        Ok(SchedulerCall::Call(framework, call)) => {
            let claim = caller.connection.map_or(StreamClaim::Missing, StreamClaim::Connection);
            let principal = caller.principal.clone();
            Ok(scheduler_stream::call(api, framework, call, claim, principal))
        }
        Ok(SchedulerCall::Subscribe(_) | SchedulerCall::SubscribeRefused(_)) => {
            Err(Refused::bad_request("This stream has its subscription; open another one"))
        }
        Err(refused) => Err(refused),
    };
    async move {
        let result = match asked {
            Ok(asked) => asked.answer().await,
            Err(refused) => Err(refused),
        };
        match result {
            Ok(done) => answer(sequence, done.status(), String::new()),
            Err(refused) => answer(sequence, refused.status.as_u16(), refused.text),
        }
    }
}

fn answer(sequence: u64, status: u16, reason: String) -> MasterAnswer {
    let status = u32::from(status);
    MasterAnswer { body: Some(Body::Answer(CallAnswer { sequence, status, reason })) }
}
