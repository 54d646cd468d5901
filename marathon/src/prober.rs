//! Asking tasks whether they are ready.

use std::sync::Arc;

use marathon_core::io::{Probe, Response};
use model::ids::TaskId;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::{Semaphore, mpsc};

/// Questions that are under way at once. Others wait for their turn: a deployment of thousands of
/// instances must not take every socket there is.
const PROBES_MAX: usize = 256;

/// Bytes of the body of an answer that are kept.
const BODY_BYTES_MAX: usize = 4_096;

/// A task that was asked.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) task: TaskId,
    /// Absent if it did not answer.
    pub(crate) status: Option<u16>,
    /// If it is to be kept.
    pub(crate) response: Option<Arc<Response>>,
}

/// Who asks.
pub(crate) struct Prober {
    http: reqwest::Client,
    turns: Arc<Semaphore>,
    answered: mpsc::UnboundedSender<Answered>,
    answers: Option<mpsc::UnboundedReceiver<Answered>>,
}

impl Prober {
    /// One that has asked nobody yet.
    pub(crate) fn new() -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // Tasks have certificates of their own making: it is asked whether they are ready, not who
            // they are.
            .danger_accept_invalid_certs(true)
            .build()
            .expect("nothing in these settings can fail");
        let (answered, answers) = mpsc::unbounded_channel();
        let turns = Arc::new(Semaphore::new(PROBES_MAX));
        Self { http, turns, answered, answers: Some(answers) }
    }

    /// Where answers come out; for one reader.
    pub(crate) fn answers(&mut self) -> mpsc::UnboundedReceiver<Answered> {
        self.answers.take().expect("there is one reader")
    }

    /// Asks one task.
    pub(crate) fn ask(&self, probe: Probe) {
        let (http, turns) = (self.http.clone(), self.turns.clone());
        let answered = self.answered.clone();
        tokio::spawn(async move {
            let Ok(_turn) = turns.acquire_owned().await else { return };
            let answer = http.get(&probe.url).timeout(probe.timeout).send().await.ok();
            let status = answer.as_ref().map(|answer| answer.status().as_u16());
            let response = match answer.filter(|_| probe.keeps_response) {
                Some(answer) => Some(Arc::new(kept(answer).await)),
                None => None,
            };
            // Nobody listens any more when the process ends.
            let _ = answered.send(Answered { task: probe.task, status, response });
        });
    }
}

/// Reads an answer as far as it is kept.
async fn kept(mut answer: reqwest::Response) -> Response {
    let content_type = answer.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let content_type = String::from_utf8_lossy(content_type.unwrap_or_default()).into_owned();
    let mut body = Vec::new();
    while body.len() < BODY_BYTES_MAX
        && let Ok(Some(bytes)) = answer.chunk().await
    {
        body.extend_from_slice(&bytes);
    }
    body.truncate(BODY_BYTES_MAX);
    let body = String::from_utf8_lossy(&body).into_owned();
    Response { status: answer.status().as_u16(), content_type, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_task_answers_with_its_status_or_not_at_all() {
        transport::install_tls_provider();
        let large = || async { "x".repeat(2 * BODY_BYTES_MAX) };
        let ready = || async { (axum::http::StatusCode::ACCEPTED, "not yet") };
        let routes = axum::Router::new()
            .route("/ready", axum::routing::get(ready))
            .route("/large", axum::routing::get(large));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let mut prober = Prober::new();
        let mut answers = prober.answers();
        let task = TaskId::new("t").expect("an id");
        let mut ask = async |path: &str, keeps_response: bool| {
            let (task, url) = (task.clone(), format!("http://{address}{path}"));
            let timeout = Duration::from_secs(20);
            prober.ask(Probe { task, url, timeout, keeps_response });
            let answered = answers.recv().await.expect("one");
            (answered.status, answered.response)
        };
        assert_eq!(ask("/ready", false).await, (Some(202), None));
        assert_eq!(ask("/other", false).await, (Some(404), None));
        let kept = Response {
            status: 202,
            content_type: "text/plain; charset=utf-8".to_owned(),
            body: "not yet".to_owned(),
        };
        assert_eq!(ask("/ready", true).await, (Some(202), Some(kept.into())));
        let (_, large) = ask("/large", true).await;
        assert_eq!(large.expect("it is kept").body.len(), BODY_BYTES_MAX);
        server.abort();
        let _ = server.await;
        assert_eq!(ask("/ready", true).await, (None, None));
    }
}
