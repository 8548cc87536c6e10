//! The network between members: it loses, delays, reorders and repeats messages, and is cut in pieces.
//!
//! A cut is a set of directed links, so that a one-way partition is as easy as a two-way one. Messages already on
//! their way when a link is cut still arrive: that is what real networks do.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

use super::options::Options;

/// A member's number in the simulation; it stays the same when the member comes back with another volume.
pub type MemberNumber = usize;

/// Which links are cut, and how the others behave. By default every link is up.
#[derive(Default)]
pub struct Network {
    cut: BTreeSet<(MemberNumber, MemberNumber)>,
    /// Faults have stopped: nothing is lost, repeated or late any more.
    healed_for_good: bool,
}

impl Network {
    /// After how long a message sent now arrives: empty when it is lost, twice when it is repeated.
    pub fn arrivals(
        &self,
        from: MemberNumber,
        to: MemberNumber,
        options: &Options,
        rng: &mut SmallRng,
    ) -> Vec<Duration> {
        if self.cut.contains(&(from, to)) {
            return Vec::new();
        }
        if self.healed_for_good {
            return vec![options.delay.0];
        }
        if rng.random_bool(options.loss) {
            return Vec::new();
        }
        let copies = if rng.random_bool(options.duplication) { 2 } else { 1 };
        (0..copies).map(|_| Self::delay(options, rng)).collect()
    }

    fn delay(options: &Options, rng: &mut SmallRng) -> Duration {
        let delay = rng.random_range(options.delay.0..=options.delay.1);
        if rng.random_bool(options.straggler) { delay * 10 } else { delay }
    }

    /// Cuts members into two sides, in both directions or only from the first side to the second.
    pub fn partition(&mut self, members: usize, rng: &mut SmallRng) -> String {
        self.cut.clear();
        let one_way = rng.random_bool(0.3);
        let side: BTreeSet<MemberNumber> = if rng.random_bool(0.5) {
            BTreeSet::from([rng.random_range(0..members)])
        } else {
            (0..members).filter(|_| rng.random_bool(0.5)).collect()
        };
        for a in 0..members {
            for b in 0..members {
                let crosses = side.contains(&a) && !side.contains(&b);
                if crosses {
                    self.cut.insert((a, b));
                    if !one_way {
                        self.cut.insert((b, a));
                    }
                }
            }
        }
        format!("{} {side:?} from the others", if one_way { "mute" } else { "cut" })
    }

    /// Puts every link back.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Faults stop: the network behaves from now on.
    pub fn heal_for_good(&mut self) {
        self.heal();
        self.healed_for_good = true;
    }
}
