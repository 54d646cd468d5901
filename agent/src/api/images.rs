//! PRUNE_IMAGES: removes what nobody uses.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::acl::Action;
use proto::mesos::v1::agent::call::PruneImages;
use transport::http::Refused;

use super::Api;
use super::caller::Caller;
use crate::images::PruneError;

/// Removes all images but those that the call names and those that containers are made of.
pub(super) async fn prune(
    api: &Api,
    caller: &Caller,
    call: Option<PruneImages>,
) -> Result<Response, Refused> {
    caller.check(Action::PruneImages, None, "remove images")?;
    let Some(images) = &api.shared.images else {
        let text = "There are no images on this agent";
        return Err(Refused::new(StatusCode::NOT_IMPLEMENTED, text));
    };
    let excluded = call.map(|call| call.excluded_images).unwrap_or_default();
    // Those of other kinds are not here in any case.
    let excluded: Vec<String> =
        excluded.into_iter().filter_map(|image| Some(image.docker?.name)).collect();
    match images.prune(&excluded).await {
        Ok(_) => Ok(StatusCode::OK.into_response()),
        Err(error @ PruneError::Reference(_)) => Err(Refused::bad_request(error.to_string())),
        Err(error @ PruneError::Store(_)) => {
            Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
        }
    }
}
