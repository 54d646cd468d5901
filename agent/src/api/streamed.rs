//! Calls that are sent as a stream of records: how such a request is told, and its first record.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use proto::mesos::v1::agent::Call;
use proto::mesos::v1::agent::call::Type;
use proto::recordio::Decoder;
use transport::http::{Encoding, Refused, accepts, decode};

/// What streams of records are labelled.
pub(super) const RECORDIO: &str = "application/recordio";

/// What says how the records of a stream are written.
pub(super) const MESSAGE_CONTENT_TYPE: &str = "message-content-type";

/// Bytes of one record: a piece of somebody's input, or a call without one.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// What says how the records of an answer are to be written.
const MESSAGE_ACCEPT: &str = "message-accept";

/// How the sender of a request wants to be answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// In this encoding. A stream of records is labelled as what its records are.
    Whole(Encoding),
    /// As a stream of records, each in this encoding, and labelled so.
    Records(Encoding),
}

impl Wanted {
    /// Reads it from the headers of a request.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refused> {
        let not_acceptable = |text: &str| Refused::new(StatusCode::NOT_ACCEPTABLE, text);
        let message_accept = headers.get(MESSAGE_ACCEPT);
        let encodings = [Encoding::Json, Encoding::Protobuf];
        let whole = encodings.into_iter().find(|it| accepts(headers, it.mime()));
        if let Some(encoding) = whole {
            return match message_accept {
                None => Ok(Self::Whole(encoding)),
                Some(_) => Err(not_acceptable(
                    "Expecting 'Message-Accept' to be not set for non-streaming responses",
                )),
            };
        }
        if !accepts(headers, RECORDIO) {
            return Err(not_acceptable(
                "Expecting 'Accept' to allow application/json or application/x-protobuf or application/recordio",
            ));
        }
        // It is read by the same rules as the other one.
        let mut of_messages = HeaderMap::new();
        if let Some(value) = message_accept {
            of_messages.insert(header::ACCEPT, value.clone());
        }
        let encoding = encodings.into_iter().find(|it| accepts(&of_messages, it.mime()));
        encoding.map(Self::Records).ok_or_else(|| {
            not_acceptable(
                "Expecting 'Message-Accept' to allow application/json or application/x-protobuf",
            )
        })
    }

    /// How a call of `kind` is answered that is no stream.
    pub(super) fn whole(self, kind: Type) -> Result<Encoding, Refused> {
        match self {
            Self::Whole(encoding) => Ok(encoding),
            Self::Records(_) => Err(Refused::new(
                StatusCode::NOT_ACCEPTABLE,
                format!(
                    "Streaming 'Accept' {RECORDIO} is not supported for {} call",
                    kind.as_str_name()
                ),
            )),
        }
    }
}

/// A call whose records come one after the other.
pub(super) struct Streamed {
    encoding: Encoding,
    decoder: Decoder,
    body: Body,
}

/// How a request is sent.
pub(super) enum Sent {
    /// As records, one after the other.
    Streamed(Box<Streamed>),
    /// Whole.
    Whole(Box<Request>),
}

/// Finds out by its headers how `request` is sent.
pub(super) fn sent(request: Request) -> Result<Sent, Refused> {
    let unsupported = |text: &str| Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    let kind = mime(request.headers(), header::CONTENT_TYPE.as_str());
    let message_kind = mime(request.headers(), MESSAGE_CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(RECORDIO)) {
        return match message_kind {
            None => Ok(Sent::Whole(Box::new(request))),
            Some(_) => Err(unsupported(
                "Expecting 'Message-Content-Type' to be not set for non-streaming requests",
            )),
        };
    }
    let Some(message_kind) = message_kind else {
        return Err(Refused::bad_request(
            "Expecting 'Message-Content-Type' to be set for streaming requests",
        ));
    };
    let encoding = [Encoding::Json, Encoding::Protobuf]
        .into_iter()
        .find(|encoding| message_kind.eq_ignore_ascii_case(encoding.mime()))
        .ok_or_else(|| {
            unsupported(
                "Expecting 'Message-Content-Type' of application/json or application/x-protobuf",
            )
        })?;
    let decoder = Decoder::new(RECORD_BYTES_MAX);
    Ok(Sent::Streamed(Box::new(Streamed { encoding, decoder, body: request.into_body() })))
}

fn mime<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().unwrap_or_default();
    Some(value.split(';').next().unwrap_or_default().trim())
}

impl Streamed {
    /// The first call, which must be one that may be streamed.
    pub(super) async fn first(&mut self) -> Result<Call, Refused> {
        let call = self.next().await?;
        let call =
            call.ok_or_else(|| Refused::bad_request("The stream has ended before a call"))?;
        let kind = call.r#type();
        if kind == Type::AttachContainerInput {
            return Ok(call);
        }
        Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "Streaming 'Content-Type' {RECORDIO} is not supported for {} call",
                kind.as_str_name()
            ),
        ))
    }

    /// The next call; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Call>, Refused> {
        loop {
            let record =
                self.decoder.next().map_err(|bad| Refused::bad_request(bad.to_string()))?;
            if let Some(record) = record {
                return decode(self.encoding, &record, "Call").map(Some);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.decoder.push(bytes);
                    }
                }
                Some(Err(error)) => {
                    return Err(Refused::bad_request(format!("Failed to read the body: {error}")));
                }
                None if self.decoder.is_between_records() => return Ok(None),
                None => return Err(Refused::bad_request("The stream has ended within a record")),
            }
        }
    }
}
