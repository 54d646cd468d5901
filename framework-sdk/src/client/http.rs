//! The subscription over the Mesos HTTP API: events on one connection, calls on another.

use std::time::Duration;

use framework_core::session::Failure;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use proto::mesos::v1::scheduler::{Call, Event, call};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode};
use tokio::sync::{mpsc, watch};
use transport::client::{RecordStream, location_address};
use transport::http::Encoding;
use transport::tls::explain;

use super::connection::Link;
use super::{CallError, Request};

const PATH: &str = "/api/v1/scheduler";
const STREAM_ID: &str = "Mesos-Stream-Id";

/// How long a call may take to be answered. Masters answer before they act.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Acknowledgements under way at once, each on a connection of its own.
const BESIDE_MAX: usize = 16;

/// How long the answer to the last call may take once the stream has ended: TEARDOWN ends both.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Subscribes, and carries events and calls until the stream ends.
pub(crate) async fn run(
    client: reqwest::Client,
    encoding: Encoding,
    base: String,
    link: Link,
    subscribe: Call,
    calls: mpsc::Receiver<Request>,
) {
    let caller = Caller { client, encoding, url: format!("{base}{PATH}") };
    let answer = caller.request(&subscribe, None, None).await;
    let (stream, stream_id) = match answer {
        Err(error) => {
            let why = explain(&error).unwrap_or_else(|| root_of(&error));
            let why = format!("{} cannot be reached: {why}", link.master);
            return link.failed(Failure::Unavailable(why)).await;
        }
        Ok(answer) if answer.status() == StatusCode::OK => {
            let stream_id = answer.headers().get(STREAM_ID).cloned();
            (RecordStream::new(answer), stream_id)
        }
        Ok(answer) => return link.failed(failure(&link.master, answer).await).await,
    };
    let (closing, closed) = watch::channel(false);
    let mut calling = std::pin::pin!(caller.carry(calls, stream_id, closed));
    let why = tokio::select! {
        why = read(stream, encoding, &link) => why,
        lost = &mut calling => match lost {
            Some(why) => return link.closed(why).await,
            None => return,
        },
    };
    // Nobody else waits for the change: an error means that the caller has ended.
    let _ = closing.send(true);
    // Past the limit whoever waits for an answer hears that the call was interrupted.
    let _ = tokio::time::timeout(LAST_ANSWER_WITHIN, calling).await;
    link.closed(why).await;
}

/// Why SUBSCRIBE was not answered with a stream.
async fn failure(master: &str, answer: Response) -> Failure {
    let status = answer.status();
    if status == StatusCode::TEMPORARY_REDIRECT {
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        if let Some(leader) = location.and_then(location_address) {
            return Failure::Redirected(leader.into());
        }
    }
    let text = answer.text().await.unwrap_or_default();
    let text = format!("{master} answers {}: {}", status.as_u16(), text.trim());
    let is_final = status.is_client_error()
        && status != StatusCode::NOT_FOUND
        && status != StatusCode::REQUEST_TIMEOUT
        && status != StatusCode::TOO_MANY_REQUESTS;
    if is_final { Failure::Rejected(text) } else { Failure::Unavailable(text) }
}

/// Reads events until there are no more. Returns why.
async fn read(mut stream: RecordStream, encoding: Encoding, link: &Link) -> String {
    while let Some(record) = stream.next().await {
        let record = match record {
            Ok(record) => record,
            Err(error) => return error.to_string(),
        };
        // Some servers send empty records to keep the connection warm.
        if record.is_empty() {
            continue;
        }
        match decode(encoding, &record) {
            Ok(event) => {
                if !link.event(event).await {
                    return "the session is over".to_owned();
                }
            }
            Err(why) => return format!("{} sent what is no event: {why}", link.master),
        }
    }
    "the master has ended the stream".to_owned()
}

fn decode(encoding: Encoding, record: &[u8]) -> Result<Event, String> {
    match encoding {
        Encoding::Json => proto::json::from_slice(record).map_err(|error| error.to_string()),
        Encoding::Protobuf => proto::wire::decode(record).map_err(|error| error.to_string()),
    }
}

/// Sends calls.
struct Caller {
    client: reqwest::Client,
    encoding: Encoding,
    url: String,
}

impl Caller {
    async fn request(
        &self,
        call: &Call,
        stream_id: Option<&HeaderValue>,
        within: Option<Duration>,
    ) -> reqwest::Result<Response> {
        let mut request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, self.encoding.mime())
            .header(ACCEPT, self.encoding.mime())
            .body(self.encoding.encode(call));
        if let Some(stream_id) = stream_id {
            request = request.header(STREAM_ID, stream_id);
        }
        if let Some(within) = within {
            request = request.timeout(within);
        }
        request.send().await
    }

    /// Sends one call after the other, so that they arrive in order. Acknowledgements go beside them:
    /// whichever comes first, the next update of a task comes after its own.
    ///
    /// Ends when there are no more calls, or with the reason when one of those in order got lost: what
    /// came after it would tell the master half of a story. A new session begins where both agree.
    async fn carry(
        &self,
        mut calls: mpsc::Receiver<Request>,
        stream_id: Option<HeaderValue>,
        mut closed: watch::Receiver<bool>,
    ) -> Option<String> {
        let stream_id = stream_id.as_ref();
        let mut beside = FuturesUnordered::new();
        let mut in_order = None;
        let mut is_closed = false;
        while !(is_closed && in_order.is_none() && beside.is_empty()) {
            let has_room = !is_closed && in_order.is_none() && beside.len() < BESIDE_MAX;
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed), if !is_closed => is_closed = true,
                // An acknowledgement that got lost is asked for again, by the update.
                Some(_) = beside.next() => {}
                lost = wait_for(&mut in_order) => match lost {
                    Some(why) => return Some(why),
                    None => in_order = None,
                },
                request = calls.recv(), if has_room => match request {
                    Some(request) if request.call.r#type() == call::Type::Acknowledge => {
                        beside.push(self.one(request, stream_id));
                    }
                    Some(request) => in_order = Some(Box::pin(self.one(request, stream_id))),
                    None => is_closed = true,
                },
            }
        }
        None
    }

    /// Sends one call and tells whoever waits how it went. If it may not have reached a leading master
    /// the reason is returned.
    async fn one(&self, request: Request, stream_id: Option<&HeaderValue>) -> Option<String> {
        let Request { call, answer } = request;
        let outcome = self.request(&call, stream_id, Some(ANSWER_WITHIN)).await;
        let outcome = match outcome {
            Ok(response) => outcome_of(response).await,
            Err(error) if error.is_connect() => Err(CallError::NotConnected),
            Err(_) => Err(CallError::Interrupted),
        };
        let kind = call.r#type();
        if let Err(error) = &outcome {
            tracing::debug!(%error, ?kind, "a call was not taken");
        }
        let lost = match &outcome {
            Err(error @ (CallError::NotConnected | CallError::Interrupted)) => {
                Some(format!("a {} got lost: {error}", kind.as_str_name()))
            }
            Ok(()) | Err(CallError::Refused { .. } | CallError::Overloaded | CallError::Ended) => {
                None
            }
        };
        // Nobody may be waiting for it.
        let _ = answer.send(outcome);
        lost
    }
}

/// Waits for what is under way; for ever, if nothing is.
async fn wait_for<F: Future + Unpin>(under_way: &mut Option<F>) -> F::Output {
    match under_way {
        Some(under_way) => under_way.await,
        None => std::future::pending().await,
    }
}

async fn outcome_of(response: Response) -> Result<(), CallError> {
    let status = response.status();
    if status.is_success() {
        // Read to its end, so that the connection can be used again.
        let _ = response.bytes().await;
        return Ok(());
    }
    if status == StatusCode::TEMPORARY_REDIRECT || status == StatusCode::SERVICE_UNAVAILABLE {
        return Err(CallError::NotConnected);
    }
    let reason = response.text().await.unwrap_or_default();
    Err(CallError::Refused { status: status.as_u16(), reason })
}

/// The innermost cause, which is what says something.
fn root_of(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
