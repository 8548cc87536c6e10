//! The volumes of a member's Pod and where the sidecar mounts them. Only the sidecar mounts the reserved ones (K43).

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EmptyDirVolumeSource, KeyToPath,
    ObjectFieldSelector, PersistentVolumeClaimVolumeSource, ProjectedVolumeSource, SecretVolumeSource,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::names;
use crate::observed::Ordinal;

pub(super) const DATA_DIR: &str = "/var/lib/quorate";
pub(super) const TLS_DIR: &str = "/etc/quorate/tls";
pub(super) const ZONE_FILE: &str = "/etc/quorate/pod/zone";
pub(super) const UPGRADE_VERSION_FILE: &str = "/etc/quorate/pod/upgrade-version";
const DOWNWARD_DIR: &str = "/etc/quorate/pod";
const TOKEN_DIR: &str = "/var/run/secrets/quorate";
/// The kubelet renews it long before; a stolen one is soon worthless (K44).
const TOKEN_SECS: i64 = 3_600;
/// Readable by the sidecar's group only.
const SECRET_MODE: i32 = 0o440;
/// Scratch space; nothing of the member's is kept there.
const TMP_SIZE: &str = "64Mi";

/// The user's volumes and the reserved ones. `versions_from`: the Pod's annotation with the application's version.
pub(super) fn volumes(
    cluster: &str,
    ordinal: Ordinal,
    own: Vec<Volume>,
    versions_from: Option<&str>,
) -> Vec<Volume> {
    let mut all = own;
    all.extend([
        Volume {
            name: "quorate-data".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: names::claim(cluster, ordinal),
                read_only: None,
            }),
            ..Volume::default()
        },
        Volume {
            name: "quorate-tls".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(names::tls_secret(cluster, ordinal)),
                default_mode: Some(SECRET_MODE),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume { name: "quorate-token".to_owned(), projected: Some(token()), ..Volume::default() },
        Volume {
            name: "quorate-pod".to_owned(),
            downward_api: Some(downward(versions_from)),
            ..Volume::default()
        },
        Volume {
            name: "quorate-tmp".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity(TMP_SIZE.to_owned())),
                medium: None,
            }),
            ..Volume::default()
        },
    ]);
    all
}

/// A token for the API server and the certificate to check the server by.
fn token() -> ProjectedVolumeSource {
    ProjectedVolumeSource {
        default_mode: Some(SECRET_MODE),
        sources: Some(vec![
            VolumeProjection {
                service_account_token: Some(ServiceAccountTokenProjection {
                    expiration_seconds: Some(TOKEN_SECS),
                    path: "token".to_owned(),
                    audience: None,
                }),
                ..VolumeProjection::default()
            },
            VolumeProjection {
                config_map: Some(ConfigMapProjection {
                    name: "kube-root-ca.crt".to_owned(),
                    items: Some(vec![KeyToPath {
                        key: "ca.crt".to_owned(),
                        path: "ca.crt".to_owned(),
                        mode: None,
                    }]),
                    optional: None,
                }),
                ..VolumeProjection::default()
            },
        ]),
    }
}

/// Zone and version as files: a label may be set after the Pod was bound, an annotation is edited while it runs, and an
/// environment variable would stay as it was.
fn downward(versions_from: Option<&str>) -> DownwardAPIVolumeSource {
    let file = |path: &str, field: String| DownwardAPIVolumeFile {
        path: path.to_owned(),
        field_ref: Some(ObjectFieldSelector { field_path: field, api_version: None }),
        ..DownwardAPIVolumeFile::default()
    };
    let mut items = vec![file("zone", "metadata.labels['topology.kubernetes.io/zone']".to_owned())];
    items.extend(versions_from.map(|key| file("upgrade-version", format!("metadata.annotations['{key}']"))));
    DownwardAPIVolumeSource { default_mode: None, items: Some(items) }
}

/// The sidecar's mounts; its root file system is read-only.
pub(super) fn mounts() -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    vec![
        mount("quorate-data", DATA_DIR, false),
        mount("quorate-tls", TLS_DIR, true),
        mount("quorate-token", TOKEN_DIR, true),
        mount("quorate-pod", DOWNWARD_DIR, true),
        mount("quorate-tmp", "/tmp", false),
    ]
}
