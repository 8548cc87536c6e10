//! Names of the files in a data directory, and what each may mean at start.

use quorate_machine::{ApiIndex, ApplicationSnapshot};
use quorate_raft::{Index, LogId};

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

/// The index in the name of a state file that was made from a snapshot or an archive.
pub(crate) fn state_index(name: &str) -> Option<Index> {
    let (index, _) = name.strip_prefix("state-")?.split_once('-')?;
    index.parse().ok().map(Index)
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

/// The file a state is taken into before it is staged (K17).
pub(crate) fn staging_name(number: u64) -> String {
    format!("staging-{number}.snap")
}

/// The state file made by the restore that is the entry `at` (K17). A snapshot that ends there has another name: the two may
/// be made at the same time.
pub(crate) fn restored_name(at: LogId) -> String {
    format!("state-{}-{}-restored.redb", at.index, at.term)
}

/// A staged state, by the SHA-256 of its bytes, and the entry that is known to name it (K17); it survives restarts.
pub(crate) fn staged_name(sha256: &[u8; 32], entry: Option<Index>) -> String {
    let entry = entry.map(|entry| format!("-{entry}")).unwrap_or_default();
    format!("staged-{}{entry}.snap", hex(sha256))
}

/// What the name of a staged state says.
pub(crate) fn parse_staged(name: &str) -> Option<([u8; 32], Option<Index>)> {
    let text = name.strip_prefix("staged-")?.strip_suffix(".snap")?;
    let (text, entry) = match text.split_once('-') {
        Some((text, entry)) => (text, Some(Index(entry.parse().ok()?))),
        None => (text, None),
    };
    let sha256 = parse_hex(text)?;
    (staged_name(&sha256, entry) == name).then_some((sha256, entry))
}

/// A snapshot of an application, by what it is (K22); it survives restarts.
pub(crate) fn application_name(snapshot: &ApplicationSnapshot) -> String {
    let ApplicationSnapshot { index, sha256, bytes } = snapshot;
    format!("application-{index}-{bytes}-{}.snap", hex(sha256))
}

/// What the name of an application's snapshot says.
pub(crate) fn parse_application(name: &str) -> Option<ApplicationSnapshot> {
    let mut parts = name.strip_prefix("application-")?.strip_suffix(".snap")?.splitn(3, '-');
    let index = ApiIndex(parts.next()?.parse().ok()?);
    let bytes = parts.next()?.parse().ok()?;
    let snapshot = ApplicationSnapshot { index, sha256: parse_hex(parts.next()?)?, bytes };
    (application_name(&snapshot) == name).then_some(snapshot)
}

/// The file a snapshot of an application is taken into.
pub(crate) fn application_staging_name(number: u64) -> String {
    format!("staging-application-{number}.snap")
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let mut sha256 = [0; 32];
    for (at, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(sha256)
}

/// Bytes as `sha256sum` prints them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether a file is one of a transfer: none of these survives a restart.
pub(crate) fn is_of_a_transfer(name: &str) -> bool {
    name.strip_suffix(".snap").is_some_and(|stem| {
        ["snapshot-", "receiving-", "staging-"].iter().any(|begin| stem.starts_with(begin))
    })
}

/// Whether a file is a state file.
pub(crate) fn is_state(name: &str) -> bool {
    name == STATE_FIRST_NAME || name.strip_suffix(".redb").is_some_and(|stem| stem.starts_with("state-"))
}
