//! One membership change at a time, and none before the leader has committed in its own term (S7; the flaw of
//! single-server changes that was found in 2015: two leaders, each with a change of its own, need not share a voter).

use quorate_raft::{Entry, Index, LogId, Payload, ServerId, Term};

use super::Verdict;

/// The rule for a leader that appends a configuration.
pub struct OneChange;

impl OneChange {
    /// A leader whose commit index is at `commit` appends `entry`; `pending`: a configuration in its log above that.
    pub fn appended(
        leader: &ServerId,
        entry: &Entry,
        commit: (Index, Option<Term>),
        pending: Option<LogId>,
    ) -> Verdict {
        // The first entry of all is the bootstrap's, before there is anybody to lead.
        if !matches!(entry.payload, Payload::Configuration(_)) || entry.index == Index(1) {
            return Ok(());
        }
        let (leader, at, (commit, committed_in)) = (&leader.raft_id, entry.index.0, commit);
        if let Some(pending) = pending {
            return Err(format!(
                "one change at a time: {leader} appends a configuration at {at}, and that at {} is not committed",
                pending.index.0
            ));
        }
        if committed_in != Some(entry.term) {
            return Err(format!(
                "one change at a time: {leader} appends a configuration at {at} in term {}, and has committed up to \
                 {} of {committed_in:?}",
                entry.term.0, commit.0
            ));
        }
        Ok(())
    }
}
