//! The rules in their order.
//!
//! A rule matches only when its step is feasible now; otherwise it says what holds it back, and the next rule is
//! tried. Numbers are those of the planner's page and never change.

use std::time::Duration;

use quorate_mutants::{Mutant, broken};

use crate::limits::{LOOK_AGAIN_BLOCKED, LOOK_AGAIN_SETTLED, LOOK_AGAIN_SOON};
use crate::observed::{Now, Observed};
use crate::plan::Plan;
use crate::round::{Round, Verdict};
use crate::rules::{
    bootstrap, broken, expand, fence, grow, hibernate, join, leave, lost, recover, replace, rollout, shrink,
    start, stop,
};
use crate::{status, upkeep};

type Rule = fn(&mut Round<'_>) -> Verdict;

/// What needs no leader and goes on while paused.
const ALWAYS: &[Rule] = &[
    start::stale_volume, // 0
    stop::deleting,      // 1
    stop::name_conflict, // K45
    stop::publishing,    // K32
    stop::failed,
    upkeep::ensure,
    replace::malformed, // 15
    fence::unknown,
    start::members, // E1, before 2: a pause does not stop restarts (K48)
    stop::paused,   // 2
];

/// Each of these may decide the one step of the round (I1).
const STEPS: &[Rule] = &[
    expand::volumes,             // an ensure, after 2: a pause stops it
    recover::quorum_lost,        // 3
    hibernate::pods,             // 4
    start::fix_template,         // E2
    bootstrap::begin,            // 5
    bootstrap::all_members_lost, // 6
    stop::no_view,               // 7
    stop::configuration_changes, // 8
    fence::pods,                 // what a person keeps from running
    lost::volumes,               // 10
    broken::members,             // 11
    leave::finish,               // 12
    shrink::mark,                // 13
    rollout::non_voters,         // 14
    replace::voters,             // 9, 15
    join::wait_for_vote,         // 16
    join::add,                   // 17
    grow::make_slot,             // 18
    rollout::voters,             // 19
];

/// The planner: pure, the same input gives the same output (I7).
pub fn plan(observed: &Observed, now: Now) -> Plan {
    let mut round = Round::new(observed, now);
    let ended = ALWAYS.iter().any(|rule| rule(&mut round) == Verdict::End);
    if !ended {
        for rule in STEPS {
            // Rule 0 may have taken the step already.
            let is_over = round.step.is_some() || rule(&mut round) == Verdict::End;
            if is_over && !broken(Mutant::I1) {
                break;
            }
        }
    }
    let look_again = look_again(&round);
    let (status, events, is_quorum_missing) = status::conclude(&round);
    let recorded = observed.cluster.status.as_ref();
    let status_is_guarded = status.cluster_id.as_ref() != recorded.and_then(|old| old.cluster_id.as_ref())
        || status.founder.as_ref() != recorded.and_then(|old| old.founder.as_ref())
        || status.recovery.as_ref() != recorded.and_then(|old| old.recovery.as_ref());
    Plan {
        ensures: round.ensures,
        step: round.step,
        facts: round.facts,
        status,
        status_is_guarded,
        blocked: round.blocked,
        events,
        is_quorum_missing,
        look_again,
    }
}

fn look_again(round: &Round<'_>) -> Duration {
    let is_ill = round.view().is_none_or(|view| view.servers.iter().any(|server| !server.is_healthy));
    if round.step.is_some() || !round.ensures.is_empty() {
        LOOK_AGAIN_SOON
    } else if !round.blocked.is_empty() {
        // What waits for a person, a node or an image waits for long.
        LOOK_AGAIN_BLOCKED
    } else if !round.pending.is_empty() {
        LOOK_AGAIN_SOON
    } else if round.stopped.is_some() || is_ill {
        LOOK_AGAIN_BLOCKED
    } else {
        LOOK_AGAIN_SETTLED
    }
}
