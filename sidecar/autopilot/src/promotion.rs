//! Who is wanted to vote where there are neither zones nor an upgrade: every non-voter that is meant to (P5).
//!
//! A promotion never costs a quorum: with h of n voters healthy, h >= n/2 + 1 gives h + 1 >= (n + 1)/2 + 1.
//! A replacement takes the vote of a voter that is gone, dead or leaving (K15): n stays and h does not fall, for the
//! newcomer is healthy.

use quorate_mutants::{Mutant, broken};
use quorate_raft::ServerId;

use crate::action::ActionKind;
use crate::blocked::BlockedReason;
use crate::scene::Scene;
use crate::state::{NodeStatus, ServerState};
use crate::{removal, upgrade, zone};

/// What the promoter in force wants.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Who is to get a vote, once it is stable.
    pub(crate) promotions: Vec<ServerId>,
    /// Who is to lose it.
    pub(crate) demotions: Vec<ServerId>,
    /// Who is to lead.
    pub(crate) leader: Option<ServerId>,
    /// What it holds back itself.
    pub(crate) held: Vec<Held>,
}

/// Something wanted and held back.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) action: ActionKind,
    pub(crate) server: ServerId,
    pub(crate) reason: BlockedReason,
}

impl Held {
    pub(crate) fn promotion(server: &ServerState, reason: BlockedReason) -> Self {
        Self { action: ActionKind::Promote, server: server.id.clone(), reason }
    }
}

/// What is wanted now: votes for newer servers while an upgrade is under way, one voter per zone where there are zones,
/// and a vote for everybody who is meant to have one elsewhere. Replacements of servers that are still there are not
/// among them: they take a vote over.
pub(crate) fn wishes(scene: Scene<'_>) -> Wishes {
    let candidates = scene.wanted().filter(|server| scene.replaced(server).is_none());
    let mut wishes = Wishes::default();
    let mut eligible = Vec::new();
    for server in candidates {
        match upgrade::held(scene, server) {
            Some(reason) => wishes.held.push(Held::promotion(server, reason)),
            None => eligible.push(server),
        }
    }
    upgrade::add_wishes(scene, &mut wishes);
    if scene.settings.has_zones() {
        zone::add_wishes(scene, &eligible, &mut wishes);
    } else {
        wishes.promotions.extend(eligible.iter().map(|server| server.id.clone()));
    }
    wishes
}

/// A voter whose vote goes to a stable server that is there, in one change: one that is leaving, to a stand-by of its
/// zone; one that is dead and can't be removed because no voter may be missed, to any newcomer (A17, K15; vault #18004).
pub(crate) fn swap<'a>(scene: Scene<'a>, wishes: &Wishes) -> Option<(&'a ServerState, &'a ServerState)> {
    let ready = || scene.wanted().filter(move |new| scene.own_obstacle(new).is_none());
    let olds = scene.voters().filter(|old| !scene.input.membership.is_leader(&old.id));
    for old in olds.filter(|old| !scene.has_replacement(&old.id)) {
        let new = if scene.settings.has_zones() {
            let stands_by = |new: &&ServerState| new.zone.is_some() && new.zone == old.zone;
            ready()
                .filter(|new| old.status == NodeStatus::Left && scene.replaced(new).is_none())
                .filter(|new| upgrade::held(scene, new).is_none())
                .find(stands_by)
        } else {
            let is_due = removal::is_due(scene, old) && is_at_min_quorum(scene);
            ready().find(|new| is_due && wishes.promotions.contains(&new.id))
        };
        if let Some(new) = new {
            return Some((old, new));
        }
    }
    None
}

fn is_at_min_quorum(scene: Scene<'_>) -> bool {
    u32::try_from(scene.state.voters.len()) == Ok(scene.settings.min_quorum) || broken(Mutant::K15Swap)
}

/// Whether its vote may go to its replacement: it is declared to go, gone, or dead, that is silent for the whole
/// threshold as this leader knows (K15). A demoted one has no vote to hand over and stays until it is removed.
pub(crate) fn may_be_replaced(old: &ServerState) -> bool {
    old.role.has_vote() && (matches!(old.status, NodeStatus::Left | NodeStatus::Failed) || old.is_dead)
}
