//! What one member needs to run, checked once; made from the flags of `run` or by `dev`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_publish::Connection;
use quorate_raft::{Address, ClusterId, RaftId, RecoveryEpoch, Versions};
use quorate_store::{Disk, OsDisk, RecoveryRequest};

use crate::args::{ClientAccess, RunArgs};
use crate::autopilot::{DefaultSettings, WordsFiles, WordsReceiver, follow};
use crate::exit::{Code, Failure};
use crate::limits::ADMIN_TOKEN_BYTES_MIN;
use crate::serve::OutsideSettings;
use crate::tls::{CredentialsReceiver, PeerIdentity};

/// The subdirectory of the data directory that holds the files: a volume's own `lost+found` stays outside.
pub const MEMBER_DIRECTORY: &str = "member";
/// The socket of `pre-stop` in the data directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// Where the projected token for the API server is mounted (K44).
pub(crate) const TOKEN_DIRECTORY: &str = "/var/run/secrets/quorate";

/// Everything one member needs.
#[derive(Clone)]
pub struct MemberSettings {
    /// The member's name, as people see it.
    pub name: String,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its identity, together with the incarnation in the data directory.
    pub raft_id: RaftId,
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// A data directory below this is refused (K18).
    pub recovery_epoch_min: RecoveryEpoch,
    /// A recovery to be done before anything else, if somebody asked for one (K18).
    pub recovery: Option<RecoveryRequest>,
    /// What this build speaks (K24).
    pub versions: Versions,
    /// Where peers reach it.
    pub advertise: Address,
    /// Certificates.
    pub credentials: CredentialsReceiver,
    /// The token that opens membership and autopilot writes on the plain ports (K23).
    pub admin_token: Option<String>,
    /// Where the request of `pre-stop` comes in; none in `dev`.
    pub control_socket: Option<PathBuf>,
    /// Publishing to Kubernetes; none elsewhere.
    pub kubernetes: Option<KubernetesSettings>,
    /// Clients from outside the Pod (K46); none: nobody comes from there.
    pub outside: Option<OutsideSettings>,
    /// Whose defaults autopilot's settings have.
    pub defaults: DefaultSettings,
    /// The node it runs on, for status.
    pub node: String,
    /// What it says of itself to whoever leads.
    pub words: WordsReceiver,
    /// Whether autopilot does what it wants done when this member leads.
    pub is_reconciling: bool,
}

/// The addresses one member listens on.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Peers, mutual TLS.
    pub peer: SocketAddr,
    /// gRPC without TLS: loopback only.
    pub grpc: Vec<SocketAddr>,
    /// gRPC with TLS.
    pub grpc_tls: Vec<SocketAddr>,
    /// HTTP with TLS, for clients from outside the Pod.
    pub https: Vec<SocketAddr>,
    /// HTTP without TLS: loopback only.
    pub http: Vec<SocketAddr>,
    /// Probes and metrics.
    pub ops: SocketAddr,
}

impl Addresses {
    /// The addresses of `run`: plain ports on both loopbacks, the rest on every address.
    pub fn of_run(args: &RunArgs) -> Self {
        let loopback = |port| {
            vec![
                SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
                SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
            ]
        };
        let any = |port| {
            let ip = match args.pod_ip {
                Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            };
            SocketAddr::new(ip, port)
        };
        // The plain ports have the loopbacks, so those with TLS need the Pod's own address.
        let pod = |port| args.pod_ip.map(|ip| SocketAddr::new(ip, port)).into_iter().collect();
        Self {
            peer: any(args.peer_port),
            grpc: loopback(args.client_port),
            grpc_tls: pod(args.client_port),
            https: match args.client_access {
                ClientAccess::Pod => Vec::new(),
                ClientAccess::Cluster => pod(args.http_port),
            },
            http: loopback(args.http_port),
            ops: any(args.ops_port),
        }
    }
}

/// What `run` publishes to Kubernetes, and as whom.
#[derive(Clone, Debug)]
pub struct KubernetesSettings {
    /// Name of the `RaftCluster`.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID: status of another one of that name is not touched.
    pub cluster_uid: String,
    /// `EndpointSlice` that names the leader, if any.
    pub leader_slice: Option<String>,
    /// This member's Pod.
    pub pod: String,
    /// This member's address.
    pub pod_ip: Option<IpAddr>,
}

impl KubernetesSettings {
    fn of_run(args: &RunArgs) -> Self {
        Self {
            cluster: args.cluster.clone(),
            namespace: args.namespace.clone(),
            cluster_uid: args.cluster_uid.clone(),
            leader_slice: Some(args.leader_slice.clone()).filter(|name| !name.is_empty()),
            pod: args.pod.clone(),
            pod_ip: args.pod_ip,
        }
    }
}

/// Parses what `run` was given. `credentials` are followed by the caller; needs a tokio runtime.
pub fn member_settings(args: &RunArgs, credentials: CredentialsReceiver) -> Result<MemberSettings, Failure> {
    let cluster_id = parse_cluster_id(&args.cluster_id)?;
    let raft_id = RaftId::new(&args.raft_id)
        .map_err(|error| usage(&format!("QUORATE_RAFT_ID is not usable: {error}")))?;
    let advertise = Address::new(&args.advertise)
        .map_err(|error| usage(&format!("QUORATE_ADVERTISE is not usable: {error}")))?;
    check_certificate(&credentials, cluster_id, &raft_id)?;
    Ok(MemberSettings {
        name: args.pod.clone(),
        cluster_id,
        raft_id,
        disk: open_disk(&args.data_dir.join(MEMBER_DIRECTORY))?,
        recovery_epoch_min: RecoveryEpoch(args.recovery_epoch),
        recovery: None,
        versions: Versions::OURS,
        advertise,
        credentials,
        admin_token: args.admin_token_file.as_deref().map(read_token).transpose()?,
        control_socket: Some(args.data_dir.join(CONTROL_SOCKET)),
        kubernetes: args.kubernetes.then(|| KubernetesSettings::of_run(args)),
        outside: outside(args)?,
        defaults: if args.kubernetes { DefaultSettings::Kubernetes } else { DefaultSettings::HashiCorp },
        node: args.node.clone(),
        words: follow(words_files(args)),
        is_reconciling: args.reconcile,
    })
}

/// Who comes from outside the Pod, and what their tokens must have been issued for: this cluster and no other.
fn outside(args: &RunArgs) -> Result<Option<OutsideSettings>, Failure> {
    if args.client_access == ClientAccess::Pod {
        return Ok(None);
    }
    let connection =
        Connection::from_environment(Path::new(TOKEN_DIRECTORY)).map_err(|error| usage(&error))?;
    Ok(Some(OutsideSettings {
        connection,
        audience: format!("{}.{}.quorate.dev", args.cluster, args.namespace),
        accounts: args.client_accounts.iter().cloned().collect(),
    }))
}

/// The directory as the store wants it, created if it is missing.
pub fn open_disk(directory: &Path) -> Result<Arc<dyn Disk>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Code::CannotCreate,
            format!("cannot use {}: {error}; mount a writable volume there", directory.display()),
        )
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    Ok(Arc::new(OsDisk::new(directory).map_err(failed)?))
}

/// A certificate of another member would be refused by every peer, one by one; one clear line is better.
fn check_certificate(
    credentials: &CredentialsReceiver,
    cluster_id: ClusterId,
    raft_id: &RaftId,
) -> Result<(), Failure> {
    let identity = credentials.borrow().identity().clone();
    if identity.stands_for(&PeerIdentity::new(cluster_id.0, raft_id.as_str())) {
        return Ok(());
    }
    Err(usage(&format!(
        "the certificate is for {identity}, but this member is {raft_id} of cluster {:032x}: mount this member's own Secret",
        cluster_id.0
    )))
}

fn parse_cluster_id(text: &str) -> Result<ClusterId, Failure> {
    let well_formed = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u128::from_str_radix(text, 16) {
        Ok(number) if well_formed && number != 0 => Ok(ClusterId(number)),
        _ => Err(usage(&format!("QUORATE_CLUSTER_ID is {text:?}: it must be 32 hex digits and not zero"))),
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| usage(&format!("cannot read the admin token {}: {error}", path.display())))?;
    let token = text.trim();
    if token.len() < ADMIN_TOKEN_BYTES_MIN {
        return Err(usage(&format!(
            "the admin token in {} is shorter than {ADMIN_TOKEN_BYTES_MIN} bytes: write a random one",
            path.display()
        )));
    }
    Ok(token.to_owned())
}

fn words_files(args: &RunArgs) -> WordsFiles {
    WordsFiles {
        zone: args.zone_file.clone(),
        upgrade_version: args.upgrade_version_file.clone(),
        fixed_version: args.upgrade_version.clone(),
    }
}

fn usage(message: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K2: a cluster ID is 128 bits; anything else must not start a member.
    #[test]
    fn a_cluster_id_is_exactly_32_hex_digits() {
        assert_eq!(parse_cluster_id("0123456789abcdef0123456789abcdef").unwrap().0 >> 120, 0x01);
        for bad in ["", "12", "+123456789abcdef0123456789abcdef0", "00000000000000000000000000000000"] {
            let failure = parse_cluster_id(bad).unwrap_err();
            assert_eq!(failure.code, Code::Usage);
            assert!(failure.message.contains("32 hex digits"), "{}", failure.message);
        }
    }
}
