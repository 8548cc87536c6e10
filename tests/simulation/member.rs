//! One member: a volume that outlives its processes, and at most one process.
//!
//! The mirror beside the volume knows what it must hold. Storage is asynchronous as in the sidecar: writes queue
//! up, one commit is under way at a time, and it takes over everything queued when it ends. The process can end
//! before, within, or after the redb transaction.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use quorate_raft::{
    Address, Incarnation, Index, LogId, Persist, RaftId, RecoveryEpoch, Sequence, ServerId, Settings, Term,
    Versions,
};
use quorate_store::{Directory, Opened, StoreError};
use rand::Rng;
use rand::rngs::SmallRng;

use super::clock::Clock;
use super::invariants::Verdict;
use super::mirror::Mirror;
use super::network::MemberNumber;
use super::process::Process;
use super::volume::Volume;

/// A member, running or not.
pub struct Member {
    /// Its number.
    pub number: MemberNumber,
    /// Its directory's identity.
    pub id: ServerId,
    /// What the volume must hold.
    pub mirror: Mirror,
    /// What the core believes its log to be: the mirror, and the writes not yet committed.
    pub accepted: Mirror,
    /// How often it was started; events meant for earlier processes are void.
    pub boots: u64,
    /// The process, while it runs.
    pub process: Option<Process>,
    /// The volume.
    pub volume: Volume,
    /// A fault was planned on the disk or the disk is full: an error of it is no defect of ours.
    pub is_disk_faulty: bool,
    /// How many times longer a commit takes.
    pub slowness: u32,
    /// Until when the process is paused.
    pub paused_until: Duration,
    /// What the binary speaks that is started next.
    pub versions: Versions,
    /// The recovery epoch of the directory.
    pub epoch: RecoveryEpoch,
    /// A directory of an earlier one is not started on.
    pub minimum: RecoveryEpoch,
    /// Its volume is lost, or set aside: it does not start.
    pub is_away: bool,
    /// What the volume may hold instead, when a commit was cut.
    pub(super) torn: Option<Mirror>,
    /// The last entry in a flush that was confirmed (K3).
    flushed: Index,
}

/// Which end of a cut commit was found at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// As if the commit had not been.
    Before,
    /// As if it had ended.
    After,
}

/// What a start came to.
pub enum Start {
    /// A process runs; how a cut commit was found.
    Runs(Option<Torn>),
    /// The directory is from before a recovery (K18).
    BeforeRecovery,
    /// The binary does not read what the directory says (K24).
    TooOld,
}

/// What a commit came to.
#[derive(Default)]
pub struct Committed {
    /// The last write that is durable now.
    pub sequence: Option<Sequence>,
    /// The entry at which the state stands that the machine moved to.
    pub moved: Option<LogId>,
}

/// A disk said no to a member.
#[derive(Debug)]
pub struct DiskError {
    /// Whose.
    pub member: MemberNumber,
    /// What it said.
    pub error: anyhow::Error,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk of m{}: {:#}", self.member, self.error)
    }
}
impl std::error::Error for DiskError {}

impl DiskError {
    /// Whether a member would be replaced for it: no fault of a call may ever look like that (K8).
    pub fn says_damaged(&self) -> bool {
        matches!(
            self.error.downcast_ref::<StoreError>(),
            Some(StoreError::Corrupt { .. } | StoreError::Gap { .. } | StoreError::FormatVersion { .. })
        )
    }

    /// Whether the disk was full.
    pub fn says_full(&self) -> bool {
        matches!(self.error.downcast_ref::<StoreError>(), Some(StoreError::NoSpace { .. }))
    }
}

impl Member {
    /// A member with an empty volume, made in a recovery epoch, and a binary.
    pub fn new(
        number: MemberNumber,
        raft_id: RaftId,
        incarnation: Incarnation,
        (epoch, versions): (RecoveryEpoch, Versions),
    ) -> Result<Self> {
        let volume = Volume::default();
        Directory::create_on(&volume.attach(), raft_id.clone(), incarnation, epoch)
            .context("creating the directory")?;
        Ok(Self {
            number,
            id: ServerId::new(raft_id, incarnation),
            mirror: Mirror::default(),
            accepted: Mirror::default(),
            boots: 0,
            process: None,
            volume,
            is_disk_faulty: false,
            slowness: 1,
            paused_until: Duration::ZERO,
            versions,
            epoch,
            minimum: epoch,
            is_away: false,
            torn: None,
            flushed: Index(0),
        })
    }

    /// Where it is reached.
    pub fn address(&self) -> Result<Address> {
        Ok(Address::new(&format!("m{}:7400", self.number))?)
    }

    /// Whether the configuration its core goes by has two halves (K14).
    pub fn is_joint(&self) -> bool {
        let latest = self.process.as_ref().and_then(|process| process.raft.status().latest);
        latest.is_some_and(|latest| latest.configuration.is_joint())
    }

    /// Starts a process on the volume, after comparing what is there with what must be.
    pub fn start(&mut self, settings: Settings, seed: u64, clock: Clock) -> Result<(Verdict, Start)> {
        let (verdict, torn, opened) = self.open()?;
        if verdict.is_err() {
            return Ok((verdict, Start::Runs(torn)));
        }
        match opened.directory.require_recovery_epoch(self.minimum) {
            Ok(()) => {}
            Err(StoreError::BeforeRecovery { .. }) => return Ok((Ok(()), Start::BeforeRecovery)),
            Err(error) => return Err(error.into()),
        }
        self.process = Process::start(opened, (self.id.clone(), self.versions), settings, seed, clock)?;
        let start = if self.process.is_some() { Start::Runs(torn) } else { Start::TooOld };
        Ok((Ok(()), start))
    }

    /// Opens the volume, and compares what is there with what must be.
    pub(super) fn open(&mut self) -> Result<(Verdict, Option<Torn>, Opened)> {
        self.volume.revive();
        self.boots += 1;
        let opened = Directory::open_on(&self.volume.attach(), &self.id.raft_id)?;
        let mut found = self.torn.is_some().then_some(Torn::Before);
        if let Err(difference) = self.mirror.check(&opened.stored) {
            match self.torn.take() {
                Some(torn) if torn.check(&opened.stored).is_ok() => {
                    self.mirror = torn;
                    found = Some(Torn::After);
                }
                _ => {
                    let broken = format!("durability: on {}: {difference}", self.id.raft_id);
                    return Ok((Err(broken), found, opened));
                }
            }
        }
        let applied = opened.stored.applied.index;
        if applied < self.flushed {
            let broken =
                format!("durability: a flush of {} was confirmed, {} is on disk", self.flushed.0, applied.0);
            return Ok((Err(broken), found, opened));
        }
        self.torn = None;
        self.flushed = applied;
        self.mirror.resume(&opened.stored);
        self.accepted = self.mirror.clone();
        self.epoch = opened.directory.identity().recovery_epoch;
        Ok((Ok(()), found, opened))
    }

    /// Power fails: the process is gone, and of what was not synced a part chosen by `rng` as well.
    pub fn lose_power(&mut self, rng: &mut SmallRng) {
        self.volume.lose_power(rng);
        self.process = None;
        self.is_disk_faulty = false;
        self.volume.set_room(None);
    }

    /// The process is killed; the next one sees all that was written.
    pub fn kill(&mut self) {
        self.volume.detach();
        self.process = None;
        self.volume.revive();
    }

    /// The process ends in order.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// A write the core asks for.
    pub fn queue(&mut self, write: Persist) {
        self.accepted.write(&write);
        if let Some(process) = &mut self.process {
            process.queue(write);
        }
    }

    /// Drops the log up to `upto`; returns the first index that is left.
    pub fn compact(&mut self, upto: LogId) -> Result<Option<Index>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let first = process.compact(upto.index)?;
        self.mirror.compact(upto);
        self.accepted.compact(upto);
        Ok(Some(first))
    }

    /// Commits what is queued.
    pub fn commit(&mut self) -> Result<Committed> {
        let Some(process) = &mut self.process else { return Ok(Committed::default()) };
        let writes = process.take_queued();
        let mut after = self.mirror.clone();
        for write in &writes {
            after.write(write);
        }
        match process.commit(&writes) {
            Ok(moved) if !self.is_dead() => {
                self.mirror = after;
                self.flushed = self.flushed.max(moved.unwrap_or_default().index);
                Ok(Committed { sequence: writes.last().map(|write| write.sequence), moved })
            }
            Ok(_) => {
                self.torn = Some(after);
                Ok(Committed::default())
            }
            Err(error) => {
                self.torn = Some(after);
                Err(error)
            }
        }
    }

    /// Writes the flush under way. Returns what is durable then; none if it must be tried again.
    pub fn end_flush(&mut self) -> Result<Option<LogId>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let flushed = process.end_flush()?;
        if !self.is_dead() {
            self.flushed = self.flushed.max(flushed.map_or(Index(0), |applied| applied.index));
        }
        Ok(flushed)
    }

    /// Whether the process is gone and the world has not noticed yet.
    pub fn is_dead(&self) -> bool {
        self.volume.is_without_power() || self.volume.is_killed()
    }

    /// The term of the entry before `index`, as the core knows while it writes `write`.
    pub fn term_before(&self, write: &Persist, index: Index) -> Option<Term> {
        let before = index.previous();
        let in_write = write.entries.iter().find(|entry| entry.index == before).map(|entry| entry.term);
        let in_snapshot =
            write.install.as_ref().filter(|meta| meta.last.index == before).map(|meta| meta.last.term);
        in_write.or(in_snapshot).or_else(|| self.accepted.term_at(before))
    }

    /// A random time that a commit or a flush takes, between `fast` and `slow` on a healthy disk.
    pub fn sync_time(&self, (fast, slow): (Duration, Duration), rng: &mut SmallRng) -> Duration {
        rng.random_range(fast..=slow) * self.slowness
    }
}
