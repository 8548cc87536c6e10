//! Transactions: all operations or none (consul-http.md §6).
//!
//! Operations run in order on a layer of their own and see earlier effects. A failing one does not stop the rest: the
//! caller hears of every failure at once. One failure, and the layer is dropped.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::base::{Base, KeyRange, Table};
use crate::command::{ApiIndex, TxnOp};
use crate::edit::Edit;
use crate::entry::{Head, KvEntry};
use crate::layer::Layer;
use crate::limits::{SESSION_KEYS_MAX, TXN_RESULT_BYTES_MAX};
use crate::locks::Unacquired;
use crate::meta::StateError;
use crate::outcome::{Outcome, TxnFailure, TxnFailureReason};
use crate::session::SessionId;

/// What an entry costs in an answer besides its key and value.
const RESULT_ENTRY_BYTES: usize = 64;

/// Apply to `edit`, or leave it as it was.
pub(crate) fn run<B: Base>(edit: &mut Edit<'_, B>, ops: &[TxnOp]) -> Result<Outcome, StateError<B::Error>> {
    let mut own = Layer::default();
    let (mut keys, mut sessions) = (*edit.keys, *edit.sessions);
    let outcome = evaluate(
        &mut Edit {
            target: &mut own,
            below: [Some(edit.target), edit.below[0]],
            base: edit.base,
            keys: &mut keys,
            sessions: &mut sessions,
            index: edit.index,
        },
        ops,
    )?;
    if matches!(outcome, Outcome::Txn(_)) {
        edit.target.absorb(own);
        *edit.keys = keys;
    }
    Ok(outcome)
}

/// Run the operations on `edit`, whose target the caller keeps or drops by the outcome.
pub(crate) fn evaluate<B: Base>(
    edit: &mut Edit<'_, B>,
    ops: &[TxnOp],
) -> Result<Outcome, StateError<B::Error>> {
    let mut results = Results::default();
    let mut failures = Vec::new();
    for (op_index, op) in (0..).zip(ops) {
        if let Err(reason) = step(edit, op, &mut results)? {
            failures.push(TxnFailure { op_index, reason });
        }
    }
    Ok(if failures.is_empty() { Outcome::Txn(results.entries) } else { Outcome::TxnFailed(failures) })
}

#[derive(Default)]
struct Results {
    entries: Vec<KvEntry>,
    bytes: usize,
}

impl Results {
    fn add(&mut self, entry: KvEntry) -> Result<(), TxnFailureReason> {
        self.bytes += entry.key.len() + entry.value.len() + RESULT_ENTRY_BYTES;
        if self.bytes > TXN_RESULT_BYTES_MAX {
            return Err(TxnFailureReason::ResultTooLarge { limit: TXN_RESULT_BYTES_MAX });
        }
        self.entries.push(entry);
        Ok(())
    }

    fn add_written(&mut self, key: &Bytes, head: &Head) -> Result<(), TxnFailureReason> {
        self.add(KvEntry::of_head(key.clone(), head))
    }
}

/// The inner result is the operation's own, the outer one that of the disk.
type Step<E> = Result<Result<(), TxnFailureReason>, StateError<E>>;
type Locked<E> = Result<Result<Head, TxnFailureReason>, StateError<E>>;

fn step<B: Base>(edit: &mut Edit<'_, B>, op: &TxnOp, results: &mut Results) -> Step<B::Error> {
    Ok(match op {
        TxnOp::Set { key, value, flags } => results.add_written(key, &edit.put(key, value, *flags)?),
        TxnOp::Cas { key, value, flags, expected } => {
            if edit.modify_index(key)?.unwrap_or(ApiIndex::MISSING) == *expected {
                results.add_written(key, &edit.put(key, value, *flags)?)
            } else {
                Err(TxnFailureReason::SetStale { key: key.clone() })
            }
        }
        TxnOp::Get { key } => match edit.entry(key)? {
            Some(entry) => results.add(entry),
            None => Err(TxnFailureReason::Missing { key: key.clone() }),
        },
        TxnOp::GetOrEmpty { key } => {
            results.add(edit.entry(key)?.unwrap_or_else(|| KvEntry::missing(key.clone())))
        }
        TxnOp::GetTree { prefix } => return get_tree(edit, prefix, results),
        TxnOp::Delete { key } => {
            edit.delete(key)?;
            Ok(())
        }
        TxnOp::DeleteTree { prefix } => {
            edit.delete_prefix(prefix)?;
            Ok(())
        }
        TxnOp::DeleteCas { key, expected } => match edit.modify_index(key)? {
            Some(actual) if actual != *expected => Err(TxnFailureReason::DeleteStale { key: key.clone() }),
            _ => {
                edit.delete(key)?;
                Ok(())
            }
        },
        TxnOp::CheckIndex { key, expected } => match edit.entry(key)? {
            None => Err(TxnFailureReason::CheckMissing { key: key.clone() }),
            Some(entry) if entry.modify_index != *expected => Err(TxnFailureReason::CheckStale {
                key: key.clone(),
                actual: entry.modify_index,
                expected: *expected,
            }),
            Some(entry) => results.add(entry.without_value()),
        },
        TxnOp::CheckNotExists { key } => match edit.modify_index(key)? {
            Some(_) => Err(TxnFailureReason::Exists { key: key.clone() }),
            None => Ok(()),
        },
        TxnOp::Lock { key, value, flags, session } => {
            lock(edit, key, value, *flags, session)?.and_then(|head| results.add_written(key, &head))
        }
        TxnOp::Unlock { key, value, flags, session } => {
            unlock(edit, key, value, *flags, session)?.and_then(|head| results.add_written(key, &head))
        }
        TxnOp::CheckSession { key, session } => {
            check_session(edit, key, session)?.and_then(|head| results.add_written(key, &head))
        }
    })
}

fn unlock<B: Base>(
    edit: &mut Edit<'_, B>,
    key: &Bytes,
    value: &Bytes,
    flags: u64,
    session: &str,
) -> Locked<B::Error> {
    if session.is_empty() {
        return Ok(Err(TxnFailureReason::SessionEmpty));
    }
    let unlocked = match SessionId::parse(session) {
        Some(session) => edit.release(key, value, flags, session)?,
        None => None,
    };
    Ok(unlocked.ok_or_else(|| TxnFailureReason::NotHeld { key: key.clone() }))
}

fn check_session<B: Base>(edit: &Edit<'_, B>, key: &Bytes, expected: &str) -> Locked<B::Error> {
    let key = key.clone();
    let Some(row) = edit.view().find(Table::Keys, &key)? else {
        return Ok(Err(TxnFailureReason::CheckSessionMissing { key }));
    };
    let head = Head::of(&row)?;
    let actual = head.session.map(|session| session.to_string()).unwrap_or_default();
    if actual == *expected {
        return Ok(Ok(head));
    }
    Ok(Err(TxnFailureReason::CheckSessionOther { key, actual, expected: expected.to_owned() }))
}

fn lock<B: Base>(
    edit: &mut Edit<'_, B>,
    key: &Bytes,
    value: &Bytes,
    flags: u64,
    session: &str,
) -> Locked<B::Error> {
    let acquired = match SessionId::parse(session) {
        Some(session) => edit.acquire(key, value, flags, session)?,
        None => Err(Unacquired::NoSession),
    };
    Ok(acquired.map_err(|why| match why {
        Unacquired::NoSession if session.is_empty() => TxnFailureReason::SessionEmpty,
        Unacquired::NoSession => TxnFailureReason::InvalidSession { session: session.to_owned() },
        Unacquired::Held(_) => TxnFailureReason::LockHeld { key: key.clone() },
        Unacquired::Delayed => TxnFailureReason::LockDelay { key: key.clone() },
        Unacquired::TooMany => {
            TxnFailureReason::TooManySessionKeys { key: key.clone(), limit: SESSION_KEYS_MAX }
        }
    }))
}

fn get_tree<B: Base>(edit: &Edit<'_, B>, prefix: &[u8], results: &mut Results) -> Step<B::Error> {
    let mut added = Ok(());
    let mut broken = None;
    edit.view().scan(Table::Keys, &KeyRange::prefix(prefix), &mut |key, row| {
        match KvEntry::from_row(Bytes::copy_from_slice(key), &Bytes::copy_from_slice(row)) {
            Ok(entry) => added = results.add(entry),
            Err(error) => broken = Some(error),
        }
        if added.is_ok() && broken.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    match broken {
        Some(error) => Err(error.into()),
        None => Ok(added),
    }
}
