//! Where the masters are: `masters.proto`.

use std::time::Duration;

use model::search::Masters;

use super::millis;
use crate::agora::v1::MasterList;

/// The form that goes over the wire.
pub fn to_wire(masters: &Masters) -> MasterList {
    MasterList {
        addresses: masters.addresses.iter().map(ToString::to_string).collect(),
        spread_ms: millis(masters.spread),
    }
}

/// Reads where the masters are.
pub fn from_wire(wire: MasterList) -> Masters {
    Masters {
        addresses: wire.addresses.into_iter().map(Into::into).collect(),
        spread: Duration::from_millis(wire.spread_ms),
    }
}
