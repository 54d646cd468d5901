//! Where the masters are, by the word of the one that leads.
//!
//! It comes beside the subscription, since the events of the Mesos API have no place for it.

use std::time::Duration;

use proto::agora::v1::WatchMasters;
use proto::agora::v1::masters_client::MastersClient;
use tonic::Code;
use transport::grpc::channel;
use transport::identity::Identity;

use super::connection::Link;

/// How long to wait before a master is asked again that did not go on telling.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Passes on where the masters are, at once and whenever that changes, for as long as anybody listens.
pub(crate) async fn watch(identity: Identity, link: Link) {
    let Ok(channel) = channel(&link.master, &identity) else { return };
    let mut client = MastersClient::new(channel);
    loop {
        match client.watch(WatchMasters {}).await {
            Ok(answer) => {
                let mut lists = answer.into_inner();
                while let Ok(Some(list)) = lists.message().await {
                    link.masters(list).await;
                }
            }
            // Older than this question.
            Err(status) if status.code() == Code::Unimplemented => return,
            Err(status) => {
                tracing::debug!(%status, "the master does not say where masters are");
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}
