//! The scheduler API over gRPC: calls and events on one stream, and an answer to each call.

use std::collections::VecDeque;
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
use tokio::time::Instant;
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
        self.api.standing.serving().await.map_err(|not| not.status())?;
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
    /// Whose calls those on the stream count among.
    counts_as: Option<Arc<str>>,
}

/// A call that waits for its turn, or for that of the one before it to be refused.
struct Held {
    frame: SchedulerFrame,
    until: Instant,
    refused: Option<Refused>,
}

async fn serve(
    api: Api,
    mut frames: Streaming<SchedulerFrame>,
    answers: Answers,
    principal: Option<Arc<str>>,
) {
    let (stream, counts_as) = match first(&api, &mut frames, principal.clone()).await {
        Ok((sequence, stream, counts_as)) => {
            let _ = answers.send(Ok(answer(sequence, 200, String::new()))).await;
            (stream, counts_as)
        }
        Err(status) => {
            let _ = answers.send(Err(status)).await;
            return;
        }
    };
    let caller = Caller { connection: stream.subscribed.connection, principal, counts_as };
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
) -> Result<(u64, Subscription, Option<Arc<str>>), Status> {
    let Some(SchedulerFrame { sequence, call }) = frames.message().await? else {
        return Err(Status::invalid_argument("the stream has ended before a call came"));
    };
    let call = call.unwrap_or_default();
    let status = |refused: Refused| transport::grpc::status(&refused);
    let call = scheduler_stream::understood(api, call).map_err(status)?;
    let counts_as = scheduler_stream::counts_as(api, &call, principal.as_ref());
    api.turns.of_framework(counts_as.as_ref()).await.map_err(status)?;
    let stream = match call {
        SchedulerCall::Subscribe(subscribe) => {
            scheduler_stream::subscribe(api, *subscribe, principal).await.map_err(status)?
        }
        SchedulerCall::SubscribeRefused { why, principal: stated } => {
            scheduler_stream::error_only(why, stated.as_ref(), principal.as_ref())
                .map_err(status)?
        }
        SchedulerCall::Call(..) => {
            return Err(Status::invalid_argument("the first call must be SUBSCRIBE"));
        }
    };
    Ok((sequence, stream, counts_as))
}

async fn events(api: &Api, stream: Subscription, answers: &Answers) {
    let Subscription { mut subscribed, capabilities } = stream;
    while let Some(event) = subscribed.events.next().await {
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
    let mut held: VecDeque<Held> = VecDeque::new();
    let mut pending = FuturesOrdered::new();
    let (mut is_open, mut is_over) = (true, false);
    while is_open || !held.is_empty() || !pending.is_empty() {
        let has_room = held.len() + pending.len() < CALLS_PENDING_MAX;
        let turn = held.front().map(|held| held.until);
        tokio::select! {
            frame = frames.message(), if is_open && has_room => match frame {
                Ok(Some(frame)) => held.push_back(received(api, caller, held.back(), frame)),
                Ok(None) | Err(_) => is_open = false,
            },
            () = over.cancelled(), if !is_over => (is_open, is_over) = (false, true),
            () = until(turn, is_over), if turn.is_some() => {
                let due = held.pop_front().expect("one is held, as its turn is known");
                pending.push_back(call(api, caller, due));
            }
            Some(answer) = pending.next() => {
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A call as it came in, behind the `last` one.
fn received(api: &Api, caller: &Caller, last: Option<&Held>, frame: SchedulerFrame) -> Held {
    match api.turns.framework_calls(caller.counts_as.as_ref()) {
        Ok(until) => Held { frame, until, refused: None },
        // Answers come in the order of the calls.
        Err(refused) => {
            let until = last.map_or_else(Instant::now, |last| last.until);
            Held { frame, until, refused: Some(refused) }
        }
    }
}

/// Waits for the turn of a call. Once all is over there is nothing to spare the master.
async fn until(turn: Option<Instant>, is_over: bool) {
    let Some(turn) = turn.filter(|turn| !is_over && *turn > Instant::now()) else { return };
    tokio::time::sleep_until(turn).await;
}

/// Has one call carried out whose turn it is; what is returned waits for its answer.
fn call(api: &Api, caller: &Caller, held: Held) -> impl Future<Output = MasterAnswer> + use<> {
    let Held { frame: SchedulerFrame { sequence, call }, refused, .. } = held;
    let understood = if let Some(refused) = refused {
        Err(refused)
    } else {
        api.turns.went_on(caller.counts_as.as_ref());
        scheduler_stream::understood(api, call.unwrap_or_default())
    };
    let asked = match understood {
        Ok(SchedulerCall::Call(framework, call)) => {
            let claim = caller.connection.map_or(StreamClaim::Missing, StreamClaim::Connection);
            let principal = caller.principal.clone();
            scheduler_stream::call(api, framework, call, claim, principal)
        }
        Ok(SchedulerCall::Subscribe(_) | SchedulerCall::SubscribeRefused { .. }) => {
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
