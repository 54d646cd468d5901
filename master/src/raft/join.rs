//! How a new master comes into a cluster: it asks any master which cluster it is, makes its directory,
//! serves, and asks the leading one to be added until it is.

use std::time::Duration;

use proto::agora::v1::raft_admin_client::RaftAdminClient;
use proto::agora::v1::{AddMemberRequest, ListMembersRequest};
use tokio::time::{sleep, timeout};
use tonic::Status;
use transport::grpc::{Channel, channel, leader_of, reason};
use transport::identity::Identity;

use super::handle::Handle;

/// The wait before masters are asked again.
const RETRY: Duration = Duration::from_secs(1);

/// How long one may take to answer. To add a master may take an election.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Asks the masters at `join` which cluster they are, again and again until one answers.
pub async fn ask_cluster(join: &[String], identity: &Identity) -> String {
    let mut told = None;
    loop {
        for address in join {
            match list(address, identity).await {
                Ok(cluster_id) => return cluster_id,
                Err(status) => tell_once(&mut told, address, &status),
            }
        }
        sleep(RETRY).await;
    }
}

/// Asks the masters at `join` to add the one of `handle`, which is reached at `own`, until it is one of
/// them. It must be served by then.
pub async fn ask_to_be_added(handle: Handle, own: String, join: Vec<String>, identity: Identity) {
    let mut told = None;
    let request = AddMemberRequest {
        address: own,
        raft_id: handle.status().raft_id,
        cluster_id: handle.cluster_id().to_owned(),
    };
    while !handle.status().is_member {
        for address in &join {
            if let Err(status) = ask_leader(address, &request, &identity).await {
                tell_once(&mut told, address, &status);
            }
        }
        sleep(RETRY).await;
    }
    tracing::info!("this master is one of the cluster's");
}

/// Asks the master at `first` for whoever leads, and that one for membership.
async fn ask_leader(
    first: &str,
    request: &AddMemberRequest,
    identity: &Identity,
) -> Result<(), Status> {
    match add(first, request, identity).await {
        Err(status) => match leader_of(&status) {
            // Should it have been deposed just now, the next round finds out.
            Some(leader) => add(leader, request, identity).await,
            None => Err(status),
        },
        Ok(()) => Ok(()),
    }
}

async fn list(address: &str, identity: &Identity) -> Result<String, Status> {
    let mut client = client(address, identity)?;
    let answer = timeout(ANSWER_WITHIN, client.list_members(ListMembersRequest {})).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("no answer"))??;
    Ok(answer.into_inner().cluster_id)
}

async fn add(address: &str, request: &AddMemberRequest, identity: &Identity) -> Result<(), Status> {
    let mut client = client(address, identity)?;
    let answer = timeout(ANSWER_WITHIN, client.add_member(request.clone())).await;
    answer.map_err(|_| Status::deadline_exceeded("no answer"))?.map(|_| ())
}

fn client(address: &str, identity: &Identity) -> Result<RaftAdminClient<Channel>, Status> {
    let channel = channel(address, identity);
    let channel = channel.map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(RaftAdminClient::new(channel))
}

/// Logs a refusal, unless it is the one that was logged last.
fn tell_once(told: &mut Option<String>, master: &str, status: &Status) {
    let reason = reason(status);
    if told.as_ref() != Some(&reason) {
        tracing::warn!(master, reason, "cannot join yet; asking again");
        *told = Some(reason);
    }
}
