//! Requests that become entries: commands, barriers, and the first configuration (S17, S20, K2, K25).

use bytes::Bytes;
use quorate_mutants::{Mutant, broken};

use crate::entry::{Entry, Payload};
use crate::limits::{ENTRY_BYTES_MAX, UNCOMMITTED_BYTES_MAX};
use crate::membership::{Configuration, Intent, Server, Suffrage};
use crate::outbox::Promises;
use crate::output::{Answer, Output};
use crate::raft::Raft;
use crate::refusal::Refusal;
use crate::status::Membership;
use crate::types::{Address, ClusterId, Index, LogId, Mode, ServerId, Term, Ticket};

impl Raft {
    pub(crate) fn propose_command(&mut self, ticket: Ticket, command: Bytes) {
        let bytes = command.len() as u64;
        if bytes > ENTRY_BYTES_MAX {
            self.answer(ticket, Err(Refusal::TooLarge { bytes, bytes_max: ENTRY_BYTES_MAX }));
        } else {
            self.propose(ticket, Payload::Command(command));
        }
    }

    pub(crate) fn propose(&mut self, ticket: Ticket, payload: Payload) {
        if let Err(refusal) = self.check_takes_entries().and_then(|()| self.check_kind(&payload)) {
            self.answer(ticket, Err(refusal));
        } else {
            let index = self.append_own(payload);
            self.tickets.insert(index, ticket);
        }
    }

    /// Whether this member takes an entry from a client now.
    pub(crate) fn check_takes_entries(&self) -> Result<(), Refusal> {
        let Some(lead) = self.leading() else { return Err(self.not_leader()) };
        if lead.transfer.is_some() && !broken(Mutant::B10) {
            return Err(Refusal::TransferInProgress);
        }
        if lead.uncommitted_bytes >= UNCOMMITTED_BYTES_MAX && !broken(Mutant::K25) {
            return Err(Refusal::Busy { what: "what is written but not yet committed" });
        }
        Ok(())
    }

    /// What everybody who is not the leader says.
    pub(crate) fn not_leader(&self) -> Refusal {
        if self.membership() == Membership::Removed {
            Refusal::Removed
        } else {
            Refusal::NotLeader { leader: self.leader.clone() }
        }
    }

    /// Makes this empty directory the one voter of a new cluster (K2, S26, B12).
    pub(crate) fn bootstrap(
        &mut self,
        ticket: Ticket,
        cluster_id: ClusterId,
        server: &ServerId,
        address: Address,
        mode: Mode,
    ) {
        let is_ours = cluster_id == self.identity.cluster_id && server == self.id();
        if !is_ours && !broken(Mutant::K2) {
            let (actual, cluster_id) = (self.id().clone(), self.identity.cluster_id);
            self.answer(ticket, Err(Refusal::WrongIdentity { actual, cluster_id }));
            return;
        }
        let is_empty = self.cluster_id.is_none()
            && self.hard.term == Term(0)
            && self.hard.vote.is_none()
            && self.log.last() == LogId::default();
        if is_empty {
            self.write_first_configuration(address, mode);
        } else if !self.is_of_this_cluster() && !broken(Mutant::B12) {
            self.answer(ticket, Err(Refusal::NotEmpty { cluster_id: self.cluster_id }));
            return;
        }
        let latest = self.configurations.latest();
        if let Some(founded) =
            latest.map(|latest| latest.configuration.mode()).filter(|founded| *founded != mode)
        {
            self.answer(ticket, Err(Refusal::OtherMode { founded, asked: mode }));
            return;
        }
        let configuration_index = latest.map_or(Index(0), |latest| latest.index);
        let result = Ok(Answer::Bootstrapped { configuration_index });
        // It is bootstrapped once that is on disk, and not before.
        self.outbox.push_after(Promises::Log, Output::Answer { ticket, result });
    }

    /// The same call again finds its own work done.
    fn is_of_this_cluster(&self) -> bool {
        let latest = self.configurations.latest();
        self.hard.was_member && latest.is_some_and(|latest| latest.configuration.contains(self.id()))
    }

    fn write_first_configuration(&mut self, address: Address, mode: Mode) {
        let id = self.id().clone();
        let server = Server { id, address, suffrage: Suffrage::Voter, intent: Intent::Voter };
        let Ok(configuration) = Configuration::new(vec![server]) else { return };
        let configuration = configuration.in_epoch(self.identity.recovery_epoch);
        // Alone it is every member.
        let configuration = configuration.at_version(self.identity.versions.max).for_mode(mode);
        let first = LogId::new(Term(1), Index(1));
        self.set_term(first.term);
        self.append_entry(Entry {
            term: first.term,
            index: first.index,
            payload: Payload::Configuration(configuration),
        });
        // Nobody else can lead: there is nothing to wait for.
        self.election_deadline = self.now;
    }
}
