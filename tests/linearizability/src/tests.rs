//! The checker itself: histories whose truth is known by hand, and a published checker beside it on small ones.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use todc_utils::{Action, History as TheirHistory, Specification, WGLChecker};

use super::register::{Answer, Operation, Value};
use super::search::{Finding, Recorded, search};

/// A call that lasts from one moment to another.
fn call(operation: Operation, began: u64, answered: u64, answer: Answer) -> Recorded {
    Recorded { operation, began, answered: Some((answered, answer)) }
}

fn put(value: u32, began: u64, answered: u64) -> Recorded {
    call(Operation::Put(Value(value)), began, answered, Answer::Written)
}

fn open_put(value: u32, began: u64) -> Recorded {
    Recorded { operation: Operation::Put(Value(value)), began, answered: None }
}

fn read(value: Option<u32>, began: u64, answered: u64) -> Recorded {
    call(Operation::Read, began, answered, Answer::Holds(value.map(Value)))
}

fn swap(expected: Option<u32>, new: u32, began: u64, answered: u64, answer: Answer) -> Recorded {
    let operation = Operation::CompareAndSet { expected: expected.map(Value), new: Value(new) };
    call(operation, began, answered, answer)
}

fn is_linearizable(calls: &[Recorded]) -> bool {
    match search(calls) {
        Finding::Linearizable => true,
        Finding::Broken { .. } => false,
        Finding::GaveUp => panic!("gave up on {} calls", calls.len()),
    }
}

#[test]
fn calls_that_overlap_may_take_effect_in_any_order() {
    assert!(is_linearizable(&[]));
    // The three writes must be ordered against the order of their beginnings.
    let writes = [put(1, 1, 10), put(2, 2, 11), put(3, 3, 12)];
    let reads = [read(Some(3), 4, 5), read(Some(2), 6, 7), read(Some(1), 8, 9)];
    assert!(is_linearizable(&[writes.as_slice(), &reads].concat()));
    assert!(is_linearizable(&[put(1, 1, 6), read(None, 2, 3), read(Some(1), 4, 5)]));
}

#[test]
fn a_stale_read_is_found() {
    assert!(!is_linearizable(&[put(1, 1, 2), put(2, 3, 4), read(Some(1), 5, 6)]));
    // Reads never go back, though the write is still under way.
    assert!(!is_linearizable(&[put(1, 1, 6), read(Some(1), 2, 3), read(None, 4, 5)]));
    // Nor does anybody read what was never written.
    assert!(!is_linearizable(&[put(1, 1, 2), read(Some(7), 3, 4)]));
}

#[test]
fn a_lost_write_is_found() {
    assert!(!is_linearizable(&[put(1, 1, 2), read(None, 3, 4)]));
}

#[test]
fn two_swaps_of_one_value_cannot_both_succeed() {
    let both =
        [put(1, 1, 2), swap(Some(1), 2, 3, 6, Answer::Written), swap(Some(1), 3, 4, 5, Answer::Written)];
    assert!(!is_linearizable(&both));
    let one =
        [put(1, 1, 2), swap(Some(1), 2, 3, 6, Answer::Written), swap(Some(1), 3, 4, 5, Answer::Mismatch)];
    assert!(is_linearizable(&one));
}

#[test]
fn a_call_without_an_answer_takes_effect_once_at_any_time_or_never() {
    let late = [open_put(1, 1), put(2, 2, 3), read(Some(2), 4, 5), read(Some(1), 6, 7)];
    assert!(is_linearizable(&late));
    assert!(is_linearizable(&late[..3]), "it may never take effect");
    // But only once: this is what a retry without deduplication looks like.
    let twice = [open_put(1, 1), read(Some(1), 2, 3), put(2, 4, 5), read(Some(1), 6, 7)];
    assert!(!is_linearizable(&twice));
    // And not before it began.
    assert!(!is_linearizable(&[read(Some(1), 1, 2), open_put(1, 3)]));
    // A condition that fails is explained by a write that nobody saw.
    let unseen = [put(1, 1, 2), open_put(2, 3), swap(Some(1), 3, 4, 5, Answer::Mismatch)];
    assert!(is_linearizable(&unseen));
    assert!(!is_linearizable(&[unseen[0], unseen[2]]));
}

#[test]
fn a_deletion_says_whether_anything_was_there() {
    let delete =
        |existed, began, answered| call(Operation::Delete, began, answered, Answer::Deleted { existed });
    assert!(is_linearizable(&[put(1, 1, 2), delete(true, 3, 4), delete(false, 5, 6), read(None, 7, 8)]));
    assert!(!is_linearizable(&[put(1, 1, 2), delete(true, 3, 4), delete(true, 5, 6)]));
    let delete_if = |expected, answer, began, answered| {
        call(Operation::DeleteIf { expected: Value(expected) }, began, answered, answer)
    };
    let mismatch = delete_if(2, Answer::Mismatch, 3, 4);
    assert!(is_linearizable(&[put(1, 1, 2), mismatch]));
    assert!(!is_linearizable(&[put(2, 1, 2), mismatch]));
}

#[test]
fn a_restore_leaves_what_the_archive_holds_whatever_was_there() {
    let restore = |archived: Option<u32>, began, answered| {
        call(Operation::Restore(archived.map(Value)), began, answered, Answer::Written)
    };
    assert!(is_linearizable(&[put(1, 1, 2), restore(Some(2), 3, 4), read(Some(2), 5, 6)]));
    assert!(is_linearizable(&[put(1, 1, 2), restore(None, 3, 4), read(None, 5, 6)]));
    assert!(!is_linearizable(&[put(1, 1, 2), restore(None, 3, 4), read(Some(1), 5, 6)]));
    assert!(!is_linearizable(&[restore(Some(2), 1, 2), put(1, 3, 4), read(Some(2), 5, 6)]));
}

/// K21: a lock has one holder, until that lets go of it or its session ends.
#[test]
fn a_lock_has_one_holder_at_a_time() {
    let acquire =
        |session, began, answered, answer| call(Operation::Acquire(Value(session)), began, answered, answer);
    let release =
        |session, began, answered, answer| call(Operation::Release(Value(session)), began, answered, answer);
    let end = |session, began| Recorded { operation: Operation::End(Value(session)), began, answered: None };
    let held_by = |session| Answer::Holds(Some(Value(session)));
    let first = acquire(1, 1, 2, Answer::Written);
    assert!(is_linearizable(&[first, acquire(2, 3, 4, held_by(1)), read(Some(1), 5, 6)]));
    assert!(is_linearizable(&[first, acquire(1, 3, 4, Answer::Written), read(Some(1), 5, 6)]));
    let second = acquire(2, 5, 6, Answer::Written);
    assert!(!is_linearizable(&[first, second]), "nobody let go of it");
    assert!(is_linearizable(&[first, release(1, 3, 4, Answer::Written), second]));
    assert!(!is_linearizable(&[first, release(2, 3, 4, Answer::Written)]), "another one holds it");
    assert!(is_linearizable(&[first, release(2, 3, 4, Answer::Mismatch), read(Some(1), 5, 6)]));
    // An end may come at any time after it could, and never before.
    assert!(is_linearizable(&[first, end(1, 3), second]));
    assert!(!is_linearizable(&[first, second, end(1, 7)]));
    assert!(!is_linearizable(&[first, end(2, 3), second]), "of another session");
    assert!(!is_linearizable(&[first, end(1, 3), second, read(Some(1), 7, 8)]), "it is over for good");
}

/// The search must stay cheap with many calls of unknown outcome, also when there is nothing to find.
#[test]
fn many_open_calls_do_not_make_it_give_up() {
    let mut calls: Vec<_> = (0..60).map(|number| open_put(1_000 + number, u64::from(number) + 1)).collect();
    for number in 0..400_u32 {
        let began = 100 + u64::from(number) * 4;
        calls.push(put(number, began, began + 1));
        calls.push(read(Some(number), began + 2, began + 3));
    }
    assert!(is_linearizable(&calls));
    calls.push(read(Some(3), 9_000, 9_001));
    assert!(!is_linearizable(&calls));
}

/// Our register as the other checker wants it: a call's answer is part of its response.
struct Register;

#[derive(Clone, Copy, Debug)]
struct Their {
    operation: Operation,
    answer: Option<Answer>,
}

impl Specification for Register {
    type State = Option<Value>;
    type Operation = Their;

    fn init() -> Self::State {
        None
    }

    fn apply(call: &Their, state: &Self::State) -> (bool, Self::State) {
        let (answer, after) = call.operation.apply(*state);
        // Without an answer, any is right. Such calls end after all others: there they explain nothing, which is
        // as good as never taking effect.
        (call.answer.is_none_or(|due| due == answer), after)
    }
}

fn theirs(calls: &[Recorded]) -> bool {
    let mut actions: Vec<(u64, usize, Action<Their>)> = Vec::new();
    for (client, call) in calls.iter().enumerate() {
        let answer = call.answered.map(|(_, answer)| answer);
        let their = Their { operation: call.operation, answer };
        let answered = call.answered.map_or(u64::MAX, |(answered, _)| answered);
        actions.push((call.began, client, Action::Call(their)));
        actions.push((answered, client, Action::Response(their)));
    }
    actions.sort_by_key(|(moment, client, _)| (*moment, *client));
    let actions = actions.into_iter().map(|(_, client, action)| (client, action)).collect();
    WGLChecker::<Register>::is_linearizable(TheirHistory::from_actions(actions))
}

fn operation() -> impl Strategy<Value = Operation> {
    let value = || (0_u32..4).prop_map(Value);
    prop_oneof![
        3 => Just(Operation::Read),
        2 => value().prop_map(Operation::Put),
        2 => (proptest::option::of(value()), value())
            .prop_map(|(expected, new)| Operation::CompareAndSet { expected, new }),
        1 => Just(Operation::Delete),
        1 => value().prop_map(|expected| Operation::DeleteIf { expected }),
        1 => proptest::option::of(value()).prop_map(Operation::Restore),
        2 => value().prop_map(Operation::Acquire),
        1 => value().prop_map(Operation::Release),
        1 => value().prop_map(Operation::End),
    ]
}

/// A history that one copy gave, except that some answers may be lies.
fn calls() -> impl Strategy<Value = Vec<Recorded>> {
    let one = (operation(), 0_u64..40, 1_u64..12, 0_u64..12, 0_u8..20);
    proptest::collection::vec(one, 1..12).prop_map(|drawn| {
        let mut ordered: Vec<_> = drawn
            .into_iter()
            .map(|(operation, began, before, after, fate)| (began + before, operation, began, after, fate))
            .collect();
        ordered.sort_by_key(|(effect, ..)| *effect);
        let mut state = None;
        let mut calls = Vec::new();
        for (number, (effect, operation, began, after, fate)) in ordered.into_iter().enumerate() {
            let (answer, next) = operation.apply(state);
            let answer = match (fate, answer) {
                (0, Answer::Holds(_)) => Answer::Holds(Some(Value(1))),
                (0, Answer::Written) => Answer::Mismatch,
                (0, Answer::Deleted { existed }) => Answer::Deleted { existed: !existed },
                _ => answer,
            };
            // Moments must differ: what is simultaneous has no order.
            let at = |moment: u64, side: u64| moment * 100 + side * 20 + number as u64;
            let answered = (fate < 16).then_some((at(effect + after, 1), answer));
            if fate != 19 {
                state = next;
            }
            calls.push(Recorded { operation, began: at(began, 0), answered });
        }
        calls
    })
}

/// Two checkers that agree on histories of one kind have not been compared.
#[test]
fn the_histories_compared_are_of_both_kinds() {
    let mut runner = TestRunner::deterministic();
    let drawn = (0..400).filter_map(|_| Some(calls().new_tree(&mut runner).ok()?.current()));
    let (yes, no): (Vec<_>, Vec<_>) = drawn.partition(|calls| is_linearizable(calls));
    assert!(yes.len() > 100 && no.len() > 50, "{} are linearizable, {} are not", yes.len(), no.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// raft.md §3: our checker and a published one (todc-utils) say the same of small histories.
    #[test]
    fn it_agrees_with_a_published_checker(calls in calls()) {
        prop_assert_eq!(is_linearizable(&calls), theirs(&calls));
    }
}
