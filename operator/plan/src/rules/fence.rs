//! Fencing: a member that a person keeps from running, by annotation.
//!
//! Its Pod goes, by eviction and after a hand-over, and is not started again until the annotation is gone. It keeps its
//! volume, its Raft ID and its vote: it counts as unavailable by choice, and no rule removes or replaces it meanwhile.
//! Refused where the rest would have no healthy majority (I2).

use crate::children::label_keys;
use crate::observed::Ordinal;
use crate::plan::{Check, Step};
use crate::raft_view::quorum;
use crate::reason::Reason;
use crate::round::{Round, Verdict, configuration_check, pod_check, why};
use crate::rules::leave::hand_over;

const RULE: &str = "fence";

/// Whether a person keeps this member from running.
pub(crate) fn is_fenced(round: &Round<'_>, ordinal: Ordinal) -> bool {
    let name = round.pod_name(ordinal);
    named(round).any(|fenced| fenced == name)
}

fn named<'a>(round: &Round<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    let text = round.observed.annotation(label_keys::FENCE).unwrap_or_default();
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// A name that is no member's would be believed to be fenced.
pub(crate) fn unknown(round: &mut Round<'_>) -> Verdict {
    let members: Vec<String> = round.live().map(|(ordinal, _, _)| round.pod_name(ordinal)).collect();
    let strangers: Vec<&str> = named(round).filter(|name| !members.iter().any(|it| it == name)).collect();
    if !strangers.is_empty() {
        let text = format!(
            "annotation {} names {}, and members are {}: write their names with commas between them",
            label_keys::FENCE,
            strangers.join(", "),
            members.join(", ")
        );
        round.block(RULE, Reason::Fenced, round.observed.name(), text);
    }
    Verdict::Next
}

/// Takes fenced members down, one a round.
pub(crate) fn pods(round: &mut Round<'_>) -> Verdict {
    let Some(view) = round.view() else { return Verdict::Next };
    for (ordinal, slot, claim) in round.live().collect::<Vec<_>>() {
        if !is_fenced(round, ordinal) {
            continue;
        }
        let member = round.pod_name(ordinal);
        let Some(pod) = slot.pod.as_ref().filter(|pod| !pod.deleting) else {
            let text = format!(
                "{member} is fenced: it is not started until annotation {} names it no more; it keeps its volume and its vote",
                label_keys::FENCE
            );
            round.block(RULE, Reason::Fenced, &member, text);
            continue;
        };
        if claim.deleting {
            let text = format!(
                "{member} cannot be fenced: {} is being deleted and would go with its Pod",
                claim.name
            );
            round.block(RULE, Reason::VolumeBeingDeleted, &member, text);
            continue;
        }
        let mut checks = vec![configuration_check(view)];
        let server = round.server(ordinal, claim).filter(|server| server.is_voter);
        if let Some(server) = server {
            let healthy = view.voters().filter(|it| it.is_healthy && it.raft_id != server.raft_id).count();
            let (voters, needed) = (view.voter_count(), quorum(view.voter_count()));
            if healthy < needed {
                let text = format!(
                    "{member} cannot be fenced: {healthy} of {voters} voters would be healthy and a write needs {needed}; bring the others back, or set spec.hibernate to stop them all"
                );
                round.block(RULE, Reason::WaitingForQuorum, &member, text);
                continue;
            }
            if server.raft_id == view.leader {
                let successor = round.successor(&server.raft_id, |_, _, _| true);
                hand_over(round, RULE, server, successor, "be fenced", checks);
                return if round.step.is_some() { Verdict::End } else { Verdict::Next };
            }
        }
        checks.push(pod_check(pod));
        checks.push(Check::ClaimStays { name: claim.name.clone(), uid: claim.uid.clone() });
        let why = why(RULE, Reason::Fenced, &member, "a person keeps it from running; its volume is kept");
        return round.decide(Step::EvictPod { pod: pod.name.clone() }, checks, why);
    }
    Verdict::Next
}
