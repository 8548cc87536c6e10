//! The children other than claims and Pods, each by name.
//!
//! Metadata only, except where the planner compares content. A Secret's key never leaves this module but in a
//! [`Trust`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::SystemTime;

use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Client, Resource};
use quorate_api::san::ANY_MEMBER;
use quorate_plan::children::network_policy::rendered;
use quorate_plan::children::{label_keys, names};
use quorate_plan::observed::{self, BudgetCounts, Certificate, Child, Children, Now, Ordinal, Published};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::source::Source;
use super::{Place, pods};
use crate::error::RoundError;
use crate::tls::{CA_CERTIFICATE, Facts, Leaf, Trust};

/// `tls.crt` in a member's Secret.
pub(crate) const LEAF_CERTIFICATE: &str = "tls.crt";
/// `tls.key` in a member's Secret.
pub(crate) const LEAF_KEY: &str = "tls.key";

/// What was found.
pub(super) struct Found {
    pub(super) children: Children,
    pub(super) trust: Option<Trust>,
    /// What the members' Secrets say is trusted: all that is left if the authority's is lost.
    pub(super) trusted: Vec<String>,
    /// What the leader wrote into the status Lease, by its own clock: only whether it changes means something (K32).
    pub(super) leader_renewed: Option<jiff::Timestamp>,
}

/// Reads every child; certificates for the slots that exist. `source` is what `spec.tls` names, if it names anything.
pub(super) async fn read(
    client: &Client,
    place: &Place,
    ordinals: &[Ordinal],
    source: Option<&Source>,
) -> Result<Found, RoundError> {
    let name = &place.name;
    let (leader, access) = (names::leader(name), names::access(name));
    let members = names::members_service(name);
    let (read_service, budget, ca_secret) =
        (names::read_service(name), names::budget(name), names::ca_secret(name));
    let (published, policy) = (names::published_authority(name), names::network_policy(name));
    let (members_service, leader_service, read_service, leader_slice, leader_lease) = tokio::try_join!(
        child::<Service>(client, place, &members),
        get::<Service>(client, place, &leader),
        child::<Service>(client, place, &read_service),
        child::<EndpointSlice>(client, place, &leader),
        get::<Lease>(client, place, &leader),
    )?;
    let (service_account, role, role_binding) = tokio::try_join!(
        child::<ServiceAccount>(client, place, &access),
        child::<Role>(client, place, &access),
        get::<RoleBinding>(client, place, &access),
    )?;
    let (budget, ca_secret, published, policy) = tokio::try_join!(
        get::<PodDisruptionBudget>(client, place, &budget),
        get::<Secret>(client, place, &ca_secret),
        get::<ConfigMap>(client, place, &published),
        get::<NetworkPolicy>(client, place, &policy),
    )?;
    let own_secret = ca_secret.as_ref().filter(|secret| owned(place, &secret.metadata) == Child::Ours);
    let trust = own_secret.and_then(read_trust);
    let mut authority =
        own_secret.zip(trust.as_ref()).map(|(secret, trust)| authority(secret, trust)).unwrap_or_default();
    authority.asked = source.map(|source| source.asked.clone()).unwrap_or_default();
    authority.brought = source.map(|source| source.as_seen(trust.as_ref()));
    let trusted = trust.as_ref();
    let brought = source.and_then(|source| source.brought.as_ref());
    let leaves = ordinals.iter().map(|&ordinal| async move {
        let secret = get::<Secret>(client, place, &names::tls_secret(name, ordinal)).await?;
        let leaf = brought.and_then(|brought| Some((brought.authority_pem.as_str(), brought.of(ordinal)?)));
        Ok::<_, RoundError>(
            secret.map(|secret| (ordinal, certificate(place, &secret, trusted, leaf), secret)),
        )
    });
    let found: Vec<_> = try_join_all(leaves).await?.into_iter().flatten().collect();
    let ours = found.iter().filter(|(_, certificate, _)| certificate.owner == Child::Ours);
    let trusted_by_members = ours.filter_map(|(_, _, secret)| text(secret, CA_CERTIFICATE)).collect();
    let certificates = found.into_iter().map(|(ordinal, certificate, _)| (ordinal, certificate)).collect();
    let children = Children {
        members_service,
        read_service,
        leader_service: owned_opt(place, leader_service.as_ref().map(|service| &service.metadata)),
        leader_slice,
        leader_lease: owned_opt(place, leader_lease.as_ref().map(|lease| &lease.metadata)),
        budget: owned_opt(place, budget.as_ref().map(|budget| &budget.metadata)),
        budget_min_available: budget.as_ref().and_then(min_available),
        budget_counts: budget.as_ref().and_then(budget_counts),
        service_account,
        role,
        role_binding: owned_opt(place, role_binding.as_ref().map(|binding| &binding.metadata)),
        bound_accounts: role_binding.as_ref().map(bound_accounts).unwrap_or_default(),
        leader_ports: leader_service.as_ref().map(ports).unwrap_or_default(),
        ca_secret: owned_opt(place, ca_secret.as_ref().map(|secret| &secret.metadata)),
        published_authority: published.map(|found| published_of(place, &found, trusted)).unwrap_or_default(),
        network_policy: owned_opt(place, policy.as_ref().map(|policy| &policy.metadata)),
        network_policy_rendered: policy.as_ref().and_then(rendered).cloned(),
        authority,
        certificates,
    };
    let leader_renewed =
        leader_lease.as_ref().and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
    Ok(Found { children, trust, trusted: trusted_by_members, leader_renewed })
}

/// What clients outside the Pods are told to trust.
fn published_of(place: &Place, found: &ConfigMap, trust: Option<&Trust>) -> Published {
    let bundle = found.data.as_ref().and_then(|data| data.get(CA_CERTIFICATE));
    Published {
        owner: owned(place, &found.metadata),
        is_current: trust.is_some_and(|trust| bundle == Some(&trust.bundle())),
    }
}

/// The authorities a Secret holds.
pub(crate) fn read_trust(secret: &Secret) -> Option<Trust> {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    match Trust::read(name, |key| text(secret, key)) {
        Ok(trust) => Some(trust),
        Err(error) => {
            warn!(%error, "a cluster's certificate authority cannot be used");
            None
        }
    }
}

/// What the planner is told of them.
fn authority(secret: &Secret, trust: &Trust) -> observed::Authority {
    let annotations = secret.metadata.annotations.as_ref();
    observed::Authority {
        resource_version: secret.metadata.resource_version.clone().unwrap_or_default(),
        has_next: trust.next.is_some(),
        has_previous: trust.previous.is_some(),
        is_old: trust.is_old(SystemTime::now()),
        rotation: annotations.and_then(|all| all.get(label_keys::ROTATION)).cloned(),
        is_keyless: trust.current.authority.is_none(),
        is_next_keyless: trust.next.as_ref().is_some_and(|next| next.authority.is_none()),
        asked: BTreeMap::new(),
        brought: None,
    }
}

/// A member's certificate and key.
pub(crate) fn leaf_of(secret: &Secret) -> Option<Leaf> {
    Some(Leaf { certificate_pem: text(secret, LEAF_CERTIFICATE)?, key_pem: text(secret, LEAF_KEY)? })
}

/// A value of a Secret as text.
pub(crate) fn text(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref()?.get(key)?;
    String::from_utf8(value.0.clone()).ok()
}

/// Whose an object is (K45).
pub(crate) fn owned(place: &Place, meta: &ObjectMeta) -> Child {
    if pods::controller_uid(meta).as_deref() == Some(place.uid.as_str()) {
        Child::Ours
    } else {
        Child::Foreign
    }
}

fn owned_opt(place: &Place, meta: Option<&ObjectMeta>) -> Child {
    meta.map_or(Child::Missing, |meta| owned(place, meta))
}

/// `brought` is an authority of others and what it issued for this member.
fn certificate(
    place: &Place,
    secret: &Secret,
    trust: Option<&Trust>,
    brought: Option<(&str, &Leaf)>,
) -> Certificate {
    let leaf = text(secret, LEAF_CERTIFICATE).unwrap_or_default();
    let bundle = text(secret, CA_CERTIFICATE).unwrap_or_default();
    let facts = Facts::read(&leaf);
    let is_due = trust.is_none_or(|trust| match brought {
        // One that is not trusted by all yet is not shown by anybody.
        Some((authority_pem, brought)) if trust.current.is(authority_pem) => {
            leaf_of(secret).as_ref() != Some(brought)
        }
        _ => trust.issuer().is_some() && trust.needs_renewal(&leaf, SystemTime::now()),
    });
    // The trust bundle beside the leaf goes stale together with it.
    let is_bundle_stale = trust.is_none_or(|trust| trust.bundle() != bundle);
    Certificate {
        owner: owned(place, &secret.metadata),
        not_after: facts.as_ref().and_then(|facts| u64::try_from(facts.not_after).ok()).map(Now),
        dns_names: facts.as_ref().map(|facts| facts.dns_names.clone()).unwrap_or_default(),
        is_shared: facts.as_ref().is_some_and(|facts| facts.raft_id.as_deref() == Some(ANY_MEMBER)),
        raft_id: facts.and_then(|facts| facts.raft_id),
        renewal_due: is_bundle_stale || is_due,
        content: quorate_api::credentials::hash(bundle.as_bytes(), leaf.as_bytes()),
    }
}

fn min_available(budget: &PodDisruptionBudget) -> Option<i32> {
    match budget.spec.as_ref()?.min_available.as_ref()? {
        IntOrString::Int(count) => Some(*count),
        IntOrString::String(_) => None,
    }
}

/// None until Kubernetes has counted for the budget as it is now.
fn budget_counts(budget: &PodDisruptionBudget) -> Option<BudgetCounts> {
    let status = budget.status.as_ref()?;
    (status.observed_generation == budget.metadata.generation).then_some(BudgetCounts {
        current_healthy: status.current_healthy,
        desired_healthy: status.desired_healthy,
        disruptions_allowed: status.disruptions_allowed,
    })
}

fn ports(service: &Service) -> Vec<(String, i32)> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports.into_iter().flatten().map(|port| (port.name.clone().unwrap_or_default(), port.port)).collect()
}

fn bound_accounts(binding: &RoleBinding) -> Vec<String> {
    binding.subjects.iter().flatten().map(|subject| subject.name.clone()).collect()
}

async fn child<K>(client: &Client, place: &Place, name: &str) -> Result<Child, RoundError>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug,
{
    let found =
        place.api::<K>(client).get_metadata_opt(name).await.map_err(RoundError::api("reading a child"))?;
    Ok(owned_opt(place, found.as_ref().map(|found| &found.metadata)))
}

async fn get<K>(client: &Client, place: &Place, name: &str) -> Result<Option<K>, RoundError>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug,
{
    place.api::<K>(client).get_opt(name).await.map_err(RoundError::api("reading a child"))
}
