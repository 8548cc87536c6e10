//! The API server: versions and conflicts, UIDs and preconditions, deletion that waits, eviction by budget, and reads that
//! may be old but never go back.
//!
//! Every write is one transaction on the objects and raises their version. What was is kept for a while, for reads from a
//! cache that lags.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod as KubePod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use quorate_crds::{RaftClusterStatus, RaftStatus};
use quorate_plan::observed::{BudgetCounts, Certificate, Child, Claim, Now, Pod};
use quorate_plan::plan::Applied;
use quorate_plan::record::ClaimRecord;
use quorate_plan::{Ordinal, children};

use super::objects::{Budget, CLUSTER, Objects, START};

/// What was is kept for so long: longer than the oldest read.
const HISTORY: Duration = Duration::from_secs(10);

/// The API server.
pub struct Api {
    current: Rc<Objects>,
    /// Until when each was the newest.
    history: VecDeque<(Duration, Rc<Objects>)>,
    now: Duration,
    minted: u64,
    /// Writes since the beginning.
    pub writes: u64,
    /// Rises when a Pod, a claim or the resource changes: whoever watches is woken.
    pub news: u64,
    /// Nobody is answered before.
    pub down_until: Duration,
    /// Pods are refused until then.
    pub refuses_pods_until: Duration,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 429: the budget lets no Pod go now.
    TooMany,
    /// 4xx, with words.
    Forbidden(String),
    /// No answer, or 5xx: it may have happened.
    Unanswered,
}

/// What a call came to.
pub type Answer<T = ()> = Result<T, Refusal>;

impl Api {
    /// One that holds these objects.
    pub fn new(objects: Objects) -> Self {
        Self {
            current: Rc::new(objects),
            history: VecDeque::new(),
            now: Duration::ZERO,
            minted: 0,
            writes: 0,
            news: 0,
            down_until: Duration::ZERO,
            refuses_pods_until: Duration::ZERO,
        }
    }

    /// What there is.
    pub fn objects(&self) -> &Objects {
        &self.current
    }

    /// What there was at this time.
    pub fn objects_at(&self, when: Duration) -> Rc<Objects> {
        let then = self.history.iter().find(|(until, _)| *until > when).map(|(_, objects)| objects);
        Rc::clone(then.unwrap_or(&self.current))
    }

    /// Time passes.
    pub fn advance(&mut self, now: Duration) {
        self.now = now;
        while self.history.front().is_some_and(|(until, _)| *until + HISTORY < now) {
            self.history.pop_front();
        }
    }

    /// The time that objects are stamped with.
    pub fn time(&self) -> Now {
        Now(START + self.now.as_secs())
    }

    /// A write. The new version is handed in as it is written onto objects.
    pub fn edit<T>(&mut self, change: impl FnOnce(&mut Objects, &str) -> T) -> T {
        self.history.push_back((self.now, Rc::clone(&self.current)));
        self.writes += 1;
        self.news += 1;
        let objects = Rc::make_mut(&mut self.current);
        objects.version += 1;
        let version = objects.version.to_string();
        change(objects, &version)
    }

    /// A person's edit of the resource's spec.
    pub fn edit_spec(&mut self, change: impl FnOnce(&mut quorate_crds::RaftClusterSpec)) {
        self.edit(|objects, version| {
            change(&mut objects.cluster.spec);
            let metadata = &mut objects.cluster.metadata;
            metadata.generation = metadata.generation.map(|generation| generation + 1);
            metadata.resource_version = Some(version.to_owned());
        });
    }

    /// A person's annotation on the resource; none takes it away.
    pub fn annotate(&mut self, key: &str, value: Option<String>) {
        self.edit(|objects, version| {
            let annotations = objects.cluster.metadata.annotations.get_or_insert_default();
            match value {
                Some(value) => drop(annotations.insert(key.to_owned(), value)),
                None => drop(annotations.remove(key)),
            }
            objects.cluster.metadata.resource_version = Some(version.to_owned());
        });
    }

    /// The operator's part of status, by server-side apply; with `version` only onto that one.
    pub fn apply_status(&mut self, wanted: &RaftClusterStatus, version: Option<&str>) -> Answer {
        let metadata = &self.current.cluster.metadata;
        if version.is_some() && version != metadata.resource_version.as_deref() {
            return Err(Refusal::Conflict);
        }
        let old = self.current.status();
        // What the schema's own rules refuse.
        if old.cluster_id.is_some() && old.cluster_id != wanted.cluster_id {
            return Err(Refusal::Forbidden("clusterId is immutable".to_owned()));
        }
        let wanted = RaftClusterStatus { raft: old.raft.clone(), ..wanted.clone() };
        if wanted != old {
            self.set_status(wanted);
        }
        Ok(())
    }

    /// The leader's part (K31): (recovery epoch, term) never falls.
    pub fn publish(&mut self, raft: RaftStatus) {
        let old = self.current.status();
        let rank = |raft: &RaftStatus| (raft.recovery_epoch, raft.term);
        if old.raft.as_ref().is_some_and(|old| rank(old) > rank(&raft) || *old == raft) {
            return;
        }
        self.set_status(RaftClusterStatus { raft: Some(raft), ..old });
    }

    fn set_status(&mut self, status: RaftClusterStatus) {
        self.edit(|objects, version| {
            objects.cluster.status = Some(status);
            objects.cluster.metadata.resource_version = Some(version.to_owned());
        });
    }

    /// The leader renews its Lease.
    pub fn renew(&mut self) {
        let time = self.time().0;
        self.edit(|objects, _| objects.renewed = Some(time));
        // Nobody watches Leases.
        self.news -= 1;
    }

    /// A POST.
    pub fn create_claim(&mut self, made: &PersistentVolumeClaim) -> Answer {
        let name = made.metadata.name.clone().unwrap_or_default();
        let Some(ordinal) = children::names::ordinal_of_claim(CLUSTER, &name) else {
            return Err(Refusal::Forbidden(format!("{name} is no claim of this cluster")));
        };
        if self.current.claims.contains_key(&ordinal) {
            return Err(Refusal::Conflict);
        }
        self.minted += 1;
        let uid = format!("{:08x}-0000-4000-8000-000000000000", 0x1000_0000 + self.minted);
        let claim = Claim {
            name,
            uid,
            storage_class: made.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()),
            record: ClaimRecord::read(&made.metadata.annotations.clone().unwrap_or_default()),
            controller_uid: controller(made.metadata.owner_references.as_ref()),
            ..Claim::default()
        };
        self.edit(|objects, version| {
            objects.claims.insert(ordinal, Claim { resource_version: version.to_owned(), ..claim });
        });
        Ok(())
    }

    /// A POST.
    pub fn create_pod(&mut self, made: &KubePod) -> Answer<(Ordinal, String)> {
        let name = made.metadata.name.clone().unwrap_or_default();
        let Some(ordinal) = children::names::ordinal_of_pod(CLUSTER, &name) else {
            return Err(Refusal::Forbidden(format!("{name} is no Pod of this cluster")));
        };
        if self.current.pods.contains_key(&ordinal) {
            return Err(Refusal::Conflict);
        }
        if self.now < self.refuses_pods_until {
            return Err(Refusal::Forbidden("exceeded quota: pods".to_owned()));
        }
        self.minted += 1;
        let uid = format!("pod-{}", self.minted);
        let annotation = |key: &str| made.metadata.annotations.as_ref()?.get(key).cloned();
        let pod = Pod {
            name,
            uid: uid.clone(),
            created: self.time(),
            controller_uid: controller(made.metadata.owner_references.as_ref()),
            claim_uid: annotation("quorate.dev/claim-uid"),
            raft_id: annotation("quorate.dev/raft-id"),
            template_hash: annotation("quorate.dev/template-hash"),
            ..Pod::default()
        };
        self.edit(|objects, version| {
            objects.pods.insert(ordinal, Pod { resource_version: version.to_owned(), ..pod });
        });
        Ok((ordinal, uid))
    }

    /// Merges annotations, with UID and version.
    pub fn note_on_claim(
        &mut self,
        name: &str,
        (uid, version): (&str, &str),
        set: &BTreeMap<String, String>,
    ) -> Answer {
        let ordinal = self.claim_as_read(name, uid, version)?;
        self.edit(|objects, version| {
            let Some(found) = objects.claims.get_mut(&ordinal) else { return };
            let mut annotations = found.record.write();
            annotations.extend(set.clone());
            found.record = ClaimRecord::read(&annotations);
            version.clone_into(&mut found.resource_version);
        });
        Ok(())
    }

    /// Sets the owner, with UID and version.
    pub fn own_claim(&mut self, name: &str, (uid, version): (&str, &str), owner: Option<String>) -> Answer {
        let ordinal = self.claim_as_read(name, uid, version)?;
        self.edit(|objects, version| {
            let Some(found) = objects.claims.get_mut(&ordinal) else { return };
            found.controller_uid = owner;
            version.clone_into(&mut found.resource_version);
        });
        Ok(())
    }

    /// Deletes a claim as it was read: it stays while a Pod on a node uses it.
    pub fn delete_claim(&mut self, name: &str, (uid, version): (&str, &str)) -> Answer {
        let ordinal = self.claim_as_read(name, uid, version)?;
        self.mark_claim(ordinal);
        Ok(())
    }

    /// A claim gets its deletion timestamp.
    pub fn mark_claim(&mut self, ordinal: Ordinal) {
        self.edit(|objects, version| {
            let Some(found) = objects.claims.get_mut(&ordinal) else { return };
            found.deleting = true;
            version.clone_into(&mut found.resource_version);
        });
    }

    /// Deletes a Pod as it was read: its kubelet stops it first.
    pub fn delete_pod(&mut self, name: &str, (uid, version): (&str, &str)) -> Answer {
        let ordinal = self.pod_as_read(name, uid, version)?;
        self.mark_pod(ordinal);
        Ok(())
    }

    /// A Pod gets its deletion timestamp.
    pub fn mark_pod(&mut self, ordinal: Ordinal) {
        if self.current.pods.get(&ordinal).is_none_or(|pod| pod.deleting) {
            return;
        }
        self.change_pod(ordinal, |pod| pod.deleting = true);
    }

    /// A controller's or kubelet's write onto a Pod.
    pub fn change_pod(&mut self, ordinal: Ordinal, change: impl FnOnce(&mut Pod)) {
        self.edit(|objects, version| {
            let Some(pod) = objects.pods.get_mut(&ordinal) else { return };
            change(pod);
            version.clone_into(&mut pod.resource_version);
        });
    }

    /// Asks for a Pod to go: the budget decides (K36). Preconditions as far as given.
    pub fn evict(&mut self, name: &str, precondition: Option<(&str, &str)>) -> Answer {
        let ordinal = match precondition {
            Some((uid, version)) => self.pod_as_read(name, uid, version)?,
            None => children::names::ordinal_of_pod(CLUSTER, name).ok_or(Refusal::NotFound)?,
        };
        let pod = self.current.pods.get(&ordinal).ok_or(Refusal::NotFound)?;
        if pod.deleting {
            return Ok(());
        }
        let (is_selected, is_ready) = (pod.voter_label, pod.ready);
        if let Some(budget) = self.current.budget.as_ref().filter(|_| is_selected) {
            let Some(counts) = budget.counts else { return Err(Refusal::TooMany) };
            let is_free = !is_ready && counts.current_healthy >= counts.desired_healthy;
            if !is_free && counts.disruptions_allowed < 1 {
                return Err(Refusal::TooMany);
            }
            if !is_free {
                // Until the disruption controller counts anew, this one is gone.
                let left = BudgetCounts { disruptions_allowed: counts.disruptions_allowed - 1, ..counts };
                self.edit(|objects, _| objects.budget.iter_mut().for_each(|it| it.counts = Some(left)));
            }
        }
        self.mark_pod(ordinal);
        Ok(())
    }

    /// Server-side apply of our labels.
    pub fn label_pod(&mut self, name: &str, uid: &str, labels: &BTreeMap<String, String>) -> Answer {
        let ordinal = children::names::ordinal_of_pod(CLUSTER, name).ok_or(Refusal::NotFound)?;
        let pod = self.current.pods.get(&ordinal).ok_or(Refusal::NotFound)?;
        if pod.uid != uid {
            return Err(Refusal::Conflict);
        }
        let (voter, role) =
            (labels.contains_key("quorate.dev/voter"), labels.get("quorate.dev/role").cloned());
        if pod.voter_label != voter || pod.role_label != role {
            self.change_pod(ordinal, |pod| (pod.voter_label, pod.role_label) = (voter, role));
        }
        Ok(())
    }

    /// A live GET of a claim: its UID, and whether it is being deleted.
    pub fn claim(&self, name: &str) -> Option<(String, bool)> {
        let claim = self.current.claims.values().find(|claim| claim.name == name)?;
        Some((claim.uid.clone(), claim.deleting))
    }

    /// A member's certificate, and the authority before the first.
    pub fn certify(&mut self, ordinal: Ordinal, raft_id: &str) {
        let made =
            Certificate { owner: Child::Ours, raft_id: Some(raft_id.to_owned()), ..Certificate::default() };
        self.edit(|objects, _| {
            objects.children.ca_secret = Child::Ours;
            objects.children.certificates.insert(ordinal, made);
        });
    }

    /// Server-side apply of a child.
    pub fn apply(&mut self, applied: &Applied) {
        self.edit(|objects, _| match applied {
            Applied::Budget(made) => {
                let min = made.spec.as_ref().and_then(|spec| spec.min_available.clone());
                let Some(IntOrString::Int(min_available)) = min else { return };
                if objects.budget.as_ref().is_none_or(|found| found.min_available != min_available) {
                    objects.budget = Some(Budget { min_available, counts: None });
                }
            }
            Applied::Service(service) => {
                let name = service.metadata.name.clone().unwrap_or_default();
                let found = &mut objects.children;
                match name.strip_prefix(CLUSTER) {
                    Some("-members") => found.members_service = Child::Ours,
                    Some("-read") => found.read_service = Child::Ours,
                    _ => found.leader_service = Child::Ours,
                }
            }
            Applied::ServiceAccount(_) => objects.children.service_account = Child::Ours,
            Applied::Role(_) => objects.children.role = Child::Ours,
            Applied::NetworkPolicy(_) => objects.children.network_policy = Child::Ours,
            Applied::RoleBinding(binding) => {
                objects.children.role_binding = Child::Ours;
                let subjects = binding.subjects.iter().flatten().map(|subject| subject.name.clone());
                objects.children.bound_accounts = subjects.collect();
            }
        });
    }

    fn claim_as_read(&self, name: &str, uid: &str, version: &str) -> Answer<Ordinal> {
        let found = self.current.claims.iter().find(|(_, claim)| claim.name == name);
        let (ordinal, claim) = found.ok_or(Refusal::NotFound)?;
        let is_same = claim.uid == uid && claim.resource_version == version;
        if is_same { Ok(*ordinal) } else { Err(Refusal::Conflict) }
    }

    fn pod_as_read(&self, name: &str, uid: &str, version: &str) -> Answer<Ordinal> {
        let found = self.current.pods.iter().find(|(_, pod)| pod.name == name);
        let (ordinal, pod) = found.ok_or(Refusal::NotFound)?;
        let is_same = pod.uid == uid && pod.resource_version == version;
        if is_same { Ok(*ordinal) } else { Err(Refusal::Conflict) }
    }
}

fn controller(
    owners: Option<&Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>>,
) -> Option<String> {
    owners?.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}
