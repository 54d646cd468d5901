//! Calls that are streams of records, each way and in both encodings.

use bytes::Bytes;
use proto::mesos::v1 as mesos;
use proto::mesos::v1::agent::call::attach_container_input::Type as InputType;
use proto::mesos::v1::agent::call::{self, Type};
use proto::mesos::v1::agent::process_io::{self, control, data};
use proto::mesos::v1::agent::{Call, ProcessIo};
use proto::mesos::v1::tty_info::WindowSize;
use reqwest::{Body, RequestBuilder, Response, StatusCode};
use tokio::sync::mpsc;

use crate::containers::{Encoding, of, shell, wait_nested};
use crate::{PATIENCE, Site, client};

pub(crate) fn session(container_id: mesos::ContainerId, command: &str) -> Call {
    let launch = call::LaunchNestedContainerSession {
        container_id,
        command: Some(shell(command)),
        container: None,
    };
    Call { launch_nested_container_session: Some(launch), ..of(Type::LaunchNestedContainerSession) }
}

/// The same at a terminal of this size.
pub(crate) fn on_terminal(
    container_id: mesos::ContainerId,
    command: &str,
    rows: u32,
    columns: u32,
) -> Call {
    let mut call = session(container_id, command);
    let launch = call.launch_nested_container_session.as_mut().expect("it is set");
    launch.container = Some(with_terminal(rows, columns));
    call
}

pub(crate) fn with_terminal(rows: u32, columns: u32) -> mesos::ContainerInfo {
    let window_size = Some(WindowSize { rows, columns });
    mesos::ContainerInfo {
        tty_info: Some(mesos::TtyInfo { window_size }),
        ..mesos::ContainerInfo::default()
    }
}

pub(crate) fn attach_output(container_id: mesos::ContainerId) -> Call {
    let attach_container_output = Some(call::AttachContainerOutput { container_id });
    Call { attach_container_output, ..of(Type::AttachContainerOutput) }
}

/// The first record of what is typed.
pub(crate) fn attach_input(container_id: mesos::ContainerId) -> Call {
    input(call::AttachContainerInput {
        r#type: Some(InputType::ContainerId.into()),
        container_id: Some(container_id),
        ..Default::default()
    })
}

pub(crate) fn input(input: call::AttachContainerInput) -> Call {
    Call { attach_container_input: Some(input), ..of(Type::AttachContainerInput) }
}

pub(crate) fn process_io(io: ProcessIo) -> Call {
    let kind = Some(InputType::ProcessIo.into());
    input(call::AttachContainerInput { r#type: kind, process_io: Some(io), ..Default::default() })
}

pub(crate) fn typed(text: &str) -> Call {
    let data = process_io::Data {
        r#type: Some(data::Type::Stdin.into()),
        data: Some(Bytes::copy_from_slice(text.as_bytes())),
    };
    let kind = Some(process_io::Type::Data.into());
    process_io(ProcessIo { r#type: kind, data: Some(data), ..ProcessIo::default() })
}

pub(crate) fn told(control: process_io::Control) -> Call {
    let kind = Some(process_io::Type::Control.into());
    process_io(ProcessIo { r#type: kind, control: Some(control), ..ProcessIo::default() })
}

pub(crate) fn resized(rows: u32, columns: u32) -> Call {
    told(process_io::Control {
        r#type: Some(control::Type::TtyInfo.into()),
        tty_info: Some(mesos::TtyInfo { window_size: Some(WindowSize { rows, columns }) }),
        ..process_io::Control::default()
    })
}

/// A heartbeat, of which there will be another one so soon.
pub(crate) fn alive(nanoseconds: i64) -> Call {
    let interval = Some(mesos::DurationInfo { nanoseconds });
    told(process_io::Control {
        r#type: Some(control::Type::Heartbeat.into()),
        heartbeat: Some(control::Heartbeat { interval }),
        ..process_io::Control::default()
    })
}

/// What is printed, as it comes.
pub(crate) struct Output {
    pub(crate) answer: Response,
    encoding: Encoding,
    decoder: proto::recordio::Decoder,
    pub(crate) heartbeats: usize,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Takes in one more chunk; false at the end.
    pub(crate) async fn more(&mut self) -> bool {
        let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.expect("in time");
        let Some(chunk) = chunk.expect("it does not break off") else { return false };
        self.decoder.push(&chunk);
        while let Some(record) = self.decoder.next().expect("records") {
            let io: ProcessIo = match self.encoding {
                Encoding::Json => proto::json::from_slice(&record).expect("JSON"),
                Encoding::Protobuf => proto::wire::decode(&record).expect("protobuf"),
            };
            match io.r#type() {
                process_io::Type::Data => {
                    let data = io.data.expect("it is set");
                    let text = String::from_utf8(data.data().to_vec()).expect("text");
                    match data.r#type() {
                        data::Type::Stdout => self.stdout += &text,
                        data::Type::Stderr => self.stderr += &text,
                        data::Type::Stdin | data::Type::Unknown => panic!("{data:?}"),
                    }
                }
                process_io::Type::Control => {
                    let control = io.control.expect("it is set");
                    assert_eq!(control.r#type(), control::Type::Heartbeat);
                    assert!(control.heartbeat.is_some_and(|it| it.interval.is_some()));
                    self.heartbeats += 1;
                }
                process_io::Type::Unknown => panic!("{io:?}"),
            }
        }
        true
    }

    /// Reads until this was printed.
    pub(crate) async fn until(&mut self, text: &str) {
        while !self.stdout.contains(text) {
            assert!(self.more().await, "it ended after: {} {}", self.stdout, self.stderr);
        }
    }

    /// Reads all there is.
    pub(crate) async fn whole(mut self) -> (String, String) {
        while self.more().await {}
        assert!(self.decoder.is_between_records());
        (self.stdout, self.stderr)
    }
}

/// Somebody who types.
pub(crate) struct Typist {
    encoding: Encoding,
    /// Dropped at the end of the request.
    records: Option<mpsc::Sender<Bytes>>,
    answer: tokio::task::JoinHandle<(StatusCode, String)>,
}

impl Typist {
    pub(crate) async fn sends(&self, call: &Call) {
        let record = proto::recordio::encode(&self.encoding.write(call));
        let records = self.records.as_ref().expect("it goes on");
        records.send(record).await.expect("somebody listens");
    }

    /// Says nothing more and hears how it went.
    pub(crate) async fn ends(mut self) -> (StatusCode, String) {
        self.records = None;
        self.answered().await
    }

    pub(crate) async fn answered(self) -> (StatusCode, String) {
        let answer = tokio::time::timeout(PATIENCE, self.answer).await;
        answer.expect("in time").expect("no panic")
    }
}

impl Site {
    pub(crate) fn streamed(&self, encoding: Encoding) -> RequestBuilder {
        let request = client().post(self.url("/api/v1"));
        let request = request.header("content-type", "application/recordio");
        request.header("message-content-type", encoding.mime())
    }

    /// Makes a call whose answer is a stream of records, labelled as one.
    pub(crate) async fn output(&self, call: &Call, encoding: Encoding) -> Output {
        let kind = encoding.mime();
        let request = client().post(self.url("/api/v1")).body(encoding.write(call));
        let request = request.header("content-type", kind).header("message-accept", kind);
        let answer = request.header("accept", "application/recordio").send().await;
        let answer = answer.expect("an answer");
        assert!(answer.status() == 200, "{}", answer.text().await.expect("a body"));
        assert_eq!(answer.headers()["content-type"], "application/recordio");
        assert_eq!(answer.headers()["message-content-type"], kind);
        let decoder = proto::recordio::Decoder::new(1 << 20);
        let (stdout, stderr) = (String::new(), String::new());
        Output { answer, encoding, decoder, heartbeats: 0, stdout, stderr }
    }

    /// Types for a container.
    pub(crate) async fn types(&self, container: &mesos::ContainerId, encoding: Encoding) -> Typist {
        let (records, receiver) = mpsc::channel::<Bytes>(4);
        let stream = futures::stream::unfold(receiver, async |mut receiver| {
            let record = receiver.recv().await?;
            Some((Ok::<_, std::io::Error>(record), receiver))
        });
        let request = self.streamed(encoding).body(Body::wrap_stream(stream));
        let answer = tokio::spawn(async move {
            let answer = request.send().await.expect("an answer");
            (answer.status(), answer.text().await.expect("a body"))
        });
        let typist = Typist { encoding, records: Some(records), answer };
        typist.sends(&attach_input(container.clone())).await;
        typist
    }

    /// How a container ended: its status and the message.
    pub(crate) async fn end_of(
        &self,
        container: mesos::ContainerId,
    ) -> (Option<i32>, Option<String>) {
        let (status, text, response) =
            self.operate(&wait_nested(container), Encoding::Protobuf).await;
        assert_eq!(status, 200, "{text}");
        let over = response.wait_nested_container.expect("it is over");
        (over.exit_status, over.message)
    }
}
