//! UPDATE_FRAMEWORK: a framework describes itself anew without opening another stream. Unlike other calls
//! it is answered by what came of it.

use super::subscribe;
use crate::authorize;
use crate::io::Refusal;
use crate::state::frameworks::{Subscribing, Wishes};
use crate::state::{Books, Turn};
use model::call::Subscribe;
use model::framework::Framework as Description;
use model::ids::{FrameworkId, RequestId};
use std::sync::Arc;

/// Has the new description agreed on, or says why it cannot be.
pub(crate) fn apply(
    books: &mut Books,
    request: RequestId,
    id: &FrameworkId,
    update: Result<Subscribe, String>,
    principal: Option<&Arc<str>>,
    turn: &mut Turn<'_>,
) {
    let checked = update.map_err(Refusal::Invalid).and_then(|update| {
        let Subscribe { framework: mut description, suppressed, constraints } = update;
        description.id = Some(id.clone());
        description.principal = description.principal.or_else(|| principal.cloned());
        let not_valid =
            |why| Refusal::Invalid(format!("Supplied FrameworkInfo is not valid: {why}"));
        // The order of these is that of SUBSCRIBE.
        subscribe::check(books, &description).map_err(not_valid)?;
        let wishes =
            Wishes::new(&description, &suppressed, constraints, &books.config).map_err(|why| {
                Refusal::Invalid(format!("'UpdateFramework' call is not valid: {why}"))
            })?;
        authorize::roles(books, &description).map_err(Refusal::Forbidden)?;
        check_unchanged(&books.frameworks[id].description, &description)
            .map_err(|why| Refusal::Invalid(format!("FrameworkInfo update is not valid: {why}")))?;
        Ok((description, wishes))
    });
    match checked {
        Ok((description, wishes)) => {
            let waiting =
                Subscribing { connection: None, request, wishes, is_gone: false, entry: None };
            subscribe::agree(books, waiting, description, turn);
        }
        Err(refusal) => turn.answer(request, Err(refusal)),
    }
}

/// Whose it is, and what decides how running tasks were started, cannot change.
fn check_unchanged(before: &Description, after: &Description) -> Result<(), String> {
    if before.principal != after.principal {
        return Err(subscribe::PRINCIPAL_CHANGES.to_owned());
    }
    let (field, before, after) = if before.user != after.user {
        ("user", before.user.to_string(), after.user.to_string())
    } else if before.checkpoint != after.checkpoint {
        ("checkpoint", before.checkpoint.to_string(), after.checkpoint.to_string())
    } else {
        return Ok(());
    };
    Err(format!(
        "Updating 'FrameworkInfo.{field}' is unsupported; attempted to update from '{before}' to \
         '{after}'"
    ))
}
