//! Counting: pure arithmetic over one or two sets of voters (K14).
//!
//! A decision needs a majority of *each* set. Non-voters are in no set, so they cannot count
//! (N1), and an identity with another incarnation is another element (K1).

use std::collections::{BTreeMap, BTreeSet};

use quorate_mutants::{Mutant, broken};

use crate::types::{Index, ServerId};

/// The sets of voters of which each must give a majority.
pub(crate) type Majorities<'a> = [BTreeSet<&'a ServerId>];

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    Won,
    /// No majority is possible any more.
    Lost,
    Open,
}

/// The smallest number of voters of which any two groups share one.
pub(crate) const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Whether those for whom `holds` form a quorum. No voters, no quorum: a majority is at least one.
pub(crate) fn is_quorum(majorities: &Majorities<'_>, holds: impl Fn(&ServerId) -> bool) -> bool {
    let decide =
        |voters: &BTreeSet<&ServerId>| voters.iter().filter(|id| holds(id)).count() >= majority(voters.len());
    !majorities.is_empty() && majorities.iter().all(decide)
}

/// The greatest index that a quorum holds.
pub(crate) fn quorum_index(majorities: &Majorities<'_>, matched: impl Fn(&ServerId) -> Index) -> Index {
    let of_one = |voters: &BTreeSet<&ServerId>| {
        let mut indexes: Vec<Index> = voters.iter().map(|id| matched(id)).collect();
        // Sorted downwards, the entry at majority-1 is held by a majority.
        indexes.sort_unstable_by(|a, b| b.cmp(a));
        indexes.get(majority(indexes.len()) - 1).copied().unwrap_or_default()
    };
    majorities.iter().map(of_one).min().unwrap_or_default()
}

/// How an election stands with these votes.
pub(crate) fn tally(majorities: &Majorities<'_>, votes: &BTreeMap<ServerId, bool>) -> Tally {
    let granted = || votes.values().filter(|granted| **granted).count();
    let by_anybody = || majorities.first().is_some_and(|voters| granted() >= majority(voters.len()));
    if is_quorum(majorities, |id| votes.get(id) == Some(&true)) || broken(Mutant::K9) && by_anybody() {
        Tally::Won
    } else if is_quorum(majorities, |id| votes.get(id) != Some(&false)) {
        Tally::Open
    } else {
        Tally::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, RaftId};
    use proptest::prelude::*;

    fn ids(count: u8) -> Vec<ServerId> {
        (0..count)
            .map(|n| ServerId::new(RaftId::new(&format!("s{n}")).unwrap(), Incarnation(u128::from(n))))
            .collect()
    }

    /// The oracle: try every index and count.
    fn slow_quorum_index(halves: &[Vec<u64>]) -> u64 {
        if halves.is_empty() {
            return 0;
        }
        let holds = |half: &Vec<u64>, index: u64| {
            2 * half.iter().filter(|matched| **matched >= index).count() > half.len()
        };
        (0..=20).rev().find(|index| halves.iter().all(|half| holds(half, *index))).unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        /// S6, K14: the fast rule and counting by hand agree, for one set and for two.
        #[test]
        fn the_quorum_index_equals_that_of_a_dumb_oracle(
            matched in proptest::collection::vec(0_u64..20, 9),
            first in 1_usize..=9,
            second in proptest::option::of((0_usize..5, 1_usize..=4)),
        ) {
            let ids = ids(9);
            let second = second.map(|(start, count)| start..start + count);
            let ranges: Vec<std::ops::Range<usize>> = std::iter::once(0..first).chain(second).collect();
            let halves: Vec<BTreeSet<&ServerId>> =
                ranges.iter().map(|range| ids[range.clone()].iter().collect()).collect();
            let numbers: Vec<Vec<u64>> = ranges.iter().map(|range| matched[range.clone()].to_vec()).collect();
            let lookup = |id: &ServerId| Index(matched[usize::try_from(id.incarnation.0).unwrap()]);
            prop_assert_eq!(quorum_index(&halves, lookup).0, slow_quorum_index(&numbers));
        }

        /// S3: an election is won with a majority of yes, lost once a majority of yes is impossible.
        #[test]
        fn a_tally_is_won_lost_or_open_as_counting_says(votes in proptest::collection::vec(0_u8..3, 1..9)) {
            let ids = ids(u8::try_from(votes.len()).unwrap());
            let cast: BTreeMap<ServerId, bool> = ids.iter().cloned().zip(&votes)
                .filter(|(_, vote)| **vote < 2).map(|(id, vote)| (id, *vote == 1)).collect();
            let count = |kind| votes.iter().filter(|vote| **vote == kind).map(|_| 1).sum::<usize>();
            let (yes, no) = (count(1), count(0));
            let expected = if 2 * yes > votes.len() { Tally::Won }
                else if 2 * (votes.len() - no) > votes.len() { Tally::Open }
                else { Tally::Lost };
            prop_assert_eq!(tally(&[ids.iter().collect()], &cast), expected);
        }
    }

    #[test]
    fn without_voters_nothing_is_decided() {
        assert!(!is_quorum(&[], |_| true));
        assert!(!is_quorum(&[BTreeSet::new()], |_| true));
        assert_eq!(quorum_index(&[], |_| Index(7)), Index(0));
    }
}

#[cfg(test)]
#[path = "../tests/tables/quorum.rs"]
mod tables;
