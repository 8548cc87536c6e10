//! K20: a tagged command is applied at most once, whatever is retried, repeated or delayed.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{apply, apply_tagged, flush, machine, next, put};
use crate::command::{ApiIndex, ClientId, Command, Owner, Tag, TxnOp};
use crate::limits::{CLIENT_OWN_RESULT_BYTES_MAX, CLIENT_RESULT_BYTES_MAX, CLIENT_WINDOW, CLIENTS_MAX};
use crate::machine::Machine;
use crate::outcome::{Outcome, Refusal};
use crate::tests::memory::Memory;

fn register(machine: &mut Machine<Memory>, owner: Option<&str>) -> ClientId {
    let owner = owner.map(|owner| Owner(owner.to_owned()));
    match apply(machine, Command::RegisterClient { owner }) {
        Outcome::Registered { client } => client,
        other => panic!("not registered: {other:?}"),
    }
}

fn tag(client: ClientId, sequence: u64, acked_below: u64) -> Tag {
    Tag { client, sequence, acked_below }
}

fn send(machine: &mut Machine<Memory>, tag: Tag, command: Command) -> Outcome {
    apply_tagged(machine, Some(tag), command)
}

fn members(machine: &mut Machine<Memory>, names: &[&str]) {
    let owners = names.iter().map(|name| Owner((*name).to_owned())).collect();
    machine.apply_configuration(next(machine), crate::meta::Era::default(), owners, Bytes::new());
}

/// A create-only write is the sharpest probe: a second application would answer differently.
fn create(key: &'static str) -> Command {
    Command::CompareAndSet { key: key.into(), value: "v".into(), flags: 0, expected: ApiIndex::MISSING }
}

/// A transaction whose result is as long as the value of `big`.
fn read_big() -> Command {
    Command::Txn(vec![TxnOp::Get { key: "big".into() }, TxnOp::Delete { key: "x".into() }])
}

fn is_expired(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(Refusal::SessionExpired { .. }))
}

/// K20: the retry of a write that had been applied gets the first answer, across a flush and a restart too.
#[test]
fn a_retry_gets_the_first_answer_and_changes_nothing() {
    let mut machine = machine();
    let client = register(&mut machine, None);
    let first = send(&mut machine, tag(client, 1, 0), create("lock"));
    assert!(matches!(first, Outcome::Written { .. }));
    apply(&mut machine, put("lock", "somebody else's"));
    assert_eq!(send(&mut machine, tag(client, 1, 0), create("lock")), first);
    assert!(flush(&mut machine));
    let mut machine = Machine::open(machine.base().clone()).unwrap();
    assert_eq!(send(&mut machine, tag(client, 1, 0), create("lock")), first);
    assert_eq!(machine.get(b"lock").unwrap().entry.unwrap().value, "somebody else's");
}

/// K20: what is below `acked_below` or beyond the window is refused, and the refusal leaves no trace.
#[test]
fn sequences_outside_the_window_are_refused_without_effect() {
    let mut machine = machine();
    let client = register(&mut machine, None);
    send(&mut machine, tag(client, 5, 5), put("a", "1"));
    let below = send(&mut machine, tag(client, 4, 0), put("a", "2"));
    assert_eq!(
        below,
        Outcome::Refused(Refusal::SequenceAcknowledged { client, sequence: 4, acked_below: 5 })
    );
    let beyond = send(&mut machine, tag(client, 6 + CLIENT_WINDOW, 6), put("a", "3"));
    assert!(matches!(beyond, Outcome::Refused(Refusal::WindowExceeded { acked_below: 6, .. })), "{beyond:?}");
    assert_eq!(machine.get(b"a").unwrap().entry.unwrap().value, "1");
    // The refused attempt's own acknowledgement did not count either: sequence 5 is still known.
    let again = send(&mut machine, tag(client, 5, 5), put("a", "4"));
    assert!(matches!(again, Outcome::Written { .. }), "{again:?}");
    assert_eq!(machine.get(b"a").unwrap().entry.unwrap().value, "1");
    let last = send(&mut machine, tag(client, 5 + CLIENT_WINDOW - 1, 5), put("a", "5"));
    assert!(matches!(last, Outcome::Written { .. }), "the window's last sequence is inside: {last:?}");
}

/// K20: the message speaks of this attempt only.
#[test]
fn an_unknown_client_is_told_that_earlier_outcomes_are_unknown() {
    let mut machine = machine();
    let outcome = send(&mut machine, tag(ClientId(77), 1, 0), put("a", "1"));
    let Outcome::Refused(refusal) = outcome else { panic!("applied: {outcome:?}") };
    let text = refusal.to_string();
    assert!(text.contains("this attempt was not applied"), "{text}");
    assert!(text.contains("the outcome of earlier attempts is unknown"), "{text}");
    assert_eq!(machine.get(b"a").unwrap().entry, None);
}

/// K20: at the limit the client whose last entry is oldest goes, members' own clients stay.
#[test]
fn the_longest_silent_client_is_evicted_and_members_clients_are_not() {
    let mut machine = machine();
    members(&mut machine, &["db-0"]);
    let own = register(&mut machine, Some("db-0"));
    let gone = register(&mut machine, Some("db-9"));
    let silent = register(&mut machine, None);
    let active = register(&mut machine, None);
    for _ in 4..CLIENTS_MAX {
        register(&mut machine, None);
    }
    assert!(!is_expired(&send(&mut machine, tag(active, 1, 0), put("a", "1"))));
    // Two more: the client of a server that is not in the configuration goes first, then the silent one.
    register(&mut machine, None);
    assert!(is_expired(&send(&mut machine, tag(gone, 1, 0), put("a", "2"))));
    register(&mut machine, None);
    assert!(is_expired(&send(&mut machine, tag(silent, 1, 0), put("a", "2"))));
    assert!(!is_expired(&send(&mut machine, tag(own, 1, 0), put("a", "3"))));
    assert!(!is_expired(&send(&mut machine, tag(active, 2, 0), put("a", "4"))));
}

/// K20: once its member has left the configuration, its client is evicted like any other.
#[test]
fn a_removed_members_client_is_evicted() {
    let mut machine = machine();
    members(&mut machine, &["db-0", "db-1"]);
    let client = register(&mut machine, Some("db-1"));
    for _ in 1..CLIENTS_MAX {
        register(&mut machine, None);
    }
    members(&mut machine, &["db-0"]);
    register(&mut machine, None);
    assert!(is_expired(&send(&mut machine, tag(client, 1, 0), put("a", "1"))));
}

/// K20: a restarted member registers again; only its newest client is spared, so restarts do not pile up.
#[test]
fn only_the_newest_client_of_a_member_is_spared() {
    let mut machine = machine();
    members(&mut machine, &["db-0"]);
    let first = register(&mut machine, Some("db-0"));
    let second = register(&mut machine, Some("db-0"));
    for _ in 2..=CLIENTS_MAX {
        register(&mut machine, None);
    }
    assert!(is_expired(&send(&mut machine, tag(first, 1, 0), put("a", "1"))));
    assert!(!is_expired(&send(&mut machine, tag(second, 1, 0), put("a", "1"))));
}

/// K29: one client's unacknowledged results are bounded by refusing its new commands, never by forgetting results.
#[test]
fn a_client_that_never_acknowledges_is_stopped_before_its_results_fill_memory() {
    let mut machine = machine();
    members(&mut machine, &["db-0"]);
    let client = register(&mut machine, Some("db-0"));
    apply(&mut machine, Command::Put { key: "big".into(), value: vec![7; 400_000].into(), flags: 0 });
    let first = send(&mut machine, tag(client, 0, 0), read_big());
    let mut sequence = 1;
    let refusal = loop {
        match send(&mut machine, tag(client, sequence, 0), read_big()) {
            Outcome::Refused(refusal) => break refusal,
            _ => sequence += 1,
        }
        assert!(sequence < 10, "never refused");
    };
    assert!(matches!(refusal, Refusal::ResultsUnacknowledged { limit: CLIENT_OWN_RESULT_BYTES_MAX, .. }));
    assert_eq!(send(&mut machine, tag(client, 0, 0), read_big()), first, "retries are still answered");
    let acknowledged = send(&mut machine, tag(client, sequence, sequence), read_big());
    assert!(matches!(acknowledged, Outcome::Txn(_)), "acknowledging lets it go on");
}

/// K29: all results together are bounded by evicting whole clients, the longest silent first.
#[test]
fn large_results_of_many_clients_evict_the_longest_silent() {
    let mut machine = machine();
    apply(&mut machine, Command::Put { key: "big".into(), value: vec![7; 500_000].into(), flags: 0 });
    let fit = CLIENT_RESULT_BYTES_MAX / 500_100;
    let clients: Vec<ClientId> = (0..fit + 2).map(|_| register(&mut machine, None)).collect();
    let without_results = register(&mut machine, None);
    for client in &clients {
        let outcome = send(&mut machine, tag(*client, 0, 0), read_big());
        assert!(matches!(outcome, Outcome::Txn(_)));
    }
    let retry =
        |machine: &mut _, client: &ClientId| is_expired(&send(machine, tag(*client, 0, 0), read_big()));
    let expired: Vec<bool> = clients.iter().map(|client| retry(&mut machine, client)).collect();
    assert_eq!(expired.iter().filter(|expired| **expired).count(), 2, "{expired:?}");
    assert!(expired[0] && expired[1], "the longest silent go first: {expired:?}");
    let spared = send(&mut machine, tag(without_results, 0, 0), put("a", "1"));
    assert!(!is_expired(&spared), "evicting it would have freed nothing");
}

#[derive(Clone, Debug)]
enum Event {
    /// The client sends its next command.
    Send,
    /// The network delivers a copy of something sent before: the first, a retry, or a late duplicate.
    Deliver(prop::sample::Index),
    /// The client learns the answer of its oldest open command.
    Learn,
    Flush,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Send),
        6 => any::<prop::sample::Index>().prop_map(Event::Deliver),
        2 => Just(Event::Learn),
        1 => Just(Event::Flush),
        1 => Just(Event::Restart),
    ]
}

/// A client and everything it ever sent.
struct Sender {
    client: ClientId,
    /// The tag as it was then, and the first answer once there was one.
    sent: Vec<(Tag, Option<Outcome>)>,
    acked_below: u64,
}

impl Sender {
    fn send(&mut self) {
        let tag =
            Tag { client: self.client, sequence: self.sent.len() as u64, acked_below: self.acked_below };
        self.sent.push((tag, None));
    }

    fn learn(&mut self) {
        let next = usize::try_from(self.acked_below).unwrap();
        if self.sent.get(next).is_some_and(|(_, first)| first.is_some()) {
            self.acked_below += 1;
        }
    }

    fn deliver(&mut self, machine: &mut Machine<Memory>, which: usize) {
        let (tag, first) = self.sent[which].clone();
        let key = Bytes::from(format!("effect/{which}"));
        let command =
            Command::CompareAndSet { key, value: "once".into(), flags: 0, expected: ApiIndex::MISSING };
        let before = machine.meta().keys.index;
        let outcome = send(machine, tag, command);
        let Some(first) = first else {
            assert!(matches!(outcome, Outcome::Written { .. }), "{outcome:?} is not a first effect");
            self.sent[which].1 = Some(outcome);
            return;
        };
        let is_forgotten = matches!(outcome, Outcome::Refused(Refusal::SequenceAcknowledged { .. }));
        assert!(outcome == first || is_forgotten, "{outcome:?} after {first:?}");
        assert!(!is_forgotten || tag.sequence < self.acked_below, "forgotten while the client waits");
        assert_eq!(machine.meta().keys.index, before, "a copy changed something");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// K20, P1: whatever copies arrive, however late, each command takes effect at most once, and every copy
    /// of a command the client still waits for gets the first answer.
    #[test]
    fn copies_of_a_command_take_effect_at_most_once(events in vec(event(), 1..80)) {
        let mut machine = machine();
        let client = register(&mut machine, None);
        let mut sender = Sender { client, sent: Vec::new(), acked_below: 0 };
        for event in events {
            match event {
                Event::Send => sender.send(),
                Event::Deliver(which) if !sender.sent.is_empty() => {
                    let which = which.index(sender.sent.len());
                    sender.deliver(&mut machine, which);
                }
                Event::Deliver(_) => {}
                Event::Learn => sender.learn(),
                Event::Flush => { flush(&mut machine); }
                Event::Restart => {
                    flush(&mut machine);
                    machine = Machine::open(machine.base().clone()).unwrap();
                }
            }
        }
    }
}

/// K18, K20: the end of the log is lost with a majority, and a client that registered there, or read there, goes on. What was
/// given out to it is given to nobody else: a conditional write on it fails, and its numbers are not taken for another
/// client's.
#[test]
fn what_was_given_out_in_the_lost_end_of_a_log_is_not_given_out_again() {
    let kept = |machine: &mut Machine<Memory>| {
        members(machine, &["db-0", "db-1", "db-2"]);
        apply(machine, put("key", "kept"));
    };
    let mut lost = machine();
    kept(&mut lost);
    // Where the survivor's log will have the configuration of one.
    apply(&mut lost, put("key", "first"));
    let client = register(&mut lost, None);
    let Outcome::Written { modify_index: seen } = apply(&mut lost, put("key", "lost")) else { panic!() };

    let mut survivor = machine();
    kept(&mut survivor);
    let era = crate::meta::Era { recovery_epoch: 1, ..crate::meta::Era::default() };
    survivor.apply_configuration(next(&survivor), era, vec![Owner("db-0".to_owned())], Bytes::new());
    for _ in 0..4 {
        assert_ne!(register(&mut survivor, None), client);
        let Outcome::Written { modify_index } = apply(&mut survivor, put("key", "later")) else { panic!() };
        assert!(modify_index > seen, "{modify_index} after {seen}");
        let stale = Command::CompareAndSet { key: "key".into(), value: "v".into(), flags: 0, expected: seen };
        assert!(matches!(apply(&mut survivor, stale), Outcome::Mismatch { .. }));
        assert!(is_expired(&send(&mut survivor, tag(client, 1, 0), put("key", "retry"))));
        apply(&mut survivor, put("key", "other"));
    }
    members(&mut survivor, &["db-0"]);
    let after = register(&mut survivor, None);
    assert!(after.0 < 2 * crate::limits::RECOVERY_INDEX_GAP, "once for each recovery: {after}");
}
