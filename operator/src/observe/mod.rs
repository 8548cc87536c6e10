//! Reads everything one round needs, fresh (planner.md, "In and out").
//!
//! ```text
//!   lists: Pods, claims by label ┐
//!   gets:  children, nodes       ├─▶ Observed ──▶ plan
//!   gRPC:  all members at once   ┘
//! ```
//! Invariant: nothing here comes from a cache, and an answer that says "I may not" or "I could not" is never turned
//! into absence (K33): it is an error of the round, or `None` where the planner's field says unknown.
//! Not here: any judgement. What is read is handed over as it was answered.

pub(crate) mod children;
mod nodes;
mod obstacles;
mod pods;
mod slots;
mod source;
mod volumes;

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Client;
use kube::api::{Api, ListParams};
use quorate_crds::RaftCluster;
use quorate_plan::children::{member_selector, names};
use quorate_plan::observed::{Now, Observed, OperatorFacts, Ordinal, Slot};
use quorate_plan::record::raft_id;
use tracing::warn;

use crate::error::RoundError;
use crate::installation::Installation;
use crate::member::{Answers, Dialer, MemberAddress, ask_all};
use crate::memory::{Recollection, Refused};
use crate::tls::{Brought, TlsError, Trust, parse_cluster_id};
use source::Source;

/// What a round has read, and what acting needs beside it.
pub(crate) struct Seen {
    pub(crate) observed: Observed,
    /// `None` until there is a cluster ID and an authority.
    pub(crate) dialer: Option<Dialer>,
    /// Members that can be dialled, by Pod.
    pub(crate) addresses: BTreeMap<String, MemberAddress>,
    pub(crate) trust: Option<Trust>,
    /// What the members' Secrets say is trusted.
    pub(crate) trusted: Vec<String>,
    /// The certificates that `spec.tls` names, if they can be used.
    pub(crate) brought: Option<Brought>,
}

/// The planner's idea of now.
pub(crate) fn now() -> Now {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Now(since.map_or(0, |since| since.as_secs()))
}

/// Reads everything about one cluster.
pub(crate) async fn observe(
    client: &Client,
    installation: &Installation,
    cluster: RaftCluster,
    recollection: &mut Recollection,
) -> Result<Seen, RoundError> {
    let place = Place::of(&cluster);
    let (pods, claims) = tokio::try_join!(place.pods(client), place.claims(client))?;
    let addresses = addresses(&pods);
    let mut slots = slots::assemble(&place.name, &pods, &claims);
    for (ordinal, what, refusal) in recollection.refusals() {
        let slot = slots.entry(ordinal).or_default();
        match what {
            Refused::Creation => slot.refused = Some(refusal),
            Refused::Growth => slot.growth_refused = Some(refusal),
        }
    }
    let ordinals: Vec<_> = slots.keys().copied().collect();
    let source = Source::read(client, &place, &cluster, &raft_ids(&place.name, &slots)).await?;
    let (found, storage, ()) = tokio::try_join!(
        children::read(client, &place, &ordinals, source.as_ref()),
        nodes::storage(client, installation, &cluster),
        nodes::fill(client, installation, &mut slots),
    )?;
    volumes::fill(client, installation, &place.name, &claims, &mut slots).await?;
    obstacles::fill(client, &place, &mut slots).await;
    let (trust, trusted) = (found.trust, found.trusted);
    let brought = source.and_then(|source| source.brought);
    let dialer = dialer(&cluster, trust.as_ref(), brought.as_ref())?;
    let answers = match &dialer {
        Some(dialer) => ask_all(dialer, &addresses.values().cloned().collect::<Vec<_>>()).await,
        None => Answers::default(),
    };
    for slot in slots.values_mut() {
        slot.answer = slot.pod.as_ref().and_then(|pod| answers.members.get(&pod.name).cloned());
    }
    let is_led = answers.view.is_some();
    let observed = Observed {
        cluster,
        slots,
        raft: answers.view,
        leader_heard: recollection.leader_heard(found.leader_renewed),
        unpublished: recollection.unpublished(found.leader_renewed, is_led),
        quorum_missing_before: recollection.quorum_was_missing(),
        failure: recollection.failure().map(str::to_owned),
        children: found.children,
        is_first_round: recollection.is_first_round(),
        storage,
        operator: OperatorFacts {
            sidecar_image: installation.sidecar_image.clone(),
            sidecar_pull_policy: installation.sidecar_pull_policy.clone(),
            namespace: installation.operator_namespace.clone(),
            is_turn: false,
            fresh_cluster_id: uuid::Uuid::new_v4().simple().to_string(),
        },
    };
    Ok(Seen { observed, dialer, addresses, trust, trusted, brought })
}

/// Which cluster, by the words every call needs.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
}

impl Place {
    pub(crate) fn of(cluster: &RaftCluster) -> Self {
        let meta = &cluster.metadata;
        Self {
            name: meta.name.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }

    pub(crate) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(client.clone(), &self.namespace)
    }

    fn of_this_cluster(&self) -> ListParams {
        ListParams::default().labels(&member_selector(&self.name))
    }

    async fn pods(&self, client: &Client) -> Result<Vec<Pod>, RoundError> {
        let list = self.api::<Pod>(client).list(&self.of_this_cluster()).await;
        Ok(list.map_err(RoundError::api("listing pods"))?.items)
    }

    async fn claims(&self, client: &Client) -> Result<Vec<PersistentVolumeClaim>, RoundError> {
        let list = self.api::<PersistentVolumeClaim>(client).list(&self.of_this_cluster()).await;
        Ok(list.map_err(RoundError::api("listing persistentvolumeclaims"))?.items)
    }
}

/// Whose directory each claim holds, as it is recorded or must be.
fn raft_ids(cluster: &str, slots: &BTreeMap<Ordinal, Slot>) -> BTreeMap<Ordinal, String> {
    let each = slots.iter().filter_map(|(&ordinal, slot)| {
        let claim = slot.claim.as_ref()?;
        let recorded = claim.record.raft_id.clone();
        Some((ordinal, recorded.unwrap_or_else(|| raft_id(&names::pod(cluster, ordinal), &claim.uid))))
    });
    each.collect()
}

/// Members with an address. A Pod being deleted is still asked: it may lead, and hands over as it goes.
fn addresses(pods: &[Pod]) -> BTreeMap<String, MemberAddress> {
    let address = |pod: &Pod| {
        let name = pod.metadata.name.clone()?;
        let raft_id =
            pod.metadata.annotations.as_ref()?.get(quorate_plan::children::label_keys::RAFT_ID)?.clone();
        let ip = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
        Some((name.clone(), MemberAddress { pod: name, ip, raft_id }))
    };
    pods.iter().filter_map(address).collect()
}

fn dialer(
    cluster: &RaftCluster,
    trust: Option<&Trust>,
    brought: Option<&Brought>,
) -> Result<Option<Dialer>, TlsError> {
    let recorded = cluster.status.as_ref().and_then(|status| status.cluster_id.as_deref());
    let (Some(cluster_id), Some(trust)) = (recorded, trust) else { return Ok(None) };
    match parse_cluster_id(cluster_id) {
        Ok(cluster_id) => Dialer::new(trust, brought.map(|brought| &brought.operator), cluster_id),
        Err(error) => {
            // Members cannot be asked; the planner says so. Everything else goes on.
            warn!(%error, "members cannot be dialled");
            Ok(None)
        }
    }
}
