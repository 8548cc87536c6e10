//! Tables of what a quorum holds and how an election stands, for one and two majorities (S3, S6, K14), and
//! slow clear oracles beside the fast rules.
//!
//! | command | says |
//! |---|---|
//! | `commit voters=(a,b) [and=(b,c)] a=5 b=3` | the greatest index a quorum holds; who is not named holds nothing |
//! | `vote voters=(a,b) [and=(b,c)] [yes=(a)] [no=(b)]` | whether an election with these votes is won, lost or open |
//!
//! `and` is the second half of a joint configuration; each half must give a majority.

use std::collections::{BTreeMap, BTreeSet};

use datadriven::TestCase;
use proptest::prelude::*;

use super::{Tally, quorum_index, tally};
use crate::types::{Incarnation, Index, RaftId, ServerId};

type Half = BTreeSet<ServerId>;

fn id(name: &str) -> ServerId {
    ServerId::new(RaftId::new(name).unwrap(), Incarnation(1))
}

fn borrowed(halves: &[Half]) -> Vec<BTreeSet<&ServerId>> {
    halves.iter().map(|half| half.iter().collect()).collect()
}

/// Every set of voters that is a majority of each half.
fn quorums(halves: &[Half]) -> Vec<BTreeSet<&ServerId>> {
    let all: Vec<&ServerId> = halves.iter().flatten().collect::<BTreeSet<_>>().into_iter().collect();
    let subset = |bits: u32| (0..all.len()).filter(|at| bits & (1 << at) != 0).map(|at| all[at]).collect();
    let subsets = (0..1_u32 << all.len()).map(subset);
    let is_quorum = |set: &BTreeSet<&ServerId>| {
        halves.iter().all(|half| 2 * half.iter().filter(|id| set.contains(id)).count() > half.len())
    };
    subsets.filter(is_quorum).collect()
}

/// Try every quorum: it holds what its last member holds.
fn slow_index(halves: &[Half], matched: &BTreeMap<ServerId, Index>) -> Index {
    let held = |id: &&ServerId| matched.get(*id).copied().unwrap_or_default();
    quorums(halves).iter().filter_map(|quorum| quorum.iter().map(held).min()).max().unwrap_or_default()
}

/// Try every way the votes that are still missing may come in.
fn slow_tally(halves: &[Half], votes: &BTreeMap<ServerId, bool>) -> Tally {
    let all: BTreeSet<&ServerId> = halves.iter().flatten().collect();
    let missing: Vec<&ServerId> = all.iter().copied().filter(|id| !votes.contains_key(*id)).collect();
    let ends: Vec<bool> = (0..1_u32 << missing.len())
        .map(|bits| {
            let yes = |id: &ServerId| match missing.iter().position(|other| *other == id) {
                Some(at) => bits & (1 << at) != 0,
                None => votes[id],
            };
            quorums(halves).iter().any(|quorum| quorum.iter().all(|id| yes(id)))
        })
        .collect();
    if ends.iter().all(|won| *won) {
        Tally::Won
    } else if ends.iter().any(|won| *won) {
        Tally::Open
    } else {
        Tally::Lost
    }
}

fn run(case: &TestCase) -> String {
    let names = |arg: &str| case.args.get(arg).cloned().unwrap_or_default();
    let half = |arg: &str| names(arg).iter().map(|name| id(name)).collect::<Half>();
    let mut halves = vec![half("voters")];
    if case.args.contains_key("and") {
        halves.push(half("and"));
    }
    match case.directive.as_str() {
        "commit" => {
            let numbers = case.args.iter().filter(|(name, _)| *name != "voters" && *name != "and");
            let matched: BTreeMap<ServerId, Index> =
                numbers.map(|(name, list)| (id(name), Index(list[0].parse().unwrap()))).collect();
            let fast = quorum_index(&borrowed(&halves), |id| matched.get(id).copied().unwrap_or_default());
            assert_eq!(fast, slow_index(&halves, &matched), "{case:?}");
            format!("{fast}\n")
        }
        "vote" => {
            let cast =
                |arg: &str, granted: bool| names(arg).into_iter().map(move |name| (id(&name), granted));
            let votes: BTreeMap<ServerId, bool> = cast("yes", true).chain(cast("no", false)).collect();
            let fast = tally(&borrowed(&halves), &votes);
            if halves.iter().all(|half| !half.is_empty()) {
                assert_eq!(fast, slow_tally(&halves, &votes), "{case:?}");
            }
            match fast {
                Tally::Won => "won\n",
                Tally::Lost => "lost\n",
                Tally::Open => "open\n",
            }
            .to_owned()
        }
        unknown => panic!("no such command: {unknown}"),
    }
}

#[test]
fn the_tables_of_quorums_read_as_written() {
    datadriven::walk(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tables/quorum"), |file| {
        file.run(|case| run(case));
    });
}

/// One or two halves of up to five of seven voters.
fn halves() -> impl Strategy<Value = Vec<Half>> {
    let half = proptest::collection::btree_set(0_u8..7, 1..6)
        .prop_map(|numbers| numbers.into_iter().map(|number| id(&format!("s{number}"))).collect::<Half>());
    proptest::collection::vec(half, 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() })]

    /// S6, K14: the fast rule finds what trying every quorum finds.
    #[test]
    fn the_quorum_index_is_what_the_best_quorum_holds(
        halves in halves(),
        matched in proptest::collection::btree_map(0_u8..7, 0_u64..9, 0..7),
    ) {
        let matched: BTreeMap<ServerId, Index> =
            matched.into_iter().map(|(number, index)| (id(&format!("s{number}")), Index(index))).collect();
        let fast = quorum_index(&borrowed(&halves), |id| matched.get(id).copied().unwrap_or_default());
        prop_assert_eq!(fast, slow_index(&halves, &matched));
    }

    /// S3, K14: an election is won when no missing vote can lose it, lost when none can win it.
    #[test]
    fn a_tally_says_what_every_end_of_the_election_says(
        halves in halves(),
        votes in proptest::collection::btree_map(0_u8..7, any::<bool>(), 0..7),
    ) {
        let votes: BTreeMap<ServerId, bool> =
            votes.into_iter().map(|(number, vote)| (id(&format!("s{number}")), vote)).collect();
        prop_assert_eq!(tally(&borrowed(&halves), &votes), slow_tally(&halves, &votes));
    }
}
