//! The leader's view for Kubernetes: from autopilot's conclusions to what `quorate-publish` writes (K31).

use std::path::Path;
use std::sync::Arc;

use quorate_autopilot::{BlockedReason, NodeType, ServerRole, ServerState, ZoneState};
use quorate_publish::{
    BlockedView, Connection, MemberKind, MemberRole, MemberState, MemberView, Publishing, RaftView, Target,
    UpgradeView, ZoneView,
};
use quorate_raft::{Identity, Intent, ServerId};
use tokio::sync::watch;

use super::{Autopilot, Conclusion, Facts};
use crate::exit::{Code, Failure};
use crate::settings::{KubernetesSettings, TOKEN_DIRECTORY};

/// Publishing to Kubernetes, ready to start.
pub(crate) struct Publish {
    connection: Connection,
    target: Target,
}

impl Publish {
    /// From the Pod's environment.
    pub(crate) fn new(settings: &KubernetesSettings) -> Result<Self, Failure> {
        let connection = Connection::from_environment(Path::new(TOKEN_DIRECTORY))
            .map_err(|error| Failure::new(Code::Usage, error))?;
        let pod_ip = settings
            .pod_ip
            .ok_or_else(|| Failure::new(Code::Usage, "QUORATE_POD_IP is not set: publishing needs it"))?;
        let target = Target {
            namespace: settings.namespace.clone(),
            cluster: settings.cluster.clone(),
            cluster_uid: settings.cluster_uid.clone(),
            pod: settings.pod.clone(),
            pod_uid: None,
            pod_ip: pod_ip.to_string(),
            lease: format!("{}-leader", settings.cluster),
            leader_slice: settings.leader_slice.clone(),
        };
        Ok(Self { connection, target })
    }

    /// Publishes while this member leads, until `stopping`. The data path never waits for it.
    pub(crate) async fn run(
        self,
        autopilot: Autopilot,
        identity: Arc<Identity>,
        report: watch::Sender<Publishing>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut conclusions = autopilot.watch();
        let (views, watched) = watch::channel(None);
        let name = self.target.pod.clone();
        let publishing = quorate_publish::publish(self.connection, self.target, watched, report);
        tokio::pin!(publishing);
        loop {
            tokio::select! {
                () = &mut publishing => return,
                changed = conclusions.changed() => if changed.is_err() { return },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            let view = conclusions
                .borrow_and_update()
                .as_deref()
                .map(|conclusion| raft_view(conclusion, &identity, &name));
            views.send_if_modified(|last| {
                let is_news = *last != view;
                *last = view;
                is_news
            });
        }
    }
}

/// A conclusion in the words of the status. `own_name` is this member's Pod.
fn raft_view(conclusion: &Conclusion, identity: &Identity, own_name: &str) -> RaftView {
    let (state, settings) = (&conclusion.state, &conclusion.settings);
    let (has_zones, has_versions) = (settings.has_zones(), !settings.upgrade_version_tag.is_empty());
    let name = |id: &ServerId| {
        if *id == identity.server { own_name.to_owned() } else { name(&conclusion.facts, id) }
    };
    let leader_last =
        state.leader.as_ref().and_then(|id| state.server(id)).map_or(0, |leader| leader.stats.last.index.0);
    let blocked = |server: &ServerId| state.blocked.iter().find(|blocked| blocked.server == *server);
    let members = state.servers.iter().map(|server| {
        let fact = conclusion.facts.of(&server.id);
        let stabilizing =
            blocked(&server.id).filter(|blocked| matches!(blocked.reason, BlockedReason::Stabilizing { .. }));
        MemberView {
            name: name(&server.id),
            node: fact.map(|fact| fact.node.clone()).filter(|node| !node.is_empty()),
            raft_id: server.id.raft_id.to_string(),
            role: role(server.role),
            state: member_state(server, stabilizing.is_some()),
            reason: server.health.reason.as_ref().map(ToString::to_string),
            trailing: leader_last.saturating_sub(server.stats.last.index.0),
            kind: has_zones.then(|| kind(server.node_type)),
            version: server.upgrade_version.clone().filter(|_| has_versions),
            zone: fact.map(|fact| fact.zone.clone()).filter(|zone| !zone.is_empty()).or(server.zone.clone()),
        }
    });
    RaftView {
        recovery_epoch: identity.recovery_epoch.0,
        term: state.term.0,
        leader: own_name.to_owned(),
        members: members.collect(),
        blocked: state
            .blocked
            .iter()
            .map(|blocked| BlockedView {
                member: name(&blocked.server),
                message: blocked.message(&name(&blocked.server)),
                reason: blocked.reason.as_str().to_owned(),
                rule: blocked.action.as_str().to_owned(),
            })
            .collect(),
        optimistic_failure_tolerance: has_zones.then(|| wide(state.optimistic_failure_tolerance)),
        upgrade: has_versions.then(|| UpgradeView {
            status: state.upgrade.status.as_str(),
            target_version: state.upgrade.target_version.clone(),
        }),
        zones: state.zones.iter().map(|(zone, found)| zone_view(zone, found, &name)).collect(),
    }
}

fn zone_view(zone: &str, found: &ZoneState, name: &impl Fn(&ServerId) -> String) -> ZoneView {
    let standbys = found.servers.iter().filter(|id| !found.voters.contains(id));
    ZoneView {
        name: zone.to_owned(),
        voters: found.voters.iter().map(name).collect(),
        standbys: standbys.map(name).collect(),
        tolerates: wide(found.failure_tolerance),
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn kind(node_type: NodeType) -> MemberKind {
    match node_type {
        NodeType::Voter => MemberKind::Voter,
        NodeType::ReadReplica => MemberKind::ReadReplica,
        NodeType::ZoneVoter => MemberKind::ZoneVoter,
        NodeType::ZoneStandby => MemberKind::ZoneStandby,
        NodeType::ZoneExtraVoter => MemberKind::ZoneExtraVoter,
    }
}

/// The Pod, as the operator says; without its word, what the Raft ID was made from.
fn name(facts: &Facts, id: &ServerId) -> String {
    if let Some(fact) = facts.of(id).filter(|fact| !fact.name.is_empty()) {
        return fact.name.clone();
    }
    let raft_id = id.raft_id.as_str();
    raft_id.rsplit_once('-').map_or(raft_id, |(pod, _)| pod).to_owned()
}

fn role(role: ServerRole) -> MemberRole {
    match role {
        ServerRole::Leader => MemberRole::Leader,
        ServerRole::Voter => MemberRole::Voter,
        ServerRole::NonVoter => MemberRole::NonVoter,
    }
}

fn member_state(server: &ServerState, is_stabilizing: bool) -> MemberState {
    let joins = server.role == ServerRole::NonVoter && server.intent != Intent::ReadReplica;
    match server.health.is_healthy {
        true if joins && is_stabilizing => MemberState::Stabilizing,
        true => MemberState::Healthy,
        false => MemberState::Unhealthy,
    }
}
