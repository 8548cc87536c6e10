//! The network between members: it loses, delays, reorders and repeats messages, is cut in pieces and clogs.
//!
//! A cut is a set of directed links, so that a one-way partition is as easy as a two-way one. Messages already on
//! their way when a link is cut still arrive: that is what real networks do. A clogged link loses nothing and
//! holds everything back, so that much arrives at once, late and in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

use super::coverage::{Coverage, Happening};
use super::options::Links;

/// A member's number in the simulation; it stays the same when the member comes back with another volume.
pub type MemberNumber = usize;

/// How much later than the end of a clog what was held arrives at most.
const UNCLOGGED_MS_MAX: u64 = 30;

/// Which links are cut or clogged. By default every link is up.
#[derive(Default)]
pub struct Network {
    cut: BTreeSet<(MemberNumber, MemberNumber)>,
    /// Until when.
    clogged: BTreeMap<(MemberNumber, MemberNumber), Duration>,
    /// Faults have stopped: nothing is lost, repeated or late any more.
    healed_for_good: bool,
}

impl Network {
    /// After how long a message sent now arrives: empty when it is lost, twice when it is repeated.
    pub fn arrivals(
        &self,
        link: (MemberNumber, MemberNumber),
        now: Duration,
        links: &Links,
        (rng, coverage): (&mut SmallRng, &mut Coverage),
    ) -> Vec<Duration> {
        if self.healed_for_good {
            return vec![links.delay.0];
        }
        if self.cut.contains(&link) || rng.random_bool(links.loss) {
            coverage.hit(Happening::MessageLost);
            return Vec::new();
        }
        let held = self.clogged.get(&link).map_or(Duration::ZERO, |until| until.saturating_sub(now));
        if held > Duration::ZERO {
            coverage.hit(Happening::MessageClogged);
            let late = Duration::from_millis(rng.random_range(0..UNCLOGGED_MS_MAX));
            return vec![held + late];
        }
        let copies = if rng.random_bool(links.duplication) { 2 } else { 1 };
        if copies > 1 {
            coverage.hit(Happening::MessageRepeated);
        }
        (0..copies).map(|_| links.delay(rng)).collect()
    }

    /// Whether nothing can be sent over this link.
    pub fn is_cut(&self, link: (MemberNumber, MemberNumber)) -> bool {
        self.cut.contains(&link)
    }

    /// Cuts `side` off from the others, in both directions or only from it to them.
    pub fn cut(&mut self, side: &BTreeSet<MemberNumber>, members: usize, is_one_way: bool) {
        self.cut.clear();
        for (inside, outside) in crossing(side, members) {
            self.cut.insert((inside, outside));
            if !is_one_way {
                self.cut.insert((outside, inside));
            }
        }
    }

    /// Clogs what `side` says to the others until `until`.
    pub fn clog(&mut self, side: &BTreeSet<MemberNumber>, members: usize, until: Duration) {
        self.clogged.extend(crossing(side, members).map(|link| (link, until)));
    }

    /// Puts every link back.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.clogged.clear();
    }

    /// Faults stop: the network behaves from now on.
    pub fn heal_for_good(&mut self) {
        self.heal();
        self.healed_for_good = true;
    }
}

impl Links {
    /// How long a message takes.
    pub fn delay(&self, rng: &mut SmallRng) -> Duration {
        let delay = rng.random_range(self.delay.0..=self.delay.1);
        if rng.random_bool(self.straggler) { delay * 10 } else { delay }
    }
}

/// The links from a side to the rest.
fn crossing(
    side: &BTreeSet<MemberNumber>,
    members: usize,
) -> impl Iterator<Item = (MemberNumber, MemberNumber)> {
    let outside = (0..members).filter(|number| !side.contains(number));
    outside.flat_map(|outside| side.iter().map(move |inside| (*inside, outside)))
}

/// Members drawn for one side of a cut: one alone, or each with a coin.
pub fn draw_side(members: usize, rng: &mut SmallRng) -> BTreeSet<MemberNumber> {
    if rng.random_bool(0.5) {
        BTreeSet::from([rng.random_range(0..members)])
    } else {
        (0..members).filter(|_| rng.random_bool(0.5)).collect()
    }
}
