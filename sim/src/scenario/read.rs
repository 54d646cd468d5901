//! Steps, read from their lines. Who writes one wrong is told what to write instead.

use model::amount::Milli;
use model::resources::{Resources, Value};
use model::role::Role;
use std::time::Duration;

/// How a cluster is asked for; also told to those who ask for none.
pub(super) const CLUSTER: &str = "cluster agents=2 [each=cpus:4;mem:1024;disk:1024;ports:[31000-31100]] [seed=1] [marathons=3] [calls=requests]";

/// Something that is done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Cluster {
        agents: usize,
        each: Resources,
        seed: u64,
        marathons: usize,
        as_requests: bool,
    },
    Framework {
        name: String,
        role: Role,
        lives_on: Duration,
        is_aware: bool,
    },
    Run(Duration),
    /// Until this was told since the paragraph began.
    Wait {
        text: String,
        within: Duration,
    },
    Accept {
        framework: String,
        agent: usize,
        parts: Vec<Part>,
    },
    Decline {
        framework: String,
        agent: usize,
        refuse_for: Duration,
    },
    Kill {
        framework: String,
        task: String,
    },
    /// A call that names nothing.
    Call {
        framework: String,
        call: Plain,
    },
    /// Its scheduler goes, comes, or is taken over from.
    Leave(String),
    Return(String),
    Replace(String),
    Fault(Fault),
    Operator {
        agent: usize,
        call: Operator,
    },
    App {
        id: String,
        instances: u64,
    },
    Scale {
        id: String,
        instances: u64,
    },
    Restart {
        id: String,
    },
    Expect(Expectation),
}

/// Something breaks, or comes back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    Crash(Who),
    Start(Who),
    /// A machine goes down with all that runs on it.
    PowerOff(usize),
    /// The leading master, though it lives: it knows at once, or goes on for a while.
    Depose,
    Isolate,
    /// Until then nothing gets to masters, from them, or both.
    Cut {
        who: Who,
        to: bool,
        from: bool,
        lasts: Duration,
    },
    /// Its connection to the master breaks, with all that is under way.
    Break(Who),
    /// Its next call of this kind gets lost.
    Lose {
        who: Who,
        call: String,
    },
}

/// What is done with an offer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Part {
    Launch { task: String, what: Resources, on: Option<String> },
    Reserve { id: Option<String>, what: Resources },
    Unreserve { id: Option<String>, what: Resources },
    Create { id: Option<String>, volume: String, size: Milli },
    Destroy { id: Option<String>, volume: String },
    Grow { id: Option<String>, volume: String, by: Milli },
    Shrink { id: Option<String>, volume: String, by: Milli },
}

/// Calls that name nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Plain {
    Reconcile,
    Revive,
    Suppress,
    Teardown,
}

/// A node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Who {
    /// The leading master.
    Leader,
    Master(usize),
    Agent(usize),
    /// The leading Marathon.
    Marathon,
    MarathonNth(usize),
    Framework(String),
}

/// What an operator has done with an agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    Drain,
    Deactivate,
    Reactivate,
    Gone,
}

/// What must be so at once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Expectation {
    /// These tasks run and no others.
    Running(Vec<String>),
    /// An app has so many instances that run.
    Instances { id: String, count: usize },
    /// Master, agents and frameworks agree, and nothing waits.
    Rest,
    /// This was not told since the paragraph began.
    Never(String),
}

/// Every step: its word, how it is written, and how it is read.
type Known = (&'static str, &'static str, fn(&mut Words<'_>) -> Option<Step>);

const KNOWN: &[Known] = &[
    ("cluster", CLUSTER, cluster),
    ("framework", "framework f [role=r] [failover=20s] [unaware]", framework),
    ("run", "run 2s", |words| Some(Step::Run(words.duration()?))),
    ("wait", "wait 30s for f <- t1 TASK_RUNNING", wait),
    ("accept", ACCEPT, accept),
    ("decline", "decline f agent-1 for=5s", decline),
    ("kill", "kill f t1", |words| {
        Some(Step::Kill { framework: words.name()?, task: words.name()? })
    }),
    ("reconcile", "reconcile f", |words| plain(words, Plain::Reconcile)),
    ("revive", "revive f", |words| plain(words, Plain::Revive)),
    ("suppress", "suppress f", |words| plain(words, Plain::Suppress)),
    ("teardown", "teardown f", |words| plain(words, Plain::Teardown)),
    ("leave", "leave f", |words| Some(Step::Leave(words.name()?))),
    ("return", "return f", |words| Some(Step::Return(words.name()?))),
    ("replace", "replace f", |words| Some(Step::Replace(words.name()?))),
    ("crash", "crash leader (or master-1, agent-1, marathon, marathon-1)", |words| {
        fault(Fault::Crash(words.node()?))
    }),
    ("start", "start master-1 (or agent-1, marathon-1)", |words| {
        fault(Fault::Start(words.node()?))
    }),
    ("power-off", "power-off agent-1", |words| fault(Fault::PowerOff(words.agent()?))),
    ("depose", "depose leader", |words| {
        words.exactly("leader").and_then(|()| fault(Fault::Depose))
    }),
    ("isolate", "isolate leader", |words| {
        words.exactly("leader").and_then(|()| fault(Fault::Isolate))
    }),
    ("cut", "cut agent-1 both 30s (or to, from masters; or a framework, marathon-1)", cut),
    ("break", "break agent-1 (or a framework, marathon)", |words| {
        fault(Fault::Break(words.who()?))
    }),
    ("lose", "lose f ACCEPT (or marathon REVIVE)", |words| {
        fault(Fault::Lose { who: words.who()?, call: words.name()? })
    }),
    ("drain", "drain agent-1", |words| operator(words, Operator::Drain)),
    ("deactivate", "deactivate agent-1", |words| operator(words, Operator::Deactivate)),
    ("reactivate", "reactivate agent-1", |words| operator(words, Operator::Reactivate)),
    ("mark-gone", "mark-gone agent-1", |words| operator(words, Operator::Gone)),
    ("app", "app /web instances=3", |words| {
        Some(Step::App { id: words.name()?, instances: words.number("instances=")? })
    }),
    ("scale", "scale /web instances=5", |words| {
        Some(Step::Scale { id: words.name()?, instances: words.number("instances=")? })
    }),
    ("restart", "restart /web", |words| Some(Step::Restart { id: words.name()? })),
    ("expect", EXPECT, expect),
];

const ACCEPT: &str = "accept f agent-1 launch t1 cpus:1;mem:64 [on v], reserve op1 cpus:1;disk:64, \
                      unreserve op2 cpus:1, create op3 v 32, destroy op4 v, grow op5 v 8, \
                      shrink - v 8";

const EXPECT: &str =
    "expect running t1 t2, expect instances /web 3, expect rest, or expect never f <- t1 TASK_LOST";

/// Reads one step; if it is none, says what to write.
pub(super) fn step(line: &str) -> Result<Step, String> {
    let mut words = Words { line, left: line.trim() };
    let first = words.word().unwrap_or_default();
    let Some((_, usage, read)) = KNOWN.iter().find(|(word, ..)| *word == first) else {
        let all: Vec<_> = KNOWN.iter().map(|(word, ..)| *word).collect();
        return Err(format!("'{first}' is no step: write one of {}", all.join(", ")));
    };
    let step = read(&mut words).filter(|_| words.left.is_empty());
    step.ok_or_else(|| format!("'{}' cannot be read: write {usage}", words.line))
}

fn cluster(words: &mut Words<'_>) -> Option<Step> {
    let agents = words.number("agents=")?;
    let each = words.option("each=").unwrap_or("cpus:4;mem:1024;disk:1024;ports:[31000-31100]");
    Some(Step::Cluster {
        agents: usize::try_from(agents).ok().filter(|agents| (1..=100).contains(agents))?,
        each: Resources::parse(each, &Role::any()).ok()?,
        seed: words.option("seed=").map_or(Some(1), |text| text.parse().ok())?,
        marathons: words.option("marathons=").map_or(Some(0), |text| text.parse().ok())?,
        as_requests: words.option("calls=").map_or(Some(false), |how| match how {
            "requests" => Some(true),
            "stream" => Some(false),
            _ => None,
        })?,
    })
}

fn framework(words: &mut Words<'_>) -> Option<Step> {
    let name = words.name()?;
    let role = Role::new(words.option("role=").unwrap_or("*")).ok()?;
    let lives_on = words.option("failover=").map_or(Some(Duration::from_secs(60)), duration)?;
    let is_aware = words.exactly("unaware").is_none();
    Some(Step::Framework { name, role, lives_on, is_aware })
}

fn wait(words: &mut Words<'_>) -> Option<Step> {
    let within = words.duration()?;
    words.exactly("for")?;
    Some(Step::Wait { text: words.rest()?, within })
}

fn accept(words: &mut Words<'_>) -> Option<Step> {
    let (framework, agent) = (words.name()?, words.agent()?);
    let rest = std::mem::take(&mut words.left);
    let parts = rest.split(',').map(part).collect::<Option<Vec<_>>>()?;
    Some(Step::Accept { framework, agent, parts })
}

fn part(text: &str) -> Option<Part> {
    let mut words = Words { line: text, left: text.trim() };
    let kind = words.word()?;
    let part = if kind == "launch" {
        let (task, what) = (words.name()?, words.scalars()?);
        let on = words.exactly("on").and_then(|()| words.name());
        Part::Launch { task, what, on }
    } else {
        let id = Some(words.name()?).filter(|id| id != "-");
        match kind {
            "reserve" => Part::Reserve { id, what: words.scalars()? },
            "unreserve" => Part::Unreserve { id, what: words.scalars()? },
            "create" => Part::Create { id, volume: words.name()?, size: words.amount()? },
            "destroy" => Part::Destroy { id, volume: words.name()? },
            "grow" => Part::Grow { id, volume: words.name()?, by: words.amount()? },
            "shrink" => Part::Shrink { id, volume: words.name()?, by: words.amount()? },
            _ => return None,
        }
    };
    words.left.is_empty().then_some(part)
}

fn decline(words: &mut Words<'_>) -> Option<Step> {
    let (framework, agent) = (words.name()?, words.agent()?);
    let refuse_for = duration(words.option("for=")?)?;
    Some(Step::Decline { framework, agent, refuse_for })
}

#[expect(clippy::unnecessary_wraps, reason = "as all that read a step")]
fn fault(fault: Fault) -> Option<Step> {
    Some(Step::Fault(fault))
}

fn plain(words: &mut Words<'_>, call: Plain) -> Option<Step> {
    Some(Step::Call { framework: words.name()?, call })
}

fn operator(words: &mut Words<'_>, call: Operator) -> Option<Step> {
    Some(Step::Operator { agent: words.agent()?, call })
}

fn cut(words: &mut Words<'_>) -> Option<Step> {
    let who = words.who()?;
    let (to, from) = match words.word()? {
        "to" => (true, false),
        "from" => (false, true),
        "both" => (true, true),
        _ => return None,
    };
    fault(Fault::Cut { who, to, from, lasts: words.duration()? })
}

fn expect(words: &mut Words<'_>) -> Option<Step> {
    Some(Step::Expect(match words.word()? {
        "running" => {
            let tasks = std::mem::take(&mut words.left);
            Expectation::Running(tasks.split_whitespace().map(str::to_owned).collect())
        }
        "instances" => {
            Expectation::Instances { id: words.name()?, count: words.word()?.parse().ok()? }
        }
        "rest" => Expectation::Rest,
        "never" => Expectation::Never(words.rest()?),
        _ => return None,
    }))
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

fn nth(text: &str, prefix: &str) -> Option<usize> {
    text.strip_prefix(prefix)?.parse::<usize>().ok()?.checked_sub(1)
}

/// The words of a line.
struct Words<'a> {
    line: &'a str,
    left: &'a str,
}

impl<'a> Words<'a> {
    fn word(&mut self) -> Option<&'a str> {
        let word = self.left.split_whitespace().next()?;
        self.left = self.left[word.len()..].trim_start();
        Some(word)
    }

    fn name(&mut self) -> Option<String> {
        self.word().map(str::to_owned)
    }

    fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.left);
        (!rest.is_empty()).then(|| rest.to_owned())
    }

    /// The next word, if it is this one.
    fn exactly(&mut self, word: &str) -> Option<()> {
        if self.left.split_whitespace().next() != Some(word) {
            return None;
        }
        self.word().map(|_| ())
    }

    /// What follows `key` in the next word, if it begins so.
    fn option(&mut self, key: &str) -> Option<&'a str> {
        let value = self.left.split_whitespace().next()?.strip_prefix(key)?;
        self.word();
        Some(value)
    }

    fn number(&mut self, key: &str) -> Option<u64> {
        self.option(key)?.parse().ok()
    }

    fn duration(&mut self) -> Option<Duration> {
        duration(self.word()?)
    }

    fn amount(&mut self) -> Option<Milli> {
        self.word()?.parse().ok().map(Milli::units)
    }

    fn scalars(&mut self) -> Option<Resources> {
        let all = Resources::parse(self.word()?, &Role::any()).ok()?;
        let are_scalars = all.iter().all(|(_, value)| matches!(value, Value::Scalar(_)));
        (are_scalars && !all.is_empty()).then_some(all)
    }

    fn agent(&mut self) -> Option<usize> {
        nth(self.word()?, "agent-")
    }

    /// A node that can crash.
    fn node(&mut self) -> Option<Who> {
        self.who().filter(|who| !matches!(who, Who::Framework(_)))
    }

    fn who(&mut self) -> Option<Who> {
        let word = self.word()?;
        Some(match word {
            "leader" => Who::Leader,
            "marathon" => Who::Marathon,
            _ if word.starts_with("master-") => Who::Master(nth(word, "master-")?),
            _ if word.starts_with("agent-") => Who::Agent(nth(word, "agent-")?),
            _ if word.starts_with("marathon-") => Who::MarathonNth(nth(word, "marathon-")?),
            _ => Who::Framework(word.to_owned()),
        })
    }
}
