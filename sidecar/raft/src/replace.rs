//! Replace: a voter for a caught-up non-voter, entered and left as one change (K14, raft.md 6b).
//!
//! ```text
//! {a b c} + n      joint entry in the log        committed, in the leader's own term    leave committed
//! ───────────────► {a b c} and {a b n} decide ──► leave entry in the log: {a b n} ─────► answered
//! ```
//!
//! Whoever leads appends the leave entry, be it another one than who entered; it asks nobody's leave
//! (K13's checks were passed at enter). A swap by single changes would pass through an even number
//! of voters, or through one voter less: neither happens here.
//! Invariant: a leave entry stands right behind its committed joint entry, no configuration between.

use quorate_mutants::{Mutant, broken};

use crate::entry::Payload;
use crate::limits::REPLACED_SILENCE;
use crate::membership::{Configuration, Intent, Suffrage};
use crate::raft::Raft;
use crate::refusal::Refusal;
use crate::types::ServerId;

impl Configuration {
    /// The new half alone. Who took a vote has nobody left to replace: it is a voter like any other.
    pub(crate) fn left(&self) -> Self {
        let mut servers = self.servers().to_vec();
        servers.retain(|server| server.suffrage != Suffrage::Outgoing);
        for server in servers.iter_mut().filter(|server| server.suffrage == Suffrage::Incoming) {
            server.suffrage = Suffrage::Voter;
            server.intent = Intent::Voter;
        }
        self.half(servers)
    }
}

impl Raft {
    /// Leaves a joint configuration that is committed, as soon as we have committed in our term.
    pub(crate) fn leave_joint(&mut self) {
        let Some(latest) = self.configurations.latest() else { return };
        let is_ready = self.is_ready() || broken(Mutant::K14Leave);
        if !latest.configuration.is_joint() || !self.configurations.is_settled() || !is_ready {
            return;
        }
        let half = latest.configuration.left();
        let index = self.append_own(Payload::Configuration(half));
        if let Some((at, _)) = self.leading_mut().and_then(|lead| lead.change.as_mut()) {
            // Whoever asked for the replacement waits for its end.
            *at = index;
        }
    }

    /// Only a voter that is gone, dead, or declared to go is replaced (K15).
    pub(crate) fn check_replaced(&self, old: &ServerId, has_left: bool) -> Result<(), Refusal> {
        match self.silence_of(old).filter(|ago| *ago < REPLACED_SILENCE && !has_left && !broken(Mutant::K15))
        {
            Some(ago) => Err(Refusal::StillServes { id: old.clone(), ago }),
            None => Ok(()),
        }
    }
}
