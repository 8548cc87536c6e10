//! All invariants of the group, and where each looks. They stand outside the members and see every disk.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_machine::{KvEntry, SessionId};
use quorate_raft::{
    Configuration, Entry, Index, IndexedConfiguration, LogId, Message, Payload, Persist, RecoveryEpoch, Role,
    ServerId, Term,
};

use super::coverage::Coverage;
use super::fleet::Fleet;
use super::invariants::{
    Alone, AtMostOnce, Commitment, Configurations, ElectionSafety, Formats, HardStates, Locks, LogMatching,
    Lost, MachineSafety, OneChange, OneEpoch, Promises, ReadIndexes, Sessions, Verdict, Voters,
};
use super::member::Member;
use super::mirror::Mirror;
use super::network::MemberNumber;
use super::process::Applied;

/// The invariants.
#[derive(Default)]
pub struct Watch {
    elections: ElectionSafety,
    matching: LogMatching,
    commitment: Commitment,
    configurations: Configurations,
    machines: MachineSafety,
    at_most_once: AtMostOnce,
    locks: Locks,
    sessions: Sessions,
    promises: Promises,
    /// That of the cluster; what members of an earlier one do is over.
    epoch: RecoveryEpoch,
}

impl Watch {
    /// A core wants this written.
    pub fn writes(&mut self, member: &Member, write: &Persist) -> Verdict {
        if member.epoch < self.epoch {
            return Ok(());
        }
        self.formats(member, write)?;
        self.changes(member, write)?;
        for entry in &write.entries {
            let previous = member.term_before(write, entry.index).unwrap_or_default();
            self.matching.written(entry, previous)?;
            self.configurations.written(entry);
        }
        if let Some(hard_state) = &write.hard_state {
            HardStates::follows(&member.id, &member.accepted.hard_state, hard_state)?;
        }
        self.commitment.stays(member, write)
    }

    /// What is written may be of a newer version.
    fn formats(&self, member: &Member, write: &Persist) -> Verdict {
        let Some(process) = &member.process else { return Ok(()) };
        let is_leader = process.raft.role() == Role::Leader;
        let before = process.configuration_seen.as_ref().map(|seen| seen.configuration.version());
        for entry in &write.entries {
            Formats::are_read(&member.id, process.hello.versions, entry)?;
            let Some(before) = before.filter(|_| is_leader) else { continue };
            if let Payload::Configuration(configuration) = &entry.payload {
                Formats::are_spoken(&member.id, configuration, before, |id| {
                    let connection = || process.connections.get(id).and_then(|one| one.versions);
                    if *id == member.id { Some(process.hello.versions) } else { connection() }
                })?;
            } else {
                let newest = self.configurations.newest_committed(&self.commitment);
                Formats::are_agreed(&member.id, entry, newest.map(Configuration::version))?;
            }
        }
        Ok(())
    }

    /// What is written may be a change of membership.
    fn changes(&self, member: &Member, write: &Persist) -> Verdict {
        let Some(process) = &member.process else { return Ok(()) };
        for entry in &write.entries {
            let Payload::Configuration(configuration) = &entry.payload else { continue };
            Voters::count(configuration)?;
            let status = process.raft.status();
            if status.role == Role::Leader && status.term == entry.term {
                OneEpoch::stays(&member.id, member.epoch, configuration)?;
                let pending = self.configurations.between(status.commit, entry.index, &member.accepted);
                let committed_in = member.accepted.term_at(status.commit);
                OneChange::appended(&member.id, entry, (status.commit, committed_in), pending)?;
            }
        }
        Ok(())
    }

    /// A message leaves a member whose disk holds `disk`.
    pub fn sends(&mut self, message: &Message, disk: &Mirror) -> Verdict {
        self.promises.sent(message, disk)
    }

    /// A machine of an epoch applied an entry. Whether that is to count as its effect: not if the entry repeats an earlier
    /// one, nor on a machine of an epoch that is over.
    pub fn applies(
        &mut self,
        epoch: RecoveryEpoch,
        applied: &Applied,
        now: Duration,
        coverage: &mut Coverage,
    ) -> Result<bool, String> {
        if epoch < self.epoch {
            return Ok(false);
        }
        let outcome = applied.outcome.as_ref().map(|outcome| format!("{outcome:?}"));
        self.machines.applied(applied.before, &applied.entry, outcome)?;
        self.locks.applied(&applied.entry, applied.outcome.as_ref())?;
        self.sessions.applied(&applied.entry, applied.outcome.as_ref(), now)?;
        self.at_most_once.applied(&applied.entry, applied.outcome.as_ref(), coverage)
    }

    /// A client is told that its session lives until a moment.
    pub fn tells_session(&mut self, session: SessionId, until: Duration) -> Verdict {
        self.sessions.told(session, until)
    }

    /// A client is told that its session is over.
    pub fn tells_session_over(&self, session: SessionId, now: Duration) -> Verdict {
        self.sessions.told_over(session, now)
    }

    /// A client asks for the end of its session.
    pub fn gives_session_up(&mut self, session: SessionId) {
        self.sessions.given_up(session);
    }

    /// The keys that were ever locked.
    pub fn lock_keys(&self) -> BTreeSet<Bytes> {
        self.locks.keys()
    }

    /// What a member that has applied everything holds under such a key.
    pub fn locks_are_of(&self, key: &Bytes, found: Option<&KvEntry>) -> Verdict {
        self.locks.are_of(key, found)
    }

    /// A member says that it leads a term.
    pub fn leads(&mut self, member: &Member, term: Term) -> Verdict {
        if member.epoch < self.epoch {
            let id = &member.id.raft_id;
            return Err(format!(
                "recovery: {id} leads in the recovery epoch {}, which is over",
                member.epoch.0
            ));
        }
        self.elections.leads(&member.id, term)?;
        self.commitment.leader_is_complete(&member.id, term, &member.accepted)
    }

    /// What any read that begins now must see.
    pub fn read_floor(&self) -> Index {
        self.commitment.last().index
    }

    /// A leader gave an index to a read that began when `floor` was committed.
    pub fn gives_read_index(&self, leader: &ServerId, floor: Index, index: Index) -> Verdict {
        ReadIndexes::given(leader, floor, index)
    }

    /// The newest committed configuration, and those that stand after it in any log.
    pub fn configurations_in_force(&self, fleet: &Fleet) -> Vec<Configuration> {
        self.configurations.in_force(&self.commitment, &fleet.accepted_logs())
    }

    /// The configurations that a log goes by: the newest committed one that it holds, and those after it.
    pub fn configurations_known_to(&self, log: &Mirror) -> Vec<Configuration> {
        self.configurations.known_to(&self.commitment, log)
    }

    /// The cluster goes on in `epoch` from one volume, by the last entry there. `survivors`: the logs that could have been
    /// chosen. What is lost.
    pub fn recovered<'a>(
        &mut self,
        epoch: RecoveryEpoch,
        member: &Member,
        entry: &Entry,
        survivors: impl Iterator<Item = &'a Mirror>,
    ) -> Result<Lost, String> {
        let log = &member.mirror;
        Alone::is(&member.id, epoch, entry, log)?;
        let Payload::Configuration(alone) = &entry.payload else {
            return Err("recovery: by no configuration".into());
        };
        let (agreed, committed) = self.commitment.recovered(log, entry.id(), alone, survivors)?;
        let after = agreed.min(self.machines.last());
        self.machines.lose_after(after);
        let commands = self.at_most_once.lose_after(after);
        self.locks.lose_after(after)?;
        self.sessions.lose_after(after);
        self.elections.recovered();
        self.matching.recovered(log, entry.index);
        self.matching.written(entry, log.term_at(entry.index.previous()).unwrap_or_default())?;
        self.configurations.written(entry);
        self.epoch = epoch;
        Ok(Lost { after, committed, commands })
    }

    /// Looks at one member after its core stepped.
    pub fn look(&mut self, number: MemberNumber, fleet: &mut Fleet) -> Verdict {
        if fleet[number].epoch < self.epoch {
            return Ok(());
        }
        let Some(process) = &mut fleet[number].process else { return Ok(()) };
        let status = process.raft.status();
        process.order.seen(&status)?;
        let seen = std::mem::replace(&mut process.commit_seen, status.commit);
        let before = std::mem::replace(&mut process.configuration_seen, status.latest.clone());
        if status.commit > seen {
            let is_leader = status.role == Role::Leader;
            let configurations = [before.as_ref(), status.latest.as_ref()];
            self.look_at_commit(&fleet[number], (seen, status.commit), is_leader, configurations, fleet)?;
        }
        Ok(())
    }

    /// `configurations`: the one in effect before this step, which may have committed under it and then changed it,
    /// and the one now.
    fn look_at_commit(
        &mut self,
        member: &Member,
        (seen, commit): (Index, Index),
        is_leader: bool,
        configurations: [Option<&IndexedConfiguration>; 2],
        fleet: &Fleet,
    ) -> Verdict {
        let log = &member.accepted;
        for index in (seen.0 + 1..=commit.0).map(Index) {
            // What a snapshot brought was checked where it was committed first.
            if index > log.previous.index {
                let term = log
                    .term_at(index)
                    .ok_or_else(|| format!("order: {} is committed and not there", index.0))?;
                self.commitment.committed(LogId::new(term, index))?;
            }
        }
        // The first commit of a process repeats what an earlier one knew.
        if let Some(term) = log.term_at(commit)
            && is_leader
            && seen > Index(0)
        {
            let entry = LogId::new(term, commit);
            Commitment::is_of_its_term(&member.id, entry, log.hard_state.term)?;
            let configurations = configurations.into_iter().flatten().map(|each| &each.configuration);
            Commitment::is_on_a_quorum(entry, configurations.clone(), |id| fleet.disk_of(id))?;
            self.commitment.counted(entry, configurations.cloned().collect());
        }
        Ok(())
    }

    /// After a crash: what was committed is still on the disks of a quorum, those of the crashed included.
    pub fn survived(&self, fleet: &Fleet) -> Verdict {
        let configurations = self.configurations_in_force(fleet);
        let last = self.commitment.last();
        let counted_under = self.commitment.counted_under(last);
        let configurations = configurations.iter().chain(counted_under);
        Commitment::is_on_a_quorum(last, configurations, |id| fleet.disk_of(id))
    }
}
