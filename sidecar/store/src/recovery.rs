//! Whether a quorum recovery may be done on a directory, and what is written (K18, S28).
//!
//! Who asks names the lost voters. They are compared with the configuration in the directory: who can name exactly all
//! but the survivor has looked. Whether another survivor's log ends later only that person can know, so a refusal shows
//! the pair by which survivors are compared.
//! Not here: what a recovered log looks like (`quorate_raft::Stored::recovered`).

use std::collections::BTreeSet;

use quorate_machine::Tagged;
use quorate_mutants::{Mutant, broken};
use quorate_raft::{Configuration, Index, LogId, Payload, Persist, RaftId, RecoveryEpoch, ServerId, Stored};

use crate::directory::Opened;
use crate::error::StoreError;
use crate::limits::RECOVERY_READ_BYTES;
use crate::names::hex;
use crate::stage::Stages;

/// What a person asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryRequest {
    /// The voters that are given up: exactly all but the survivor.
    pub lost: BTreeSet<RaftId>,
    /// The epoch of the recovered cluster; none: the next one.
    pub epoch: Option<RecoveryEpoch>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It was done before: nothing.
    Done,
    /// Store both in one transaction ([`crate::Log::recover`]).
    Write {
        /// The directory's recovery epoch from now on.
        epoch: RecoveryEpoch,
        /// The rest; its last entry is the new configuration.
        persist: Box<Persist>,
    },
}

/// Why a directory is not recovered. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unrecoverable {
    /// There is no log and no configuration.
    #[error("this directory is empty, there is nothing to recover: choose a survivor that holds the log")]
    Empty,
    /// It may lack anything that was decided without it.
    #[error("{id} is not in the configuration it knows last: choose a survivor that is")]
    NotMember {
        /// The owner of the directory.
        id: ServerId,
    },
    /// The voters given up are not the other voters.
    #[error(
        "its log ends at term {}, index {}; the other voters it knows are {}: if none of them holds a log that ends \
         later (greater term, then greater index) and all of them may be given up, name exactly these as lost",
        last.term, last.index, list(others)
    )]
    LostDiffer {
        /// The last entry of this directory's log: survivors are compared by it.
        last: LogId,
        /// Who would have to be named.
        others: BTreeSet<RaftId>,
    },
    /// All of its log would be applied, and cannot be (K17).
    #[error(
        "its log restores an archive at index {at}, which is not applied here, and that archive is not in this directory: \
         copy {file} from the directory of another survivor, or choose one that has it; without it nothing could be read \
         or written again"
    )]
    ArchiveMissing {
        /// The restore.
        at: Index,
        /// What the file is called there.
        file: String,
    },
    /// It belongs to a later recovery.
    #[error("it is at recovery epoch {}, past {}: name a later epoch, or none", found.0, asked.0)]
    EpochPassed {
        /// The directory's.
        found: RecoveryEpoch,
        /// The one asked for.
        asked: RecoveryEpoch,
    },
}

impl Opened {
    /// Whether all of the log can be applied with what is in this directory: after a recovery there is nobody else to have
    /// an archive from (K17, K18). Reads the log from the state on, and every staged archive.
    pub fn check_archives(&self) -> Result<Result<(), Unrecoverable>, StoreError> {
        let stages = Stages::open(&self.directory, self.stored.last.term)?;
        let reader = self.log.reader();
        let (mut from, end) = (self.stored.applied.index.next(), self.stored.last.index.next());
        while from < end {
            let entries = reader.read(from..end, RECOVERY_READ_BYTES)?;
            let Some(last) = entries.last() else { break };
            from = last.index.next();
            for entry in &entries {
                let Payload::Command(command) = &entry.payload else { continue };
                let Some(order) = Tagged::restore_order(command) else { continue };
                if stages.get(order, entry.term).is_none() && !broken(Mutant::K18Archive) {
                    let (at, file) = (entry.index, format!("staged-{}*.snap", hex(&order.sha256)));
                    return Ok(Err(Unrecoverable::ArchiveMissing { at, file }));
                }
            }
        }
        Ok(Ok(()))
    }
}

impl RecoveryRequest {
    /// The epoch to go to; none if that was done before. Asked about `id`, whose directory is in epoch `found`, knows
    /// `latest` and ends at `last`.
    pub fn check(
        &self,
        id: &ServerId,
        found: RecoveryEpoch,
        latest: Option<&Configuration>,
        last: LogId,
    ) -> Result<Option<RecoveryEpoch>, Unrecoverable> {
        let latest = latest.ok_or(Unrecoverable::Empty)?;
        if !latest.contains(id) {
            return Err(Unrecoverable::NotMember { id: id.clone() });
        }
        let others: BTreeSet<RaftId> =
            latest.voters().filter(|voter| voter.id != *id).map(|voter| voter.id.raft_id.clone()).collect();
        let epoch = match self.epoch {
            Some(asked) if asked == found => return Ok(None),
            Some(asked) if asked < found => return Err(Unrecoverable::EpochPassed { found, asked }),
            Some(asked) => asked,
            // Nobody else votes: that is what a recovery makes, and this is its repetition.
            None if others.is_empty() && latest.is_voter(id) => return Ok(None),
            None => RecoveryEpoch(found.0 + 1),
        };
        if self.lost == others || broken(Mutant::K18Lost) {
            Ok(Some(epoch))
        } else {
            Err(Unrecoverable::LostDiffer { last, others })
        }
    }

    /// What is to be done on the directory of `id`, which is in epoch `found` and holds `stored`.
    pub fn decide(
        &self,
        stored: &Stored,
        id: &ServerId,
        found: RecoveryEpoch,
    ) -> Result<Recovery, Unrecoverable> {
        let latest = stored.configurations.last().map(|latest| &latest.configuration);
        let Some(epoch) = self.check(id, found, latest, stored.last)? else { return Ok(Recovery::Done) };
        match stored.recovered(id, epoch) {
            Some(persist) => Ok(Recovery::Write { epoch, persist: Box::new(persist) }),
            None => Err(Unrecoverable::NotMember { id: id.clone() }),
        }
    }
}

fn list(ids: &BTreeSet<RaftId>) -> String {
    let ids: Vec<&str> = ids.iter().map(RaftId::as_str).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

#[cfg(test)]
mod tests {
    use quorate_raft::{Address, Incarnation, IndexedConfiguration, Intent, Server, Suffrage, Term};

    use super::*;

    fn id(name: &str) -> ServerId {
        ServerId::new(RaftId::new(name).unwrap(), Incarnation(1))
    }

    fn ids<const N: usize>(names: [&str; N]) -> BTreeSet<RaftId> {
        names.map(|name| RaftId::new(name).unwrap()).into()
    }

    /// A log of four entries that ends in term 4, under this configuration.
    fn stored(servers: &[(&str, Suffrage)]) -> Stored {
        let server = |(name, suffrage): &(&str, Suffrage)| Server {
            id: id(name),
            address: Address::new("db-0:7400").unwrap(),
            suffrage: *suffrage,
            intent: Intent::Voter,
        };
        let configuration = Configuration::new(servers.iter().map(server).collect()).unwrap();
        let last = LogId::new(Term(4), Index(4));
        let configurations = vec![IndexedConfiguration { index: Index(1), configuration }];
        Stored { last, configurations, ..Stored::default() }
    }

    fn voters(names: &[&'static str]) -> Stored {
        let servers: Vec<_> = names.iter().map(|name| (*name, Suffrage::Voter)).collect();
        stored(&servers)
    }

    fn decide(
        stored: &Stored,
        at: u64,
        lost: &[&str],
        epoch: Option<u64>,
    ) -> Result<Recovery, Unrecoverable> {
        let lost = lost.iter().map(|name| RaftId::new(name).unwrap()).collect();
        RecoveryRequest { lost, epoch: epoch.map(RecoveryEpoch) }.decide(stored, &id("a"), RecoveryEpoch(at))
    }

    fn epoch(recovery: Result<Recovery, Unrecoverable>) -> u64 {
        match recovery {
            Ok(Recovery::Write { epoch, .. }) => epoch.0,
            other => panic!("not recovered: {other:?}"),
        }
    }

    /// K18: the user's word names exactly the other voters; the refusal says who they are and where this log ends.
    #[test]
    fn the_lost_must_be_exactly_the_other_voters() {
        let stored = stored(&[
            ("a", Suffrage::Voter),
            ("b", Suffrage::Voter),
            ("c", Suffrage::Voter),
            ("d", Suffrage::NonVoter),
        ]);
        for lost in [&[][..], &["b"], &["b", "c", "d"], &["b", "x"], &["a", "b", "c"]] {
            let refused = decide(&stored, 0, lost, None).unwrap_err();
            let (last, others) = (LogId::new(Term(4), Index(4)), ids(["b", "c"]));
            assert_eq!(refused, Unrecoverable::LostDiffer { last, others }, "{lost:?}");
            assert_eq!(
                refused.to_string(),
                "its log ends at term 4, index 4; the other voters it knows are b, c: if none of them holds a log that \
                 ends later (greater term, then greater index) and all of them may be given up, name exactly these as \
                 lost"
            );
        }
        assert_eq!(epoch(decide(&stored, 0, &["b", "c"], None)), 1);
    }

    /// K14, K18: in the middle of a replacement both halves are lost.
    #[test]
    fn of_a_joint_configuration_the_voters_of_both_halves_are_named() {
        let stored = stored(&[
            ("a", Suffrage::Voter),
            ("b", Suffrage::Outgoing),
            ("c", Suffrage::Voter),
            ("n", Suffrage::Incoming),
        ]);
        decide(&stored, 0, &["b", "c"], None).unwrap_err();
        let Ok(Recovery::Write { persist, .. }) = decide(&stored, 0, &["b", "c", "n"], None) else {
            panic!()
        };
        let Payload::Configuration(configuration) = &persist.entries[0].payload else { panic!() };
        assert!(!configuration.is_joint());
        assert_eq!(configuration.servers().len(), 1);
    }

    /// §7 item 20: asked again, with the epoch or without, it answers well and changes nothing; an older epoch is
    /// refused; a cluster that grew again is recovered again, in the next epoch or any later one.
    #[test]
    fn a_recovery_asked_for_again_changes_nothing() {
        let alone = voters(&["a"]);
        for (lost, epoch) in [(&["b", "c"][..], None), (&["b", "c"], Some(1)), (&[], Some(1))] {
            assert_eq!(decide(&alone, 1, lost, epoch), Ok(Recovery::Done), "{lost:?} {epoch:?}");
        }
        let passed = Unrecoverable::EpochPassed { found: RecoveryEpoch(2), asked: RecoveryEpoch(1) };
        assert_eq!(decide(&alone, 2, &[], Some(1)), Err(passed));
        let grown = voters(&["a", "e", "f"]);
        assert_eq!(epoch(decide(&grown, 1, &["e", "f"], None)), 2);
        assert_eq!(epoch(decide(&grown, 1, &["e", "f"], Some(5))), 5);
    }

    /// §7 item 20, S28: nothing is made of nothing, nor of a directory the cluster has gone on without.
    #[test]
    fn an_empty_directory_and_one_that_was_removed_are_refused() {
        assert_eq!(decide(&Stored::default(), 0, &[], None), Err(Unrecoverable::Empty));
        let removed = decide(&voters(&["b", "c"]), 0, &["b", "c"], None);
        assert_eq!(removed, Err(Unrecoverable::NotMember { id: id("a") }));
    }

    /// The survivors' order: the one whose log ends last (K18).
    #[test]
    fn survivors_are_compared_by_the_term_of_their_last_entry_and_then_its_index() {
        let at = |term, index| LogId::new(Term(term), Index(index));
        assert_eq!([at(2, 9), at(3, 4), at(3, 5), at(1, 99)].into_iter().max(), Some(at(3, 5)));
    }
}
