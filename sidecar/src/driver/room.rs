//! Free space of the data volumes: our own, and what the voters say of theirs (K8).
//!
//! Each member judges its own volume. Whoever answers a leader says how it is with every frame of answers, and that counts
//! as long as the connection; of a member that says nothing, or is of a build that cannot, the volume counts as one with
//! room. What a leader does with it is refuse growing writes at its door: the core knows nothing of disks.

use std::collections::BTreeSet;

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Configuration, RaftId, ServerId, Suffrage};

/// What this member knows of free space.
#[derive(Debug, Default)]
pub(super) struct Room {
    is_low_here: bool,
    /// Whose volumes are below the floor, as they say.
    low_there: BTreeSet<ServerId>,
}

impl Room {
    /// Our own volume; whether that is news.
    pub(super) fn look(&mut self, is_low: bool) -> bool {
        std::mem::replace(&mut self.is_low_here, is_low) != is_low
    }

    /// What a peer says of its volume.
    pub(super) fn hear(&mut self, peer: ServerId, is_low: bool) {
        if is_low {
            self.low_there.insert(peer);
        } else {
            self.low_there.remove(&peer);
        }
    }

    /// The connection over which it spoke ended.
    pub(super) fn forget(&mut self, peer: &ServerId) {
        self.low_there.remove(peer);
    }

    pub(super) fn is_low_here(&self) -> bool {
        self.is_low_here
    }

    /// The voters whose volumes are low, if they are a majority, of either half while there are two (K14): without them
    /// nothing is committed, so what is written would go to volumes without room. Empty if they are none.
    pub(super) fn low_majority(&self, own: &ServerId, configuration: &Configuration) -> Vec<RaftId> {
        let is_low = |id: &ServerId| {
            if id == own { self.is_low_here } else { self.low_there.contains(id) }
        };
        let is_majority = |voters: &BTreeSet<&ServerId>| {
            voters.iter().filter(|id| is_low(id)).count() > voters.len() / 2 && !broken(Mutant::K8Majority)
        };
        if !configuration.majorities().iter().any(is_majority) {
            return Vec::new();
        }
        let low = configuration.servers().iter().filter(|server| server.suffrage != Suffrage::NonVoter);
        low.filter(|server| is_low(&server.id)).map(|server| server.id.raft_id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use quorate_raft::{Address, Incarnation, Intent, Server};

    use super::*;

    fn id(name: &str) -> ServerId {
        ServerId::new(RaftId::new(name).unwrap(), Incarnation(1))
    }

    fn configuration(servers: &[(&str, Suffrage)]) -> Configuration {
        let server = |(name, suffrage): &(&str, Suffrage)| Server {
            id: id(name),
            address: Address::new("db:7400").unwrap(),
            suffrage: *suffrage,
            intent: Intent::Voter,
        };
        Configuration::new(servers.iter().map(server).collect()).unwrap()
    }

    fn low(room: &Room, configuration: &Configuration) -> String {
        let names = room.low_majority(&id("a"), configuration);
        names.iter().map(RaftId::as_str).collect::<Vec<_>>().join(" ")
    }

    /// K8: a majority of the voters, the leader counted as one of them; who has no vote counts for nothing, and neither
    /// does another directory under a voter's name (K1).
    #[test]
    fn a_majority_of_the_voters_counts_and_nobody_else() {
        use Suffrage::{NonVoter, Voter};
        let three =
            configuration(&[("a", Voter), ("b", Voter), ("c", Voter), ("n", NonVoter), ("o", NonVoter)]);
        let mut room = Room::default();
        for (peer, expected) in [("n", ""), ("o", ""), ("b", ""), ("c", "b c")] {
            room.hear(id(peer), true);
            assert_eq!(low(&room, &three), expected, "{peer}");
        }
        room.hear(ServerId::new(RaftId::new("b").unwrap(), Incarnation(2)), true);
        room.hear(id("b"), false);
        assert_eq!(low(&room, &three), "");
        assert!(room.look(true) && !room.look(true));
        assert_eq!(low(&room, &three), "a c", "our own volume is one of them");
        let four = configuration(&[("a", Voter), ("b", Voter), ("c", Voter), ("d", Voter)]);
        assert_eq!(low(&room, &four), "", "half is no majority");
    }

    /// K8: what is not known counts as room; K24: and it is known as long as the connection.
    #[test]
    fn a_connection_that_ended_says_nothing_any_more() {
        let voters = configuration(&[("a", Suffrage::Voter), ("b", Suffrage::Voter), ("c", Suffrage::Voter)]);
        let mut room = Room::default();
        room.hear(id("b"), true);
        room.hear(id("c"), true);
        assert_eq!(low(&room, &voters), "b c");
        room.forget(&id("c"));
        assert_eq!(low(&room, &voters), "");
    }

    /// K8, K14: while there are two halves, both must commit, so that a majority of either is enough to stop.
    #[test]
    fn while_joint_a_majority_of_either_half_counts() {
        let servers = [
            ("a", Suffrage::Voter),
            ("b", Suffrage::Voter),
            ("old", Suffrage::Outgoing),
            ("new", Suffrage::Incoming),
        ];
        let joint = configuration(&servers);
        for (half, expected) in [("old", "b old"), ("new", "b new")] {
            let mut room = Room::default();
            room.hear(id("b"), true);
            room.hear(id(half), true);
            assert_eq!(low(&room, &joint), expected);
        }
        let mut room = Room::default();
        room.hear(id("old"), true);
        room.hear(id("new"), true);
        assert_eq!(low(&room, &joint), "");
    }
}
