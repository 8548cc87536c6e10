//! Asking for a read index, and counting the rounds that confirm it (S19, S29, K11).

use crate::limits::READS_WAITING_MAX;
use crate::output::Answer;
use crate::quorum::is_quorum;
use crate::raft::{Raft, RoleState};
use crate::refusal::Refusal;
use crate::types::{ServerId, Ticket};

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
        if is_ready && lead.reads.begin(commit) {
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
        let confirms =
            |id: &ServerId| id == own || lead.peers.get(id).is_some_and(|peer| peer.round >= round);
        if is_quorum(&latest.configuration.majorities(), confirms) {
            let (index, tickets) = lead.reads.confirm();
            for ticket in tickets {
                self.answer(ticket, Ok(Answer::ReadIndex { index }));
            }
        }
    }
}
