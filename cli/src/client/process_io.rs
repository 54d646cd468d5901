//! What is typed and printed, as agents take and give it: streams of records.

use std::io::Write;
use std::time::Duration;

use futures::StreamExt;
use proto::mesos::v1::agent::call::attach_container_input::Type as InputType;
use proto::mesos::v1::agent::call::{AttachContainerInput, Type};
use proto::mesos::v1::agent::process_io::{self, control, data};
use proto::mesos::v1::agent::{Call, ProcessIo};
use proto::mesos::v1::tty_info::WindowSize;
use proto::mesos::v1::{ContainerId, DurationInfo, TtyInfo};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use transport::client::RecordStream;
use transport::http::Encoding;

use super::terminal::{self, Typed};
use super::{Cluster, Failure};

/// How calls and records are written.
const ENCODING: Encoding = Encoding::Protobuf;

/// How often this end says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Intervals of the agent's heartbeats in which nothing was heard, after which it is given up.
const SILENT_INTERVALS: u32 = 5;

/// Records on their way to the agent.
const RECORDS_MAX: usize = 4;

/// What stream of records a request or an answer is.
const RECORDIO: &str = "application/recordio";

/// A container by its own name in `parent`.
pub(super) fn container(name: &str, parent: Option<ContainerId>) -> ContainerId {
    ContainerId { value: name.to_owned(), parent: parent.map(Box::new) }
}

/// What a container prints, as it comes.
pub(super) struct Printed {
    records: RecordStream,
    silence_max: Option<Duration>,
}

/// How printing went on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Went {
    /// It goes on.
    On,
    /// All is printed, or the connection is lost: the agent does not say which.
    Over,
    /// Nobody reads this end any more.
    Unread,
}

impl Printed {
    /// Makes a call whose answer is such a stream.
    pub(super) async fn of(call: &Call, address: &str, cluster: &Cluster) -> Result<Self, Failure> {
        let mime = ENCODING.mime();
        let answer = cluster
            .stream(address, |request| {
                let request = request.header("accept", RECORDIO).header("message-accept", mime);
                request.header("content-type", mime).body(ENCODING.encode(call))
            })
            .await?;
        Ok(Self { records: RecordStream::new(answer), silence_max: None })
    }

    /// Prints what comes next. Nothing is lost if the wait is given up.
    pub(super) async fn print_next(&mut self) -> Result<Went, Failure> {
        let next = match self.silence_max {
            None => self.records.next().await,
            Some(most) => match tokio::time::timeout(most, self.records.next()).await {
                Ok(next) => next,
                Err(_) => {
                    return Err(Failure::Refused(format!(
                        "nothing was heard from the agent for {most:?}; it may be gone"
                    )));
                }
            },
        };
        // One that breaks off may be one that is over: the caller asks.
        let Some(Ok(record)) = next else { return Ok(Went::Over) };
        let io: ProcessIo = proto::wire::decode(&record).map_err(|error| Failure::Answer {
            url: "the stream of output".to_owned(),
            cause: error.to_string(),
        })?;
        if let Some(interval) = io.control.and_then(|it| it.heartbeat).and_then(|it| it.interval) {
            let interval = Duration::from_nanos(interval.nanoseconds.max(0).cast_unsigned());
            self.silence_max = Some(interval * SILENT_INTERVALS + HEARTBEAT);
        }
        let Some(data) = io.data else { return Ok(Went::On) };
        let written = match data.r#type() {
            data::Type::Stderr => print(std::io::stderr(), data.data()),
            data::Type::Stdout | data::Type::Stdin | data::Type::Unknown => {
                print(std::io::stdout(), data.data())
            }
        };
        Ok(if written.is_ok() { Went::On } else { Went::Unread })
    }
}

fn print(mut to: impl Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// How typing ended.
#[derive(Debug)]
pub(super) enum Left {
    /// Somebody typed the keys to leave.
    ByKeys,
    /// The agent does not take it, and says why.
    Refused(Failure),
}

/// Types for a container what is typed here, and where those are `keys`, tells of the size of their
/// terminal. Returns only if it ends before the container.
pub(super) async fn type_for(
    container: &ContainerId,
    address: &str,
    typed: &mut mpsc::Receiver<Typed>,
    keys: bool,
    cluster: &Cluster,
) -> Left {
    let (records, receiver) = mpsc::channel::<bytes::Bytes>(RECORDS_MAX);
    let first = AttachContainerInput {
        r#type: Some(InputType::ContainerId.into()),
        container_id: Some(container.clone()),
        ..AttachContainerInput::default()
    };
    let stream = futures::stream::unfold(receiver, async |mut receiver| {
        let record = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(record), receiver))
    });
    let body = reqwest::Body::wrap_stream(stream);
    let asking = cluster.stream(address, |request| {
        let request = request.header("content-type", RECORDIO);
        request.header("message-content-type", ENCODING.mime()).body(body)
    });
    let sending = send(first, typed, keys, &records);
    tokio::select! {
        answered = asking => match answered {
            // The container is over, which its output tells as well.
            Ok(_) => std::future::pending().await,
            Err(failure) => Left::Refused(failure),
        },
        () = sending => Left::ByKeys,
    }
}

/// Sends what is typed until the keys to leave are.
async fn send(
    first: AttachContainerInput,
    typed: &mut mpsc::Receiver<Typed>,
    keys: bool,
    to: &mpsc::Sender<bytes::Bytes>,
) {
    let mut sizes = keys.then(|| signal(SignalKind::window_change()).ok()).flatten();
    // The container's may have been another one up to now.
    let mut size = terminal::size().filter(|_| keys);
    let mut beats = tokio::time::interval(HEARTBEAT);
    let mut next = first;
    let mut is_over = false;
    loop {
        let record = proto::recordio::encode(&ENCODING.encode(&call(next)));
        if to.send(record).await.is_err() {
            // The request is over, which is told where it was made.
            return std::future::pending().await;
        }
        if let Some(size) = size.take() {
            next = process_io(resized(size));
            continue;
        }
        next = tokio::select! {
            what = typed.recv(), if !is_over => match what {
                Some(Typed::Keys(keys)) => process_io(data(keys)),
                Some(Typed::Leave) => return,
                Some(Typed::End) | None => {
                    is_over = true;
                    process_io(data(Vec::new()))
                }
            },
            () = changed(sizes.as_mut()) => {
                process_io(terminal::size().map_or_else(heartbeat, resized))
            }
            _ = beats.tick() => process_io(heartbeat()),
        };
    }
}

/// Waits until this terminal has another size.
async fn changed(sizes: Option<&mut Signal>) {
    let Some(sizes) = sizes else { return std::future::pending().await };
    if sizes.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

fn call(input: AttachContainerInput) -> Call {
    Call {
        r#type: Some(Type::AttachContainerInput.into()),
        attach_container_input: Some(input),
        ..Call::default()
    }
}

fn process_io(io: ProcessIo) -> AttachContainerInput {
    AttachContainerInput {
        r#type: Some(InputType::ProcessIo.into()),
        process_io: Some(io),
        ..AttachContainerInput::default()
    }
}

fn data(bytes: Vec<u8>) -> ProcessIo {
    let data =
        process_io::Data { r#type: Some(data::Type::Stdin.into()), data: Some(bytes.into()) };
    let kind = Some(process_io::Type::Data.into());
    ProcessIo { r#type: kind, data: Some(data), ..ProcessIo::default() }
}

fn control(control: process_io::Control) -> ProcessIo {
    let kind = Some(process_io::Type::Control.into());
    ProcessIo { r#type: kind, control: Some(control), ..ProcessIo::default() }
}

fn heartbeat() -> ProcessIo {
    let nanoseconds = i64::try_from(HEARTBEAT.as_nanos()).unwrap_or(i64::MAX);
    control(process_io::Control {
        r#type: Some(control::Type::Heartbeat.into()),
        heartbeat: Some(control::Heartbeat { interval: Some(DurationInfo { nanoseconds }) }),
        ..process_io::Control::default()
    })
}

fn resized(size: (u32, u32)) -> ProcessIo {
    control(process_io::Control {
        r#type: Some(control::Type::TtyInfo.into()),
        tty_info: Some(tty(Some(size))),
        ..process_io::Control::default()
    })
}

/// A terminal of this size.
pub(super) fn tty(size: Option<(u32, u32)>) -> TtyInfo {
    TtyInfo { window_size: size.map(|(rows, columns)| WindowSize { rows, columns }) }
}
