//! Carries a plan out, as the operator would, until its budget of calls is used up: then it has died.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod as KubePod};
use quorate_crds::{RaftClusterStatus, TlsMode};
use quorate_plan::children::network_policy::rendered;
use quorate_plan::observed::{Authority, Brought, Certificate, Child, Claim, Now, Pod, Published};
use quorate_plan::plan::{Applied, AuthorityChange, Check, FactKind};
use quorate_plan::raft_view::Intent;
use quorate_plan::record::ClaimRecord;
use quorate_plan::{Ensure, Ordinal, Plan, PlannedStep, Step, children};

use super::World;
use super::raft::Member;

/// How many calls the operator makes before it dies.
pub(crate) struct Calls {
    left: Option<usize>,
    pub(crate) made: usize,
}

impl Calls {
    pub(crate) fn unlimited() -> Self {
        Self { left: None, made: 0 }
    }

    pub(crate) fn at_most(left: usize) -> Self {
        Self { left: Some(left), made: 0 }
    }

    fn take(&mut self) -> bool {
        match &mut self.left {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        self.made += 1;
        true
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.left == Some(0)
    }
}

impl World {
    /// Status, ensures, step: in this order. A refusal is left to the next round.
    pub(crate) fn act(&mut self, plan: &Plan, calls: &mut Calls) {
        self.act_on(plan, calls, self.cluster.metadata.resource_version.clone().as_ref());
    }

    /// The same for a plan made from a cluster of this resource version.
    pub(crate) fn act_on(&mut self, plan: &Plan, calls: &mut Calls, read_at: Option<&String>) {
        if !self.write_status(plan, calls, read_at) {
            return;
        }
        self.quorum_missing_before = plan.is_quorum_missing;
        let left = plan.facts.iter().filter(|fact| fact.kind == FactKind::Left);
        self.left = left.map(|fact| fact.raft_id.clone()).collect();
        for ensure in &plan.ensures {
            if !calls.take() {
                return;
            }
            self.ensure(ensure);
        }
        if let Some(step) = &plan.step
            && calls.take()
            && self.holds(step)
        {
            self.step(step);
        }
        if !calls.is_spent() {
            self.first_round = false;
        }
    }

    fn write_status(&mut self, plan: &Plan, calls: &mut Calls, read_at: Option<&String>) -> bool {
        // The leader's part is its own (K31).
        let wanted = RaftClusterStatus { raft: self.status().raft, ..plan.status.clone() };
        if self.cluster.status.as_ref() == Some(&wanted) {
            return true;
        }
        if !calls.take() {
            return false;
        }
        let is_current = read_at == self.cluster.metadata.resource_version.as_ref();
        if plan.status_is_guarded && !is_current {
            return false;
        }
        // What the API server's own rules refuse.
        let old = self.status();
        assert!(
            old.cluster_id.is_none() || old.cluster_id == plan.status.cluster_id,
            "the cluster ID changed"
        );
        self.cluster.status = Some(wanted);
        self.bump_cluster();
        true
    }

    /// The live look before a step (K33).
    fn holds(&self, step: &PlannedStep) -> bool {
        step.checks.iter().all(|check| match check {
            Check::Configuration { index, leader, term } => {
                self.group.index == *index
                    && self.group.leader.as_ref() == Some(leader)
                    && self.group.term == *term
            }
            Check::Pod { name, uid, resource_version } => self
                .pods
                .values()
                .any(|p| p.name == *name && p.uid == *uid && p.resource_version == *resource_version),
            Check::Claim { name, uid, resource_version } => self
                .claims
                .values()
                .any(|c| c.name == *name && c.uid == *uid && c.resource_version == *resource_version),
            Check::ClaimStays { name, uid } => {
                self.claims.values().any(|claim| claim.name == *name && claim.uid == *uid && !claim.deleting)
            }
            Check::ClaimGone { name, uid_begins } => {
                !self.claims.values().any(|claim| claim.name == *name && claim.uid.starts_with(uid_begins))
            }
        })
    }

    fn step(&mut self, planned: &PlannedStep) {
        match &planned.step {
            Step::Bootstrap { pod, cluster_id, raft_id, incarnation, mode: _ } => {
                self.bootstrap(pod, cluster_id, raft_id, incarnation);
            }
            Step::Recover { raft_id, epoch, lost, .. } => self.recover(raft_id, *epoch, lost),
            Step::AddNonVoter { raft_id, incarnation, address, intent, .. } => {
                if self.group.in_flight {
                    return;
                }
                for disk in self.disks.values_mut().filter(|disk| disk.raft_id == *raft_id) {
                    disk.cluster_id.clone_from(&self.group.cluster_id);
                }
                let member = Member {
                    incarnation: incarnation.clone(),
                    address: address.clone(),
                    is_voter: false,
                    intent: intent.clone(),
                    healthy_since: None,
                    heard: None,
                    trailing: self.group.joiners_trail,
                };
                let before = self.group.servers.insert(raft_id.clone(), member);
                assert!(before.is_none(), "{raft_id} was added twice");
                self.changed(format!("add {raft_id}"));
            }
            Step::Remove { raft_id, .. } => self.remove(raft_id),
            Step::TransferLeadership { from, to } => {
                assert_eq!(self.group.leader.as_ref(), Some(from));
                self.group.leader = Some(to.clone());
                self.group.term += 1;
            }
            Step::EvictPod { pod } => {
                let ordinal = self.ordinal(pod);
                self.may_take_down(ordinal);
                self.may_restart(ordinal);
                self.delete_pod(ordinal.0);
            }
            Step::DeletePod { pod } => {
                let ordinal = self.ordinal(pod);
                self.may_take_down(ordinal);
                self.delete_pod(ordinal.0);
            }
            Step::DeleteClaim { claim } => self.delete_claim(claim),
        }
    }

    /// K18: all other voters are named, none of them can answer, and the epoch was on record before.
    fn recover(&mut self, raft_id: &str, epoch: u64, lost: &[String]) {
        let recorded = self.status().recovery.expect("a recovery is on record before the call");
        assert_eq!(
            (recorded.epoch, recorded.raft_id.as_str()),
            (i64::try_from(epoch).expect("small"), raft_id)
        );
        let Some(disk) = self.disks.values_mut().find(|disk| disk.raft_id == raft_id) else { return };
        if disk.recovery_epoch >= epoch {
            return;
        }
        disk.recovery_epoch = epoch;
        let others: Vec<&String> = self
            .group
            .servers
            .iter()
            .filter(|(id, member)| member.is_voter && *id != raft_id)
            .map(|(id, _)| id)
            .collect();
        assert_eq!(others, lost.iter().collect::<Vec<_>>(), "every other voter is given up by name");
        assert!(others.iter().all(|id| !self.is_up(id)), "a voter that is up was given up");
        let mut member = self.group.servers[raft_id].clone();
        (member.is_voter, member.trailing) = (true, 0);
        self.group.servers = [(raft_id.to_owned(), member)].into();
        self.group.recovery_epoch = epoch;
        self.group.leader = None;
        self.changed(format!("recover {raft_id} at epoch {epoch}"));
    }

    /// I6: one triple, the recorded one, on an empty directory.
    fn bootstrap(&mut self, pod: &str, cluster_id: &str, raft_id: &str, incarnation: &str) {
        let founder = self.status().founder.expect("a founder is on record before the call");
        assert_eq!(founder.incarnation.as_deref(), Some(incarnation));
        assert_eq!(founder.raft_id.as_deref(), Some(raft_id));
        let ordinal = self.ordinal(pod);
        let Some(uid) = self.pods.get(&ordinal).and_then(|pod| pod.claim_uid.clone()) else { return };
        let Some(disk) = self.disks.get_mut(&uid).filter(|disk| disk.incarnation == incarnation) else {
            return;
        };
        if disk.cluster_id.as_deref() == Some(cluster_id) {
            return;
        }
        assert!(disk.cluster_id.is_none());
        disk.cluster_id = Some(cluster_id.to_owned());
        self.bootstraps += 1;
        assert_eq!(self.bootstraps, 1, "a second bootstrap");
        self.group.cluster_id = Some(cluster_id.to_owned());
        let address = String::new();
        let member = Member {
            incarnation: incarnation.to_owned(),
            address,
            is_voter: true,
            intent: Intent::Voter,
            healthy_since: None,
            heard: None,
            trailing: 0,
        };
        self.group.servers.insert(raft_id.to_owned(), member);
        self.group.term = 1;
        self.changed(format!("bootstrap {raft_id}"));
    }

    /// The leader's own check (K13); the planner must not have needed it.
    fn remove(&mut self, raft_id: &str) {
        if self.group.in_flight {
            return;
        }
        assert!(
            self.majority_up_without(Some(raft_id)),
            "I2: {raft_id} was to be removed and the rest has no majority"
        );
        assert_ne!(
            self.group.leader.as_deref(),
            Some(raft_id),
            "the leader was not asked to hand over first"
        );
        self.group.servers.remove(raft_id).expect("only a server of the configuration is removed");
        self.changed(format!("remove {raft_id}"));
    }

    /// I4: the ID of a Pod that goes for good has left; another comes back with its claim.
    fn may_take_down(&self, ordinal: Ordinal) {
        let pod = &self.pods[&ordinal];
        let id = pod.raft_id.clone().unwrap_or_default();
        if self.group.servers.contains_key(&id) {
            let claim =
                self.claims.get(&ordinal).expect("a Pod whose ID is in the configuration keeps its claim");
            if claim.record.given_up_for.is_some() {
                // Its ID leaves with the recovery that it was given up for (rule 3).
                return;
            }
            assert!(!claim.deleting, "I4: Pod {} was taken down while its claim was being deleted", pod.name);
            assert!(claim.record.is_wanted(), "I4: Pod {} was deleted before {id} left", pod.name);
        }
    }

    /// I2: while a member is away for a moment, the others are a healthy majority, unless that cannot be.
    fn may_restart(&self, ordinal: Ordinal) {
        let id = self.pods[&ordinal].raft_id.clone().unwrap_or_default();
        let voters = self.group.servers.values().filter(|member| member.is_voter).count();
        let others = self
            .group
            .servers
            .iter()
            .filter(|(other, member)| member.is_voter && **other != id && self.is_up(other));
        let is_voter = self.group.servers.get(&id).is_some_and(|member| member.is_voter);
        assert!(
            !is_voter || voters <= 2 || others.count() > voters / 2,
            "I2: {id} was restarted and the rest has no majority"
        );
    }

    fn delete_claim(&mut self, name: &str) {
        let version = self.version();
        let (ordinal, claim) = self.claims.iter_mut().find(|(_, claim)| claim.name == name).expect("checked");
        let id = self
            .pods
            .get(ordinal)
            .and_then(|pod| pod.raft_id.clone())
            .or_else(|| claim.record.raft_id.clone());
        let is_in = id.as_ref().is_some_and(|id| self.group.servers.contains_key(id));
        assert!(!is_in, "I4: claim {name} was deleted before {id:?} left");
        claim.deleting = true;
        claim.resource_version = version;
    }

    pub(crate) fn ordinal(&self, pod: &str) -> Ordinal {
        let cluster = self.cluster.metadata.name.clone().unwrap_or_default();
        children::names::ordinal_of_pod(&cluster, pod).expect("a Pod of this cluster")
    }

    fn ensure(&mut self, ensure: &Ensure) {
        match ensure {
            Ensure::Apply(applied) => self.apply(applied),
            Ensure::CreateSlice(slice) => {
                self.children.leader_slice = Child::Ours;
                self.slice_ports = slice.ports.iter().flatten().filter_map(|port| port.port).collect();
            }
            Ensure::SlicePorts { ports, .. } => {
                self.slice_ports = ports.iter().filter_map(|port| port.port).collect();
            }
            Ensure::CreateLease(_) => self.children.leader_lease = Child::Ours,
            Ensure::DeleteNetworkPolicy { .. } => {
                self.children.network_policy = Child::Missing;
                self.children.network_policy_rendered = None;
            }
            Ensure::DeleteBudget { .. } => {
                self.children.budget = Child::Missing;
                self.children.budget_min_available = None;
            }
            Ensure::RequestCertificate(request) => {
                self.children.authority.asked.insert(request.name.clone(), request.rendered());
            }
            Ensure::PublishAuthority { .. } => {
                self.children.published_authority = Published { owner: Child::Ours, is_current: true };
            }
            Ensure::Certificate { ordinal, raft_id, dns_names } => {
                self.ensure_authority();
                // One that the user brings is for all members; cert-manager issues one for each.
                let brought = self.children.authority.brought.as_ref();
                let is_shared = brought.is_some_and(|brought| brought.is_in_force)
                    && self.cluster.spec.tls.mode != TlsMode::CertManager;
                let shown = if is_shared { "*" } else { raft_id.as_str() };
                let made = Certificate {
                    owner: Child::Ours,
                    raft_id: Some(shown.to_owned()),
                    is_shared,
                    dns_names: dns_names.iter().cloned().collect(),
                    content: self.children.authority.resource_version.clone(),
                    ..Certificate::default()
                };
                self.certificates.insert(*ordinal, made);
            }
            Ensure::ChangeAuthority { resource_version, change, rotation, .. } => {
                let version = self.version();
                let found = &mut self.children.authority;
                if found.resource_version == *resource_version {
                    (found.has_next, found.has_previous) = match change {
                        AuthorityChange::Announce => (true, false),
                        AuthorityChange::Switch => (false, true),
                        AuthorityChange::Forget => (false, false),
                    };
                    take_over(found, *change);
                    found.rotation.clone_from(rotation);
                    found.is_old = false;
                    found.resource_version = version;
                }
            }
            Ensure::CreateClaim(claim) => self.create_claim(claim),
            Ensure::CreatePod(pod) => self.create_pod(pod),
            Ensure::NoteOnClaim { claim, uid, resource_version, set } => {
                let version = self.version();
                let found = self.claims.values_mut().find(|it| {
                    it.name == *claim && it.uid == *uid && it.resource_version == *resource_version
                });
                if let Some(found) = found {
                    let mut annotations = found.record.write();
                    annotations.extend(set.clone());
                    found.record = ClaimRecord::read(&annotations);
                    found.resource_version = version;
                }
            }
            Ensure::OwnClaim { claim, owner, .. } => {
                if let Some(found) = self.claims.values_mut().find(|it| it.name == *claim) {
                    found.controller_uid = owner.as_ref().map(|owner| owner.uid.clone());
                }
            }
            Ensure::ExpandClaim { claim, size, resource_version, .. } => {
                let version = self.version();
                let found = self.claims.values_mut().find(|it| it.name == *claim);
                if let Some(found) = found.filter(|it| it.resource_version == *resource_version) {
                    found.requested_bytes = quorate_crds::bytes(size);
                    found.resource_version = version;
                }
            }
            Ensure::DeleteEndedPod { pod, .. } => {
                let ordinal = self.ordinal(pod);
                self.delete_pod(ordinal.0);
            }
            Ensure::LabelPod { pod, labels, .. } => {
                let ordinal = self.ordinal(pod);
                if let Some(pod) = self.pods.get_mut(&ordinal) {
                    pod.voter_label = labels.contains_key("quorate.dev/voter");
                    pod.role_label = labels.get("quorate.dev/role").cloned();
                }
            }
            Ensure::SetAutopilot(settings) => {
                if self.group.leader.is_some() {
                    self.group.settings = settings.clone();
                }
            }
        }
    }

    fn apply(&mut self, applied: &Applied) {
        let children = &mut self.children;
        match applied {
            Applied::Service(service) => {
                let name = service.metadata.name.as_deref().unwrap_or_default();
                if name.ends_with("-members") {
                    children.members_service = Child::Ours;
                } else {
                    let slot = if name.ends_with("-read") {
                        &mut children.read_service
                    } else {
                        &mut children.leader_service
                    };
                    *slot = Child::Ours;
                    let ports = service.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
                    children.leader_ports =
                        ports.into_iter().map(|p| (p.name.unwrap_or_default(), p.port)).collect();
                }
            }
            Applied::Budget(budget) => {
                children.budget = Child::Ours;
                let min = budget.spec.as_ref().and_then(|spec| spec.min_available.clone());
                children.budget_min_available = match min {
                    Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(count)) => {
                        Some(count)
                    }
                    _ => None,
                };
            }
            Applied::ServiceAccount(_) => children.service_account = Child::Ours,
            Applied::Role(_) => children.role = Child::Ours,
            Applied::NetworkPolicy(policy) => {
                children.network_policy = Child::Ours;
                children.network_policy_rendered = rendered(policy).cloned();
            }
            Applied::RoleBinding(binding) => {
                children.role_binding = Child::Ours;
                children.bound_accounts =
                    binding.subjects.iter().flatten().map(|it| it.name.clone()).collect();
            }
        }
    }

    /// POST: a second one meets 409.
    fn create_claim(&mut self, made: &PersistentVolumeClaim) {
        let name = made.metadata.name.clone().expect("a claim has a name");
        let cluster = self.cluster.metadata.name.clone().unwrap_or_default();
        let ordinal = children::names::ordinal_of_claim(&cluster, &name).expect("a claim of this cluster");
        if self.claims.contains_key(&ordinal) || self.refused.contains_key(&ordinal) {
            return;
        }
        let uid = format!("{:08x}-0000-4000-8000-000000000000", 0x1000_0000 + self.mint());
        let claim = Claim {
            name,
            uid,
            resource_version: self.version(),
            storage_class: made
                .spec
                .as_ref()
                .and_then(|spec| spec.storage_class_name.clone())
                .or_else(|| (self.storage.default_class == Some(true)).then(|| "standard".to_owned())),
            requested_bytes: made
                .spec
                .as_ref()
                .and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage"))
                .and_then(quorate_crds::bytes),
            record: ClaimRecord::read(&made.metadata.annotations.clone().unwrap_or_default()),
            controller_uid: made
                .metadata
                .owner_references
                .iter()
                .flatten()
                .map(|owner| owner.uid.clone())
                .next(),
            ..Claim::default()
        };
        self.claims.insert(ordinal, claim);
    }

    /// POST: a second one meets 409.
    fn create_pod(&mut self, made: &KubePod) {
        let name = made.metadata.name.clone().expect("a Pod has a name");
        let ordinal = self.ordinal(&name);
        if self.pods.contains_key(&ordinal) {
            return;
        }
        let annotation = |key: &str| made.metadata.annotations.as_ref()?.get(key).cloned();
        let pod = Pod {
            name,
            uid: format!("pod-{}", self.mint()),
            resource_version: self.version(),
            created: Now(self.now),
            controller_uid: made
                .metadata
                .owner_references
                .iter()
                .flatten()
                .map(|owner| owner.uid.clone())
                .next(),
            claim_uid: annotation("quorate.dev/claim-uid"),
            raft_id: annotation("quorate.dev/raft-id"),
            template_hash: annotation("quorate.dev/template-hash"),
            ..Pod::default()
        };
        self.pods.insert(ordinal, pod);
    }
}

impl World {
    /// The authority's Secret is gone.
    pub(crate) fn lose_authority(&mut self) {
        let brought = self.children.authority.brought.take();
        self.children.authority =
            Authority { brought: brought.map(|_| Brought::default()), ..Authority::default() };
        self.children.authority.resource_version = self.version();
        self.children.ca_secret = Child::Missing;
    }

    /// The authority's Secret, before the first certificate; in place of one that was lost it holds what members trust,
    /// without its key, and the one that is to follow.
    fn ensure_authority(&mut self) {
        if std::mem::replace(&mut self.children.ca_secret, Child::Ours) == Child::Ours {
            return;
        }
        let is_lost = !self.certificates.is_empty();
        let found = &mut self.children.authority;
        if is_lost {
            (found.is_keyless, found.has_next) = (true, true);
            take_over(found, AuthorityChange::Announce);
        } else if let Some(brought) = &mut found.brought {
            (brought.is_in_force, found.is_keyless) = (true, true);
        }
    }
}

/// Whose key the Secret holds, and where an authority of others stands.
fn take_over(found: &mut Authority, change: AuthorityChange) {
    match change {
        AuthorityChange::Announce => {
            found.is_next_keyless = found.brought.is_some();
            if let Some(brought) = &mut found.brought {
                brought.is_next = true;
            }
        }
        AuthorityChange::Switch => {
            found.is_keyless = std::mem::take(&mut found.is_next_keyless);
            if let Some(brought) = &mut found.brought {
                brought.is_in_force = std::mem::take(&mut brought.is_next);
            }
        }
        AuthorityChange::Forget => {}
    }
}
