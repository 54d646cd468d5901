//! `/agora/v1/secrets`: kept here, used by apps and pods, and read by nobody.

use axum::http::{Method, StatusCode};
use marathon_core::io::Command;
use marathon_core::secret;
use serde_json::json as object;

use super::Call;
use super::reply::{self, Reply, json, refuse};

pub(super) async fn route(call: &Call<'_>, rest: &[&str]) -> Reply {
    if rest.is_empty() {
        call.only(&[Method::GET])?;
        let paths: Vec<&str> = call.view.secrets.iter().map(|path| &**path).collect();
        return json(StatusCode::OK, &object!({"secrets": paths}));
    }
    call.only(&[Method::PUT, Method::DELETE])?;
    let path = secret::path(&rest.join("/"))
        .map_err(|why| reply::error(StatusCode::UNPROCESSABLE_ENTITY, &why))?;
    if call.parts.method == Method::DELETE {
        let force = call.query.flag("force", false);
        return call.ask(Command::DeleteSecret { path, force }).await;
    }
    let Some(vault) = &call.shared.vault else {
        let message = "There is no key to keep secrets with: start every Marathon with the same \
                       --secrets_key_file";
        return refuse(StatusCode::NOT_IMPLEMENTED, message);
    };
    if call.body.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "The body is the value of the secret; it is empty");
    }
    match vault.seal(&path, &call.body) {
        Some(sealed) => call.ask(Command::PutSecret { path, sealed }).await,
        None => refuse(StatusCode::INTERNAL_SERVER_ERROR, "This machine gives no random numbers"),
    }
}
