//! The machine: applies committed entries in order, and freezes what it wrote for the store.

use std::sync::Arc;

use bytes::Bytes;
use quorate_autopilot::SettingsChange;
use quorate_mutants::{Mutant, broken};

use crate::application::Entries;
use crate::base::{Base, Table};
use crate::change::KeyChange;
use crate::clients::{Admission, Clients};
use crate::codec::DecodeError;
use crate::command::{ApiIndex, ClientId, Command, Owner, SettingsMode, Tagged};
use crate::edit::Edit;
use crate::entry::Head;
use crate::flush::Flush;
use crate::layer::Layer;
use crate::limits::{MEMTABLE_BYTES_MAX, RECOVERY_INDEX_GAP, SESSION_KEYS_MAX, SESSIONS_MAX};
use crate::locks::Unacquired;
use crate::meta::{AppliedConfiguration, Era, Meta, Position, StateError};
use crate::outcome::{Obstacle, Outcome, Refusal};
use crate::servers;
use crate::session::{SessionEvent, SessionId};
use crate::txn;
use crate::validate::Invalid;
use crate::view::View;

/// The replicated state: memtable over base. One owner; reads go through `&self`.
#[derive(Debug)]
pub struct Machine<B> {
    base: B,
    /// Writes since the last freeze.
    active: Layer,
    /// Writes on their way to the base; they answer before it does until the flush is reported done.
    frozen: Option<Frozen>,
    meta: Meta,
    clients: Clients,
    /// Where the last freeze stood, or the base when it was opened.
    frozen_upto: Position,
    /// What happened to sessions since it was last asked for.
    events: Vec<SessionEvent>,
    /// What entries changed among the keys since it was last asked for, if somebody asks.
    changes: Vec<KeyChange>,
}

#[derive(Debug)]
struct Frozen {
    layer: Arc<Layer>,
    upto: Position,
}

impl<B: Base> Machine<B> {
    /// The state in `base`. The log's entries after [`Machine::applied`] are applied next, in order.
    pub fn open(base: B) -> Result<Self, StateError<B::Error>> {
        let meta = Meta::load(&base)?;
        let clients = Clients::load(&base)?;
        let frozen_upto = meta.applied;
        Ok(Self {
            base,
            active: Layer::default(),
            frozen: None,
            meta,
            clients,
            frozen_upto,
            events: Vec::new(),
            changes: Vec::new(),
        })
    }

    /// The last applied entry.
    pub fn applied(&self) -> Position {
        self.meta.applied
    }

    /// The state's own numbers: configuration, settings, epochs, index base.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The flushed state under the memtable.
    pub fn base(&self) -> &B {
        &self.base
    }

    /// Apply the command in the entry at `at`, which must be the next one.
    ///
    /// Every member computes the same outcome. An error ends the process: the disk failed, or the entry was written by a
    /// newer binary and applying what follows would make this member differ from the others.
    pub fn apply(&mut self, at: Position, command: &Bytes) -> Result<Outcome, StateError<B::Error>> {
        self.advance(at);
        let tagged = match Tagged::decode(command) {
            Ok(tagged) => tagged,
            Err(error @ DecodeError::NewerVersion { .. }) => return Err(error.into()),
            // Bytes that are no command of a version every member knows are refused by every member alike.
            Err(error) => return Ok(Outcome::Refused(Refusal::Unreadable { reason: error.to_string() })),
        };
        let Some(tag) = tagged.tag else {
            return self.run(at, tagged.command);
        };
        match self.clients.admit(at.index, tag) {
            Admission::Refuse(refusal) => Ok(Outcome::Refused(refusal)),
            Admission::Repeat(outcome) => Ok(Outcome::decode(&outcome)?),
            Admission::Apply => {
                let outcome = self.run(at, tagged.command)?;
                let present = self.meta.owners();
                self.clients.keep(tag, outcome.encode(), present);
                Ok(outcome)
            }
        }
    }

    /// Pass an entry that changes nothing here (a leader's first entry, a barrier).
    pub fn apply_empty(&mut self, at: Position) {
        self.advance(at);
    }

    /// Remember a configuration entry (K4): at the next start it is the latest one at or below the applied index.
    ///
    /// After a recovery indexes go on far above the old ones: what stood in the lost end of the log had been given out, and
    /// the same index must not stand for another write, nor for another client (K18).
    pub fn apply_configuration(&mut self, at: Position, era: Era, owners: Vec<Owner>, encoded: Bytes) {
        self.advance(at);
        let is_recovered =
            self.meta.configuration.is_some() && era.recovery_epoch > self.meta.era.recovery_epoch;
        if is_recovered && !broken(Mutant::K18Index) {
            self.meta.index_base += RECOVERY_INDEX_GAP;
        }
        self.meta.era = era;
        servers::remember(&mut self.meta.servers, Vec::new(), &owners);
        self.meta.configuration = Some(AppliedConfiguration { index: at.index, owners, encoded });
    }

    /// What happened to sessions since this was last asked: take it after each few entries.
    pub fn take_session_events(&mut self) -> Vec<SessionEvent> {
        std::mem::take(&mut self.events)
    }

    /// From now on changes of keys are kept: take them after each few entries.
    pub fn note_key_changes(&mut self) {
        self.active.note_changes();
    }

    /// What entries changed among the keys since this was last asked, in order.
    pub fn take_key_changes(&mut self) -> Vec<KeyChange> {
        std::mem::take(&mut self.changes)
    }

    /// Whether the memtable should be frozen because of its size. (The driver also freezes by time.)
    pub fn is_full(&self) -> bool {
        self.active.bytes() >= MEMTABLE_BYTES_MAX
    }

    /// Whether applying must wait for [`Machine::flushed`]: one memtable is being flushed and the next is full (K29).
    pub fn must_wait(&self) -> bool {
        self.is_full() && self.frozen.is_some()
    }

    /// Freeze what was applied since the last freeze and hand it to the store. `None` while a flush is under way,
    /// or when nothing was applied since the last one.
    pub fn freeze(&mut self) -> Option<Flush> {
        if self.frozen.is_some() || self.frozen_upto == self.meta.applied {
            return None;
        }
        self.clients.drain_into(&mut self.active);
        self.active.set(Table::Meta, Bytes::from_static(Meta::KEY), Some(self.meta.encode()));
        let next = self.active.next();
        let layer = Arc::new(std::mem::replace(&mut self.active, next));
        let upto = self.meta.applied;
        self.frozen = Some(Frozen { layer: Arc::clone(&layer), upto });
        self.frozen_upto = upto;
        Some(Flush::new(layer, self.meta.clone()))
    }

    /// The flush that stands at `upto` is synced in the base; its memory is freed.
    pub fn flushed(&mut self, upto: Position) {
        let frozen = self.frozen.take();
        assert_eq!(frozen.map(|frozen| frozen.upto), Some(upto), "only the flush under way can be done");
    }

    /// Bytes held in memory by layers.
    pub fn memtable_bytes(&self) -> usize {
        self.active.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.layer.bytes())
    }

    pub(crate) fn view(&self) -> View<'_, B> {
        let [active, frozen] = self.layers();
        View::new([active, frozen, None], &self.base)
    }

    /// The newest first.
    pub(crate) fn layers(&self) -> [Option<&Layer>; 2] {
        [Some(&self.active), self.frozen.as_ref().map(|frozen| &*frozen.layer)]
    }

    fn advance(&mut self, at: Position) {
        let applied = self.meta.applied;
        assert_eq!(at.index, applied.index + 1, "entries are applied in order, each once");
        assert!(at.term >= applied.term, "terms never fall along the log: {at:?} after {applied:?}");
        self.meta.applied = at;
    }

    fn edit(&mut self, index: ApiIndex) -> Edit<'_, B> {
        Edit {
            target: &mut self.active,
            below: [self.frozen.as_ref().map(|frozen| &*frozen.layer), None],
            base: &self.base,
            keys: &mut self.meta.keys,
            sessions: &mut self.meta.sessions,
            index,
        }
    }

    fn entries(&mut self) -> Entries<'_, B> {
        Entries {
            target: &mut self.active,
            below: self.frozen.as_ref().map(|frozen| &*frozen.layer),
            base: &self.base,
            meta: &mut self.meta.application,
        }
    }

    fn run(&mut self, at: Position, command: Command) -> Result<Outcome, StateError<B::Error>> {
        let mode = self.meta.era.mode;
        if !mode.takes(&command) {
            return Ok(Outcome::Refused(Refusal::WrongMode { mode }));
        }
        let mut events = std::mem::take(&mut self.events);
        let outcome = self.carry_out(at, command, &mut events);
        self.events = events;
        let index = self.meta.api_index(at.index);
        let changed = self.active.take_changes().into_iter();
        self.changes.extend(changed.map(|what| KeyChange { index, what }));
        outcome
    }

    fn carry_out(
        &mut self,
        at: Position,
        command: Command,
        events: &mut Vec<SessionEvent>,
    ) -> Result<Outcome, StateError<B::Error>> {
        let index = self.meta.api_index(at.index);
        let mut edit = self.edit(index);
        Ok(match command {
            Command::Put { key, value, flags } => {
                Outcome::Written { modify_index: edit.put(&key, &value, flags)?.modify_index }
            }
            Command::CompareAndSet { key, value, flags, expected } => {
                let modify_index = edit.modify_index(&key)?;
                if modify_index.unwrap_or(ApiIndex::MISSING) == expected {
                    Outcome::Written { modify_index: edit.put(&key, &value, flags)?.modify_index }
                } else {
                    Outcome::Mismatch { modify_index }
                }
            }
            Command::Delete { key, expected } => match (edit.modify_index(&key)?, expected) {
                (Some(actual), Some(expected)) if actual != expected => {
                    Outcome::Mismatch { modify_index: Some(actual) }
                }
                _ => Outcome::Deleted { existed: edit.delete(&key)? },
            },
            Command::DeletePrefix { prefix } => Outcome::Deleted { existed: edit.delete_prefix(&prefix)? },
            Command::Acquire { key, value, flags, session } => {
                match edit.acquire(&key, &value, flags, session)? {
                    Ok(Head { modify_index, lock_index, .. }) => {
                        Outcome::Acquired { modify_index, lock_index }
                    }
                    Err(why) => not_acquired(session, why),
                }
            }
            Command::Release { key, value, flags, session } => {
                match edit.release(&key, &value, flags, session)? {
                    Some(head) => Outcome::Written { modify_index: head.modify_index },
                    None => Outcome::NotHeld,
                }
            }
            Command::CreateSession(spec) => {
                let session = spec.id;
                if edit.create_session(*spec, events)? {
                    Outcome::SessionCreated { session }
                } else {
                    Outcome::Refused(Refusal::TooManySessions { limit: SESSIONS_MAX })
                }
            }
            Command::DestroySession { session } => {
                Outcome::Deleted { existed: edit.destroy_session(session, events)? }
            }
            Command::EndLockDelay { session } => {
                Outcome::Deleted { existed: edit.end_lock_delay(session, events)? }
            }
            Command::Txn(ops) => txn::run(&mut edit, &ops)?,
            Command::RegisterClient { owner } => self.register(at, ClientId(index.0), owner),
            Command::SetAutopilot { change, mode, expected } => {
                self.set_autopilot(index, change, mode, expected)
            }
            Command::RememberServers(newer) => {
                let members = self.meta.owners().to_vec();
                servers::remember(&mut self.meta.servers, newer, &members);
                Outcome::Written { modify_index: index }
            }
            Command::Propose { data } => self.entries().propose(index, &data),
            Command::Trim { upto } => self.entries().trim(upto)?,
            Command::RecordSnapshot(snapshot) => self.entries().record(snapshot)?,
            // Whoever owns the state's file carries an order out before it comes here; one that comes all the same was
            // marked as a client's, and is refused by every member alike.
            Command::Restore(_) => {
                Outcome::Refused(Refusal::Unreadable { reason: Invalid::Restore.to_string() })
            }
        })
    }

    fn register(&mut self, at: Position, id: ClientId, owner: Option<Owner>) -> Outcome {
        match self.clients.register(at.index, id, owner, self.meta.owners()) {
            Ok(client) => Outcome::Registered { client },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn set_autopilot(
        &mut self,
        index: ApiIndex,
        change: SettingsChange,
        mode: SettingsMode,
        expected: Option<ApiIndex>,
    ) -> Outcome {
        let record = &mut self.meta.autopilot;
        if expected.is_some_and(|expected| expected != record.modify_index) {
            let present = (record.modify_index != ApiIndex::MISSING).then_some(record.modify_index);
            return Outcome::Mismatch { modify_index: present };
        }
        let settings = match mode {
            SettingsMode::Merge => record.settings.merged(&change),
            SettingsMode::Replace => change,
        };
        record.set(index, settings);
        Outcome::Written { modify_index: record.modify_index }
    }
}

fn not_acquired(session: SessionId, why: Unacquired) -> Outcome {
    match why {
        Unacquired::Held(holder) => Outcome::NotAcquired(Obstacle::Held { holder }),
        Unacquired::Delayed => Outcome::NotAcquired(Obstacle::LockDelay),
        Unacquired::NoSession => Outcome::Refused(Refusal::InvalidSession { session: session.to_string() }),
        Unacquired::TooMany => {
            Outcome::Refused(Refusal::TooManySessionKeys { session, limit: SESSION_KEYS_MAX })
        }
    }
}
