//! The idempotent part of a plan.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use quorate_crds::OPERATOR_FIELD_MANAGER;
use quorate_plan::children::names;
use quorate_plan::observed::{Child, Ordinal};
use quorate_plan::plan::{Applied, Ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::{info, warn};

use super::{Acted, Hands, certificate};
use crate::error::{RoundError, code, words};
use crate::memory::{Recollection, Refused};
use crate::observe::children::owned;

/// All that is ever applied to a Pod is applied under this name (K35).
const POD_METADATA_FIELD_MANAGER: &str = "quorate-operator-pod-metadata";

pub(super) async fn carry_out(
    hands: &Hands<'_>,
    ensure: &Ensure,
    recollection: &mut Recollection,
) -> Result<Acted, RoundError> {
    match ensure {
        Ensure::Apply(applied) => apply(hands, applied).await,
        Ensure::CreateSlice(slice) => create_if_absent(hands, slice.as_ref()).await,
        Ensure::SlicePorts { name, ports } => slice_ports(hands, name, ports).await,
        Ensure::CreateLease(lease) => create_if_absent(hands, lease.as_ref()).await,
        Ensure::DeleteBudget { name } => delete_budget(hands, name).await,
        Ensure::DeleteNetworkPolicy { name } => delete_network_policy(hands, name).await,
        Ensure::Certificate { ordinal, raft_id, dns_names } => {
            certificate::ensure(hands, *ordinal, raft_id, dns_names).await
        }
        Ensure::ChangeAuthority { secret, resource_version, change, rotation } => {
            certificate::change_authority(hands, secret, resource_version, *change, rotation.as_deref()).await
        }
        Ensure::RequestCertificate(request) => certificate::request(hands, request).await,
        Ensure::PublishAuthority { name } => {
            let Some(published) = certificate::published(hands, name) else { return Ok(Acted::Overtaken) };
            apply_one(hands, &published).await
        }
        Ensure::CreateClaim(claim) => {
            let ordinal = ordinal(claim.as_ref(), |name| names::ordinal_of_claim(&hands.place.name, name));
            create_of_slot::<PersistentVolumeClaim>(hands, claim, ordinal, recollection).await
        }
        Ensure::CreatePod(pod) => {
            let ordinal = ordinal(pod.as_ref(), |name| names::ordinal_of_pod(&hands.place.name, name));
            create_of_slot::<Pod>(hands, pod, ordinal, recollection).await
        }
        Ensure::NoteOnClaim { claim, uid, resource_version, set } => {
            note_on_claim(hands, claim, uid, resource_version, set).await
        }
        Ensure::OwnClaim { claim, uid, resource_version, owner } => {
            own_claim(hands, claim, uid, resource_version, owner.as_ref()).await
        }
        Ensure::ExpandClaim { claim, uid, resource_version, size } => {
            let body = json!({
                "metadata": { "uid": uid, "resourceVersion": resource_version },
                "spec": { "resources": { "requests": { "storage": size } } },
            });
            expand_claim(hands, claim, &body, recollection).await
        }
        Ensure::DeleteEndedPod { pod, uid, resource_version } => {
            delete::<Pod>(hands, pod, uid, resource_version).await
        }
        Ensure::LabelPod { pod, uid, labels } => label_pod(hands, pod, uid, labels).await,
        // Told together with the facts, over one connection.
        Ensure::SetAutopilot(_) => Ok(Acted::ToItsEnd),
    }
}

async fn apply(hands: &Hands<'_>, applied: &Applied) -> Result<Acted, RoundError> {
    match applied {
        Applied::Service(service) => apply_one(hands, service).await,
        Applied::Budget(budget) => apply_one(hands, budget).await,
        Applied::ServiceAccount(account) => apply_one(hands, account).await,
        Applied::Role(role) => apply_one(hands, role).await,
        Applied::RoleBinding(binding) => apply_one(hands, binding).await,
        Applied::NetworkPolicy(policy) => apply_one(hands, policy).await,
    }
}

async fn apply_one<K>(hands: &Hands<'_>, object: &K) -> Result<Acted, RoundError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + Clone
        + Debug
        + DeserializeOwned,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let parameters = PatchParams::apply(OPERATOR_FIELD_MANAGER).force();
    let applied = hands.place.api::<K>(hands.client).patch(&name, &parameters, &Patch::Apply(object)).await;
    applied.map(|_| Acted::ToItsEnd).map_err(RoundError::api("applying a child"))
}

/// A merge touches the ports alone; one that is gone is made anew by the next round.
async fn slice_ports(hands: &Hands<'_>, name: &str, ports: &[EndpointPort]) -> Result<Acted, RoundError> {
    let body = json!({ "ports": ports });
    let slices = hands.place.api::<EndpointSlice>(hands.client);
    match slices.patch(name, &PatchParams::default(), &Patch::Merge(&body)).await {
        Ok(_) => Ok(Acted::ToItsEnd),
        Err(error) if code(&error) == Some(404) => Ok(Acted::Overtaken),
        Err(error) => Err(RoundError::api("changing the leader's ports")(error)),
    }
}

/// That it exists already is fine: its content is the leader's (K40).
async fn create_if_absent<K>(hands: &Hands<'_>, object: &K) -> Result<Acted, RoundError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + Clone
        + Debug
        + DeserializeOwned,
{
    match hands.place.api::<K>(hands.client).create(&PostParams::default(), object).await {
        Ok(_) => Ok(Acted::ToItsEnd),
        Err(error) if code(&error) == Some(409) => Ok(Acted::ToItsEnd),
        Err(error) => Err(RoundError::api("making a child")(error)),
    }
}

/// A refusal is kept for the planner to quote (K51): quota, Pod Security, a webhook, a name that is taken.
async fn create_of_slot<K>(
    hands: &Hands<'_>,
    object: &K,
    ordinal: Option<Ordinal>,
    recollection: &mut Recollection,
) -> Result<Acted, RoundError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + Clone
        + Debug
        + DeserializeOwned,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let kind = K::kind(&()).into_owned();
    match hands.place.api::<K>(hands.client).create(&PostParams::default(), object).await {
        Ok(_) => {
            info!(%kind, %name, namespace = %hands.place.namespace, "created");
            if let Some(ordinal) = ordinal {
                recollection.accept(ordinal, Refused::Creation);
            }
            Ok(Acted::ToItsEnd)
        }
        Err(error) if code(&error) == Some(409) => taken::<K>(hands, &name, ordinal, recollection).await,
        Err(error) if matches!(code(&error), Some(400..=499)) => {
            warn!(%kind, %name, error = words(&error), "creation was refused");
            if let Some(ordinal) = ordinal {
                recollection.refuse(ordinal, Refused::Creation, &format!("{kind} {name}: {}", words(&error)));
            }
            Ok(Acted::ToItsEnd)
        }
        Err(error) => Err(RoundError::api("creating an object of a member")(error)),
    }
}

/// 409: either another operator was faster, and the next round sees its object, or a stranger has the name (K45).
async fn taken<K>(
    hands: &Hands<'_>,
    name: &str,
    ordinal: Option<Ordinal>,
    recollection: &mut Recollection,
) -> Result<Acted, RoundError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api = hands.place.api::<K>(hands.client);
    let found = api.get_metadata_opt(name).await.map_err(RoundError::api("reading an object of a member"))?;
    let labelled = |meta: &kube::core::ObjectMeta| {
        let key = quorate_plan::children::label_keys::CLUSTER;
        meta.labels.as_ref().and_then(|labels| labels.get(key)) == Some(&hands.place.name)
    };
    if let Some(found) = found {
        let is_ours = owned(&hands.place, &found.metadata) == Child::Ours || labelled(&found.metadata);
        if let (false, Some(ordinal)) = (is_ours, ordinal) {
            let kind = K::kind(&());
            let text = format!("{kind} {name} exists and was made by something else");
            recollection.refuse(ordinal, Refused::Creation, &text);
        }
    }
    Ok(Acted::Overtaken)
}

async fn note_on_claim(
    hands: &Hands<'_>,
    claim: &str,
    uid: &str,
    resource_version: &str,
    set: &BTreeMap<String, String>,
) -> Result<Acted, RoundError> {
    let body = json!({ "metadata": {
        "uid": uid,
        "resourceVersion": resource_version,
        "annotations": set,
    }});
    let parameters =
        PatchParams { field_manager: Some(OPERATOR_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let claims = hands.place.api::<PersistentVolumeClaim>(hands.client);
    overtaken_or(
        "writing onto a claim",
        claims.patch_metadata(claim, &parameters, &Patch::Merge(&body)).await,
    )
}

/// Sets or drops the owner: what becomes of the claim when the cluster is deleted (K41).
async fn own_claim(
    hands: &Hands<'_>,
    claim: &str,
    uid: &str,
    resource_version: &str,
    owner: Option<&OwnerReference>,
) -> Result<Acted, RoundError> {
    let body = json!({ "metadata": {
        "uid": uid,
        "resourceVersion": resource_version,
        "ownerReferences": owner.map_or_else(Vec::new, |owner| vec![owner]),
    }});
    let parameters =
        PatchParams { field_manager: Some(OPERATOR_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let claims = hands.place.api::<PersistentVolumeClaim>(hands.client);
    overtaken_or("owning a claim", claims.patch_metadata(claim, &parameters, &Patch::Merge(&body)).await)
}

/// Asks for a larger volume. A class that lets none grow is refused by the API server, and the planner quotes it.
async fn expand_claim(
    hands: &Hands<'_>,
    claim: &str,
    body: &serde_json::Value,
    recollection: &mut Recollection,
) -> Result<Acted, RoundError> {
    let parameters =
        PatchParams { field_manager: Some(OPERATOR_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let claims = hands.place.api::<PersistentVolumeClaim>(hands.client);
    let Some(ordinal) = names::ordinal_of_claim(&hands.place.name, claim) else {
        return Ok(Acted::Overtaken);
    };
    match claims.patch(claim, &parameters, &Patch::Merge(body)).await {
        Err(error) if matches!(code(&error), Some(403 | 422)) => {
            warn!(%claim, error = words(&error), "a larger volume was refused");
            recollection.refuse(ordinal, Refused::Growth, words(&error).as_ref());
            Ok(Acted::ToItsEnd)
        }
        answer => {
            recollection.accept(ordinal, Refused::Growth);
            overtaken_or("asking for a larger volume", answer)
        }
    }
}

async fn label_pod(
    hands: &Hands<'_>,
    pod: &str,
    uid: &str,
    labels: &BTreeMap<String, String>,
) -> Result<Acted, RoundError> {
    let body = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": pod, "uid": uid, "labels": labels },
    });
    let parameters = PatchParams::apply(POD_METADATA_FIELD_MANAGER).force();
    let pods = hands.place.api::<Pod>(hands.client);
    overtaken_or("labelling a pod", pods.patch_metadata(pod, &parameters, &Patch::Apply(&body)).await)
}

async fn delete_budget(hands: &Hands<'_>, name: &str) -> Result<Acted, RoundError> {
    let budgets = hands.place.api::<PodDisruptionBudget>(hands.client);
    match budgets.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(Acted::ToItsEnd),
        Err(error) if code(&error) == Some(404) => Ok(Acted::ToItsEnd),
        Err(error) => Err(RoundError::api("deleting the disruption budget")(error)),
    }
}

async fn delete_network_policy(hands: &Hands<'_>, name: &str) -> Result<Acted, RoundError> {
    let policies = hands.place.api::<NetworkPolicy>(hands.client);
    match policies.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(Acted::ToItsEnd),
        Err(error) if code(&error) == Some(404) => Ok(Acted::ToItsEnd),
        Err(error) => Err(RoundError::api("deleting the network policy")(error)),
    }
}

/// Deletes exactly the object that was read.
pub(super) async fn delete<K>(
    hands: &Hands<'_>,
    name: &str,
    uid: &str,
    resource_version: &str,
) -> Result<Acted, RoundError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let preconditions =
        Preconditions { uid: Some(uid.to_owned()), resource_version: Some(resource_version.to_owned()) };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let deleted = hands.place.api::<K>(hands.client).delete(name, &parameters).await;
    if deleted.is_ok() {
        info!(kind = %K::kind(&()), %name, namespace = %hands.place.namespace, "deleted");
    }
    overtaken_or("deleting an object of a member", deleted)
}

/// 404 and 409 mean that the object is not the one read any more.
pub(super) fn overtaken_or<T>(
    what: &'static str,
    answer: Result<T, kube::Error>,
) -> Result<Acted, RoundError> {
    match answer {
        Ok(_) => Ok(Acted::ToItsEnd),
        Err(error) if matches!(code(&error), Some(404 | 409)) => Ok(Acted::Overtaken),
        Err(error) => Err(RoundError::api(what)(error)),
    }
}

fn ordinal<K: Resource>(object: &K, of: impl Fn(&str) -> Option<Ordinal>) -> Option<Ordinal> {
    object.meta().name.as_deref().and_then(of)
}
