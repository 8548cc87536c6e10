//! Ensures: children as they should be, labels, the budget, claims' owners, autopilot settings.
//!
//! Each compares with what was observed and asks for a write only where the two differ, so that a settled cluster
//! gives none (I7). What can only change with the operator's own version is applied once after its start.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use quorate_crds::UpdateStrategy;
use quorate_mutants::{Mutant, broken};

use crate::children::{access, budget, claim, label_keys, names, network_policy, services};
use crate::limits::START_TROUBLE;
use crate::observed::{Certificate, Child, Claim, Ordinal, Pod};
use crate::plan::{Applied, Ensure, Event};
use crate::raft_view::{AutopilotSettings, Intent, RaftView, ServerView, quorum};
use crate::reason::Reason;
use crate::record::{MemberState, keys};
use crate::round::{Round, Verdict};
use crate::{authority, issuance};

/// The label of nodes, copied to their Pods, that says the zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// From so many voters on there is a budget: with fewer, none could ever be drained (K37).
const BUDGET_VOTERS_MIN: usize = 3;

/// All ensures that need no rule.
pub(crate) fn ensure(round: &mut Round<'_>) -> Verdict {
    children(round);
    network_policy(round);
    claims(round);
    issuance::request(round);
    certificates(round);
    authority::rotate(round);
    authority::publish(round);
    if let Some(view) = round.view() {
        let needed = budget_needed(round, view);
        keep_budget(round, needed);
        labels(round, view, needed);
        settings(round, view);
    }
    Verdict::Next
}

/// What exists once per cluster.
fn children(round: &mut Round<'_>) {
    let observed = round.observed;
    let (cluster, found) = (&observed.cluster, &observed.children);
    let account = access::account_name(cluster);
    let ports: Vec<_> =
        services::named_ports(cluster).into_iter().map(|(name, port)| (name, port.container_port)).collect();
    let is_other_ports = ports != found.leader_ports;
    // Before the Service: should the operator die in between, the Service still differs and both are done again.
    if found.leader_slice == Child::Ours
        && is_other_ports
        && let Some(EndpointSlice { ports: Some(ports), .. }) = services::leader_slice(cluster)
    {
        round.ensures.push(Ensure::SlicePorts { name: names::leader(observed.name()), ports });
    }
    let mut apply = |differs: bool, child: Applied| {
        if differs || observed.is_first_round {
            round.ensures.push(Ensure::Apply(Box::new(child)));
        }
    };
    apply(found.members_service == Child::Missing, Applied::Service(services::members(cluster)));
    if let Some(service) = services::read(cluster) {
        apply(found.read_service == Child::Missing || is_other_ports, Applied::Service(service));
    }
    if let Some(service) = services::leader(cluster) {
        apply(found.leader_service == Child::Missing || is_other_ports, Applied::Service(service));
    }
    if account == names::access(observed.name()) {
        let own = Applied::ServiceAccount(access::service_account(cluster));
        apply(found.service_account == Child::Missing, own);
    }
    apply(found.role == Child::Missing, Applied::Role(access::role(cluster)));
    let is_bound = found.role_binding != Child::Missing && found.bound_accounts == [account];
    apply(!is_bound, Applied::RoleBinding(access::role_binding(cluster)));
    if found.leader_lease == Child::Missing {
        round.ensures.push(Ensure::CreateLease(Box::new(services::leader_lease(cluster))));
    }
    if found.leader_slice == Child::Missing
        && let Some(slice) = services::leader_slice(cluster)
    {
        round.ensures.push(Ensure::CreateSlice(Box::new(slice)));
    }
}

/// Who may reach the members, if the spec asks for a policy.
fn network_policy(round: &mut Round<'_>) {
    let (observed, found) = (round.observed, &round.observed.children);
    if !round.spec().network_policy.create {
        if found.network_policy == Child::Ours {
            let name = names::network_policy(observed.name());
            round.ensures.push(Ensure::DeleteNetworkPolicy { name });
        }
        return;
    }
    let wanted = network_policy::network_policy(&observed.cluster, &observed.operator.namespace);
    if network_policy::rendered(&wanted) != found.network_policy_rendered.as_ref() || observed.is_first_round
    {
        round.ensures.push(Ensure::Apply(Box::new(Applied::NetworkPolicy(wanted))));
    }
}

/// What a live claim says of its member, and who owns it (K41).
fn claims(round: &mut Round<'_>) {
    let owner = claim::claim_owner(&round.observed.cluster);
    for (ordinal, _, found) in round.live().collect::<Vec<_>>() {
        let mut set = BTreeMap::new();
        let raft_id = round.raft_id(ordinal, found);
        if found.record.raft_id.is_none() {
            set.insert(keys::RAFT_ID.to_owned(), raft_id.clone());
        }
        // Noted only once a committed configuration holds the ID: from then on its absence means it was removed.
        let is_in = round.view().is_some_and(|view| !view.change_in_flight && view.holds(&raft_id));
        if found.record.state == Some(MemberState::Joining) && is_in && round.is_bootstrapped() {
            let member = round.pod_name(ordinal);
            set.insert(keys::MEMBER_STATE.to_owned(), MemberState::Member.as_str().to_owned());
            let message = format!("{member} is in the configuration as {raft_id}");
            round.events.push(Event { is_warning: false, reason: "MemberAdded".to_owned(), message });
        }
        if !set.is_empty() {
            round.ensures.push(Ensure::NoteOnClaim {
                claim: found.name.clone(),
                uid: found.uid.clone(),
                resource_version: found.resource_version.clone(),
                set,
            });
        } else if found.controller_uid.is_some() != owner.is_some() && !found.deleting {
            round.ensures.push(Ensure::OwnClaim {
                claim: found.name.clone(),
                uid: found.uid.clone(),
                resource_version: found.resource_version.clone(),
                owner: owner.clone(),
            });
        }
    }
}

/// One certificate per live slot, for the Raft ID of its claim (K46).
fn certificates(round: &mut Round<'_>) {
    let observed = round.observed;
    let services = service_names(round);
    for (ordinal, _, found) in round.live().collect::<Vec<_>>() {
        let raft_id = round.raft_id(ordinal, found);
        let is_fine = |certificate: &Certificate| {
            certificate.is_for(&raft_id)
                && !certificate.renewal_due
                && (certificate.is_shared || services.iter().all(|name| certificate.dns_names.contains(name)))
        };
        let certificate = observed.children.certificates.get(&ordinal);
        // While there is nothing to take one from, those in use stay; that it is so is said with the authority.
        if certificate.is_some_and(is_fine) || (certificate.is_none() && authority::is_missing(round)) {
            continue;
        }
        let brought = observed.children.authority.brought.as_ref();
        let waiting =
            brought.and_then(|brought| brought.waiting.get(&ordinal)).filter(|_| certificate.is_none());
        if let Some(why) = waiting {
            let (member, why) = (round.pod_name(ordinal), why.clone());
            round.block("K46", Reason::CertificateUnusable, &member, why);
            continue;
        }
        let dns_names = dns_names(round, ordinal, &raft_id);
        round.ensures.push(Ensure::Certificate { ordinal, raft_id, dns_names });
    }
}

/// The DNS SANs of a member's certificate: what its peers, the operator (K42) and clients outside the Pods ask for.
pub(crate) fn dns_names(round: &Round<'_>, ordinal: Ordinal, raft_id: &str) -> Vec<String> {
    let (cluster, namespace) = (round.observed.name(), round.observed.namespace());
    let full = names::dns_name(cluster, namespace, &round.spec().cluster_domain, ordinal);
    let short = format!("{}.{}", names::pod(cluster, ordinal), names::members_service(cluster));
    let mut names = vec![raft_id.to_owned(), full, short];
    names.extend(service_names(round));
    names
}

/// By what names clients outside the Pods reach a member: those of the two Services. None if no such client may come.
fn service_names(round: &Round<'_>) -> Vec<String> {
    if !round.spec().client_access.is_open() {
        return Vec::new();
    }
    let (cluster, namespace) = (round.observed.name(), round.observed.namespace());
    let domain = &round.spec().cluster_domain;
    let services = [names::leader(cluster), names::read_service(cluster)];
    let forms = |service: String| {
        let short = format!("{service}.{namespace}.svc");
        [format!("{short}.{domain}"), format!("{service}.{namespace}"), short, service]
    };
    services.into_iter().flat_map(forms).collect()
}

/// What `minAvailable` has to be; none = no budget (K37).
fn budget_needed(round: &Round<'_>, view: &RaftView) -> Option<i32> {
    let voters = view.voter_count();
    // Members that stand by are no voters to be: two zones have two voters, however many stand by in them.
    let members = if view.standby_count() == 0 { round.replicas() } else { voters };
    if voters.max(members) < BUDGET_VOTERS_MIN {
        return None;
    }
    // Growing: raised before the newcomer is counted, and so before it votes.
    let about_to_vote = usize::from(about_to_vote(round, view).is_some());
    // Shrinking, and when one took another's place: lowered after the label of the one that left is off.
    let labelled = round.observed.slots.values().filter_map(|slot| slot.pod.as_ref());
    let labelled = labelled.filter(|pod| pod.voter_label && !pod.deleting).count();
    i32::try_from(quorum(labelled.max(voters + about_to_vote))).ok()
}

/// The newcomer that is counted before it votes: one at a time, for each that is counted and has no vote yet is one more that
/// a drain may take. Of several the one that autopilot takes first.
fn about_to_vote<'a>(round: &Round<'a>, view: &RaftView) -> Option<&'a str> {
    let newcomers = round.wanted().filter_map(|(ordinal, slot, claim)| {
        let server = round.server(ordinal, claim).filter(|server| !server.is_voter)?;
        let pod = slot.pod.as_ref();
        let is_labelled = pod.is_some_and(|pod| pod.voter_label);
        counts_soon(view, server, pod).then_some((is_labelled, server.healthy_for, server.raft_id.as_str()))
    });
    let first = newcomers
        .max_by_key(|(is_labelled, healthy_for, id)| (*is_labelled, *healthy_for, std::cmp::Reverse(*id)));
    first.map(|(_, _, raft_id)| raft_id)
}

/// A newcomer that is caught up; once labelled it stays so through half a minute of trouble.
fn counts_soon(view: &RaftView, server: &ServerView, pod: Option<&Pod>) -> bool {
    let is_level = server.is_healthy && server.trailing <= view.settings.max_trailing_logs;
    let was_counted = pod.is_some_and(|pod| pod.voter_label);
    let is_heard = server.last_contact.is_some_and(|age| age < START_TROUBLE);
    let votes_soon =
        server.intent != Intent::ReadReplica && (!server.stands_by || broken(Mutant::K37Standby));
    votes_soon && (is_level || (was_counted && is_heard))
}

fn keep_budget(round: &mut Round<'_>, needed: Option<i32>) {
    let found = &round.observed.children;
    match needed {
        Some(min) if found.budget == Child::Missing || found.budget_min_available != Some(min) => {
            let applied = Applied::Budget(budget::budget(&round.observed.cluster, min));
            round.ensures.push(Ensure::Apply(Box::new(applied)));
        }
        None if found.budget == Child::Ours => {
            round.ensures.push(Ensure::DeleteBudget { name: names::budget(round.observed.name()) });
        }
        _ => {}
    }
}

/// Labels say what the view says; the budget selects by them (K37).
fn labels(round: &mut Round<'_>, view: &RaftView, needed: Option<i32>) {
    // Raise, then label: until the budget has the higher number, nobody new is counted by it.
    let is_raised = needed.is_none()
        || broken(Mutant::K37Raise)
        || round.observed.children.budget_min_available >= needed;
    let soon = about_to_vote(round, view);
    for (ordinal, slot, found) in round.live().collect::<Vec<_>>() {
        let Some(pod) = slot.pod.as_ref().filter(|pod| !pod.deleting) else { continue };
        let Some(server) = round.server(ordinal, found) else {
            if pod.voter_label {
                round.ensures.push(label(pod, false, "non-voter"));
            }
            continue;
        };
        let is_wanted = found.record.is_wanted();
        let counts = is_wanted
            && (server.is_voter || (soon == Some(server.raft_id.as_str()) && (pod.voter_label || is_raised)));
        let role = role(view, server);
        if pod.voter_label != counts || pod.role_label.as_deref() != Some(role) || broken(Mutant::I7) {
            round.ensures.push(label(pod, counts, role));
            vote_event(round, ordinal, pod, server, found);
        }
    }
}

fn role(view: &RaftView, server: &ServerView) -> &'static str {
    match server {
        server if server.raft_id == view.leader => "leader",
        server if server.is_voter => "voter",
        _ => "non-voter",
    }
}

fn label(pod: &Pod, counts: bool, role: &str) -> Ensure {
    let mut labels = BTreeMap::from([(label_keys::ROLE.to_owned(), role.to_owned())]);
    if counts {
        labels.insert(label_keys::VOTER.to_owned(), "true".to_owned());
    }
    Ensure::LabelPod { pod: pod.name.clone(), uid: pod.uid.clone(), labels }
}

/// The role label is what remembers whether a member had a vote.
fn vote_event(round: &mut Round<'_>, ordinal: Ordinal, pod: &Pod, server: &ServerView, found: &Claim) {
    let member = round.pod_name(ordinal);
    let (reason, message) = match (pod.role_label.as_deref(), server.is_voter) {
        (Some("non-voter"), true) => ("MemberPromoted", format!("{member} votes now")),
        (Some("voter" | "leader"), false) => ("MemberDemoted", format!("{member} has no vote any more")),
        _ => return,
    };
    if found.record.is_wanted() {
        round.events.push(Event { is_warning: false, reason: reason.to_owned(), message });
    }
}

/// The resource's settings, if the leader has others.
fn settings(round: &mut Round<'_>, view: &RaftView) {
    let autopilot = &round.spec().autopilot;
    // The schema admits only durations that parse; an unreadable one changes nothing.
    let (Ok(last_contact_threshold), Ok(dead_server_last_contact_threshold), Ok(server_stabilization_time)) = (
        quorate_crds::parse_duration(&autopilot.last_contact_threshold),
        quorate_crds::parse_duration(&autopilot.dead_server_last_contact_threshold),
        quorate_crds::parse_duration(&autopilot.server_stabilization_time),
    ) else {
        return;
    };
    let versions = autopilot.upgrade_version_from.clone().unwrap_or_default();
    let wanted = AutopilotSettings {
        last_contact_threshold,
        dead_server_last_contact_threshold,
        max_trailing_logs: u64::try_from(autopilot.max_trailing_logs).unwrap_or_default(),
        server_stabilization_time,
        min_quorum: u32::try_from(round.replicas()).unwrap_or_default(),
        redundancy_zone_tag: if autopilot.redundancy_zones { ZONE_LABEL.to_owned() } else { String::new() },
        // A rollout makes members newer one after the other: taking votes from those whose turn is to come would win nothing.
        disable_upgrade_migration: !versions.is_empty()
            && round.spec().update.strategy != UpdateStrategy::OnDelete,
        upgrade_version_tag: versions,
    };
    if wanted != view.settings {
        round.ensures.push(Ensure::SetAutopilot(wanted));
    }
}
