//! Between the words of `quorate.v1` and ours. Everything that comes in is checked here (P10).

use std::time::Duration;

use quorate_api::v1::{self, intent, txn_op::Op};
use quorate_machine::limits::KEY_BYTES_MAX;
use quorate_machine::{ApiIndex, ClientId, KvEntry, Obstacle, Outcome, SessionId, Tag, TxnOp};
use quorate_raft::{
    Address, ClusterId, Incarnation, IndexedConfiguration, Intent, Mode, RaftId, RecoveryEpoch, Server,
    ServerId, Suffrage, Version, Versions,
};
use quorate_store::RecoveryRequest;

use super::refused::Refused;
use crate::driver::Consistency;

/// Longer than 584 million years is not said.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn consistency(wire: i32) -> Result<Consistency, Refused> {
    match v1::Consistency::try_from(wire) {
        Ok(v1::Consistency::Linearizable) => Ok(Consistency::Linearizable),
        Ok(v1::Consistency::Stale) => Ok(Consistency::Stale),
        Err(_) => Err(Refused::field(
            "consistency",
            format!("consistency {wire} is unknown: use LINEARIZABLE (0) or STALE (1)"),
        )),
    }
}

pub(super) fn tag(wire: Option<v1::Tag>) -> Result<Option<Tag>, Refused> {
    let Some(tag) = wire else { return Ok(None) };
    if tag.client_id == 0 {
        return Err(Refused::field(
            "tag.client_id",
            "tag.client_id is 0: call RegisterClient first, or leave the tag out; not applied",
        ));
    }
    if tag.acked_below > tag.sequence {
        return Err(Refused::field(
            "tag.acked_below",
            format!(
                "tag.acked_below={} is above tag.sequence={}: it says that this very answer was received; not applied",
                tag.acked_below, tag.sequence
            ),
        ));
    }
    Ok(Some(Tag { client: ClientId(tag.client_id), sequence: tag.sequence, acked_below: tag.acked_below }))
}

/// A recovery always names its epoch here: the question is repeated until that is reached (K18).
pub(super) fn recovery(wire: &v1::RecoverRequest) -> Result<RecoveryRequest, Refused> {
    if wire.epoch == 0 {
        return Err(Refused::field(
            "epoch",
            "epoch is missing: pass the member's recovery epoch plus one; nothing was changed",
        ));
    }
    let lost: Result<_, _> = wire.lost_raft_ids.iter().map(|id| RaftId::new(id)).collect();
    let lost =
        lost.map_err(|error| Refused::field("lost_raft_ids", format!("{error}; nothing was changed")))?;
    Ok(RecoveryRequest { lost, epoch: Some(RecoveryEpoch(wire.epoch)) })
}

/// What a server that is to be added speaks (K24).
pub(super) fn versions(min: u32, max: u32) -> Result<Versions, Refused> {
    match (min, max) {
        (0, 0) => Ok(Versions { min: Version::FIRST, max: Version::FIRST }),
        (min, max) if 0 < min && min <= max => Ok(Versions { min: Version(min), max: Version(max) }),
        (min, max) => Err(Refused::field(
            "version_min",
            format!(
                "versions {min} to {max} are no range: pass those of the member's Status; nothing was changed"
            ),
        )),
    }
}

/// What a cluster is to be founded for (K22).
pub(super) fn mode(wire: i32) -> Result<Mode, Refused> {
    match v1::Mode::try_from(wire) {
        Ok(v1::Mode::KeyValue | v1::Mode::Unspecified) => Ok(Mode::KeyValue),
        Ok(v1::Mode::Log) => Ok(Mode::Log),
        Err(_) => Err(Refused::field(
            "mode",
            format!("mode {wire} is unknown: use KEY_VALUE (1) or LOG (2); nothing was changed"),
        )),
    }
}

pub(super) fn check_length(field: &'static str, key: &[u8]) -> Result<(), Refused> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Refused::field(
            field,
            format!(
                "{field} is {} bytes, the limit is {KEY_BYTES_MAX} (KEY_BYTES_MAX): use a shorter one",
                key.len()
            ),
        ));
    }
    Ok(())
}

pub(super) fn entry(entry: KvEntry) -> v1::Entry {
    v1::Entry {
        key: entry.key,
        value: entry.value,
        flags: entry.flags,
        create_index: entry.create_index.0,
        modify_index: entry.modify_index.0,
        lock_index: entry.lock_index,
        session: entry.session.map(|session| session.to_string()).unwrap_or_default(),
    }
}

pub(super) fn session(text: &str) -> Result<SessionId, Refused> {
    SessionId::parse(text).ok_or_else(|| {
        Refused::field("session", "session is not a session's ID: pass one of Session.Create; not applied")
    })
}

pub(super) fn acquire_response(outcome: &Outcome) -> Result<v1::AcquireResponse, Refused> {
    let refused = v1::AcquireResponse::default();
    match outcome {
        Outcome::Acquired { modify_index, lock_index } => Ok(v1::AcquireResponse {
            acquired: true,
            modify_index: modify_index.0,
            lock_index: *lock_index,
            ..refused
        }),
        Outcome::NotAcquired(Obstacle::Held { holder }) => {
            Ok(v1::AcquireResponse { holder: holder.to_string(), ..refused })
        }
        Outcome::NotAcquired(Obstacle::LockDelay) => Ok(v1::AcquireResponse { is_delayed: true, ..refused }),
        _ => Err(Refused::unexpected("an acquire")),
    }
}

pub(super) fn ops(wire: Vec<v1::TxnOp>) -> Result<Vec<TxnOp>, Refused> {
    if wire.is_empty() {
        return Err(Refused::field("ops", "the transaction has no operations: add one; nothing to do"));
    }
    wire.into_iter()
        .enumerate()
        .map(|(index, op)| {
            op.op.map(txn_op).ok_or_else(|| {
                Refused::field(
                    "ops",
                    format!("operation {index} is empty or newer than this member: set one of the known ones; not applied"),
                )
            })
        })
        .collect()
}

fn txn_op(op: Op) -> TxnOp {
    match op {
        Op::Set(set) => TxnOp::Set { key: set.key, value: set.value, flags: set.flags },
        Op::Cas(cas) => TxnOp::Cas {
            key: cas.key,
            value: cas.value,
            flags: cas.flags,
            expected: ApiIndex(cas.expected_modify_index),
        },
        Op::Get(key) => TxnOp::Get { key: key.key },
        Op::GetOrEmpty(key) => TxnOp::GetOrEmpty { key: key.key },
        Op::GetPrefix(key) => TxnOp::GetTree { prefix: key.key },
        Op::Delete(key) => TxnOp::Delete { key: key.key },
        Op::DeletePrefix(key) => TxnOp::DeleteTree { prefix: key.key },
        Op::DeleteCas(at) => TxnOp::DeleteCas { key: at.key, expected: ApiIndex(at.expected_modify_index) },
        Op::CheckIndex(at) => TxnOp::CheckIndex { key: at.key, expected: ApiIndex(at.expected_modify_index) },
        Op::CheckNotExists(key) => TxnOp::CheckNotExists { key: key.key },
        Op::Lock(lock) => {
            TxnOp::Lock { key: lock.key, value: lock.value, flags: lock.flags, session: lock.session }
        }
        Op::Unlock(lock) => {
            TxnOp::Unlock { key: lock.key, value: lock.value, flags: lock.flags, session: lock.session }
        }
        Op::CheckSession(check) => TxnOp::CheckSession { key: check.key, session: check.session },
    }
}

pub(super) fn txn_response(outcome: Outcome) -> Result<v1::TxnResponse, Refused> {
    match outcome {
        Outcome::Txn(entries) => Ok(v1::TxnResponse {
            succeeded: true,
            results: entries.into_iter().map(entry).collect(),
            failures: Vec::new(),
        }),
        Outcome::TxnFailed(failures) => Ok(v1::TxnResponse {
            succeeded: false,
            results: Vec::new(),
            failures: failures
                .into_iter()
                .map(|failure| v1::TxnFailure {
                    op_index: failure.op_index,
                    what: failure.reason.to_string(),
                })
                .collect(),
        }),
        _ => Err(Refused::unexpected("a transaction")),
    }
}

pub(super) fn server_id(field: &'static str, wire: Option<v1::ServerId>) -> Result<ServerId, Refused> {
    let Some(id) = wire else {
        return Err(Refused::field(
            field,
            format!(
                "{field} is missing: name the server by raft_id and incarnation (Membership.List); nothing was changed"
            ),
        ));
    };
    let raft_id = RaftId::new(&id.raft_id)
        .map_err(|error| Refused::field(field, format!("{field}.raft_id: {error}")))?;
    let incarnation = hex(&id.incarnation).ok_or_else(|| {
        Refused::field(
            field,
            format!("{field}.incarnation is {:?}, it needs 32 hex digits: take it from Cluster.Status of that member; nothing was changed", short(&id.incarnation)),
        )
    })?;
    Ok(ServerId::new(raft_id, Incarnation(incarnation)))
}

pub(super) fn cluster_id(text: &str) -> Result<ClusterId, Refused> {
    match hex(text) {
        Some(number) if number != 0 => Ok(ClusterId(number)),
        _ => Err(Refused::field(
            "cluster_id",
            format!(
                "cluster_id is {:?}, it needs 32 hex digits, not all zero: use the one the member was started with; nothing was changed",
                short(text)
            ),
        )),
    }
}

pub(super) fn address(text: &str) -> Result<Address, Refused> {
    Address::new(text).map_err(|error| Refused::field("address", format!("{error}; nothing was changed")))
}

/// What an error quotes of a caller's text.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

fn hex(text: &str) -> Option<u128> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

pub(super) fn intent(wire: Option<v1::Intent>) -> Result<Intent, Refused> {
    match wire.and_then(|intent| intent.kind) {
        Some(intent::Kind::Voter(_)) => Ok(Intent::Voter),
        Some(intent::Kind::ReadReplica(_)) => Ok(Intent::ReadReplica),
        Some(intent::Kind::ReplacementFor(old)) => {
            Ok(Intent::ReplacementFor(server_id("intent.replacement_for", Some(old))?))
        }
        None => Err(Refused::field(
            "intent",
            "intent is missing: say whether the server is to vote, to replace another one, or to serve reads; nothing was changed",
        )),
    }
}

pub(crate) fn wire_id(id: &ServerId) -> v1::ServerId {
    v1::ServerId { raft_id: id.raft_id.to_string(), incarnation: id.incarnation.to_string() }
}

pub(super) fn server(server: &Server) -> v1::Server {
    let suffrage = match server.suffrage {
        Suffrage::Voter => v1::Suffrage::Voter,
        Suffrage::NonVoter => v1::Suffrage::NonVoter,
        Suffrage::Incoming => v1::Suffrage::Incoming,
        Suffrage::Outgoing => v1::Suffrage::Outgoing,
    };
    v1::Server {
        id: Some(wire_id(&server.id)),
        address: server.address.to_string(),
        suffrage: suffrage.into(),
        intent: Some(wire_intent(&server.intent)),
    }
}

pub(crate) fn wire_intent(intent: &Intent) -> v1::Intent {
    let kind = match intent {
        Intent::Voter => intent::Kind::Voter(v1::VoterIntent {}),
        Intent::ReplacementFor(old) => intent::Kind::ReplacementFor(wire_id(old)),
        Intent::ReadReplica => intent::Kind::ReadReplica(v1::ReadReplicaIntent {}),
    };
    v1::Intent { kind: Some(kind) }
}

pub(super) fn configuration(indexed: &IndexedConfiguration) -> v1::Configuration {
    v1::Configuration {
        index: indexed.index.0,
        servers: indexed.configuration.servers().iter().map(server).collect(),
    }
}
