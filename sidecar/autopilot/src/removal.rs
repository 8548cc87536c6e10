//! Which dead servers leave the configuration (`autopilot.md` §1.6 with the rules of §6b).
//!
//! Dead is who was silent for the whole dead server threshold, in this leader's own ears. What nobody knows is no
//! reason (A15, A16): whoever is absent from this round's statistics stays, and a new leader removes nobody before it has
//! heard everyone, or has listened for a whole threshold.
//!
//! ```text
//!   voters  ├──────────────────── n ────────────────────┤
//!           min_quorum ≤ n - 1 │ at most (n - 1)/2 within one threshold │ of those left a majority is well now
//! ```
//!
//! A dead voter that may not be missed stays until a stable server takes its vote (`promotion::swap`).
//! The window lives in this leader's memory. A later leader needs none: whoever is dead to it was silent for a whole
//! threshold of its own leadership, and by then the window of the last one is over.

use std::time::Duration;

use quorate_mutants::{Mutant, broken};

use crate::blocked::BlockedReason;
use crate::scene::Scene;
use crate::state::{NodeType, ServerState};

/// Those whose removal is wanted: non-voters first, then by ID, as upstream.
pub(crate) fn wanted(scene: Scene<'_>) -> Vec<&ServerState> {
    let is_wanted = |server: &&ServerState| server.is_dead && !server.health.is_healthy;
    let mut dead: Vec<&ServerState> = scene.state.servers.iter().filter(is_wanted).collect();
    dead.sort_by_key(|server| (server.role.has_vote(), &server.id));
    dead
}

/// Whether nothing but numbers keeps a dead server: it may be swapped for another.
pub(crate) fn is_due(scene: Scene<'_>, server: &ServerState) -> bool {
    server.is_dead && !server.health.is_healthy && unready(scene, server).is_none()
}

/// Why the server stays.
pub(crate) fn obstacle(scene: Scene<'_>, server: &ServerState) -> Option<BlockedReason> {
    unready(scene, server)
        .or_else(|| scene.lost_quorum().filter(|_| !broken(Mutant::A17Lost)))
        .or_else(|| at_min_quorum(scene, server).filter(|_| !broken(Mutant::A14)))
        .or_else(|| over_limit(scene, server).filter(|_| !broken(Mutant::A13)))
        .or_else(|| scene.needed_vote(server).filter(|_| !broken(Mutant::A17Healthy)))
}

fn unready(scene: Scene<'_>, server: &ServerState) -> Option<BlockedReason> {
    if !scene.settings.cleanup_dead_servers && !broken(Mutant::A20Cleanup) {
        return Some(BlockedReason::CleanupDisabled);
    }
    if !scene.input.stats.contains_key(&server.id) && !broken(Mutant::A15Known) {
        return Some(BlockedReason::NothingKnown);
    }
    let missing =
        scene.settings.dead_server_last_contact_threshold.saturating_sub(scene.observer.age(scene.input.now));
    let is_unheard = |server: &ServerState| server.stats.last_contact.is_none();
    let listens = missing > Duration::ZERO && scene.state.servers.iter().any(is_unheard);
    (listens && !broken(Mutant::A15Leader)).then_some(BlockedReason::LeaderIsNew { missing })
}

/// Fewer voters than wanted, or fewer servers that are meant to vote (vector 44).
fn at_min_quorum(scene: Scene<'_>, server: &ServerState) -> Option<BlockedReason> {
    let potential = |other: &&ServerState| other.node_type != NodeType::ReadReplica;
    let left = match (server.role.has_vote(), server.node_type) {
        (true, _) if !broken(Mutant::A17Potential) => scene.state.voters.len().saturating_sub(1),
        (_, NodeType::ReadReplica) => return None,
        (_, _) => scene.state.servers.iter().filter(potential).count().saturating_sub(1),
    };
    let (min_quorum, source) = (scene.settings.min_quorum, scene.settings.min_quorum_source);
    (u32::try_from(left).unwrap_or(u32::MAX) < min_quorum).then_some(BlockedReason::MinQuorum {
        left,
        min_quorum,
        source,
    })
}

/// A strict minority of the voters, counted over the window (consul PR #4017).
fn over_limit(scene: Scene<'_>, server: &ServerState) -> Option<BlockedReason> {
    if !server.role.has_vote() {
        return None;
    }
    let within = scene.settings.dead_server_last_contact_threshold;
    let removed = scene.observer.voters_removed(scene.input, within);
    let removed = if broken(Mutant::A13Window) { 0 } else { removed };
    let voters = scene.state.voters.len() + removed;
    let limit = voters.saturating_sub(1) / 2;
    (removed >= limit).then_some(BlockedReason::RemovalLimit { removed, voters, within })
}
