//! The slow, clear oracle: keys in one map, every command as its documentation says it, no layers, no bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::{ApiIndex, ClientId, Command, SettingsMode, Tag, Tagged, TxnOp};
use crate::entry::KvEntry;
use crate::limits::CLIENT_WINDOW;
use crate::meta::AutopilotRecord;
use crate::outcome::{Outcome, Refusal, TxnFailure, TxnFailureReason};
use crate::validate::Invalid;

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) keys: BTreeMap<Bytes, KvEntry>,
    pub(crate) keys_index: ApiIndex,
    pub(crate) autopilot: AutopilotRecord,
    clients: BTreeMap<ClientId, Client>,
}

#[derive(Clone, Debug, Default)]
struct Client {
    acked_below: u64,
    outcomes: BTreeMap<u64, Outcome>,
}

impl Model {
    pub(crate) fn apply(&mut self, index: u64, tagged: &Tagged) -> Outcome {
        let Some(Tag { client, sequence, acked_below }) = tagged.tag else {
            return self.run(index, &tagged.command);
        };
        let Some(known) = self.clients.get_mut(&client) else {
            return Outcome::Refused(Refusal::SessionExpired { client });
        };
        let acked_below = acked_below.max(known.acked_below);
        if sequence < acked_below {
            return Outcome::Refused(Refusal::SequenceAcknowledged { client, sequence, acked_below });
        }
        if sequence >= acked_below + CLIENT_WINDOW {
            let window = CLIENT_WINDOW;
            return Outcome::Refused(Refusal::WindowExceeded { client, sequence, acked_below, window });
        }
        known.acked_below = acked_below;
        known.outcomes.retain(|sequence, _| *sequence >= acked_below);
        if let Some(outcome) = known.outcomes.get(&sequence) {
            return outcome.clone();
        }
        let outcome = self.run(index, &tagged.command);
        self.clients.entry(client).or_default().outcomes.insert(sequence, outcome.clone());
        outcome
    }

    pub(crate) fn modify_index(&self, key: &[u8]) -> Option<ApiIndex> {
        self.keys.get(key).map(|entry| entry.modify_index)
    }

    pub(crate) fn under(&self, prefix: &[u8]) -> Vec<KvEntry> {
        self.keys.values().filter(|entry| entry.key.starts_with(prefix)).cloned().collect()
    }

    fn run(&mut self, log_index: u64, command: &Command) -> Outcome {
        let index = ApiIndex(log_index);
        match command {
            Command::Put { key, value, flags } => {
                Outcome::Written { modify_index: self.put(index, key, value, *flags).modify_index }
            }
            Command::CompareAndSet { key, value, flags, expected } => {
                let modify_index = self.modify_index(key);
                if modify_index.unwrap_or(ApiIndex(0)) != *expected {
                    return Outcome::Mismatch { modify_index };
                }
                Outcome::Written { modify_index: self.put(index, key, value, *flags).modify_index }
            }
            Command::Delete { key, expected } => match (self.modify_index(key), expected) {
                (Some(actual), Some(expected)) if actual != *expected => {
                    Outcome::Mismatch { modify_index: Some(actual) }
                }
                _ => Outcome::Deleted { existed: self.delete(index, |each| each == key) },
            },
            Command::DeletePrefix { prefix } => {
                Outcome::Deleted { existed: self.delete(index, |key| key.starts_with(prefix)) }
            }
            Command::Txn(ops) => self.txn(index, ops),
            Command::RegisterClient { .. } => {
                let client = ClientId(log_index);
                self.clients.insert(client, Client::default());
                Outcome::Registered { client }
            }
            Command::SetAutopilot { change, mode, expected } => {
                let old = self.autopilot.modify_index;
                if expected.is_some_and(|expected| expected != old) {
                    return Outcome::Mismatch { modify_index: Some(old).filter(|old| old.0 != 0) };
                }
                let settings = match mode {
                    SettingsMode::Merge => self.autopilot.settings.merged(change),
                    SettingsMode::Replace => change.clone(),
                };
                if old.0 == 0 || settings != self.autopilot.settings {
                    let create_index = if old.0 == 0 { index } else { self.autopilot.create_index };
                    self.autopilot = AutopilotRecord { settings, create_index, modify_index: index };
                }
                Outcome::Written { modify_index: self.autopilot.modify_index }
            }
            // What owns the state's file did not take it out: no client's command.
            Command::Restore(_) => {
                Outcome::Refused(Refusal::Unreadable { reason: Invalid::Restore.to_string() })
            }
        }
    }

    fn put(&mut self, index: ApiIndex, key: &Bytes, value: &Bytes, flags: u64) -> KvEntry {
        let entry = self.keys.entry(key.clone()).or_insert_with(|| KvEntry {
            key: key.clone(),
            value: value.clone(),
            flags,
            create_index: index,
            modify_index: ApiIndex(0),
            lock_index: 0,
        });
        if entry.modify_index.0 == 0 || entry.value != *value || entry.flags != flags {
            (entry.value, entry.flags, entry.modify_index) = (value.clone(), flags, index);
            self.keys_index = index;
        }
        entry.clone()
    }

    fn delete(&mut self, index: ApiIndex, is_doomed: impl Fn(&Bytes) -> bool) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key, _| !is_doomed(key));
        let existed = self.keys.len() < before;
        if existed {
            self.keys_index = index;
        }
        existed
    }

    fn txn(&mut self, index: ApiIndex, ops: &[TxnOp]) -> Outcome {
        let mut draft = self.clone();
        let mut results = Vec::new();
        let mut failures = Vec::new();
        for (op_index, op) in (0..).zip(ops) {
            match draft.op(index, op) {
                Ok(entries) => results.extend(entries),
                Err(reason) => failures.push(TxnFailure { op_index, reason }),
            }
        }
        if !failures.is_empty() {
            return Outcome::TxnFailed(failures);
        }
        *self = draft;
        Outcome::Txn(results)
    }

    fn op(&mut self, index: ApiIndex, op: &TxnOp) -> Result<Vec<KvEntry>, TxnFailureReason> {
        let actual = self.modify_index(op.key());
        let key = op.key().clone();
        match op {
            TxnOp::Set { value, flags, .. } => Ok(vec![self.put(index, &key, value, *flags).without_value()]),
            TxnOp::Cas { value, flags, expected, .. } if actual.unwrap_or(ApiIndex(0)) == *expected => {
                Ok(vec![self.put(index, &key, value, *flags).without_value()])
            }
            TxnOp::Cas { .. } => Err(TxnFailureReason::SetStale { key }),
            TxnOp::Get { .. } => {
                let found = self.keys.get(&key).map(|entry| vec![entry.clone()]);
                found.ok_or(TxnFailureReason::Missing { key })
            }
            TxnOp::GetOrEmpty { .. } => {
                Ok(vec![self.keys.get(&key).cloned().unwrap_or_else(|| KvEntry::missing(key))])
            }
            TxnOp::GetTree { prefix } => Ok(self.under(prefix)),
            TxnOp::Delete { .. } => {
                self.delete(index, |each| *each == key);
                Ok(vec![])
            }
            TxnOp::DeleteTree { prefix } => {
                self.delete(index, |each| each.starts_with(prefix));
                Ok(vec![])
            }
            TxnOp::DeleteCas { expected, .. } => {
                if actual.is_some_and(|actual| actual != *expected) {
                    return Err(TxnFailureReason::DeleteStale { key });
                }
                self.delete(index, |each| *each == key);
                Ok(vec![])
            }
            TxnOp::CheckIndex { expected, .. } => match self.keys.get(&key) {
                None => Err(TxnFailureReason::CheckMissing { key }),
                Some(entry) if entry.modify_index == *expected => Ok(vec![entry.clone().without_value()]),
                Some(entry) => {
                    let (actual, expected) = (entry.modify_index, *expected);
                    Err(TxnFailureReason::CheckStale { key, actual, expected })
                }
            },
            TxnOp::CheckNotExists { .. } => {
                if actual.is_some() {
                    Err(TxnFailureReason::Exists { key })
                } else {
                    Ok(vec![])
                }
            }
        }
    }
}
