//! What the rules of a round look at, and the questions that several of them ask.

use std::time::Duration;

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Intent, ServerId};

use crate::blocked::BlockedReason;
use crate::input::Input;
use crate::observer::Observer;
use crate::settings::Settings;
use crate::state::{NodeStatus, NodeType, ServerRole, ServerState, State, quorum};

/// One moment, as the rules see it.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) observer: &'a Observer,
    pub(crate) settings: &'a Settings,
    pub(crate) input: &'a Input,
    pub(crate) state: &'a State,
}

impl<'a> Scene<'a> {
    /// Non-voters that are meant to vote, in the order of every list.
    pub(crate) fn wanted(self) -> impl Iterator<Item = &'a ServerState> {
        self.state.servers.iter().filter(|server| is_wanted(server))
    }

    /// The server of the configuration whose vote this one is to take over. Once that one is out of it the intent reads
    /// as Voter.
    pub(crate) fn replaced(self, server: &ServerState) -> Option<&'a ServerState> {
        match &server.intent {
            Intent::ReplacementFor(old) => self.state.server(old),
            Intent::Voter | Intent::ReadReplica => None,
        }
    }

    /// Whether some server was added to take this one's vote: then nobody else may (K15).
    pub(crate) fn has_replacement(self, old: &ServerId) -> bool {
        self.state.servers.iter().any(|server| server.intent == Intent::ReplacementFor(old.clone()))
    }

    /// What keeps this server itself from a vote.
    pub(crate) fn own_obstacle(self, server: &ServerState) -> Option<BlockedReason> {
        if server.status == NodeStatus::Left && !broken(Mutant::A11Leaving) {
            return Some(BlockedReason::Leaving);
        }
        // A late sample does not make it unhealthy yet, but nobody gets a vote in such a moment.
        if let Err(reason) = &server.health.sample
            && !broken(Mutant::A11Late)
        {
            return Some(BlockedReason::Unhealthy(reason.clone()));
        }
        let needed = self.stabilization(server);
        let healthy_for = server.health.healthy_for(self.input.now).unwrap_or_default();
        let missing = needed.saturating_sub(healthy_for);
        (!missing.is_zero()).then_some(BlockedReason::Stabilizing { missing, needed })
    }

    /// How long the server must have been healthy. Under the first leader after bootstrap nobody has a history to prove
    /// yet, and members that join within the first stabilization time need none (A8, K55).
    fn stabilization(self, server: &ServerState) -> Duration {
        let time = self.settings.server_stabilization_time;
        let is_first = self.input.membership.is_first_leadership || broken(Mutant::K55);
        let is_grace = is_first && self.observer.age(self.input.now) <= time;
        if is_grace && server.intent == Intent::Voter { Duration::ZERO } else { time }
    }

    /// Whether it has been healthy for the whole stabilization time, grace or not.
    pub(crate) fn is_stable(self, server: &ServerState) -> bool {
        let healthy_for = server.health.healthy_for(self.input.now);
        is_well(server) && healthy_for >= Some(self.settings.server_stabilization_time)
    }

    /// Why no change at all can be committed.
    pub(crate) fn lost_quorum(self) -> Option<BlockedReason> {
        let healthy = self.voters().filter(|server| server.health.is_healthy).count();
        let (voters, needed) = (self.state.voters.len(), quorum(self.state.voters.len()));
        (healthy < needed).then_some(BlockedReason::QuorumLost { healthy, voters, needed })
    }

    /// Why this voter's vote can't be spared: those that are left must have a majority that is well in this very round
    /// (A17). Nobody's vote, nothing to spare.
    pub(crate) fn needed_vote(self, server: &ServerState) -> Option<BlockedReason> {
        if !server.role.has_vote() {
            return None;
        }
        let left = || self.voters().filter(|voter| voter.id != server.id);
        let (voters, healthy) = (left().count(), left().filter(|voter| is_well(voter)).count());
        let needed = quorum(voters);
        (healthy < needed).then_some(BlockedReason::WouldLoseQuorum { healthy, voters, needed })
    }

    pub(crate) fn voters(self) -> impl Iterator<Item = &'a ServerState> {
        self.state.servers.iter().filter(|server| server.role.has_vote())
    }
}

/// Healthy, and seen so in this very round.
pub(crate) fn is_well(server: &ServerState) -> bool {
    server.health.is_healthy && server.health.sample.is_ok()
}

/// Read replicas never vote (A31).
fn is_wanted(server: &ServerState) -> bool {
    let is_replica = server.node_type == NodeType::ReadReplica && !broken(Mutant::A31Vote);
    server.role == ServerRole::NonVoter && !is_replica
}
