//! The subscription over gRPC: events, calls and their answers on one stream.

use std::collections::BTreeMap;

use framework_core::session::Failure;
use proto::agora::v1::master_answer::Body;
use proto::agora::v1::scheduler_client::SchedulerClient;
use proto::agora::v1::{CallAnswer, MasterAnswer, SchedulerFrame};
use proto::mesos::v1::scheduler::Call;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use transport::grpc::{MESSAGE_BYTES_MAX, channel, leader_of, reason};
use transport::identity::Identity;

use super::connection::Link;
use super::{CallError, Request};

/// Frames between us and the network.
const FRAMES_WAITING_MAX: usize = 256;

/// The number of the frame that carries SUBSCRIBE.
const SUBSCRIBE: u64 = 0;

/// Subscribes, and carries events and calls until the stream ends.
pub(crate) async fn run(
    identity: Identity,
    link: Link,
    subscribe: Call,
    mut calls: mpsc::Receiver<Request>,
) {
    let mut answers = match open(&identity, &link, subscribe).await {
        Ok(answers) => answers,
        Err(failure) => return link.failed(failure).await,
    };
    let mut sequence = SUBSCRIBE;
    let mut waiting = Waiting::default();
    // An event that the driver has no room for yet. Calls go on meanwhile: the driver may have no room
    // because it has calls to send.
    let mut held = None;
    let end = loop {
        tokio::select! {
            room = link.room(), if held.is_some() => {
                let (Some(room), Some(event)) = (room, held.take()) else { return };
                room.send(link.incoming(event));
            }
            answer = answers.stream.message(), if held.is_none() => match answer {
                Ok(Some(MasterAnswer { body: Some(Body::Event(event)) })) => held = Some(event),
                Ok(Some(MasterAnswer { body: Some(Body::Answer(answer)) })) => {
                    if let Some(failure) = waiting.answered(answer) {
                        return link.failed(failure).await;
                    }
                }
                Ok(Some(MasterAnswer { body: None })) => {}
                Ok(None) => break None,
                Err(status) => break Some(status),
            },
            next = next_call(&answers.frames, &mut calls) => {
                let Some((permit, Request { call, answer })) = next else { return };
                sequence += 1;
                waiting.0.insert(sequence, answer);
                permit.send(SchedulerFrame { sequence, call: Some(call) });
            }
        }
    };
    match end {
        None => link.closed("the master has ended the stream".to_owned()).await,
        Some(status) => link.failed(failure(&link, &status)).await,
    }
}

struct Answers {
    stream: Streaming<MasterAnswer>,
    frames: mpsc::Sender<SchedulerFrame>,
}

async fn open(identity: &Identity, link: &Link, subscribe: Call) -> Result<Answers, Failure> {
    let channel = channel(&link.master, identity)
        .map_err(|error| Failure::Unavailable(format!("{}: {error}", link.master)))?;
    let mut client = SchedulerClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (frames, frames_rx) = mpsc::channel(FRAMES_WAITING_MAX);
    let first = SchedulerFrame { sequence: SUBSCRIBE, call: Some(subscribe) };
    frames.try_send(first).expect("the queue is empty and its reader is here");
    let answer = client.subscribe(ReceiverStream::new(frames_rx)).await;
    let answer = answer.map_err(|status| failure(link, &status))?;
    Ok(Answers { stream: answer.into_inner(), frames })
}

fn failure(link: &Link, status: &Status) -> Failure {
    if let Some(leader) = leader_of(status) {
        return Failure::Redirected(leader.into());
    }
    let text = format!("{} answers: {}", link.master, reason(status));
    match status.code() {
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => Failure::Rejected(text),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Failure::Unavailable(text),
    }
}

/// The next call, together with room to send it.
async fn next_call<'a>(
    frames: &'a mpsc::Sender<SchedulerFrame>,
    calls: &mut mpsc::Receiver<Request>,
) -> Option<(mpsc::Permit<'a, SchedulerFrame>, Request)> {
    let Ok(permit) = frames.reserve().await else {
        // The network's end is gone; the answers say so in a moment.
        return std::future::pending().await;
    };
    let request = calls.recv().await?;
    Some((permit, request))
}

/// Who waits for which answer.
#[derive(Default)]
struct Waiting(BTreeMap<u64, oneshot::Sender<Result<(), CallError>>>);

impl Waiting {
    /// Hands an answer on. A refused SUBSCRIBE is the caller's business.
    fn answered(&mut self, answer: CallAnswer) -> Option<Failure> {
        let is_taken = (200..300).contains(&answer.status);
        if answer.sequence == SUBSCRIBE {
            return (!is_taken).then_some(Failure::Rejected(answer.reason));
        }
        let waiting = self.0.remove(&answer.sequence)?;
        let status = u16::try_from(answer.status).unwrap_or(u16::MAX);
        let outcome = match status {
            _ if is_taken => Ok(()),
            307 | 503 => Err(CallError::NotConnected),
            _ => Err(CallError::Refused { status, reason: answer.reason }),
        };
        // Nobody may be waiting for it.
        let _ = waiting.send(outcome);
        None
    }
}
