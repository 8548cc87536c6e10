//! Nothing is written that somebody does not read: a member's log holds only what its own binary reads, a kind of entry
//! waits until the version it belongs to is committed, and a version is raised only when every server's present connection
//! says that it speaks it (K24, S27).

use quorate_raft::{Configuration, Entry, Payload, ServerId, Version, Versions};

use super::Verdict;

/// The rules for entries of a newer format.
pub struct Formats;

impl Formats {
    /// A member whose binary reads `reads` writes an entry.
    pub fn are_read(id: &ServerId, reads: Versions, entry: &Entry) -> Verdict {
        let format = match &entry.payload {
            Payload::Configuration(configuration) => configuration.version(),
            other => other.since(),
        };
        if format <= reads.max {
            return Ok(());
        }
        Err(format!(
            "formats: {} reads up to version {} and writes entry {} of version {format}",
            id.raft_id, reads.max, entry.index.0
        ))
    }

    /// A leader appends an entry; the newest committed configuration is at `cluster`.
    pub fn are_agreed(leader: &ServerId, entry: &Entry, cluster: Option<Version>) -> Verdict {
        let since = entry.payload.since();
        match cluster.filter(|cluster| *cluster < since) {
            Some(cluster) => Err(format!(
                "formats: {} appends entry {} of a kind since version {since}, and the cluster is at {cluster}",
                leader.raft_id, entry.index.0
            )),
            None => Ok(()),
        }
    }

    /// A leader appends a configuration of another version than the one `before`; `spoken`: what a server's present
    /// connection says.
    pub fn are_spoken(
        leader: &ServerId,
        configuration: &Configuration,
        before: Version,
        spoken: impl Fn(&ServerId) -> Option<Versions>,
    ) -> Verdict {
        let version = configuration.version();
        let speaks = |id: &ServerId| spoken(id).is_some_and(|versions| versions.contains(version));
        if version == before
            || version == before.next() && configuration.servers().iter().all(|one| speaks(&one.id))
        {
            return Ok(());
        }
        let said: Vec<_> =
            configuration.servers().iter().map(|one| (&one.id.raft_id, spoken(&one.id))).collect();
        Err(format!(
            "formats: {} goes from version {before} to {version}, and spoken is {said:?}",
            leader.raft_id
        ))
    }
}
