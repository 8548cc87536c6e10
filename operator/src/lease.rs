//! The operator's own Lease: one replica works, the others stand by.
//!
//! An optimisation, never a guard (P8): two replicas that both work make no change twice, because every membership
//! call carries the configuration it was decided on and every write its precondition.

use anyhow::Context;
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::limits::{LEASE_GRACE_SECS, LEASE_SECS};

/// Where the Lease is and who asks for it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LeaseSettings {
    /// The Lease's name.
    #[arg(long, env = "QUORATE_LEASE", default_value = "quorate-operator")]
    pub(crate) lease: String,
    /// The Lease's namespace: the operator's own.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub(crate) lease_namespace: String,
    /// This replica's name.
    #[arg(long, env = "POD_NAME", default_value = "quorate-operator")]
    pub(crate) identity: String,
}

/// Held while the receiver lives; dropping it gives the Lease back.
pub(crate) struct HeldLease {
    pub(crate) leads: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<LeaseManager>>,
}

impl HeldLease {
    /// Starts asking for the Lease.
    pub(crate) async fn ask(client: Client, settings: &LeaseSettings) -> anyhow::Result<Self> {
        let manager = LeaseManagerBuilder::new(client, &settings.lease)
            .with_namespace(&settings.lease_namespace)
            .with_identity(&settings.identity)
            .with_duration(LEASE_SECS)
            .with_grace(LEASE_GRACE_SECS)
            .build()
            .await
            .with_context(|| {
                format!("cannot read or make lease {} in {}", settings.lease, settings.lease_namespace)
            })?;
        let (leads, task) = manager.watch().await;
        Ok(Self { leads, task })
    }

    /// Resolves when the Lease's task has ended, which it does only on a fault.
    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Gives the Lease back, so that another replica need not wait for it to run out.
    pub(crate) async fn release(self) -> anyhow::Result<()> {
        drop(self.leads);
        self.task.await.context("the lease's task failed")?.context("releasing the lease failed")?;
        Ok(())
    }
}
