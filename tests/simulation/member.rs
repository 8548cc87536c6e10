//! One member: a volume that outlives its processes, and at most one process.
//!
//! The volume is a [`CrashDisk`]; the mirror beside it knows what it must hold. Storage is asynchronous as in the
//! sidecar: writes queue up, one commit is under way at a time, and it takes over everything queued when it ends.
//! Power can fail before, within, or after the redb transaction.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use quorate_raft::{
    Address, Incarnation, Index, LogId, Persist, RaftId, ServerId, Settings, SnapshotMeta, Term,
};
use quorate_store::{CrashDisk, Directory, Disk};
use rand::Rng;
use rand::rngs::SmallRng;

use super::invariants::Verdict;
use super::mirror::Mirror;
use super::network::MemberNumber;
use super::process::Process;

/// How many disk calls a commit makes at most before power fails within it.
const CALLS_BEFORE_POWER_FAILS: u64 = 12;

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
    /// What the volume may hold instead, when power failed within a commit.
    torn: Option<Mirror>,
    disk: CrashDisk,
}

impl Member {
    /// A member with an empty volume; `volume` makes its Raft ID, and what is drawn its incarnation.
    pub fn new(number: MemberNumber, volume: u64, rng: &mut SmallRng) -> Result<Self> {
        let disk = CrashDisk::new();
        let raft_id = RaftId::new(&format!("m{number}-{volume:08x}"))?;
        let incarnation = Incarnation(rng.random());
        Directory::create_on(&shared(&disk), raft_id.clone(), incarnation)
            .context("creating the directory")?;
        Ok(Self {
            number,
            id: ServerId::new(raft_id, incarnation),
            mirror: Mirror::default(),
            accepted: Mirror::default(),
            boots: 0,
            process: None,
            torn: None,
            disk,
        })
    }

    /// Where it is reached.
    pub fn address(&self) -> Result<Address> {
        Ok(Address::new(&format!("m{}:7400", self.number))?)
    }

    /// Starts a process on the volume, after comparing what is there with what must be.
    pub fn start(&mut self, settings: Settings, seed: u64, now: Duration) -> Result<Verdict> {
        let opened = Directory::open_on(&shared(&self.disk), &self.id.raft_id)?;
        if let Err(difference) = self.mirror.check(&opened.stored) {
            match self.torn.take() {
                Some(torn) if torn.check(&opened.stored).is_ok() => self.mirror = torn,
                _ => return Ok(Err(format!("durability: on {}: {difference}", self.id.raft_id))),
            }
        }
        self.torn = None;
        self.mirror.resume(&opened.stored);
        self.accepted = self.mirror.clone();
        self.boots += 1;
        self.process = Some(Process::start(opened, self.id.clone(), settings, seed, now)?);
        Ok(Ok(()))
    }

    /// Power fails: the process is gone, and of what was not synced a part chosen by `rng` as well.
    pub fn crash(&mut self, rng: &mut SmallRng) {
        self.process = None;
        self.disk.crash(rng);
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

    /// Commits what is queued. Returns the writes that are durable now; none if power failed meanwhile.
    pub fn commit(&mut self, rng: &mut SmallRng, power_fails: bool) -> Result<Option<Vec<Persist>>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let writes = process.take_queued();
        let mut after = self.mirror.clone();
        for write in &writes {
            after.write(write);
        }
        if power_fails {
            self.disk.cut_power_after(rng.random_range(0..CALLS_BEFORE_POWER_FAILS));
        }
        let committed = process.commit(&writes);
        if self.disk.is_dead() {
            self.torn = Some(after);
            self.crash(rng);
            return Ok(None);
        }
        self.mirror = after;
        committed?;
        Ok(Some(writes))
    }
}

impl Member {
    /// Receives a snapshot; power may fail at the given disk call. None if it was not wanted, or nobody is there
    /// any more.
    pub fn receive(
        &mut self,
        last: LogId,
        file: &Bytes,
        power_fails_after: Option<u64>,
    ) -> Result<Option<SnapshotMeta>> {
        let Some(process) = &self.process else { return Ok(None) };
        if let Some(calls) = power_fails_after {
            self.disk.cut_power_after(calls);
        }
        process.receive(last, file)
    }

    /// Whether power has failed and the process must end.
    pub fn lost_power(&self) -> bool {
        self.disk.is_dead()
    }

    /// The term of the entry before `index`, as the core knows while it writes `write`.
    pub fn term_before(&self, write: &Persist, index: Index) -> Option<Term> {
        let before = index.previous();
        let in_write = write.entries.iter().find(|entry| entry.index == before).map(|entry| entry.term);
        let in_snapshot =
            write.install.as_ref().filter(|meta| meta.last.index == before).map(|meta| meta.last.term);
        in_write.or(in_snapshot).or_else(|| self.accepted.term_at(before))
    }
}

fn shared(disk: &CrashDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}
