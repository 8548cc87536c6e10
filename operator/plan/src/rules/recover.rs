//! Rule 3: a majority is lost for good, and a person says which survivor becomes the cluster (K18).
//!
//! ```text
//!   annotation, checked ─► recovery {epoch, survivor} into status ─► every other claim Retired ─► their Pods gone
//!     ─► `Recover` on the survivor ─► it answers with the epoch ─► the epoch onto its claim ─► the cluster grows again
//! ```
//! Each arrow is its own round. Nothing is lost before the last check: until status has it on record the annotation is only
//! looked at, and says why not. From the first Retired claim on it is carried to its end: there is no way back for members
//! whose Pods went.
//! Invariant: no member of the old configuration can start below the new epoch while the survivor is recovered; its
//! Pod is gone, or the person said that it is lost.

use std::collections::{BTreeMap, BTreeSet};

use quorate_crds::Recovery;
use quorate_mutants::{Mutant, broken};

use crate::children::{label_keys, names};
use crate::observed::{Claim, Ordinal, Slot};
use crate::plan::{Check, Ensure, Event, Step};
use crate::raft_view::{MemberAnswer, quorum};
use crate::reason::Reason;
use crate::record::{LeavesBecause, MemberState, keys};
use crate::round::{Round, Verdict, claim_gone, member_of, pod_check, why};

/// What the annotation says: `<member>@<term> lost=<raft id>,<raft id>`.
struct Order<'a> {
    survivor: &'a str,
    term: i64,
    lost: BTreeSet<&'a str>,
}

impl<'a> Order<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (survivor, term) = words.next()?.split_once('@')?;
        let term = term.parse().ok()?;
        let lost = match words.next() {
            None => BTreeSet::new(),
            Some(word) => word.strip_prefix("lost=")?.split(',').filter(|id| !id.is_empty()).collect(),
        };
        words.next().is_none().then_some(Self { survivor, term, lost })
    }
}

/// The member that is to be the cluster.
struct Survivor<'a> {
    ordinal: Ordinal,
    slot: &'a Slot,
    claim: &'a Claim,
    answer: &'a MemberAnswer,
}

/// Rule 3.
pub(crate) fn quorum_lost(round: &mut Round<'_>) -> Verdict {
    if !round.is_bootstrapped() {
        return Verdict::Next;
    }
    let order = round.observed.annotation(label_keys::RECOVER).map(|text| (text, Order::parse(text)));
    let parsed = order.as_ref().and_then(|(_, order)| order.as_ref());
    let going_on = round.recovery.clone().and_then(|recovery| carry_on(round, &recovery, parsed));
    if let Some(verdict) = going_on {
        return verdict;
    }
    match order {
        None => Verdict::Next,
        Some((text, None)) => refused(
            round,
            format!(
                "annotation {} is \"{text}\" and must be <member>@<status.raft.term>, and the Raft IDs that are lost, such as \"db-1@7 lost=db-0-3f2a91c4,db-2-c01d77aa\"",
                label_keys::RECOVER
            ),
        ),
        Some((_, Some(order))) => begin(round, &order),
    }
}

fn refused(round: &mut Round<'_>, text: String) -> Verdict {
    round.block("3", Reason::RecoveringQuorum, round.observed.name(), text);
    Verdict::Next
}

/// The survivor, if it answers.
fn survivor<'a>(round: &Round<'a>, member: &str) -> Option<Survivor<'a>> {
    let ordinal = names::ordinal_of_pod(round.observed.name(), member)?;
    let slot = round.observed.slots.get(&ordinal)?;
    let (claim, answer) = (slot.claim.as_ref()?, slot.answer.as_ref()?);
    // One that was leaving, or whose claim is being deleted, may hold what nobody else does.
    let may_be = claim.record.is_live() && (claim.record.is_wanted() || !broken(Mutant::R3Leaving));
    let is_it = may_be && answer.raft_id == round.raft_id(ordinal, claim);
    is_it.then_some(Survivor { ordinal, slot, claim, answer })
}

/// Whether the recovery may begin, and why not.
fn begin(round: &mut Round<'_>, order: &Order<'_>) -> Verdict {
    let term = round.observed.cluster.status.as_ref().and_then(|status| status.raft.as_ref()?.term);
    if round.recovery.is_some() && round.view().is_some() {
        // The word of a recovery that is over.
        return Verdict::Next;
    }
    if round.view().is_some() {
        return refused(
            round,
            format!(
                "a majority confirms a leader, so nothing is recovered; remove annotation {}",
                label_keys::RECOVER
            ),
        );
    }
    if term != Some(order.term) {
        return refused(
            round,
            format!(
                "annotation {} is for term {}, and status.raft.term is {}: look at what happened since, then name the present term",
                label_keys::RECOVER,
                order.term,
                term.map_or_else(|| "not known".to_owned(), |term| term.to_string())
            ),
        );
    }
    let Some(survivor) = survivor(round, order.survivor) else {
        return refused(
            round,
            format!(
                "{} is to be recovered and does not answer as a member: start it, or name another",
                order.survivor
            ),
        );
    };
    if let Err(text) = judge(round, order, &survivor)
        && !broken(Mutant::R3)
    {
        return refused(round, text);
    }
    let epoch = survivor.answer.recovery_epoch.max(recorded(round)) + 1;
    let raft_id = survivor.answer.raft_id.clone();
    let text = format!(
        "{} becomes the one voter, at recovery epoch {epoch}; that is being recorded",
        order.survivor
    );
    let message = format!("{text}: what only the others held is lost");
    let reason = Reason::RecoveringQuorum.as_str().to_owned();
    round.events.push(Event { is_warning: true, reason, message });
    round.recovery = Some(Recovery { epoch: i64::try_from(epoch).unwrap_or(i64::MAX), raft_id });
    wait(round, order.survivor, text)
}

fn recorded(round: &Round<'_>) -> u64 {
    round.recovery.as_ref().and_then(|recovery| u64::try_from(recovery.epoch).ok()).unwrap_or(0)
}

/// K18: every other voter is gone for good, and no survivor knows more.
fn judge(round: &Round<'_>, order: &Order<'_>, survivor: &Survivor<'_>) -> Result<(), String> {
    let voters = &survivor.answer.voters;
    if !voters.contains(&survivor.answer.raft_id) {
        return Err(format!("{} has no vote in the configuration it knows: name a voter", order.survivor));
    }
    let answers: Vec<&MemberAnswer> = round
        .observed
        .slots
        .values()
        .filter_map(|slot| slot.answer.as_ref())
        .filter(|answer| voters.contains(&answer.raft_id))
        .collect();
    if answers.len() >= quorum(voters.len()) {
        return Err(format!(
            "{} of {} voters answer, which is a majority: they elect a leader by themselves; wait, or look at their logs",
            answers.len(),
            voters.len()
        ));
    }
    if let Some(further) = answers.iter().find(|answer| answer.last > survivor.answer.last) {
        return Err(format!(
            "the log of {} ends later (term {}, index {}) than that of {}: recover that one",
            member_of(&further.raft_id),
            further.last.0,
            further.last.1,
            order.survivor
        ));
    }
    let unproven: Vec<&str> = voters
        .iter()
        .map(String::as_str)
        .filter(|id| *id != survivor.answer.raft_id && !order.lost.contains(id) && !is_gone(round, id))
        .collect();
    if unproven.is_empty() {
        return Ok(());
    }
    Err(format!(
        "nothing shows that {} cannot come back: if it is so, add lost={} to annotation {}",
        unproven.join(" and "),
        unproven.join(","),
        label_keys::RECOVER
    ))
}

/// Its claim is gone, or no node can run it.
fn is_gone(round: &Round<'_>, raft_id: &str) -> bool {
    let Some(ordinal) = names::ordinal_of_pod(round.observed.name(), member_of(raft_id)) else {
        return false;
    };
    let slot = round.observed.slots.get(&ordinal);
    let claim = slot.and_then(|slot| slot.claim.as_ref());
    let Some(claim) = claim.filter(|claim| round.raft_id(ordinal, claim) == raft_id) else { return true };
    claim.is_stranded || slot.is_some_and(Slot::is_out_of_service)
}

/// A recovery on record goes on; `None` if it is over, or was never begun in earnest and its leader is back.
fn carry_on(round: &mut Round<'_>, recovery: &Recovery, order: Option<&Order<'_>>) -> Option<Verdict> {
    let epoch = u64::try_from(recovery.epoch).unwrap_or(0);
    let member = member_of(&recovery.raft_id).to_owned();
    let Some(survivor) = survivor(round, &member).filter(|it| it.answer.raft_id == recovery.raft_id) else {
        // It may leave as any other member once the cluster lives on in that epoch.
        let lives_on = lives_on(round, epoch) && !broken(Mutant::R3Over);
        return (is_begun(round, epoch) && !lives_on)
            .then(|| wait(round, &member, format!("{member} is to be the cluster, and does not answer")));
    };
    if survivor.answer.recovery_epoch >= epoch {
        if survivor.claim.record.recovery_epoch < epoch {
            note_epoch(round, survivor.claim, epoch);
            return Some(wait(
                round,
                &member,
                format!("{member} is at recovery epoch {epoch}; that is being recorded on its claim"),
            ));
        }
        return None;
    }
    // A directory below the epoch is not the one that was recovered: that one was lost later, and the others live.
    let is_over = lives_on(round, epoch);
    if is_over || !is_begun(round, epoch) && (round.view().is_some() || order.is_none()) {
        return None;
    }
    if retire_others(round, survivor.ordinal, epoch) {
        return Some(wait(round, &member, "the other members' claims are set aside".to_owned()));
    }
    if let Some(verdict) = stop_others(round, &survivor, order) {
        return Some(verdict);
    }
    let lost: Vec<String> =
        survivor.answer.voters.iter().filter(|id| **id != recovery.raft_id).cloned().collect();
    let Some(pod) = survivor.slot.pod.as_ref() else {
        return Some(wait(round, &member, format!("{member} is being started")));
    };
    let proofs = lost.iter().filter(|id| order.is_none_or(|order| !order.lost.contains(id.as_str())));
    let checks = proofs.filter_map(|id| absence(round, id)).collect();
    let step = Step::Recover { pod: pod.name.clone(), raft_id: recovery.raft_id.clone(), epoch, lost };
    let text = format!("it becomes the one voter, at recovery epoch {epoch}");
    Some(round.decide(step, checks, why("3", Reason::RecoveringQuorum, &member, text)))
}

/// A live look (K33) at a claim that is said to be gone.
fn absence(round: &Round<'_>, raft_id: &str) -> Option<Check> {
    let ordinal = names::ordinal_of_pod(round.observed.name(), member_of(raft_id))?;
    let claim = round.observed.slots.get(&ordinal).and_then(|slot| slot.claim.as_ref());
    let is_there = claim.is_some_and(|claim| round.raft_id(ordinal, claim) == raft_id);
    (!is_there).then(|| claim_gone(round.observed.name(), ordinal, raft_id))
}

fn wait(round: &mut Round<'_>, member: &str, text: String) -> Verdict {
    round.wait("3", Reason::RecoveringQuorum, member, text.clone());
    round.stop("3", Reason::RecoveringQuorum, text)
}

/// Whether the recovered cluster has a leader, or had one that others joined.
fn lives_on(round: &Round<'_>, epoch: u64) -> bool {
    round.view().is_some_and(|view| view.recovery_epoch >= epoch)
        || round.live().any(|(_, _, claim)| claim.record.recovery_epoch >= epoch)
}

/// Whether a member was given up for this recovery.
fn is_begun(round: &Round<'_>, epoch: u64) -> bool {
    round.slots_in(&[MemberState::Retired]).any(|(_, _, claim)| claim.record.given_up_for == Some(epoch))
}

fn retire_others(round: &mut Round<'_>, survivor: Ordinal, epoch: u64) -> bool {
    let others: Vec<_> = round.live().filter(|(ordinal, _, _)| *ordinal != survivor).collect();
    for (_, _, claim) in &others {
        let set = [
            (keys::MEMBER_STATE, MemberState::Retired.as_str().to_owned()),
            (keys::LEAVES_BECAUSE, LeavesBecause::GivenUp.as_str().to_owned()),
            (keys::RETIRED_AT, round.now.0.to_string()),
            (keys::GIVEN_UP_FOR, epoch.to_string()),
        ];
        round.ensures.push(Ensure::NoteOnClaim {
            claim: claim.name.clone(),
            uid: claim.uid.clone(),
            resource_version: claim.resource_version.clone(),
            set: set.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        });
    }
    !others.is_empty()
}

/// The Pods of those given up go, one a round; one that cannot confirm it counts as gone if the person said so.
fn stop_others(round: &mut Round<'_>, survivor: &Survivor<'_>, order: Option<&Order<'_>>) -> Option<Verdict> {
    let member = round.pod_name(survivor.ordinal);
    let others = round.observed.slots.iter().filter(|(ordinal, _)| **ordinal != survivor.ordinal);
    let pods: Vec<_> = others.filter_map(|(_, slot)| slot.pod.as_ref()).collect();
    if let Some(pod) = pods.iter().find(|pod| !pod.deleting) {
        let text = format!("{member} becomes the cluster, and {} is given up", pod.name);
        let why = why("3", Reason::RecoveringQuorum, &pod.name, text);
        return Some(round.decide(Step::DeletePod { pod: pod.name.clone() }, vec![pod_check(pod)], why));
    }
    let is_said = |id: Option<&str>| order.is_some_and(|order| id.is_some_and(|id| order.lost.contains(id)));
    let left =
        pods.iter().find(|pod| !is_said(pod.raft_id.as_deref()) && !is_on_a_lost_node(round, &pod.name))?;
    let text = format!(
        "{} is stopping; if its node is lost, add its Raft ID {} to lost= in annotation {}",
        left.name,
        left.raft_id.as_deref().unwrap_or("?"),
        label_keys::RECOVER
    );
    Some(wait(round, &member, text))
}

/// A Pod that Kubernetes took away and that was made again is on no node: then the nodes of its volume say it (K49).
fn is_on_a_lost_node(round: &Round<'_>, pod: &str) -> bool {
    let ordinal = names::ordinal_of_pod(round.observed.name(), pod);
    let slot = ordinal.and_then(|ordinal| round.observed.slots.get(&ordinal));
    slot.is_some_and(Slot::is_out_of_service)
}

/// A survivor that was leaving stays: the person's word is newer, and the cluster cannot grow while it waits to leave (the
/// one exception to K34).
fn note_epoch(round: &mut Round<'_>, claim: &Claim, epoch: u64) {
    let mut set: BTreeMap<String, String> = [(keys::RECOVERY_EPOCH.to_owned(), epoch.to_string())].into();
    if claim.record.state == Some(MemberState::Leaving) {
        set.insert(keys::MEMBER_STATE.to_owned(), MemberState::Member.as_str().to_owned());
    }
    round.ensures.push(Ensure::NoteOnClaim {
        claim: claim.name.clone(),
        uid: claim.uid.clone(),
        resource_version: claim.resource_version.clone(),
        set,
    });
}
