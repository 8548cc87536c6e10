//! What members answer the operator: each of itself, and the leader for the group after a majority confirmed it (K32).

use std::time::Duration;

use quorate_autopilot::{ActionKind, BlockedReason, NodeType, Settings, State};
use quorate_plan::Ordinal;
use quorate_plan::observed::Observed;
use quorate_plan::raft_view::{AutopilotSettings, Intent, MemberAnswer, RaftView, ServerView};
use quorate_raft::{Input, Intent as CoreIntent, LogId, Membership, Role, Suffrage, Versions};

use super::event::{Boot, Turn};
use super::group::Waiting;
use super::operator::{Asking, Stage};
use super::process::Process;
use super::world::{CLUSTER_ID, Happened, World};

/// Autopilot's first round under a new leader is awaited in steps of this length.
const POLL: Duration = Duration::from_millis(100);

impl World {
    /// Every member with an address is asked, by the Raft ID that its Pod was made for.
    pub(super) fn ask(&mut self, number: usize, observed: Observed) -> Happened {
        let mut asking = Asking {
            observed,
            answers: std::collections::BTreeMap::new(),
            views: Vec::new(),
            waiting: Vec::new(),
            began: self.schedule.now(),
            first: self.operators[number].number,
        };
        let pods = asking.observed.slots.iter().filter_map(|(ordinal, slot)| {
            let pod = slot.pod.as_ref()?;
            Some((*ordinal, pod.uid.clone(), pod.raft_id.clone()?))
        });
        let mut silent = false;
        for (ordinal, pod_uid, raft_id) in pods.collect::<Vec<_>>() {
            let Some(process) = self.processes.get(&ordinal).filter(|process| process.pod_uid == pod_uid)
            else {
                continue;
            };
            if self.cuts.contains_key(&process.node) {
                // No answer, and nobody says so.
                silent = true;
                continue;
            }
            if process.id.raft_id.as_str() == raft_id {
                asking.answers.insert(ordinal, answer(process));
                asking.waiting.push(process.boot);
            }
        }
        if silent {
            // The whole time is waited in vain.
            asking.waiting.push(Boot { ordinal: Ordinal(u32::MAX), boot: 0 });
        }
        self.ask_again(number, asking)
    }

    /// Those whose view is missing are asked for it.
    pub(super) fn ask_again(&mut self, number: usize, asking: Asking) -> Happened {
        let waiting = asking.waiting.clone();
        self.operators[number].stage = Stage::Asking(Box::new(asking));
        self.operator_after(number, POLL);
        let turn = Turn { operator: number, number: self.operators[number].number };
        for boot in waiting {
            let lives = self.processes.get(&boot.ordinal).is_some_and(|process| process.boot == boot);
            if lives {
                let ticket = self.ticket(Waiting::View(turn, boot));
                self.step(boot.ordinal, Input::ReadIndex { ticket })?;
            }
        }
        // If nobody is waited for, the time is up at once.
        if let Stage::Asking(asking) = &self.operators[number].stage
            && asking.waiting.is_empty()
        {
            self.operator_after(number, Duration::ZERO);
        }
        Ok(())
    }

    /// A member confirmed that it leads, or says that it does not.
    pub(super) fn view_confirmed(&mut self, turn: Turn, boot: Boot, is_confirmed: bool) {
        let process = self.processes.get(&boot.ordinal).filter(|process| process.boot == boot);
        let view = process.filter(|_| is_confirmed).map(view);
        let Stage::Asking(asking) = &mut self.operators[turn.operator].stage else { return };
        if turn.number < asking.first {
            // Asked in an earlier round.
            return;
        }
        match view {
            // Autopilot has not looked yet: it is asked again in a moment.
            Some(None) => {}
            Some(Some(view)) => {
                asking.waiting.retain(|waiting| *waiting != boot);
                let is_new = asking.views.iter().all(|known| known.leader != view.leader);
                asking.views.extend(is_new.then_some(view));
            }
            None => asking.waiting.retain(|waiting| *waiting != boot),
        }
        if asking.waiting.is_empty() {
            self.operator_after(turn.operator, Duration::ZERO);
        }
    }
}

fn answer(process: &Process) -> MemberAnswer {
    let status = process.raft.status();
    let is_empty =
        status.membership == Membership::NotYet && status.last == LogId::default() && status.term.0 == 0;
    let voters = status.latest.iter().flat_map(|latest| latest.configuration.voters());
    MemberAnswer {
        raft_id: status.id.raft_id.to_string(),
        incarnation: status.id.incarnation.to_string(),
        cluster_id: (!is_empty).then(|| CLUSTER_ID.to_string()),
        is_removed: status.membership == Membership::Removed,
        leader: status.leader.as_ref().map(|leader| leader.id.raft_id.to_string()),
        term: status.term.0,
        recovery_epoch: process.epoch,
        voters: voters.map(|voter| voter.id.raft_id.to_string()).collect(),
        last: (status.last.term.0, status.last.index.0),
        versions: (Versions::OURS.min.0, Versions::OURS.max.0),
        trouble: String::new(),
        credentials: String::new(),
    }
}

/// What the leader says of the group; none before autopilot's first round under it.
fn view(process: &Process) -> Option<RaftView> {
    let status = process.raft.status();
    if status.role != Role::Leader {
        return None;
    }
    let state = process.state.as_ref().filter(|state| state.term == status.term)?;
    let latest = status.latest.as_ref()?;
    let committed = status.committed.iter().flat_map(|committed| committed.configuration.servers());
    let leader_last = state.server(&process.id).map_or(0, |leader| leader.stats.last.index.0);
    let servers = latest.configuration.servers().iter();
    let servers: Vec<ServerView> = servers.map(|server| server_view(server, state, leader_last)).collect();
    let voters = servers.iter().filter(|server| server.is_voter);
    let (all, healthy) =
        voters.fold((0, 0), |(all, healthy), server| (all + 1, healthy + u32::from(server.is_healthy)));
    Some(RaftView {
        leader: process.id.raft_id.to_string(),
        recovery_epoch: process.epoch,
        term: status.term.0,
        configuration_index: latest.index.0,
        change_in_flight: status.is_changing() || !status.is_ready,
        committed: committed.map(|server| server.id.raft_id.to_string()).collect(),
        failure_tolerance: u32::saturating_sub(healthy, all / 2 + 1),
        settings: settings(&process.settings()),
        short_of_space: false,
        servers,
    })
}

fn settings(settings: &Settings) -> AutopilotSettings {
    AutopilotSettings {
        last_contact_threshold: settings.last_contact_threshold,
        dead_server_last_contact_threshold: settings.dead_server_last_contact_threshold,
        max_trailing_logs: settings.max_trailing_logs,
        server_stabilization_time: settings.server_stabilization_time,
        min_quorum: settings.min_quorum,
        redundancy_zone_tag: settings.redundancy_zone_tag.clone(),
        upgrade_version_tag: settings.upgrade_version_tag.clone(),
        disable_upgrade_migration: settings.disable_upgrade_migration,
    }
}

fn server_view(server: &quorate_raft::Server, state: &State, leader_last: u64) -> ServerView {
    let known = state.server(&server.id);
    let unknown = || "autopilot has not looked at it yet".to_owned();
    let reason = |known: &quorate_autopilot::ServerState| {
        known.health.reason.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    let stands_by = known.is_some_and(|known| known.node_type == NodeType::ZoneStandby);
    let held = held(server, state);
    let match_index = known.map_or(0, |known| known.stats.last.index.0);
    ServerView {
        raft_id: server.id.raft_id.to_string(),
        incarnation: server.id.incarnation.to_string(),
        address: server.address.as_str().to_owned(),
        is_voter: server.suffrage != Suffrage::NonVoter,
        intent: match &server.intent {
            CoreIntent::Voter => Intent::Voter,
            CoreIntent::ReadReplica => Intent::ReadReplica,
            CoreIntent::ReplacementFor(old) => Intent::ReplacementFor {
                raft_id: old.raft_id.to_string(),
                incarnation: old.incarnation.to_string(),
            },
        },
        is_healthy: known.is_some_and(|known| known.health.is_healthy),
        unhealthy_because: known.map_or_else(unknown, reason),
        is_dead: known.is_some_and(|known| known.is_dead),
        last_contact: known.and_then(|known| known.stats.last_contact),
        match_index,
        trailing: known.map_or(0, |_| leader_last.saturating_sub(match_index)),
        snapshot_offset_bytes: None,
        healthy_for: known.and_then(|known| known.health.healthy_for(state.at)).unwrap_or_default(),
        stands_by: server.suffrage == Suffrage::NonVoter && (stands_by || held.is_some()),
        vote_held_because: held.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        is_volume_lost: false,
    }
}

/// Why an upgrade holds its vote back, if one does (`operator/src/member/convert.rs`).
fn held<'a>(server: &quorate_raft::Server, state: &'a State) -> Option<&'a BlockedReason> {
    let of_server = |blocked: &&quorate_autopilot::Blocked| {
        blocked.server == server.id && blocked.action == ActionKind::Promote
    };
    let reason = state.blocked.iter().find(of_server).map(|blocked| &blocked.reason)?;
    let is_held = matches!(
        reason,
        BlockedReason::AwaitNewVoters { .. }
            | BlockedReason::UpgradeFirst { .. }
            | BlockedReason::OlderVersion { .. }
    );
    is_held.then_some(reason)
}
