//! The command line: every flag of `run` is also an environment variable `QUORATE_*`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use quorate_publish::Account;

/// The Quorate sidecar: a Raft member that keeps keys and values beside your application.
#[derive(Debug, Parser)]
#[command(name = "quorate-sidecar", version, about)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one member (what a Pod does)
    Run(Box<RunArgs>),
    /// Run a whole cluster in this process, on localhost
    Dev(DevArgs),
    /// Hand leadership over to another member before this one stops (a preStop hook; at most 5 s)
    PreStop(PreStopArgs),
    /// Show what a stopped member's data directory holds
    Inspect(InspectArgs),
    /// Make a stopped member the one voter of its cluster, after a majority was lost for good
    ///
    /// The last resort. Of the survivors choose the one whose log ends last: `inspect` shows the pair (last log term,
    /// last log index); the greatest term wins, then the greatest index. What only the lost members held is gone, what
    /// was never acknowledged may appear. Every other member, surviving or not, must rejoin with an empty directory under
    /// a new Raft ID. Without --lost nothing is changed and the names to give are shown.
    Recover(RecoverArgs),
    /// Print the version
    Version,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Who may use the client ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ClientAccess {
    /// The Pod's own containers, on localhost.
    #[value(name = "Pod")]
    Pod,
    /// And service accounts from elsewhere, on the Pod's address, with TLS and a token of theirs.
    #[value(name = "Cluster")]
    Cluster,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Name of the cluster
    #[arg(long, env = "QUORATE_CLUSTER", value_name = "NAME")]
    pub cluster: String,
    /// Kubernetes namespace of the cluster
    #[arg(long, env = "QUORATE_NAMESPACE", default_value = "default", value_name = "NAME")]
    pub namespace: String,
    /// UID of the cluster's resource; status is written for exactly this one
    #[arg(long, env = "QUORATE_CLUSTER_UID", default_value = "", value_name = "UID")]
    pub cluster_uid: String,
    /// Name of this member (the Pod's)
    #[arg(long, env = "QUORATE_POD", value_name = "NAME")]
    pub pod: String,
    /// Cluster ID, 32 hex digits
    #[arg(long, env = "QUORATE_CLUSTER_ID", value_name = "HEX")]
    pub cluster_id: String,
    /// Raft ID of this member; a data directory of another one is refused with exit code 78
    #[arg(long, env = "QUORATE_RAFT_ID", value_name = "ID")]
    pub raft_id: String,
    /// Where data lives; the files are in its subdirectory `member`
    #[arg(long, env = "QUORATE_DATA_DIR", default_value = "/var/lib/quorate", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Directory with ca.crt, tls.crt and tls.key; reloaded when they change
    #[arg(long, env = "QUORATE_TLS_DIR", default_value = "/etc/quorate/tls", value_name = "DIR")]
    pub tls_dir: PathBuf,
    /// Address other members reach this one at, host:port
    #[arg(long, env = "QUORATE_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: String,
    /// IP the client port with TLS listens on; without it that port stays closed
    #[arg(long, env = "QUORATE_POD_IP", value_name = "IP")]
    pub pod_ip: Option<IpAddr>,
    /// Kubernetes node this member runs on
    #[arg(long, env = "QUORATE_NODE", default_value = "", value_name = "NAME")]
    pub node: String,
    /// File with the zone this member runs in; may be empty or missing
    #[arg(long, env = "QUORATE_ZONE_FILE", default_value = "/etc/quorate/pod/zone", value_name = "FILE")]
    pub zone_file: PathBuf,
    /// Version of the application, which autopilot's upgrade migration goes by
    #[arg(long, env = "QUORATE_UPGRADE_VERSION", default_value = "", value_name = "VERSION")]
    pub upgrade_version: String,
    /// File with that version instead; looked at every few seconds
    #[arg(long, env = "QUORATE_UPGRADE_VERSION_FILE", value_name = "FILE")]
    pub upgrade_version_file: Option<PathBuf>,
    /// Whether autopilot promotes, replaces and removes servers while this member leads; false: it only looks
    #[arg(long, env = "QUORATE_RECONCILE", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub reconcile: bool,
    /// Lowest recovery epoch of a data directory; one below it is refused with exit code 78
    #[arg(long, env = "QUORATE_RECOVERY_EPOCH", default_value_t = 0, value_name = "N")]
    pub recovery_epoch: u64,
    /// Publish status, Lease and endpoints to Kubernetes while leading
    #[arg(long, env = "QUORATE_KUBERNETES", default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub kubernetes: bool,
    /// Who may use the client ports
    #[arg(long, env = "QUORATE_CLIENT_ACCESS", value_enum, default_value = "Pod", value_name = "SCOPE")]
    pub client_access: ClientAccess,
    /// Service accounts that may use the client ports from outside the Pod
    #[arg(long, env = "QUORATE_CLIENT_ACCOUNTS", value_delimiter = ',', value_name = "NAMESPACE/NAME,…")]
    pub client_accounts: Vec<Account>,
    /// Endpoint slice that names the leader; empty: none
    #[arg(long, env = "QUORATE_LEADER_SLICE", default_value = "", value_name = "NAME")]
    pub leader_slice: String,
    /// File with a token that allows membership and autopilot changes on the plain ports; none: they are refused there
    #[arg(long, env = "QUORATE_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Peer port
    #[arg(long, env = "QUORATE_PEER_PORT", default_value_t = 7400, value_name = "PORT")]
    pub peer_port: u16,
    /// Client port (gRPC)
    #[arg(long, env = "QUORATE_CLIENT_PORT", default_value_t = 7401, value_name = "PORT")]
    pub client_port: u16,
    /// Probes, metrics and status
    #[arg(long, env = "QUORATE_OPS_PORT", default_value_t = 7402, value_name = "PORT")]
    pub ops_port: u16,
    /// HTTP API
    #[arg(long, env = "QUORATE_HTTP_PORT", default_value_t = 8500, value_name = "PORT")]
    pub http_port: u16,
    /// How log lines look
    #[arg(long, env = "QUORATE_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// What a cluster of `dev` is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DevMode {
    /// Keys, sessions, transactions.
    KeyValue,
    /// An application brings its own state machine (K22).
    Log,
}

/// Flags of `dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Members to run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub members: u16,
    /// What a new cluster is for: keys and sessions (key-value, the default), or an application's own state machine over the
    /// Log service (log). A cluster that is continued keeps its mode
    #[arg(long, value_enum)]
    pub mode: Option<DevMode>,
    /// Keep data here; without it data is gone when the command ends
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Flags of `pre-stop`.
#[derive(Debug, Args)]
pub struct PreStopArgs {
    /// Data directory of the running member
    #[arg(long, env = "QUORATE_DATA_DIR", default_value = "/var/lib/quorate", value_name = "DIR")]
    pub data_dir: PathBuf,
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Data directory of a stopped member
    pub directory: PathBuf,
    /// Print JSON
    #[arg(long, value_enum, default_value = "text")]
    pub output: OutputFormat,
}

/// Flags of `recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Data directory of the survivor, which must be stopped
    pub directory: PathBuf,
    /// Raft IDs of all other voters, which you give up for good
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub lost: Vec<String>,
    /// Recovery epoch of the recovered cluster; the next one if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub epoch: Option<u64>,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}
