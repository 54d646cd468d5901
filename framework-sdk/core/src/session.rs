//! Staying subscribed: which master to try, when to wait, when to give up.
//!
//! Every try to subscribe has a number. What arrives under a number that is not the present one is
//! of a connection that was given up, and is ignored: like the stream id on the wire, it fences off
//! what is stale.

use model::ids::FrameworkId;
use model::search::{Masters, Search};
use model::step::{Core, Now, Time};
use std::sync::Arc;
use std::time::Duration;

/// How often a master is expected to show that the stream lives, until it has said so itself.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(15);

/// How many heartbeats in a row may be missing before the stream counts as dead.
pub const HEARTBEATS_MISSED_MAX: u32 = 5;

/// How a session behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The masters (`host:port`), in any order. At least one.
    pub masters: Vec<Arc<str>>,
    /// The framework's id, if it has subscribed before.
    pub framework: Option<FrameworkId>,
    /// About how long to wait after the first failure; doubled with each further one.
    pub backoff_first: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// How long a master may take to answer SUBSCRIBE.
    pub answer_within: Duration,
    /// Spreads the waits of frameworks that lost the same master at the same moment.
    pub seed: u64,
}

/// What can happen to a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// Subscribe, and stay so.
    Start,
    /// SUBSCRIBED came.
    Subscribed {
        /// On which try.
        attempt: u64,
        /// The id the master has given.
        framework: FrameworkId,
        /// How often heartbeats come.
        heartbeat: Option<Duration>,
    },
    /// A master has said where they are, and how to come back to one that leads.
    Masters {
        /// On which try.
        attempt: u64,
        /// What it has said.
        masters: Masters,
    },
    /// Any other event came.
    Heard {
        /// On which try.
        attempt: u64,
    },
    /// The try did not succeed.
    Failed {
        /// Which try.
        attempt: u64,
        /// Why.
        failure: Failure,
    },
    /// An ERROR event came.
    Error {
        /// On which try.
        attempt: u64,
        /// Its text.
        message: String,
    },
    /// The stream ended.
    Closed {
        /// Of which try.
        attempt: u64,
        /// Why, for people.
        why: String,
    },
    /// Leave the master alone from now on. The framework stays.
    Stop,
}

/// Why a try to subscribe failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// That master does not lead, but this one does.
    Redirected(Arc<str>),
    /// It cannot be reached, or does not know who leads.
    Unavailable(String),
    /// It refuses the subscription as it is written: trying again will not help.
    Rejected(String),
}

/// What the shell must do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send SUBSCRIBE to `master`, with `framework` as the id.
    Connect {
        /// The number of this try.
        attempt: u64,
        /// `host:port`.
        master: Arc<str>,
        /// The framework's id, if it has one.
        framework: Option<FrameworkId>,
    },
    /// Close what `Connect` opened.
    Disconnect {
        /// The number of the try.
        attempt: u64,
    },
    /// Tell the framework that it is subscribed.
    Connected {
        /// On which try.
        attempt: u64,
        /// Its id.
        framework: FrameworkId,
        /// Whether it has been before, in this session.
        again: bool,
    },
    /// Tell the framework that it is not any more; the next try is on its way.
    Disconnected {
        /// Why, for people.
        why: String,
    },
    /// Tell the framework that the session is over.
    End(End),
}

/// Why a session is over for good.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum End {
    /// An operator, or the framework itself, removed it; its tasks are killed.
    #[error("the framework has been removed")]
    Removed,
    /// Another process has subscribed under the same id.
    #[error("another instance has subscribed as this framework")]
    FailedOver,
    /// The master refuses the subscription.
    #[error("the master refuses the subscription: {0}")]
    Rejected(String),
    /// It was asked to.
    #[error("the session was stopped")]
    Stopped,
}

/// One framework's subscription, over all masters it has been on.
#[derive(Debug)]
pub struct Session {
    search: Search,
    answer_within: Duration,
    framework: Option<FrameworkId>,
    attempt: u64,
    has_been_subscribed: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    Connecting { give_up: Time },
    Waiting { until: Time },
    Subscribed { silence_max: Duration, dead_at: Time },
    Over,
}

impl Session {
    /// A session that waits for [`Input::Start`].
    ///
    /// # Panics
    ///
    /// Without any master.
    pub fn new(options: Options) -> Self {
        assert!(!options.masters.is_empty(), "a session needs a master to talk to");
        let Options { masters, framework, backoff_first, backoff_max, answer_within, seed } =
            options;
        Self {
            search: Search::new(masters, backoff_first, backoff_max, seed),
            answer_within,
            framework,
            attempt: 0,
            has_been_subscribed: false,
            state: State::Idle,
        }
    }

    /// The framework's id, once it has one.
    pub fn framework(&self) -> Option<&FrameworkId> {
        self.framework.as_ref()
    }

    fn is_present(&self, attempt: u64) -> bool {
        attempt == self.attempt
            && matches!(self.state, State::Connecting { .. } | State::Subscribed { .. })
    }

    fn connect(&mut self, now: Now, out: &mut Vec<Output>) {
        let master = self.search.ask().expect("there is one to talk to");
        self.attempt += 1;
        self.state = State::Connecting { give_up: now.time + self.answer_within };
        let framework = self.framework.clone();
        out.push(Output::Connect { attempt: self.attempt, master, framework });
    }

    /// Tries the next master, when it is time.
    fn connect_after(&mut self, wait: Duration, now: Now, out: &mut Vec<Output>) {
        if wait.is_zero() {
            self.connect(now, out);
        } else {
            self.state = State::Waiting { until: now.time + wait };
        }
    }

    fn retry(&mut self, now: Now, out: &mut Vec<Output>) {
        let wait = self.search.failed();
        self.connect_after(wait, now, out);
    }

    fn failed(&mut self, failure: Failure, now: Now, out: &mut Vec<Output>) {
        if matches!(self.state, State::Subscribed { .. }) {
            // Deposed, and it says by whom: the id is good, so nothing here is final.
            let why = match &failure {
                Failure::Redirected(leader) => format!("{leader} leads now"),
                Failure::Unavailable(why) | Failure::Rejected(why) => why.clone(),
            };
            self.lost(why, now, out);
            if let Failure::Redirected(leader) = failure {
                self.search.redirected(leader);
            }
            return;
        }
        match failure {
            Failure::Redirected(leader) => {
                let wait = self.search.redirected(leader);
                self.connect_after(wait, now, out);
            }
            Failure::Unavailable(_) => self.retry(now, out),
            Failure::Rejected(why) => self.end(End::Rejected(why), out),
        }
    }

    fn error(&mut self, message: String, now: Now, out: &mut Vec<Output>) {
        out.push(Output::Disconnect { attempt: self.attempt });
        match message.as_str() {
            "Framework has been removed" | "Framework has been torn down" => {
                self.end(End::Removed, out);
            }
            "Framework failed over" => self.end(End::FailedOver, out),
            _ if matches!(self.state, State::Connecting { .. }) => {
                self.end(End::Rejected(message), out);
            }
            _ => self.lost(message, now, out),
        }
    }

    /// The stream is gone.
    fn lost(&mut self, why: String, now: Now, out: &mut Vec<Output>) {
        if matches!(self.state, State::Subscribed { .. }) {
            out.push(Output::Disconnected { why });
            self.state = State::Waiting { until: now.time + self.search.lost() };
        } else {
            self.retry(now, out);
        }
    }

    fn end(&mut self, end: End, out: &mut Vec<Output>) {
        self.state = State::Over;
        out.push(Output::End(end));
    }

    fn subscribed(
        &mut self,
        framework: FrameworkId,
        heartbeat: Option<Duration>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let heartbeat = heartbeat.filter(|every| !every.is_zero()).unwrap_or(HEARTBEAT_DEFAULT);
        let silence_max = heartbeat * HEARTBEATS_MISSED_MAX;
        self.state = State::Subscribed { silence_max, dead_at: now.time + silence_max };
        self.framework = Some(framework.clone());
        self.search.found();
        let again = std::mem::replace(&mut self.has_been_subscribed, true);
        out.push(Output::Connected { attempt: self.attempt, framework, again });
    }
}

impl Core for Session {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Start => {
                if matches!(self.state, State::Idle) {
                    self.connect(now, out);
                }
            }
            Input::Subscribed { attempt, framework, heartbeat } => {
                if self.is_present(attempt) {
                    self.subscribed(framework, heartbeat, now, out);
                }
            }
            Input::Masters { attempt, masters } => {
                if self.is_present(attempt) {
                    self.search.learn(&masters);
                }
            }
            Input::Heard { attempt } => {
                if attempt == self.attempt
                    && let State::Subscribed { silence_max, dead_at } = &mut self.state
                {
                    *dead_at = now.time + *silence_max;
                }
            }
            Input::Failed { attempt, failure } => {
                if self.is_present(attempt) {
                    self.failed(failure, now, out);
                }
            }
            Input::Error { attempt, message } => {
                if self.is_present(attempt) {
                    self.error(message, now, out);
                }
            }
            Input::Closed { attempt, why } => {
                if self.is_present(attempt) {
                    self.lost(why, now, out);
                }
            }
            Input::Stop => {
                if self.is_present(self.attempt) {
                    out.push(Output::Disconnect { attempt: self.attempt });
                }
                if !matches!(self.state, State::Over) {
                    self.end(End::Stopped, out);
                }
            }
        }
    }

    fn wake(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.next_deadline().is_none_or(|due| due > now.time) {
            return;
        }
        match self.state {
            State::Waiting { .. } => self.connect(now, out),
            State::Connecting { .. } => {
                out.push(Output::Disconnect { attempt: self.attempt });
                self.retry(now, out);
            }
            State::Subscribed { silence_max, .. } => {
                out.push(Output::Disconnect { attempt: self.attempt });
                let why = format!("nothing heard for {} s", silence_max.as_secs());
                self.lost(why, now, out);
            }
            State::Idle | State::Over => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Connecting { give_up } => Some(give_up),
            State::Subscribed { dead_at, .. } => Some(dead_at),
            State::Idle | State::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::step::Timestamp;

    struct Story {
        session: Session,
        now: Now,
    }

    impl Story {
        fn new(masters: &[&str]) -> Self {
            let options = Options {
                masters: masters.iter().map(|&master| master.into()).collect(),
                framework: None,
                backoff_first: Duration::from_millis(100),
                backoff_max: Duration::from_secs(10),
                answer_within: Duration::from_secs(10),
                seed: 1,
            };
            let now = Now { time: Time::ZERO, wall: Timestamp(0) };
            Self { session: Session::new(options), now }
        }

        fn tell(&mut self, input: Input) -> Vec<Output> {
            let mut out = Vec::new();
            self.session.step(input, self.now, &mut out);
            out
        }

        /// Lets the next deadline pass; how long that took, and what came of it.
        fn wait(&mut self) -> (Duration, Vec<Output>) {
            let due = self.session.next_deadline().expect("something is due");
            let waited = due.since(self.now.time);
            self.now.time = due;
            let mut out = Vec::new();
            self.session.wake(self.now, &mut out);
            (waited, out)
        }

        fn subscribe(&mut self) -> u64 {
            let attempt = connect_of(&self.tell(Input::Start)).0;
            self.tell(subscribed(attempt));
            attempt
        }
    }

    fn id() -> FrameworkId {
        FrameworkId::new("f-0000").expect("an id")
    }

    fn subscribed(attempt: u64) -> Input {
        let heartbeat = Some(Duration::from_secs(15));
        Input::Subscribed { attempt, framework: id(), heartbeat }
    }

    fn unavailable(attempt: u64) -> Input {
        Input::Failed { attempt, failure: Failure::Unavailable("down".into()) }
    }

    fn connect_of(out: &[Output]) -> (u64, String, Option<FrameworkId>) {
        out.iter()
            .find_map(|output| match output {
                Output::Connect { attempt, master, framework } => {
                    Some((*attempt, master.to_string(), framework.clone()))
                }
                Output::Disconnect { .. }
                | Output::Connected { .. }
                | Output::Disconnected { .. }
                | Output::End(_) => None,
            })
            .expect("a connection is tried")
    }

    #[test]
    fn all_masters_are_tried_before_a_wait_and_waits_grow() {
        let mut story = Story::new(&["a", "b", "c"]);
        let mut out = story.tell(Input::Start);
        let mut tried = Vec::new();
        for _ in 0..3 {
            let (attempt, master, _) = connect_of(&out);
            tried.push(master);
            out = story.tell(unavailable(attempt));
        }
        tried.sort();
        assert_eq!(tried, ["a", "b", "c"]);
        assert_eq!(out, []);
        let (first, mut out) = story.wait();
        assert!(first >= Duration::from_millis(50) && first <= Duration::from_millis(100));
        for _ in 0..3 {
            out = story.tell(unavailable(connect_of(&out).0));
        }
        let (second, _) = story.wait();
        assert!(second >= Duration::from_millis(100) && second <= Duration::from_millis(200));
    }

    #[test]
    fn a_redirect_is_followed_at_once_but_not_for_ever() {
        let mut story = Story::new(&["a"]);
        let mut out = story.tell(Input::Start);
        let mut followed = 0;
        while let Some(Output::Connect { attempt, .. }) = out.last().cloned() {
            out = story.tell(Input::Failed { attempt, failure: Failure::Redirected("b".into()) });
            followed += 1;
            assert!(followed < 100, "it must pause at some time");
        }
        assert_eq!(followed, 11);
        let (_, out) = story.wait();
        assert_eq!(connect_of(&out).1, "a");
    }

    #[test]
    fn five_missed_heartbeats_end_the_stream_and_the_id_is_kept() {
        let mut story = Story::new(&["a"]);
        let attempt = story.subscribe();
        story.now.time = Time(Duration::from_secs(60));
        story.tell(Input::Heard { attempt });
        let (waited, out) = story.wait();
        assert_eq!(waited, Duration::from_secs(75));
        assert_eq!(
            out,
            [
                Output::Disconnect { attempt },
                Output::Disconnected { why: "nothing heard for 75 s".into() }
            ]
        );
        let (_, out) = story.wait();
        let (next, _, framework) = connect_of(&out);
        assert_eq!(framework, Some(id()));
        assert_eq!(
            story.tell(subscribed(next)),
            [Output::Connected { attempt: next, framework: id(), again: true }]
        );
    }

    #[test]
    fn what_comes_of_a_connection_that_was_given_up_is_ignored() {
        let mut story = Story::new(&["a", "b"]);
        let (old, ..) = connect_of(&story.tell(Input::Start));
        let (_, out) = story.wait();
        assert_eq!(out[0], Output::Disconnect { attempt: old });
        let (new, ..) = connect_of(&out);
        assert_eq!(story.tell(subscribed(old)), []);
        let failed_over = "Framework failed over".to_owned();
        assert_eq!(story.tell(Input::Error { attempt: old, message: failed_over }), []);
        assert_eq!(story.tell(subscribed(new)).len(), 1);
    }

    #[test]
    fn errors_that_cannot_be_mended_end_the_session() {
        for (message, end) in [
            ("Framework has been removed", End::Removed),
            ("Framework failed over", End::FailedOver),
        ] {
            let mut story = Story::new(&["a"]);
            let attempt = story.subscribe();
            let out = story.tell(Input::Error { attempt, message: message.into() });
            assert_eq!(out, [Output::Disconnect { attempt }, Output::End(end)]);
            assert_eq!(story.session.next_deadline(), None);
        }
        let mut story = Story::new(&["a"]);
        let (attempt, ..) = connect_of(&story.tell(Input::Start));
        let out = story.tell(Input::Error { attempt, message: "Role 'x/' is invalid".into() });
        assert_eq!(out[1], Output::End(End::Rejected("Role 'x/' is invalid".into())));
    }

    #[test]
    fn a_stream_that_closes_is_opened_again_after_a_short_pause() {
        let mut story = Story::new(&["a"]);
        let attempt = story.subscribe();
        let out = story.tell(Input::Closed { attempt, why: "end of stream".into() });
        assert_eq!(out, [Output::Disconnected { why: "end of stream".into() }]);
        let (waited, out) = story.wait();
        assert!(waited <= Duration::from_millis(100) && !waited.is_zero());
        connect_of(&out);
    }

    #[test]
    fn a_deposed_master_names_the_next_one() {
        let mut story = Story::new(&["a", "b"]);
        let attempt = story.subscribe();
        let failure = Failure::Redirected("b".into());
        let out = story.tell(Input::Failed { attempt, failure });
        assert_eq!(out, [Output::Disconnected { why: "b leads now".into() }]);
        let (waited, out) = story.wait();
        assert!(waited <= Duration::from_millis(100), "{waited:?}");
        assert_eq!(connect_of(&out).1, "b");
    }

    #[test]
    fn masters_that_were_not_there_at_first_are_found() {
        let mut story = Story::new(&["a", "b"]);
        let attempt = story.subscribe();
        let told = |names: &[&str], secs| Masters {
            addresses: names.iter().map(|&name| name.into()).collect(),
            spread: Duration::from_secs(secs),
        };
        story.tell(Input::Masters { attempt, masters: told(&["c", "d"], 60) });
        story.tell(Input::Masters { attempt: attempt + 1, masters: told(&["x"], 0) });
        story.tell(Input::Closed { attempt, why: String::new() });
        let (waited, out) = story.wait();
        assert!(waited > Duration::from_millis(100) && waited < Duration::from_secs(61));
        let (next, first, _) = connect_of(&out);
        let (_, second, _) = connect_of(&story.tell(unavailable(next)));
        let mut asked = [first, second];
        asked.sort();
        assert_eq!(asked, ["c", "d"]);
    }

    #[test]
    fn after_a_stop_nothing_happens_any_more() {
        let mut story = Story::new(&["a"]);
        let attempt = story.subscribe();
        let out = story.tell(Input::Stop);
        assert_eq!(out, [Output::Disconnect { attempt }, Output::End(End::Stopped)]);
        assert_eq!(story.tell(Input::Stop), []);
        assert_eq!(story.tell(Input::Closed { attempt, why: String::new() }), []);
    }
}
