//! What runs on a volume: the real core, the real log and state file on redb, the real machine.

use std::collections::{BTreeMap, VecDeque};
use std::mem::take;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use quorate_machine::{Base, Era, Flush, KeyRange, KeyRead, Machine, Outcome, Owner, Position, Table};
use quorate_raft::{
    Apply, ClusterId, Entry, Identity, Index, IndexedConfiguration, LogId, Now, Payload, Persist, Raft,
    ServerId, Settings, StartError, Term, Ticket, Versions,
};
use quorate_store::{Directory, Log, Opened, Snapshots, Stages, StateFile, StoreError, encode_configuration};

use super::clock::Clock;
use super::hello::{Connection, Hello};
use super::invariants::Order;
use super::keeper::Keeper;
use super::requests::{DelayedRead, Waiting};
use super::restores::Place;
use super::restoring::{Restoring, order_in};
use super::snapshot::Receiving;

/// A running member.
pub struct Process {
    /// The core.
    pub raft: Raft,
    /// What it takes for the time.
    pub clock: Clock,
    /// What it says first on every connection.
    pub hello: Hello,
    /// Its connections to peers.
    pub connections: BTreeMap<ServerId, Connection>,
    /// Who waits for what at the core.
    pub waiting: BTreeMap<Ticket, Waiting>,
    /// Reads that wait until the machine has applied their index.
    pub reads: Vec<DelayedRead>,
    /// When it is scheduled to be woken, by the world's time.
    pub wake_at: Option<Duration>,
    /// Whether a commit is scheduled.
    pub is_committing: bool,
    /// Its pointers so far.
    pub order: Order,
    /// The commit index up to which the invariants have looked.
    pub commit_seen: Index,
    /// The configuration in effect when they last looked.
    pub configuration_seen: Option<IndexedConfiguration>,
    /// The place of a restore, while this leads one.
    pub place: Option<Place>,
    /// What it does for sessions.
    pub(super) keeper: Keeper,
    /// The restore that the machine waits for.
    pub(super) restoring: Option<Restoring>,
    /// The restore whose state the next commit names.
    pub(super) to_name: Option<LogId>,
    queued: Vec<Persist>,
    pub(super) log: Log,
    pub(super) machine: Machine<StateFile>,
    /// A frozen memtable on its way to the disk; more is applied meanwhile.
    flushing: Option<Flush>,
    snapshots: Snapshots,
    /// The snapshot that comes in, or that broke off.
    pub(super) receiving: Option<Receiving>,
    pub(super) stages: Stages,
    // Holds the lock; must outlive the files.
    pub(super) directory: Directory,
}

/// A row of the state: its table, its key, and what is there.
pub type Row = (Table, Bytes, Bytes);

/// What applying one entry came to.
pub struct Applied {
    /// The last entry applied before it.
    pub before: Index,
    /// The entry.
    pub entry: Entry,
    /// What the machine answered to a command.
    pub outcome: Option<Outcome>,
    /// Who waits for it.
    pub ticket: Option<Ticket>,
}

/// The cluster all members belong to.
pub const CLUSTER: ClusterId = ClusterId(0x5157);

impl Process {
    /// Starts the core and the machine on what was opened; none if the binary is too old for what is there.
    pub fn start(
        opened: Opened,
        (id, versions): (ServerId, Versions),
        settings: Settings,
        seed: u64,
        clock: Clock,
    ) -> Result<Option<Self>> {
        let Opened { directory, log, state, stored } = opened;
        let recovery_epoch = directory.identity().recovery_epoch;
        let identity = Identity { cluster_id: CLUSTER, recovery_epoch, server: id, versions };
        let raft = match Raft::new(identity, settings, stored, seed, Now::default()) {
            Ok(raft) => raft,
            Err(StartError::Version { cluster, ours }) if !ours.contains(cluster) => return Ok(None),
            Err(error) => return Err(anyhow!("{error}")),
        };
        let machine = Machine::open(state)?;
        let snapshots = Snapshots::new(&directory);
        let stages = Stages::open(&directory, raft.status().term)?;
        Ok(Some(Self {
            raft,
            clock,
            hello: Hello { epoch: recovery_epoch, versions },
            connections: BTreeMap::new(),
            waiting: BTreeMap::new(),
            reads: Vec::new(),
            wake_at: None,
            is_committing: false,
            order: Order::default(),
            commit_seen: Index(0),
            configuration_seen: None,
            place: None,
            keeper: Keeper::default(),
            restoring: None,
            to_name: None,
            queued: Vec::new(),
            log,
            machine,
            flushing: None,
            snapshots,
            receiving: None,
            stages,
            directory,
        }))
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

    /// One commit of the log, and then the naming of a restored state, as the storage thread does it. Either may name
    /// another state file: the machine moves there, and the entry that it stands at is returned.
    pub fn commit(&mut self, writes: &[Persist]) -> Result<Option<LogId>> {
        let mut moved = None;
        if !writes.is_empty() {
            moved = self.log.commit(writes)?.named;
        }
        if let Some(name) = &moved {
            self.move_to(name)?;
        }
        if let Some(at) = self.to_name.take()
            && let Some(name) = self.log.name_restored(at)?.named
        {
            self.move_to(&name)?;
            moved = Some(name);
        }
        let applied = self.machine.applied();
        Ok(moved.map(|_| LogId::new(Term(applied.term), Index(applied.index))))
    }

    fn move_to(&mut self, name: &str) -> Result<()> {
        // A flush belongs to the file it began on, which is about to go (K4).
        self.end_flush()?;
        // Its log reaches as far: what was applied stands before the entry that moved us, and that one is on disk.
        assert!(self.flushing.is_none(), "a flush is left over, and would be written to another state");
        let state = self.directory.open_named(name, self.machine.base())?;
        self.machine = Machine::open(state)?;
        Ok(())
    }

    /// Applies committed entries; returns what each came to, and who waited for it. In front of a restore it stops, and
    /// holds what comes after.
    pub fn apply(&mut self, apply: Apply) -> Result<Vec<Applied>> {
        if let Some(restoring) = &mut self.restoring {
            restoring.held.push_back(apply);
            return Ok(Vec::new());
        }
        let mut tickets = apply.tickets.into_iter().peekable();
        let mut entries = apply.entries.into_iter();
        let mut applied = Vec::new();
        while let Some(entry) = entries.next() {
            let ticket = tickets.next_if(|(index, _)| *index == entry.index).map(|(_, ticket)| ticket);
            if let Some(order) = order_in(&entry) {
                let held = Apply { entries: entries.collect(), tickets: tickets.collect() };
                self.restoring = Some(Restoring { entry, order, ticket, held: VecDeque::from([held]) });
                break;
            }
            let before = self.applied();
            let outcome = self.apply_one(&entry)?;
            applied.push(Applied { before, entry, outcome, ticket });
        }
        Ok(applied)
    }

    fn apply_one(&mut self, entry: &Entry) -> Result<Option<Outcome>> {
        let at = Position { index: entry.index.0, term: entry.term.0 };
        match &entry.payload {
            Payload::Command(command) => return Ok(Some(self.machine.apply(at, command)?)),
            Payload::Configuration(configuration) => {
                let owners =
                    configuration.servers().iter().map(|server| Owner(server.id.to_string())).collect();
                let era = Era {
                    cluster_version: configuration.version().0,
                    recovery_epoch: configuration.recovery_epoch().0,
                    mode: quorate_machine::Mode::KeyValue,
                };
                self.machine.apply_configuration(at, era, owners, encode_configuration(configuration));
            }
            Payload::Noop | Payload::Barrier => self.machine.apply_empty(at),
        }
        Ok(None)
    }

    /// The last applied entry.
    pub fn applied(&self) -> Index {
        Index(self.machine.applied().index)
    }

    /// The last entry in its state on disk.
    pub fn durable_applied(&self) -> Index {
        self.machine.base().durable_applied().index
    }

    /// What a key holds here.
    pub fn read(&self, key: &[u8]) -> Result<KeyRead> {
        Ok(self.machine.get(key)?)
    }

    /// Every row of the state, as it is on disk after a flush.
    pub fn rows(&mut self) -> Result<Vec<Row>> {
        self.end_flush()?;
        self.begin_flush();
        self.end_flush()?;
        let mut rows = Vec::new();
        for table in Table::ALL {
            self.machine.base().scan(table, &KeyRange::all(), &mut |key, row| {
                rows.push((table, Bytes::copy_from_slice(key), Bytes::copy_from_slice(row)));
                ControlFlow::Continue(())
            })?;
        }
        Ok(rows)
    }

    /// Freezes what was applied, to be flushed; the last entry in it. None while a flush is under way, and if there is
    /// nothing new.
    pub fn begin_flush(&mut self) -> Option<Index> {
        let flush = self.machine.freeze()?;
        let upto = Index(flush.applied().index);
        self.flushing = Some(flush);
        Some(upto)
    }

    /// Whether the flush up to this entry is under way; an install ends one before its time.
    pub fn is_flushing(&self, upto: Index) -> bool {
        self.flushing.as_ref().is_some_and(|flush| flush.applied().index == upto.0)
    }

    /// Writes what was frozen. Returns what is durable then; none if the log on disk does not reach as far yet (K4), so
    /// that it must be tried again.
    pub fn end_flush(&mut self) -> Result<Option<LogId>> {
        let Some(flush) = self.flushing.take() else { return Ok(None) };
        match self.machine.base().flush(&flush) {
            Ok(applied) => {
                self.machine.flushed(flush.applied());
                Ok(Some(applied))
            }
            Err(StoreError::FlushAheadOfLog { .. }) => {
                self.flushing = Some(flush);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A snapshot whose last entry is at or above `at_least`: that entry, and the whole file.
    pub fn snapshot(&self, at_least: LogId) -> Result<Option<(LogId, Bytes)>> {
        let Some(file) = self.snapshots.get(self.machine.base(), CLUSTER, at_least)? else { return Ok(None) };
        let length = usize::try_from(file.bytes())?;
        Ok(Some((file.meta().last, file.read(0, length)?)))
    }

    /// Removes a received snapshot that the core does not want.
    pub fn discard_snapshot(&self, last: LogId) -> Result<()> {
        Ok(self.directory.discard_snapshot(last)?)
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
