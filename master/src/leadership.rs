//! Who leads, as this master knows it, and whether it is sure of it.
//!
//! A master that was held up, or cut off from the others, may not know yet that another one leads. So
//! whatever it says as the leading one it says under its lease: as long as a majority has confirmed, a
//! moment ago, that nobody else can lead.

use std::sync::Arc;

use axum::http::StatusCode;
use futures::future::BoxFuture;
use model::ids::{Reign, Term};
use model::step::Timestamp;
use tokio::sync::watch;
use transport::http::Refused;

use crate::gate::Gate;

/// Who leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Leadership {
    /// Nobody, or nobody knows.
    Electing,
    /// Another master.
    Following {
        /// Its address among masters, `host:port`.
        leader: Arc<str>,
        /// Its address for clients, `host:port`, as its flags say; that among masters as long as this
        /// master has not read it.
        public: Arc<str>,
    },
    /// This one.
    Leading(Leading),
}

/// A reign of this master.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Leading {
    /// Its number.
    pub term: Term,
    /// Its id; absent until all that was agreed before it has been applied. Until then nothing is
    /// served.
    pub reign: Option<Reign>,
    /// When it began.
    pub since: Timestamp,
}

/// Why this master does not answer itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NotServing {
    /// Ask this one.
    Ask {
        /// Its address among masters.
        leader: Arc<str>,
        /// Its address for clients.
        public: Arc<str>,
    },
    /// Ask again.
    Later(&'static str),
}

/// What is said when nobody is known to lead.
const NOBODY: NotServing = NotServing::Later("No leader elected");

impl NotServing {
    /// As a gRPC status.
    pub(crate) fn status(&self) -> tonic::Status {
        match self {
            Self::Ask { leader, .. } => transport::grpc::not_leader(Some(leader)),
            Self::Later(why) => tonic::Status::unavailable(*why),
        }
    }

    /// As an HTTP refusal, where there is nobody to redirect to.
    pub(crate) fn refused(why: &str) -> Refused {
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

/// What proves that this master leads.
pub(crate) trait Lease: Send + Sync {
    /// Whether nobody else can lead right now, and this master does in `term`.
    fn holds(&self, term: Term) -> bool;

    /// Asks a majority whether this master leads in `term`. False at last if it does not.
    fn confirm(&self, term: Term) -> BoxFuture<'_, bool>;
}

/// How this master stands: asked before it speaks as the leading one.
#[derive(Clone)]
pub(crate) struct Standing {
    leadership: watch::Receiver<Leadership>,
    lease: Arc<dyn Lease>,
    /// By which calls come in that only the leading master carries out.
    pub gate: Gate,
}

/// The reign in which a master serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Serving {
    /// Its number.
    pub term: Term,
    /// Its id.
    pub reign: Reign,
    /// When it began.
    pub since: Timestamp,
}

impl Standing {
    pub(crate) fn new(
        leadership: watch::Receiver<Leadership>,
        lease: Arc<dyn Lease>,
        gate: Gate,
    ) -> Self {
        Self { leadership, lease, gate }
    }

    /// Who leads, as far as this master has heard.
    pub(crate) fn heard(&self) -> Leadership {
        self.leadership.borrow().clone()
    }

    /// The reign of this master, as far as it has heard.
    pub(crate) fn reign(&self) -> Option<Serving> {
        match &*self.leadership.borrow() {
            Leadership::Leading(Leading { term, reign: Some(reign), since }) => {
                Some(Serving { term: *term, reign: *reign, since: *since })
            }
            Leadership::Leading(_) | Leadership::Following { .. } | Leadership::Electing => None,
        }
    }

    /// Whether this master leads, be it that it does not know yet all that was agreed on before; or why
    /// it does not. Waits for the others where it has no lease at the moment.
    pub(crate) async fn leading(&self) -> Result<(), NotServing> {
        let term = self.term_heard()?;
        self.sure(term).await
    }

    /// The reign in which this master serves, or why it does not. Waits as [`Standing::leading`].
    pub(crate) async fn serving(&self) -> Result<Serving, NotServing> {
        let term = self.term_heard()?;
        let recovering = NotServing::Later("Master has not finished recovery");
        let serving = self.reign().filter(|reign| reign.term == term).ok_or(recovering)?;
        self.sure(term).await?;
        Ok(serving)
    }

    /// The lease of the present reign, for what is said in it and in no later one.
    pub(crate) fn of_this_reign(&self) -> OneReign {
        OneReign { term: self.term_heard().ok(), lease: self.lease.clone() }
    }

    fn term_heard(&self) -> Result<Term, NotServing> {
        match &*self.leadership.borrow() {
            Leadership::Electing => Err(NOBODY),
            Leadership::Following { leader, public } => {
                Err(NotServing::Ask { leader: leader.clone(), public: public.clone() })
            }
            Leadership::Leading(Leading { term, .. }) => Ok(*term),
        }
    }

    async fn sure(&self, term: Term) -> Result<(), NotServing> {
        if self.lease.holds(term) || self.lease.confirm(term).await {
            return Ok(());
        }
        // By now this master may have heard who leads instead.
        Err(self.term_heard().err().unwrap_or(NOBODY))
    }
}

/// The lease of one reign.
#[derive(Clone)]
pub(crate) struct OneReign {
    /// Absent: this master did not lead at all.
    term: Option<Term>,
    lease: Arc<dyn Lease>,
}

impl OneReign {
    /// Waits until it is sure that this master leads in this reign, which mostly it is; false at last if
    /// it does not.
    pub(crate) async fn lasts(&self) -> bool {
        let Some(term) = self.term else { return false };
        self.lease.holds(term) || self.lease.confirm(term).await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use futures::poll;

    use super::*;

    /// A lease that lasts while it is said to: `Some` is the term that this master leads in for sure,
    /// `None` that nobody has answered yet.
    struct Told(watch::Receiver<Option<Term>>);

    impl Lease for Told {
        fn holds(&self, term: Term) -> bool {
            *self.0.borrow() == Some(term)
        }

        fn confirm(&self, term: Term) -> BoxFuture<'_, bool> {
            let mut told = self.0.clone();
            Box::pin(async move {
                let answer = told.wait_for(Option::is_some).await;
                answer.is_ok_and(|confirmed| *confirmed == Some(term))
            })
        }
    }

    /// A master that leads in term 1 for sure, until another answer is told.
    pub(crate) fn leading() -> (Standing, watch::Sender<Option<Term>>) {
        standing(leading_in(1))
    }

    /// One that has heard this, and whose others say that it leads in term 1 until another answer is told.
    pub(crate) fn standing(heard: Leadership) -> (Standing, watch::Sender<Option<Term>>) {
        let (_, leadership) = watch::channel(heard);
        let (answer, told) = watch::channel(Some(Term(1)));
        (Standing::new(leadership, Arc::new(Told(told)), Gate::default()), answer)
    }

    fn leading_in(term: u64) -> Leadership {
        let reign = Some(Reign([1; 16]));
        Leadership::Leading(Leading { term: Term(term), reign, since: Timestamp(0) })
    }

    #[tokio::test]
    async fn a_master_that_is_not_sure_waits_and_says_who_leads_if_it_does_not() {
        let (heard, leadership) = watch::channel(leading_in(1));
        let (answer, told) = watch::channel(Some(Term(1)));
        let standing = Standing::new(leadership, Arc::new(Told(told)), Gate::default());
        let reign = standing.of_this_reign();
        assert_eq!(standing.serving().await.map(|serving| serving.term), Ok(Term(1)));
        assert!(reign.lasts().await);

        answer.send_replace(None);
        let mut waits = Box::pin(standing.serving());
        let mut holds = Box::pin(reign.lasts());
        assert!(poll!(&mut waits).is_pending() && poll!(&mut holds).is_pending());
        answer.send_replace(Some(Term(1)));
        assert!(waits.await.is_ok() && holds.await);

        answer.send_replace(None);
        let mut waits = Box::pin(standing.leading());
        assert!(poll!(&mut waits).is_pending());
        let leader: Arc<str> = "10.0.0.1:5050".into();
        let public: Arc<str> = "master-1:5050".into();
        heard
            .send_replace(Leadership::Following { leader: leader.clone(), public: public.clone() });
        answer.send_replace(Some(Term(2)));
        assert_eq!(waits.await, Err(NotServing::Ask { leader, public }));
        assert!(!reign.lasts().await);

        heard.send_replace(leading_in(3));
        answer.send_replace(Some(Term(3)));
        assert!(standing.serving().await.is_ok());
        assert!(
            !reign.lasts().await,
            "what was to be said in the first reign is not said in the third"
        );
    }
}
