//! Sessions in containers, and what is typed for containers and printed by them: calls that are
//! streams.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response as Answer};
use bytes::Bytes;
use futures::StreamExt;
use model::ids::ContainerId;
use proto::mesos::v1::agent::call::attach_container_input::Type as InputType;
use proto::mesos::v1::agent::call::{self, AttachContainerInput, Type};
use proto::mesos::v1::agent::process_io::{self, control, data};
use proto::mesos::v1::agent::{Call, ProcessIo};
use proto::mesos::v1::{CommandInfo, DurationInfo};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use transport::http::{Encoding, Refused};

use super::caller::Caller;
use super::containers::{any, nested, not_started, unknown, wish};
use super::operator::{invalid, missing};
use super::streamed::{MESSAGE_CONTENT_TYPE, RECORDIO, Streamed, Wanted};
use super::{Api, Shared};
use crate::containerizer::{Following, Input, NoInput, Printed, Watching};
use crate::launcher::Channel;
use crate::nested::{Wish, window};
use crate::real::Real;
use crate::wire;

/// Records that wait for somebody who looks on, each of a few kilobytes. Then nothing more is read for
/// them.
const RECORDS_MAX: usize = 4;

/// Intervals of heartbeats in which nothing was heard, after which nobody is there.
const SILENT_INTERVALS: u32 = 5;

/// The shortest silence that counts, however often somebody wants to be heard.
const SILENCE_MIN: Duration = Duration::from_secs(1);

/// Answers LAUNCH_NESTED_CONTAINER_SESSION.
pub(super) async fn session(
    api: &Api,
    caller: &Caller,
    call: Option<call::LaunchNestedContainerSession>,
    wanted: Wanted,
) -> Result<Answer, Refused> {
    let call = call.ok_or_else(|| missing("launch_nested_container_session"))?;
    let container = nested(&call.container_id, "launch_nested_container_session")?;
    let around = container.parent().expect("it is nested");
    let wish = wish(api, caller, container.clone(), call.command, call.container)?;
    let environment = of_task(&api.shared, &around).map_err(Refused::bad_request)?;
    let wish = Wish { is_session: true, environment, ..wish };
    let real = Arc::clone(&api.shared.real);
    // Whoever asked may go away meanwhile. Then the answer is dropped, and the session ends with it.
    let launched = tokio::spawn(async move {
        real.launch_wish(wish).await?;
        Ok(Session { real, container })
    });
    let launched = launched.await.expect("a launch does not panic, and nobody aborts it");
    let session = match launched {
        Ok(session) => session,
        Err(why) => return not_started(why),
    };
    let printed = session.real.containerizer.printed(&session.container).ok_or_else(|| {
        let text = format!("Session {} has ended at once", session.container);
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    })?;
    Ok(stream(api, wanted, Source::Session(printed, session)))
}

/// Ends a session when it is dropped.
struct Session {
    real: Arc<Real>,
    container: ContainerId,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.real.containerizer.destroy_soon(&self.container);
    }
}

/// What the command of a task has in its environment, where it is all that runs in `container`.
fn of_task(shared: &Shared, container: &ContainerId) -> Result<Vec<(String, String)>, String> {
    let task = {
        let mirror = shared.mirror.read();
        let executors = mirror.frameworks.values().flat_map(|it| it.executors.values());
        let mut around = executors.filter(|it| it.is_command && it.container == *container);
        let task = around.next().and_then(|it| it.tasks.values().next());
        task.map(|task| wire::task_info(&task.spec))
    };
    let Some(mut task) = task else { return Ok(Vec::new()) };
    shared.real.around.secrets.reveal_in_task(&mut task)?;
    let mut all = vec![("MESOS_TASK_ID".to_owned(), task.task_id.value)];
    let mut allocations = task.resources.iter().filter_map(|it| it.allocation_info.as_ref());
    if let Some(role) = allocations.find_map(|it| it.role.clone()) {
        all.push(("MESOS_ALLOCATION_ROLE".to_owned(), role));
    }
    let command: CommandInfo = task.command.unwrap_or_default();
    let variables = command.environment.into_iter().flat_map(|it| it.variables);
    all.extend(variables.map(|it| (it.name, it.value.unwrap_or_default())));
    Ok(all)
}

/// Answers ATTACH_CONTAINER_OUTPUT.
pub(super) async fn output(
    api: &Api,
    call: Option<call::AttachContainerOutput>,
    wanted: Wanted,
) -> Result<Answer, Refused> {
    let call = call.ok_or_else(|| missing("attach_container_output"))?;
    let container = any(&call.container_id, "attach_container_output")?;
    let containerizer = &api.shared.real.containerizer;
    if let Some(watching) = containerizer.watch(&container) {
        return Ok(stream(api, wanted, Source::Watched(watching)));
    }
    let following = containerizer.follow(&container).await.ok_or_else(|| unknown(&container))?;
    let following = following.map_err(|error| {
        let text = format!("The output of container {container} cannot be read: {error}");
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    })?;
    Ok(stream(api, wanted, Source::Log(following)))
}

/// Where what is printed comes from.
enum Source {
    /// With what ends the session.
    Session(Printed, #[expect(dead_code, reason = "it is there to be dropped")] Session),
    /// Somebody else's.
    Watched(Watching),
    Log(Following),
}

impl Source {
    async fn next(&mut self) -> Option<(Channel, Vec<u8>)> {
        match self {
            Self::Session(printed, _) => printed.next().await,
            Self::Watched(watching) => watching.next().await,
            Self::Log(following) => following.next().await,
        }
    }
}

/// An answer that brings what is printed as it comes.
fn stream(api: &Api, wanted: Wanted, source: Source) -> Answer {
    let (kind, encoding, is_recordio) = match wanted {
        Wanted::Whole(encoding) => (encoding.mime(), encoding, false),
        Wanted::Records(encoding) => (RECORDIO, encoding, true),
    };
    let (sender, receiver) = mpsc::channel(RECORDS_MAX);
    tokio::spawn(pump(Arc::clone(&api.shared), source, encoding, sender));
    let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<Bytes, Infallible>));
    let mut answer = ([(header::CONTENT_TYPE, kind)], body).into_response();
    if is_recordio {
        let mime = header::HeaderValue::from_static(encoding.mime());
        answer.headers_mut().insert(MESSAGE_CONTENT_TYPE, mime);
    }
    answer
}

/// Brings what is printed and heartbeats, until all is over or nobody wants it any more.
async fn pump(
    shared: Arc<Shared>,
    mut source: Source,
    encoding: Encoding,
    to: mpsc::Sender<Bytes>,
) {
    let interval = shared.options.http_heartbeat_interval;
    // The first one is due at once, and says that all that is printed from then on is told.
    let mut beats = tokio::time::interval(interval);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let told = tokio::select! {
            biased;
            () = to.closed() => return,
            () = shared.stop.cancelled() => return,
            _ = beats.tick() => heartbeat(interval),
            printed = source.next() => match printed {
                Some((channel, bytes)) => printed_on(channel, bytes),
                None => return,
            },
        };
        let record = proto::recordio::encode(&encoding.encode(&told));
        tokio::select! {
            sent = to.send(record) => if sent.is_err() { return },
            () = shared.stop.cancelled() => return,
        }
    }
}

fn printed_on(channel: Channel, bytes: Vec<u8>) -> ProcessIo {
    let kind = match channel {
        Channel::Stdout => data::Type::Stdout,
        Channel::Stderr => data::Type::Stderr,
    };
    let data = process_io::Data { r#type: Some(kind.into()), data: Some(bytes.into()) };
    ProcessIo {
        r#type: Some(process_io::Type::Data.into()),
        data: Some(data),
        ..ProcessIo::default()
    }
}

fn heartbeat(interval: Duration) -> ProcessIo {
    let nanoseconds = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX);
    let control = process_io::Control {
        r#type: Some(control::Type::Heartbeat.into()),
        heartbeat: Some(control::Heartbeat { interval: Some(DurationInfo { nanoseconds }) }),
        ..process_io::Control::default()
    };
    ProcessIo {
        r#type: Some(process_io::Type::Control.into()),
        control: Some(control),
        ..ProcessIo::default()
    }
}

/// Answers ATTACH_CONTAINER_INPUT, of which `first` has been read.
pub(super) async fn input(
    api: &Api,
    first: Call,
    mut rest: Box<Streamed>,
) -> Result<Answer, Refused> {
    let first = first.attach_container_input.ok_or_else(|| missing("attach_container_input"))?;
    if kind(&first)? != InputType::ContainerId {
        return Err(invalid(
            "Expecting 'attach_container_input.type' of the first record to be CONTAINER_ID",
        ));
    }
    let id = first.container_id.ok_or_else(|| missing("attach_container_input.container_id"))?;
    let container = any(&id, "attach_container_input")?;
    let containerizer = &api.shared.real.containerizer;
    let mut input = containerizer.input(&container).await.map_err(|why| refused(&why))?;
    tokio::select! {
        // It takes nothing more then, and whoever types is to hear of it.
        _ = containerizer.wait(&container) => {}
        () = api.shared.stop.cancelled() => {}
        typed = take_in(&mut rest, &mut input) => typed?,
    }
    Ok(StatusCode::OK.into_response())
}

fn refused(why: &NoInput) -> Refused {
    let status = match why {
        NoInput::Unknown(_) => StatusCode::NOT_FOUND,
        NoInput::Deaf(_) => StatusCode::BAD_REQUEST,
        NoInput::Busy(_) => StatusCode::CONFLICT,
        NoInput::Unreachable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refused::new(status, why.to_string())
}

fn kind(call: &AttachContainerInput) -> Result<InputType, Refused> {
    let kind = call.r#type.and_then(|kind| InputType::try_from(kind).ok());
    let kind = kind.filter(|kind| *kind != InputType::Unknown);
    kind.ok_or_else(|| missing("attach_container_input.type"))
}

/// Types what comes until it ends.
async fn take_in(from: &mut Streamed, input: &mut Input) -> Result<(), Refused> {
    let mut silence_max: Option<Duration> = None;
    loop {
        let next = match silence_max {
            None => from.next().await?,
            Some(most) => tokio::time::timeout(most, from.next()).await.map_err(|_| {
                let text = format!("Nothing was heard for {most:?}, not even a heartbeat");
                Refused::new(StatusCode::REQUEST_TIMEOUT, text)
            })??,
        };
        // Without an end of the input more may come by another connection.
        let Some(call) = next else { return Ok(()) };
        let done = match step(call)? {
            Step::Typed(bytes) if bytes.is_empty() => input.end().await,
            Step::Typed(bytes) => input.typed(&bytes).await,
            Step::Resized(size) => input.resized(window(size)).await,
            Step::Heard(interval) => {
                silence_max = Some(interval.saturating_mul(SILENT_INTERVALS).max(SILENCE_MIN));
                Ok(())
            }
        };
        // The launcher has gone, and the container is going with it.
        if done.is_err() {
            return std::future::pending().await;
        }
    }
}

/// What one record wants.
enum Step {
    Typed(Bytes),
    Resized(proto::mesos::v1::tty_info::WindowSize),
    Heard(Duration),
}

fn step(call: Call) -> Result<Step, Refused> {
    const IO: &str = "attach_container_input.process_io";
    let unexpected = |what: &str, wanted: &str| {
        invalid(format!("Expecting '{what}' of a record after the first to be {wanted}"))
    };
    if call.r#type() != Type::AttachContainerInput {
        return Err(unexpected("type", "ATTACH_CONTAINER_INPUT"));
    }
    let call = call.attach_container_input.ok_or_else(|| missing("attach_container_input"))?;
    if kind(&call)? != InputType::ProcessIo {
        return Err(unexpected("attach_container_input.type", "PROCESS_IO"));
    }
    let io = call.process_io.ok_or_else(|| missing(IO))?;
    match io.r#type() {
        process_io::Type::Data => {
            let data = io.data.ok_or_else(|| missing(&format!("{IO}.data")))?;
            if data.r#type() != data::Type::Stdin {
                return Err(unexpected(&format!("{IO}.data.type"), "STDIN"));
            }
            Ok(Step::Typed(data.data.unwrap_or_default()))
        }
        process_io::Type::Control => {
            let control = io.control.ok_or_else(|| missing(&format!("{IO}.control")))?;
            match control.r#type() {
                control::Type::TtyInfo => {
                    let size = control.tty_info.and_then(|tty| tty.window_size);
                    let absent = || missing(&format!("{IO}.control.tty_info.window_size"));
                    size.map(Step::Resized).ok_or_else(absent)
                }
                control::Type::Heartbeat => {
                    let interval = control.heartbeat.and_then(|it| it.interval);
                    let absent = || missing(&format!("{IO}.control.heartbeat.interval"));
                    let nanoseconds = interval.ok_or_else(absent)?.nanoseconds;
                    Ok(Step::Heard(Duration::from_nanos(nanoseconds.max(0).cast_unsigned())))
                }
                control::Type::Unknown => Err(missing(&format!("{IO}.control.type"))),
            }
        }
        process_io::Type::Unknown => Err(missing(&format!("{IO}.type"))),
    }
}
