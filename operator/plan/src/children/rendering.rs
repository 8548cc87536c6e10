//! What Pods are rendered from, and its hash (K47).
//!
//! ```text
//!   user's part   spec.template, spec.sidecar, spec.topology, …       ──► user hash
//!   pins          sidecar image and render revision, kept in status   ──► with it: template hash on each Pod
//! ```
//! The pins are retaken when the user's part changes: a new operator alone makes no Pod outdated, unless
//! `spec.sidecar.update` is Automatic and it is this cluster's turn.

use std::fmt::Write as _;

use quorate_crds::{RaftCluster, Rollout, Sidecar, SidecarUpdate};
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
        // Field by field: one that a later version adds must not make every Pod outdated.
        let Sidecar { image, image_pull_policy, resources, update: _ } = &spec.sidecar;
        let user = (&spec.template, image, image_pull_policy, resources, &spec.topology);
        // Left out where it is as it always was, for the same reason.
        let hashed =
            if spec.client_access.is_open() { hash(&(user, &spec.client_access)) } else { hash(&user) };
        match &spec.autopilot.upgrade_version_from {
            Some(annotation) => hash(&(hashed, annotation)),
            None => hashed,
        }
    }

    /// The pins in force: those in status while the user's part is the one they were taken with, else new ones.
    pub fn pins(&self) -> Rollout {
        match self.kept() {
            Some(kept) if !(self.is_behind() && self.operator.is_turn) => kept,
            _ => self.fresh(),
        }
    }

    /// Whether Pods are rendered as an older operator did, and may be rendered as this one does.
    pub fn is_behind(&self) -> bool {
        self.cluster.spec.sidecar.update == SidecarUpdate::Automatic
            && self.kept().is_some_and(|kept| kept != self.fresh())
    }

    /// The pins in status, if they were taken with the user's part as it is.
    fn kept(&self) -> Option<Rollout> {
        let kept = self.cluster.status.as_ref()?.rollout.clone()?;
        let is_valid = kept.template_hash == Some(self.user_hash()) && kept.sidecar_image.is_some();
        is_valid.then_some(Rollout { pending: Vec::new(), ..kept })
    }

    /// This operator's own.
    fn fresh(&self) -> Rollout {
        Rollout {
            pending: Vec::new(),
            render_revision: Some(RENDER_REVISION),
            sidecar_image: Some(self.operator.sidecar_image.clone()),
            template_hash: Some(self.user_hash()),
        }
    }

    /// What a Pod of the current rendering carries in `quorate.dev/template-hash`.
    pub fn template_hash(&self) -> String {
        let pins = self.pins();
        hash(&(pins.template_hash, pins.sidecar_image, pins.render_revision))
    }
}

/// Ten hexadecimal digits: enough to tell one cluster's renderings apart, short enough to read.
pub(crate) fn hash(value: &impl serde::Serialize) -> String {
    // Maps are BTreeMaps and field order is fixed, so equal values give equal text.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let digest = Sha256::digest(&text);
    digest.iter().take(5).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // a String takes all
        hex
    })
}
