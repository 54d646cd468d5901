//! Asking tasks whether they are ready.

use std::sync::Arc;

use marathon_core::io::Probe;
use model::ids::TaskId;
use tokio::sync::{Semaphore, mpsc};

/// Questions that are under way at once. Others wait for their turn: a deployment of thousands of
/// instances must not take every socket there is.
const PROBES_MAX: usize = 256;

/// A task and the status it answered with, absent if it did not.
pub(crate) type Answered = (TaskId, Option<u16>);

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
            let answer = http.get(&probe.url).timeout(probe.timeout).send().await;
            let status = answer.ok().map(|answer| answer.status().as_u16());
            // Nobody listens any more when the process ends.
            let _ = answered.send((probe.task, status));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_task_answers_with_its_status_or_not_at_all() {
        transport::install_tls_provider();
        let routes = axum::Router::new()
            .route("/ready", axum::routing::get(|| async { axum::http::StatusCode::ACCEPTED }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let mut prober = Prober::new();
        let mut answers = prober.answers();
        let task = TaskId::new("t").expect("an id");
        let mut status = async |url: String| {
            prober.ask(Probe { task: task.clone(), url, timeout: Duration::from_secs(20) });
            answers.recv().await.expect("one").1
        };
        assert_eq!(status(format!("http://{address}/ready")).await, Some(202));
        assert_eq!(status(format!("http://{address}/other")).await, Some(404));
        server.abort();
        let _ = server.await;
        assert_eq!(status(format!("http://{address}/ready")).await, None);
    }
}
