//! Linearizable reads without a log entry (`ReadIndex`, thesis 6.4; S29, K11, N1).
//!
//! ```text
//! read arrives ─► waiting ─► round n starts: index = commit, heartbeat n to all
//!                            a majority of voters answered n or later ─► index for all of round n
//! ```
//!
//! Reads that arrive during a round join the next one, so that only heartbeats sent after a read
//! count for it. No round starts before the leader has committed in its term. Leadership's end
//! empties everything: unlike a write, a read never has an unknown outcome.
//! Not here: leases. There are none, because they trust clocks.

use quorate_mutants::{Mutant, broken};

use crate::limits::READS_WAITING_MAX;
use crate::output::Answer;
use crate::quorum::is_quorum;
use crate::raft::{Raft, RoleState};
use crate::refusal::Refusal;
use crate::types::{Index, Round, ServerId, Ticket};

#[derive(Default)]
pub(crate) struct Reads {
    waiting: Vec<Ticket>,
    running: Option<Running>,
    round: Round,
}

struct Running {
    round: Round,
    index: Index,
    tickets: Vec<Ticket>,
}

impl Reads {
    /// The newest round begun; heartbeats carry it.
    pub(crate) const fn round(&self) -> Round {
        self.round
    }

    /// The round whose answers are counted, if any.
    pub(crate) fn running(&self) -> Option<Round> {
        self.running.as_ref().map(|running| running.round)
    }

    pub(crate) fn count(&self) -> usize {
        self.waiting.len() + self.running.as_ref().map_or(0, |running| running.tickets.len())
    }

    pub(crate) fn push(&mut self, ticket: Ticket) {
        self.waiting.push(ticket);
    }

    /// Begins a round for those that wait, unless one runs; says whether it did.
    pub(crate) fn begin(&mut self, commit: Index) -> bool {
        if self.running.is_some() || self.waiting.is_empty() {
            return false;
        }
        self.round = Round(self.round.0 + 1);
        let tickets = std::mem::take(&mut self.waiting);
        self.running = Some(Running { round: self.round, index: commit, tickets });
        true
    }

    /// The running round is confirmed.
    pub(crate) fn confirm(&mut self) -> (Index, Vec<Ticket>) {
        self.running.take().map_or_else(Default::default, |running| (running.index, running.tickets))
    }

    /// Everybody, for leadership's end.
    pub(crate) fn drain(&mut self) -> Vec<Ticket> {
        let mut tickets = self.confirm().1;
        tickets.append(&mut self.waiting);
        tickets
    }
}

impl Raft {
    /// Also what "verify leader" is: the index may be ignored.
    pub(crate) fn read_index(&mut self, ticket: Ticket) {
        let refusal = match &mut self.role {
            RoleState::Leader(lead) if lead.reads.count() < READS_WAITING_MAX => {
                lead.reads.push(ticket);
                return;
            }
            RoleState::Leader(_) => Refusal::Busy { what: "the number of reads waiting for a round" },
            RoleState::Follower | RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => {
                self.not_leader()
            }
        };
        self.answer(ticket, Err(refusal));
    }

    /// Answers the running round if it is confirmed, and begins the next one for those that wait.
    pub(crate) fn serve_reads(&mut self) {
        self.confirm_round();
        let (is_ready, commit) = (self.is_ready(), self.commit);
        let RoleState::Leader(lead) = &mut self.role else { return };
        if (is_ready || broken(Mutant::S29Ready)) && lead.reads.begin(commit) {
            self.heartbeat();
            // A single voter is its own majority.
            self.confirm_round();
        }
    }

    fn confirm_round(&mut self) {
        let Some(latest) = self.configurations.latest() else { return };
        let RoleState::Leader(lead) = &mut self.role else { return };
        let Some(round) = lead.reads.running() else { return };
        let own = &self.identity.server;
        // Ourselves only if we are a voter: a set of voters is asked, nobody else (N1).
        let answered = |id: &ServerId| lead.peers.get(id).is_some_and(|peer| peer.round >= round);
        let confirms = |id: &ServerId| id == own || answered(id) || broken(Mutant::S29Round);
        let majorities = if broken(Mutant::N1) {
            vec![latest.configuration.servers().iter().map(|server| &server.id).collect()]
        } else {
            latest.configuration.majorities()
        };
        if is_quorum(&majorities, confirms) {
            let (index, tickets) = lead.reads.confirm();
            for ticket in tickets {
                self.answer(ticket, Ok(Answer::ReadIndex { index }));
            }
        }
    }
}
