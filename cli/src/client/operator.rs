//! `agora operator`: the masters themselves.

use super::show::{print, print_json, table};
use super::{Cluster, Failure};
use crate::say::say;
use clap::Subcommand;
use proto::agora::v1::raft_admin_client::RaftAdminClient;
use proto::agora::v1::{
    AddMemberRequest, ListMembersRequest, ListMembersResponse, MemberStatus, RemoveMemberRequest,
    TransferLeadershipRequest,
};
use serde_json::json;
use std::time::Duration;
use tonic::{Code, Status};
use transport::grpc::Channel;
use transport::identity::Identity;

/// How long a master may take to answer. A change may wait for an election.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Masters asked one after the other because each names another leader.
const HOPS_MAX: u32 = 4;

/// How often all masters are asked while one of them is there: together a few elections' time.
const ROUNDS_MAX: u32 = 40;

/// The wait before all are asked again.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// What operators do to the cluster itself.
#[derive(Subcommand, Debug)]
pub(crate) enum OperatorCommand {
    /// List, add and remove masters, and choose which one leads
    Raft {
        #[command(subcommand)]
        command: RaftCommand,
    },
}

/// What can be done with masters.
#[derive(Subcommand, Debug)]
pub(crate) enum RaftCommand {
    /// List the masters: who leads, whose vote counts, how far each is, and when it was heard of
    ///
    /// MATCHED is the last entry that a master has on disk; only the leading one knows it of the others.
    /// A learner gets all entries and has no vote yet: it becomes a voter as soon as it has caught up.
    List,
    /// Add a master that was started with --join
    ///
    /// Such a master asks to be added by itself. This is for one that cannot reach the others, or was
    /// started with the wrong addresses: the leading master asks it for its id.
    Add {
        /// Where the new master is reached, as host:port
        address: String,
    },
    /// Remove a master for good, such as a dead one
    ///
    /// It ends, if it still runs, and says why. To replace a dead master, remove it, then start the new
    /// one on any machine with an empty work directory:
    ///
    ///   agora operator raft remove 10.0.0.3:5050
    ///   agora master --join=10.0.0.1:5050,10.0.0.2:5050 --work_dir=/var/lib/agora
    ///
    /// Refused if too few of those that would be left can be reached: then nothing could be agreed on
    /// any more.
    #[command(verbatim_doc_comment)]
    Remove {
        /// Which one: its address or its raft id, as `list` shows them
        member: String,
        /// Remove it even if too few of the others can be reached
        #[arg(long)]
        force: bool,
    },
    /// Have another master lead, for instance before maintenance of the one that does
    ///
    /// Without a name the one that is best prepared takes over.
    TransferLeader {
        /// Which one: its address or its raft id, as `list` shows them
        member: Option<String>,
    },
}

/// Carries out `command`.
pub(crate) async fn run(command: OperatorCommand, cluster: &Cluster) -> Result<(), Failure> {
    let OperatorCommand::Raft { command } = command;
    match command {
        RaftCommand::List => list(cluster).await,
        RaftCommand::Add { address } => add(cluster, address).await,
        RaftCommand::Remove { member, force } => remove(cluster, member, force).await,
        RaftCommand::TransferLeader { member } => transfer(cluster, member).await,
    }
}

async fn list(cluster: &Cluster) -> Result<(), Failure> {
    let ask = async |mut client: RaftAdminClient<Channel>| {
        client.list_members(ListMembersRequest {}).await
    };
    // One that does not know who leads may be cut off, or unable to write: another may.
    let mut answer = None;
    for master in cluster.masters() {
        match ask_leader(cluster.identity(), std::slice::from_ref(master), ask).await {
            Ok(told) if !told.leader.is_empty() => {
                answer = Some(told);
                break;
            }
            Ok(told) => answer = answer.or(Some(told)),
            Err(_) => {}
        }
    }
    let mut answer = match answer {
        Some(answer) => answer,
        None => ask_leader(cluster.identity(), cluster.masters(), ask).await?,
    };
    if !answer.leader.is_empty() && !answer.members.iter().any(is_leader_itself(&answer)) {
        // Whoever leads knows more. Should it be gone, what was heard first has to do.
        let leader = [answer.leader.clone()];
        answer = ask_leader(cluster.identity(), &leader, ask).await.unwrap_or(answer);
    }
    if cluster.json {
        let members: Vec<_> = answer.members.iter().map(to_json).collect();
        print_json(&json!({
            "cluster_id": answer.cluster_id,
            "leader": Some(&answer.leader).filter(|leader| !leader.is_empty()),
            "term": answer.term,
            "committed_index": answer.committed_index,
            "members": members,
        }));
        return Ok(());
    }
    if answer.leader.is_empty() {
        say!("No master leads; this is what one of them knows.");
    }
    let mut table = table(["ADDRESS", "RAFT ID", "ROLE", "LEADS", "MATCHED", "HEARD"]);
    for member in &answer.members {
        let dash = || "-".to_owned();
        table.add_row([
            member.address.clone(),
            member.raft_id.to_string(),
            role(member).to_owned(),
            (if member.is_leading { "yes" } else { "no" }).to_owned(),
            member.matched_index.map_or_else(dash, |index| index.to_string()),
            member.heard_ms_ago.map_or_else(dash, ago),
        ]);
    }
    print(&table);
    Ok(())
}

fn is_leader_itself(answer: &ListMembersResponse) -> impl Fn(&MemberStatus) -> bool {
    let own_id = answer.own_id;
    move |member| member.is_leading && member.raft_id == own_id
}

fn role(member: &MemberStatus) -> &'static str {
    if member.is_voter { "voter" } else { "learner" }
}

/// A time for people: what is below a second is now, since heartbeats take as long.
fn ago(milliseconds: u64) -> String {
    match milliseconds / 1_000 {
        0 => "now".to_owned(),
        seconds @ 1..120 => format!("{seconds}s ago"),
        seconds => format!("{}min ago", seconds / 60),
    }
}

fn to_json(member: &MemberStatus) -> serde_json::Value {
    json!({
        "address": member.address,
        // As text: not every JSON reader keeps 64 bits.
        "raft_id": member.raft_id.to_string(),
        "role": role(member),
        "leading": member.is_leading,
        "matched_index": member.matched_index,
        "heard_ms_ago": member.heard_ms_ago,
    })
}

async fn add(cluster: &Cluster, address: String) -> Result<(), Failure> {
    let request = AddMemberRequest { address: address.clone(), ..AddMemberRequest::default() };
    let answer = ask_leader(
        cluster.identity(),
        cluster.masters(),
        async |mut client: RaftAdminClient<Channel>| client.add_member(request.clone()).await,
    );
    let raft_id = answer.await?.raft_id.to_string();
    if cluster.json {
        print_json(&json!({ "address": address, "raft_id": raft_id }));
    } else {
        say!("{address} added with raft id {raft_id}; it votes once it has caught up");
    }
    Ok(())
}

async fn remove(cluster: &Cluster, member: String, force: bool) -> Result<(), Failure> {
    let request = RemoveMemberRequest { member, force };
    let answer = ask_leader(
        cluster.identity(),
        cluster.masters(),
        async |mut client: RaftAdminClient<Channel>| client.remove_member(request.clone()).await,
    );
    let answer = answer.await?;
    let raft_id = answer.raft_id.to_string();
    if cluster.json {
        print_json(&json!({ "address": answer.address, "raft_id": raft_id }));
    } else {
        say!("{} removed; its raft id was {raft_id}", answer.address);
    }
    Ok(())
}

async fn transfer(cluster: &Cluster, member: Option<String>) -> Result<(), Failure> {
    let request = TransferLeadershipRequest { member: member.unwrap_or_default() };
    let answer = ask_leader(
        cluster.identity(),
        cluster.masters(),
        async |mut client: RaftAdminClient<Channel>| {
            client.transfer_leadership(request.clone()).await
        },
    );
    let leader = answer.await?.leader;
    if cluster.json {
        print_json(&json!({ "leader": leader }));
    } else {
        say!("{leader} leads");
    }
    Ok(())
}

/// What became of a question.
enum Asked<T> {
    Answered(T),
    Failed(Failure),
    /// Nobody can answer it now. Whether a master said so itself.
    NotNow {
        cause: String,
        by_master: bool,
    },
}

/// Asks the masters in turn until one answers, going on to the leading one where they name it. While
/// one of them is there, an election and a change under way are waited for.
async fn ask_leader<T>(
    identity: &Identity,
    masters: &[String],
    ask: impl AsyncFn(RaftAdminClient<Channel>) -> Result<tonic::Response<T>, Status>,
) -> Result<T, Failure> {
    let mut last_cause = "no address given".to_owned();
    for _ in 0..ROUNDS_MAX {
        let mut one_is_there = false;
        for master in masters {
            match ask_from(identity, master, &ask).await {
                Asked::Answered(answer) => return Ok(answer),
                Asked::Failed(failure) => return Err(failure),
                Asked::NotNow { cause, by_master } => {
                    last_cause = cause;
                    one_is_there |= by_master;
                }
            }
        }
        if !one_is_there {
            break;
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    let tried = masters.join(", ");
    let (role, flag, env) = ("master", "master", "MASTER".to_owned());
    Err(Failure::Unreachable { role, flag, env, tried, cause: last_cause })
}

/// Asks one master, and whoever it says leads.
async fn ask_from<T>(
    identity: &Identity,
    first: &str,
    ask: &impl AsyncFn(RaftAdminClient<Channel>) -> Result<tonic::Response<T>, Status>,
) -> Asked<T> {
    let address = first.split_once("://").map_or(first, |(_, address)| address);
    let mut address = address.trim_end_matches('/').to_owned();
    let mut by_master = false;
    let mut hops = 0;
    loop {
        let channel = match transport::grpc::channel(&address, identity) {
            Ok(channel) => channel,
            Err(error) => {
                let text = format!("'{address}' is no address: {error}");
                return Asked::Failed(Failure::Local(text));
            }
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, ask(RaftAdminClient::new(channel))).await;
        let status = match answer {
            Ok(Ok(answer)) => return Asked::Answered(answer.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded(format!("{address} does not answer in time")),
        };
        // What goes wrong on the way has a source on this side.
        by_master |= std::error::Error::source(&status).is_none();
        let cause = transport::grpc::reason(&status);
        match status.code() {
            Code::Unavailable | Code::Aborted | Code::Unknown | Code::Cancelled => {
                match transport::grpc::leader_of(&status) {
                    Some(leader) if hops < HOPS_MAX => leader.clone_into(&mut address),
                    Some(_) | None => return Asked::NotNow { cause, by_master },
                }
                hops += 1;
            }
            Code::NotFound => return Asked::Failed(Failure::NotFound(cause)),
            Code::Ok
            | Code::InvalidArgument
            | Code::DeadlineExceeded
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => return Asked::Failed(Failure::Refused(cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_in_words() {
        assert_eq!(
            [999, 1_000, 119_999, 120_000].map(ago),
            ["now", "1s ago", "119s ago", "2min ago"]
        );
    }
}
