//! Sessions and locks, each rule as a story: the vectors of consul-http.md §9 as far as they are about the state.

use std::time::Duration;

use super::{apply, flush, machine, put};
use crate::base::Table;
use crate::command::{ApiIndex, Command, TxnOp};
use crate::entry::KvEntry;
use crate::limits::{LOCK_DELAY_MAX, SESSION_KEYS_MAX, SESSION_TTL_MAX, SESSION_TTL_MIN, SESSIONS_MAX};
use crate::machine::Machine;
use crate::outcome::{Obstacle, Outcome, Refusal};
use crate::session::{Behavior, SessionChecks, SessionEvent, SessionId, SessionSpec, Ttl};
use crate::tests::memory::Memory;
use crate::validate::Invalid;

const S: SessionId = SessionId(0x5);
const T: SessionId = SessionId(0x7);

fn spec(id: SessionId, behavior: Behavior, lock_delay: Duration) -> SessionSpec {
    let ttl = Ttl { duration: Duration::from_secs(15), text: "15.0s".to_owned() };
    let checks = SessionChecks::default();
    SessionSpec { id, name: "n".to_owned(), node: "db-0".to_owned(), behavior, ttl, lock_delay, checks }
}

fn create(machine: &mut Machine<Memory>, id: SessionId, behavior: Behavior, lock_delay: Duration) {
    let created = apply(machine, Command::CreateSession(Box::new(spec(id, behavior, lock_delay))));
    assert_eq!(created, Outcome::SessionCreated { session: id });
}

/// Two sessions that release, without a delay.
fn machine_with_sessions() -> Machine<Memory> {
    let mut machine = machine();
    // Real logs begin with a configuration.
    apply(&mut machine, put("other", "x"));
    create(&mut machine, S, Behavior::Release, Duration::ZERO);
    create(&mut machine, T, Behavior::Release, Duration::ZERO);
    machine
}

fn acquire(machine: &mut Machine<Memory>, value: &'static str, session: SessionId) -> Outcome {
    apply(machine, Command::Acquire { key: "l".into(), value: value.into(), flags: 0, session })
}

fn release(machine: &mut Machine<Memory>, value: &'static str, session: SessionId) -> Outcome {
    apply(machine, Command::Release { key: "l".into(), value: value.into(), flags: 0, session })
}

fn destroy(machine: &mut Machine<Memory>, session: SessionId) -> Outcome {
    apply(machine, Command::DestroySession { session })
}

fn lock(machine: &Machine<Memory>) -> Option<KvEntry> {
    machine.get(b"l").unwrap().entry
}

fn held(machine: &Machine<Memory>) -> KvEntry {
    lock(machine).unwrap()
}

/// Vector 53: the holder may repeat, and write; the count of locks stays.
#[test]
fn a_holder_acquires_again_and_only_writes() {
    let mut machine = machine_with_sessions();
    let first = acquire(&mut machine, "v", S);
    let entry = held(&machine);
    assert_eq!(first, Outcome::Acquired { modify_index: entry.modify_index, lock_index: 1 });
    assert_eq!((entry.session, entry.lock_index, &entry.value[..]), (Some(S), 1, &b"v"[..]));
    assert_eq!(acquire(&mut machine, "v", S), first, "an equal acquire changes nothing");
    assert_eq!(held(&machine), entry);
    acquire(&mut machine, "w", S);
    let again = held(&machine);
    assert_eq!((again.lock_index, &again.value[..]), (1, &b"w"[..]));
    assert!(again.modify_index > entry.modify_index);
}

/// Vector 54, K21: one holder at a time, and only a session that lives.
#[test]
fn a_key_has_one_holder() {
    let mut machine = machine_with_sessions();
    acquire(&mut machine, "v", S);
    let entry = held(&machine);
    assert_eq!(acquire(&mut machine, "t", T), Outcome::NotAcquired(Obstacle::Held { holder: S }));
    assert_eq!(held(&machine), entry);
    let unknown = SessionId(9);
    let refused = acquire(&mut machine, "u", unknown);
    let session = "00000000-0000-0000-0000-000000000009".to_owned();
    assert_eq!(refused, Outcome::Refused(Refusal::InvalidSession { session }));
    assert_eq!(held(&machine), entry);
}

/// Vector 55: only the holder releases, and writes doing so; the next lock counts one more.
#[test]
fn only_the_holder_releases() {
    let mut machine = machine_with_sessions();
    assert_eq!(release(&mut machine, "none", S), Outcome::NotHeld, "a missing key");
    acquire(&mut machine, "v", S);
    assert_eq!(release(&mut machine, "no", T), Outcome::NotHeld);
    assert!(matches!(release(&mut machine, "fin", S), Outcome::Written { .. }));
    let entry = held(&machine);
    assert_eq!((entry.session, entry.lock_index, &entry.value[..]), (None, 1, &b"fin"[..]));
    assert_eq!(release(&mut machine, "fin", S), Outcome::NotHeld);
    assert!(matches!(acquire(&mut machine, "v", S), Outcome::Acquired { lock_index: 2, .. }));
}

/// Vector 56: writes ignore locks and start their count anew; a deleted key is free at once.
#[test]
fn plain_writes_keep_the_holder_and_a_delete_frees_at_once() {
    let mut machine = machine();
    create(&mut machine, S, Behavior::Release, LOCK_DELAY_MAX);
    create(&mut machine, T, Behavior::Release, LOCK_DELAY_MAX);
    acquire(&mut machine, "v", S);
    apply(&mut machine, put("l", "o"));
    assert_eq!((held(&machine).session, held(&machine).lock_index), (Some(S), 0));
    acquire(&mut machine, "v", S);
    assert_eq!(held(&machine).lock_index, 0, "it holds the key already");
    let expected = held(&machine).modify_index;
    let cas = Command::CompareAndSet { key: "l".into(), value: "c".into(), flags: 0, expected };
    apply(&mut machine, cas);
    assert_eq!((held(&machine).session, held(&machine).lock_index), (Some(S), 0));
    apply(&mut machine, Command::Delete { key: "l".into(), expected: None });
    assert!(matches!(acquire(&mut machine, "t", T), Outcome::Acquired { lock_index: 1, .. }));
    destroy(&mut machine, S);
    assert_eq!(held(&machine).session, Some(T), "what S held before is not taken from T");
    apply(&mut machine, Command::DeletePrefix { prefix: "".into() });
    destroy(&mut machine, T);
    assert_eq!(machine.lock_delays().unwrap(), [], "the keys were gone before their sessions");
}

/// Vector 57, K21: an end frees the keys in its own entry, and nobody acquires them before the delay is over.
#[test]
fn an_ended_session_s_keys_are_free_after_the_delay() {
    let mut machine = machine_with_sessions();
    let other = SessionId(0x11);
    create(&mut machine, other, Behavior::Release, Duration::from_secs(3));
    acquire(&mut machine, "v", other);
    let before = held(&machine);
    assert_eq!(destroy(&mut machine, other), Outcome::Deleted { existed: true });
    let after = held(&machine);
    assert_eq!((after.session, after.lock_index, &after.value[..]), (None, 1, &b"v"[..]));
    assert_eq!(after.modify_index, ApiIndex(machine.applied().index));
    assert!(after.modify_index > before.modify_index);
    assert_eq!(machine.sessions_index(), after.modify_index);
    flush(&mut machine);
    let mut machine = Machine::open(machine.base().clone()).unwrap();
    assert_eq!(machine.lock_delays().unwrap(), [(other, Duration::from_secs(3))]);
    assert_eq!(acquire(&mut machine, "t", T), Outcome::NotAcquired(Obstacle::LockDelay));
    let free = Command::Acquire { key: "free".into(), value: "".into(), flags: 0, session: T };
    assert!(matches!(apply(&mut machine, free), Outcome::Acquired { .. }), "it did not hold this one");
    assert!(matches!(apply(&mut machine, put("l", "w")), Outcome::Written { .. }), "a write is no lock");
    let end = Command::EndLockDelay { session: other };
    assert_eq!(apply(&mut machine, end.clone()), Outcome::Deleted { existed: true });
    assert_eq!(apply(&mut machine, end), Outcome::Deleted { existed: false });
    assert!(matches!(acquire(&mut machine, "t", T), Outcome::Acquired { .. }));
    flush(&mut machine);
    let rows = machine.base().rows();
    assert!(rows[&Table::LockDelays].is_empty() && rows[&Table::DelayedKeys].is_empty());
    assert_eq!(rows[&Table::SessionKeys].len(), 2, "those of T");
}

/// Vector 58: with behavior delete the keys go, and whoever watches them hears of it; the delay holds all the same.
#[test]
fn an_ended_session_s_keys_are_deleted() {
    let mut machine = machine_with_sessions();
    let other = SessionId(0x11);
    create(&mut machine, other, Behavior::Delete, Duration::from_millis(1));
    acquire(&mut machine, "v", other);
    let before = machine.prefix_index(b"l").unwrap();
    destroy(&mut machine, other);
    assert_eq!(lock(&machine), None);
    assert!(machine.prefix_index(b"l").unwrap() > before);
    assert_eq!(acquire(&mut machine, "t", T), Outcome::NotAcquired(Obstacle::LockDelay));
    apply(&mut machine, Command::EndLockDelay { session: other });
    assert!(matches!(acquire(&mut machine, "t", T), Outcome::Acquired { lock_index: 1, .. }));
}

/// Vector 59: at most a minute; letting go oneself costs no delay, and neither does an end that held nothing.
#[test]
fn a_lock_delay_is_at_most_a_minute_and_only_after_an_end() {
    let mut machine = machine_with_sessions();
    let (long, idle) = (SessionId(0x11), SessionId(0x12));
    create(&mut machine, long, Behavior::Release, Duration::from_mins(5));
    create(&mut machine, idle, Behavior::Release, Duration::from_mins(5));
    acquire(&mut machine, "v", long);
    release(&mut machine, "v", long);
    assert!(matches!(acquire(&mut machine, "t", T), Outcome::Acquired { .. }));
    release(&mut machine, "t", T);
    destroy(&mut machine, idle);
    assert_eq!(machine.lock_delays().unwrap(), []);
    acquire(&mut machine, "v", long);
    machine.take_session_events();
    destroy(&mut machine, long);
    assert_eq!(machine.lock_delays().unwrap(), [(long, LOCK_DELAY_MAX)]);
    assert_eq!(machine.take_session_events(), [SessionEvent::Ended { id: long, lock_delay: LOCK_DELAY_MAX }]);
    assert_eq!(machine.session(long).unwrap().map(|session| session.spec.lock_delay), None);
}

/// Vectors 50 and 52: sessions are listed by ID with the index of their last change; an unknown one ends at once.
#[test]
fn sessions_are_listed_and_an_end_is_idempotent() {
    let mut machine = machine();
    assert_eq!(machine.sessions().unwrap().index, ApiIndex(1), "an index is never 0");
    create(&mut machine, T, Behavior::Delete, Duration::ZERO);
    create(&mut machine, S, Behavior::Release, Duration::from_secs(1));
    let list = machine.sessions().unwrap();
    assert_eq!(list.index, ApiIndex(2));
    assert_eq!(list.sessions.iter().map(|session| session.spec.id).collect::<Vec<_>>(), [S, T]);
    create(&mut machine, S, Behavior::Delete, Duration::ZERO);
    assert_eq!(machine.sessions().unwrap(), list, "the same ID is the same command again");
    apply(&mut machine, put("k", "v"));
    assert_eq!(machine.sessions_index(), list.index, "keys are not sessions");
    assert_eq!(destroy(&mut machine, S), Outcome::Deleted { existed: true });
    assert_eq!(machine.sessions_index(), ApiIndex(5));
    assert_eq!(destroy(&mut machine, S), Outcome::Deleted { existed: false });
    assert_eq!(machine.sessions_index(), ApiIndex(5));
    assert_eq!(machine.session(T).unwrap().unwrap().spec, spec(T, Behavior::Delete, Duration::ZERO));
}

/// The formats are on disks: these rows must be readable for as long as version 1 is.
#[test]
fn version_1_rows_are_what_they_were() {
    let mut machine = machine();
    create(&mut machine, S, Behavior::Release, Duration::from_secs(3));
    create(&mut machine, T, Behavior::Release, Duration::from_secs(3));
    acquire(&mut machine, "v", T);
    destroy(&mut machine, T);
    acquire(&mut machine, "v", S);
    apply(&mut machine, Command::Acquire { key: "s".into(), value: "v".into(), flags: 0, session: S });
    flush(&mut machine);
    let rows = machine.base().rows();
    let row = |table, key: &[u8]| rows[&table][key].to_vec();
    let s = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05";
    let t = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07";
    let ttl = b"\x80\xac\xc7\xf0\x37\x0515.0s\x80\xbc\xc1\x96\x0b\0";
    let session = [b"\x01\x01\x10", &s[..], b"\x01n\x04db-0\0", ttl].concat();
    assert_eq!(row(Table::Sessions, s), session);
    assert_eq!(row(Table::LockDelays, t), b"\x01\x80\xbc\xc1\x96\x0b");
    assert_eq!(row(Table::DelayedKeys, b"l"), t);
    assert_eq!(row(Table::SessionKeys, &[&t[..], b"l"].concat()), b"");
    assert_eq!(row(Table::SessionKeys, &[&s[..], b"s"].concat()), b"");
    let head = b"\x01\0\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x10";
    assert_eq!(row(Table::Keys, b"s"), [&head[..], s, b"v"].concat());
}

fn txn(machine: &mut Machine<Memory>, ops: Vec<TxnOp>) -> Result<Vec<KvEntry>, Vec<(u32, String)>> {
    match apply(machine, Command::Txn(ops)) {
        Outcome::Txn(entries) => Ok(entries),
        Outcome::TxnFailed(failures) => {
            Err(failures.into_iter().map(|failure| (failure.op_index, failure.reason.to_string())).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn lock_op(session: &str) -> TxnOp {
    TxnOp::Lock { key: "k".into(), value: "".into(), flags: 23, session: session.to_owned() }
}

fn unlock_op(session: &str) -> TxnOp {
    TxnOp::Unlock { key: "k".into(), value: "".into(), flags: 0, session: session.to_owned() }
}

fn check_op(session: &str) -> TxnOp {
    TxnOp::CheckSession { key: "k".into(), session: session.to_owned() }
}

/// Vectors 61 and 62.
#[test]
fn a_transaction_locks_and_names_what_is_no_session() {
    let mut machine = machine_with_sessions();
    let get = || TxnOp::Get { key: "k".into() };
    let results = txn(&mut machine, vec![lock_op(&S.to_string()), get()]).unwrap();
    for entry in &results {
        assert_eq!((entry.lock_index, entry.session, entry.flags), (1, Some(S), 23));
    }
    let expected = results[0].modify_index;
    let cas = TxnOp::Cas { key: "k".into(), value: "c".into(), flags: 0, expected };
    let results = txn(&mut machine, vec![cas, get()]).unwrap();
    let found = &results[1];
    assert_eq!((found.session, found.lock_index, found.flags), (Some(S), 0, 0));
    assert_eq!(found.create_index, expected);

    let missing = || TxnOp::Get { key: "missing".into() };
    let failures = txn(&mut machine, vec![lock_op(""), missing(), lock_op("nope")]).unwrap_err();
    assert_eq!(failures[0], (0, "missing session".to_owned()));
    assert_eq!(failures[1], (1, "key \"missing\" doesn't exist".to_owned()));
    assert_eq!(failures[2], (2, "invalid session \"nope\"".to_owned()));
}

/// Vector 67: what Vault's storage relies on to notice that it lost its lock.
#[test]
fn a_transaction_stops_when_its_session_lost_the_key() {
    let mut machine = machine_with_sessions();
    txn(&mut machine, vec![lock_op(&S.to_string())]).unwrap();
    let set = || TxnOp::Set { key: "d".into(), value: "1".into(), flags: 0 };
    let results = txn(&mut machine, vec![check_op(&S.to_string()), set()]).unwrap();
    assert_eq!((results.len(), &results[0].value[..]), (2, &b""[..]));
    let other = txn(&mut machine, vec![check_op("")]).unwrap_err();
    assert_eq!(other[0].1, format!("failed session check for key \"k\", current session \"{S}\" != \"\""));
    apply(&mut machine, Command::Delete { key: "d".into(), expected: None });
    destroy(&mut machine, S);
    let failures = txn(&mut machine, vec![check_op(&S.to_string()), set()]).unwrap_err();
    assert_eq!(
        failures,
        [(0, format!("failed session check for key \"k\", current session \"\" != \"{S}\""))]
    );
    assert!(txn(&mut machine, vec![check_op("")]).is_ok(), "nobody holds it");
    apply(&mut machine, Command::Delete { key: "k".into(), expected: None });
    let failures = txn(&mut machine, vec![check_op(&S.to_string()), set()]).unwrap_err();
    assert_eq!(failures, [(0, "failed to check session, key \"k\" doesn't exist".to_owned())]);
    assert_eq!(machine.get(b"d").unwrap().entry, None);
}

/// Vector 69.
#[test]
fn a_transaction_names_why_a_key_was_not_locked_or_unlocked() {
    let mut machine = machine_with_sessions();
    let other = SessionId(0x11);
    create(&mut machine, other, Behavior::Release, Duration::from_secs(9));
    let theirs = other.to_string();
    txn(&mut machine, vec![lock_op(&theirs)]).unwrap();
    let failures = txn(&mut machine, vec![lock_op(&T.to_string()), unlock_op(&T.to_string())]).unwrap_err();
    assert_eq!(failures[0].1, "failed to lock key \"k\", lock is already held");
    assert_eq!(failures[1].1, "failed to unlock key \"k\", lock isn't held, or is held by another session");
    assert_eq!(txn(&mut machine, vec![unlock_op("")]).unwrap_err()[0].1, "missing session");
    destroy(&mut machine, other);
    let failures = txn(&mut machine, vec![lock_op(&T.to_string())]).unwrap_err();
    assert_eq!(failures[0].1, "failed to lock key \"k\" due to lock delay");
    apply(&mut machine, Command::EndLockDelay { session: other });
    txn(&mut machine, vec![lock_op(&T.to_string()), unlock_op(&T.to_string())]).unwrap();
    assert_eq!(machine.get(b"k").unwrap().entry.unwrap().session, None);
}

/// K25: a session ends in one entry, so what it holds is bounded; keys that went by themselves do not count.
#[test]
fn a_session_holds_a_bounded_number_of_keys() {
    let mut machine = machine_with_sessions();
    let acquire = |machine: &mut Machine<Memory>, at: usize| {
        let key = format!("many/{at}").into();
        apply(machine, Command::Acquire { key, value: "".into(), flags: 0, session: S })
    };
    for at in 0..SESSION_KEYS_MAX {
        assert!(matches!(acquire(&mut machine, at), Outcome::Acquired { .. }), "{at}");
    }
    let limit = SESSION_KEYS_MAX;
    let refused = Outcome::Refused(Refusal::TooManySessionKeys { session: S, limit });
    assert_eq!(acquire(&mut machine, limit), refused);
    assert!(matches!(acquire(&mut machine, 0), Outcome::Acquired { .. }), "it holds this one already");
    apply(&mut machine, Command::DeletePrefix { prefix: "many/1".into() });
    assert!(matches!(acquire(&mut machine, limit), Outcome::Acquired { .. }), "a tree of them was deleted");
    destroy(&mut machine, S);
    flush(&mut machine);
    assert!(machine.base().rows()[&Table::SessionKeys].is_empty());
}

/// K25: sessions and lock delays together have a limit, and an end gives the place back.
#[test]
fn sessions_and_delays_have_a_limit_together() {
    let mut machine = machine();
    let id = |at: u64| SessionId(u128::from(at) + 1);
    for at in 0..SESSIONS_MAX {
        create(&mut machine, id(at), Behavior::Release, Duration::from_secs(1));
    }
    let one_more = |machine: &mut Machine<Memory>| {
        let spec = spec(id(SESSIONS_MAX), Behavior::Release, Duration::ZERO);
        apply(machine, Command::CreateSession(Box::new(spec)))
    };
    let refused = Outcome::Refused(Refusal::TooManySessions { limit: SESSIONS_MAX });
    assert_eq!(one_more(&mut machine), refused);
    acquire(&mut machine, "v", id(0));
    destroy(&mut machine, id(0));
    assert_eq!(one_more(&mut machine), refused, "its lock delay has its place");
    apply(&mut machine, Command::EndLockDelay { session: id(0) });
    assert!(matches!(one_more(&mut machine), Outcome::SessionCreated { .. }));
}

/// Vector 47, A35: a TTL is none, or within the limits.
#[test]
fn a_ttl_out_of_range_is_refused_in_consul_s_words() {
    let with = |duration: Duration| {
        let ttl = Ttl { duration, text: String::new() };
        Command::CreateSession(Box::new(SessionSpec { ttl, ..spec(S, Behavior::Release, Duration::ZERO) }))
            .validate()
    };
    for good in [Duration::ZERO, SESSION_TTL_MIN, SESSION_TTL_MAX] {
        assert_eq!(with(good), Ok(()));
    }
    for bad in
        [SESSION_TTL_MIN.saturating_sub(Duration::from_nanos(1)), SESSION_TTL_MAX + Duration::from_secs(1)]
    {
        assert_eq!(with(bad), Err(Invalid::SessionTtl { nanoseconds: bad.as_nanos() }));
    }
    assert_eq!(
        with(Duration::from_secs(5)).unwrap_err().to_string(),
        "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]"
    );
}
