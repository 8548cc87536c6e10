//! What `/status` says of this member.

use quorate_api::json;
use quorate_raft::{IndexedConfiguration, LogId, Membership, Role, Server};

use crate::driver::View;
use crate::serve::Shared;

pub(super) fn status(shared: &Shared) -> json::MemberStatus {
    let view = shared.context.handle.view();
    let (status, identity) = (&view.status, &view.identity);
    let silence = if view.is_leader() { Some(std::time::Duration::ZERO) } else { view.leader_silence() };
    json::MemberStatus {
        name: shared.context.name.to_string(),
        raft_id: identity.server.raft_id.to_string(),
        incarnation: identity.server.incarnation.to_string(),
        cluster_id: identity.cluster_id.to_string(),
        recovery_epoch: identity.recovery_epoch.0,
        version: env!("CARGO_PKG_VERSION"),
        node: shared.context.node.to_string(),
        zone: shared.context.words.borrow().zone.clone(),
        member_state: member_state(&view),
        role: role(status.role),
        term: status.term.0,
        leader: status.leader.as_ref().map(|leader| leader.id.raft_id.to_string()),
        last_contact_ms: silence.map(|silence| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX)),
        ready: view.is_ready,
        space_low: view.is_space_low,
        volume_lost: view.is_volume_lost,
        publishing_error: shared.publishing_error(),
        log: json::LogStatus {
            first_index: status.first.0,
            last_index: status.last.index.0,
            last_term: status.last.term.0,
            commit_index: status.commit.0,
            applied_index: view.applied.index.0,
            durable_applied_index: view.durable_applied.index.0,
            log_bytes: status.log_bytes,
        },
        configuration: status.latest.as_ref().map(|latest| configuration(&view, latest)),
    }
}

fn configuration(view: &View, latest: &IndexedConfiguration) -> json::ConfigurationStatus {
    let committed = view.status.committed.as_ref().map(|committed| committed.index);
    json::ConfigurationStatus {
        index: latest.index.0,
        committed: committed == Some(latest.index),
        servers: latest.configuration.servers().iter().map(|each| server(view, each)).collect(),
    }
}

fn server(view: &View, server: &Server) -> json::ServerStatus {
    let peer = view.status.peers.iter().find(|peer| peer.id == server.id);
    let last = view.status.last.index.0;
    json::ServerStatus {
        raft_id: server.id.raft_id.to_string(),
        address: server.address.to_string(),
        voter: server.suffrage.has_vote(),
        trailing: peer.map(|peer| last.saturating_sub(peer.matched.0)),
        last_ack_ms: peer
            .and_then(|peer| peer.last_ack)
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn member_state(view: &View) -> &'static str {
    match view.status.membership {
        Membership::NotYet if view.status.last == LogId::default() && view.status.term.0 == 0 => "empty",
        Membership::NotYet => "joining",
        Membership::NonVoter => "non-voter",
        Membership::Voter => "voter",
        Membership::Removed => "removed",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}
