//! Rule 10: a Raft ID in the configuration whose volume is gone, replaced or emptied.
//!
//! The volume's identity wins: such an ID can never answer again as itself (K1), so it leaves, by its name and
//! incarnation, with no wait. The claim's absence is proved by a live look right before the call (K33).
//! Not here: the replacement that joins first when removal alone would be too much (rule 15).

use quorate_mutants::{Mutant, broken};

use crate::children::names;
use crate::limits::HEARD_RECENTLY;
use crate::observed::Ordinal;
use crate::plan::{Event, Fact, FactKind, RemoveReason, Step};
use crate::raft_view::{RaftView, ServerView};
use crate::reason::Reason;
use crate::round::{Majority, Round, Verdict, claim_gone, configuration_check, member_of, why};
use crate::rules::fence::is_fenced;
use crate::rules::leave::hand_over;

/// How a server lost its volume.
enum Loss {
    /// The claim is gone, or another one has its name.
    ClaimGone { ordinal: Ordinal },
    /// The claim is the same, and the directory on it another.
    Emptied,
}

/// Servers of the configuration whose volume is lost.
pub(crate) fn lost_ids(round: &Round<'_>) -> Vec<String> {
    let Some(view) = round.view() else { return Vec::new() };
    view.servers
        .iter()
        .filter(|server| loss(round, server).is_some())
        .map(|server| server.raft_id.clone())
        .collect()
}

/// Rule 10.
pub(crate) fn volumes(round: &mut Round<'_>) -> Verdict {
    let Some(view) = round.view() else { return Verdict::Next };
    for server in &view.servers {
        let Some(loss) = loss(round, server) else { continue };
        round.facts.push(Fact {
            raft_id: server.raft_id.clone(),
            incarnation: server.incarnation.clone(),
            kind: FactKind::VolumeLost,
            observed: round.now,
        });
        if round.step.is_none() {
            remove(round, view, server, &loss);
        }
    }
    if round.step.is_some() { Verdict::End } else { Verdict::Next }
}

fn loss(round: &Round<'_>, server: &ServerView) -> Option<Loss> {
    let ordinal = names::ordinal_of_pod(round.observed.name(), member_of(&server.raft_id))?;
    if is_fenced(round, ordinal) {
        return None;
    }
    let slot = round.observed.slots.get(&ordinal);
    let claim = slot.and_then(|slot| slot.claim.as_ref());
    let Some(claim) = claim.filter(|claim| round.raft_id(ordinal, claim) == server.raft_id) else {
        return Some(Loss::ClaimGone { ordinal });
    };
    let answer = slot.and_then(|slot| slot.answer.as_ref());
    let answers_as_another = answer
        .is_some_and(|answer| answer.raft_id == server.raft_id && answer.incarnation != server.incarnation);
    // A Leaving member goes by rule 12 whatever became of its volume.
    let is_emptied = claim.record.is_wanted() && (server.is_volume_lost || answers_as_another);
    is_emptied.then_some(Loss::Emptied)
}

fn remove(round: &mut Round<'_>, view: &RaftView, server: &ServerView, loss: &Loss) {
    let id = &server.raft_id;
    let member = member_of(id);
    let what = match loss {
        Loss::ClaimGone { .. } => "its volume claim is gone",
        Loss::Emptied => "its volume was emptied or exchanged",
    };
    let left = Majority::without(view, id);
    if server.is_voter && !left.holds() {
        let text = format!("{id} cannot be removed though {what}: {left}; bring another voter back first");
        return round.block("10", Reason::WaitingForQuorum, member, text);
    }
    if view.leader == server.raft_id {
        // Only its claim object is gone; the process has the volume mounted and leads.
        let successor = round.successor(&server.raft_id, |_, _, _| true);
        return hand_over(round, "10", server, successor, "leave", vec![configuration_check(view)]);
    }
    if server.last_contact.is_some_and(|age| age < HEARD_RECENTLY) && !broken(Mutant::R10) {
        let text = format!(
            "{id} is to be removed because {what}, and the leader heard it within the last 10 s; waiting"
        );
        return round.wait("10", Reason::VolumeLost, member, text);
    }
    let mut checks = vec![configuration_check(view)];
    if let Loss::ClaimGone { ordinal } = loss
        && !broken(Mutant::K33)
    {
        checks.push(claim_gone(round.observed.name(), *ordinal, id));
    }
    let text = if server.is_voter {
        format!("{what}; without it {left}")
    } else {
        format!("{what}; it has no vote")
    };
    let why = why("10", Reason::VolumeLost, member, text);
    let step = Step::Remove {
        raft_id: id.clone(),
        incarnation: server.incarnation.clone(),
        reason: RemoveReason::VolumeLost,
    };
    round.decide(step, checks, why);
    let message = format!("{member} has left as {id}: {what}");
    round.tell_when_done(Event { is_warning: true, reason: "MemberRemoved".to_owned(), message });
}
