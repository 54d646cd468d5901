//! Who leads, as this master knows it.

use std::sync::Arc;

use axum::http::StatusCode;
use model::ids::{Reign, Term};
use model::step::Timestamp;
use tokio::sync::watch;
use transport::http::Refused;

/// Who leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Leadership {
    /// Nobody, or nobody knows.
    Electing,
    /// Another master.
    Following {
        /// Its address, `host:port`.
        leader: Arc<str>,
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
    Ask(Arc<str>),
    /// Ask again.
    Later(&'static str),
}

impl NotServing {
    /// As a gRPC status.
    pub(crate) fn status(&self) -> tonic::Status {
        match self {
            Self::Ask(leader) => transport::grpc::not_leader(Some(leader)),
            Self::Later(why) => tonic::Status::unavailable(*why),
        }
    }

    /// As an HTTP refusal, where there is nobody to redirect to.
    pub(crate) fn refused(why: &str) -> Refused {
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

/// Whether this master leads, be it that it does not know yet all that was agreed on before; or why it
/// does not.
pub(crate) fn leading(leadership: &watch::Receiver<Leadership>) -> Result<(), NotServing> {
    match &*leadership.borrow() {
        Leadership::Electing => Err(NotServing::Later("No leader elected")),
        Leadership::Following { leader } => Err(NotServing::Ask(leader.clone())),
        Leadership::Leading(_) => Ok(()),
    }
}

/// The reign in which this master serves, or why it does not.
pub(crate) fn serving(
    leadership: &watch::Receiver<Leadership>,
) -> Result<(Term, Reign, Timestamp), NotServing> {
    match &*leadership.borrow() {
        Leadership::Electing => Err(NotServing::Later("No leader elected")),
        Leadership::Following { leader } => Err(NotServing::Ask(leader.clone())),
        Leadership::Leading(Leading { reign: None, .. }) => {
            Err(NotServing::Later("Master has not finished recovery"))
        }
        Leadership::Leading(Leading { term, reign: Some(reign), since }) => {
            Ok((*term, *reign, *since))
        }
    }
}
