//! The authority's and the members' Secrets (K46).
//!
//! Made by POST, never applied: of two operators that make an authority at once, one is told that it exists and
//! uses that one. A member's Secret is renewed in place, with the resource version it was read at.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use quorate_api::san::ANY_MEMBER;
use quorate_crds::OPERATOR_FIELD_MANAGER;
use quorate_plan::children::{label_keys, names, owner};
use quorate_plan::issuance::Request;
use quorate_plan::observed::{Child, Ordinal};
use quorate_plan::plan::AuthorityChange;
use serde_json::json;
use tracing::{info, warn};

use super::{Acted, Hands};
use crate::error::{RoundError, code, words};
use crate::limits::LEAF_LIFE;
use crate::observe::children::{LEAF_CERTIFICATE, LEAF_KEY, leaf_of, owned, read_trust};
use crate::tls::issuance;
use crate::tls::{
    Anchor, Authority, CA_CERTIFICATE, CA_KEY, Facts, Leaf, NEXT_CERTIFICATE, NEXT_KEY, PREVIOUS_CERTIFICATE,
    TlsError, Trust, parse_cluster_id,
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
    let name = names::tls_secret(&hands.place.name, ordinal);
    let leaf = match leaf_in_use(hands, trust, &name, raft_id, dns_names).await? {
        Some(leaf) => leaf,
        None => match (brought_leaf(hands, trust, ordinal), trust.issuer()) {
            (Some(leaf), _) => leaf,
            (None, Some(issuer)) => {
                issuer.issue(cluster_id, raft_id, dns_names, SystemTime::now(), LEAF_LIFE)?
            }
            (None, None) => {
                // The planner says what is wrong with the source; the next round looks there again.
                warn!(secret = %name, "there is nothing to take a member's certificate from");
                return Ok(Acted::ToItsEnd);
            }
        },
    };
    let data = [
        (CA_CERTIFICATE, trust.bundle()),
        (LEAF_CERTIFICATE, leaf.certificate_pem),
        (LEAF_KEY, leaf.key_pem),
    ];
    write(hands, &name, "kubernetes.io/tls", data).await
}

/// A certificate that was brought, once its authority is the one in force: nobody is shown one before he trusts it.
fn brought_leaf(hands: &Hands<'_>, trust: &Trust, ordinal: Ordinal) -> Option<Leaf> {
    let brought = hands.seen.brought.as_ref().filter(|brought| trust.current.is(&brought.authority_pem))?;
    brought.of(ordinal).cloned()
}

/// What the member shows already, if it is good: then only what it trusts is written anew.
async fn leaf_in_use(
    hands: &Hands<'_>,
    trust: &Trust,
    name: &str,
    raft_id: &str,
    dns_names: &[String],
) -> Result<Option<Leaf>, RoundError> {
    let secrets = hands.place.api::<Secret>(hands.client);
    let found = secrets.get_opt(name).await.map_err(RoundError::api("reading a certificate"))?;
    let Some(found) = found.filter(|found| owned(&hands.place, &found.metadata) == Child::Ours) else {
        return Ok(None);
    };
    let Some(leaf) = leaf_of(&found) else { return Ok(None) };
    let ordinal = names::ordinal_of_tls_secret(&hands.place.name, name);
    if let Some(brought) = ordinal.and_then(|ordinal| brought_leaf(hands, trust, ordinal)) {
        return Ok((leaf == brought).then_some(leaf));
    }
    let facts = Facts::read(&leaf.certificate_pem);
    let is_theirs = facts.is_some_and(|facts| {
        let shown = facts.raft_id.unwrap_or_default();
        let is_complete = dns_names.iter().all(|name| facts.dns_names.contains(name));
        quorate_api::san::stands_for(&shown, raft_id) && (is_complete || shown == ANY_MEMBER)
    });
    // One of others is kept as long as nobody can make another.
    let is_good = !trust.needs_renewal(&leaf.certificate_pem, SystemTime::now()) || trust.issuer().is_none();
    Ok((is_theirs && is_good).then_some(leaf))
}

/// The authority's Secret: for a new cluster, or in place of one that was lost. Then what members trust stays trusted.
async fn make_authority(hands: &Hands<'_>) -> Result<Trust, RoundError> {
    let name = names::ca_secret(&hands.place.name);
    let wanted = match &hands.seen.brought {
        Some(brought) => Anchor::without_key(brought.authority_pem.clone()),
        None => Anchor::own(Authority::new(&hands.place.name, SystemTime::now())?),
    };
    let trust = Trust::after_a_loss(hands.seen.trusted.iter().map(String::as_str), wanted);
    let mut data = vec![(CA_CERTIFICATE, trust.current.certificate_pem.clone())];
    data.extend(trust.current.authority.as_ref().map(|authority| (CA_KEY, authority.key_pem())));
    if let Some(next) = &trust.next {
        data.push((NEXT_CERTIFICATE, next.certificate_pem.clone()));
        data.extend(next.authority.as_ref().map(|authority| (NEXT_KEY, authority.key_pem())));
    }
    let is_lost = trust.next.is_some();
    let secrets = hands.place.api::<Secret>(hands.client);
    match secrets.create(&PostParams::default(), &secret(hands, &name, "Opaque", data)).await {
        Ok(_) => {
            info!(secret = %name, namespace = %hands.place.namespace, is_lost, "made the cluster's certificate authority");
            Ok(trust)
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
            if let Some(brought) = &hands.seen.brought {
                json!({ NEXT_CERTIFICATE: bytes(&brought.authority_pem), NEXT_KEY: null })
            } else {
                let next = Authority::new(&hands.place.name, SystemTime::now())?;
                json!({ NEXT_CERTIFICATE: bytes(next.certificate_pem()), NEXT_KEY: bytes(&next.key_pem()) })
            }
        }
        (AuthorityChange::Switch, Some(next)) => json!({
            CA_CERTIFICATE: bytes(&next.certificate_pem),
            CA_KEY: next.authority.as_ref().map(|authority| bytes(&authority.key_pem())),
            PREVIOUS_CERTIFICATE: bytes(&trust.past()),
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

/// Asks cert-manager. That its definitions are not there, or that somebody else has the name, is told by the planner, which
/// waits for the Secret.
pub(super) async fn request(hands: &Hands<'_>, request: &Request) -> Result<Acted, RoundError> {
    let resource = issuance::resource();
    let certificates: Api<DynamicObject> =
        Api::namespaced_with(hands.client.clone(), &hands.place.namespace, &resource);
    let found = certificates.get_metadata_opt(&request.name).await;
    let found = found.map_err(RoundError::api("reading a certificate of cert-manager"))?;
    if found.is_some_and(|found| owned(&hands.place, &found.metadata) != Child::Ours) {
        warn!(certificate = %request.name, "a certificate of cert-manager has the name and is not ours");
        return Ok(Acted::ToItsEnd);
    }
    let mut metadata = owned_metadata(hands, &request.name);
    metadata.annotations = Some([(label_keys::RENDERED.to_owned(), request.rendered())].into());
    let mut certificate = DynamicObject::new(&request.name, &resource);
    certificate.metadata = metadata;
    certificate.data = json!({ "spec": issuance::spec(request) });
    let parameters = PatchParams::apply(OPERATOR_FIELD_MANAGER).force();
    match certificates.patch(&request.name, &parameters, &Patch::Apply(&certificate)).await {
        Ok(_) => Ok(Acted::ToItsEnd),
        Err(error) if code(&error) == Some(404) => {
            warn!(certificate = %request.name, error = words(&error), "cert-manager cannot be asked");
            Ok(Acted::ToItsEnd)
        }
        Err(error) => Err(RoundError::api("asking cert-manager for a certificate")(error)),
    }
}

/// What clients outside the Pods trust members by; none until there is an authority.
pub(super) fn published(hands: &Hands<'_>, name: &str) -> Option<ConfigMap> {
    let bundle = hands.seen.trust.as_ref()?.bundle();
    Some(ConfigMap {
        metadata: owned_metadata(hands, name),
        data: Some([(CA_CERTIFICATE.to_owned(), bundle)].into()),
        ..ConfigMap::default()
    })
}

async fn write(
    hands: &Hands<'_>,
    name: &str,
    type_: &str,
    data: impl IntoIterator<Item = (&'static str, String)>,
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

fn secret(
    hands: &Hands<'_>,
    name: &str,
    type_: &str,
    data: impl IntoIterator<Item = (&'static str, String)>,
) -> Secret {
    let data: BTreeMap<String, ByteString> =
        data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect();
    Secret {
        metadata: owned_metadata(hands, name),
        type_: Some(type_.to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}
