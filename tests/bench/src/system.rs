//! What both systems are to the benchmark: members formed from nothing, and clients of them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tonic::transport::{Channel, Endpoint};

use crate::call::Caller;
use crate::shape::{Operation, Shape};

/// A call that takes longer has failed. Both are told so with each call.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// From what a cluster is made.
pub(crate) struct Material {
    /// Its program.
    pub(crate) program: PathBuf,
    /// Below which its files are; what it puts there goes with it.
    pub(crate) directory: PathBuf,
}

/// A running cluster; its processes and files go with it.
pub(crate) trait System: Sized {
    /// Its clients.
    type Caller: Caller;

    /// Starts so many members from nothing, and waits until all serve.
    async fn form(material: &Material, members: usize) -> Result<Self>;

    /// The members' processes.
    fn processes(&self) -> Vec<u32>;

    /// Which member leads now.
    async fn leader(&self) -> Result<usize>;

    /// A client of a member, through a connection that it shares with others.
    async fn caller(&self, channel: Channel) -> Result<Self::Caller>;

    /// Where a member's clients connect to.
    fn address(&self, member: usize) -> String;

    /// Kills a member's process.
    fn kill(&mut self, member: usize);

    /// Starts a member that was killed.
    fn start(&mut self, member: usize) -> Result<()>;

    /// Has the leader hand leadership to another member.
    async fn hand_over(&self, leader: usize, to: usize) -> Result<()>;

    /// Whether a member answers a linearizable read: it knows a leader, and has applied what that had committed.
    async fn serves(&self, member: usize) -> bool;

    /// Waits until all members run and follow one leader.
    async fn whole(&self) -> Result<()>;
}

/// The clients of a shape: of the leader for writes, of all members in turn for reads. Those of one member share one
/// connection, as the callers of one application do.
pub(crate) async fn callers<S: System>(system: &S, shape: &Shape, leader: usize) -> Result<Vec<S::Caller>> {
    let members = match shape.operation {
        Operation::Write | Operation::WriteTogether | Operation::Restart => vec![leader],
        Operation::Read | Operation::StaleRead | Operation::Mix | Operation::Idle | Operation::Lose(_) => {
            (0..shape.members).collect()
        }
    };
    let connections = members.iter().map(|member| connect(system.address(*member)));
    let connections = futures::future::try_join_all(connections).await?;
    let channels = connections.iter().cycle().take(shape.clients).cloned();
    futures::future::try_join_all(channels.map(|channel| system.caller(channel))).await
}

/// Sends a member's process a signal by its name.
pub(crate) fn signal<S: System>(system: &S, member: usize, name: &str) -> Result<()> {
    let process = system.processes()[member].to_string();
    let sent = Command::new("kill").args([&format!("-{name}"), &process]).status().context("running kill")?;
    if sent.success() { Ok(()) } else { bail!("kill -{name} {process}: {sent}") }
}

/// Connects to a member.
pub(crate) async fn connect(address: String) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.timeout(CALL_TIMEOUT);
    endpoint.connect().await.with_context(|| format!("connecting to {address}"))
}
