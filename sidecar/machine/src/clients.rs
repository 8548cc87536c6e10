//! Registered clients, and the results kept for their retries (K20).
//!
//! A client numbers its commands. What was applied under a number is kept until the client says it has the answer:
//!
//! ```text
//!    acked_below = 7          7 + window
//!   ──────┼─────────────────────┼──────▶ sequence
//!   known │ kept: a retry gets  │ refused
//!   to it │ the same outcome    │
//! ```
//!
//! Invariants: `by_age` holds each client once, by the log index of its last entry, `holding` those of them that
//! have results; evicting goes by these orders alone, so every member evicts the same client at the same entry. The newest client of a member that
//! is in the configuration is never evicted: its own forwarding must not lose its memory to strangers.
//!
//! Row in [`Table::Clients`], under the client's ID in 8 bytes, big endian: `format u8 = 1 | acked_below | last entry |
//! 0, or 1 and the owner | list of (sequence, outcome)`; numbers, byte strings and lists as in `codec`.
//!
//! The whole table is in memory: it is bounded (see `limits`), and a lookup per write must cost no disk read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use quorate_mutants::{Mutant, broken};

use crate::base::{Base, KeyRange, Table};
use crate::codec::{DecodeError, Reader, Writer};
use crate::command::{ClientId, Owner, Tag};
use crate::layer::Layer;
use crate::limits::{
    CLIENT_OWN_RESULT_BYTES_MAX, CLIENT_RESULT_BYTES_MAX, CLIENT_RESULT_OVERHEAD_BYTES, CLIENT_WINDOW,
    CLIENTS_MAX,
};
use crate::meta::StateError;
use crate::outcome::Refusal;

const FORMAT: u8 = 1;

/// What to do with a tagged command.
pub(crate) enum Admission {
    /// Apply it and keep the outcome.
    Apply,
    /// It was applied before; this was its outcome, encoded.
    Repeat(Bytes),
    /// Do nothing.
    Refuse(Refusal),
}

#[derive(Debug, PartialEq, Eq)]
struct Client {
    acked_below: u64,
    /// The log index of its last entry.
    last_entry: u64,
    owner: Option<Owner>,
    results: BTreeMap<u64, Bytes>,
    result_bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    by_id: BTreeMap<ClientId, Client>,
    by_age: BTreeSet<(u64, ClientId)>,
    /// Those with results: evicting the others would free nothing.
    holding: BTreeSet<(u64, ClientId)>,
    /// The last registration of each owner.
    newest: BTreeMap<Owner, ClientId>,
    result_bytes: usize,
    /// Changed or evicted since the last freeze.
    dirty: BTreeSet<ClientId>,
}

impl Clients {
    pub(crate) fn load<B: Base>(base: &B) -> Result<Self, StateError<B::Error>> {
        let mut clients = Self::default();
        let mut broken = None;
        let visit = &mut |key: &[u8], row: &[u8]| match read(key, &Bytes::copy_from_slice(row)) {
            Ok((id, client)) => {
                clients.insert(id, client);
                ControlFlow::Continue(())
            }
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        };
        base.scan(Table::Clients, &KeyRange::all(), visit).map_err(StateError::Base)?;
        broken.map_or(Ok(clients), |error| Err(error.into()))
    }

    /// Register a client at a log index, evicting another if all places are taken.
    pub(crate) fn register(
        &mut self,
        at: u64,
        id: ClientId,
        owner: Option<Owner>,
        present: &[Owner],
    ) -> Result<ClientId, Refusal> {
        if self.by_id.len() >= CLIENTS_MAX {
            let oldest = self.oldest(&self.by_age, present, owner.as_ref());
            self.evict(oldest.ok_or(Refusal::TooManyClients { limit: CLIENTS_MAX })?);
        }
        let client =
            Client { acked_below: 0, last_entry: at, owner, results: BTreeMap::new(), result_bytes: 0 };
        self.insert(id, client);
        self.dirty.insert(id);
        Ok(id)
    }

    /// Whether a tagged command at a log index may be applied. A refusal has no effect whatever.
    pub(crate) fn admit(&mut self, at: u64, tag: Tag) -> Admission {
        let Some(client) = self.by_id.get_mut(&tag.client) else {
            return Admission::Refuse(Refusal::SessionExpired { client: tag.client });
        };
        let acked_below = client.acked_below.max(tag.acked_below);
        if let Some(refusal) = client.objection(tag, acked_below) {
            return Admission::Refuse(refusal);
        }
        self.result_bytes -= client.acknowledge(acked_below);
        let before = std::mem::replace(&mut client.last_entry, at);
        self.by_age.remove(&(before, tag.client));
        self.by_age.insert((at, tag.client));
        self.holding.remove(&(before, tag.client));
        if !client.results.is_empty() {
            self.holding.insert((at, tag.client));
        }
        self.dirty.insert(tag.client);
        match client.results.get(&tag.sequence) {
            Some(outcome) if !broken(Mutant::K20) => Admission::Repeat(outcome.clone()),
            _ => Admission::Apply,
        }
    }

    /// Keep the outcome of a command that was admitted, and evict clients if all results together grow too large.
    pub(crate) fn keep(&mut self, tag: Tag, outcome: Bytes, present: &[Owner]) {
        if let Some(client) = self.by_id.get_mut(&tag.client) {
            let cost = result_cost(&outcome);
            client.results.insert(tag.sequence, outcome);
            client.result_bytes += cost;
            self.result_bytes += cost;
            self.holding.insert((client.last_entry, tag.client));
        }
        while self.result_bytes > CLIENT_RESULT_BYTES_MAX {
            let Some(oldest) = self.oldest(&self.holding, present, None) else { break };
            self.evict(oldest);
        }
    }

    /// Write what changed into a layer that is about to be frozen.
    pub(crate) fn drain_into(&mut self, layer: &mut Layer) {
        for id in std::mem::take(&mut self.dirty) {
            let row = self.by_id.get(&id).map(Client::to_row);
            layer.set(Table::Clients, Bytes::copy_from_slice(&id.0.to_be_bytes()), row);
        }
    }

    fn insert(&mut self, id: ClientId, client: Client) {
        self.by_age.insert((client.last_entry, id));
        if !client.results.is_empty() {
            self.holding.insert((client.last_entry, id));
        }
        self.result_bytes += client.result_bytes;
        if let Some(owner) = &client.owner {
            let newest = self.newest.entry(owner.clone()).or_insert(id);
            *newest = (*newest).max(id);
        }
        self.by_id.insert(id, client);
    }

    /// The first in an order of age that may be evicted; none if all belong to members. A member that registers
    /// anew (`registering`) gives up its earlier client.
    fn oldest(
        &self,
        order: &BTreeSet<(u64, ClientId)>,
        present: &[Owner],
        registering: Option<&Owner>,
    ) -> Option<ClientId> {
        let is_kept = |id: &ClientId| {
            let owner = self.by_id.get(id).and_then(|client| client.owner.as_ref());
            owner.is_some_and(|owner| {
                self.newest.get(owner) == Some(id) && present.contains(owner) && registering != Some(owner)
            })
        };
        // Few are skipped: at most one for each member of the configuration.
        order.iter().map(|(_, id)| *id).find(|id| !is_kept(id))
    }

    fn evict(&mut self, id: ClientId) {
        let Some(client) = self.by_id.remove(&id) else { return };
        self.by_age.remove(&(client.last_entry, id));
        self.holding.remove(&(client.last_entry, id));
        self.result_bytes -= client.result_bytes;
        if let Some(owner) = &client.owner
            && self.newest.get(owner) == Some(&id)
        {
            self.newest.remove(owner);
        }
        self.dirty.insert(id);
    }
}

impl Client {
    fn objection(&self, tag: Tag, acked_below: u64) -> Option<Refusal> {
        let Tag { client, sequence, .. } = tag;
        if sequence < acked_below {
            return Some(Refusal::SequenceAcknowledged { client, sequence, acked_below });
        }
        if sequence - acked_below >= CLIENT_WINDOW {
            return Some(Refusal::WindowExceeded { client, sequence, acked_below, window: CLIENT_WINDOW });
        }
        if self.result_bytes <= CLIENT_OWN_RESULT_BYTES_MAX || self.results.contains_key(&sequence) {
            return None;
        }
        // Counted exactly only here, where the answer may hang on what this very command acknowledges.
        let kept: usize = self.results.range(acked_below..).map(|(_, outcome)| result_cost(outcome)).sum();
        (kept > CLIENT_OWN_RESULT_BYTES_MAX).then_some(Refusal::ResultsUnacknowledged {
            client,
            result_bytes: kept,
            limit: CLIENT_OWN_RESULT_BYTES_MAX,
        })
    }

    /// Forget results the client has; returns the bytes set free.
    fn acknowledge(&mut self, acked_below: u64) -> usize {
        self.acked_below = acked_below;
        let mut freed = 0;
        while let Some(first) = self.results.first_entry().filter(|first| *first.key() < acked_below) {
            freed += result_cost(&first.remove());
        }
        self.result_bytes -= freed;
        freed
    }

    fn to_row(&self) -> Bytes {
        let mut to = Writer::default();
        to.byte(FORMAT);
        to.number(self.acked_below);
        to.number(self.last_entry);
        match &self.owner {
            None => to.byte(0),
            Some(owner) => {
                to.byte(1);
                to.bytes(owner.0.as_bytes());
            }
        }
        to.count(self.results.len());
        for (sequence, outcome) in &self.results {
            to.number(*sequence);
            to.bytes(outcome);
        }
        to.finish()
    }
}

fn read(key: &[u8], row: &Bytes) -> Result<(ClientId, Client), DecodeError> {
    let id = key.try_into().map_err(|_| DecodeError::OutOfRange { what: "client row's key" })?;
    let mut from = Reader::new(row);
    from.version("client row", FORMAT)?;
    let acked_below = from.number("acked_below")?;
    let last_entry = from.number("last entry")?;
    let owner = if from.flag("owner")? { Some(Owner(from.text("owner")?)) } else { None };
    let results = from.list("results", |from| {
        // Copied: a slice would keep the whole row.
        Ok((from.number("sequence")?, Bytes::copy_from_slice(&from.bytes("outcome")?)))
    })?;
    from.end()?;
    let results: BTreeMap<u64, Bytes> = results.into_iter().collect();
    let result_bytes = results.values().map(result_cost).sum();
    Ok((ClientId(u64::from_be_bytes(id)), Client { acked_below, last_entry, owner, results, result_bytes }))
}

fn result_cost(outcome: &Bytes) -> usize {
    outcome.len() + CLIENT_RESULT_OVERHEAD_BYTES
}
