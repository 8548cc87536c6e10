//! `quorate-sidecar recover DIR`: the directory of a survivor becomes the one voter of a recovered cluster (K18, S28).
//!
//! For the day when a majority is gone for good. It asks for the lost by name and compares the names with the
//! configuration in the directory: who can type them has looked. Whether a better survivor exists only that person can
//! know, so every message shows the pair by which survivors are compared.
//! Not here: what is written (`quorate_store::RecoveryRequest`), and its one transaction (`quorate_store`).

use std::collections::BTreeSet;
use std::path::Path;

use quorate_raft::{Index, LogId, RaftId, RecoveryEpoch, ServerId};
use quorate_store::{Opened, Recovery, RecoveryRequest, StoreError, Unrecoverable};
use tracing::warn;

use crate::args::RecoverArgs;
use crate::driver::storage_failure;
use crate::exit::{Code, Failure};
use crate::inspect::open_stopped;

/// Recovers, or says that it was done before. An error changed nothing.
pub fn recover(args: &RecoverArgs) -> Result<String, Failure> {
    let request = RecoveryRequest { lost: parse_lost(&args.lost)?, epoch: args.epoch.map(RecoveryEpoch) };
    let mut opened = open_stopped(&args.directory).map_err(|error| storage_failure(&error))?;
    let identity = opened.directory.identity().clone();
    let id = ServerId::new(identity.raft_id, identity.incarnation);
    let decided = request.decide(&opened.stored, &id, identity.recovery_epoch);
    match decided.map_err(|refusal| refused(&args.directory, &id, &refusal))? {
        Recovery::Done => Ok(format!(
            "{} is at recovery epoch {} already: nothing was changed",
            id.raft_id, identity.recovery_epoch.0
        )),
        Recovery::Write { epoch, persist } => {
            let whole = opened.check_archives().map_err(|error| storage_failure(&error))?;
            whole.map_err(|refusal| refused(&args.directory, &id, &refusal))?;
            opened.log.recover(epoch, &persist).map_err(|error| storage_failure(&error))?;
            Ok(report(&id, epoch, &opened))
        }
    }
}

/// Recovers a directory that a member has just opened, before it starts on it; says whether anything was written. What
/// can't be done is told and left: the member starts as it is, and whoever asked for it asks again.
pub(crate) fn carry_out(opened: &mut Opened, request: &RecoveryRequest) -> Result<bool, StoreError> {
    let identity = opened.directory.identity().clone();
    let id = ServerId::new(identity.raft_id, identity.incarnation);
    let decided = request.decide(&opened.stored, &id, identity.recovery_epoch);
    let decided = if matches!(decided, Ok(Recovery::Write { .. })) {
        opened.check_archives()?.and(decided)
    } else {
        decided
    };
    match decided {
        Ok(Recovery::Done) => Ok(false),
        Ok(Recovery::Write { epoch, persist }) => {
            opened.log.recover(epoch, &persist)?;
            warn!(epoch = epoch.0, log_last = %opened.stored.last, "this member is the one voter of its cluster now");
            Ok(true)
        }
        Err(refusal) => {
            warn!(%refusal, "the quorum was not recovered, nothing was changed");
            Ok(false)
        }
    }
}

fn parse_lost(names: &[String]) -> Result<BTreeSet<RaftId>, Failure> {
    let parse = |name: &String| {
        RaftId::new(name.trim()).map_err(|error| Failure::new(Code::Usage, format!("--lost: {error}")))
    };
    names.iter().map(parse).collect()
}

fn refused(directory: &Path, id: &ServerId, refusal: &Unrecoverable) -> Failure {
    let mut text = format!("{} was not recovered, nothing was changed: {refusal}", id.raft_id);
    if let Unrecoverable::LostDiffer { others, .. } = refusal {
        let names: Vec<&str> = others.iter().map(RaftId::as_str).collect();
        text = format!("{text}: quorate-sidecar recover {} --lost {}", directory.display(), names.join(","));
    }
    Failure::new(Code::Usage, text)
}

fn report(id: &ServerId, epoch: RecoveryEpoch, opened: &Opened) -> String {
    let LogId { term, index } = opened.stored.last;
    let Index(commit) = opened.stored.commit;
    let (raft_id, epoch) = (&id.raft_id, epoch.0);
    format!(
        "{raft_id} is the one voter of its cluster now, at recovery epoch {epoch}\n\
         its log ended at term {term}, index {index}; it knew {commit} to be committed, and all of it counts from now on\n\
         next: start it with --recovery-epoch {epoch}; let every other member rejoin with an empty directory, under a new \
         Raft ID, with --recovery-epoch {epoch}"
    )
}
