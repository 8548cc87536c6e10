//! From what a promoter wants to the steps of a round (`autopilot.md` §1.5).
//!
//! ```text
//!  odd number of voters: demote one unhealthy voter that is to go    3 → 2 → 3 keeps a quorum of 2 throughout;
//!  then: promotions ── or, if there is none: demotions               promoting first would ask for 3 of 4 (PR #55)
//!                   ── or, if there is none: a transfer
//! ```
//!
//! Only the first step that is allowed is carried out in a round; the next round plans again on what it finds. The
//! leader is never demoted (A11; upstream would): first it hands over.

use quorate_mutants::{Mutant, broken};
use quorate_raft::ServerId;

use crate::state::{ServerRole, ServerState};

/// What a promoter wants, in its order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Who is to get a vote.
    pub promotions: Vec<ServerId>,
    /// Who is to lose it.
    pub demotions: Vec<ServerId>,
    /// Who is to lead; `None`: whoever does.
    pub leader: Option<ServerId>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Give it a vote.
    Promote(ServerId),
    /// Take its vote.
    Demote(ServerId),
    /// Hand leadership to it.
    Transfer(ServerId),
}

/// The steps of a round, in order. Unknown servers, promotions of voters or unhealthy servers and demotions of
/// non-voters are left out.
pub fn steps(servers: &[ServerState], changes: &Changes) -> Vec<Step> {
    let server = |id: &ServerId| servers.iter().find(|server| server.id == *id);
    let has_vote = |id: &ServerId| server(id).is_some_and(|server| server.role.has_vote());
    let is_healthy = |id: &ServerId| server(id).is_some_and(|server| server.health.is_healthy);
    let leads = |id: &ServerId| server(id).is_some_and(|server| server.role == ServerRole::Leader);
    let demotable = |id: &&ServerId| has_vote(id) && (!leads(id) || broken(Mutant::A11Leader));
    let promotable = |id: &&ServerId| server(id).is_some() && !has_vote(id) && is_healthy(id);

    let voters = servers.iter().filter(|server| server.role.has_vote()).count();
    let is_odd = voters % 2 == 1 && !broken(Mutant::A27);
    let first = changes.demotions.iter().filter(demotable).find(|id| is_odd && !is_healthy(id));
    let mut steps: Vec<Step> = first.cloned().map(Step::Demote).into_iter().collect();
    let before = steps.len();
    steps.extend(changes.promotions.iter().filter(promotable).cloned().map(Step::Promote));
    if steps.len() > before {
        return steps;
    }
    let others = changes.demotions.iter().filter(demotable).filter(|id| Some(*id) != first);
    steps.extend(others.cloned().map(Step::Demote));
    if steps.is_empty() {
        let target = changes.leader.iter().filter(|id| server(id).is_some() && !leads(id));
        steps.extend(target.cloned().map(Step::Transfer));
    }
    steps
}
