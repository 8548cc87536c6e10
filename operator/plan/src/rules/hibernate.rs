//! Rule 4: every Pod goes, the highest number first; claims and membership stay, and waking finds both as they were.
//!
//! Sidecars flush and hand over as they go. Not while a claim is being deleted: it would go with its Pod, and the data with
//! it (K41).

use quorate_mutants::{Mutant, broken};

use crate::plan::{Check, Step};
use crate::reason::Reason;
use crate::round::{Round, Verdict, pod_check, why};

/// Whether no Pod is to be started.
pub(crate) fn is_wanted(round: &Round<'_>) -> bool {
    round.spec().hibernate && !round.live().any(|(_, _, claim)| claim.deleting)
}

/// Rule 4.
pub(crate) fn pods(round: &mut Round<'_>) -> Verdict {
    if !round.spec().hibernate {
        return Verdict::Next;
    }
    let going = round.live().find(|(_, _, claim)| claim.deleting && !broken(Mutant::R4));
    if let Some((ordinal, _, claim)) = going {
        let member = round.pod_name(ordinal);
        let text = format!(
            "spec.hibernate waits: {} is being deleted and would go with its Pod; {member} is replaced first",
            claim.name
        );
        round.block("4", Reason::VolumeBeingDeleted, &member, text);
        return Verdict::Next;
    }
    // Those that are Retired and not yet cleared away as well.
    let mut running: Vec<_> = round
        .observed
        .slots
        .iter()
        .filter_map(|(&ordinal, slot)| {
            Some((round.pod_name(ordinal), slot.claim.as_ref()?, slot.pod.as_ref()?))
        })
        .collect();
    let Some((member, claim, pod)) = running.pop_if(|(_, _, pod)| !pod.deleting) else {
        return match running.pop() {
            Some((member, ..)) => {
                round.wait("4", Reason::Hibernating, &member, format!("{member} is stopping"));
                round.stop("4", Reason::Hibernating, format!("{member} is stopping"))
            }
            None => round.stop(
                "4",
                Reason::Hibernated,
                "no Pod runs, because spec.hibernate is set; the volumes are kept: set it to false to wake the cluster",
            ),
        };
    };
    let why = why("4", Reason::Hibernating, &member, "spec.hibernate is set; its volume is kept");
    let mut checks = vec![pod_check(pod)];
    if claim.record.is_live() {
        checks.push(Check::ClaimStays { name: claim.name.clone(), uid: claim.uid.clone() });
    }
    round.decide(Step::DeletePod { pod: pod.name.clone() }, checks, why)
}
