//! Random commands and outcomes for the properties of this crate, over few keys so that they meet.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use quorate_autopilot::SettingsChange;

use crate::application::{ApplicationSnapshot, Mode};
use crate::command::{ApiIndex, ClientId, Command, Owner, RestoreOrder, SettingsMode, Tag, Tagged, TxnOp};
use crate::entry::KvEntry;
use crate::outcome::{Obstacle, Outcome, Refusal, TxnFailure, TxnFailureReason};
use crate::servers::RememberedServer;
use crate::session::{Behavior, SessionChecks, SessionId, SessionSpec, Ttl};

pub(crate) fn tagged() -> impl Strategy<Value = Tagged> {
    (option::of(tag()), command()).prop_map(|(tag, command)| Tagged { tag, command })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let write = || (key(), value(), 0_u64..3);
    prop_oneof![
        4 => write().prop_map(|(key, value, flags)| Command::Put { key, value, flags }),
        2 => (write(), index()).prop_map(|((key, value, flags), expected)| {
            Command::CompareAndSet { key, value, flags, expected }
        }),
        3 => (key(), option::of(index())).prop_map(|(key, expected)| Command::Delete { key, expected }),
        1 => prefix().prop_map(|prefix| Command::DeletePrefix { prefix }),
        3 => vec(op(), 0..6).prop_map(Command::Txn),
        1 => option::of(owner()).prop_map(|owner| Command::RegisterClient { owner }),
        1 => (settings(), any::<bool>(), option::of(index())).prop_map(|(change, merge, expected)| {
            let mode = if merge { SettingsMode::Merge } else { SettingsMode::Replace };
            Command::SetAutopilot { change, mode, expected }
        }),
        1 => vec((owner(), "[a-c]{0,2}", "[a-c]{0,2}", "[0-9]{0,2}"), 0..4).prop_map(|servers| {
            let server = |(owner, build, zone, upgrade_version)| RememberedServer { owner, build, zone, upgrade_version };
            Command::RememberServers(servers.into_iter().map(server).collect())
        }),
        1 => any::<([u8; 32], u64)>()
            .prop_map(|(sha256, bytes)| Command::Restore(RestoreOrder { sha256, bytes })),
        3 => session_spec().prop_map(|spec| Command::CreateSession(Box::new(spec))),
        4 => (write(), session()).prop_map(|((key, value, flags), session)| {
            Command::Acquire { key, value, flags, session }
        }),
        2 => (write(), session()).prop_map(|((key, value, flags), session)| {
            Command::Release { key, value, flags, session }
        }),
        2 => session().prop_map(|session| Command::DestroySession { session }),
        1 => session().prop_map(|session| Command::EndLockDelay { session }),
        1 => value().prop_map(|data| Command::Propose { data }),
        1 => index().prop_map(|upto| Command::Trim { upto }),
        1 => snapshot().prop_map(Command::RecordSnapshot),
    ]
}

pub(crate) fn snapshot() -> impl Strategy<Value = ApplicationSnapshot> {
    (index(), any::<[u8; 32]>(), any::<u64>()).prop_map(|(index, sha256, bytes)| ApplicationSnapshot {
        index,
        sha256,
        bytes,
    })
}

pub(crate) fn op() -> impl Strategy<Value = TxnOp> {
    let write = || (key(), value(), 0_u64..3);
    prop_oneof![
        3 => write().prop_map(|(key, value, flags)| TxnOp::Set { key, value, flags }),
        2 => (write(), index())
            .prop_map(|((key, value, flags), expected)| TxnOp::Cas { key, value, flags, expected }),
        2 => key().prop_map(|key| TxnOp::Get { key }),
        2 => key().prop_map(|key| TxnOp::GetOrEmpty { key }),
        1 => prefix().prop_map(|prefix| TxnOp::GetTree { prefix }),
        2 => key().prop_map(|key| TxnOp::Delete { key }),
        1 => prefix().prop_map(|prefix| TxnOp::DeleteTree { prefix }),
        1 => (key(), index()).prop_map(|(key, expected)| TxnOp::DeleteCas { key, expected }),
        1 => (key(), index()).prop_map(|(key, expected)| TxnOp::CheckIndex { key, expected }),
        1 => key().prop_map(|key| TxnOp::CheckNotExists { key }),
        2 => (write(), session_text())
            .prop_map(|((key, value, flags), session)| TxnOp::Lock { key, value, flags, session }),
        1 => (write(), session_text())
            .prop_map(|((key, value, flags), session)| TxnOp::Unlock { key, value, flags, session }),
        1 => (key(), session_text()).prop_map(|(key, session)| TxnOp::CheckSession { key, session }),
    ]
}

pub(crate) fn outcome() -> impl Strategy<Value = Outcome> {
    let failure = (any::<u32>(), reason()).prop_map(|(op_index, reason)| TxnFailure { op_index, reason });
    let found = option::of(1_u64..).prop_map(|index| index.map(ApiIndex));
    prop_oneof![
        index().prop_map(|modify_index| Outcome::Written { modify_index }),
        found.prop_map(|modify_index| Outcome::Mismatch { modify_index }),
        any::<bool>().prop_map(|existed| Outcome::Deleted { existed }),
        vec(entry(), 0..4).prop_map(Outcome::Txn),
        vec(failure, 0..4).prop_map(Outcome::TxnFailed),
        client().prop_map(|client| Outcome::Registered { client }),
        refusal().prop_map(Outcome::Refused),
        (index(), any::<u64>())
            .prop_map(|(modify_index, lock_index)| Outcome::Acquired { modify_index, lock_index }),
        session().prop_map(|holder| Outcome::NotAcquired(Obstacle::Held { holder })),
        Just(Outcome::NotAcquired(Obstacle::LockDelay)),
        Just(Outcome::NotHeld),
        session().prop_map(|session| Outcome::SessionCreated { session }),
    ]
}

fn reason() -> impl Strategy<Value = TxnFailureReason> {
    prop_oneof![
        key().prop_map(|key| TxnFailureReason::Missing { key }),
        key().prop_map(|key| TxnFailureReason::SetStale { key }),
        key().prop_map(|key| TxnFailureReason::DeleteStale { key }),
        key().prop_map(|key| TxnFailureReason::CheckMissing { key }),
        (key(), index(), index()).prop_map(|(key, actual, expected)| TxnFailureReason::CheckStale {
            key,
            actual,
            expected
        }),
        key().prop_map(|key| TxnFailureReason::Exists { key }),
        any::<usize>().prop_map(|limit| TxnFailureReason::ResultTooLarge { limit }),
        Just(TxnFailureReason::SessionEmpty),
        session_text().prop_map(|session| TxnFailureReason::InvalidSession { session }),
        key().prop_map(|key| TxnFailureReason::LockHeld { key }),
        key().prop_map(|key| TxnFailureReason::LockDelay { key }),
        (key(), any::<usize>()).prop_map(|(key, limit)| TxnFailureReason::TooManySessionKeys { key, limit }),
        key().prop_map(|key| TxnFailureReason::NotHeld { key }),
        key().prop_map(|key| TxnFailureReason::CheckSessionMissing { key }),
        (key(), session_text(), session_text()).prop_map(|(key, actual, expected)| {
            TxnFailureReason::CheckSessionOther { key, actual, expected }
        }),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        client().prop_map(|client| Refusal::SessionExpired { client }),
        (client(), any::<u64>(), any::<u64>()).prop_map(|(client, sequence, acked_below)| {
            Refusal::SequenceAcknowledged { client, sequence, acked_below }
        }),
        (client(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
            |(client, sequence, acked_below, window)| {
                Refusal::WindowExceeded { client, sequence, acked_below, window }
            }
        ),
        (client(), any::<usize>(), any::<usize>()).prop_map(|(client, result_bytes, limit)| {
            Refusal::ResultsUnacknowledged { client, result_bytes, limit }
        }),
        any::<usize>().prop_map(|limit| Refusal::TooManyClients { limit }),
        "[a-z ]{0,20}".prop_map(|reason| Refusal::Unreadable { reason }),
        session_text().prop_map(|session| Refusal::InvalidSession { session }),
        any::<u64>().prop_map(|limit| Refusal::TooManySessions { limit }),
        (session(), any::<usize>())
            .prop_map(|(session, limit)| Refusal::TooManySessionKeys { session, limit }),
        Just(Refusal::WrongMode { mode: Mode::Log }),
        (any::<u64>(), any::<u64>(), index()).prop_map(|(kept, limit, covered)| Refusal::LogFull {
            kept,
            limit,
            covered
        }),
        (index(), index()).prop_map(|(index, covered)| Refusal::SnapshotStale { index, covered }),
        index().prop_map(|index| Refusal::NoSuchEntry { index }),
    ]
}

pub(crate) fn tag() -> impl Strategy<Value = Tag> {
    (client(), 0_u64..12, 0_u64..6).prop_map(|(client, sequence, acked_below)| Tag {
        client,
        sequence,
        acked_below,
    })
}

fn entry() -> impl Strategy<Value = KvEntry> {
    (key(), value(), any::<u64>(), index(), index(), any::<u64>(), option::of(session())).prop_map(
        |(key, value, flags, create_index, modify_index, lock_index, session)| KvEntry {
            key,
            value,
            flags,
            create_index,
            modify_index,
            lock_index,
            session,
        },
    )
}

/// Few, so that they meet.
fn session() -> impl Strategy<Value = SessionId> {
    (1_u128..4).prop_map(SessionId)
}

fn session_text() -> impl Strategy<Value = String> {
    prop_oneof![5 => session().prop_map(|id| id.to_string()), 1 => Just(String::new()), 1 => Just("nope".to_owned())]
}

pub(crate) fn session_spec() -> impl Strategy<Value = SessionSpec> {
    let checks =
        any::<(bool, bool, bool)>().prop_map(|(node, service, named)| SessionChecks { node, service, named });
    (session(), "[a-z]{0,3}", any::<bool>(), 0_u64..3, 0_u64..3, checks).prop_map(
        |(id, name, delete, ttl, lock_delay, checks)| SessionSpec {
            id,
            node: format!("node of {name}"),
            name,
            behavior: if delete { Behavior::Delete } else { Behavior::Release },
            ttl: Ttl { duration: Duration::from_secs(ttl * 10), text: format!("{}s", ttl * 10) },
            lock_delay: Duration::from_secs(lock_delay),
            checks,
        },
    )
}

fn settings() -> impl Strategy<Value = SettingsChange> {
    let seconds = || option::of((0_u64..100).prop_map(Duration::from_secs));
    (option::of(any::<bool>()), seconds(), seconds(), option::of(0_u64..9), option::of(0_u32..9), seconds())
        .prop_map(|(cleanup, contact, dead, trailing, quorum, stabilization)| SettingsChange {
            cleanup_dead_servers: cleanup,
            last_contact_threshold: contact,
            dead_server_last_contact_threshold: dead,
            max_trailing_logs: trailing,
            min_quorum: quorum,
            server_stabilization_time: stabilization,
            redundancy_zone_tag: trailing
                .map(|number| "z".repeat(usize::try_from(number).unwrap_or_default())),
            upgrade_version_tag: cleanup.map(|flag| flag.to_string()),
            disable_upgrade_migration: cleanup,
        })
}

/// Short keys over a small alphabet: prefixes of each other, and the byte that has no successor.
pub(crate) fn key() -> impl Strategy<Value = Bytes> {
    vec(prop_oneof![4 => Just(b'a'), 2 => Just(b'b'), 3 => Just(b'/'), 1 => Just(0xff)], 1..5)
        .prop_map(Bytes::from)
}

pub(crate) fn prefix() -> impl Strategy<Value = Bytes> {
    prop_oneof![1 => Just(Bytes::new()), 4 => key()]
}

fn value() -> impl Strategy<Value = Bytes> {
    vec(prop_oneof![Just(b'x'), Just(b'y')], 0..3).prop_map(Bytes::from)
}

fn owner() -> impl Strategy<Value = Owner> {
    "m[0-2]".prop_map(Owner)
}

pub(crate) fn client() -> impl Strategy<Value = ClientId> {
    (1_u64..6).prop_map(ClientId)
}

/// Small, so that it is sometimes the right one.
fn index() -> impl Strategy<Value = ApiIndex> {
    (0_u64..40).prop_map(ApiIndex)
}
