//! Clients: each makes one call at a time, of keys they share, at whichever member it meets.
//!
//! A client that numbers its commands registers a session first (K20) and sends a command without an answer again,
//! perhaps to another leader, as the client library does. One that does not gives such a call up: its outcome is
//! unknown for ever. Either way the history says only what the client knows.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_linearizability::{Answer, CallId, History, Key, Operation, Value};
use quorate_machine::{ApiIndex, ClientId, Command, Outcome, Tag, Tagged};
use quorate_raft::{Entry, Payload, ServerId};
use rand::Rng;
use rand::rngs::SmallRng;

use super::options::Options;
use super::requests::Ask;

/// All clients, and what they saw together.
pub struct Clients {
    /// By number.
    pub each: Vec<Client>,
    /// What all of them asked and heard.
    pub history: History,
    /// They make no calls any more.
    pub are_quiet: bool,
    /// Writes answered since this was last set to zero.
    pub written: u64,
    values: u32,
    /// Under which index each value was read or written: a value is written once.
    indexes: BTreeMap<Value, ApiIndex>,
}

/// One client.
#[derive(Default)]
pub struct Client {
    /// It numbers its commands.
    pub is_numbering: bool,
    /// Its registration, if it has one.
    pub session: Option<ClientId>,
    /// The number of its last command; it has or has given up the answers of all before.
    pub sequence: u64,
    /// How many calls it made; replies to earlier ones mean nothing.
    pub calls: u64,
    /// What it waits for.
    pub call: Option<Call>,
    /// What it last saw of each key, with the index of it.
    pub knows: BTreeMap<Key, (Option<Value>, ApiIndex)>,
    /// Whom it last heard of as leader.
    pub hint: Option<ServerId>,
}

/// A call under way.
pub struct Call {
    /// What is sent.
    pub ask: Ask,
    /// Its place in the history; none for a registration.
    pub recorded: Option<CallId>,
    /// The key, and what is asked of it.
    pub about: Option<(Key, Operation)>,
    /// How often it was sent.
    pub attempts: u32,
    /// Some sending of it may have had an effect.
    pub is_uncertain: bool,
    /// When the client gives it up.
    pub deadline: Duration,
    /// It began when faults had stopped.
    pub began_calm: bool,
}

impl Clients {
    /// The clients of a run.
    pub fn draw(options: &Options, rng: &mut SmallRng) -> Self {
        let client = |_| Client { is_numbering: rng.random_bool(options.numbered), ..Client::default() };
        Self {
            each: (0..options.clients).map(client).collect(),
            history: History::default(),
            are_quiet: false,
            written: 0,
            values: 0,
            indexes: BTreeMap::new(),
        }
    }

    /// A value that was never written.
    pub fn new_value(&mut self) -> Value {
        self.values += 1;
        Value(self.values)
    }

    /// A client learned that a value stands under an index. Wrong if it was another one before.
    pub fn learns(&mut self, value: Value, index: ApiIndex) -> Result<(), String> {
        let first = *self.indexes.entry(value).or_insert(index);
        if first == index {
            return Ok(());
        }
        Err(format!("written once: value {} stands under index {first} and under {index}", value.0))
    }

    /// What was written is lost (K18): whoever sends it again writes it anew.
    pub fn forget(&mut self, value: Value) {
        self.indexes.remove(&value);
    }

    /// Calls under way had taken effect, and what they did is lost: each is answered in the record as it was by the machine,
    /// and nobody hears it. Whose they are.
    pub fn answer_lost(&mut self, lost: &BTreeMap<(ClientId, u64), Outcome>) -> Vec<usize> {
        let mut whose = Vec::new();
        for (number, client) in self.each.iter().enumerate() {
            let sent = client.session.map(|session| (session, client.sequence));
            let outcome = sent.and_then(|sent| lost.get(&sent));
            let recorded = client.call.as_ref().and_then(|call| call.recorded);
            if let (Some(answer), Some(recorded)) = (outcome.and_then(answer_in), recorded) {
                self.history.answered(recorded, answer);
                whose.push(number);
            }
        }
        whose
    }

    /// An entry of the log that is gone on with, whose command had an effect that is lost: it may have one again. Without
    /// its condition, which is told by an index: an open call need not happen, so that allows too much and never too little.
    pub fn may_happen_again(&mut self, entry: &Entry, lost: &BTreeMap<(ClientId, u64), Outcome>) {
        let Payload::Command(command) = &entry.payload else { return };
        let Ok(Tagged { tag: Some(tag), command }) = Tagged::decode(command) else { return };
        if !lost.contains_key(&(tag.client, tag.sequence)) {
            return;
        }
        let (key, operation) = match &command {
            Command::Put { key, value, .. } | Command::CompareAndSet { key, value, .. } => {
                (key_of(key), value_in(value).map(Operation::Put))
            }
            Command::Delete { key, .. } => (key_of(key), Some(Operation::Delete)),
            _ => (None, None),
        };
        if let (Some(key), Some(operation)) = (key, operation) {
            self.history.begins(key, operation);
        }
    }

    /// What these clients sent is another call from now on: sent again, it takes effect again.
    pub fn begin_anew(&mut self, whose: &[usize]) {
        for number in whose {
            if let Some(call) = &mut self.each[*number].call
                && let Some((key, operation)) = call.about
            {
                call.recorded = Some(self.history.begins(key, operation));
            }
        }
    }
}

/// What a client is told of a command that was applied; none for what is no call of a key.
pub fn answer_in(outcome: &Outcome) -> Option<Answer> {
    match outcome {
        Outcome::Written { .. } => Some(Answer::Written),
        Outcome::Mismatch { .. } => Some(Answer::Mismatch),
        Outcome::Deleted { existed } => Some(Answer::Deleted { existed: *existed }),
        _ => None,
    }
}

impl Client {
    /// The command for an operation, numbered if this client does so.
    pub fn command(&self, key: Key, operation: Operation, padding: usize) -> Option<Bytes> {
        let knows = |value: Option<Value>| match (value, self.knows.get(&key)) {
            (Some(_), Some((known, index))) if *known == value => *index,
            _ => ApiIndex::MISSING,
        };
        let (key, flags) = (key_bytes(key), 0);
        let command = match operation {
            // A restore is no client's, and locks are others'.
            Operation::Read
            | Operation::Restore(_)
            | Operation::Acquire(_)
            | Operation::Release(_)
            | Operation::End(_) => return None,
            Operation::Put(value) => Command::Put { key, value: value_bytes(value, padding), flags },
            Operation::CompareAndSet { expected, new } => Command::CompareAndSet {
                key,
                value: value_bytes(new, padding),
                flags,
                expected: knows(expected),
            },
            Operation::Delete => Command::Delete { key, expected: None },
            Operation::DeleteIf { expected } => {
                Command::Delete { key, expected: Some(knows(Some(expected))) }
            }
        };
        let tag =
            self.session.map(|client| Tag { client, sequence: self.sequence, acked_below: self.sequence });
        Some(Tagged { tag, command }.encode())
    }
}

/// A key as the machine has it.
pub fn key_bytes(key: Key) -> Bytes {
    Bytes::from(format!("key/{key}"))
}

/// The number of a key as the machine has it; none of one that is not ours.
pub fn key_of(bytes: &Bytes) -> Option<Key> {
    std::str::from_utf8(bytes).ok()?.strip_prefix("key/")?.parse().ok()
}

/// A value as it is written, padded so that logs grow.
pub fn value_bytes(value: Value, padding: usize) -> Bytes {
    Bytes::from(format!("{} {:padding$}", value.0, ""))
}

/// The value in what was written; none of ours if it cannot be read.
pub fn value_in(bytes: &Bytes) -> Option<Value> {
    Some(Value(std::str::from_utf8(bytes).ok()?.split(' ').next()?.parse().ok()?))
}
