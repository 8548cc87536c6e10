//! Right at a restore a member holds the archive's keys and no others, each under the restore's own index, which is above
//! any of the archive's (K17).

use quorate_linearizability::Value;
use quorate_machine::ApiIndex;
use quorate_raft::ServerId;

use super::Verdict;
use crate::simulation::archive::Archived;

/// What a member holds.
pub struct KeysHeld {
    /// What stands under the run's keys, by number, and its index; a value that is none of ours reads as none.
    pub first: Vec<Option<(Option<Value>, ApiIndex)>>,
    /// How many keys there are in all.
    pub count: usize,
}

/// The rule for a state that a restore has just made.
pub struct RestoredKeys;

impl RestoredKeys {
    /// `index`: the restore's own.
    pub fn are(id: &ServerId, archived: &Archived, index: ApiIndex, held: &KeysHeld) -> Verdict {
        let due = |value: &Option<Value>| value.map(|value| (Some(value), index));
        let due: Vec<_> = archived.contents.iter().map(due).collect();
        let count = due.iter().flatten().count();
        if held.first != due || held.count != count {
            return Err(format!(
                "restored keys: {} holds {} keys, {:?}, and the archive {count}, {due:?}",
                id.raft_id, held.count, held.first
            ));
        }
        if index <= archived.last {
            return Err(format!(
                "restored keys: {} restored at {index}, and the archive stands at {}",
                id.raft_id, archived.last
            ));
        }
        Ok(())
    }
}
