//! Carries a plan out call by call, as `operator/src/act` does: in the plan's order, judging nothing, ending the round
//! early where what was decided on has changed.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as KubePod;
use quorate_autopilot::{Defaults, SettingsChange, validate};
use quorate_plan::children::names;
use quorate_plan::observed::Child;
use quorate_plan::plan::{Check, FactKind, PlannedStep, RemoveReason as PlannedReason};
use quorate_plan::raft_view::{AutopilotSettings, Intent};
use quorate_plan::{Ensure, Ordinal, Step};
use quorate_raft::{
    Address, Change, Incarnation, Index, Input, Intent as CoreIntent, RaftId, RecoveryEpoch, RemoveReason,
    Role, ServerId, Versions,
};
use quorate_store::RecoveryRequest;
use rand::Rng;

use super::api::{Answer, Refusal};
use super::coverage::Happening;
use super::event::Turn;
use super::group::{Waiting, words};
use super::kubelet::Run;
use super::objects::CLUSTER;
use super::operator::{Acting, Call, Stage};
use super::process::Facts;
use super::world::{CLUSTER_ID, Happened, World, check};

/// A call to a member takes so long beside what it waits for.
const DIAL: Duration = Duration::from_millis(5);
/// A membership change that does not answer by then is settled by the next look.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The smallest quorum with which dead servers may be removed by autopilot (A20).
const CLEANUP_QUORUM_MIN: u32 = 3;

/// What became of a call.
enum Done {
    /// It was done.
    Yes,
    /// It was asked of a member, which will answer.
    Asked,
    /// What it was decided on has changed.
    Overtaken,
    /// It failed; the round is over.
    Failed(String),
}

impl World {
    /// The next call of a plan.
    pub(super) fn act(&mut self, number: usize, mut acting: Acting) -> Happened {
        let Some(call) = acting.calls.pop_front() else {
            self.round_ended(number, acting.plan.look_again);
            return Ok(());
        };
        let done = match call {
            Call::Status => self.write_status(number, &acting),
            Call::Ensure(at) => self.ensure(number, &acting.plan.ensures[at]),
            Call::Settings(at) => self.tell_settings(number, &acting, at)?,
            Call::Facts => self.tell_facts(&acting),
            Call::Check(at) => self.look_up(&acting, at),
            Call::Step => self.take_step(number, &acting)?,
            Call::Answer => match acting.ended.take() {
                Some(Ok(())) => Done::Yes,
                Some(Err(why)) => Done::Failed(why),
                None => Done::Failed("a member did not answer in time: outcome unknown".to_owned()),
            },
        };
        // Telling the leader is never a reason to end the round.
        let is_told = matches!(call, Call::Settings(_) | Call::Facts);
        let look_again = acting.plan.look_again;
        match done {
            Done::Failed(why) if is_told => {
                self.say(|_| format!("operator {number}: the leader was not told: {why}"));
                acting.calls.retain(|call| !matches!(call, Call::Settings(_) | Call::Facts));
                self.go_on(number, acting, DIAL);
            }
            Done::Failed(why) if !self.dies(number) => {
                // A member that refuses or is silent may take the next call.
                let is_change = matches!(call, Call::Answer | Call::Check(_) | Call::Step);
                self.round_failed(number, &why, is_change);
            }
            Done::Overtaken if !self.dies(number) => self.round_overtaken(number, look_again),
            Done::Failed(_) | Done::Overtaken => {}
            Done::Yes => {
                if !self.dies(number) {
                    let pause = self.call_time();
                    self.go_on(number, acting, pause);
                }
            }
            Done::Asked => {
                acting.calls.push_front(Call::Answer);
                if !self.dies(number) {
                    self.wait_for_answer(number, acting);
                }
            }
        }
        Ok(())
    }

    fn go_on(&mut self, number: usize, acting: Acting, pause: Duration) {
        self.operators[number].stage = Stage::Acting(Box::new(acting));
        self.operator_after(number, pause);
    }

    /// A member answers at once, later, or never.
    fn wait_for_answer(&mut self, number: usize, acting: Acting) {
        let ended = self.early_answers.remove(&number);
        let pause = if ended.is_some() { Duration::ZERO } else { CHANGE_TIMEOUT };
        self.go_on(number, Acting { ended, ..acting }, pause);
    }

    /// A call to a member came to its end.
    pub(super) fn call_ended(&mut self, turn: Turn, ended: Result<(), String>) {
        let operator = turn.operator;
        if let Err(why) = &ended {
            self.coverage.hit(Happening::ChangeRefused);
            self.say(|_| format!("operator {operator} is refused: {why}"));
        }
        // An answer may be lost as well as any other.
        if self.answer_is_lost() {
            return;
        }
        let now_at = self.operators[operator].number;
        if now_at == turn.number {
            // Within the call itself.
            self.early_answers.insert(operator, ended);
            return;
        }
        if let Stage::Acting(acting) = &mut self.operators[operator].stage
            && now_at == turn.number + 1
            && acting.calls.front() == Some(&Call::Answer)
        {
            acting.ended = Some(ended);
            self.operator_after(operator, DIAL);
        }
    }

    fn answer_is_lost(&mut self) -> bool {
        let likelihood = self.options.api.loses_answer;
        let is_lost = !self.is_calm() && likelihood > 0.0 && self.rng.random_bool(likelihood);
        if is_lost {
            self.coverage.hit(Happening::AnswerLost);
        }
        is_lost
    }

    /// A write: it may fail without effect, or take effect and lose its answer.
    fn call<T>(&mut self, write: impl FnOnce(&mut Self) -> Answer<T>) -> Answer<T> {
        if self.api_fails() {
            return Err(Refusal::Unanswered);
        }
        self.operator_writes += 1;
        let answer = write(self);
        if matches!(answer, Err(Refusal::Conflict)) {
            self.coverage.hit(Happening::Conflict);
        }
        if self.answer_is_lost() { Err(Refusal::Unanswered) } else { answer }
    }

    /// 404 and 409 mean that the object is not the one read any more.
    fn done(&mut self, answer: Answer) -> Done {
        match answer {
            Ok(()) => Done::Yes,
            Err(Refusal::NotFound | Refusal::Conflict) => Done::Overtaken,
            Err(Refusal::TooMany) => {
                self.coverage.hit(Happening::EvictionRefused);
                Done::Overtaken
            }
            Err(Refusal::Forbidden(words)) => Done::Failed(words),
            Err(Refusal::Unanswered) => Done::Failed("the API server did not answer".to_owned()),
        }
    }

    fn write_status(&mut self, number: usize, acting: &Acting) -> Done {
        let mut found = acting.observed.cluster.status.clone().unwrap_or_default();
        found.raft = None;
        if found == acting.plan.status {
            return Done::Yes;
        }
        let version = acting.observed.cluster.metadata.resource_version.clone();
        let version = version.filter(|_| acting.plan.status_is_guarded);
        let wanted = acting.plan.status.clone();
        let summary = wanted.summary.clone().unwrap_or_default();
        let answer = self.call(|world| world.api.apply_status(&wanted, version.as_deref()));
        if answer.is_ok() {
            self.say(|_| format!("operator {number} writes status: {summary}"));
        }
        self.done(answer)
    }

    fn ensure(&mut self, number: usize, ensure: &Ensure) -> Done {
        if matches!(ensure, Ensure::SetAutopilot(_)) {
            // Told together with the facts.
            return Done::Yes;
        }
        let answer = match ensure {
            Ensure::Apply(applied) => self.call(|world| {
                world.api.apply(applied);
                Ok(())
            }),
            Ensure::CreateLease(_) => self.call(|world| {
                world.api.edit(|objects, _| objects.children.leader_lease = Child::Ours);
                Ok(())
            }),
            Ensure::CreateSlice(_) | Ensure::SlicePorts { .. } => self.call(|world| {
                world.api.edit(|objects, _| objects.children.leader_slice = Child::Ours);
                Ok(())
            }),
            Ensure::DeleteBudget { .. } => self.call(|world| {
                world.api.edit(|objects, _| objects.budget = None);
                Ok(())
            }),
            Ensure::Certificate { ordinal, raft_id, .. } => self.call(|world| {
                world.api.certify(*ordinal, raft_id);
                Ok(())
            }),
            Ensure::CreateClaim(claim) => {
                let name = claim.metadata.name.clone().unwrap_or_default();
                let answer = self.call(|world| world.api.create_claim(claim));
                return self.created(number, names::ordinal_of_claim(CLUSTER, &name), answer);
            }
            Ensure::CreatePod(pod) => return self.create_pod(number, pod),
            Ensure::NoteOnClaim { claim, uid, resource_version, set } => {
                if set.values().any(|value| value == "Retired") {
                    self.coverage.hit(Happening::ClaimRetired);
                }
                self.call(|world| world.api.note_on_claim(claim, (uid, resource_version), set))
            }
            Ensure::OwnClaim { claim, uid, resource_version, owner } => {
                let owner = owner.as_ref().map(|owner| owner.uid.clone());
                self.call(|world| world.api.own_claim(claim, (uid, resource_version), owner))
            }
            Ensure::DeleteEndedPod { pod, uid, resource_version } => {
                self.coverage.hit(Happening::EndedPodDeleted);
                self.call(|world| world.api.delete_pod(pod, (uid, resource_version)))
            }
            Ensure::LabelPod { pod, uid, labels } => self.call(|world| world.api.label_pod(pod, uid, labels)),
            // Sizes of volumes and authorities of certificates stay as they are here.
            Ensure::ExpandClaim { .. }
            | Ensure::ChangeAuthority { .. }
            | Ensure::PublishAuthority { .. }
            | Ensure::RequestCertificate(_)
            | Ensure::DeleteNetworkPolicy { .. }
            | Ensure::SetAutopilot(_) => Ok(()),
        };
        self.done(answer)
    }

    fn create_pod(&mut self, number: usize, made: &KubePod) -> Done {
        let due = self.schedule.now() + self.rng.random_range(Duration::ZERO..=self.options.start.0);
        let name = made.metadata.name.clone().unwrap_or_default();
        let answer = self.call(|world| {
            let (_, uid) = world.api.create_pod(made)?;
            world.runs.insert(uid, Run::new(made, due));
            Ok(())
        });
        self.created(number, names::ordinal_of_pod(CLUSTER, &name), answer)
    }

    /// A refusal is kept for the planner to quote (K51), and is no failure of the round.
    fn created(&mut self, number: usize, ordinal: Option<Ordinal>, answer: Answer) -> Done {
        let now = self.schedule.now();
        let memory = &mut self.operators[number].memory;
        match (answer, ordinal) {
            (Ok(()), Some(ordinal)) => {
                memory.accept(ordinal);
                Done::Yes
            }
            (Err(Refusal::Forbidden(words)), Some(ordinal)) => {
                memory.refuse(ordinal, &words, now);
                Done::Yes
            }
            (answer, _) => self.done(answer),
        }
    }

    /// The process that answers under this Raft ID; none: it cannot be reached.
    fn dial(&self, raft_id: &str) -> Result<Ordinal, String> {
        let found = self.processes.iter().find(|(_, process)| {
            process.id.raft_id.as_str() == raft_id && !self.cuts.contains_key(&process.node)
        });
        found.map(|(ordinal, _)| *ordinal).ok_or_else(|| format!("{raft_id} cannot be reached"))
    }

    fn tell_settings(&mut self, number: usize, acting: &Acting, at: usize) -> anyhow::Result<Done> {
        let (Some(view), Ensure::SetAutopilot(settings)) = (&acting.observed.raft, &acting.plan.ensures[at])
        else {
            return Ok(Done::Yes);
        };
        let leader = match self.dial(&view.leader) {
            Ok(leader) => leader,
            Err(why) => return Ok(Done::Failed(why)),
        };
        let Some(process) = self.processes.get(&leader) else { return Ok(Done::Yes) };
        let change = wire(settings);
        let defaults = Defaults::kubernetes(process.facts.declared);
        if let Err(invalid) = validate(&process.stored.merged(&change), &defaults) {
            return Ok(Done::Failed(invalid.to_string()));
        }
        let command = self.settings_command(change);
        let ticket = self.ticket(Waiting::Call(self.turn(number)));
        self.step(leader, Input::Propose { ticket, command })?;
        Ok(Done::Asked)
    }

    fn tell_facts(&mut self, acting: &Acting) -> Done {
        let Some(view) = &acting.observed.raft else { return Done::Yes };
        let leader = match self.dial(&view.leader) {
            Ok(leader) => leader,
            Err(why) => return Done::Failed(why),
        };
        let now = self.schedule.now();
        let Some(process) = self.processes.get_mut(&leader) else { return Done::Yes };
        if process.raft.role() != Role::Leader {
            return Done::Failed(format!("{} leads no more", view.leader));
        }
        let slots = &acting.observed.slots;
        let is_pending =
            acting.plan.status.rollout.as_ref().is_none_or(|rollout| !rollout.pending.is_empty());
        let is_going = slots.values().any(|slot| slot.pod.as_ref().is_some_and(|pod| pod.deleting));
        let left = view.servers.iter().filter_map(|server| {
            let has_left = acting.plan.facts.iter().any(|fact| {
                fact.kind == FactKind::Left
                    && fact.raft_id == server.raft_id
                    && fact.incarnation == server.incarnation
            });
            Some((server_id(&server.raft_id, &server.incarnation).ok()?, has_left))
        });
        process.facts = Facts {
            declared: u32::try_from(acting.observed.cluster.spec.replicas).unwrap_or(0),
            has_outdated: Some(is_pending || is_going),
            left: left.collect(),
            reported: now,
        };
        Done::Yes
    }

    /// A precondition, live (K33).
    fn look_up(&mut self, acting: &Acting, at: usize) -> Done {
        let Some(PlannedStep { checks, .. }) = &acting.plan.step else { return Done::Yes };
        let holds = match &checks[at] {
            // Both go into the delete's own preconditions.
            Check::Pod { .. } | Check::Claim { .. } => return Done::Yes,
            Check::Configuration { leader, term, .. } => {
                let leader = match self.dial(leader) {
                    Ok(leader) => leader,
                    Err(why) => return Done::Failed(why),
                };
                let status = self.processes.get(&leader).map(|process| process.raft.status());
                status.is_some_and(|status| status.role == Role::Leader && status.term.0 == *term)
            }
            Check::ClaimStays { .. } | Check::ClaimGone { .. } if self.api_fails() => {
                return Done::Failed("the API server does not answer".to_owned());
            }
            Check::ClaimStays { name, uid } => {
                self.api.claim(name).is_some_and(|(found, is_going)| found == *uid && !is_going)
            }
            Check::ClaimGone { name, uid_begins } => {
                !self.api.claim(name).is_some_and(|(found, _)| found.starts_with(uid_begins))
            }
        };
        if holds {
            return Done::Yes;
        }
        self.coverage.hit(Happening::StepSkipped);
        Done::Overtaken
    }

    fn take_step(&mut self, number: usize, acting: &Acting) -> anyhow::Result<Done> {
        let Some(planned) = &acting.plan.step else { return Ok(Done::Yes) };
        let objects = self.api.objects_at(self.schedule.now());
        check(self.watch.steps(planned, acting, &objects))?;
        match &planned.step {
            Step::EvictPod { pod } => {
                let Some((uid, version)) = precondition(planned, pod) else { return Ok(Done::Overtaken) };
                let answer = self.call(|world| {
                    let answer = world.api.evict(pod, Some((uid, version)));
                    if answer.is_ok() {
                        world.coverage.hit(Happening::Evicted);
                    }
                    answer
                });
                Ok(self.done(answer))
            }
            Step::DeletePod { pod } => {
                let Some(precondition) = precondition(planned, pod) else { return Ok(Done::Overtaken) };
                self.coverage.hit(Happening::PodDeleted);
                let answer = self.call(|world| world.api.delete_pod(pod, precondition));
                Ok(self.done(answer))
            }
            Step::DeleteClaim { claim } => {
                let Some(precondition) = precondition(planned, claim) else { return Ok(Done::Overtaken) };
                self.coverage.hit(Happening::ClaimDeleted);
                let answer = self.call(|world| world.api.delete_claim(claim, precondition));
                Ok(self.done(answer))
            }
            Step::Recover { raft_id, epoch, lost, .. } => self.recover(raft_id, *epoch, lost),
            Step::Bootstrap { .. }
            | Step::AddNonVoter { .. }
            | Step::Remove { .. }
            | Step::TransferLeadership { .. } => self.ask_member(number, planned),
        }
    }

    /// A step that a member's core carries out, and answers when it is committed.
    fn ask_member(&mut self, number: usize, planned: &PlannedStep) -> anyhow::Result<Done> {
        let (leader, expected) = leader(planned);
        let whom = match &planned.step {
            Step::Bootstrap { raft_id, .. } => raft_id,
            Step::TransferLeadership { from, .. } => from,
            _ => leader,
        };
        let member = match self.dial(whom) {
            Ok(member) => member,
            Err(why) => return Ok(Done::Failed(why)),
        };
        let ticket = self.ticket(Waiting::Call(self.turn(number)));
        let input = match &planned.step {
            Step::Bootstrap { raft_id, incarnation, .. } => {
                let server = server_id(raft_id, incarnation)?;
                check(self.watch.bootstraps(&server, &self.api.objects().status()))?;
                let is_new = self.directory_of(member)?.cluster_id.is_none();
                if is_new {
                    self.coverage.hit(Happening::Bootstrapped);
                }
                Input::Bootstrap {
                    ticket,
                    cluster_id: CLUSTER_ID,
                    server,
                    address: Address::new("db-0:7400")?,
                    mode: quorate_raft::Mode::KeyValue,
                }
            }
            Step::TransferLeadership { to, .. } => {
                self.coverage.hit(Happening::Transferred);
                Input::TransferLeadership { ticket, target: Some(RaftId::new(to)?) }
            }
            Step::AddNonVoter { raft_id, incarnation, address, intent, .. } => {
                let change = Change::AddNonVoter {
                    id: server_id(raft_id, incarnation)?,
                    address: Address::new(address)?,
                    intent: core_intent(intent)?,
                    versions: Versions::OURS,
                };
                Input::ChangeMembership { ticket, expected, change }
            }
            Step::Remove { raft_id, incarnation, reason } => {
                let reason = match reason {
                    PlannedReason::VolumeLost => RemoveReason::VolumeLost,
                    PlannedReason::ScaleIn | PlannedReason::Lagging => RemoveReason::Requested,
                };
                let change = Change::Remove { id: server_id(raft_id, incarnation)?, reason };
                Input::ChangeMembership { ticket, expected, change }
            }
            Step::EvictPod { .. }
            | Step::DeletePod { .. }
            | Step::DeleteClaim { .. }
            | Step::Recover { .. } => {
                return Ok(Done::Yes);
            }
        };
        if let Input::ChangeMembership { change, .. } = &input {
            self.say(|_| format!("operator {number}: {}", words(change)));
        }
        self.step(member, input)?;
        Ok(Done::Asked)
    }

    /// As the sidecar answers it: done before, refused, or taken, and then it starts anew.
    fn recover(&mut self, raft_id: &str, epoch: u64, lost: &[String]) -> anyhow::Result<Done> {
        let member = match self.dial(raft_id) {
            Ok(member) => member,
            Err(why) => return Ok(Done::Failed(why)),
        };
        let lost: Result<BTreeSet<RaftId>, _> = lost.iter().map(|id| RaftId::new(id)).collect();
        let request = RecoveryRequest { lost: lost?, epoch: Some(RecoveryEpoch(epoch)) };
        let Some(process) = self.processes.get(&member) else { return Ok(Done::Yes) };
        let status = process.raft.status();
        let latest = status.latest.as_ref().map(|latest| &latest.configuration);
        match request.check(&process.id, RecoveryEpoch(process.epoch), latest, status.last) {
            Ok(None) => Ok(Done::Yes),
            Err(refusal) => Ok(Done::Failed(refusal.to_string())),
            Ok(Some(_)) if status.leader.is_some() => Ok(Done::Failed("a leader is there".to_owned())),
            Ok(Some(_)) => {
                self.recover_directory(member, &request)?;
                Ok(Done::Yes)
            }
        }
    }

    fn turn(&self, number: usize) -> Turn {
        Turn { operator: number, number: self.operators[number].number }
    }
}

/// The leader a membership step was decided on, and the index.
fn leader(planned: &PlannedStep) -> (&str, Index) {
    let found = planned.checks.iter().find_map(|check| match check {
        Check::Configuration { index, leader, .. } => Some((leader.as_str(), Index(*index))),
        _ => None,
    });
    found.unwrap_or_default()
}

/// UID and version for a delete; without them nothing is deleted.
fn precondition<'a>(planned: &'a PlannedStep, object: &str) -> Option<(&'a str, &'a str)> {
    planned.checks.iter().find_map(|check| match check {
        Check::Pod { name, uid, resource_version } | Check::Claim { name, uid, resource_version }
            if name == object =>
        {
            Some((uid.as_str(), resource_version.as_str()))
        }
        _ => None,
    })
}

pub(super) fn server_id(raft_id: &str, incarnation: &str) -> anyhow::Result<ServerId> {
    Ok(ServerId::new(RaftId::new(raft_id)?, Incarnation(u128::from_str_radix(incarnation, 16)?)))
}

fn core_intent(intent: &Intent) -> anyhow::Result<CoreIntent> {
    Ok(match intent {
        Intent::Voter => CoreIntent::Voter,
        Intent::ReadReplica => CoreIntent::ReadReplica,
        Intent::ReplacementFor { raft_id, incarnation } => {
            CoreIntent::ReplacementFor(server_id(raft_id, incarnation)?)
        }
    })
}

/// As the operator sends them.
fn wire(settings: &AutopilotSettings) -> SettingsChange {
    SettingsChange {
        cleanup_dead_servers: Some(settings.min_quorum >= CLEANUP_QUORUM_MIN),
        last_contact_threshold: Some(settings.last_contact_threshold),
        dead_server_last_contact_threshold: Some(settings.dead_server_last_contact_threshold),
        max_trailing_logs: Some(settings.max_trailing_logs),
        min_quorum: Some(settings.min_quorum),
        server_stabilization_time: Some(settings.server_stabilization_time),
        redundancy_zone_tag: Some(settings.redundancy_zone_tag.clone()),
        upgrade_version_tag: Some(settings.upgrade_version_tag.clone()),
        disable_upgrade_migration: Some(settings.disable_upgrade_migration),
    }
}
