//! What a claim remembers (K34): its annotations, read and written in one place.
//!
//! The claim is the only child that outlives every crash of everything else, so whatever the planner must not
//! forget about a member is written here before the first irreversible call.

use std::collections::BTreeMap;

use crate::observed::Now;
use crate::raft_view::Intent;

/// Annotation keys on claims.
pub mod keys {
    /// The cluster's identity.
    pub const CLUSTER_ID: &str = "quorate.dev/cluster-id";
    /// The Raft ID of the directory on it.
    pub const RAFT_ID: &str = "quorate.dev/raft-id";
    /// The incarnation of that directory.
    pub const INCARNATION: &str = "quorate.dev/incarnation";
    /// What the member is meant to be.
    pub const INTENT: &str = "quorate.dev/intent";
    /// The recovery epoch it belongs to.
    pub const RECOVERY_EPOCH: &str = "quorate.dev/recovery-epoch";
    /// Joining, Member, Leaving or Retired.
    pub const MEMBER_STATE: &str = "quorate.dev/member-state";
    /// Why it is Leaving or Retired.
    pub const LEAVES_BECAUSE: &str = "quorate.dev/leaves-because";
    /// When it was Retired, in seconds since the Unix epoch.
    pub const RETIRED_AT: &str = "quorate.dev/retired-at";
    /// The recovery epoch for which it was given up (K18).
    pub const GIVEN_UP_FOR: &str = "quorate.dev/given-up-for";
    /// How far a joining member had come, and when: `<match>/<snapshot bytes>@<seconds>`.
    pub const PROGRESS: &str = "quorate.dev/progress";
}

/// The annotations of a claim, parsed. A value that does not parse reads as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRecord {
    /// The cluster's identity, 32 hexadecimal digits.
    pub cluster_id: Option<String>,
    /// The Raft ID of the directory on it.
    pub raft_id: Option<String>,
    /// The incarnation of that directory.
    pub incarnation: Option<String>,
    /// What the member is meant to be.
    pub intent: Intent,
    /// The recovery epoch it belongs to.
    pub recovery_epoch: u64,
    /// Where in its life the member is; none = the claim is not ours.
    pub state: Option<MemberState>,
    /// Why it is Leaving or Retired.
    pub leaves_because: Option<LeavesBecause>,
    /// When it was Retired.
    pub retired_at: Option<Now>,
    /// The recovery epoch for which it was given up (K18).
    pub given_up_for: Option<u64>,
    /// How far it had come while joining.
    pub progress: Option<Progress>,
}

/// Where in its life a member is (K34).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// Being added.
    Joining,
    /// In the configuration.
    Member,
    /// Being removed; never undone.
    Leaving,
    /// Removed or set aside; its ordinal is skipped.
    Retired,
}

impl MemberState {
    /// As written in the annotation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "Joining",
            Self::Member => "Member",
            Self::Leaving => "Leaving",
            Self::Retired => "Retired",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Joining, Self::Member, Self::Leaving, Self::Retired].into_iter().find(|s| s.as_str() == text)
    }
}

/// Why a member leaves; decides what becomes of its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeavesBecause {
    /// `replicas` was lowered: the claim goes by `whenScaled`.
    ScaleIn,
    /// It never caught up: the claim is kept, and the slot starts over elsewhere (rule 16).
    Lagging,
    /// Its directory was emptied: the claim is kept (K34).
    VolumeLost,
    /// Its sidecar said that its volume is of no use any more (rule 11): the claim is kept.
    Broken,
    /// Another took its place (rules 9 and 15): the claim is kept.
    Replaced,
    /// A majority was lost and another survivor became the cluster (rule 3): the claim is kept.
    GivenUp,
}

impl LeavesBecause {
    /// As written in the annotation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScaleIn => "ScaleIn",
            Self::Lagging => "Lagging",
            Self::VolumeLost => "VolumeLost",
            Self::Broken => "Broken",
            Self::Replaced => "Replaced",
            Self::GivenUp => "GivenUp",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all =
            [Self::ScaleIn, Self::Lagging, Self::VolumeLost, Self::Broken, Self::Replaced, Self::GivenUp];
        all.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// `Voter`, `ReadReplica`, or `ReplacementFor <raft id> <incarnation>`.
fn intent_text(intent: &Intent) -> String {
    match intent {
        Intent::Voter => "Voter".to_owned(),
        Intent::ReadReplica => "ReadReplica".to_owned(),
        Intent::ReplacementFor { raft_id, incarnation } => format!("ReplacementFor {raft_id} {incarnation}"),
    }
}

fn parse_intent(text: &str) -> Option<Intent> {
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["Voter"] => Some(Intent::Voter),
        ["ReadReplica"] => Some(Intent::ReadReplica),
        ["ReplacementFor", raft_id, incarnation] => {
            Some(Intent::ReplacementFor { raft_id: raft_id.to_owned(), incarnation: incarnation.to_owned() })
        }
        _ => None,
    }
}

/// How far a joining member had come at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last entry known to be on its disk.
    pub match_index: u64,
    /// How much of a snapshot it had, in bytes.
    pub snapshot_bytes: u64,
    /// When that was noted.
    pub at: Now,
}

impl Progress {
    fn parse(text: &str) -> Option<Self> {
        let (come, at) = text.split_once('@')?;
        let (match_index, snapshot_bytes) = come.split_once('/')?;
        Some(Self {
            match_index: match_index.parse().ok()?,
            snapshot_bytes: snapshot_bytes.parse().ok()?,
            at: Now(at.parse().ok()?),
        })
    }
}

impl ClaimRecord {
    /// Reads a claim's annotations.
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| annotations.get(key).cloned();
        let number = |key: &str| annotations.get(key).and_then(|value| value.parse().ok());
        Self {
            cluster_id: text(keys::CLUSTER_ID),
            raft_id: text(keys::RAFT_ID),
            incarnation: text(keys::INCARNATION),
            intent: text(keys::INTENT).and_then(|text| parse_intent(&text)).unwrap_or_default(),
            recovery_epoch: number(keys::RECOVERY_EPOCH).unwrap_or(0),
            state: annotations.get(keys::MEMBER_STATE).and_then(|s| MemberState::parse(s)),
            leaves_because: annotations.get(keys::LEAVES_BECAUSE).and_then(|s| LeavesBecause::parse(s)),
            retired_at: number(keys::RETIRED_AT).map(Now),
            given_up_for: number(keys::GIVEN_UP_FOR),
            progress: annotations.get(keys::PROGRESS).and_then(|s| Progress::parse(s)),
        }
    }

    /// The annotations that say this.
    pub fn write(&self) -> BTreeMap<String, String> {
        let mut written = BTreeMap::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                written.insert(key.to_owned(), value);
            }
        };
        put(keys::CLUSTER_ID, self.cluster_id.clone());
        put(keys::RAFT_ID, self.raft_id.clone());
        put(keys::INCARNATION, self.incarnation.clone());
        put(keys::INTENT, Some(intent_text(&self.intent)));
        put(keys::RECOVERY_EPOCH, Some(self.recovery_epoch.to_string()));
        put(keys::MEMBER_STATE, self.state.map(|s| s.as_str().to_owned()));
        put(keys::LEAVES_BECAUSE, self.leaves_because.map(|r| r.as_str().to_owned()));
        put(keys::GIVEN_UP_FOR, self.given_up_for.map(|epoch| epoch.to_string()));
        put(keys::RETIRED_AT, self.retired_at.map(|at| at.0.to_string()));
        let progress = self.progress.map(|p| format!("{}/{}@{}", p.match_index, p.snapshot_bytes, p.at.0));
        put(keys::PROGRESS, progress);
        written
    }

    /// Live = Joining, Member or Leaving (K34).
    pub fn is_live(&self) -> bool {
        matches!(self.state, Some(MemberState::Joining | MemberState::Member | MemberState::Leaving))
    }

    /// Wanted = live and not Leaving (K34).
    pub fn is_wanted(&self) -> bool {
        matches!(self.state, Some(MemberState::Joining | MemberState::Member))
    }
}

/// `<pod>-<first 8 hexadecimal digits of the claim's UID>`: names a data directory, never a Pod (K30).
pub fn raft_id(pod: &str, claim_uid: &str) -> String {
    let hex: String = claim_uid.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{pod}-{}", hex.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K34: what is written before an irreversible call must read the same after a crash.
    #[test]
    fn a_record_reads_as_it_was_written() {
        let record = ClaimRecord {
            cluster_id: Some("5f".repeat(16)),
            raft_id: Some("db-0-3f2a91c4".to_owned()),
            incarnation: Some("0a".repeat(16)),
            intent: Intent::ReplacementFor {
                raft_id: "db-1-c01d77aa".to_owned(),
                incarnation: "0b".repeat(16),
            },
            recovery_epoch: 2,
            state: Some(MemberState::Leaving),
            leaves_because: Some(LeavesBecause::Lagging),
            retired_at: Some(Now(1_700_000_000)),
            given_up_for: Some(3),
            progress: Some(Progress { match_index: 41, snapshot_bytes: 1_024, at: Now(1_699_999_000) }),
        };
        assert_eq!(ClaimRecord::read(&record.write()), record);
    }

    #[test]
    fn an_annotation_that_does_not_parse_reads_as_absent() {
        let annotations = BTreeMap::from([
            (keys::MEMBER_STATE.to_owned(), "member".to_owned()),
            (keys::PROGRESS.to_owned(), "12@x".to_owned()),
        ]);
        assert_eq!(ClaimRecord::read(&annotations), ClaimRecord::default());
    }

    #[test]
    fn a_raft_id_is_the_pod_and_the_beginning_of_the_claims_uid() {
        assert_eq!(raft_id("db-1", "3F2A91C4-77be-4d09-8f10-aa4d5a7e6f01"), "db-1-3f2a91c4");
    }
}
