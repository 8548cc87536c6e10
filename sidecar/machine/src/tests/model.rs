//! The slow, clear oracle: keys in one map, every command as its documentation says it, no layers, no bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_autopilot::SettingsChange;

use crate::application::Mode;
use crate::command::{ApiIndex, ClientId, Command, Owner, SettingsMode, Tag, Tagged, TxnOp};
use crate::entry::KvEntry;
use crate::limits::CLIENT_WINDOW;
use crate::meta::AutopilotRecord;
use crate::outcome::{Obstacle, Outcome, Refusal, TxnFailure, TxnFailureReason};
use crate::servers::RememberedServer;
use crate::session::{Behavior, Session, SessionId};
use crate::validate::Invalid;

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) keys: BTreeMap<Bytes, KvEntry>,
    pub(crate) keys_index: ApiIndex,
    pub(crate) autopilot: AutopilotRecord,
    /// Who is in the applied configuration.
    pub(crate) members: BTreeSet<Owner>,
    pub(crate) servers: BTreeMap<Owner, RememberedServer>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) sessions_index: ApiIndex,
    /// Ended sessions with the keys that nobody may acquire yet.
    pub(crate) delays: BTreeMap<SessionId, BTreeSet<Bytes>>,
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

    fn remember(&mut self, newer: &[RememberedServer]) {
        for server in newer {
            self.servers.insert(server.owner.clone(), server.clone());
        }
        self.servers.retain(|owner, _| self.members.contains(owner));
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
            Command::Acquire { key, value, flags, session } => {
                match self.acquire(index, key, value, *flags, *session) {
                    Ok(entry) => {
                        Outcome::Acquired { modify_index: entry.modify_index, lock_index: entry.lock_index }
                    }
                    Err(outcome) => outcome,
                }
            }
            Command::Release { key, value, flags, session } => {
                match self.release(index, key, value, *flags, *session) {
                    Some(entry) => Outcome::Written { modify_index: entry.modify_index },
                    None => Outcome::NotHeld,
                }
            }
            Command::CreateSession(spec) => {
                if !self.sessions.contains_key(&spec.id) && !self.delays.contains_key(&spec.id) {
                    let session = Session { spec: (**spec).clone(), create_index: index };
                    self.sessions.insert(spec.id, session);
                    self.sessions_index = index;
                }
                Outcome::SessionCreated { session: spec.id }
            }
            Command::DestroySession { session } => {
                Outcome::Deleted { existed: self.destroy(index, *session) }
            }
            Command::EndLockDelay { session } => {
                Outcome::Deleted { existed: self.delays.remove(session).is_some() }
            }
            Command::Txn(ops) => self.txn(index, ops),
            Command::RegisterClient { .. } => {
                let client = ClientId(log_index);
                self.clients.insert(client, Client::default());
                Outcome::Registered { client }
            }
            Command::SetAutopilot { change, mode, expected } => {
                self.set_autopilot(index, change, *mode, *expected)
            }
            Command::RememberServers(newer) => {
                self.remember(newer);
                Outcome::Written { modify_index: index }
            }
            Command::Propose { .. } | Command::Trim { .. } | Command::RecordSnapshot(_) => {
                Outcome::Refused(Refusal::WrongMode { mode: Mode::KeyValue })
            }
            // What owns the state's file did not take it out: no client's command.
            Command::Restore(_) => {
                Outcome::Refused(Refusal::Unreadable { reason: Invalid::Restore.to_string() })
            }
        }
    }

    /// A configuration of these was applied.
    pub(crate) fn configure(&mut self, owners: &[Owner]) {
        self.members = owners.iter().cloned().collect();
        self.servers.retain(|owner, _| self.members.contains(owner));
    }

    fn set_autopilot(
        &mut self,
        index: ApiIndex,
        change: &SettingsChange,
        mode: SettingsMode,
        expected: Option<ApiIndex>,
    ) -> Outcome {
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

    fn put(&mut self, index: ApiIndex, key: &Bytes, value: &Bytes, flags: u64) -> KvEntry {
        let holder = self.keys.get(key).and_then(|entry| entry.session);
        self.write(index, key, value, (flags, 0, holder))
    }

    fn write(
        &mut self,
        index: ApiIndex,
        key: &Bytes,
        value: &Bytes,
        (flags, lock_index, session): (u64, u64, Option<SessionId>),
    ) -> KvEntry {
        let create_index = self.keys.get(key).map_or(index, |entry| entry.create_index);
        let old_index = self.modify_index(key).unwrap_or(ApiIndex(0));
        let (key, value) = (key.clone(), value.clone());
        let mut entry =
            KvEntry { key, value, flags, create_index, modify_index: old_index, lock_index, session };
        if self.keys.get(&entry.key) != Some(&entry) {
            entry.modify_index = index;
            self.keys_index = index;
            self.keys.insert(entry.key.clone(), entry.clone());
        }
        entry
    }

    fn acquire(
        &mut self,
        index: ApiIndex,
        key: &Bytes,
        value: &Bytes,
        flags: u64,
        session: SessionId,
    ) -> Result<KvEntry, Outcome> {
        if !self.sessions.contains_key(&session) {
            return Err(Outcome::Refused(Refusal::InvalidSession { session: session.to_string() }));
        }
        let old = self.keys.get(key);
        let lock_index = old.map_or(0, |old| old.lock_index);
        let locks = match old.and_then(|old| old.session) {
            Some(holder) if holder == session => lock_index,
            Some(holder) => return Err(Outcome::NotAcquired(Obstacle::Held { holder })),
            None if self.delays.values().any(|keys| keys.contains(key)) => {
                return Err(Outcome::NotAcquired(Obstacle::LockDelay));
            }
            None => lock_index + 1,
        };
        Ok(self.write(index, key, value, (flags, locks, Some(session))))
    }

    fn release(
        &mut self,
        index: ApiIndex,
        key: &Bytes,
        value: &Bytes,
        flags: u64,
        session: SessionId,
    ) -> Option<KvEntry> {
        let lock_index = self.keys.get(key).filter(|old| old.session == Some(session))?.lock_index;
        Some(self.write(index, key, value, (flags, lock_index, None)))
    }

    fn destroy(&mut self, index: ApiIndex, id: SessionId) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        self.sessions_index = index;
        let held: Vec<KvEntry> =
            self.keys.values().filter(|entry| entry.session == Some(id)).cloned().collect();
        for entry in &held {
            match session.spec.behavior {
                Behavior::Release => {
                    let marks = (entry.flags, entry.lock_index, None);
                    self.write(index, &entry.key, &entry.value, marks);
                }
                Behavior::Delete => drop(self.delete(index, |key| *key == entry.key)),
            }
        }
        if session.spec.lock_delay > Duration::ZERO && !held.is_empty() {
            self.delays.entry(id).or_default().extend(held.into_iter().map(|entry| entry.key));
        }
        true
    }

    fn lock(
        &mut self,
        index: ApiIndex,
        key: &Bytes,
        value: &Bytes,
        flags: u64,
        session: &str,
    ) -> Result<KvEntry, TxnFailureReason> {
        let key = key.clone();
        let Some(id) = SessionId::parse(session) else {
            return Err(if session.is_empty() {
                TxnFailureReason::SessionEmpty
            } else {
                TxnFailureReason::InvalidSession { session: session.to_owned() }
            });
        };
        self.acquire(index, &key, value, flags, id).map_err(|outcome| match outcome {
            Outcome::NotAcquired(Obstacle::Held { .. }) => TxnFailureReason::LockHeld { key },
            Outcome::NotAcquired(Obstacle::LockDelay) => TxnFailureReason::LockDelay { key },
            _ => TxnFailureReason::InvalidSession { session: session.to_owned() },
        })
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
            TxnOp::Lock { value, flags, session, .. } => {
                Ok(vec![self.lock(index, &key, value, *flags, session)?.without_value()])
            }
            TxnOp::Unlock { session, .. } if session.is_empty() => Err(TxnFailureReason::SessionEmpty),
            TxnOp::Unlock { value, flags, session, .. } => {
                let unlocked = SessionId::parse(session)
                    .and_then(|session| self.release(index, &key, value, *flags, session));
                Ok(vec![unlocked.ok_or(TxnFailureReason::NotHeld { key })?.without_value()])
            }
            TxnOp::CheckSession { session, .. } => {
                let Some(entry) = self.keys.get(&key) else {
                    return Err(TxnFailureReason::CheckSessionMissing { key });
                };
                let actual = entry.session.map(|session| session.to_string()).unwrap_or_default();
                if actual == *session {
                    return Ok(vec![entry.clone().without_value()]);
                }
                Err(TxnFailureReason::CheckSessionOther { key, actual, expected: session.clone() })
            }
        }
    }
}
