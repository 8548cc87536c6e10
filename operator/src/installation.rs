//! What this operator was installed with.

/// From the command line or the environment; the chart sets each.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Installation {
    /// The sidecar image used when a `RaftCluster` names none.
    #[arg(long, env = "QUORATE_SIDECAR_IMAGE")]
    pub(crate) sidecar_image: String,
    /// Its pull policy: Always, `IfNotPresent` or Never; left to Kubernetes if not set.
    #[arg(long, env = "QUORATE_SIDECAR_PULL_POLICY")]
    pub(crate) sidecar_pull_policy: Option<String>,
    /// Whether nodes and storage classes may be read (K52).
    #[arg(long, env = "QUORATE_CLUSTER_READ", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) may_read_cluster: bool,
    /// The namespace this operator runs in: members' network policies let it in from there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub(crate) operator_namespace: String,
    /// The only namespaces whose clusters are worked on, with commas between them; all if empty.
    #[arg(long, env = "QUORATE_WATCH_NAMESPACES", value_delimiter = ',')]
    pub(crate) watch_namespaces: Vec<String>,
}

impl Installation {
    /// Where clusters are looked for: `None` is everywhere.
    pub(crate) fn places(&self) -> Vec<Option<String>> {
        // A chart that sets an empty list gives one empty word.
        let named: Vec<_> =
            self.watch_namespaces.iter().filter(|name| !name.is_empty()).cloned().map(Some).collect();
        if named.is_empty() { vec![None] } else { named }
    }
}
