//! What can happen to a master, and what it wants done.

use crate::note::Note;
use crate::registry::Registry;
use crate::view::ViewChange;
use model::call::{Call, Subscribe};
use model::event::SchedulerEvent;
use model::ids::{ConnectionId, FrameworkId, Reign, RequestId, StreamId, Term};
use model::link::{FromAgent, ToAgent};
use model::operator::OperatorCall;
use model::registry::Record;
use model::search::Masters;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What can happen to a master. Each variant is handled in the file of its name.
#[derive(Clone, Debug)]
pub enum Input {
    /// This master leads now. Its `BeginReign` record and all before it are applied.
    Lead {
        /// The Raft term.
        term: Term,
        /// The reign's id, as in its `BeginReign` record.
        reign: Reign,
        /// All that was agreed on so far.
        registry: Box<Registry>,
    },
    /// This master leads no more. All it promised and did not keep is void.
    Depose,
    /// A record is committed and applied, in the order of the log. The master's own proposals come
    /// back this way, and only then does it act on them. Records of the store need not be told.
    Applied(Record),
    /// Records this master proposed will not be committed, by its Raft's word.
    ProposalFailed(Vec<Record>),
    /// A framework opens its stream.
    Subscribe {
        /// The connection its events are to go to.
        connection: ConnectionId,
        /// The request that waits for `OpenStream` or a refusal.
        request: RequestId,
        /// Who it is.
        call: Subscribe,
        /// Who it is for authentication; absent without authentication.
        principal: Option<Arc<str>>,
    },
    /// A framework's call.
    Call {
        /// The request that waits for its answer.
        request: RequestId,
        /// Who calls.
        framework: FrameworkId,
        /// The subscription it claims to belong to.
        stream: StreamClaim,
        /// What it wants.
        call: Call,
        /// Who it is for authentication; absent without authentication.
        principal: Option<Arc<str>>,
    },
    /// A framework's stream has ended.
    SchedulerGone {
        /// Which.
        connection: ConnectionId,
    },
    /// An agent has opened a link. It says next who it is.
    AgentConnected {
        /// Which link.
        connection: ConnectionId,
    },
    /// An agent says something.
    FromAgent {
        /// On which link.
        connection: ConnectionId,
        /// The highest term the agent has seen.
        term_seen: Term,
        /// What.
        message: FromAgent,
    },
    /// An agent's link has ended.
    AgentGone {
        /// Which.
        connection: ConnectionId,
    },
    /// An operator asks for a change.
    Operate {
        /// The request that waits for its answer.
        request: RequestId,
        /// Who asks, for authentication; absent without authentication.
        principal: Option<Arc<str>>,
        /// What.
        call: OperatorCall,
    },
    /// Only agents on these hosts are offered from now on; absent: all. It holds for every reign.
    SetWhitelist(Option<BTreeSet<Arc<str>>>),
    /// These masters have a vote now, `host:port` each. It holds for every reign.
    SetMasters(Vec<Arc<str>>),
    /// An operator wants to watch: answered by `OpenWatch`.
    Watch {
        /// The request that waits for it.
        request: RequestId,
    },
}

/// The subscription a call claims to belong to: the `Mesos-Stream-Id` header, or what stands for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StreamClaim {
    /// None was given.
    Missing,
    /// As the header has it, which may be no id at all.
    Given(Arc<str>),
    /// The call came on the very connection of the subscription, as over gRPC.
    Connection(ConnectionId),
}

/// What the driver must do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Have these agreed on, together and in this order. They come back as `Applied`.
    Propose(Vec<Record>),
    /// Let a framework's stream begin: this answers its `Subscribe`. Events follow.
    OpenStream {
        /// The connection.
        connection: ConnectionId,
        /// The request it answers.
        request: RequestId,
        /// The id that later calls must carry.
        stream: StreamId,
    },
    /// Send an event on a framework's stream.
    ToScheduler {
        /// Which.
        connection: ConnectionId,
        /// What.
        event: SchedulerEvent,
    },
    /// End a framework's stream after what was sent before. No `SchedulerGone` is needed for it.
    CloseScheduler {
        /// Which.
        connection: ConnectionId,
    },
    /// Answer a call.
    Answer {
        /// Which.
        request: RequestId,
        /// How it went.
        result: Result<Done, Refusal>,
    },
    /// Say something to an agent, together with this reign's term.
    ToAgent {
        /// On which link.
        connection: ConnectionId,
        /// What.
        message: ToAgent,
    },
    /// End a link after what was sent before. No `AgentGone` is needed for it.
    CloseAgent {
        /// Which.
        connection: ConnectionId,
        /// Why.
        why: CloseReason,
    },
    /// Somebody has seen a higher term, so another master leads or did: find out, and step down.
    Outdated {
        /// The term seen.
        term: Term,
    },
    /// Stop for good, and say why: a person must look before any master goes on.
    GiveUp {
        /// What is wrong, and what to do.
        why: String,
    },
    /// Let an operator watch. The view is up to date at this place among the outputs: what it shows
    /// is the snapshot, and the notes that follow are the events.
    OpenWatch {
        /// The request it answers.
        request: RequestId,
    },
    /// Tell frameworks that want to know: where the masters are, and how to come back to one that leads.
    Masters(Masters),
    /// Tell whoever watches: log, metrics, event stream.
    Note(Note),
    /// Change what readers see.
    View(ViewChange),
}

/// A call was carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Done {
    /// It is done.
    Ok,
    /// It is understood; what comes of it is told by events, or not at all.
    Accepted,
}

impl Done {
    /// The HTTP status that says so.
    pub fn status(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::Accepted => 202,
        }
    }
}

/// Why a call is not carried out. Its text is what the caller reads.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// This master does not lead, or no more.
    #[error("No leader elected")]
    NotLeading,
    /// What the call needs could not be written to the registry.
    #[error("The masters could not agree on it; try again")]
    NotAgreed,
    /// It was begun, and for this reason nobody here knows how it ended.
    #[error("{0} meanwhile; see whether it was done, and try again if it was not")]
    Interrupted(&'static str),
    /// The framework is not known here.
    #[error("Framework cannot be found")]
    FrameworkUnknown,
    /// The framework has no stream.
    #[error("Framework is not subscribed")]
    NotSubscribed,
    /// The call does not say to which stream it belongs.
    #[error("All non-subscribe calls should include the 'Mesos-Stream-Id' header")]
    StreamMissing,
    /// The call belongs to an earlier stream, or to none.
    #[error(
        "The stream ID '{given}' included in this request didn't match the stream ID currently \
         associated with framework ID {framework}"
    )]
    StreamDiffers {
        /// The stream it claims.
        given: Arc<str>,
        /// The framework.
        framework: FrameworkId,
    },
    /// The caller is not who the framework says it is.
    #[error(
        "Authenticated principal '{authenticated}' does not match principal '{stated}' set in \
         `FrameworkInfo`"
    )]
    PrincipalDiffers {
        /// Who the caller is.
        authenticated: Arc<str>,
        /// Who the framework says it is.
        stated: Arc<str>,
    },
    /// An operator named a framework that is not there.
    #[error("No framework found with specified ID")]
    NoSuchFramework,
    /// An operator named an agent that is not there.
    #[error("Agent not found")]
    NoSuchAgent,
    /// The agent is just being removed or marked.
    #[error("Agent is in transition; try again")]
    AgentInTransition,
    /// An operator asked for what cannot be, for this reason.
    #[error("{0}")]
    Invalid(String),
    /// The rules of operators do not allow it, for this reason.
    #[error("{0}")]
    Forbidden(String),
    /// An operator asked for what something else is in the way of.
    #[error("{0}")]
    Conflict(String),
}

impl Refusal {
    /// The HTTP status that says so.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotLeading | Self::NotAgreed | Self::Interrupted(_) | Self::AgentInTransition => {
                503
            }
            Self::NotSubscribed | Self::Forbidden(_) => 403,
            Self::NoSuchAgent => 404,
            Self::Conflict(_) => 409,
            Self::FrameworkUnknown
            | Self::StreamMissing
            | Self::StreamDiffers { .. }
            | Self::PrincipalDiffers { .. }
            | Self::NoSuchFramework
            | Self::Invalid(_) => 400,
        }
    }
}

/// Why the master ends an agent's link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// This master does not lead: look for the leader.
    NotLeading,
    /// The agent has a newer link.
    Replaced,
    /// The agent is out of contact: it must register again.
    Unreachable,
    /// The agent's id is good no more.
    Removed,
    /// The agent is just being marked or removed: try again soon.
    InTransition,
    /// The masters could not agree on the agent: try again soon.
    NotAgreed,
    /// The agent speaks before it has said who it is, or says something impossible.
    Confused,
}
