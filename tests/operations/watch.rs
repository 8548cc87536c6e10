//! What must hold at every moment, seen from outside: of the group, and of every plan and step of the operator.
//!
//! An operator can't know what happened since it asked. So a step is judged by what was known when members were asked, and
//! whoever went down so shortly before that no leader could have noticed counts as healthy.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_crds::{ClaimPolicy, RaftClusterStatus};
use quorate_plan::observed::{Claim, Observed};
use quorate_plan::plan::{Check, PlannedStep};
use quorate_plan::raft_view::quorum;
use quorate_plan::record::LeavesBecause;
use quorate_plan::{Plan, Step};
use quorate_raft::{Configuration, Entry, IndexedConfiguration, Payload, ServerId, Suffrage, Term};

use super::coverage::{Coverage, Happening};
use super::objects::Objects;
use super::operator::Acting;
use super::world::Verdict;

/// A leader calls a silent member unhealthy within this time: its threshold, and three rounds of autopilot.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// How late a start is seen here.
const SEEN_WITHIN: Duration = Duration::from_secs(1);
/// The term of the first leadership: members that join under it need no history (K55).
const FIRST_LEADERSHIP: Term = Term(2);
/// With so few voters a restart is an outage, and announced as one (I2).
const WITHOUT_TOLERANCE: usize = 2;

/// What is known from outside.
#[derive(Default)]
pub struct Watch {
    /// The recovery epoch of the cluster.
    pub epoch: u64,
    /// The newest committed configuration.
    pub configuration: Option<IndexedConfiguration>,
    /// The terms of committed entries, from index 1 on.
    committed: Vec<Term>,
    leaders: BTreeMap<(u64, Term), ServerId>,
    founder: Option<ServerId>,
    up_since: BTreeMap<ServerId, Duration>,
    last_up: BTreeMap<ServerId, Duration>,
}

impl Watch {
    /// Who is up and reached now, of the cluster's epoch.
    pub fn sees(&mut self, now: Duration, up: &[(ServerId, u64)]) {
        let up: Vec<&ServerId> =
            up.iter().filter(|(_, epoch)| *epoch == self.epoch).map(|(id, _)| id).collect();
        // A pause that no leader notices breaks nobody's health.
        let last_up = &self.last_up;
        self.up_since.retain(|id, _| last_up.get(id).is_some_and(|last| *last + NOTICED_WITHIN >= now));
        for id in up {
            self.up_since.entry(id.clone()).or_insert(now);
            self.last_up.insert(id.clone(), now);
        }
    }

    /// One leader a term (S4).
    pub fn leads(&mut self, id: &ServerId, epoch: u64, term: Term) -> Verdict {
        match self.leaders.insert((epoch, term), id.clone()) {
            Some(other) if other != *id => {
                Err(format!("election safety: {other} and {id} both lead term {term}"))
            }
            _ => Ok(()),
        }
    }

    /// What was applied once is what everybody applies at that index (P1, I6).
    pub fn applies(&mut self, id: &ServerId, epoch: u64, entry: &Entry) -> Verdict {
        if epoch < self.epoch {
            return Ok(());
        }
        let at = usize::try_from(entry.index.0).unwrap_or(usize::MAX) - 1;
        match self.committed.get(at) {
            Some(term) if *term != entry.term => Err(format!(
                "committed entries: {id} applies entry {} of term {}, another had term {term}",
                entry.index.0, entry.term
            )),
            Some(_) => Ok(()),
            None => {
                self.committed.push(entry.term);
                Ok(())
            }
        }
    }

    /// A quorum was recovered on a person's word: what only the others held is lost (K18).
    pub fn recovered(&mut self, epoch: u64, log: &[Entry]) {
        self.epoch = epoch;
        self.committed = log.iter().map(|entry| entry.term).collect();
        let configurations = log.iter().filter_map(|entry| match &entry.payload {
            Payload::Configuration(configuration) => {
                Some(IndexedConfiguration { index: entry.index, configuration: configuration.clone() })
            }
            _ => None,
        });
        self.configuration = configurations.last();
    }

    /// A leader gives a vote: whoever gets it was up for the whole stabilization time (P5). Under the first leader members
    /// need no history (K55).
    pub fn gives_votes(
        &self,
        now: Duration,
        term: Term,
        latest: &Configuration,
        stabilization: Duration,
    ) -> Verdict {
        let Some(before) = self.configuration.as_ref().filter(|_| term != FIRST_LEADERSHIP) else {
            return Ok(());
        };
        let had_vote = |id: &ServerId| before.configuration.is_voter(id);
        for server in latest.voters().filter(|server| !had_vote(&server.id)) {
            let up_for =
                self.up_since.get(&server.id).map_or(Duration::ZERO, |since| now.saturating_sub(*since));
            if up_for + SEEN_WITHIN < stabilization {
                return Err(format!(
                    "P5: {} votes after {up_for:?} of health, not {stabilization:?}",
                    server.id
                ));
            }
        }
        Ok(())
    }

    /// A leader takes a vote or moves one: those that vote then still have a majority that is up, if they had one (P3, A10, I5).
    pub fn keeps_quorum(&self, now: Duration, latest: &Configuration) -> Verdict {
        let Some(before) = self.configuration.as_ref().map(|known| &known.configuration) else {
            return Ok(());
        };
        let is_led = |configuration: &Configuration| {
            let up = |id: &ServerId| self.was_up(id.raft_id.as_str(), now);
            let mut halves = configuration.majorities().into_iter();
            halves.all(|half| half.iter().filter(|id| up(id)).count() >= quorum(half.len()))
        };
        if !is_led(before) || is_led(latest) {
            return Ok(());
        }
        let voters: Vec<String> = latest.voters().map(|voter| voter.id.raft_id.to_string()).collect();
        Err(format!("P3: a change of votes leaves {voters:?} without a majority that is up"))
    }

    /// Members run as they are restarted one by one, and nothing else happens: a majority of the voters runs at any time (A33).
    pub fn runs(&self, up: &[(ServerId, u64)]) -> Verdict {
        let Some(known) = &self.configuration else { return Ok(()) };
        let is_up = |id: &ServerId| up.iter().any(|(up, _)| up == id);
        for half in known.configuration.majorities() {
            let running = half.iter().filter(|id| is_up(id)).count();
            if half.len() > WITHOUT_TOLERANCE && running < quorum(half.len()) {
                return Err(format!("A33: {running} of {} voters run", half.len()));
            }
        }
        Ok(())
    }

    /// A member knows a configuration to be committed.
    pub fn commits(&mut self, epoch: u64, committed: &IndexedConfiguration, coverage: &mut Coverage) {
        let is_newer = self.configuration.as_ref().is_none_or(|known| known.index < committed.index);
        if epoch < self.epoch || !is_newer {
            return;
        }
        let before = self.configuration.replace(committed.clone());
        let Some(before) = before.map(|before| before.configuration) else { return };
        let after = &committed.configuration;
        for server in after.servers() {
            let Some(old) = before.get(&server.id) else {
                coverage.hit(Happening::Added);
                continue;
            };
            if !server.suffrage.has_vote() && old.suffrage.has_vote() {
                coverage.hit(Happening::Demoted);
            }
            if server.suffrage.has_vote() && !old.suffrage.has_vote() {
                let is_replacement = server.suffrage == Suffrage::Incoming;
                coverage.hit(if is_replacement { Happening::Replaced } else { Happening::Promoted });
            }
        }
        let left = before.servers().iter().filter(|server| !after.contains(&server.id));
        coverage.add(Happening::Removed, left.filter(|server| server.suffrage != Suffrage::Outgoing).count());
    }

    /// I6: one member begins the cluster, the recorded one.
    pub fn bootstraps(&mut self, server: &ServerId, status: &RaftClusterStatus) -> Verdict {
        let recorded = status.founder.as_ref();
        let is_recorded = recorded.is_some_and(|founder| {
            founder.raft_id.as_deref() == Some(server.raft_id.as_str())
                && founder.incarnation == Some(server.incarnation.to_string())
        });
        if !is_recorded {
            return Err(format!("I6: {server} was to begin the cluster, and {recorded:?} is on record"));
        }
        match self.founder.replace(server.clone()) {
            Some(other) if other != *server => {
                Err(format!("I6: {server} was to begin a cluster that {other} began"))
            }
            _ => Ok(()),
        }
    }

    /// What every plan must keep: I3, I9, P6, P9.
    pub fn plans(&self, observed: &Observed, plan: &Plan, asked: Duration) -> Verdict {
        reasons(plan)?;
        self.truth(observed, plan, asked)?;
        let Some(planned) = &plan.step else { return Ok(()) };
        let is_membership = matches!(
            planned.step,
            Step::AddNonVoter { .. } | Step::Remove { .. } | Step::TransferLeadership { .. }
        );
        if !is_membership {
            return Ok(());
        }
        let Some(view) = &observed.raft else {
            return Err(format!("I3: {} without this round's view", planned.step));
        };
        let has_index = planned.checks.iter().any(
            |check| matches!(check, Check::Configuration { index, .. } if *index == view.configuration_index),
        );
        if view.change_in_flight || !has_index {
            return Err(format!("I3: {} while a change is in flight, or without its index", planned.step));
        }
        match &planned.step {
            Step::Remove { raft_id, .. } if *raft_id == view.leader => {
                Err(format!("P9: the leader {raft_id} is removed while it leads"))
            }
            _ => Ok(()),
        }
    }

    /// P6: Ready is said of a cluster that was as asked for when members were asked.
    fn truth(&self, observed: &Observed, plan: &Plan, asked: Duration) -> Verdict {
        let is_ready = plan.status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
        let Some(view) = observed.raft.as_ref().filter(|_| is_ready) else { return Ok(()) };
        let members = view.voter_count() + view.standby_count();
        let is_sized = i32::try_from(members) == Ok(observed.cluster.spec.replicas);
        let mut placed = view.servers.iter().filter(|server| server.is_voter || server.stands_by);
        let down = placed.find(|server| !self.was_up(&server.raft_id, asked));
        match down {
            Some(down) => Err(format!("P6: Ready, and {} is down", down.raft_id)),
            None if !is_sized => Err(format!("P6: Ready with {members} members")),
            None => Ok(()),
        }
    }

    /// Up at this moment, or so shortly before that no leader could know.
    fn was_up(&self, raft_id: &str, asked: Duration) -> bool {
        let mut known = self.last_up.iter().filter(|(id, _)| id.raft_id.as_str() == raft_id);
        known.any(|(_, last)| *last + NOTICED_WITHIN >= asked)
    }

    fn holds(&self, raft_id: &str) -> bool {
        let committed = self.configuration.iter().flat_map(|known| known.configuration.servers());
        committed.into_iter().any(|server| server.id.raft_id.as_str() == raft_id)
    }

    /// Voters of the committed configuration, and how many of them other than this one are up.
    fn others(&self, raft_id: &str, asked: Duration) -> (bool, usize, usize) {
        let committed = self.configuration.iter().flat_map(|known| known.configuration.voters());
        let voters: Vec<&str> = committed.map(|server| server.id.raft_id.as_str()).collect();
        let up = voters.iter().filter(|id| **id != raft_id && self.was_up(id, asked)).count();
        (voters.contains(&raft_id), voters.len(), up)
    }

    /// What every step must keep at the moment it is taken: I2, I4.
    pub fn steps(&self, planned: &PlannedStep, acting: &Acting, objects: &Objects) -> Verdict {
        match &planned.step {
            Step::EvictPod { pod } | Step::DeletePod { pod } => {
                self.takes_down(pod, planned, acting, objects)
            }
            Step::Remove { raft_id, .. } => self.removes(raft_id, acting),
            Step::DeleteClaim { claim } => self.deletes_claim(claim, acting),
            Step::Bootstrap { .. }
            | Step::Recover { .. }
            | Step::AddNonVoter { .. }
            | Step::TransferLeadership { .. } => Ok(()),
        }
    }

    fn takes_down(&self, name: &str, planned: &PlannedStep, acting: &Acting, objects: &Objects) -> Verdict {
        let slots = acting.observed.slots.values();
        let mut found = slots.filter(|slot| slot.pod.as_ref().is_some_and(|pod| pod.name == name));
        let Some((slot, pod)) = found.next().and_then(|slot| Some((slot, slot.pod.as_ref()?))) else {
            return Err(format!("I4: {name} was not read, and is to be taken down"));
        };
        let raft_id = pod.raft_id.as_deref().unwrap_or_default();
        let is_same =
            objects.pods.values().any(|it| it.uid == pod.uid && it.resource_version == pod.resource_version);
        let is_exempt = match planned.why.rule {
            "0" => !pod.sidecar_ran,
            "3" => acting.observed.cluster.status.as_ref().is_some_and(|status| status.recovery.is_some()),
            "4" => acting.observed.cluster.spec.hibernate,
            _ => false,
        };
        // A stale plan is refused by its preconditions.
        if !is_same || is_exempt || !self.holds(raft_id) {
            return Ok(());
        }
        // One that leaves is started as long as its ID is there, and so may have to be replaced for that.
        let is_for_start = planned.why.rule == "E2";
        let stays = |claim: &Claim| {
            !claim.deleting && (claim.record.is_wanted() || is_for_start && claim.record.is_live())
        };
        if !slot.claim.as_ref().is_some_and(stays) {
            return Err(format!("I4: {name} is taken down before {raft_id} has left"));
        }
        let (is_voter, voters, up) = self.others(raft_id, acting.asked);
        let replicas = usize::try_from(acting.observed.cluster.spec.replicas).unwrap_or(0);
        let has_zones = acting.observed.cluster.spec.autopilot.redundancy_zones;
        let is_outage = voters <= WITHOUT_TOLERANCE && (replicas <= WITHOUT_TOLERANCE || has_zones);
        let is_down_already = !self.was_up(raft_id, acting.asked);
        if is_voter && !is_outage && !is_down_already && up < quorum(voters) {
            return Err(format!(
                "I2: {name} is taken down, and {up} of the other {} voters are up",
                voters - 1
            ));
        }
        Ok(())
    }

    fn removes(&self, raft_id: &str, acting: &Acting) -> Verdict {
        let (is_voter, voters, up) = self.others(raft_id, acting.asked);
        if is_voter && up < quorum(voters - 1) {
            return Err(format!(
                "I2: {raft_id} is removed, and {up} of the other {} voters are up",
                voters - 1
            ));
        }
        Ok(())
    }

    fn deletes_claim(&self, name: &str, acting: &Acting) -> Verdict {
        let mut claims = acting.observed.slots.values().filter_map(|slot| slot.claim.as_ref());
        let Some(claim) = claims.find(|claim| claim.name == name) else {
            return Err(format!("I4: {name} was not read, and is to be deleted"));
        };
        let raft_id = claim.record.raft_id.as_deref().unwrap_or_default();
        let policy = acting.observed.cluster.spec.storage.retention.when_scaled;
        // Another operator may have added it since: that one had not heard yet that it leaves.
        let seen = acting.observed.raft.as_ref().map_or(0, |view| view.configuration_index);
        let is_news = self.configuration.as_ref().is_some_and(|known| known.index.0 > seen);
        if self.holds(raft_id) && !is_news {
            return Err(format!("I4: claim {name} is deleted before {raft_id} has left"));
        }
        let is_asked =
            claim.record.leaves_because == Some(LeavesBecause::ScaleIn) && policy == ClaimPolicy::Delete;
        if is_asked { Ok(()) } else { Err(format!("I4: claim {name} is deleted, and nobody asked for that")) }
    }
}

/// I9: whatever is held back names its rule and member, and a cluster that is not Ready says why.
fn reasons(plan: &Plan) -> Verdict {
    for entry in &plan.blocked {
        if [&entry.rule, &entry.member, &entry.message, &entry.reason].iter().any(|text| text.is_empty()) {
            return Err(format!("I9: something is held back without a reason: {entry:?}"));
        }
    }
    for condition in &plan.status.conditions {
        let says_nothing = condition.message.is_empty() || condition.reason.is_empty();
        let denies = condition.type_ == "Ready" && condition.status != "True";
        if says_nothing || denies && ["QuorumHealthy", "Settled"].contains(&condition.reason.as_str()) {
            return Err(format!("I9: {} is {} without a reason", condition.type_, condition.status));
        }
    }
    Ok(())
}
