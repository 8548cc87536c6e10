//! The authority's and the members' Secrets (K46).
//!
//! Made by POST, never applied: of two operators that make an authority at once, one is told that it exists and
//! uses that one. A member's Secret is renewed in place, with the resource version it was read at.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use quorate_crds::OPERATOR_FIELD_MANAGER;
use quorate_plan::children::{label_keys, names, owner};
use quorate_plan::observed::{Child, Ordinal};
use quorate_plan::plan::AuthorityChange;
use serde_json::json;
use tracing::info;

use super::{Acted, Hands};
use crate::error::{RoundError, code};
use crate::limits::LEAF_LIFE;
use crate::observe::children::{LEAF_CERTIFICATE, LEAF_KEY, owned, read_trust};
use crate::tls::{
    Authority, CA_CERTIFICATE, CA_KEY, NEXT_CERTIFICATE, NEXT_KEY, PREVIOUS_CERTIFICATE, TlsError, Trust,
    parse_cluster_id,
};

/// Makes or renews one member's certificate, and the authority before the first.
pub(super) async fn ensure(
    hands: &Hands<'_>,
    ordinal: Ordinal,
    raft_id: &str,
    dns_names: &[String],
) -> Result<Acted, RoundError> {
    // Recorded before the first claim exists (K2); without it there is no identity to certify.
    let recorded =
        hands.seen.observed.cluster.status.as_ref().and_then(|status| status.cluster_id.as_deref());
    let Some(cluster_id) = recorded else { return Ok(Acted::Overtaken) };
    let cluster_id = parse_cluster_id(cluster_id)?;
    let made;
    let trust = if let Some(trust) = &hands.seen.trust {
        trust
    } else {
        made = make_authority(hands).await?;
        &made
    };
    let leaf = trust.authority.issue(cluster_id, raft_id, dns_names, SystemTime::now(), LEAF_LIFE)?;
    let data = [
        (CA_CERTIFICATE, trust.bundle()),
        (LEAF_CERTIFICATE, leaf.certificate_pem),
        (LEAF_KEY, leaf.key_pem),
    ];
    write(hands, &names::tls_secret(&hands.place.name, ordinal), "kubernetes.io/tls", data).await
}

async fn make_authority(hands: &Hands<'_>) -> Result<Trust, RoundError> {
    let name = names::ca_secret(&hands.place.name);
    let authority = Authority::new(&hands.place.name, SystemTime::now())?;
    let data = [(CA_CERTIFICATE, authority.certificate_pem().to_owned()), (CA_KEY, authority.key_pem())];
    let secrets = hands.place.api::<Secret>(hands.client);
    match secrets.create(&PostParams::default(), &secret(hands, &name, "Opaque", data)).await {
        Ok(_) => {
            info!(secret = %name, namespace = %hands.place.namespace, "made the cluster's certificate authority");
            Ok(Trust { authority, next: None, previous: None })
        }
        Err(error) if code(&error) == Some(409) => {
            let found =
                secrets.get(&name).await.map_err(RoundError::api("reading the certificate authority"))?;
            let unusable = |why: &str| TlsError::Authority { secret: name.clone(), why: why.to_owned() };
            if owned(&hands.place, &found.metadata) != Child::Ours {
                return Err(unusable("it belongs to something else").into());
            }
            Ok(read_trust(&found).ok_or_else(|| unusable("ca.crt or ca.key cannot be read"))?)
        }
        Err(error) => Err(RoundError::api("making the certificate authority")(error)),
    }
}

/// One step from an authority to the next, on the Secret as it was read.
pub(super) async fn change_authority(
    hands: &Hands<'_>,
    name: &str,
    resource_version: &str,
    change: AuthorityChange,
    rotation: Option<&str>,
) -> Result<Acted, RoundError> {
    let Some(trust) = &hands.seen.trust else { return Ok(Acted::Overtaken) };
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let data = match (change, &trust.next) {
        (AuthorityChange::Announce, _) => {
            let next = Authority::new(&hands.place.name, SystemTime::now())?;
            json!({ NEXT_CERTIFICATE: bytes(next.certificate_pem()), NEXT_KEY: bytes(&next.key_pem()) })
        }
        (AuthorityChange::Switch, Some((certificate, key))) => json!({
            CA_CERTIFICATE: bytes(certificate),
            CA_KEY: bytes(key),
            PREVIOUS_CERTIFICATE: bytes(trust.authority.certificate_pem()),
            NEXT_CERTIFICATE: null,
            NEXT_KEY: null,
        }),
        (AuthorityChange::Switch, None) => return Ok(Acted::Overtaken),
        (AuthorityChange::Forget, _) => json!({ PREVIOUS_CERTIFICATE: null }),
    };
    let body = json!({
        "metadata": {
            "resourceVersion": resource_version,
            "annotations": { label_keys::ROTATION: rotation },
        },
        "data": data,
    });
    let parameters =
        PatchParams { field_manager: Some(OPERATOR_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let secrets = hands.place.api::<Secret>(hands.client);
    info!(secret = %name, namespace = %hands.place.namespace, ?change, "changing the certificate authority");
    let patched = secrets.patch_metadata(name, &parameters, &Patch::Merge(&body)).await;
    super::ensure::overtaken_or("changing the certificate authority", patched)
}

async fn write<const N: usize>(
    hands: &Hands<'_>,
    name: &str,
    type_: &str,
    data: [(&str, String); N],
) -> Result<Acted, RoundError> {
    let secrets = hands.place.api::<Secret>(hands.client);
    let wanted = secret(hands, name, type_, data);
    match secrets.get_metadata_opt(name).await.map_err(RoundError::api("reading a certificate"))? {
        None => match secrets.create(&PostParams::default(), &wanted).await {
            Ok(_) => Ok(Acted::ToItsEnd),
            Err(error) if code(&error) == Some(409) => Ok(Acted::Overtaken),
            Err(error) => Err(RoundError::api("making a certificate's secret")(error)),
        },
        Some(found) if owned(&hands.place, &found.metadata) == Child::Ours => {
            let body = json!({
                "metadata": { "resourceVersion": found.metadata.resource_version },
                "data": wanted.data,
            });
            let parameters = PatchParams {
                field_manager: Some(OPERATOR_FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            match secrets.patch_metadata(name, &parameters, &Patch::Merge(&body)).await {
                Ok(_) => {
                    info!(secret = %name, namespace = %hands.place.namespace, "renewed a member's certificate");
                    Ok(Acted::ToItsEnd)
                }
                Err(error) if matches!(code(&error), Some(404 | 409)) => Ok(Acted::Overtaken),
                Err(error) => Err(RoundError::api("renewing a certificate")(error)),
            }
        }
        // The planner sees it next round and reports the conflict (K45).
        Some(_) => Ok(Acted::Overtaken),
    }
}

fn owned_metadata(hands: &Hands<'_>, name: &str) -> ObjectMeta {
    let labels = [
        (label_keys::CLUSTER, hands.place.name.as_str()),
        ("app.kubernetes.io/managed-by", OPERATOR_FIELD_MANAGER),
        ("app.kubernetes.io/part-of", "quorate"),
    ];
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(hands.place.namespace.clone()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        owner_references: Some(vec![owner(&hands.seen.observed.cluster)]),
        ..ObjectMeta::default()
    }
}

fn secret<const N: usize>(hands: &Hands<'_>, name: &str, type_: &str, data: [(&str, String); N]) -> Secret {
    let data: BTreeMap<String, ByteString> =
        data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect();
    Secret {
        metadata: owned_metadata(hands, name),
        type_: Some(type_.to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}
