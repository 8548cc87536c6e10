//! A volume that really fills up: a file system of its own in memory, on one node, behind a volume claim.
//!
//! The bed's provisioner makes folders without a limit, so this volume is made by hand, as an administrator makes local ones.
//! Its class lets it grow; what a storage driver would do then is done here, by [`SmallDisk::grow`].

use anyhow::{Context, Result};
use serde_json::json;

use crate::bed::{fault, kubectl, kubectl_with};
use crate::cluster::Cluster;
use crate::namespace::Namespace;

/// The node it is on.
const NODE: &str = "n1";
/// Room for the ballast and for what a member may use above the floor (K8), and little more.
const SIZE: &str = "448m";
/// The same once it has grown.
const SIZE_GROWN: &str = "1g";
/// What the volume says it has: a claim is for 1Gi at least.
const CAPACITY: &str = "1Gi";

/// The volume, and a storage class with nothing else in it.
pub(crate) struct SmallDisk {
    /// Names class and volume: neither is of a namespace.
    pub(crate) class: String,
    folder: String,
}

impl SmallDisk {
    /// Mounts it and offers it to claims of its class.
    pub(crate) async fn new(namespace: &Namespace) -> Result<Self> {
        let class = format!("small-{}", namespace.name);
        // The node's own: nothing of it is on the machine.
        let folder = format!("/var/lib/{class}");
        fault(&["on", NODE, "mkdir", &folder]).await?;
        let options = format!("size={SIZE},mode=1777");
        fault(&["on", NODE, "mount", "-t", "tmpfs", "-o", &options, "small", &folder]).await?;
        let disk = Self { class, folder };
        disk.offer().await?;
        Ok(disk)
    }

    async fn offer(&self) -> Result<()> {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": self.class},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
            "allowVolumeExpansion": true,
        });
        let on = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]});
        let volume = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": self.class},
            "spec": {
                "capacity": {"storage": CAPACITY},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": self.class,
                "persistentVolumeReclaimPolicy": "Retain",
                "local": {"path": self.folder},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on]}]}},
            },
        });
        for object in [class, volume] {
            kubectl_with(&["apply", "-f", "-"], &object.to_string()).await?;
        }
        Ok(())
    }

    /// Lets something else on the volume take all but this much.
    pub(crate) async fn leave_free(&self, bytes: u64) -> Result<()> {
        let script = format!(
            "cd {}; touch other; more=$(($(df -B1 --output=avail . | tail -n1) - {bytes})); has=$(stat -c %s other); \
             if [ $more -lt 0 ]; then truncate -s $((has + more)) other; else head -c $more /dev/zero >> other; fi",
            self.folder
        );
        fault(&["on", NODE, "sh", "-ec", &script]).await?;
        Ok(())
    }

    /// What is free now, in bytes.
    pub(crate) async fn free_bytes(&self) -> Result<u64> {
        let said = fault(&["on", NODE, "df", "-B1", "--output=avail", &self.folder]).await?;
        said.lines().last().unwrap_or_default().trim().parse().with_context(|| format!("df said {said:?}"))
    }

    /// Does what a storage driver does for a claim that asks for more: makes the file system larger, and says so.
    pub(crate) async fn grow(&self, cluster: &Cluster<'_>, claim: &str, capacity: &str) -> Result<()> {
        let options = format!("remount,size={SIZE_GROWN}");
        fault(&["on", NODE, "mount", "-o", &options, &self.folder]).await?;
        let grown = json!({"status": {"capacity": {"storage": capacity}}}).to_string();
        cluster
            .namespace
            .kubectl(&["patch", "pvc", claim, "--subresource=status", "--type=merge", "-p", &grown])
            .await?;
        Ok(())
    }

    /// Takes it away; whoever still has it open keeps it until he ends.
    pub(crate) async fn remove(self) -> Result<()> {
        kubectl(&["delete", "pv", &self.class, "--wait=false"]).await?;
        kubectl(&["delete", "storageclass", &self.class]).await?;
        fault(&["on", NODE, "umount", "--lazy", &self.folder]).await?;
        Ok(())
    }
}
