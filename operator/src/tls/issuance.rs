//! The `Certificate` of cert-manager by its few fields that are needed here.

use kube::api::ApiResource;
use quorate_plan::issuance::Request;
use serde_json::{Value, json};

/// `Certificate`, as cert-manager has served it since its 1.0.
pub(crate) fn resource() -> ApiResource {
    ApiResource {
        group: "cert-manager.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "cert-manager.io/v1".to_owned(),
        kind: "Certificate".to_owned(),
        plural: "certificates".to_owned(),
    }
}

/// Its `spec`: as long as the operator's own, and renewed as early (K46).
pub(crate) fn spec(request: &Request) -> Value {
    let issuer = &request.issuer;
    json!({
        "secretName": request.secret,
        "duration": "2160h",
        "renewBefore": "720h",
        "uris": [request.uri],
        "dnsNames": request.dns_names,
        "usages": ["digital signature", "server auth", "client auth"],
        "privateKey": { "algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always" },
        "issuerRef": { "group": issuer.group, "kind": issuer.kind, "name": issuer.name },
    })
}

/// What cert-manager says of one that is not issued yet.
pub(crate) fn obstacle(certificate: &Value) -> Option<String> {
    let conditions = certificate["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    let message = ready["message"].as_str().filter(|_| ready["status"] != "True")?;
    Some(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P6: what cert-manager says is passed on while it has not issued.
    #[test]
    fn an_obstacle_is_what_cert_manager_says() {
        let of = |status: &str| {
            let ready = json!({ "type": "Ready", "status": status, "message": "the issuer db is not ready" });
            obstacle(&json!({ "status": { "conditions": [{ "type": "Issuing", "status": "True" }, ready] } }))
        };
        assert_eq!(of("False").as_deref(), Some("the issuer db is not ready"));
        assert_eq!(of("True"), None);
        assert_eq!(obstacle(&json!({})), None);
    }

    /// K23, K46: one URI SAN, both usages, and a new key with each renewal.
    #[test]
    fn a_certificate_asks_for_one_identity() {
        let request = Request {
            name: "db-0".to_owned(),
            secret: "db-0-issued".to_owned(),
            uri: "quorate://07/db-0-3f2a91c4".to_owned(),
            dns_names: vec!["db-0.db-members".to_owned()],
            issuer: quorate_crds::IssuerRef { name: "ca".to_owned(), ..quorate_crds::IssuerRef::default() },
        };
        let spec = spec(&request);
        assert_eq!((&spec["uris"], &spec["secretName"]), (&json!([request.uri]), &json!("db-0-issued")));
        assert_eq!(spec["usages"], json!(["digital signature", "server auth", "client auth"]));
        assert_eq!(spec["issuerRef"], json!({ "group": "cert-manager.io", "kind": "Issuer", "name": "ca" }));
        assert_eq!(spec["privateKey"]["rotationPolicy"], "Always");
    }
}
