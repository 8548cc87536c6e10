//! Volumes grow to `spec.storage.size`: an ensure of planner.md, and no step, for nobody is disturbed.
//!
//! Only what a claim asks for is written here. The storage driver makes the volume larger, the kubelet the file system,
//! and the sidecar looks at its free space anew all the time. A volume never shrinks: the schema refuses a smaller size.

use quorate_crds::bytes;

use crate::children::label_keys;
use crate::observed::{Claim, Slot};
use crate::obstacle::quote;
use crate::plan::{Ensure, Event};
use crate::reason::Reason;
use crate::round::{Round, Verdict};

/// The size shown to people, in whole mebibytes rounded down.
const MEBIBYTE: u64 = 1 << 20;

/// Claims that ask for less than the spec, and volumes that are smaller than their claim asks for.
pub(crate) fn volumes(round: &mut Round<'_>) -> Verdict {
    let size = &round.spec().storage.size;
    // The schema admits only sizes that can be read.
    let Some(wanted) = bytes(size) else { return Verdict::Next };
    for (ordinal, slot, claim) in round.wanted().collect::<Vec<_>>() {
        // Until it has a volume its request cannot change, and one that goes needs no more.
        let (Some(requested), Some(capacity)) = (claim.requested_bytes, claim.capacity_bytes) else {
            continue;
        };
        if claim.deleting || !claim.bound {
            continue;
        }
        let member = round.pod_name(ordinal);
        if requested < wanted && capacity < wanted {
            match obstacle(round, slot, claim, &member, &round.raft_id(ordinal, claim)) {
                Some(text) => round.block("expansion", Reason::VolumeNotExpandable, &member, text),
                None => ask(round, claim, &member, capacity),
            }
        } else if capacity < requested {
            let text = format!(
                "the volume of {member} has {} and {} asks for {}: its storage driver makes it larger (`kubectl describe pvc {}` says how far it is)",
                shown(capacity),
                claim.name,
                shown(requested),
                claim.name
            );
            round.wait("expansion", Reason::ExpandingVolume, &member, text);
        }
    }
    Verdict::Next
}

/// Why asking would be of no use: its class is known to let no volume grow, or the API server said so lately.
fn obstacle(round: &Round<'_>, slot: &Slot, claim: &Claim, member: &str, raft_id: &str) -> Option<String> {
    let classes = round.observed.storage.expanding_classes.as_ref();
    let why = match (&slot.growth_refused, classes, &claim.storage_class) {
        (Some(refusal), ..) => format!("the API server refuses to let it grow: {}", quote(refusal)),
        (None, Some(classes), Some(class)) if !classes.contains(class) => {
            format!("its storage class {class} lets none grow (allowVolumeExpansion)")
        }
        // Not known: asking finds out.
        _ => return None,
    };
    Some(format!(
        "the volume of {member} has {} and spec.storage.size is {}: {why}; annotation {}={member}@{raft_id} replaces the member by one with a volume of that size",
        shown(claim.capacity_bytes.unwrap_or_default()),
        round.spec().storage.size.0,
        label_keys::REPLACE
    ))
}

fn ask(round: &mut Round<'_>, claim: &Claim, member: &str, capacity: u64) {
    let size = round.spec().storage.size.clone();
    let text = format!("the volume of {member} is to grow from {} to {}", shown(capacity), size.0);
    round.wait("expansion", Reason::ExpandingVolume, member, text.clone());
    round.events.push(Event {
        is_warning: false,
        reason: Reason::ExpandingVolume.to_string(),
        message: text,
    });
    round.ensures.push(Ensure::ExpandClaim {
        claim: claim.name.clone(),
        uid: claim.uid.clone(),
        resource_version: claim.resource_version.clone(),
        size,
    });
}

fn shown(bytes: u64) -> String {
    let mebibytes = bytes / MEBIBYTE;
    if mebibytes.is_multiple_of(1024) { format!("{}Gi", mebibytes / 1024) } else { format!("{mebibytes}Mi") }
}
