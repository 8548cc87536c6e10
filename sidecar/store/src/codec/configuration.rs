//! A configuration as it stands in log entries, in the state (K4) and in snapshots.
//!
//! ```text
//!   version u8 │ halves u8 (1; 2 when joint, K14) │ recovery_epoch u64 (K18) │ cluster_version u32 (K24)
//!              │ mode u8 (K22) │ count u32 │ server … │ crc32
//!   server = raft_id │ incarnation u128 │ address │ suffrage u8 │ intent u8 [raft_id │ incarnation u128]
//! ```
//!
//! Texts are a length (u32) and UTF-8. Both halves of a joint configuration are one list: the
//! suffrage says in which of them a server counts. One that is not joint is written as ever.

use bytes::Bytes;
use quorate_raft::{
    Address, Configuration, Incarnation, Index, IndexedConfiguration, Intent, Mode, RaftId, RecoveryEpoch,
    Server, ServerId, Suffrage, Version,
};

use super::record::{DecodeError, Reader, Writer};

const CONFIGURATION_VERSION: u8 = 1;

/// What a build without joint configurations wrote, and reads.
const HALVES_SINGLE: u8 = 1;
/// A joint one (K14): such a build refuses it by this number instead of miscounting.
const HALVES_JOINT: u8 = 2;

// Stored numbers: never changed, never reused.
const SUFFRAGE_VOTER: u8 = 1;
const SUFFRAGE_NON_VOTER: u8 = 2;
const SUFFRAGE_INCOMING: u8 = 3;
const SUFFRAGE_OUTGOING: u8 = 4;
const INTENT_VOTER: u8 = 1;
const INTENT_REPLACEMENT: u8 = 2;
const INTENT_READ_REPLICA: u8 = 3;
const MODE_KEY_VALUE: u8 = 1;
const MODE_LOG: u8 = 2;

/// Encodes a configuration as the log writes it.
pub fn encode(configuration: &Configuration) -> Bytes {
    let mut writer = Writer::new(CONFIGURATION_VERSION);
    let servers = configuration.servers();
    // At most `SERVERS_MAX`, checked when the configuration was built.
    let count = u32::try_from(servers.len()).unwrap_or(u32::MAX);
    writer.u8(halves(configuration)).u64(configuration.recovery_epoch().0);
    writer.u32(configuration.version().0);
    writer.u8(match configuration.mode() {
        Mode::KeyValue => MODE_KEY_VALUE,
        Mode::Log => MODE_LOG,
    });
    writer.u32(count);
    for server in servers {
        write_server_id(&mut writer, &server.id);
        writer.bytes(server.address.as_str().as_bytes());
        writer.u8(match server.suffrage {
            Suffrage::Voter => SUFFRAGE_VOTER,
            Suffrage::NonVoter => SUFFRAGE_NON_VOTER,
            Suffrage::Incoming => SUFFRAGE_INCOMING,
            Suffrage::Outgoing => SUFFRAGE_OUTGOING,
        });
        match &server.intent {
            Intent::Voter => {
                writer.u8(INTENT_VOTER);
            }
            Intent::ReplacementFor(old) => {
                writer.u8(INTENT_REPLACEMENT);
                write_server_id(&mut writer, old);
            }
            Intent::ReadReplica => {
                writer.u8(INTENT_READ_REPLICA);
            }
        }
    }
    writer.seal().into()
}

/// Decodes what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Configuration, DecodeError> {
    let mut reader = Reader::open(bytes, CONFIGURATION_VERSION)?;
    let told = reader.u8()?;
    let recovery_epoch = RecoveryEpoch(reader.u64()?);
    let cluster_version = Version(reader.u32()?);
    let mode = match reader.u8()? {
        MODE_KEY_VALUE => Mode::KeyValue,
        MODE_LOG => Mode::Log,
        other => return Err(DecodeError::damaged(format!("a mode has the number {other}"))),
    };
    let count = reader.u32()?;
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(read_server(&mut reader)?);
    }
    reader.end()?;
    let configuration = Configuration::new(servers)
        .map_err(|invalid| DecodeError::damaged(format!("a configuration is invalid: {invalid}")))?
        .in_epoch(recovery_epoch)
        .at_version(cluster_version)
        .for_mode(mode);
    let halves = halves(&configuration);
    if told != halves {
        return Err(DecodeError::damaged(format!("a configuration says {told} halves and has {halves}")));
    }
    Ok(configuration)
}

fn halves(configuration: &Configuration) -> u8 {
    if configuration.is_joint() { HALVES_JOINT } else { HALVES_SINGLE }
}

/// An index and a configuration, inside another record.
pub(crate) fn write_indexed(writer: &mut Writer, indexed: &IndexedConfiguration) {
    writer.u64(indexed.index.0).bytes(&encode(&indexed.configuration));
}

/// Reads what [`write_indexed`] wrote.
pub(crate) fn read_indexed(reader: &mut Reader<'_>) -> Result<IndexedConfiguration, DecodeError> {
    Ok(IndexedConfiguration { index: Index(reader.u64()?), configuration: decode(reader.bytes()?)? })
}

/// A server's identity, inside another record.
pub(crate) fn write_server_id(writer: &mut Writer, id: &ServerId) {
    writer.bytes(id.raft_id.as_str().as_bytes()).u128(id.incarnation.0);
}

/// Reads what [`write_server_id`] wrote.
pub(crate) fn read_server_id(reader: &mut Reader<'_>) -> Result<ServerId, DecodeError> {
    Ok(ServerId::new(read_raft_id(reader)?, Incarnation(reader.u128()?)))
}

/// A Raft ID, checked.
pub(crate) fn read_raft_id(reader: &mut Reader<'_>) -> Result<RaftId, DecodeError> {
    RaftId::new(reader.text()?).map_err(|invalid| DecodeError::damaged(invalid.to_string()))
}

fn read_server(reader: &mut Reader<'_>) -> Result<Server, DecodeError> {
    let id = read_server_id(reader)?;
    let address =
        Address::new(reader.text()?).map_err(|invalid| DecodeError::damaged(invalid.to_string()))?;
    let suffrage = match reader.u8()? {
        SUFFRAGE_VOTER => Suffrage::Voter,
        SUFFRAGE_NON_VOTER => Suffrage::NonVoter,
        SUFFRAGE_INCOMING => Suffrage::Incoming,
        SUFFRAGE_OUTGOING => Suffrage::Outgoing,
        other => return Err(DecodeError::damaged(format!("a suffrage has the number {other}"))),
    };
    let intent = match reader.u8()? {
        INTENT_VOTER => Intent::Voter,
        INTENT_REPLACEMENT => Intent::ReplacementFor(read_server_id(reader)?),
        INTENT_READ_REPLICA => Intent::ReadReplica,
        other => return Err(DecodeError::damaged(format!("an intent has the number {other}"))),
    };
    Ok(Server { id, address, suffrage, intent })
}
