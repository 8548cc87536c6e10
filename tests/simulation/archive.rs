//! An archive to restore: the state of another cluster, made by the real store on a disk of its own.
//!
//! Its values are new ones, so that a read says which write it saw; its index may be above that of the cluster it is
//! restored into, which then goes on from there (K17).

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use quorate_linearizability::Value;
use quorate_machine::{ApiIndex, Command, Era, Machine, Position, Tagged};
use quorate_raft::{
    ClusterId, Configuration, Entry, Incarnation, Index, LogId, Payload, Persist, RaftId, RecoveryEpoch,
    Sequence, Term,
};
use quorate_store::{CrashDisk, Directory, Disk, Opened, Snapshots, encode_configuration};

use super::client::{key_bytes, value_bytes};

/// Where it comes from.
const ELSEWHERE: ClusterId = ClusterId(0x4177);
const TERM: Term = Term(1);

/// What each key is to hold, by its number.
pub type Contents = Vec<Option<Value>>;

/// What an archive says.
pub struct Archived {
    /// Of each key.
    pub contents: Contents,
    /// The last index it stands at, in a cluster that restored nothing itself.
    pub last: ApiIndex,
}

/// The bytes of an archive's state that says `archived`.
pub fn make(archived: &Archived, configuration: &Configuration) -> Result<Bytes> {
    let Archived { contents, last: ApiIndex(last) } = archived;
    let last = *last;
    let disk: Arc<dyn Disk> = Arc::new(CrashDisk::new());
    let raft_id = RaftId::new("elsewhere-0001")?;
    Directory::create_on(&disk, raft_id.clone(), Incarnation(1), RecoveryEpoch(0))?;
    let Opened { directory, mut log, state, .. } = Directory::open_on(&disk, &raft_id)?;
    // A state is flushed no further than its log reaches (K4); what its entries say nobody asks.
    log.commit(&[entries(last)])?;
    let mut machine = Machine::open(state)?;
    let encoded = encode_configuration(configuration);
    machine.apply_configuration(at(1), Era::default(), Vec::new(), encoded);
    for index in 2..=last {
        let number = usize::try_from(last - index)?;
        let Some(value) = contents.get(number).copied().flatten() else {
            machine.apply_empty(at(index));
            continue;
        };
        let command = Command::Put { key: key_bytes(number), value: value_bytes(value, 0), flags: 0 };
        machine.apply(at(index), &Tagged { tag: None, command }.encode())?;
    }
    let flush = machine.freeze().context("an archive of nothing")?;
    machine.base().flush(&flush)?;
    let file = Snapshots::new(&directory).get(machine.base(), ELSEWHERE, LogId::default())?;
    let file = file.context("an archive without a configuration")?;
    Ok(file.read(0, usize::try_from(file.bytes())?)?)
}

impl Archived {
    /// One with `contents` that stands at the entry `last`, or as far as the contents need.
    pub fn new(contents: Contents, last: u64) -> Self {
        let last = ApiIndex(last.max(contents.len() as u64 + 1));
        Self { contents, last }
    }
}

fn at(index: u64) -> Position {
    Position { index, term: TERM.0 }
}

fn entries(last: u64) -> Persist {
    let entry = |index| Entry { term: TERM, index: Index(index), payload: Payload::Noop };
    Persist {
        sequence: Sequence(1),
        cluster_id: None,
        hard_state: None,
        install: None,
        truncate_from: None,
        entries: (1..=last).map(entry).collect(),
        commit: Index(0),
    }
}
