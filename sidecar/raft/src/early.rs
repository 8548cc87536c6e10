//! Early pre-vote: an election without waiting for the timeout, on evidence (K12).
//!
//! ```text
//! leader's stream ends ─► fresh dial refused ─► forget the leader ─ 0-50 ms ─► pre-vote
//!                                                      ▲                          │ not won
//!                                                      └──── 50-150 ms ───────────┘
//! ```
//!
//! Silence is no evidence: a dial that times out may mean a cut network or a paused process. A
//! refused one means that the process is gone, or cannot be reached by us while it lives; then a
//! majority in the same place may depose it, which is safe and counted.
//! Invariant: it changes when we ask, never who is elected: terms, votes and logs decide as ever.
//! Who knows the leader still refuses (K10), so one member alone deposes nobody.

use std::time::Duration;

use quorate_mutants::{Mutant, broken};

use crate::limits::{EARLY_PRE_VOTE_PAUSE, EARLY_PRE_VOTE_SPREAD};
use crate::output::Event;
use crate::raft::{Raft, RoleState};
use crate::types::{Now, ServerId};

/// The leader we follow no more.
pub(crate) struct Early {
    pub(crate) leader: ServerId,
    /// One election timeout after the evidence: from then on attempts come as ever.
    until: Now,
}

impl Raft {
    /// The process at this server's address is gone; only news of our leader means something.
    pub(crate) fn process_gone(&mut self, id: &ServerId) {
        let is_of_leader = self.leader.as_ref() == Some(id) || broken(Mutant::K12);
        let is_leader = is_of_leader && matches!(self.role, RoleState::Follower);
        if !is_leader || !self.settings.early_pre_vote {
            return;
        }
        self.event(Event::LeaderGone { term: self.hard.term, leader: id.clone() });
        self.set_leader(None);
        self.early = Some(Early { leader: id.clone(), until: self.now.plus(self.settings.election_timeout) });
        // The first try at once, but not all in the same moment.
        let pause = self.draw(EARLY_PRE_VOTE_PAUSE);
        self.hurry(pause);
    }

    /// The next attempt comes early too, while nobody leads and the evidence is fresh.
    pub(crate) fn hurry_again(&mut self) {
        let pause = EARLY_PRE_VOTE_PAUSE + self.draw(EARLY_PRE_VOTE_SPREAD);
        self.hurry(pause);
    }

    /// A process that hands over does not compete (K43).
    fn hurry(&mut self, pause: Duration) {
        let is_fresh = self.early.as_ref().is_some_and(|early| self.now < early.until);
        if is_fresh && !self.is_handed_over {
            self.election_deadline = self.election_deadline.min(self.now.plus(pause));
        }
    }

    /// We were elected: by evidence, if it is still fresh.
    pub(crate) fn note_early_takeover(&mut self) {
        if let Some(early) = self.early.take_if(|early| self.now < early.until) {
            self.event(Event::TookOverEarly { term: self.hard.term, from: early.leader });
        }
    }
}
