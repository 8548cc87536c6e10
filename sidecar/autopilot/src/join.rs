//! `AddServer` and `RemoveServer` as upstream has them (`autopilot.md` §1.7), for the conformance vectors alone.
//!
//! No call of ours reaches this: addresses may repeat and move here, and whoever holds an address is never removed for
//! it (K16, A19). An address of a known ID is recorded in place, without a removal.

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Address, Server, ServerId, Suffrage};

use crate::state::quorum;

/// One change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinStep {
    /// Take it out: its address is wanted for another.
    Remove(ServerId),
    /// Add it, or record its address, with a vote.
    AddVoter(ServerId, Address),
    /// Add it, or record its address, without a vote.
    AddNonVoter(ServerId, Address),
}

/// Upstream's refusal, in its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Preventing server addition that would require removal of too many servers and cause cluster instability"
)]
pub struct TooManyRemovals;

/// What it takes that `id` is in the configuration at `address`. Nothing, if it is.
pub fn add_server(
    servers: &[Server],
    id: &ServerId,
    address: &Address,
) -> Result<Vec<JoinStep>, TooManyRemovals> {
    let has_vote = |server: &&Server| server.suffrage.has_vote();
    let known = servers.iter().find(|server| server.id == *id);
    if known.is_some_and(|server| server.address == *address) {
        return Ok(Vec::new());
    }
    let holders = || servers.iter().filter(|server| server.address == *address && server.id != *id);
    let voters = servers.iter().filter(has_vote).count();
    let is_too_many = holders().filter(has_vote).count() > voters.saturating_sub(quorum(voters));
    if is_too_many && !broken(Mutant::A19) {
        return Err(TooManyRemovals);
    }
    let (voting, others): (Vec<&Server>, Vec<&Server>) = holders().partition(has_vote);
    let removals = voting.into_iter().chain(others).map(|server| JoinStep::Remove(server.id.clone()));
    let keeps_vote = known.is_some_and(|server| server.suffrage != Suffrage::NonVoter);
    let addition = if keeps_vote { JoinStep::AddVoter } else { JoinStep::AddNonVoter };
    Ok(removals.chain([addition(id.clone(), address.clone())]).collect())
}

/// What it takes that `id` is not in the configuration. Nothing, if it is not.
pub fn remove_server(servers: &[Server], id: &ServerId) -> Vec<JoinStep> {
    let known = servers.iter().any(|server| server.id == *id);
    known.then(|| JoinStep::Remove(id.clone())).into_iter().collect()
}

/// Carries the steps out, one after the other. The first failure ends it; otherwise: whether anything was done, after
/// which upstream looks for dead servers at once.
pub fn carry_out<E>(
    steps: &[JoinStep],
    mut change: impl FnMut(&JoinStep) -> Result<(), E>,
) -> Result<bool, E> {
    steps.iter().try_for_each(&mut change)?;
    Ok(!steps.is_empty())
}
