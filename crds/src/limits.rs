//! Every limit of the resource, with its reason.

/// A cluster has at least one member.
pub const REPLICAS_MIN: i32 = 1;
/// Every write waits for a majority of the voters: beyond nine, members cost latency and add no useful tolerance.
pub const REPLICAS_MAX: i32 = 9;
/// Names of Pods, claims and Secrets add a suffix and must stay host names of at most 63 characters (K45).
pub const CLUSTER_NAME_CHARS_MAX: usize = 40;
/// Client-side `kubectl apply` keeps the whole object in one annotation of at most 262,144 bytes; we stay well below.
pub const CRD_BYTES_MAX: usize = 204_800;

/// Lists inside the Pod template that a CEL rule walks need a bound, or the API server refuses the rule as too costly.
pub(crate) const CONTAINERS_MAX: u64 = 16;
/// Ports of one container; bounded for the same reason.
pub(crate) const PORTS_MAX: u64 = 32;
/// Environment variables of one container; bounded for the same reason.
pub(crate) const ENV_MAX: u64 = 256;
/// Volume mounts of one container; bounded for the same reason.
pub(crate) const MOUNTS_MAX: u64 = 64;
/// Volumes of the Pod; bounded for the same reason.
pub(crate) const VOLUMES_MAX: u64 = 64;
/// Labels or annotations of the Pod template; bounded for the same reason.
pub(crate) const METADATA_KEYS_MAX: u64 = 64;
/// Container, volume and port names are DNS labels.
pub(crate) const NAME_CHARS_MAX: u64 = 63;
/// Names of environment variables.
pub(crate) const ENV_NAME_CHARS_MAX: u64 = 256;
/// A duration such as `1m30s`.
pub(crate) const DURATION_CHARS_MAX: u64 = 16;
/// A quantity such as `10Gi`.
pub(crate) const QUANTITY_CHARS_MAX: u64 = 32;
/// A DNS name.
pub(crate) const DNS_NAME_CHARS_MAX: u64 = 253;
/// Accounts that may come from outside the Pod; more are better served by one account that several share.
pub(crate) const CLIENT_ACCOUNTS_MAX: u64 = 64;
/// A namespace, a slash and an account's name.
pub(crate) const ACCOUNT_CHARS_MAX: u64 = NAME_CHARS_MAX + 1 + DNS_NAME_CHARS_MAX;
/// The name of an annotation; of a longer tag autopilot keeps nothing (`AUTOPILOT_TEXT_BYTES_MAX`).
pub(crate) const ANNOTATION_CHARS_MAX: u64 = 128;
/// An image reference.
pub(crate) const IMAGE_CHARS_MAX: u64 = 512;
