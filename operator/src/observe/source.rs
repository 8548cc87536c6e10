//! The certificates that `spec.tls` names: read, and checked before anything of them is used (K23, K46).

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DynamicObject};
use quorate_api::san::{ANY_MEMBER, OPERATOR};
use quorate_crds::{RaftCluster, TlsMode};
use quorate_plan::children::{label_keys, names};
use quorate_plan::observed::{self, Ordinal};

use super::Place;
use super::children::{LEAF_CERTIFICATE, LEAF_KEY, text};
use crate::error::RoundError;
use crate::tls::issuance;
use crate::tls::{Brought, CA_CERTIFICATE, Leaf, Trust, Wanted, check, parse_cluster_id};

/// The operator's own certificate in a Secret that was brought.
const OPERATOR_CERTIFICATE: &str = "operator.crt";
/// And its key.
const OPERATOR_KEY: &str = "operator.key";

/// What `spec.tls` names.
pub(crate) struct Source {
    /// All of it, if it can be used.
    pub(crate) brought: Option<Brought>,
    /// Otherwise: what is wrong and what to do.
    problem: Option<String>,
    /// Members for which there is none yet, and why.
    waiting: BTreeMap<Ordinal, String>,
    /// What each `Certificate` of cert-manager was rendered as, by name.
    pub(super) asked: BTreeMap<String, String>,
}

impl Source {
    /// Reads and checks it; none if the operator's own authority is asked for.
    pub(super) async fn read(
        client: &Client,
        place: &Place,
        cluster: &RaftCluster,
        raft_ids: &BTreeMap<Ordinal, String>,
    ) -> Result<Option<Self>, RoundError> {
        let tls = &cluster.spec.tls;
        if tls.mode == TlsMode::OperatorCA {
            return Ok(None);
        }
        // Identities begin with the cluster ID (K2), which this round records.
        let recorded = cluster.status.as_ref().and_then(|status| status.cluster_id.as_deref());
        let Some(cluster_id) = recorded.and_then(|recorded| parse_cluster_id(recorded).ok()) else {
            return Ok(Some(Self::unusable("spec.tls waits for status.clusterId".to_owned())));
        };
        let now = SystemTime::now();
        if tls.mode == TlsMode::CertManager {
            let issued = Issued::read(client, place, raft_ids).await?;
            return Ok(Some(of_issued(&place.name, &issued, cluster_id, now)));
        }
        // The schema demands it with this mode.
        let named = tls.secret_ref.clone().unwrap_or_default().name;
        let found = place.api::<Secret>(client).get_opt(&named).await;
        let found = found.map_err(RoundError::api("reading the secret of spec.tls.secretRef"))?;
        let names = service_names(cluster, place);
        let brought = of_secret(found.as_ref(), cluster_id, &names, now);
        Ok(Some(brought.map_or_else(
            |why| Self::unusable(format!("spec.tls.secretRef: Secret {named}: {why}")),
            Self::usable,
        )))
    }

    fn usable(brought: Brought) -> Self {
        Self { brought: Some(brought), problem: None, waiting: BTreeMap::new(), asked: BTreeMap::new() }
    }

    fn unusable(problem: String) -> Self {
        Self { brought: None, problem: Some(problem), waiting: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// What the planner is told.
    pub(super) fn as_seen(&self, trust: Option<&Trust>) -> observed::Brought {
        let authority = self.brought.as_ref().map(|brought| brought.authority_pem.as_str());
        let is = |anchor: Option<&crate::tls::Anchor>| {
            anchor.zip(authority).is_some_and(|(anchor, authority)| anchor.is(authority))
        };
        observed::Brought {
            problem: self.problem.clone(),
            waiting: self.waiting.clone(),
            is_in_force: is(trust.map(|trust| &trust.current)),
            is_next: is(trust.and_then(|trust| trust.next.as_ref())),
        }
    }
}

/// By what names clients outside the Pods check a certificate that all members share.
fn service_names(cluster: &RaftCluster, place: &Place) -> Vec<String> {
    if !cluster.spec.client_access.is_open() {
        return Vec::new();
    }
    let services = [names::leader(&place.name), names::read_service(&place.name)];
    services.map(|service| format!("{service}.{}.svc", place.namespace)).to_vec()
}

fn of_secret(
    secret: Option<&Secret>,
    cluster_id: u128,
    dns_names: &[String],
    now: SystemTime,
) -> Result<Brought, String> {
    let member = quorate_api::san::format(cluster_id, ANY_MEMBER);
    let operator = quorate_api::san::format(cluster_id, OPERATOR);
    let secret = secret.ok_or_else(|| {
        format!(
            "there is none: create it with {CA_CERTIFICATE}, {LEAF_CERTIFICATE} and {LEAF_KEY} for {member}, and \
             {OPERATOR_CERTIFICATE} and {OPERATOR_KEY} for {operator}"
        )
    })?;
    let value = |key: &str| {
        let value = text(secret, key).filter(|value| !value.trim().is_empty());
        value.ok_or_else(|| format!("it has no {key}: add it, in PEM"))
    };
    let authority_pem = value(CA_CERTIFICATE)?;
    let leaf = |files: (&'static str, &'static str), raft_id: &str, dns_names: &[String]| {
        let leaf = Leaf { certificate_pem: value(files.0)?, key_pem: value(files.1)? };
        let wanted = Wanted { cluster_id, raft_id, dns_names, files };
        check(&leaf, &authority_pem, &wanted, now).map(|()| leaf)
    };
    let shared = leaf((LEAF_CERTIFICATE, LEAF_KEY), ANY_MEMBER, dns_names)?;
    let operator = leaf((OPERATOR_CERTIFICATE, OPERATOR_KEY), OPERATOR, &[])?;
    Ok(Brought { shared: Some(shared), each: BTreeMap::new(), operator, authority_pem })
}

/// What cert-manager was asked for, and what came of it.
struct Issued {
    /// The operator's Secret.
    operator: Option<Secret>,
    /// Each member's Raft ID, and its Secret.
    members: BTreeMap<Ordinal, (String, Option<Secret>)>,
    /// Its Certificates, as they were found, by name.
    certificates: BTreeMap<String, DynamicObject>,
}

impl Issued {
    async fn read(
        client: &Client,
        place: &Place,
        raft_ids: &BTreeMap<Ordinal, String>,
    ) -> Result<Self, RoundError> {
        let (secrets, resource) = (place.api::<Secret>(client), issuance::resource());
        let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), &place.namespace, &resource);
        let read = async |name: String| {
            let secret = secrets.get_opt(&names::issued_secret(&name)).await;
            let secret = secret.map_err(RoundError::api("reading what cert-manager issued"))?;
            // Where cert-manager is not installed nothing is found either.
            let object = objects.get_opt(&name).await;
            let object = object.map_err(RoundError::api("reading a certificate of cert-manager"))?;
            Ok::<_, RoundError>((secret, object.map(|object| (name, object))))
        };
        let (operator, object) = read(names::operator_certificate(&place.name)).await?;
        let mut certificates: BTreeMap<_, _> = object.into_iter().collect();
        let mut members = BTreeMap::new();
        for (&ordinal, raft_id) in raft_ids {
            let (secret, object) = read(names::pod(&place.name, ordinal)).await?;
            members.insert(ordinal, (raft_id.clone(), secret));
            certificates.extend(object);
        }
        Ok(Self { operator, members, certificates })
    }

    /// Why there is nothing usable in the Secret of a Certificate.
    fn why(&self, name: &str, why: &str) -> String {
        let said = self.certificates.get(name).and_then(|found| issuance::obstacle(&found.data));
        let said = said.map(|said| format!("; cert-manager says: {said}")).unwrap_or_default();
        format!(
            "spec.tls.issuerRef: Secret {} of Certificate {name}: {why}{said}",
            names::issued_secret(name)
        )
    }
}

/// Members whose certificate has not come yet, or is of another authority than the operator's, wait and keep what they have.
fn of_issued(cluster: &str, issued: &Issued, cluster_id: u128, now: SystemTime) -> Source {
    let name = names::operator_certificate(cluster);
    let operator = issued_leaf(issued.operator.as_ref(), cluster_id, OPERATOR, now);
    let mut source = match operator {
        Err(why) => Source::unusable(issued.why(&name, &why)),
        Ok((authority_pem, operator)) => {
            Source::usable(Brought { authority_pem, shared: None, each: BTreeMap::new(), operator })
        }
    };
    for (&ordinal, (raft_id, secret)) in &issued.members {
        let Some(brought) = &mut source.brought else { continue };
        match issued_leaf(secret.as_ref(), cluster_id, raft_id, now) {
            Ok((authority_pem, leaf)) if authority_pem.trim() == brought.authority_pem.trim() => {
                brought.each.insert(ordinal, leaf);
            }
            Ok(_) => {
                let why =
                    "its ca.crt is not the one of the operator's: it waits for cert-manager to renew it";
                source.waiting.insert(ordinal, issued.why(&names::pod(cluster, ordinal), why));
            }
            Err(why) => {
                source.waiting.insert(ordinal, issued.why(&names::pod(cluster, ordinal), &why));
            }
        }
    }
    let rendered =
        |found: &DynamicObject| found.metadata.annotations.as_ref()?.get(label_keys::RENDERED).cloned();
    let asked = issued.certificates.iter();
    source.asked = asked.filter_map(|(name, found)| Some((name.clone(), rendered(found)?))).collect();
    source
}

/// The authority and the certificate in a Secret of cert-manager's.
fn issued_leaf(
    secret: Option<&Secret>,
    cluster_id: u128,
    raft_id: &str,
    now: SystemTime,
) -> Result<(String, Leaf), String> {
    let secret = secret.ok_or("it is not there yet; is cert-manager installed, and the issuer ready?")?;
    let value = |key: &str, else_say: &str| {
        text(secret, key).filter(|value| !value.trim().is_empty()).ok_or_else(|| else_say.to_owned())
    };
    let authority_pem = value(
        CA_CERTIFICATE,
        "it has no ca.crt: use an issuer that gives one, such as CA or Vault; ACME issuers cannot serve members",
    )?;
    let leaf = Leaf {
        certificate_pem: value(LEAF_CERTIFICATE, "it has no tls.crt yet")?,
        key_pem: value(LEAF_KEY, "it has no tls.key yet")?,
    };
    let wanted = Wanted { cluster_id, raft_id, dns_names: &[], files: (LEAF_CERTIFICATE, LEAF_KEY) };
    check(&leaf, &authority_pem, &wanted, now).map(|()| (authority_pem, leaf))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::limits::LEAF_LIFE;
    use crate::tls::Authority;

    const CLUSTER: u128 = 7;

    fn secret(authority: &Authority) -> Secret {
        let issue = |raft_id| authority.issue(CLUSTER, raft_id, &[], SystemTime::now(), LEAF_LIFE).unwrap();
        let (members, operator) = (issue(ANY_MEMBER), issue(OPERATOR));
        let data = [
            (CA_CERTIFICATE, authority.certificate_pem().to_owned()),
            (LEAF_CERTIFICATE, members.certificate_pem),
            (LEAF_KEY, members.key_pem),
            (OPERATOR_CERTIFICATE, operator.certificate_pem),
            (OPERATOR_KEY, operator.key_pem),
        ];
        let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    /// P10: none, or one without a key, is answered with what has to be in it; whole, it is taken.
    #[test]
    fn a_secret_is_taken_whole_or_not_at_all() {
        let authority = Authority::new("theirs", SystemTime::now()).unwrap();
        let read = |secret: Option<&Secret>| of_secret(secret, CLUSTER, &[], SystemTime::now());
        let why = read(None).err().unwrap();
        let uri = quorate_api::san::format(CLUSTER, ANY_MEMBER);
        assert!(why.contains("there is none") && why.contains(&uri) && why.contains("operator.crt"), "{why}");
        let whole = secret(&authority);
        let brought = read(Some(&whole)).map_err(|why| panic!("{why}")).unwrap();
        assert_eq!(brought.authority_pem, authority.certificate_pem());
        for key in whole.data.as_ref().unwrap().keys() {
            let mut less = whole.clone();
            less.data.as_mut().unwrap().remove(key);
            let why = read(Some(&less)).err().unwrap();
            assert!(why.contains(&format!("no {key}")), "{why}");
        }
        // The operator's is no member's, and the other way round.
        let mut mixed = whole.clone();
        let data = mixed.data.as_mut().unwrap();
        for (from, to) in [(OPERATOR_CERTIFICATE, LEAF_CERTIFICATE), (OPERATOR_KEY, LEAF_KEY)] {
            let value = data[from].clone();
            data.insert(to.to_owned(), value);
        }
        assert!(read(Some(&mixed)).err().unwrap().contains("URI SAN of tls.crt"));
    }

    /// K46: the planner learns whether its authority is in force, will be, or is new.
    #[test]
    fn the_planner_learns_where_the_authority_stands() {
        let now = SystemTime::now();
        let [theirs, ours] = ["theirs", "ours"].map(|name| Authority::new(name, now).unwrap());
        let brought =
            of_secret(Some(&secret(&theirs)), CLUSTER, &[], now).map_err(|why| panic!("{why}")).unwrap();
        let source = Source::usable(brought);
        let theirs = || crate::tls::Anchor::without_key(theirs.certificate_pem().to_owned() + "\n");
        let stands = |trust: Option<&Trust>| {
            let seen = source.as_seen(trust);
            (seen.is_in_force, seen.is_next)
        };
        assert_eq!(stands(None), (false, false));
        let mut trust = Trust { current: crate::tls::Anchor::own(ours), next: None, previous: None };
        assert_eq!(stands(Some(&trust)), (false, false));
        trust.next = Some(theirs());
        assert_eq!(stands(Some(&trust)), (false, true));
        (trust.current, trust.next) = (theirs(), None);
        assert_eq!(stands(Some(&trust)), (true, false));
    }

    /// As cert-manager writes it.
    fn issued_secret(authority: &Authority, raft_id: &str) -> Secret {
        let leaf = authority.issue(CLUSTER, raft_id, &[], SystemTime::now(), LEAF_LIFE).unwrap();
        let data = [
            (CA_CERTIFICATE, authority.certificate_pem().to_owned()),
            (LEAF_CERTIFICATE, leaf.certificate_pem),
            (LEAF_KEY, leaf.key_pem),
        ];
        let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    /// K46, P6: what cert-manager has issued is taken member by member; who waits is told why, in its words too.
    #[test]
    fn members_wait_for_cert_manager_one_by_one() {
        let now = SystemTime::now();
        let [issuer, other] = ["issuer", "other"].map(|name| Authority::new(name, now).unwrap());
        let mut issued = Issued { operator: None, members: BTreeMap::new(), certificates: BTreeMap::new() };
        let mut found = DynamicObject::new("db-operator", &issuance::resource());
        found.metadata.annotations = Some([(label_keys::RENDERED.to_owned(), "ab12".to_owned())].into());
        let ready =
            serde_json::json!({ "type": "Ready", "status": "False", "message": "issuer \"ca\" not found" });
        found.data = serde_json::json!({ "status": { "conditions": [ready] } });
        issued.certificates.insert("db-operator".to_owned(), found);
        let source = of_issued("db", &issued, CLUSTER, now);
        let why = source.problem.unwrap();
        assert!(
            why.contains("Secret db-operator-issued") && why.contains("issuer \"ca\" not found"),
            "{why}"
        );
        assert_eq!(source.asked["db-operator"], "ab12");

        issued.operator = Some(issued_secret(&issuer, OPERATOR));
        let members = [
            ("db-0-aa", Some(issued_secret(&issuer, "db-0-aa"))),
            ("db-1-bb", None),
            ("db-2-cc", Some(issued_secret(&other, "db-2-cc"))),
            // Of the claim before: cert-manager was asked anew and has not answered yet.
            ("db-3-dd", Some(issued_secret(&issuer, "db-3-cc"))),
        ];
        issued.members =
            (0..).map(Ordinal).zip(members.map(|(id, secret)| (id.to_owned(), secret))).collect();
        let source = of_issued("db", &issued, CLUSTER, now);
        let brought = source.brought.unwrap();
        assert_eq!(brought.each.keys().collect::<Vec<_>>(), [&Ordinal(0)]);
        assert!(brought.of(Ordinal(1)).is_none() && source.problem.is_none());
        for (ordinal, words) in [(1, "not there yet"), (2, "waits for cert-manager"), (3, "URI SAN")] {
            let why = &source.waiting[&Ordinal(ordinal)];
            assert!(why.contains(words) && why.contains(&format!("Certificate db-{ordinal}")), "{why}");
        }

        let mut acme = issued_secret(&issuer, OPERATOR);
        acme.data.as_mut().unwrap().remove(CA_CERTIFICATE);
        issued.operator = Some(acme);
        assert!(of_issued("db", &issued, CLUSTER, now).problem.unwrap().contains("ACME"));
    }
}
