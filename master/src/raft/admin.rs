//! What operators ask of the masters about themselves.

use std::sync::Arc;
use std::time::Duration;

use proto::agora::v1::raft_admin_client::RaftAdminClient;
use proto::agora::v1::raft_admin_server::{RaftAdmin, RaftAdminServer};
use proto::agora::v1::{
    AddMemberRequest, AddMemberResponse, ListMembersRequest, ListMembersResponse, MemberStatus,
    RemoveMemberRequest, RemoveMemberResponse, TransferLeadershipRequest,
    TransferLeadershipResponse,
};
use tokio::time::timeout;
use tonic::{Request, Response, Status};
use transport::grpc::{channel, not_leader};
use transport::identity::Identity;

use super::error::ChangeError;
use super::handle::Handle;
use super::links::Book;
use super::node::{Change, Listing, Member};
use crate::gate::Gate;

/// How long a master that is to be added may take to say who it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The service `agora.v1.RaftAdmin`. Clones are the same service.
#[derive(Clone)]
pub struct RaftAdminService {
    handle: Handle,
    book: Arc<Book>,
    identity: Identity,
    gate: Gate,
}

impl RaftAdminService {
    pub(crate) fn new(handle: Handle, book: Arc<Book>, identity: Identity, gate: Gate) -> Self {
        Self { handle, book, identity, gate }
    }

    /// As it is added to the routes of the master's port.
    pub fn into_server(self) -> RaftAdminServer<Self> {
        RaftAdminServer::new(self)
    }

    async fn list(&self) -> ListMembersResponse {
        let Listing { term, committed, members } = self.handle.list().await;
        ListMembersResponse {
            cluster_id: self.book.identity.cluster_id.clone(),
            own_id: self.book.identity.raft_id,
            leader: self.handle.leader().map(|leader| leader.address).unwrap_or_default(),
            term,
            committed_index: committed,
            members: members.into_iter().map(member_to_wire).collect(),
        }
    }

    /// Has another master lead, once all has ended that this one has begun.
    async fn hand_on(&self, name: Option<String>) -> Result<u64, ChangeError> {
        let own = self.book.identity.raft_id;
        let is_meant = |it: &Member| {
            let of = |name: &str| name == it.address || name == it.raft_id.to_string();
            it.raft_id != own && it.is_voter && name.as_deref().is_none_or(of)
        };
        let Self { handle, gate, .. } = self.clone();
        if !handle.list().await.members.iter().any(is_meant) {
            // Nothing will come of it but the reason, and nobody is to wait for that.
            return handle.change(Change::Transfer { name }).await;
        }
        // A task of its own: whoever asked may go away, and the gate is to stay shut all the same.
        let handed = tokio::spawn(async move {
            let _shut = gate.shut().await;
            let leads = handle.change(Change::Transfer { name }).await;
            if leads.is_ok() {
                gate.deposed().await;
            }
            leads
        });
        handed.await.expect("it does not panic, and nobody aborts it")
    }

    /// Asks the master at `address` for its raft id.
    async fn identify(&self, address: &str) -> Result<u64, Status> {
        let refused = |why: String| Status::failed_precondition(format!("{address} {why}"));
        let channel = channel(address, &self.identity)
            .map_err(|error| refused(format!("means nothing: {error}")))?;
        let mut client = RaftAdminClient::new(channel);
        let asked = timeout(ANSWER_WITHIN, client.list_members(ListMembersRequest {})).await;
        let hint = "start a master there with --join first";
        let answer = asked
            .map_err(|_| refused(format!("does not answer; {hint}")))?
            .map_err(|status| refused(format!("does not answer; {hint}: {}", status.message())))?
            .into_inner();
        if answer.cluster_id != self.book.identity.cluster_id {
            return Err(refused(format!("is a master of another cluster; {hint}")));
        }
        Ok(answer.own_id)
    }
}

fn member_to_wire(member: Member) -> MemberStatus {
    MemberStatus {
        raft_id: member.raft_id,
        address: member.address,
        is_voter: member.is_voter,
        is_leading: member.is_leading,
        matched_index: member.matched,
        heard_ms_ago: member
            .heard_ago
            .map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn status(error: &ChangeError) -> Status {
    let text = error.to_string();
    match error {
        ChangeError::NotLeader { leader } => {
            not_leader(leader.as_ref().map(|leader| leader.address.as_str()))
        }
        ChangeError::Busy => Status::aborted(text),
        // Not to be repeated unseen.
        ChangeError::Lost => Status::internal(text),
        ChangeError::Unknown { .. } => Status::not_found(text),
        ChangeError::Leads | ChangeError::Refused(_) => Status::failed_precondition(text),
    }
}

#[tonic::async_trait]
impl RaftAdmin for RaftAdminService {
    async fn list_members(
        &self,
        _request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        Ok(Response::new(self.list().await))
    }

    async fn add_member(
        &self,
        request: Request<AddMemberRequest>,
    ) -> Result<Response<AddMemberResponse>, Status> {
        let AddMemberRequest { address, raft_id, cluster_id } = request.into_inner();
        if !self.handle.status().leading {
            let leader = self.handle.leader();
            return Err(status(&ChangeError::NotLeader { leader }));
        }
        let raft_id = match raft_id {
            0 => self.identify(&address).await?,
            _ if cluster_id != self.book.identity.cluster_id => {
                return Err(Status::failed_precondition(format!(
                    "the work directory of {address} is of another cluster; give it an empty one"
                )));
            }
            known => known,
        };
        let added = self.handle.change(Change::Add { raft_id, address }).await;
        let raft_id = added.map_err(|error| status(&error))?;
        Ok(Response::new(AddMemberResponse { raft_id }))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let RemoveMemberRequest { member: name, force } = request.into_inner();
        let before = self.handle.list().await.members;
        match self.handle.change(Change::Remove { name, force }).await {
            Ok(raft_id) => {
                let removed = before.into_iter().find(|member| member.raft_id == raft_id);
                let address = removed.map(|member| member.address).unwrap_or_default();
                Ok(Response::new(RemoveMemberResponse { raft_id, address }))
            }
            Err(ChangeError::Leads) => {
                // The next leader can do it: whoever asks goes on to that one.
                let next = self.hand_on(None).await;
                next.map_err(|error| status(&error))?;
                Err(status(&ChangeError::NotLeader { leader: self.handle.leader() }))
            }
            Err(error) => Err(status(&error)),
        }
    }

    async fn transfer_leadership(
        &self,
        request: Request<TransferLeadershipRequest>,
    ) -> Result<Response<TransferLeadershipResponse>, Status> {
        let name = Some(request.into_inner().member).filter(|name| !name.is_empty());
        let leads = self.hand_on(name).await;
        let raft_id = leads.map_err(|error| status(&error))?;
        let members = self.handle.list().await.members;
        let leader = members.into_iter().find(|member| member.raft_id == raft_id);
        let leader = leader.map(|member| member.address).unwrap_or_default();
        Ok(Response::new(TransferLeadershipResponse { leader }))
    }
}
