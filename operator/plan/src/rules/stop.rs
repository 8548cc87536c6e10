//! Rules that end a round: deletion (1), foreign objects (K45), pause (2), no view (7), a change in flight (8).

use quorate_mutants::{Mutant, broken};

use crate::children::{label_keys, names};
use crate::limits::LEASE_SILENCE;
use crate::observed::Child;
use crate::obstacle::quote;
use crate::raft_view::RaftView;
use crate::reason::Reason;
use crate::round::{Round, Verdict, member_of};
use crate::words::age;

/// Rule 1: owner references do the rest (K41); nothing is created under an object that goes.
pub(crate) fn deleting(round: &mut Round<'_>) -> Verdict {
    if round.observed.cluster.metadata.deletion_timestamp.is_none() {
        return Verdict::Next;
    }
    round.stop(
        "1",
        Reason::Deleting,
        "the resource is being deleted; its children follow by their owner references",
    )
}

/// K45: what we did not make is never adopted.
pub(crate) fn name_conflict(round: &mut Round<'_>) -> Verdict {
    let observed = round.observed;
    let (cluster, uid) = (observed.name(), observed.uid());
    let children = &observed.children;
    let mut foreign: Vec<String> = [
        ("Service", names::members_service(cluster), &children.members_service),
        ("Service", names::read_service(cluster), &children.read_service),
        ("Service", names::leader(cluster), &children.leader_service),
        ("EndpointSlice", names::leader(cluster), &children.leader_slice),
        ("Lease", names::leader(cluster), &children.leader_lease),
        ("PodDisruptionBudget", names::budget(cluster), &children.budget),
        ("ServiceAccount", names::access(cluster), &children.service_account),
        ("Role", names::access(cluster), &children.role),
        ("RoleBinding", names::access(cluster), &children.role_binding),
        ("Secret", names::ca_secret(cluster), &children.ca_secret),
    ]
    .into_iter()
    .filter(|(_, _, child)| **child == Child::Foreign)
    .map(|(kind, name, _)| format!("{kind} {name}"))
    .collect();
    // Names that are needed only where the spec asks for it; elsewhere they are anybody's.
    if round.spec().client_access.is_open() && children.published_authority.owner == Child::Foreign {
        foreign.push(format!("ConfigMap {}", names::published_authority(cluster)));
    }
    if round.spec().network_policy.create && children.network_policy == Child::Foreign {
        foreign.push(format!("NetworkPolicy {}", names::network_policy(cluster)));
    }
    for (&ordinal, slot) in &observed.slots {
        // A claim without a controller is ours if it carries our record; adoption looks at its cluster ID (rule 5).
        if let Some(claim) = &slot.claim
            && (claim.controller_uid.as_deref().is_some_and(|owner| owner != uid)
                || claim.record.state.is_none())
        {
            foreign.push(format!("PersistentVolumeClaim {}", claim.name));
        }
        if let Some(pod) = &slot.pod
            && pod.controller_uid.as_deref() != Some(uid)
        {
            foreign.push(format!("Pod {}", pod.name));
        }
        if children.certificates.get(&ordinal).is_some_and(|secret| secret.owner == Child::Foreign) {
            foreign.push(format!("Secret {}", names::tls_secret(cluster, ordinal)));
        }
    }
    if foreign.is_empty() || broken(Mutant::K45) {
        return Verdict::Next;
    }
    let text = format!(
        "{} exists and was not made for this RaftCluster: delete or rename it, or give the RaftCluster another name",
        foreign.join(", ")
    );
    round.stop("K45", Reason::NameConflict, text)
}

/// Rule 2 (K48): Pod restarts, budget, labels and certificates came before; no step comes after.
pub(crate) fn paused(round: &mut Round<'_>) -> Verdict {
    let is_paused = round.observed.annotation(label_keys::PAUSED).is_some_and(|value| value != "false");
    if !is_paused || broken(Mutant::R2) {
        return Verdict::Next;
    }
    let text = format!(
        "annotation {} is set: Pods are restarted, nothing else is changed; remove the annotation to go on",
        label_keys::PAUSED
    );
    for key in [label_keys::RECOVER, label_keys::REPLACE, label_keys::FENCE] {
        if round.observed.annotation(key).is_some() {
            let text = format!("annotation {key} waits: this RaftCluster is paused");
            round.block("2", Reason::Paused, round.observed.name(), text);
        }
    }
    // A stale Pod found by rule 0 is deleted all the same: that is a restart, too.
    round.stop("2", Reason::Paused, text)
}

/// Rule 7: without this round's view there is no membership step and no Pod is taken down (I3).
pub(crate) fn no_view(round: &mut Round<'_>) -> Verdict {
    if round.view().is_some() || broken(Mutant::R7) {
        return Verdict::Next;
    }
    round.stop(
        "7",
        Reason::NoLeader,
        "no member confirmed a leader this round; members are neither added nor removed",
    )
}

/// K32: the leader answers, and its status Lease has not been renewed: it cannot write to the API server.
/// Membership goes on, for it needs the answer only.
pub(crate) fn publishing(round: &mut Round<'_>) -> Verdict {
    let Some(view) = round.view() else { return Verdict::Next };
    let silence = round.observed.unpublished;
    if silence < LEASE_SILENCE {
        return Verdict::Next;
    }
    let leader = member_of(&view.leader);
    let answers = round.observed.slots.values().filter_map(|slot| slot.answer.as_ref());
    let trouble =
        answers.filter(|answer| answer.raft_id == view.leader).map(|answer| answer.trouble.as_str());
    let said =
        trouble.filter(|said| !said.is_empty()).map(|said| format!(" ({said})")).next().unwrap_or_default();
    let text = format!(
        "{leader} leads and has not renewed its Lease for {}{said}: status.raft and the leader's endpoint may be old; see `kubectl logs {leader} -c quorate-sidecar`",
        age(silence)
    );
    round.block("K32", Reason::PublishingBlocked, leader, text);
    Verdict::Next
}

/// Rounds before this one failed while they were carried out: what is written here is all that they could say.
pub(crate) fn failed(round: &mut Round<'_>) -> Verdict {
    if let Some(failure) = &round.observed.failure {
        let text =
            format!("the operator cannot finish a round: {}; it tries again by itself", quote(failure));
        round.block("round", Reason::RoundFailed, round.observed.name(), text);
    }
    Verdict::Next
}

/// Rule 8: one change at a time (I3).
pub(crate) fn configuration_changes(round: &mut Round<'_>) -> Verdict {
    let is_changing = |view: &&RaftView| view.change_in_flight && !broken(Mutant::I3Change);
    let Some(view) = round.view().filter(is_changing) else { return Verdict::Next };
    let text = format!("the configuration at index {} waits to be committed", view.configuration_index);
    round.wait("8", Reason::ConfigurationChanging, round.observed.name(), text.clone());
    round.stop("8", Reason::ConfigurationChanging, text)
}
