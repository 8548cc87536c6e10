//! The single records of `log.redb`: who we are, what we promised, which state file is ours.

use quorate_raft::{ClusterId, HardState, Incarnation, Index, LogId, RaftId, RecoveryEpoch, Term};

use super::configuration::{read_raft_id, read_server_id, write_server_id};
use super::record::{DecodeError, Reader, Writer};

const IDENTITY_VERSION: u8 = 1;
const HEAD_VERSION: u8 = 1;
const STATE_NAME_VERSION: u8 = 1;

/// Who the directory belongs to (K1, K2, K18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryIdentity {
    /// The cluster; none until the first write of a cluster (K2).
    pub cluster_id: Option<ClusterId>,
    /// The Raft ID it was created for.
    pub raft_id: RaftId,
    /// The random number minted when it was created.
    pub incarnation: Incarnation,
    /// How often its cluster was recovered (K18).
    pub recovery_epoch: RecoveryEpoch,
}

/// Everything about the log that may change with any commit, in one record (O4, K6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) hard_state: HardState,
    /// min(commit, last), as of this transaction (K6).
    pub(crate) commit: Index,
    /// The entry just before the first one kept.
    pub(crate) previous: LogId,
    /// The last entry; `previous` if there is none.
    pub(crate) last: LogId,
    /// Sum of the rows' lengths.
    pub(crate) bytes: u64,
}

impl DirectoryIdentity {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(IDENTITY_VERSION);
        writer
            .option(self.cluster_id, |writer, id| {
                writer.u128(id.0);
            })
            .bytes(self.raft_id.as_str().as_bytes())
            .u128(self.incarnation.0)
            .u64(self.recovery_epoch.0);
        writer.seal()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::open(bytes, IDENTITY_VERSION)?;
        let identity = Self {
            cluster_id: reader.option(Reader::u128)?.map(ClusterId),
            raft_id: read_raft_id(&mut reader)?,
            incarnation: Incarnation(reader.u128()?),
            recovery_epoch: RecoveryEpoch(reader.u64()?),
        };
        reader.end()?;
        Ok(identity)
    }
}

impl Head {
    /// Index of the first entry kept, or of the next one if there is none.
    pub(crate) fn first(&self) -> Index {
        self.previous.index.next()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(HEAD_VERSION);
        writer.u64(self.hard_state.term.0).option(self.hard_state.vote.as_ref(), write_server_id);
        writer.u8(u8::from(self.hard_state.was_member)).u64(self.commit.0);
        write_log_id(&mut writer, self.previous);
        write_log_id(&mut writer, self.last);
        writer.u64(self.bytes);
        writer.seal()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::open(bytes, HEAD_VERSION)?;
        let term = Term(reader.u64()?);
        let vote = reader.option(read_server_id)?;
        let was_member = match reader.u8()? {
            0 => false,
            1 => true,
            other => return Err(DecodeError::damaged(format!("a yes or no is {other}"))),
        };
        let head = Self {
            hard_state: HardState { term, vote, was_member },
            commit: Index(reader.u64()?),
            previous: read_log_id(&mut reader)?,
            last: read_log_id(&mut reader)?,
            bytes: reader.u64()?,
        };
        reader.end()?;
        if head.last.index < head.previous.index || head.commit > head.last.index {
            return Err(DecodeError::damaged("the head of the log contradicts itself"));
        }
        Ok(head)
    }
}

pub(crate) fn write_log_id(writer: &mut Writer, id: LogId) {
    writer.u64(id.term.0).u64(id.index.0);
}

pub(crate) fn read_log_id(reader: &mut Reader<'_>) -> Result<LogId, DecodeError> {
    Ok(LogId::new(Term(reader.u64()?), Index(reader.u64()?)))
}

/// The name of the state file that belongs to the log (K5).
pub(crate) fn encode_state_name(name: &str) -> Vec<u8> {
    let mut writer = Writer::new(STATE_NAME_VERSION);
    writer.bytes(name.as_bytes());
    writer.seal()
}

/// Reads what [`encode_state_name`] wrote.
pub(crate) fn decode_state_name(bytes: &[u8]) -> Result<String, DecodeError> {
    let mut reader = Reader::open(bytes, STATE_NAME_VERSION)?;
    let name = reader.text()?.to_owned();
    reader.end()?;
    Ok(name)
}
