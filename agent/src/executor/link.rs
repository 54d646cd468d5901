//! The executor's connections to its agent: one that events come on, one for reports as long as they follow one
//! another closely, and one for each other call.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use proto::mesos::v1::agent::Call;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use transport::tls::{self, ClientCerts, Speaks, Tls, TlsFiles};

use crate::api::EXECUTOR_PATH;

/// How long the agent may take to answer a call. It writes to disk before it does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest event. A task group is the largest there is, and the agent has held it whole.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// Bytes shown of an answer that says why a call was refused.
const REFUSAL_BYTES_MAX: usize = 1_024;

/// The largest answer to a call about a container: a few numbers and a message.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Where calls about containers go.
const CONTAINERS_PATH: &str = "/api/v1";

const PROTOBUF: &str = "application/x-protobuf";

/// Why a call came to nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Failed {
    /// The agent is not there, or does not answer.
    Unreached(String),
    /// The agent does not do it.
    Refused(StatusCode, String),
}

/// How an answer is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wanted {
    /// As one message.
    Whole,
    /// As records, as they come.
    Records,
}

type Connection = SendRequest<Full<Bytes>>;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Where the agent is, and what shows that this is its executor.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    /// `host:port`.
    pub(super) endpoint: String,
    /// A file to reach it by rather than by its address, which may not lead out of this network.
    pub(super) socket: Option<PathBuf>,
    /// Whose word to trust on who the agent is. Absent: its port speaks no TLS.
    pub(super) ca: Option<PathBuf>,
    pub(super) token: Option<String>,
}

/// The events of one subscription.
pub(super) struct Events {
    body: Incoming,
    decoder: proto::recordio::Decoder,
}

/// Makes calls one after the other over one connection.
pub(super) struct Reporter {
    agent: Agent,
    connection: Option<Connection>,
}

impl Agent {
    /// Subscribes; gives the events that follow.
    pub(super) async fn subscribe(&self, call: Vec<u8>) -> Result<Events, String> {
        let response = self.send(call).await?;
        let decoder = proto::recordio::Decoder::new(EVENT_BYTES_MAX);
        Ok(Events { body: response.into_body(), decoder })
    }

    /// Makes a call about a container, and waits for the answer as long as that takes.
    pub(super) async fn operate(&self, call: &Call) -> Result<Bytes, Failed> {
        let body = call.encode_to_vec();
        let response = self.ask(CONTAINERS_PATH, body, Wanted::Whole).await?;
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let answer = body.collect().await.map_err(|error| Failed::Unreached(error.to_string()))?;
        Ok(answer.to_bytes())
    }

    /// Makes a call that is answered by what a command prints, and lets that pass until its end.
    pub(super) async fn attend(&self, call: &Call) -> Result<(), Failed> {
        let response = self.ask(CONTAINERS_PATH, call.encode_to_vec(), Wanted::Records).await?;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| Failed::Unreached(error.to_string()))?;
        }
        Ok(())
    }

    async fn send(&self, call: Vec<u8>) -> Result<Response<Incoming>, String> {
        self.in_time(self.ask(EXECUTOR_PATH, call, Wanted::Whole)).await
    }

    /// Waits for an answer for so long, and says in words why none came.
    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, String> {
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
        answered.map_err(|_| format!("{} does not answer", self.endpoint))?.map_err(|why| match why
        {
            Failed::Unreached(error) => format!("cannot reach {}: {error}", self.endpoint),
            Failed::Refused(status, text) => {
                format!("{} answered {status}: {text}", self.endpoint)
            }
        })
    }

    /// Makes a call and looks whether it is answered well.
    async fn ask(
        &self,
        path: &str,
        call: Vec<u8>,
        wanted: Wanted,
    ) -> Result<Response<Incoming>, Failed> {
        let answered = self.exchange(path, call, wanted).await;
        accepted(answered.map_err(|error| Failed::Unreached(error.to_string()))?).await
    }

    /// Makes a call that is answered with nothing, over a connection that is there if it still is. Gives
    /// the one that it went over.
    async fn report(&self, kept: Option<Connection>, call: Vec<u8>) -> Result<Connection, Failed> {
        let exchanged = async {
            let mut there = None;
            if let Some(mut kept) = kept {
                // The agent may have ended it meanwhile.
                there = kept.ready().await.is_ok().then_some(kept);
            }
            let mut connection = match there {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let request = self.request(EXECUTOR_PATH, call, Wanted::Whole)?;
            let response = connection.send_request(request).await?;
            Ok::<_, Error>((connection, response))
        };
        let unreached = |error: Error| Failed::Unreached(error.to_string());
        let (connection, response) = exchanged.await.map_err(unreached)?;
        // Read to its end, or nothing else can come over this connection.
        let body =
            http_body_util::Limited::new(accepted(response).await?.into_body(), ANSWER_BYTES_MAX);
        body.collect().await.map_err(unreached)?;
        Ok(connection)
    }

    async fn exchange(
        &self,
        path: &str,
        call: Vec<u8>,
        wanted: Wanted,
    ) -> Result<Response<Incoming>, Error> {
        let request = self.request(path, call, wanted)?;
        Ok(self.connect().await?.send_request(request).await?)
    }

    async fn connect(&self) -> Result<Connection, Error> {
        if let Some(socket) = &self.socket {
            return Ok(speak(UnixStream::connect(socket).await?).await?);
        }
        if let Some(ca) = &self.ca {
            // Read each time: the agent may have got its certificate from somebody else since.
            let client_certs = ClientCerts::None;
            let tls = Tls::load(TlsFiles { own: None, ca: ca.clone(), client_certs })?;
            let connected = tls.connect(&self.endpoint, Speaks::Http1).await;
            let stream =
                connected.map_err(|error| tls::explain(&error).unwrap_or(error.to_string()))?;
            return Ok(speak(stream).await?);
        }
        let stream = TcpStream::connect(&self.endpoint).await?;
        stream.set_nodelay(true)?;
        Ok(speak(stream).await?)
    }

    fn request(
        &self,
        path: &str,
        call: Vec<u8>,
        wanted: Wanted,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, &self.endpoint)
            .header(CONTENT_TYPE, PROTOBUF);
        request = match wanted {
            Wanted::Whole => request.header(ACCEPT, PROTOBUF),
            Wanted::Records => {
                request.header(ACCEPT, "application/recordio").header("message-accept", PROTOBUF)
            }
        };
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        Ok(request.body(Full::new(Bytes::from(call)))?)
    }
}

/// An answer, if it is a good one.
async fn accepted(response: Response<Incoming>) -> Result<Response<Incoming>, Failed> {
    let status = response.status();
    if matches!(status, StatusCode::OK | StatusCode::ACCEPTED) {
        return Ok(response);
    }
    let body = http_body_util::Limited::new(response.into_body(), REFUSAL_BYTES_MAX);
    let text =
        body.collect().await.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
    Err(Failed::Refused(status, String::from_utf8_lossy(&text).into_owned()))
}

impl Reporter {
    pub(super) fn new(agent: Agent) -> Self {
        Self { agent, connection: None }
    }

    /// Makes a call that is answered with nothing. What it came over is kept for the next one.
    pub(super) async fn call(&mut self, call: Vec<u8>) -> Result<(), String> {
        let kept = self.connection.take();
        self.connection = Some(self.agent.in_time(self.agent.report(kept, call)).await?);
        Ok(())
    }

    /// Whether a connection is kept.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Ends the connection that is kept.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }
}

/// Begins to speak HTTP. The connection ends with the answer's body, or when nobody reads that any more.
async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
) -> hyper::Result<Connection> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Events {
    /// The next event, encoded. An error is the end.
    pub(super) async fn next(&mut self) -> Result<Bytes, String> {
        loop {
            if let Some(record) = self.decoder.next().map_err(|error| error.to_string())? {
                return Ok(record);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.decoder.push(&data);
                    }
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the agent closed the connection".to_owned()),
            }
        }
    }
}
