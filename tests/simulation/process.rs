//! What runs on a volume: the real core, the real log and state file on redb, the real machine.

use std::mem::take;
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use quorate_machine::{Machine, Outcome, Owner, Position};
use quorate_raft::{
    Apply, ClusterId, Entry, Identity, Index, IndexedConfiguration, LogId, Now, Payload, Persist, Raft,
    RecoveryEpoch, ServerId, Settings, SnapshotMeta, Term, Ticket,
};
use quorate_store::{
    Directory, Log, Opened, SnapshotReceiver, Snapshots, StateFile, StoreError, encode_configuration,
};

use super::client;
use super::invariants::{MachineSafety, Order, Verdict};

/// A running member.
pub struct Process {
    /// The core.
    pub raft: Raft,
    /// When it is scheduled to be woken.
    pub wake_at: Option<Duration>,
    /// Whether a commit is scheduled.
    pub is_committing: bool,
    /// Its pointers so far.
    pub order: Order,
    /// The commit index up to which the invariants have looked.
    pub commit_seen: Index,
    /// The configuration in effect when they last looked.
    pub configuration_seen: Option<IndexedConfiguration>,
    queued: Vec<Persist>,
    log: Log,
    machine: Machine<StateFile>,
    snapshots: Snapshots,
    // Holds the lock; must outlive the files.
    directory: Directory,
}

/// The cluster all members belong to.
pub const CLUSTER: ClusterId = ClusterId(0x5157);

impl Process {
    /// Starts the core and the machine on what was opened.
    pub fn start(opened: Opened, id: ServerId, settings: Settings, seed: u64, now: Duration) -> Result<Self> {
        let Opened { directory, log, state, stored } = opened;
        let identity = Identity { cluster_id: CLUSTER, recovery_epoch: RecoveryEpoch(0), server: id };
        let raft =
            Raft::new(identity, settings, stored, seed, Now(now)).map_err(|error| anyhow!("{error}"))?;
        let machine = Machine::open(state)?;
        let snapshots = Snapshots::new(&directory);
        Ok(Self {
            raft,
            wake_at: None,
            is_committing: false,
            order: Order::default(),
            commit_seen: Index(0),
            configuration_seen: None,
            queued: Vec::new(),
            log,
            machine,
            snapshots,
            directory,
        })
    }

    /// A write for the next commit.
    pub fn queue(&mut self, write: Persist) {
        self.queued.push(write);
    }

    /// The writes that go into the commit that ends now.
    pub fn take_queued(&mut self) -> Vec<Persist> {
        self.is_committing = false;
        take(&mut self.queued)
    }

    /// Whether writes wait for a commit.
    pub fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// One commit of the log; an install in it moves the machine to the new state.
    pub fn commit(&mut self, writes: &[Persist]) -> Result<()> {
        let committed = self.log.commit(writes)?;
        if let Some(last) = committed.installed {
            let state = self.directory.open_installed(last, self.machine.base())?;
            self.machine = Machine::open(state)?;
        }
        Ok(())
    }

    /// Applies committed entries; returns who waited for a command, and whether the machine did it.
    pub fn apply(
        &mut self,
        apply: Apply,
        safety: &mut MachineSafety,
    ) -> Result<(Vec<(Ticket, bool)>, Verdict)> {
        let mut answered = Vec::new();
        let mut tickets = apply.tickets.into_iter().peekable();
        for entry in &apply.entries {
            let before = Index(self.machine.applied().index);
            let outcome = self.apply_one(entry)?;
            let said = outcome.as_ref().map(|outcome| format!("{outcome:?}"));
            if let Err(broken) = safety.applied(before, entry, said) {
                return Ok((answered, Err(broken)));
            }
            if let Some((_, ticket)) = tickets.next_if(|(index, _)| *index == entry.index) {
                answered.push((ticket, !matches!(outcome, Some(Outcome::Refused(_)))));
            }
        }
        Ok((answered, Ok(())))
    }

    fn apply_one(&mut self, entry: &Entry) -> Result<Option<Outcome>> {
        let at = Position { index: entry.index.0, term: entry.term.0 };
        match &entry.payload {
            Payload::Command(command) => return Ok(Some(self.machine.apply(at, command)?)),
            Payload::Configuration(configuration) => {
                let owners =
                    configuration.servers().iter().map(|server| Owner(server.id.to_string())).collect();
                self.machine.apply_configuration(at, owners, encode_configuration(configuration));
            }
            Payload::Noop | Payload::Barrier => self.machine.apply_empty(at),
        }
        Ok(None)
    }

    /// The last applied entry.
    pub fn applied(&self) -> Index {
        Index(self.machine.applied().index)
    }

    /// The number client `number`'s key holds here.
    pub fn read(&self, number: usize) -> Result<u64> {
        let read = self.machine.get(&client::key(number))?;
        Ok(client::number_in(read.entry.as_ref().map(|entry| &entry.value)))
    }

    /// Flushes the machine, if the log on disk reaches as far (K4). Returns what is durable then.
    pub fn flush(&mut self) -> Result<Option<LogId>> {
        if self.log.last().index < self.applied() {
            return Ok(None);
        }
        let Some(flush) = self.machine.freeze() else { return Ok(None) };
        self.machine.base().flush(&flush)?;
        let applied = flush.applied();
        self.machine.flushed(applied);
        Ok(Some(LogId::new(Term(applied.term), Index(applied.index))))
    }

    /// A snapshot whose last entry is at or above `at_least`: that entry, and the whole file.
    pub fn snapshot(&self, at_least: LogId) -> Result<Option<(LogId, Bytes)>> {
        let Some(file) = self.snapshots.get(self.machine.base(), CLUSTER, at_least)? else { return Ok(None) };
        let length = usize::try_from(file.bytes())?;
        Ok(Some((file.meta().last, file.read(0, length)?)))
    }

    /// Receives a whole snapshot; none if the store wants none, because it is no newer than what is here.
    pub fn receive(&self, last: LogId, file: &Bytes) -> Result<Option<SnapshotMeta>> {
        let receive = || {
            let mut receiver = SnapshotReceiver::begin(&self.directory, last, file.len() as u64)?;
            receiver.write(0, file)?;
            receiver.finish(&self.directory)
        };
        match receive() {
            Ok(meta) => Ok(Some(meta)),
            Err(StoreError::SnapshotRefused { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a received snapshot that the core does not want.
    pub fn discard_snapshot(&self, last: LogId) -> Result<()> {
        Ok(self.directory.discard_snapshot(last, self.machine.base())?)
    }

    /// Drops the log up to `upto`; returns the first index that is left.
    pub fn compact(&mut self, upto: Index) -> Result<Index> {
        while self.log.compact(upto)?.compaction_pending {}
        Ok(self.log.first())
    }

    /// Entries from the log on disk.
    pub fn read_log(&self, from: Index, upto: Index, bytes_max: u64) -> Result<Vec<Entry>> {
        Ok(self.log.reader().read(from..upto.next(), bytes_max)?)
    }
}
