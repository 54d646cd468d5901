//! Large answers, made where they hold up nobody and once for all who ask the same.
//!
//! A reader joins those who have asked the same before, unless the answer for those is being made
//! already: what it gets was made after it asked, so nobody reads less than they have been told.
//! However many ask, there is one answer under way for each question, and one more that waits.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::http::{COMPRESSED_FROM_BYTES, Refused};

/// How much the threads stand back behind all others, as `nice` counts: a core that must act is to
/// get its turn at once, however many read.
const NICENESS: i32 = 10;

/// What is to be sent: all of it, with its type.
#[derive(Clone, Debug)]
pub struct Whole {
    mime: &'static str,
    body: Bytes,
    tag: Option<HeaderValue>,
    is_compressed: bool,
}

impl Whole {
    /// `body`, which is of the type `mime`.
    pub fn new(mime: &'static str, body: impl Into<Bytes>) -> Self {
        Self { mime, body: body.into(), tag: None, is_compressed: false }
    }

    /// The same with a tag (ETag) by which readers know it again. It must be a weak one: what is
    /// compressed has the same.
    #[must_use]
    pub fn tagged(self, tag: HeaderValue) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// The same, made smaller if that is worth it.
    fn compressed(self) -> Self {
        if self.is_compressed || (self.body.len() as u64) < COMPRESSED_FROM_BYTES {
            return self;
        }
        let mut encoder = flate2::read::GzEncoder::new(&self.body[..], flate2::Compression::fast());
        let mut body = Vec::with_capacity(self.body.len() / 8);
        match std::io::Read::read_to_end(&mut encoder, &mut body) {
            Ok(_) => Self { body: body.into(), is_compressed: true, ..self },
            // Memory does not fail to be read.
            Err(_) => self,
        }
    }
}

impl IntoResponse for Whole {
    fn into_response(self) -> Response {
        let mut response = ([(header::CONTENT_TYPE, self.mime)], self.body).into_response();
        let headers = response.headers_mut();
        headers.extend(self.tag.map(|tag| (header::ETAG, tag)));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if self.is_compressed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Whether the sender of these headers reads gzip.
fn reads_gzip(headers: &HeaderMap) -> bool {
    let all = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut listed = all.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    listed.any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts
            .filter_map(|part| part.split_once('='))
            .any(|(name, value)| name.trim() == "q" && value.trim().parse() == Ok(0.0_f32));
        is_it && !refused
    })
}

/// What somebody gets who has asked.
type Made = Result<Whole, Refused>;

/// Makes an answer.
type Work = Box<dyn FnOnce() -> Made + Send>;

/// A question, and whether the answer is to be compressed.
type Asked<Q> = (Q, bool);

/// Threads that make answers to questions `Q`.
///
/// They end with the value, once they have done what is under way.
pub struct Renderers<Q> {
    queue: mpsc::Sender<(Asked<Q>, Work)>,
    /// Those who wait for answers that nobody has begun to make.
    waiting: Waiting<Q>,
    shared: AtomicU64,
}

type Waiting<Q> = Arc<Mutex<HashMap<Asked<Q>, Vec<oneshot::Sender<Made>>>>>;

impl<Q: Clone + Eq + Hash + Send + 'static> Renderers<Q> {
    /// Starts the threads: half as many as the machine has cores, so that the other half is for
    /// those who write.
    ///
    /// # Errors
    ///
    /// When the system gives us no thread.
    pub fn start() -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel();
        let (waiting, jobs) = (Waiting::<Q>::default(), Arc::new(Mutex::new(jobs)));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.div_ceil(2) {
            let (waiting, jobs) = (waiting.clone(), jobs.clone());
            std::thread::Builder::new().name("render".to_owned()).spawn(move || {
                // On Linux this is of one thread; where it is refused, reads are only less polite.
                let _ = rustix::process::nice(NICENESS);
                loop {
                    let job = jobs.lock().recv();
                    let Ok((asked, work)) = job else { return };
                    make(&waiting, &asked, work);
                }
            })?;
        }
        Ok(Self { queue, waiting, shared: AtomicU64::new(0) })
    }

    /// How many have got an answer that was made for another one who asked the same.
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// The answer to `question`: made by `work`, or by that of somebody else who asks the same.
    /// `headers` are those of the request.
    pub async fn answer(
        &self,
        question: Q,
        headers: &HeaderMap,
        work: impl FnOnce() -> Made + Send + 'static,
    ) -> Response {
        let (maker, made) = oneshot::channel();
        let asked = (question, reads_gzip(headers));
        {
            let mut waiting = self.waiting.lock();
            if let Some(others) = waiting.get_mut(&asked) {
                others.push(maker);
                self.shared.fetch_add(1, Ordering::Relaxed);
            } else {
                waiting.insert(asked.clone(), vec![maker]);
                // The threads live as long as the queue does.
                let _ = self.queue.send((asked, Box::new(work)));
            }
        }
        match made.await {
            Ok(made) => made.into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// Makes one answer and hands it to all who wait for it at this moment. Whoever comes later gets one
/// that is made later.
fn make<Q: Eq + Hash>(waiting: &Waiting<Q>, asked: &Asked<Q>, work: Work) {
    let for_whom = waiting.lock().remove(asked).unwrap_or_default();
    if for_whom.iter().all(oneshot::Sender::is_closed) {
        return;
    }
    let with_gzip = || if asked.1 { work().map(Whole::compressed) } else { work() };
    // Who waits hears of a panic by losing the other end.
    if let Ok(made) = catch_unwind(AssertUnwindSafe(with_gzip)) {
        for one in for_whom {
            let _ = one.send(made.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::to_bytes;
    use futures::FutureExt;
    use futures::future::join_all;

    use super::*;

    async fn text(response: Response) -> (StatusCode, String) {
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    fn plain(text: String) -> Whole {
        Whole::new("text/plain", text)
    }

    /// Renderers of which every thread is busy until the returned senders are dropped.
    fn held() -> (Renderers<&'static str>, Vec<mpsc::Sender<()>>) {
        let renderers = Renderers::start().expect("threads");
        let threads = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
        let hold = |_| {
            let (release, released) = mpsc::channel::<()>();
            let (begun, has_begun) = mpsc::channel();
            let work: Work = Box::new(move || {
                let _ = begun.send(());
                let _ = released.recv();
                Ok(plain(String::new()))
            });
            let (maker, made) = oneshot::channel();
            renderers.waiting.lock().insert(("held", false), vec![maker]);
            renderers.queue.send((("held", false), work)).expect("threads run");
            has_begun.recv().expect("a thread takes it");
            drop(made);
            release
        };
        let holds = (0..threads).map(hold).collect();
        (renderers, holds)
    }

    #[tokio::test]
    async fn all_who_ask_before_it_is_made_share_one_answer() {
        let (renderers, holds) = held();
        let made = Arc::new(AtomicUsize::new(0));
        let none = HeaderMap::new();
        let ask = |question| {
            let made = made.clone();
            renderers.answer(question, &none, move || {
                Ok(plain(format!("{question} {}", made.fetch_add(1, Ordering::SeqCst))))
            })
        };
        let mut asked: Vec<_> = ["a", "a", "b", "a"].map(|q| Box::pin(ask(q))).into();
        for one in &mut asked {
            assert!(one.as_mut().now_or_never().is_none(), "nobody makes it yet");
        }
        drop(holds);
        let answers = join_all(asked.into_iter().map(|one| async { text(one.await).await.1 }));
        let mut answers = answers.await;
        answers.sort_unstable();
        // Two were made, in either order.
        let orders = [["a 0", "a 0", "a 0", "b 1"], ["a 1", "a 1", "a 1", "b 0"]];
        assert!(orders.iter().any(|order| *order == answers[..]), "{answers:?}");
        assert_eq!(made.load(Ordering::SeqCst), 2);
        assert_eq!(renderers.shared(), 2);
    }

    #[tokio::test]
    async fn who_asks_after_it_was_begun_gets_another_one() {
        let renderers = Renderers::start().expect("threads");
        let (begun, has_begun) = oneshot::channel();
        let (release, released) = mpsc::channel::<()>();
        let none = HeaderMap::new();
        let first = renderers.answer("a", &none, move || {
            let _ = begun.send(());
            let _ = released.recv();
            Ok(plain("first".to_owned()))
        });
        let later = async {
            has_begun.await.expect("it is begun");
            let second = renderers.answer("a", &none, || Ok(plain("second".to_owned())));
            let mut second = Box::pin(second);
            let _ = second.as_mut().now_or_never();
            drop(release);
            text(second.await).await.1
        };
        let (first, second) = tokio::join!(async { text(first.await).await.1 }, later);
        assert_eq!((first.as_str(), second.as_str()), ("first", "second"));
    }

    #[tokio::test]
    async fn what_cannot_be_made_harms_nobody_else() {
        let renderers = Renderers::start().expect("threads");
        let none = HeaderMap::new();
        let refused = renderers.answer("a", &none, || Err(Refused::bad_request("no"))).await;
        assert_eq!(text(refused).await, (StatusCode::BAD_REQUEST, "no".to_owned()));
        for _ in 0..20 {
            let broken = renderers.answer("a", &none, || panic!("on purpose")).await;
            assert_eq!(broken.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        let good = renderers.answer("a", &none, || Ok(plain("good".to_owned()))).await;
        assert_eq!(text(good).await, (StatusCode::OK, "good".to_owned()));
    }

    #[tokio::test]
    async fn it_is_compressed_for_those_who_read_that() {
        let renderers = Renderers::start().expect("threads");
        let long = "so it goes ".repeat(1_000);
        let length = long.len();
        for (accepts, is_compressed) in [
            (None, false),
            (Some("gzip"), true),
            (Some("br, GZIP;q=0.5"), true),
            (Some("gzip;q=0"), false),
            (Some("deflate"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accepts) = accepts {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepts));
            }
            let long = long.clone();
            let answer = renderers.answer("a", &headers, move || Ok(plain(long))).await;
            let encoding = answer.headers().get(header::CONTENT_ENCODING).cloned();
            let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
            assert_eq!(encoding.is_some(), is_compressed, "{accepts:?}");
            assert_eq!(body.len() < length, is_compressed, "{accepts:?}");
        }
    }
}
