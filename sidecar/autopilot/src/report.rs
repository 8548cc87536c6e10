//! What a server says of itself, or was last known to say: the third source of knowledge (`autopilot.md` §6b).

use quorate_raft::{Index, Now, Term};

/// What a follower reports over its link to the leader, about once a second; the leader makes one of itself.
///
/// Only members' reports are accepted. What lasts longer than a leadership (zone, versions, suffrage) is kept in
/// the replicated state and given here for a server that is not heard, too: forgetting the zone of a dead leader
/// would make it an ordinary voter (A28), forgetting versions would stall or misdirect an upgrade (vault #17019).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// When it came in, on this process's clock; `None`: remembered from an earlier leadership. Then what is absent below
    /// is not known, not denied.
    pub received: Option<Now>,
    /// The last entry its machine has applied; 0 if not known.
    pub applied: Index,
    /// The term it is in; 0 if not known.
    pub term: Term,
    /// Its build, as `--version` says it.
    pub build: Option<String>,
    /// Its redundancy zone; `None` in a report that came in: it has none.
    pub zone: Option<String>,
    /// The version its upgrade is judged by, `X`, `X.Y` or strict `SemVer`.
    pub upgrade_version: Option<String>,
    /// What it asked for when it joined; `None`: it did not say, and the intent in the configuration holds (K15).
    pub desired_suffrage: Option<DesiredSuffrage>,
}

impl Report {
    /// What is said now, and where nothing is, what was said before. A report that came in is whole.
    pub(crate) fn or(&self, before: Option<Self>) -> Self {
        let (None, Some(before)) = (self.received, before) else { return self.clone() };
        Self {
            build: self.build.clone().or(before.build),
            zone: self.zone.clone().or(before.zone),
            upgrade_version: self.upgrade_version.clone().or(before.upgrade_version),
            desired_suffrage: self.desired_suffrage.or(before.desired_suffrage),
            ..self.clone()
        }
    }
}

/// What a server wishes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesiredSuffrage {
    /// A voter, once it is stable.
    Voter,
    /// A read replica: it never votes (A31).
    NonVoter,
}
