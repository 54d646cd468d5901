//! What gRPC services and their clients share.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::http::Refused;
use crate::identity::{Identity, Shown};
use crate::server::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::tls::{Speaks, explain};

/// Bytes of one gRPC message, both ways. An agent that comes back brings all its tasks in one; ten
/// thousand of them with their environments stay below.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Where a refusal says who leads.
pub const LEADER_METADATA: &str = "agora-leader";

/// Where an answer says where the masters are: host:port of each, with commas between them.
pub const MASTERS_METADATA: &str = "agora-masters";

/// How long a connection attempt may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How often a silent peer is asked whether it is there, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// "Ask the leader": with its address if it is known.
pub fn not_leader(leader: Option<&str>) -> Status {
    let Some(leader) = leader else {
        return Status::unavailable("No leader elected");
    };
    let mut status = Status::unavailable(format!("this master does not lead; ask {leader}"));
    if let Ok(value) = leader.parse() {
        status.metadata_mut().insert(LEADER_METADATA, value);
    }
    status
}

/// The leader's address that [`not_leader`] put in.
pub fn leader_of(status: &Status) -> Option<&str> {
    status.metadata().get(LEADER_METADATA)?.to_str().ok()
}

/// What went wrong, for people: what TLS has to do with it, or else what the status says.
pub fn reason(status: &Status) -> String {
    explain(status).unwrap_or_else(|| status.message().to_owned())
}

/// The same refusal in gRPC's terms.
pub fn status(refused: &Refused) -> Status {
    Status::new(code(refused.status), refused.text.clone())
}

fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT => Code::Aborted,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::NOT_IMPLEMENTED => Code::Unimplemented,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        status if status.is_server_error() => Code::Internal,
        _ => Code::InvalidArgument,
    }
}

/// A way to call one server, which shows with each call who we are.
pub type Channel = InterceptedService<tonic::transport::Channel, Shown>;

/// A channel to `address` (`host:port`) for whom `identity` says. It connects when it is first used,
/// and again when it has to.
pub fn channel(address: &str, identity: &Identity) -> Result<Channel, tonic::transport::Error> {
    crate::install_tls_provider();
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES);
    let channel = match identity.tls() {
        None => endpoint.connect_lazy(),
        Some(tls) => {
            let (tls, address) = (tls.clone(), Arc::<str>::from(address));
            endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let (tls, address) = (tls.clone(), address.clone());
                async move { tls.connect(&address, Speaks::Grpc).await.map(TokioIo::new) }
            }))
        }
    };
    Ok(InterceptedService::new(channel, identity.shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leads_travels_with_the_refusal() {
        let status = not_leader(Some("m2.example:5050"));
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(leader_of(&status), Some("m2.example:5050"));
        let status = not_leader(None);
        assert_eq!((status.code(), leader_of(&status)), (Code::Unavailable, None));
    }

    #[test]
    fn refusals_keep_their_text_and_kind() {
        let refused = Refused::new(StatusCode::FORBIDDEN, "Framework is not subscribed");
        let status = status(&refused);
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(status.message(), "Framework is not subscribed");
    }
}
