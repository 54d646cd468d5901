//! An operator who asks for events and reads none of them, over real sockets, in JSON and in protobuf.

mod common;

use std::io;
use std::sync::Arc;

use common::{Alone, BOTH, FakeAgent, Operator, SOON, Scheduler, eager, update_id, written};
use model::ids::TaskId;
use model::link::FromAgent;
use model::task::{Reason, Status, TaskState};
use parking_lot::Mutex;
use proto::mesos::v1::master::Call;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use transport::http::Encoding;

/// Bytes of what an agent says with each report.
const MESSAGE_BYTES: usize = 1 << 20;

/// Reports of which a reader who is slow misses most: several times what may wait for one.
const REPORTS: usize = 224;

/// By how much this process may grow meanwhile: by what may wait for the reader, 64 MiB, and half as much
/// again for what is on its way from the agent and to the reader who reads, with what allocators keep.
const GROWTH_BYTES_MAX: usize = 160 << 20;

/// What is logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages = statm.split(' ').nth(1).expect("it is there");
    pages.parse::<usize>().expect("a number") * 4_096
}

/// Asks for events and reads no more than that the answer has begun.
async fn deaf(master: &Alone, encoding: Encoding) -> TcpStream {
    let mut stream = TcpStream::connect(master.address()).await.expect("connects");
    let body = written::<Call>(encoding, &json!({"type": "SUBSCRIBE"}));
    let head = format!(
        "POST /api/v1 HTTP/1.1\r\nHost: master\r\nContent-Type: {mime}\r\nAccept: {mime}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len(),
        mime = encoding.mime()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.expect("written");
    let mut begin = [0; 15];
    stream.read_exact(&mut begin).await.expect("an answer");
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
    stream
}

/// What is counted of streams that were cut.
async fn cut(master: &Alone) -> u64 {
    let text = master.http.get(master.url("/metrics")).send().await.expect("an answer");
    let text = text.text().await.expect("a body");
    let of_operators = |line: &&str| {
        line.starts_with("agora_streams_cut{")
            && line.contains("stream=\"operator\"")
            && line.contains("reason=\"slow\"")
    };
    let line = text.lines().find(of_operators);
    line.map_or(0, |line| line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
}

/// Waits until as many have been cut.
async fn until_cut(master: &Alone, count: u64) {
    let look = async { while cut(master).await < count {} };
    timeout(SOON, look).await.expect("counted in time");
}

/// Reads all that there is, until the connection ends.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // It may end in any way, but for that of an answer that is whole.
    let _ = timeout(SOON, stream.read_to_end(&mut all)).await.expect("it ends");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_let_go_and_counted_and_costs_the_master_no_memory() {
    let log = Log::default();
    let writer = log.clone();
    let to_log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(to_log).expect("it is the first");
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for (round, encoding) in (1..).zip(BOTH) {
        let info = json!({"user": "nobody", "name": "test", "failover_timeout": 3_600.0});
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        let cpus = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}});
        let task = json!({
            "name": "t", "task_id": {"value": "t"}, "agent_id": {"value": agent.id.as_str()},
            "command": {"value": "true"}, "resources": [cpus],
        });
        let launch = json!([{"type": "LAUNCH", "launch": {"task_infos": [task]}}]);
        scheduler.accept(&[offer], launch).await;
        agent.launched().await;
        // The framework is away, so that only operators are told.
        let framework = scheduler.framework();
        scheduler.hang_up();

        let deaf = deaf(&master, encoding).await;
        let (_, mut watch) = Operator::new(&master, Encoding::Protobuf).watch().await;
        let before = resident();
        let mut grown = 0;
        for n in 0..REPORTS {
            let id = TaskId::new("t").expect("an id");
            let status = Status {
                uuid: Some(update_id(u8::try_from(n % 200).expect("it is small"))),
                reason: Some(Reason::TaskHealthCheckStatusUpdated),
                message: Some("x".repeat(MESSAGE_BYTES).into()),
                ..agent.status(&id, TaskState::Running)
            };
            let (framework, latest) = (framework.clone(), TaskState::Running);
            agent.say(&FromAgent::StatusUpdate { framework, status, latest }).await;
            // Whoever reads hears of everything.
            let told = watch.event("TASK_UPDATED").await;
            assert_eq!(told["status"]["message"].as_str().map(str::len), Some(MESSAGE_BYTES));
            grown = grown.max(resident().saturating_sub(before));
        }
        assert!(grown < GROWTH_BYTES_MAX, "{} MiB", grown >> 20);
        until_cut(&master, round).await;
        assert_eq!(cut(&master).await, round, "and nobody else");
        let log = String::from_utf8(log.0.lock().clone()).expect("text");
        let said = log.matches("a reader was too slow and is cut off").count();
        assert_eq!(u64::try_from(said).expect("few"), round, "{log}");
        let rest = rest(deaf).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "what has a gap does not end as if it were whole");
        assert!(rest.len() < REPORTS * MESSAGE_BYTES / 4, "most of it was not kept for it");
        let gone = json!({"framework_id": {"value": framework.as_str()}});
        let teardown: Value = json!({"type": "TEARDOWN", "teardown": gone});
        Operator::new(&master, encoding).done(teardown).await;
        agent.hear().await.expect("that the framework is over");
    }
    master.running.stop().await;
}
