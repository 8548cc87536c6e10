//! Pods: the stale one (0), the missing one (E1), the one its own template keeps from starting (E2).
//!
//! None of these needs a leader. A Pod that comes back brings the same claim and so the same Raft ID.

use quorate_mutants::{Mutant, broken};

use crate::children::pod::{Identity, pod};
use crate::children::{Rendering, names};
use crate::limits::START_TROUBLE;
use crate::observed::{Claim, ContainerState, Now, Ordinal, Pod, PodPhase, Slot};
use crate::obstacle;
use crate::plan::{Check, Ensure, Step};
use crate::reason::Reason;
use crate::record::MemberState;
use crate::round::{Round, Verdict, pod_check, why};
use crate::rules::{fence, hibernate};

/// Rule 0: a Pod that never ran holds up a slot with a claim that is not the slot's any more (K35).
pub(crate) fn stale_volume(round: &mut Round<'_>) -> Verdict {
    for (&ordinal, slot) in &round.observed.slots {
        let (Some(claim), Some(pod)) = (&slot.claim, &slot.pod) else { continue };
        let is_ours = pod.controller_uid.as_deref() == Some(round.observed.uid());
        if !is_ours
            || pod.deleting
            || pod.sidecar_ran
            || broken(Mutant::R0)
            || pod.claim_uid.as_deref() == Some(&claim.uid)
        {
            continue;
        }
        let member = round.pod_name(ordinal);
        let text =
            format!("Pod {member} was made for another volume claim than {}, and never ran", claim.name);
        let why = why("0", Reason::StaleVolume, &member, text);
        round.decide(Step::DeletePod { pod: pod.name.clone() }, vec![pod_check(pod)], why);
        break;
    }
    Verdict::Next
}

/// Rule E1: every live slot has a Pod, Leaving ones included until their ID is gone.
pub(crate) fn members(round: &mut Round<'_>) -> Verdict {
    for (ordinal, slot, claim) in round.live().collect::<Vec<_>>() {
        let member = round.pod_name(ordinal);
        obstacle::report(round, ordinal, slot, claim);
        if claim.deleting || has_left(round, ordinal, claim) {
            // No node would mount a claim that is being deleted; without its Pod it goes, and rule 10 follows.
            continue;
        }
        match &slot.pod {
            Some(pod)
                if !pod.deleting
                    && !broken(Mutant::E1)
                    && matches!(pod.phase, PodPhase::Failed | PodPhase::Succeeded) =>
            {
                round.wait(
                    "E1",
                    Reason::StartingMember,
                    &member,
                    format!("Pod {member} has ended and is made anew"),
                );
                round.ensures.push(Ensure::DeleteEndedPod {
                    pod: pod.name.clone(),
                    uid: pod.uid.clone(),
                    resource_version: pod.resource_version.clone(),
                });
            }
            Some(_) => {}
            None if hibernate::is_wanted(round) || fence::is_fenced(round, ordinal) => {}
            None => create(round, ordinal, claim, &member),
        }
    }
    Verdict::Next
}

/// Whether a Leaving slot's ID is known to be gone: only a view can tell.
fn has_left(round: &Round<'_>, ordinal: Ordinal, claim: &Claim) -> bool {
    claim.record.state == Some(MemberState::Leaving)
        && round.view().is_some_and(|view| !view.holds(&round.raft_id(ordinal, claim)))
}

/// The Pod, once its certificate is there: kubelets retry a missing Secret only after a while.
fn create(round: &mut Round<'_>, ordinal: Ordinal, claim: &Claim, member: &str) {
    let Some(cluster_id) = round.cluster_id.clone() else { return };
    let recorded = round.observed.cluster.status.as_ref().and_then(|status| status.cluster_id.as_ref());
    if recorded != Some(&cluster_id) {
        return;
    }
    let raft_id = round.raft_id(ordinal, claim);
    round.wait("E1", Reason::StartingMember, member, format!("Pod {member} is being started"));
    let certificate = round.observed.children.certificates.get(&ordinal);
    if !certificate.is_some_and(|found| found.is_for(&raft_id)) {
        return;
    }
    let identity = Identity {
        ordinal,
        claim_uid: claim.uid.clone(),
        raft_id,
        cluster_id,
        recovery_epoch: claim.record.recovery_epoch,
    };
    round.ensures.push(Ensure::CreatePod(Box::new(pod(Rendering::of(round.observed), &identity))));
}

/// Rule E2: an outdated Pod that does not start by its own template gets the current one.
pub(crate) fn fix_template(round: &mut Round<'_>) -> Verdict {
    let current = Rendering::of(round.observed).template_hash();
    let pods: Vec<_> = round
        .live()
        .filter(|(ordinal, _, claim)| !claim.deleting && !fence::is_fenced(round, *ordinal))
        .filter_map(|(ordinal, slot, claim)| slot.pod.as_ref().map(|pod| (ordinal, slot, claim, pod)))
        .filter(|(_, _, _, pod)| !pod.deleting && pod.controller_uid.as_deref() == Some(round.observed.uid()))
        .collect();
    let is_current = |pod: &Pod| pod.template_hash.as_deref() == Some(&current);
    let stuck: Vec<_> =
        pods.into_iter().filter(|(o, slot, c, pod)| is_stuck(round, *o, slot, c, pod)).collect();
    // The current template fails as well: another replacement would change nothing.
    let current_fails = stuck.iter().any(|(_, _, _, pod)| is_current(pod));
    let Some((ordinal, _, claim, pod)) = stuck.into_iter().find(|(_, _, _, pod)| !is_current(pod)) else {
        return Verdict::Next;
    };
    let member = names::pod(round.observed.name(), ordinal);
    if current_fails && !broken(Mutant::E2Both) {
        let text = format!(
            "Pod {member} does not start with an older template, and the current one fails elsewhere too: correct spec.template"
        );
        round.block("E2", Reason::FixingTemplate, &member, text);
        return Verdict::Next;
    }
    let text =
        format!("Pod {member} has not started for 30 s with an older template; the current one is tried");
    let why = why("E2", Reason::FixingTemplate, &member, text);
    let stays = Check::ClaimStays { name: claim.name.clone(), uid: claim.uid.clone() };
    round.decide(Step::DeletePod { pod: pod.name.clone() }, vec![pod_check(pod), stays], why)
}

/// Not running for 30 s by a Ready node's report (or on no node at all), and nobody hears it.
fn is_stuck(round: &Round<'_>, ordinal: Ordinal, slot: &Slot, claim: &Claim, pod: &Pod) -> bool {
    let since = match &pod.sidecar {
        ContainerState::Running { .. } => return false,
        ContainerState::Terminated(exit) => exit.at.max(pod.created),
        ContainerState::Waiting { .. } | ContainerState::NotStarted => {
            pod.last_exit.as_ref().map_or(Now(0), |exit| exit.at).max(pod.created)
        }
    };
    let is_reported = pod.node.is_none() || slot.node.as_ref().is_some_and(|node| node.ready);
    let is_heard = round.server(ordinal, claim).is_some_and(|server| {
        server.is_healthy || server.last_contact.is_some_and(|age| age < START_TROUBLE)
    });
    let is_silent = slot.answer.is_none() && !is_heard || broken(Mutant::E2Heard);
    is_reported && is_silent && round.now.since(since) >= START_TROUBLE
}
