//! Which objects this sidecar may write: exactly those of its own cluster.

/// The names behind one cluster's publishing; the sidecar's Role allows these and no others (K40).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Namespace of the cluster.
    pub namespace: String,
    /// Name of the `RaftCluster`.
    pub cluster: String,
    /// Its UID: a cluster of the same name made later is somebody else's.
    pub cluster_uid: String,
    /// This member's Pod.
    pub pod: String,
    /// The Pod's UID, where known; it lets people follow the endpoint to its Pod.
    pub pod_uid: Option<String>,
    /// The Pod's address.
    pub pod_ip: String,
    /// The status Lease.
    pub lease: String,
    /// The leader's `EndpointSlice`; `None` when the cluster has no leader Service (K40).
    pub leader_slice: Option<String>,
}
