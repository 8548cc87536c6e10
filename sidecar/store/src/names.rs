//! Names of the files in a data directory, and what each may mean at start.

use quorate_raft::LogId;

/// The log under construction: a directory exists once this is renamed to `log.redb`.
pub(crate) const LOG_NEW_NAME: &str = "log.redb.new";

/// The first state file under construction: it counts once it is renamed, so that it is never there half made.
pub(crate) const STATE_NEW_NAME: &str = "state.redb.new";

/// The state file a directory begins with.
pub(crate) const STATE_FIRST_NAME: &str = "state.redb";

/// Space held back for what frees space (K8).
pub(crate) const BALLAST_NAME: &str = "ballast";

/// The state file made from the snapshot that ends at `last` (K5).
pub(crate) fn state_name(last: LogId) -> String {
    format!("state-{}-{}.redb", last.index, last.term)
}

/// The file a snapshot is materialised into for its receivers (K7). `made` counts them, so that a new one
/// never takes the name of one that is just being removed.
pub(crate) fn snapshot_name(last: LogId, made: u64) -> String {
    format!("snapshot-{}-{}-{made}.snap", last.index, last.term)
}

/// The file a snapshot is received into.
pub(crate) fn receiving_name(last: LogId) -> String {
    format!("receiving-{}-{}.snap", last.index, last.term)
}

/// Whether a file is one of a transfer: none of these survives a restart.
pub(crate) fn is_of_a_transfer(name: &str) -> bool {
    name.strip_suffix(".snap")
        .is_some_and(|stem| stem.starts_with("snapshot-") || stem.starts_with("receiving-"))
}

/// Whether a file is a state file.
pub(crate) fn is_state(name: &str) -> bool {
    name == STATE_FIRST_NAME || name.strip_suffix(".redb").is_some_and(|stem| stem.starts_with("state-"))
}
