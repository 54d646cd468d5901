//! The directories of removed volumes are out of the way.

use crate::output::Output;
use crate::record::{Key, Record};
use model::ids::OperationUuid;
use model::resources::Resources;

/// Only when it is on disk that this is done may what was put away be deleted: its being there is how a
/// repetition is known.
pub(crate) fn apply(operation: OperationUuid, volumes: Resources, out: &mut Vec<Output>) {
    out.push(Output::Append(Record::Forget(Key::Doomed(operation))));
    out.push(Output::PurgeVolumes { operation, volumes });
}
