//! The API over a real socket, with the real core behind it and a store that is always quick.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use framework_sdk::store::StoreClient;
use marathon_core::Marathon;
use marathon_core::io::{Ask, Config, Input, Output};
use marathon_core::view::View;
use model::ids::{FrameworkId, RequestId};
use model::step::Core;
use reqwest::{Method, Response};
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use transport::rendering::Renderers;
use transport::server::Server;

use crate::api::{Shared, client, router};
use crate::clock::Clock;
use crate::driver::Request;
use crate::election::{Candidate, Leadership};
use crate::events::Bus;
use crate::masters::Masters;
use crate::options::Options;
use crate::published::Publisher;
use crate::vault::Vault;

/// How long anything may take before a test fails. Nothing waits that long when all is well.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// One Marathon that leads, and a client of it.
pub(super) struct Api {
    pub(super) base: String,
    pub(super) http: reqwest::Client,
    /// What happens at the master.
    inputs: mpsc::UnboundedSender<(Input, oneshot::Sender<Vec<Output>>)>,
    /// Told when this instance is to step down.
    pub(super) steps_down: Arc<Notify>,
    pub(super) leadership: watch::Sender<Leadership>,
    stop: CancellationToken,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Api {
    pub(super) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(super) async fn with(options: Options) -> Self {
        // Nobody listens there.
        Self::under("127.0.0.1:1".to_owned(), options).await
    }

    /// The same, with somebody at `master` who answers for it.
    pub(super) async fn under(master: String, options: Options) -> Self {
        transport::install_tls_provider();
        let stop = CancellationToken::new();
        let address = SocketAddr::new(options.http_address, 0);
        let bound = Server::bind(address).await.expect("a free port");
        let own = bound.local_addr().to_string();
        let vault = options.secrets_key_file.as_deref().map(Vault::of_file);
        let vault = vault.transpose().expect("a key").map(Arc::new);
        let publisher = Publisher::new(View::new(options.mesos_role.as_str().into()));
        let view = publisher.reader();
        let bus = Bus::start(options.event_stream_max_outstanding_messages);
        let (candidate, leadership, steps_down) = Candidate::leading();
        let (requests, requests_rx) = mpsc::channel(16);
        let (inputs, inputs_rx) = mpsc::unbounded_channel();
        let core = Marathon::new(Config { seed: 7, ..Config::default() });
        let behind = Behind { core, clock: Clock::start(), publisher, bus: bus.clone(), asked: 0 };
        tokio::spawn(behind.run(requests_rx, inputs_rx));
        let http = client(&options.identity);
        let store = StoreClient::new(vec![master], "marathon");
        let masters = Arc::new(Masters::new(store, &options.identity));
        let shared = Shared {
            own: own.clone(),
            options,
            view,
            candidate,
            requests,
            bus,
            vault,
            http: http.clone(),
            masters,
            renderers: Renderers::start().expect("threads"),
        };
        tokio::spawn(bound.serve(router(Arc::new(shared)), stop.clone()));
        let api =
            Self { base: format!("http://{own}"), http, inputs, steps_down, leadership, stop };
        api.input(Input::Lead { stored: Vec::new() }).await;
        api.input(Input::Subscribed {
            framework: FrameworkId::new("F-0000").expect("an id"),
            master: "master:5050".into(),
            region: None,
        })
        .await;
        api
    }

    /// Lets something happen at the master, and says what is asked of it then.
    pub(super) async fn input(&self, input: Input) -> Vec<Output> {
        let (answer, answered) = oneshot::channel();
        self.inputs.send((input, answer)).expect("it runs");
        answered.await.expect("it runs")
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        request.timeout(PATIENCE).send().await.expect("answered")
    }

    /// Status and body, which is null if there is none.
    pub(super) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let response = self.send(method, path, body).await;
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or_else(|_| text.into());
        (status, if body == "" { Value::Null } else { body })
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(super) async fn create(&self, app: &Value) -> Value {
        let (status, body) = self.ask("POST", "/v2/apps", Some(app)).await;
        assert_eq!(status, 201, "{body}");
        body
    }
}

/// What stands in for the driver.
struct Behind {
    core: Marathon,
    clock: Clock,
    publisher: Publisher,
    bus: Bus,
    asked: u64,
}

impl Behind {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut inputs: mpsc::UnboundedReceiver<(Input, oneshot::Sender<Vec<Output>>)>,
    ) {
        loop {
            tokio::select! {
                Some((input, answer)) = inputs.recv() => {
                    let _ = answer.send(self.step(input));
                }
                Some(Request { command, client, uri, answer }) = requests.recv() => {
                    self.asked += 1;
                    let request = RequestId(self.asked);
                    let outputs = self.step(Input::Ask(Ask { request, client, uri, command }));
                    for output in outputs {
                        if let Output::Answer { answer: said, .. } = output {
                            let _ = answer.send(said);
                            break;
                        }
                    }
                }
                else => return,
            }
        }
    }

    /// Everything that comes of `input` but what is seen at once.
    fn step(&mut self, input: Input) -> Vec<Output> {
        let (mut out, mut rest, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        self.core.step(input, self.clock.now(), &mut out);
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Store { write, .. } => {
                        self.core.step(Input::Committed { write }, self.clock.now(), &mut out);
                    }
                    Output::View(change) => changes.push(change),
                    Output::Event(event) => self.bus.emit(event),
                    Output::StepDown
                    | Output::Subscribe { .. }
                    | Output::Roles { .. }
                    | Output::AcceptInverse { .. }
                    | Output::Accept { .. }
                    | Output::Decline { .. }
                    | Output::Revive
                    | Output::Suppress
                    | Output::AskAgents
                    | Output::Kill { .. }
                    | Output::Acknowledge { .. }
                    | Output::Reconcile(_)
                    | Output::Probe(_)
                    | Output::Answer { .. } => rest.push(output),
                }
            }
        }
        self.publisher.publish(changes);
        rest
    }
}
