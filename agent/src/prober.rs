//! Probing tasks: when to look, what the looks add up to, and how to look.
//!
//! The schedules are plain values that are told the time. What follows from a verdict (a report, a
//! kill) is decided by whoever drives them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use model::step::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::executor::process::{self, Program};

/// Bytes of an HTTP answer that are read. The status line is all that is wanted of it.
const ANSWER_BYTES_MAX: usize = 4_096;

/// When to look, and how much patience to have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule {
    /// From the task's start to the first look.
    pub delay: Duration,
    /// From the end of one look to the next.
    pub interval: Duration,
    /// How long a look may take.
    pub timeout: Duration,
}

/// How many bad looks are too many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// From the task's start; until the first good look, bad ones in this time do not count.
    pub grace: Duration,
    /// So many bad looks in a row end the task.
    pub failures_max: u32,
}

/// What a health check wants done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing new.
    Nothing,
    /// Tell whether the task is healthy.
    Report {
        /// It is.
        healthy: bool,
    },
    /// Tell that it is not, and end it.
    Kill,
}

/// A pacemaker: says when the next look is due.
#[derive(Clone, Copy, Debug)]
struct Pace {
    schedule: Schedule,
    /// Absent while somebody is looking.
    next_at: Option<Time>,
}

impl Pace {
    fn new(schedule: Schedule, now: Time) -> Self {
        Self { schedule, next_at: Some(now + schedule.delay) }
    }

    fn due(&mut self, now: Time) -> bool {
        let due = self.next_at.is_some_and(|at| at <= now);
        if due {
            self.next_at = None;
        }
        due
    }

    fn done(&mut self, now: Time) {
        self.next_at = Some(now + self.schedule.interval);
    }
}

/// One task's health check.
#[derive(Clone, Debug)]
pub struct Health {
    pace: Pace,
    patience: Patience,
    started: Time,
    ever_passed: bool,
    failures: u32,
}

impl Health {
    /// For a task that starts now.
    pub fn new(schedule: Schedule, patience: Patience, now: Time) -> Self {
        let pace = Pace::new(schedule, now);
        Self { pace, patience, started: now, ever_passed: false, failures: 0 }
    }

    /// When to look next; absent while a look is under way.
    pub fn next_deadline(&self) -> Option<Time> {
        self.pace.next_at
    }

    /// Whether to look now. Whoever is told so must bring a result.
    pub fn due(&mut self, now: Time) -> bool {
        self.pace.due(now)
    }

    /// Takes in that nobody was there to look, which says nothing about the task.
    pub fn missed(&mut self, now: Time) {
        self.pace.done(now);
    }

    /// Takes in what a look showed.
    pub fn looked(&mut self, passed: bool, now: Time) -> Verdict {
        self.pace.done(now);
        if passed {
            let news = !self.ever_passed || self.failures > 0;
            self.ever_passed = true;
            self.failures = 0;
            return if news { Verdict::Report { healthy: true } } else { Verdict::Nothing };
        }
        if !self.ever_passed && now.since(self.started) <= self.patience.grace {
            return Verdict::Nothing;
        }
        self.failures += 1;
        if self.failures >= self.patience.failures_max {
            Verdict::Kill
        } else {
            Verdict::Report { healthy: false }
        }
    }
}

/// All health checks of one task, each at its own pace.
#[derive(Clone, Debug, Default)]
pub struct Checkup {
    checks: Vec<Health>,
    /// Whether something was reported already.
    is_told: bool,
}

impl Checkup {
    /// For a task that starts now.
    pub fn new(checks: &[(Schedule, Patience)], now: Time) -> Self {
        let one = |(schedule, patience): &_| Health::new(*schedule, *patience, now);
        Self { checks: checks.iter().map(one).collect(), is_told: false }
    }

    /// When to look next; absent without a check, and while looks are under way at all.
    pub fn next_deadline(&self) -> Option<Time> {
        self.checks.iter().filter_map(Health::next_deadline).min()
    }

    /// Which checks are to be made now. Whoever is told so must bring a result of each.
    pub fn due(&mut self, now: Time) -> Vec<usize> {
        let checks = self.checks.iter_mut().enumerate();
        checks.filter_map(|(place, check)| check.due(now).then_some(place)).collect()
    }

    /// Takes in what the look for the check at `place` showed; nothing if nobody was there to look.
    pub fn looked(&mut self, place: usize, passed: Option<bool>, now: Time) -> Verdict {
        let Some(check) = self.checks.get_mut(place) else { return Verdict::Nothing };
        let Some(passed) = passed else {
            check.missed(now);
            return Verdict::Nothing;
        };
        let verdict = match (check.looked(passed, now), self.verdict()) {
            (Verdict::Kill, _) => Verdict::Kill,
            (Verdict::Report { .. }, Some(healthy)) => Verdict::Report { healthy },
            // What was said to be bad is well again, and others have not been heard of yet.
            (Verdict::Report { .. }, None) if self.is_told => Verdict::Report { healthy: false },
            (Verdict::Report { .. }, None) | (Verdict::Nothing, _) => Verdict::Nothing,
        };
        self.is_told |= verdict != Verdict::Nothing;
        verdict
    }

    /// The places of the checks that fail, where there are several, and how often in a row they did. If none does and
    /// yet not all are well, those that were never well, which have not failed.
    pub fn failing(&self) -> Vec<(u32, u32)> {
        if self.checks.len() < 2 {
            return Vec::new();
        }
        let places = (0..).zip(&self.checks);
        let (failing, others): (Vec<_>, Vec<_>) = places.partition(|(_, check)| check.failures > 0);
        let unheard = others.into_iter().filter(|(_, check)| !check.ever_passed);
        let named = if failing.is_empty() { unheard.collect() } else { failing };
        named.into_iter().map(|(place, check)| (place, check.failures)).collect()
    }

    /// What all say together; absent until all have spoken or one fails.
    fn verdict(&self) -> Option<bool> {
        if self.checks.iter().any(|check| check.failures > 0) {
            return Some(false);
        }
        self.checks.iter().all(|check| check.ever_passed).then_some(true)
    }
}

/// What a look showed, in its own terms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A command ended with this code. Absent: it did not end in time, or by a signal.
    Command(Option<i32>),
    /// A server answered with this status. Absent: it did not.
    Http(Option<u16>),
    /// Whether a connection came about. Absent: nobody has looked.
    Tcp(Option<bool>),
}

impl Answer {
    /// Whether this counts as healthy.
    pub fn passed(self) -> bool {
        match self {
            Self::Command(code) => code == Some(0),
            Self::Http(status) => status.is_some_and(|status| (200..400).contains(&status)),
            Self::Tcp(connected) => connected == Some(true),
        }
    }
}

impl Target {
    /// What is said of it before anybody has looked: which kind of target it is.
    pub fn unanswered(&self) -> Answer {
        match self {
            Self::Command(_) => Answer::Command(None),
            Self::Http { .. } => Answer::Http(None),
            Self::Tcp { .. } => Answer::Tcp(None),
        }
    }
}

/// One task's check: it only tells, and never ends anything.
#[derive(Clone, Debug)]
pub struct Check {
    pace: Pace,
    last: Option<Answer>,
}

impl Check {
    /// For a task that starts now.
    pub fn new(schedule: Schedule, now: Time) -> Self {
        Self { pace: Pace::new(schedule, now), last: None }
    }

    /// When to look next; absent while a look is under way.
    pub fn next_deadline(&self) -> Option<Time> {
        self.pace.next_at
    }

    /// Whether to look now. Whoever is told so must bring a result.
    pub fn due(&mut self, now: Time) -> bool {
        self.pace.due(now)
    }

    /// Takes in that nobody was there to look, which says nothing about the task.
    pub fn missed(&mut self, now: Time) {
        self.pace.done(now);
    }

    /// Takes in what a look showed; says whether that is news.
    pub fn looked(&mut self, answer: Answer, now: Time) -> bool {
        self.pace.done(now);
        self.last.replace(answer) != Some(answer)
    }
}

/// What to look at.
#[derive(Clone, Debug)]
pub enum Target {
    /// Run this beside the task.
    Command(Program),
    /// Ask for a page.
    Http {
        /// Whether over TLS. Whose certificate it is does not matter.
        tls: bool,
        /// Whether by IPv6.
        ipv6: bool,
        /// On this machine.
        port: u16,
        /// Begins with a slash.
        path: String,
        /// Whether a status from 100 to 199 says nothing.
        ignores_1xx: bool,
    },
    /// Open a connection.
    Tcp {
        /// Whether by IPv6.
        ipv6: bool,
        /// On this machine.
        port: u16,
    },
}

impl Target {
    /// Whether `answer` says nothing of the task's health.
    pub fn ignores(&self, answer: Answer) -> bool {
        matches!(
            (self, answer),
            (Self::Http { ignores_1xx: true, .. }, Answer::Http(Some(100..200)))
        )
    }

    /// Looks once, for at most `timeout`.
    pub async fn look(&self, timeout: Duration) -> Answer {
        match self {
            Self::Command(program) => Answer::Command(process::exit_code(program, timeout).await),
            Self::Http { tls: true, ipv6, port, path, .. } => {
                let program = curl(*ipv6, *port, path, timeout);
                let output = process::output(&program, timeout).await;
                let status = output.and_then(|text| text.trim().parse().ok());
                // The tool says 000 when no answer came.
                Answer::Http(status.filter(|&status| status > 0))
            }
            Self::Http { tls: false, ipv6, port, path, .. } => {
                let asked = tokio::time::timeout(timeout, http(local(*ipv6, *port), path));
                Answer::Http(asked.await.ok().flatten())
            }
            Self::Tcp { ipv6, port } => {
                let connected = TcpStream::connect(local(*ipv6, *port));
                let connected = tokio::time::timeout(timeout, connected).await;
                Answer::Tcp(Some(matches!(connected, Ok(Ok(_)))))
            }
        }
    }
}

fn local(ipv6: bool, port: u16) -> SocketAddr {
    let ip = if ipv6 { Ipv6Addr::LOCALHOST.into() } else { IpAddr::from(Ipv4Addr::LOCALHOST) };
    SocketAddr::new(ip, port)
}

/// Sends a GET and reads the status of the answer.
async fn http(address: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: agora-health-check\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES_MAX {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let mut words = line.lines().next()?.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

/// A whole TLS client would make every executor larger for the sake of the few tasks that are
/// checked so.
fn curl(ipv6: bool, port: u16, path: &str, timeout: Duration) -> Program {
    let address = local(ipv6, port);
    let seconds = timeout.as_secs().max(1).to_string();
    let url = format!("https://{address}{path}");
    let arguments =
        ["curl", "-s", "-k", "-g", "-o", "/dev/null", "-w", "%{http_code}", "-m", &seconds, &url];
    Program {
        path: "curl".to_owned(),
        arguments: arguments.map(str::to_owned).to_vec(),
        environment: Vec::new(),
        user: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Time {
        Time(Duration::from_secs(secs))
    }

    fn health() -> Health {
        let seconds = Duration::from_secs;
        let schedule = Schedule { delay: seconds(5), interval: seconds(10), timeout: seconds(20) };
        Health::new(schedule, Patience { grace: seconds(30), failures_max: 3 }, at(0))
    }

    #[test]
    fn looks_come_after_a_delay_and_then_after_each_other() {
        let mut health = health();
        assert!(!health.due(at(4)));
        assert_eq!(health.next_deadline(), Some(at(5)));
        assert!(health.due(at(5)));
        assert_eq!(health.next_deadline(), None, "one look at a time");
        health.looked(true, at(12));
        assert_eq!(health.next_deadline(), Some(at(22)));
    }

    #[test]
    fn the_first_and_every_changed_verdict_is_news() {
        let mut health = health();
        assert_eq!(health.looked(true, at(5)), Verdict::Report { healthy: true });
        assert_eq!(health.looked(true, at(15)), Verdict::Nothing);
        assert_eq!(health.looked(false, at(25)), Verdict::Report { healthy: false });
        assert_eq!(health.looked(false, at(35)), Verdict::Report { healthy: false });
        assert_eq!(health.looked(true, at(45)), Verdict::Report { healthy: true });
        for (secs, verdict) in [(55, false), (65, false)] {
            assert_eq!(health.looked(false, at(secs)), Verdict::Report { healthy: verdict });
        }
        assert_eq!(health.looked(false, at(75)), Verdict::Kill, "three in a row");
    }

    #[test]
    fn bad_looks_in_the_grace_period_do_not_count() {
        let mut health = health();
        assert_eq!(health.looked(false, at(10)), Verdict::Nothing);
        assert_eq!(health.looked(false, at(30)), Verdict::Nothing);
        assert_eq!(health.looked(false, at(31)), Verdict::Report { healthy: false });
        let mut early = self::health();
        early.looked(true, at(5));
        let report = Verdict::Report { healthy: false };
        assert_eq!(early.looked(false, at(6)), report, "it had been healthy");
    }

    #[test]
    fn several_checks_are_well_together_and_one_is_enough_to_end_it() {
        let seconds = Duration::from_secs;
        let check = |interval, failures_max| {
            let (delay, timeout) = (seconds(0), seconds(1));
            let patience = Patience { grace: seconds(0), failures_max };
            (Schedule { delay, interval: seconds(interval), timeout }, patience)
        };
        let mut all = Checkup::new(&[check(2, 9), check(5, 2)], at(0));
        assert_eq!(all.due(at(0)), [0, 1]);
        assert_eq!(all.next_deadline(), None);
        assert_eq!(all.looked(0, Some(true), at(1)), Verdict::Nothing, "the other may be bad");
        assert_eq!(all.next_deadline(), Some(at(3)), "each has its pace");
        assert_eq!(all.looked(1, Some(true), at(1)), Verdict::Report { healthy: true });
        assert_eq!(all.due(at(3)), [0]);
        assert_eq!(all.looked(0, None, at(3)), Verdict::Nothing);
        assert_eq!(all.looked(1, Some(false), at(6)), Verdict::Report { healthy: false });
        assert_eq!(all.failing(), [(1, 1)]);
        assert_eq!(all.looked(0, Some(false), at(7)), Verdict::Report { healthy: false });
        assert_eq!(all.failing(), [(0, 1), (1, 1)]);
        let one_less = all.looked(0, Some(true), at(9));
        assert_eq!(one_less, Verdict::Report { healthy: false }, "one is left that fails");
        assert_eq!(all.failing(), [(1, 1)]);
        assert_eq!(all.looked(1, Some(false), at(11)), Verdict::Kill, "its second in a row");
        assert_eq!(all.looked(2, Some(true), at(11)), Verdict::Nothing, "there is no such check");

        let mut slow = Checkup::new(&[check(2, 9), check(5, 2)], at(0));
        assert_eq!(slow.looked(0, Some(false), at(1)), Verdict::Report { healthy: false });
        assert_eq!(slow.failing(), [(0, 1)]);
        let better = slow.looked(0, Some(true), at(3));
        assert_eq!(better, Verdict::Report { healthy: false }, "the other has not been heard of");
        assert_eq!(slow.failing(), [(1, 0)]);
        assert_eq!(slow.looked(1, Some(true), at(5)), Verdict::Report { healthy: true });
        assert!(slow.failing().is_empty());
        assert!(Checkup::new(&[check(1, 9)], at(0)).failing().is_empty());
    }

    #[test]
    fn an_interim_answer_says_nothing_where_that_is_wanted() {
        let path = "/".to_owned();
        let mut target = Target::Http { tls: false, ipv6: false, port: 1, path, ignores_1xx: true };
        assert!(target.ignores(Answer::Http(Some(100))) && target.ignores(Answer::Http(Some(199))));
        for other in [Some(99), Some(200), Some(503), None] {
            assert!(!target.ignores(Answer::Http(other)), "{other:?}");
        }
        let Target::Http { ignores_1xx, .. } = &mut target else { unreachable!() };
        *ignores_1xx = false;
        assert!(!target.ignores(Answer::Http(Some(100))));
    }

    #[test]
    fn a_check_tells_changes_only() {
        let seconds = Duration::from_secs;
        let schedule = Schedule { delay: seconds(0), interval: seconds(1), timeout: seconds(1) };
        let mut check = Check::new(schedule, at(0));
        assert!(check.looked(Answer::Command(Some(0)), at(1)));
        assert!(!check.looked(Answer::Command(Some(0)), at(2)));
        assert!(check.looked(Answer::Command(None), at(3)));
    }

    #[tokio::test]
    async fn a_server_is_asked_and_its_status_counts() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let server = tokio::spawn(async move {
            for answer in
                ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.0 503 Busy\r\n\r\n", "junk\r\n"]
            {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut request = vec![0; 1_024];
                let read = stream.read(&mut request).await.expect("a request");
                assert!(request[..read].starts_with(b"GET /health?a=b HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.expect("a client");
            }
        });
        let path = "/health?a=b".to_owned();
        let target = Target::Http { tls: false, ipv6: false, port, path, ignores_1xx: false };
        let timeout = Duration::from_secs(10);
        for expected in [Some(204), Some(503), None] {
            assert_eq!(target.look(timeout).await, Answer::Http(expected));
        }
        server.await.expect("it was asked three times");
        assert_eq!(Target::Tcp { ipv6: false, port }.look(timeout).await, Answer::Tcp(Some(false)));
        assert_eq!(target.look(timeout).await, Answer::Http(None));
    }
}
