//! Somebody changes the membership, as an operator would: forms it first, then adds, promotes, demotes, removes,
//! moves leadership, and replaces volumes.
//!
//! A volume is only lost when everyone else's is there and the rest of the voters is a majority: more than that no
//! consensus survives (P1).

use std::time::Duration;

use anyhow::Result;
use quorate_raft::{Change, Input, Intent, RemoveReason, ServerId, Status, Suffrage};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::member::Member;
use super::network::MemberNumber;
use super::process::CLUSTER;
use super::world::{Event, Happened, World};

/// Between two steps while the first membership is formed.
const FORMING_PAUSE: Duration = Duration::from_millis(200);

impl World {
    /// One change, and when the next one comes.
    pub(super) fn change(&mut self) -> Happened {
        if self.faults_stopped.is_some() {
            return Ok(());
        }
        let next = if self.is_formed { self.around(self.options.change_every) } else { FORMING_PAUSE };
        self.schedule.after(next, Event::Change);
        self.replace_removed()?;
        let Some((leader, status)) = self.leader() else { return self.bootstrap() };
        let Some(latest) = &status.latest else { return Ok(()) };
        if !self.is_formed && latest.configuration.voters().count() == self.options.members {
            self.formed();
        }
        let expected = latest.index;
        let Some(input) = self.choose(&status)? else { return Ok(()) };
        self.report.changes += 1;
        let ticket = self.ticket();
        let input = match input {
            Choice::Change(change) => {
                self.say(&format!("change at {}: {change:?}", expected.0));
                Input::ChangeMembership { ticket, expected, change }
            }
            Choice::Transfer => Input::TransferLeadership { ticket, target: None },
        };
        self.step(leader, input)
    }

    /// The first member becomes the first voter; the same call again does nothing (K2).
    fn bootstrap(&mut self) -> Happened {
        if self.is_formed {
            return Ok(());
        }
        let ticket = self.ticket();
        let (server, address) = (self.members[0].id.clone(), self.members[0].address()?);
        self.step(0, Input::Bootstrap { ticket, cluster_id: CLUSTER, server, address })
    }

    fn choose(&mut self, status: &Status) -> Result<Option<Choice>> {
        let Some(latest) = &status.latest else { return Ok(None) };
        let servers = latest.configuration.servers();
        if let Some(lost) = self.lost_volume.clone() {
            if latest.configuration.contains(&lost) {
                return Ok(Some(Choice::Change(Change::Remove {
                    id: lost,
                    reason: RemoveReason::VolumeLost,
                })));
            }
            self.lost_volume = None;
        }
        let waiting = servers.iter().find(|server| server.suffrage == Suffrage::NonVoter);
        let outside = self.members.iter().find(|member| !latest.configuration.contains(&member.id));
        if !self.is_formed || self.rng.random_bool(0.6) {
            if let Some(server) = waiting {
                let (id, stable_in_term) = (server.id.clone(), status.term);
                return Ok(Some(Choice::Change(Change::Promote { id, stable_in_term })));
            }
            if let Some(member) = outside
                && (self.is_formed || servers.len() < self.options.members)
            {
                let (id, address) = (member.id.clone(), member.address()?);
                return Ok(Some(Choice::Change(Change::AddNonVoter { id, address, intent: Intent::Voter })));
            }
        }
        if !self.is_formed {
            return Ok(None);
        }
        let Some(id) = servers.choose(&mut self.rng).map(|server| server.id.clone()) else { return Ok(None) };
        Ok(match self.rng.random_range(0..10) {
            0..3 => Some(Choice::Change(Change::Remove { id, reason: RemoveReason::Requested })),
            3..5 => Some(Choice::Change(Change::Demote { id })),
            5..8 => Some(Choice::Transfer),
            _ => {
                self.lose_volume(&id, status)?;
                None
            }
        })
    }

    /// A voter's or non-voter's volume is gone, and the member comes back with an empty one.
    fn lose_volume(&mut self, id: &ServerId, status: &Status) -> Happened {
        let Some(latest) = &status.latest else { return Ok(()) };
        let is_settled = status.committed.as_ref() == Some(latest);
        let voters = latest.configuration.voters().count();
        let rest = latest.configuration.voters().filter(|server| server.id != *id).count();
        if let Some(number) = self.slot_of(id)
            && is_settled
            && rest > voters / 2
        {
            self.say(&format!("m{number} loses its volume"));
            self.lost_volume = Some(id.clone());
            self.empty(number)?;
        }
        Ok(())
    }

    /// A member whose server has left every configuration in sight gets an empty volume, as a new replica would.
    fn replace_removed(&mut self) -> Happened {
        let Some((_, status)) = self.leader() else { return Ok(()) };
        let (Some(latest), Some(committed)) = (&status.latest, &status.committed) else { return Ok(()) };
        let removed = self.members.iter().find(|member| {
            let is_in =
                |id: &ServerId| latest.configuration.contains(id) || committed.configuration.contains(id);
            member.mirror.hard_state.was_member && !is_in(&member.id)
        });
        match removed.map(|member| member.number) {
            Some(number) => self.empty(number),
            None => Ok(()),
        }
    }

    fn empty(&mut self, number: MemberNumber) -> Happened {
        self.volumes += 1;
        let mut emptied = Member::new(number, self.volumes, &mut self.rng)?;
        emptied.boots = self.members[number].boots;
        let lost = std::mem::replace(&mut self.members[number], emptied);
        self.lost.insert(lost.id, lost.mirror);
        self.schedule.after(Duration::from_millis(500), Event::Start(number));
        Ok(())
    }
}

/// What somebody wants of the leader.
enum Choice {
    Change(Change),
    Transfer,
}
