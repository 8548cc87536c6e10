//! What Pods are rendered from, and its hash (K47).
//!
//! ```text
//!   user's part   spec.template, spec.sidecar, spec.topology          ──► user hash
//!   pins          sidecar image and render revision, kept in status   ──► with it: template hash on each Pod
//! ```
//! The pins are retaken only when the user's part changes: a new operator alone makes no Pod outdated.
//! Not here: `spec.sidecar.update`, which would let a new operator roll by itself.

use std::fmt::Write as _;

use quorate_crds::{RaftCluster, Rollout};
use sha2::{Digest, Sha256};

use crate::observed::{Observed, OperatorFacts};

/// The operator's own part of a Pod. Raise it with every change to what `pod.rs` renders.
pub const RENDER_REVISION: i64 = 1;

/// Everything a Pod is rendered from, beside its claim.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    /// The resource.
    pub cluster: &'a RaftCluster,
    /// What the operator was installed with.
    pub operator: &'a OperatorFacts,
}

impl<'a> Rendering<'a> {
    /// The rendering of this round.
    pub fn of(observed: &'a Observed) -> Self {
        Self { cluster: &observed.cluster, operator: &observed.operator }
    }

    /// The resource's name.
    pub fn name(&self) -> &'a str {
        self.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    /// The resource's namespace.
    pub fn namespace(&self) -> &'a str {
        self.cluster.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The hash of the user's part.
    pub fn user_hash(&self) -> String {
        let spec = &self.cluster.spec;
        hash(&(&spec.template, &spec.sidecar, &spec.topology))
    }

    /// The pins in force: those in status while the user's part is the one they were taken with, else new ones.
    pub fn pins(&self) -> Rollout {
        let user_hash = self.user_hash();
        let kept = self.cluster.status.as_ref().and_then(|status| status.rollout.as_ref());
        match kept
            .filter(|kept| kept.template_hash.as_ref() == Some(&user_hash) && kept.sidecar_image.is_some())
        {
            Some(kept) => Rollout { pending: Vec::new(), ..kept.clone() },
            None => Rollout {
                pending: Vec::new(),
                render_revision: Some(RENDER_REVISION),
                sidecar_image: Some(self.operator.sidecar_image.clone()),
                template_hash: Some(user_hash),
            },
        }
    }

    /// What a Pod of the current rendering carries in `quorate.dev/template-hash`.
    pub fn template_hash(&self) -> String {
        let pins = self.pins();
        hash(&(pins.template_hash, pins.sidecar_image, pins.render_revision))
    }
}

/// Ten hexadecimal digits: enough to tell one cluster's renderings apart, short enough to read.
fn hash(value: &impl serde::Serialize) -> String {
    // Maps are BTreeMaps and field order is fixed, so equal values give equal text.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let digest = Sha256::digest(&text);
    digest.iter().take(5).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // a String takes all
        hex
    })
}
