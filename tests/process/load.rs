//! Clients at every member all the time: reads, writes, compare-and-set and deletes on keys they share.
//!
//! Keys are in use for a moment and then make room for new ones, so that each key's history stays small enough to be
//! searched. In the end every key is read once more through every member: what was acknowledged and lost shows there.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_client::{CasOutcome, Client, DeleteOutcome, Entry, Error, ModifyIndex};
use quorate_linearizability::{Answer, Key, Operation, Value};
use quorate_processes::cluster::Cluster;
use quorate_processes::member::Member;
use quorate_processes::wait::{PATIENCE, until};
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::record::Record;
use crate::story::Story;

/// Clients at each member, by how long they wait for an answer: some give up in the middle of an election, and have
/// calls of unknown outcome, others see what comes of every call.
const CLIENTS: [Duration; 3] = [Duration::from_millis(150), Duration::from_secs(1), Duration::from_secs(5)];
/// Keys shared at one time.
const KEYS: usize = 3;
/// How long keys are in use.
const KEYS_LAST: Duration = Duration::from_secs(1);
/// The longest rest of a client between two calls: on average the keys see a call every few milliseconds.
const REST_MAX: Duration = Duration::from_millis(30);
/// More calls than this must be answered by a member that works, before it is said to.
const ANSWERS_ENOUGH: usize = 5;

/// Clients at work.
pub(crate) struct Load {
    record: Record,
    story: Story,
    began: Instant,
    addresses: Vec<String>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Sends clients to every member.
    pub(crate) fn on(cluster: &Cluster, story: &Story) -> Self {
        let addresses: Vec<_> = cluster.members.iter().map(Member::client_address).collect();
        let (stop, stopped) = watch::channel(false);
        let (record, began) = (Record::default(), Instant::now());
        let mut clients = JoinSet::new();
        for (member, address) in addresses.iter().enumerate() {
            for timeout in CLIENTS {
                let number = clients.len() as u64;
                let visitor = Visitor {
                    member,
                    client: client(address, timeout),
                    record: record.clone(),
                    began,
                    draws: story.draws(1_000 + number),
                    seen: BTreeMap::new(),
                };
                clients.spawn(visitor.stay(stopped.clone()));
            }
        }
        Self { record, story: story.clone(), began, addresses, stop, clients }
    }

    /// The record, for a call of the test's own.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// A write of the test's own that must be acknowledged in the end.
    pub(crate) async fn put(&self, client: &Client, member: usize, key: Key) {
        let value = self.record.new_value();
        let call = self.record.begins(key, Operation::Put(value));
        client.put(key_name(key), value.0.to_string()).await.unwrap();
        self.record.answered(call, member, Answer::Written);
    }

    /// Waits until these members answer calls that began after now.
    pub(crate) async fn answered_through(&self, members: &[usize]) {
        let answered =
            |record: &Record, member: usize| record.tally().answered.get(member).copied().unwrap_or(0);
        let before: Vec<_> = members.iter().map(|member| answered(&self.record, *member)).collect();
        until("answers through every member", PATIENCE, async || {
            let now: Vec<_> = members.iter().map(|member| answered(&self.record, *member)).collect();
            let enough = before.iter().zip(&now).all(|(before, now)| now - before >= ANSWERS_ENOUGH);
            if enough { Ok(()) } else { Err(format!("of {members:?}: {before:?} before, {now:?} now")) }
        })
        .await;
        self.story.tell(format!("answers through {members:?} again"));
    }

    /// Sends the clients home, reads every key through every member, and asserts that one copy of the data could have
    /// answered all that.
    pub(crate) async fn finish(mut self) {
        self.stop.send_replace(true);
        while let Some(left) = self.clients.join_next().await {
            left.unwrap();
        }
        let used = generation(self.began) * KEYS + KEYS;
        let readers = self.addresses.iter().enumerate().map(async |(member, address)| {
            let client = client(address, PATIENCE);
            for key in 0..used {
                read(&client, &self.record, member, key).await.unwrap_or_else(|error| {
                    panic!("key {key} cannot be read through member {member} in the end: {error}")
                });
            }
        });
        futures::future::join_all(readers).await;
        let tally = self.record.tally();
        self.story.say(&format!("{used} keys, {tally:?}"));
        let is_used = |answered: &usize| *answered >= used + ANSWERS_ENOUGH;
        assert!(tally.answered.iter().all(is_used), "a member answered next to nothing: {tally:?}");
        self.record.assert_linearizable();
    }
}

/// A client of this member alone.
pub(crate) fn client(address: &str, timeout: Duration) -> Client {
    Client::new(address).unwrap().with_timeout(timeout)
}

/// One recorded read through a member.
pub(crate) async fn read(
    client: &Client,
    record: &Record,
    member: usize,
    key: Key,
) -> Result<Option<Entry>, Error> {
    let call = record.begins(key, Operation::Read);
    let read = client.get(key_name(key)).await;
    match &read {
        Ok(entry) => record.answered(call, member, Answer::Holds(entry.as_ref().map(value_in))),
        Err(error) => record.failed(call, error),
    }
    read
}

/// How a key is called.
fn key_name(key: Key) -> String {
    format!("k/{key}")
}

fn value_in(entry: &Entry) -> Value {
    let text = std::str::from_utf8(&entry.value).unwrap();
    Value(text.parse().unwrap_or_else(|_| panic!("{entry:?} was written by nobody here")))
}

/// Which keys are in use.
fn generation(began: Instant) -> usize {
    usize::try_from(began.elapsed().as_millis() / KEYS_LAST.as_millis()).unwrap_or_default()
}

/// One client, with one call under way at a time.
struct Visitor {
    member: usize,
    client: Client,
    record: Record,
    began: Instant,
    draws: SmallRng,
    /// What it last saw of a key: compare-and-set goes by that. Missing: nothing that it could go by.
    seen: BTreeMap<Key, Option<(Value, ModifyIndex)>>,
}

impl Visitor {
    async fn stay(mut self, stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            let key = generation(self.began) * KEYS + self.draws.random_range(0..KEYS);
            self.seen.retain(|seen, _| *seen + KEYS > key);
            // What went wrong is in the record.
            let _ = self.call(key).await;
            sleep(self.draws.random_range(Duration::ZERO..REST_MAX)).await;
        }
    }

    async fn call(&mut self, key: Key) -> Result<(), Error> {
        let choice = self.draws.random_range(0..100);
        match (choice, self.seen.get(&key).copied()) {
            (0..30, _) => {
                let entry = read(&self.client, &self.record, self.member, key).await?;
                self.seen.insert(key, entry.map(|entry| (value_in(&entry), entry.modify_index)));
                Ok(())
            }
            (30..80, Some(seen)) if choice >= 50 => self.compare_and_set(key, seen).await,
            (80..88, Some(Some(seen))) => self.delete_if(key, seen).await,
            (88..100, _) => self.delete(key).await,
            _ => self.put(key).await,
        }
    }

    async fn put(&mut self, key: Key) -> Result<(), Error> {
        let value = self.record.new_value();
        let call = self.record.begins(key, Operation::Put(value));
        let outcome = self.client.put(key_name(key), value.0.to_string()).await;
        self.seen.remove(&key);
        let index = outcome.inspect_err(|error| self.record.failed(call, error))?;
        self.record.answered(call, self.member, Answer::Written);
        self.seen.insert(key, Some((value, index)));
        Ok(())
    }

    /// The key's index says as much as its value: no two writes of a test write the same.
    async fn compare_and_set(&mut self, key: Key, seen: Option<(Value, ModifyIndex)>) -> Result<(), Error> {
        let new = self.record.new_value();
        let expected = seen.map(|(value, _)| value);
        let call = self.record.begins(key, Operation::CompareAndSet { expected, new });
        let expected = seen.map(|(_, index)| index);
        let outcome = self.client.compare_and_set(key_name(key), expected, new.0.to_string()).await;
        self.seen.remove(&key);
        let answer = match outcome.inspect_err(|error| self.record.failed(call, error))? {
            CasOutcome::Written(index) => {
                self.seen.insert(key, Some((new, index)));
                Answer::Written
            }
            CasOutcome::Mismatch(_) => Answer::Mismatch,
        };
        self.record.answered(call, self.member, answer);
        Ok(())
    }

    async fn delete(&mut self, key: Key) -> Result<(), Error> {
        let call = self.record.begins(key, Operation::Delete);
        let outcome = self.client.delete(key_name(key)).await;
        self.seen.remove(&key);
        let existed = outcome.inspect_err(|error| self.record.failed(call, error))?;
        self.record.answered(call, self.member, Answer::Deleted { existed });
        self.seen.insert(key, None);
        Ok(())
    }

    async fn delete_if(&mut self, key: Key, seen: (Value, ModifyIndex)) -> Result<(), Error> {
        let call = self.record.begins(key, Operation::DeleteIf { expected: seen.0 });
        let outcome = self.client.compare_and_delete(key_name(key), seen.1).await;
        self.seen.remove(&key);
        let answer = match outcome.inspect_err(|error| self.record.failed(call, error))? {
            DeleteOutcome::Deleted { existed } => Answer::Deleted { existed },
            DeleteOutcome::Mismatch(_) => Answer::Mismatch,
        };
        self.record.answered(call, self.member, answer);
        Ok(())
    }
}
